//! Two processes that share a storage, and a process that is killed.

use pinhold::Pinning;
use pinhold::health::HealthOptions;

use crate::world::{App, HOST, World};

fn start(world: &World) -> App {
    world.start(world.policy([0, 1]))
}

/// Commits a change, with which the store reads what others have stored.
fn exchange(app: &App) {
    app.pinning.store().clear();
    app.pinning.store().flush().unwrap();
}

fn passed(app: &App) -> u64 {
    let policies = app.pinning.health().policies;
    policies
        .first()
        .map_or(0, |policy| policy.versions[0].passed)
}

#[tokio::test]
async fn two_stores_on_one_file_add_to_the_same_counts() {
    let world = World::new().await;
    // They do not know each other's records when they start.
    let [one, other] = [start(&world), start(&world)];
    for round in 0..10 {
        one.connect_on(&world, [0]).await;
        other.connect_on(&world, [0, 0]).await;
        if round % 3 == 0 {
            other.pinning.store().flush().unwrap();
        }
        if round % 4 == 0 {
            one.pinning.store().flush().unwrap();
        }
    }
    for app in [&one, &other, &one] {
        exchange(app);
    }
    assert_eq!((passed(&one), passed(&other)), (30, 30));
    one.stop();
    other.stop();
    let app = world.start(world.policy([0, 1]));
    assert_eq!(passed(&app), 30);
    let policy = &app.pinning.health().policies[0];
    assert_eq!((policy.days, app.pinning.health().policies.len()), (1, 1));
}

#[tokio::test]
async fn what_another_process_has_seen_or_emitted_is_known() {
    let world = World::new().await;
    let [one, other] = [start(&world), start(&world)];
    one.connect_on(&world, [0, 1]).await;
    exchange(&one);
    exchange(&other);
    world.serve(1);
    other.connect_on(&world, 2..10).await;
    assert_eq!(other.event_names(), ["only_backup_matches"]);
    exchange(&other);
    exchange(&one);
    one.connect_on(&world, [9]).await;
    assert_eq!(one.event_names(), <[&str; 0]>::default());
    assert_eq!(one.policy().days, 10);
}

/// Two parts of an application with one store.
#[tokio::test]
async fn two_handles_to_one_store_count_once_each() {
    let world = World::new().await;
    let store = world.open();
    let apps = [(), ()].map(|()| {
        let builder = Pinning::builder().store(store.clone());
        let builder = builder.health(HealthOptions::new("1.4.2"));
        world.build(builder.static_pins(HOST, world.policy([0, 1])))
    });
    for app in &apps {
        app.connect_on(&world, [0, 0]).await;
    }
    apps.into_iter().for_each(App::stop);
    drop(store);
    assert_eq!(passed(&world.start(world.policy([0, 1]))), 4);
}

/// What a kill leaves: a file that was read when the day had begun.
#[tokio::test]
async fn a_killed_process_loses_counts_of_a_minute_and_no_day() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, [0, 1]).await;
    app.pinning.store().flush().unwrap();
    app.connect_on(&world, [1, 1]).await;
    let left = std::fs::read(world.file()).unwrap();
    app.stop();
    std::fs::write(world.file(), left).unwrap();
    let app = world.start(world.policy([0, 1]));
    assert_eq!(app.pinning.health().policies[0].days, 2);
    assert_eq!(passed(&app), 2);
}
