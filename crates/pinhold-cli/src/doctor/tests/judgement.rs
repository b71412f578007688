//! Valid paths, the pins on them, and lock-outs.

use serde_json::{Value, json};

use crate::doctor::forecast::{Certainty, Finding, HostForecast, RootStore, Severity};
use crate::doctor::tests::rules::with;
use crate::doctor::tests::world::World;
use crate::rfc3339;

fn forecast(changes: &Value) -> HostForecast {
    World::new(with(changes)).forecast()
}

fn locked_out(forecast: &HostForecast) -> Vec<&Finding> {
    let findings = forecast.findings.iter();
    findings
        .filter(|finding| finding.id == "locked-out")
        .collect()
}

/// The date and the certainty of the lock-out.
fn lock_out(changes: &Value) -> Option<(String, Certainty)> {
    let lock_out = forecast(changes).lock_out?;
    let date = rfc3339::print(lock_out.at);
    Some((
        date.split('T').next().unwrap().to_owned(),
        lock_out.certainty,
    ))
}

#[test]
fn one_refused_chain_of_two_is_a_lock_out_that_names_it() {
    let forecast = forecast(&json!({
        "chains": [["leaf", "Sub A"], ["leaf B", "Sub B"]], "groups": [["Root A", "backup"]],
    }));
    let findings = locked_out(&forecast);
    assert_eq!(findings.len(), 1);
    assert!(
        findings[0].evidence.starts_with("chain 1: "),
        "{}",
        findings[0].evidence
    );
    assert_eq!(findings[0].severity, Severity::LockedOut);
    assert_eq!(forecast.pins[0].holds, Some(true));
    let lock_out = forecast.lock_out.unwrap();
    assert_eq!(rfc3339::print(lock_out.at), "2026-06-01T00:00:00Z");
}

#[test]
fn all_paths_of_a_cross_signed_chain_are_found() {
    let forecast = forecast(&json!({
        "chains": [["leaf N", "Root N by Root A"]],
        "anchors": ["Root A", "Root N by Root N"], "groups": [["Root N", "Root A"]],
    }));
    let names = forecast.chains[0]
        .paths
        .iter()
        .map(|path| path.names.join(" > "));
    let mut names = names.collect::<Vec<_>>();
    names.sort();
    assert_eq!(names, ["leaf N > Root N", "leaf N > Root N > Root A"]);
    assert!(forecast.chains[0].paths.iter().all(|path| path.is_pinned));
}

#[test]
fn groups_have_to_hold_on_the_same_path() {
    let forecast = forecast(&json!({
        "chains": [["leaf N", "Root N by Root A"]],
        "anchors": ["Root A", "Root N by Root N"],
        "groups": [["leaf:leaf N"], ["ca:Root A"]],
    }));
    let pinned = forecast.chains[0]
        .paths
        .iter()
        .map(|path| (path.names.len(), path.is_pinned));
    let mut pinned = pinned.collect::<Vec<_>>();
    pinned.sort_unstable();
    assert_eq!(pinned, [(2, false), (3, true)]);
}

#[test]
fn a_pin_counts_in_the_positions_of_its_role_only() {
    for (pin, holds) in [
        ("leaf:leaf", true),
        ("ca:leaf", false),
        ("ca:Root A", true),
        ("leaf:Root A", false),
        ("ca:Sub A", true),
    ] {
        let forecast = forecast(&json!({ "groups": [[pin]] }));
        assert_eq!(forecast.pins[0].holds, Some(holds), "{pin}");
        assert_eq!(locked_out(&forecast).is_empty(), holds, "{pin}");
    }
}

#[test]
fn a_platform_with_other_roots_can_be_locked_out_alone() {
    let forecast = forecast(&json!({
        "chains": [["leaf N", "Root N by Root A"]], "groups": [["Root A", "backup"]],
        "platform": ["Root N by Root N"],
    }));
    let stores = forecast.chains[0]
        .paths
        .iter()
        .map(|path| (path.roots, path.is_pinned));
    let stores = stores.collect::<Vec<_>>();
    assert_eq!(
        stores,
        [(RootStore::Mozilla, true), (RootStore::Platform, false)]
    );
    let findings = locked_out(&forecast);
    assert!(findings[0].evidence.contains("the roots of this system"));
}

#[test]
fn a_policy_that_is_only_reported_locks_no_client_out() {
    let forecast = forecast(&json!({ "groups": [["Root B", "backup"]], "report_only": true }));
    let findings = locked_out(&forecast);
    assert_eq!(findings[0].severity, Severity::Warning);
    assert!(forecast.lock_out.is_none());
}

#[test]
fn a_refused_key_locks_out_whatever_the_pins_and_the_policy_are() {
    for key in ["leaf", "Sub A", "Root A"] {
        for report_only in [false, true] {
            let forecast = forecast(&json!({ "refused_keys": [key], "report_only": report_only }));
            let findings = locked_out(&forecast);
            assert_eq!(findings[0].severity, Severity::LockedOut, "{key}");
            assert!(findings[0].evidence.contains("refused key"), "{key}");
            assert!(forecast.lock_out.is_some(), "{key}");
        }
    }
    let other = forecast(&json!({ "refused_keys": ["Root B"] }));
    assert!(locked_out(&other).is_empty());
    let holds = |forecast: HostForecast| forecast.pins.into_iter().map(|pin| pin.holds);
    assert!(holds(other).any(|it| it == Some(true)));
    // A path without the refused key is accepted.
    let forecast = forecast(&json!({
        "chains": [["leaf N", "Root N by Root A"]], "anchors": ["Root A", "Root N by Root N"],
        "groups": [["Root N"]], "refused_keys": ["Root A"],
    }));
    assert!(locked_out(&forecast).is_empty());
}

#[test]
fn a_proxy_is_refused_where_pins_are_enforced_on_user_added_roots() {
    let mut changes = json!({
        "chains": [["leaf of a proxy"]], "user_added": ["Proxy"], "enforce_on_user_added": true,
    });
    assert_eq!(locked_out(&forecast(&changes)).len(), 1);
    changes["enforce_on_user_added"] = json!(false);
    assert!(locked_out(&forecast(&changes)).is_empty());
    changes["refused_keys"] = json!(["Proxy"]);
    assert_eq!(locked_out(&forecast(&changes)).len(), 1);
}

#[test]
fn a_ca_whose_caa_names_are_not_known_is_not_forbidden() {
    for (names, is_found) in [(json!([]), false), (json!(["alpha.example"]), true)] {
        let operators = json!({ "Alpha": names, "Beta": [], "Gamma": ["gamma.example"] });
        let forecast = forecast(&json!({ "operators": operators, "caa": ["gamma.example"] }));
        let mut findings = forecast.findings.iter();
        let forbids = findings.find(|it| it.id == "caa-forbids-pinned");
        assert_eq!(
            forbids.map(|it| it.severity),
            is_found.then_some(Severity::Notice)
        );
    }
}

#[test]
fn the_lock_out_is_the_end_of_the_last_pin_that_holds() {
    let announced = |date: &str| Some((date.to_owned(), Certainty::Announced));
    let leaves = json!([{ "key": "Root A", "kind": "leaves-mozilla", "at": "2027-04-15" }]);
    let of = |pins: &[&str]| lock_out(&json!({ "groups": [pins], "events": leaves }));
    assert_eq!(of(&["Root A"]), announced("2027-04-15"));
    // The server has to be moved to a chain with the backup, which nothing shows.
    assert_eq!(of(&["Root A", "backup"]), announced("2027-04-15"));
    // The end of the leaf is earlier, and the root holds afterwards.
    assert_eq!(of(&["leaf", "Root A"]), announced("2027-04-15"));
    assert_eq!(
        of(&["leaf"]),
        Some(("2026-08-01".to_owned(), Certainty::Risk))
    );
    assert_eq!(of(&["leaf", "backup"]), None);
    assert_eq!(of(&["leaf", "Root B"]), None);
}

#[test]
fn the_first_chain_whose_pins_end_locks_out() {
    let leaves = json!([{ "key": "Root A", "kind": "leaves-mozilla", "at": "2027-04-15" }]);
    let chains = json!([["leaf", "Sub A"], ["leaf B", "Sub B"]]);
    let changes = json!({ "chains": chains, "events": leaves });
    let forecast = forecast(&changes);
    let lock_out = forecast.lock_out.as_ref().unwrap();
    assert!(
        lock_out.reason.starts_with("Root A leaves"),
        "{}",
        lock_out.reason
    );
    assert!(forecast.pins.iter().all(|pin| pin.holds == Some(true)));
}

#[test]
fn the_first_group_that_ends_locks_out() {
    let groups = json!([["leaf:leaf"], ["ca:Root A"]]);
    let date = lock_out(&json!({ "groups": groups })).unwrap().0;
    assert_eq!(date, "2026-08-01");
}

#[test]
fn after_an_expiry_that_does_not_refuse_no_pin_locks_out() {
    let expiry =
        |at, refuses| json!({ "groups": [["leaf"]], "expiry": { "at": at, "refuses": refuses } });
    assert_eq!(lock_out(&expiry("2026-07-01", false)), None);
    assert_eq!(
        lock_out(&expiry("2026-09-01", false)).unwrap().0,
        "2026-08-01"
    );
    let refuses = lock_out(&expiry("2026-07-01", true));
    assert_eq!(refuses, Some(("2026-07-01".to_owned(), Certainty::Certain)));
}

#[test]
fn an_intermediate_ends_when_it_is_replaced() {
    let replaced = |at: &str| {
        let event = json!([{ "key": "Sub A", "kind": "replaced", "at": at }]);
        lock_out(&json!({ "groups": [["Sub A"]], "events": event }))
    };
    let announced = |date: &str| Some((date.to_owned(), Certainty::Announced));
    assert_eq!(replaced("2026-07-01"), announced("2026-07-01"));
    // It has been replaced: the next certificate, at the end of this one, has another issuer.
    assert_eq!(replaced("2026-05-15"), announced("2026-08-01"));
    let unannounced = lock_out(&json!({ "groups": [["Sub A"]] }));
    assert_eq!(
        unannounced,
        Some(("2030-01-01".to_owned(), Certainty::Certain))
    );
}

#[test]
fn announcements_after_the_time_of_the_judgement_do_not_count() {
    let event = |published: &str| {
        json!([{ "key": "Root A", "kind": "leaves-mozilla", "at": "2027-04-15",
            "published": published }])
    };
    let of = |published| {
        lock_out(&json!({ "groups": [["Root A", "backup"]], "events": event(published) }))
    };
    assert_eq!(of("2026-06-01").unwrap().0, "2027-04-15");
    assert_eq!(of("2026-06-02").unwrap().0, "2035-01-01");
}

/// Such as that of a root for TLS and e-mail, which loses one of the two.
#[test]
fn an_event_that_is_only_a_risk_is_a_notice_and_ends_no_pin() {
    for kind in [
        "leaves-mozilla",
        "cross-sign-ends",
        "replaced",
        "leaves-chrome",
    ] {
        for at in ["2026-05-15", "2026-07-01"] {
            let key = if kind == "replaced" {
                "Sub A"
            } else {
                "Root A"
            };
            let event = json!([{ "key": key, "kind": kind, "at": at, "certainty": "risk" }]);
            let forecast = forecast(&json!({ "groups": [[key]], "events": event }));
            let until = &forecast.lock_out.as_ref().unwrap().at;
            assert!(
                rfc3339::print(*until).as_str() >= "2030-01-01",
                "{kind} {at}"
            );
            assert!(!forecast.chains[0].paths.is_empty(), "{kind} {at}");
            let mut findings = forecast.findings.iter();
            let severe = findings.find(|it| it.severity >= Severity::Error);
            assert!(
                severe.is_none(),
                "{kind} {at}: {}",
                severe.unwrap().evidence
            );
        }
    }
    // The announced date counts, though the other one is earlier.
    let event = |at, certainty| json!({ "key": "Root A", "kind": "leaves-mozilla", "at": at, "certainty": certainty });
    let events = [
        event("2026-07-01", "risk"),
        event("2027-04-15", "announced"),
    ];
    let date = lock_out(&json!({ "groups": [["Root A"]], "events": events }));
    assert_eq!(date, Some(("2027-04-15".to_owned(), Certainty::Announced)));
}

/// Let's Encrypt replaced its cross-signs of 2025 in 2026, and its default chain has the later ones.
#[test]
fn a_past_end_of_cross_signs_is_none_of_a_chain_that_is_valid_now() {
    for (at, expected) in [("2026-05-13", "2026-12-01"), ("2026-07-01", "2026-07-01")] {
        let ends = json!([{ "key": "Root N", "kind": "cross-sign-ends", "at": at }]);
        let date = lock_out(&json!({
            "chains": [["leaf N", "Root N by Root A"]], "groups": [["Root A", "backup"]],
            "events": ends,
        }));
        assert_eq!(date.unwrap().0, expected);
    }
}

#[test]
fn a_root_that_has_left_is_no_anchor_any_more() {
    let leaves = json!([{ "key": "Root A", "kind": "leaves-mozilla", "at": "2026-05-15" }]);
    let forecast = forecast(&json!({ "groups": [["Root A", "backup"]], "events": leaves }));
    assert!(forecast.chains[0].paths.is_empty());
    let finding = &forecast.findings[0];
    assert_eq!(
        (finding.id, finding.severity),
        ("chain-invalid", Severity::LockedOut)
    );
    assert!(
        finding.evidence.contains("Root A has left"),
        "{}",
        finding.evidence
    );
}

#[test]
fn the_timeline_has_certificates_roots_pins_and_the_policy() {
    use crate::doctor::forecast::SpanKind::{Backup, Intermediate, Leaf, Pin, Policy, Root};
    let expiry = json!({ "at": "2028-01-01", "refuses": false });
    let forecast = forecast(&json!({ "groups": [["Root A", "backup"]], "expiry": expiry }));
    let mut kinds = forecast
        .timeline
        .iter()
        .map(|span| span.kind)
        .collect::<Vec<_>>();
    kinds.sort_by_key(|kind| format!("{kind:?}"));
    assert_eq!(kinds, [Backup, Intermediate, Leaf, Pin, Policy, Root]);
}
