//! The conditions of the warnings, met by a server that changes its keys.

use pinhold::health::HealthWarning;
use pinhold::policy::PinGroup;
use pinhold::{Event, PinPolicy, TrustAnchors, UserAddedRoots};

use crate::common::unrelated_pin;
use crate::world::World;

#[tokio::test]
async fn a_used_backup_is_reported_after_seven_days_on_which_no_older_pin_is_seen() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, [0, 1, 2]).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    world.serve(1);
    app.connect_on(&world, 3..10).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    app.connect_on(&world, [10]).await;
    let events = app.events();
    let [Event::OnlyBackupMatches { pin, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(*pin, world.pin(1));
    assert_eq!(app.policy().warnings, [HealthWarning::OnlyBackupMatches]);
    // It goes on until a release has another backup.
    app.connect_on(&world, [11, 40]).await;
    assert_eq!(app.event_names(), ["only_backup_matches"; 2]);
}

#[tokio::test]
async fn two_keys_in_use_at_once_are_no_used_backup() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    for day in 0..20 {
        world.serve(usize::from(day > 3 && day % 2 == 0));
        app.connect_on(&world, [day]).await;
    }
    // The first days with the second key alone.
    world.serve(1);
    app.connect_on(&world, 20..30).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
}

#[tokio::test]
async fn the_last_pin_is_reported_once_the_others_were_not_seen_for_30_days() {
    let world = World::new().await;
    // Of the leaf's key and its CA's the leaf's is lost.
    let policy = PinPolicy::new([world.pin(0), world.root.pin(), unrelated_pin()]).unwrap();
    let app = world.start(policy);
    app.connect_on(&world, [0, 1]).await;
    world.serve(2);
    app.connect_on(&world, (2..31).step_by(4)).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    app.connect_on(&world, [31]).await;
    let events = app.events();
    let [Event::LastPin { pin, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(*pin, world.root.pin());
    assert_eq!(app.policy().warnings, [HealthWarning::LastPin]);
    // Seen again, it is not lost.
    world.serve(0);
    app.connect_on(&world, [32]).await;
    assert!(app.policy().warnings.is_empty());
}

/// Which pins of a set were backups is not known on its first day.
#[tokio::test]
async fn a_pin_that_is_seen_on_the_first_day_of_a_set_is_no_used_backup() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, [0, 1]).await;
    let pins = [world.pin(0), world.root.pin()];
    let policies = [(super::world::HOST, PinPolicy::new(pins).unwrap())];
    app.pinning.replace_pins(policies).unwrap();
    app.connect_on(&world, [2]).await;
    world.serve(2);
    app.connect_on(&world, 3..20).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
}

/// The day of a release has connections with the pins before and after it.
#[tokio::test]
async fn pins_that_are_replaced_during_a_day_are_observed_from_then_on() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, 0..10).await;
    let policies = [(super::world::HOST, world.policy([0, 2]))];
    app.pinning.replace_pins(policies).unwrap();
    app.connect_on(&world, [9]).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    let policy = app.policy();
    assert_eq!(
        policy.since,
        policy.pins.iter().find_map(|pin| pin.last_seen)
    );
    assert!(policy.warnings.is_empty());
}

/// Servers with certificates of two keys, met once a week: the first connection of a day shows either.
#[tokio::test]
async fn two_keys_are_no_used_backup_if_connections_are_rare() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, [0, 7]).await;
    for day in [7, 14, 21] {
        world.serve(1);
        app.connect_on(&world, [day]).await;
    }
    world.serve(0);
    app.connect_on(&world, [21]).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
}

/// An application that is not used for months has seen no pin for as long.
#[tokio::test]
async fn a_pause_of_the_application_loses_no_pin() {
    let world = World::new().await;
    let app = world.start(PinPolicy::new([world.pin(0), world.root.pin()]).unwrap());
    app.connect_on(&world, [0]).await;
    world.serve(2);
    app.connect_on(&world, [400, 401]).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
}

#[tokio::test]
async fn a_backup_that_is_never_seen_is_reported_after_90_days_and_then_every_30_days() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, (0..90).step_by(10)).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    app.connect_on(&world, [90, 91, 119]).await;
    assert_eq!(app.event_names(), ["backup_never_seen"]);
    app.connect_on(&world, [120]).await;
    assert_eq!(app.event_names(), ["backup_never_seen"]);
    // Proved on one day, it is proved.
    world.serve(1);
    app.connect_on(&world, [121]).await;
    world.serve(0);
    app.connect_on(&world, [122, 300]).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    assert!(app.policy().warnings.is_empty());
}

#[tokio::test]
async fn each_group_of_pins_needs_its_own_backup() {
    let world = World::new().await;
    let leaf = PinGroup::leaf([world.pin(0), world.pin(1)]).unwrap();
    let ca = PinGroup::ca([world.root.pin(), unrelated_pin()]).unwrap();
    let app = world.start(PinPolicy::all_of([leaf, ca]).unwrap());
    app.connect_on(&world, [0, 1]).await;
    world.serve(1);
    app.connect_on(&world, 2..10).await;
    assert_eq!(app.event_names(), ["only_backup_matches"]);
}

#[tokio::test]
async fn skipped_pins_are_reported_and_show_nothing_about_them() {
    let world = World::new().await;
    let user_added = TrustAnchors::new().with_user_added([world.root.certificate()]);
    let user_added = user_added.unwrap();
    let app = world.start(world.policy([1, 2]));
    for day in [0, 0, 1] {
        world.set_day(day);
        assert!(app.connect_with(&world, user_added.clone()).await);
    }
    assert_eq!(app.event_names(), ["bypass_active"; 2]);
    let policy = app.policy();
    assert_eq!((app.counts().skipped, app.counts().passed), (3, 0));
    assert_eq!((policy.days, policy.since), (0, None));
    assert!(policy.pins.iter().all(|pin| pin.first_seen.is_none()));
    assert_eq!(policy.warnings, [HealthWarning::BypassActive]);
    world.set_day(2);
    assert!(app.policy().warnings.is_empty());
}

/// An attacker on the network can cause refusals, and nothing else.
#[tokio::test]
async fn a_refused_chain_is_counted_and_changes_nothing_else() {
    let world = World::new().await;
    let app = world.start_with(|builder| {
        let policy = world.policy([0, 1]);
        let policy = policy.user_added_roots(UserAddedRoots::EnforcePins);
        builder.static_pins(super::world::HOST, policy)
    });
    app.connect_on(&world, [0]).await;
    let before = app.policy();
    world.serve(2);
    for day in 1..100 {
        world.set_day(day);
        assert!(!app.connect(&world).await);
    }
    let after = app.policy();
    assert_eq!((app.counts().refused, app.counts().passed), (99, 1));
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    assert_eq!(after.pins, before.pins);
    assert_eq!((after.days, after.since), (before.days, before.since));
    assert_eq!(app.pinning.health().policies.len(), 1);
}

#[tokio::test]
async fn nothing_is_recorded_without_the_setting() {
    let world = World::new().await;
    let builder = pinhold::Pinning::builder().store(world.open());
    let builder = builder.static_pins(super::world::HOST, world.policy([0, 1]));
    let app = world.build(builder);
    assert!(app.connect(&world).await);
    assert!(app.pinning.health().policies.is_empty());
    app.pinning.store().flush().unwrap();
    drop(app);
    let file = std::fs::read_to_string(world.file()).unwrap_or_default();
    assert!(!file.contains("health"), "{file}");
}
