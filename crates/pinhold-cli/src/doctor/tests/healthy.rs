//! Set-ups that need no change: none has a finding above a notice, or a lock-out in the next year.

use serde_json::Value;

use crate::doctor::forecast::{Certainty, Severity};
use crate::doctor::tests::rules::with;
use crate::doctor::tests::world::{World, text};

#[test]
fn twenty_healthy_set_ups_have_notices_only() {
    let all = all();
    assert_eq!(all.len(), 20);
    for set_up in all {
        let (name, changes) = (text(&set_up["name"]), &set_up["world"]);
        let world = World::new(with(changes));
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

fn all() -> Vec<Value> {
    let all = include_str!("../../../tests/data/doctor/healthy.json");
    serde_json::from_str(all).unwrap()
}
