//! Set-ups that need no change: none has a finding above a notice, or a lock-out in the next year.

use serde_json::{Value, json};

use crate::doctor::forecast::{Certainty, Severity};
use crate::doctor::tests::rules::with;
use crate::doctor::tests::world::World;

#[test]
fn twenty_healthy_set_ups_have_notices_only() {
    let all = all();
    assert_eq!(all.len(), 20);
    for (name, changes) in all {
        let world = World::new(with(&changes));
        let report = world.report();
        for finding in report.hosts.iter().flat_map(|host| &host.findings) {
            let (id, evidence) = (finding.id, &finding.evidence);
            assert_eq!(
                finding.severity,
                Severity::Notice,
                "{name}: {id}: {evidence}"
            );
        }
        assert!(report.general.is_empty(), "{name}");
        let lock_out = report.hosts.first().and_then(|host| host.lock_out.as_ref());
        if let Some(lock_out) = lock_out {
            let year = world.at().as_secs() + 365 * 86_400;
            assert!(lock_out.at.as_secs() > year, "{name}: {}", lock_out.reason);
            assert_ne!(
                lock_out.certainty,
                Certainty::Risk,
                "{name}: {}",
                lock_out.reason
            );
        }
    }
}

fn all() -> Vec<(&'static str, Value)> {
    let groups = |groups: Value| json!({ "groups": groups });
    let crossed = |pins: &[&str]| {
        json!({
            "chains": [["leaf N", "Root N by Root A"]],
            "anchors": ["Root A", "Root B", "Root N by Root N"], "groups": [pins],
        })
    };
    let far = json!([{ "key": "Root A", "kind": "leaves-mozilla", "at": "2031-04-15" }]);
    let near = json!([{ "key": "Root B", "kind": "leaves-mozilla", "at": "2026-08-15" }]);
    let lifetimes = json!([{ "from": "2027-03-15", "days": 100 }]);
    let rotates = json!({ "Alpha": { "text": "Intermediates are replaced at any time" } });
    vec![
        (
            "one root and an own backup",
            groups(json!([["Root A", "backup"]])),
        ),
        ("the roots of two CAs", json!({})),
        (
            "roots of two CAs and an own backup",
            groups(json!([["Root A", "Root B", "backup"]])),
        ),
        (
            "all roots of two CAs",
            groups(json!([["Root A", "Root A2", "Root B"]])),
        ),
        (
            "a kept server key and an offline backup",
            groups(json!([["leaf", "backup"]])),
        ),
        (
            "a kept key with shorter lifetimes ahead",
            json!({ "groups": [["leaf", "backup"]], "lifetimes": lifetimes }),
        ),
        (
            "a kept key and the root of another CA",
            groups(json!([["leaf", "Root B"]])),
        ),
        (
            "a server key AND a CA, both with backups",
            groups(json!([
                ["leaf:leaf", "leaf:backup"],
                ["ca:Root A", "ca:Root B"]
            ])),
        ),
        (
            "roots as CA pins only",
            groups(json!([["ca:Root A", "ca:Root B"]])),
        ),
        (
            "the host and its subdomains",
            json!({ "scope": "host-and-subdomains" }),
        ),
        (
            "subdomains without a name to connect to",
            json!({ "scope": "subdomains", "chains": [] }),
        ),
        (
            "an expiry in two years",
            json!({ "expiry": { "at": "2028-06-01", "refuses": false } }),
        ),
        (
            "an expiry in two years that refuses",
            json!({ "expiry": { "at": "2028-06-01", "refuses": true } }),
        ),
        (
            "a cross-signed chain with both roots",
            crossed(&["Root A", "Root N", "Root B"]),
        ),
        (
            "a cross-signed chain with the nearer root",
            crossed(&["Root N", "Root B"]),
        ),
        (
            "CAA records for the pinned CAs",
            json!({ "caa": ["alpha.example", "beta.example"] }),
        ),
        (
            "CAA records for other CAs of an own key",
            json!({ "groups": [["leaf", "backup"]], "caa": ["gamma.example"] }),
        ),
        ("a root that leaves in five years", json!({ "events": far })),
        (
            "a backup root that leaves soon",
            json!({ "groups": [["Root A", "Root B", "backup"]], "events": near }),
        ),
        (
            "an intermediate beside its root",
            json!({ "groups": [["Sub A", "Root A", "Root B"]], "rotates": rotates }),
        ),
    ]
}
