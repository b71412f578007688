//! Rollouts over chains that end in user-added roots and in roots of unknown origin.

use pinhold::{Decision, Enforcement, Event, TrustAnchors, UserAddedRoots};

use super::{Fixture, NAMES, with_candidate};
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{header_value, policy_with};

#[tokio::test]
async fn user_added_roots_are_counted_only_if_pins_are_enforced_there() {
    // 7469-2.6-j
    let fixture = Fixture::start().await;
    let user_added = || TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    fixture.set(fixture.failing());
    let connection = fixture
        .connect_with(user_added().unwrap(), "example.com")
        .await;
    assert!(matches!(connection.unwrap().decision(), Decision::Skipped));
    let events = fixture.recorder.events(&fixture.pinning);
    assert!(matches!(&events[..], [Event::Skipped { host }] if host.as_str() == "example.com"));
    assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
    assert_eq!(fixture.counts(), (0, 0));

    // Nor are they counted if the enforced pins pass and the candidate fails.
    fixture.set(with_candidate(fixture.live(), &fixture.failing()));
    let connection = fixture
        .connect_with(user_added().unwrap(), "example.com")
        .await;
    assert!(matches!(connection.unwrap().decision(), Decision::Pass));
    fixture.recorder.assert_no_event_or_report(&fixture.pinning);
    assert_eq!(fixture.counts(), (0, 0));

    // They are counted if the policy is enforced for user-added roots.
    let enforced = fixture.live().user_added_roots(UserAddedRoots::EnforcePins);
    fixture.set(with_candidate(enforced, &fixture.failing()));
    fixture
        .connect_with(user_added().unwrap(), "example.com")
        .await;
    fixture.recorder.would_be_violation(&fixture.pinning);
    assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
    assert_eq!(fixture.counts(), (1, 1));
}

#[tokio::test]
async fn report_only_pins_are_evaluated_where_noted_pins_are_skipped() {
    let mut fixture = Fixture::start().await;
    let value = header_value(fixture.leaf.pin(), "max-age=100");
    fixture.server = Server::start(&fixture.leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &fixture.server)]);
    let mut client = client(&fixture.pinning, built_in_anchors(&[&fixture.root]), &names);
    get(&mut client, "https://example.com/").await.unwrap();
    assert_eq!(fixture.recorder.events(&fixture.pinning).len(), 1);

    let other = fixture.root.leaf(&NAMES);
    fixture.server = Server::start(&other, &[]).await;
    let user_added = || TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    let report_only = fixture.live().enforcement(Enforcement::ReportOnly);
    let report_only = report_only.user_added_roots(UserAddedRoots::EnforcePins);
    // A report-only policy and its candidate each emit a violation.
    let two = with_candidate(report_only.clone(), &policy_with(fixture.leaf.pin()));
    for (policy, expected) in [(report_only, 1), (two, 2)] {
        fixture.set(policy);
        let connection = fixture
            .connect_with(user_added().unwrap(), "example.com")
            .await;
        assert!(matches!(connection.unwrap().decision(), Decision::Skipped));
        let events = fixture.recorder.events(&fixture.pinning);
        let (skipped, would_be) = events.split_last().unwrap();
        assert!(matches!(skipped, Event::Skipped { .. }));
        let is_would_be = |event: &Event| matches!(event, Event::WouldBeViolation(_));
        assert!(would_be.iter().all(is_would_be) && would_be.len() == expected);
        assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
    }
    // The pins of the rollout are the same in both rounds.
    assert_eq!(fixture.counts(), (2, 2));
}

#[tokio::test]
async fn a_root_of_unknown_origin_is_counted_and_emitted_but_not_reported() {
    // 7469-5-e
    let fixture = Fixture::start().await;
    fixture.set(with_candidate(fixture.live(), &fixture.failing()));
    let unknown = TrustAnchors::new().with_unknown([fixture.root.certificate()]);
    let connection = fixture.connect_with(unknown.unwrap(), "example.com").await;
    assert!(connection.is_some());
    assert_eq!(fixture.counts(), (1, 1));
    fixture.recorder.would_be_violation(&fixture.pinning);
    assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
}
