//! Rollouts over chains that end in user-added roots and in roots of unknown origin.

use pinhold::{Decision, Enforcement, Event, TrustAnchors, UserAddedRoots};

use crate::common::server::{Names, Server, client, get};
use crate::common::validated::trusting;
use crate::common::{header_value, pinned_to};
use crate::{NAMES, Scene, with_candidate};

#[tokio::test]
async fn user_added_roots_are_counted_only_if_pins_are_enforced_there() {
    // 7469-2.6-j
    let scene = Scene::start().await;
    let user_added = || TrustAnchors::new().with_user_added([scene.root.certificate()]);
    scene.set(scene.failing());
    let connection = scene
        .connect_with(user_added().unwrap(), "example.com")
        .await;
    assert!(matches!(connection.unwrap().decision(), Decision::Skipped));
    let events = scene.observed.events(&scene.pinning);
    assert!(matches!(&events[..], [Event::Skipped { host }] if host.as_str() == "example.com"));
    assert!(scene.observed.reports(&scene.pinning).is_empty());
    assert_eq!(scene.counts(), (0, 0));

    // Nor are they counted if the enforced pins pass and the candidate fails.
    scene.set(with_candidate(scene.live(), &scene.failing()));
    let connection = scene
        .connect_with(user_added().unwrap(), "example.com")
        .await;
    assert!(matches!(connection.unwrap().decision(), Decision::Pass));
    scene.observed.nothing(&scene.pinning);
    assert_eq!(scene.counts(), (0, 0));

    // They are counted if the policy is enforced for user-added roots.
    let enforced = scene.live().user_added_roots(UserAddedRoots::EnforcePins);
    scene.set(with_candidate(enforced, &scene.failing()));
    scene
        .connect_with(user_added().unwrap(), "example.com")
        .await;
    scene.observed.would_be(&scene.pinning);
    assert!(scene.observed.reports(&scene.pinning).is_empty());
    assert_eq!(scene.counts(), (1, 1));
}

#[tokio::test]
async fn report_only_pins_are_evaluated_where_noted_pins_are_skipped() {
    let mut scene = Scene::start().await;
    let value = header_value(scene.leaf.pin(), "max-age=100");
    scene.server = Server::start(&scene.leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &scene.server)]);
    let mut client = client(&scene.pinning, trusting(&[&scene.root]), &names);
    get(&mut client, "https://example.com/").await.unwrap();
    assert_eq!(scene.observed.events(&scene.pinning).len(), 1);

    let other = scene.root.leaf(&NAMES);
    scene.server = Server::start(&other, &[]).await;
    let user_added = || TrustAnchors::new().with_user_added([scene.root.certificate()]);
    let report_only = scene.live().enforcement(Enforcement::ReportOnly);
    let report_only = report_only.user_added_roots(UserAddedRoots::EnforcePins);
    // A report-only policy and its candidate each emit a violation.
    let two = with_candidate(report_only.clone(), &pinned_to(scene.leaf.pin()));
    for (policy, expected) in [(report_only, 1), (two, 2)] {
        scene.set(policy);
        let connection = scene
            .connect_with(user_added().unwrap(), "example.com")
            .await;
        assert!(matches!(connection.unwrap().decision(), Decision::Skipped));
        let events = scene.observed.events(&scene.pinning);
        let (skipped, would_be) = events.split_first().unwrap();
        assert!(matches!(skipped, Event::Skipped { .. }));
        let is_would_be = |event: &Event| matches!(event, Event::WouldBeViolation(_));
        assert!(would_be.iter().all(is_would_be) && would_be.len() == expected);
        assert!(scene.observed.reports(&scene.pinning).is_empty());
    }
    // The pins of the rollout are the same in both rounds.
    assert_eq!(scene.counts(), (2, 2));
}

#[tokio::test]
async fn a_root_of_unknown_origin_is_counted_and_emitted_but_not_reported() {
    // 7469-5-e
    let scene = Scene::start().await;
    scene.set(with_candidate(scene.live(), &scene.failing()));
    let unknown = TrustAnchors::new().with_unknown([scene.root.certificate()]);
    let connection = scene.connect_with(unknown.unwrap(), "example.com").await;
    assert!(connection.is_some());
    assert_eq!(scene.counts(), (1, 1));
    scene.observed.would_be(&scene.pinning);
    assert!(scene.observed.reports(&scene.pinning).is_empty());
}
