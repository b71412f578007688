//! Pin bundles: pins that change while the application runs, and bundles that become stale.

use pinhold::health::HealthOptions;
use pinhold::{Event, PinStore, Pinning, UserAddedRoots};

use crate::common::bundles::{Body, ISSUED, Operator};
use crate::common::{DAY, NOW, at};
use crate::export::parse;
use crate::world::{App, HOST, World};

/// Days from the start of the clock to the first bundle.
const BEGIN: u64 = (ISSUED - NOW) / DAY + 1;

fn body(world: &World, version: u64, keys: [usize; 2]) -> Body {
    let pins = keys.map(|index| world.pin(index));
    Body::new(version, [(HOST, pins)]).with("when_stale", "\"enforce\"")
}

fn start(world: &World, operator: &Operator, built_in: &Body) -> App {
    world.set_day(BEGIN);
    let builder = Pinning::builder().store(PinStore::in_memory());
    let builder = builder.health(HealthOptions::new("1.4.2"));
    world.build(builder.bundles(operator.bundles(built_in)))
}

#[tokio::test]
async fn a_bundle_that_replaces_pins_gives_no_alarm_and_keeps_what_was_seen() {
    let world = World::new().await;
    let operator = Operator::default();
    let app = start(&world, &operator, &body(&world, 1, [0, 1]));
    app.connect_on(&world, [BEGIN, BEGIN + 1]).await;
    // The key changes together with the pins.
    let replaced = operator.sign(&body(&world, 2, [1, 2]));
    app.pinning.apply_bundle(&replaced).unwrap();
    world.serve(1);
    app.connect_on(&world, BEGIN + 2..BEGIN + 8).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    let policy = app.policy();
    let first = policy.pins.iter().filter_map(|pin| pin.first_seen).min();
    assert_eq!(first, Some(at((NOW / DAY + BEGIN + 2) * DAY)));
    // The backup of the new bundle is used up.
    world.serve(2);
    app.connect_on(&world, BEGIN + 8..BEGIN + 16).await;
    assert_eq!(app.event_names(), ["only_backup_matches"]);
}

#[tokio::test]
async fn a_staged_bundle_is_counted_as_a_candidate() {
    let world = World::new().await;
    let operator = Operator::default();
    let app = start(&world, &operator, &body(&world, 1, [0, 1]));
    let staged = body(&world, 2, [1, 2]).with("staging", r#"{ "percent": 0, "salt": "s" }"#);
    app.pinning.apply_bundle(&operator.sign(&staged)).unwrap();
    app.connect_on(&world, [BEGIN, BEGIN + 1]).await;
    let policies = app.pinning.health().policies;
    let candidate = policies.iter().find(|policy| policy.is_candidate).unwrap();
    assert_eq!(candidate.versions[0].candidate_would_be_refused, 2);
    let host = pinhold::Host::parse(HOST).unwrap();
    let rollout = app.pinning.rollout(&host).unwrap();
    assert_eq!((rollout.connections, rollout.would_have_failed), (2, 2));
    assert_eq!(app.event_names(), <[&str; 0]>::default());
}

#[tokio::test]
async fn a_stale_bundle_is_reported_daily_until_it_is_renewed() {
    let world = World::new().await;
    let operator = Operator::default();
    for when_stale in ["enforce", "report-only", "built-in"] {
        let quoted = format!("\"{when_stale}\"");
        let built_in = body(&world, 1, [0, 1]).with("when_stale", &quoted);
        let app = start(&world, &operator, &built_in);
        app.connect_on(&world, [BEGIN, BEGIN + 88]).await;
        assert_eq!(app.event_names(), <[&str; 0]>::default(), "{when_stale}");
        app.connect_on(&world, [BEGIN + 91, BEGIN + 91, BEGIN + 92])
            .await;
        let events = app.events();
        let is_expected = |event: &Event| {
            matches!(event, Event::Stale { expired, .. }
            if *expired == at(ISSUED + 90 * DAY))
        };
        assert_eq!(events.len(), 2, "{when_stale}: {events:?}");
        assert!(events.iter().all(is_expected), "{when_stale}: {events:?}");
        let renewed = body(&world, 2, [0, 1]);
        let renewed = renewed.with("expires", crate::common::bundles::time(ISSUED + 300 * DAY));
        app.pinning.apply_bundle(&operator.sign(&renewed)).unwrap();
        app.connect_on(&world, [BEGIN + 93]).await;
        assert_eq!(app.event_names(), <[&str; 0]>::default(), "{when_stale}");
    }
}

#[tokio::test]
async fn a_fixed_policy_beside_a_bundle_has_a_history_of_its_own() {
    let world = World::new().await;
    let operator = Operator::default();
    world.set_day(BEGIN);
    let builder = Pinning::builder().store(PinStore::in_memory());
    let builder = builder.health(HealthOptions::new("1.4.2"));
    let builder = builder.static_pins(HOST, world.policy([0, 2]).fixed());
    let app = world.build(builder.bundles(operator.bundles(&body(&world, 1, [0, 1]))));
    app.connect_on(&world, [BEGIN]).await;
    let policies = app.pinning.health().policies;
    assert_eq!(policies.len(), 2);
    assert!(
        policies
            .iter()
            .all(|policy| policy.is_current && policy.versions[0].passed == 1)
    );
    // Both have the same labels, of which no two samples may have all.
    let samples = parse(&app.pinning.health().to_prometheus());
    assert_eq!(samples["pinhold_pin_last_seen_timestamp_seconds"].len(), 3);
}

/// A bundle may have the pins that the application was built with: they are one set.
#[tokio::test]
async fn a_fixed_policy_with_the_pins_of_the_bundle_counts_a_connection_once() {
    let world = World::new().await;
    let operator = Operator::default();
    world.set_day(BEGIN);
    let builder = Pinning::builder().store(PinStore::in_memory());
    let builder = builder.health(HealthOptions::new("1.4.2"));
    let policy = world
        .policy([0, 1])
        .user_added_roots(UserAddedRoots::EnforcePins);
    let builder = builder.static_pins(HOST, policy.fixed());
    let app = world.build(builder.bundles(operator.bundles(&body(&world, 1, [0, 1]))));
    app.connect_on(&world, [BEGIN]).await;
    world.serve(2);
    assert!(!app.connect(&world).await);
    assert_eq!(app.pinning.health().policies.len(), 1);
    assert_eq!((app.counts().passed, app.counts().refused), (1, 1));
}
