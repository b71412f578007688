//! Each warning is emitted once for each day that the clock shows.

use pinhold::TrustAnchors;

use crate::world::{App, World};

/// Makes a connection whose pins are skipped.
async fn skip(world: &World, app: &App) -> usize {
    let user_added = TrustAnchors::new().with_user_added([world.root.certificate()]);
    assert!(app.connect_with(world, user_added.unwrap()).await);
    app.event_names().len()
}

#[tokio::test]
async fn a_warning_is_emitted_once_a_day_across_restarts() {
    let world = World::new().await;
    for day in 0..3 {
        world.set_day(day);
        for (restart, expected) in [(0, 1), (1, 0), (2, 0)] {
            let app = world.start(world.policy([1, 2]));
            assert_eq!(skip(&world, &app).await, expected, "{day} {restart}");
            assert_eq!(skip(&world, &app).await, 0, "{day} {restart}");
            app.stop();
        }
    }
}

#[tokio::test]
async fn a_clock_that_jumps_repeats_no_day_and_delays_none() {
    let world = World::new().await;
    let app = world.start(world.policy([1, 2]));
    let far = 365 * 20;
    for (day, expected) in [
        (10, 1),
        (11, 1),
        // Back, forth, and back again.
        (10, 0),
        (11, 0),
        (far, 1),
        (11, 0),
        (far, 0),
        // The right day comes, although the clock has shown a later one.
        (12, 1),
        (12, 0),
        // Before the first day.
        (0, 1),
        (12, 0),
    ] {
        world.set_day(day);
        assert_eq!(skip(&world, &app).await, expected, "{day}");
    }
}

/// Another pin set, or another scope, of a host is not another host.
#[tokio::test]
async fn other_pins_of_a_host_repeat_no_warning_of_the_day() {
    let world = World::new().await;
    let app = world.start(world.policy([1, 2]));
    assert_eq!(skip(&world, &app).await, 1);
    for policy in [
        world.policy([1, 2]).include_subdomains(),
        world.policy([2, 1]),
        pinhold::PinPolicy::new([world.pin(1), crate::common::unrelated_pin()]).unwrap(),
    ] {
        let policies = [(super::world::HOST, policy)];
        app.pinning.replace_pins(policies).unwrap();
        assert_eq!(skip(&world, &app).await, 0);
    }
}

/// The days that a wrong clock shows are one day with a connection at most.
#[tokio::test]
async fn a_clock_in_the_future_loses_no_pin_and_observes_for_no_longer() {
    let world = World::new().await;
    let pins = [world.pin(0), world.root.pin(), world.pin(1)];
    let app = world.start(pinhold::PinPolicy::new(pins).unwrap());
    app.connect_on(&world, 0..3).await;
    world.serve(2);
    app.connect_on(&world, [365 * 14, 4, 365 * 15, 5]).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    let policy = app.policy();
    assert_eq!(policy.days, 7);
    let last = policy.pins.iter().filter_map(|pin| pin.last_seen).max();
    let expected = (crate::common::NOW / crate::common::DAY + 5) * crate::common::DAY;
    assert_eq!(last.unwrap().as_secs(), expected);
}
