//! Records of the storage: after restarts, losses and damage, and their limits.

use std::fs;

use pinhold::health::HealthOptions;
use pinhold::storage::{Change, Record, Storage};
use pinhold::{FileStorage, PinPolicy, PinStore};

use crate::common::noted::numbered_pin;
use crate::common::server::{client, get};
use crate::common::{DAY, NOW, at};
use crate::world::{HOST, World};

fn records(world: &World) -> Vec<Record> {
    let records = FileStorage::new(world.file()).load().unwrap();
    let health = |record: &Record| record.kind() == Record::HEALTH;
    records.into_iter().filter(health).collect()
}

fn overwrite(world: &World, changes: &[Change]) {
    let mut storage = FileStorage::new(world.file());
    storage.load().unwrap();
    storage.commit(changes).unwrap();
}

#[tokio::test]
async fn a_restart_continues_pins_days_and_counts_by_version() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, [0, 1]).await;
    app.stop();
    let app = world.start_with(|builder| {
        let builder = builder.health(HealthOptions::new("1.5.0"));
        builder.static_pins(HOST, world.policy([0, 1]))
    });
    world.serve(1);
    app.connect_on(&world, 2..10).await;
    assert_eq!(app.event_names(), ["only_backup_matches"]);
    let policy = app.policy();
    let day = |day: u64| Some(at((NOW / DAY + day) * DAY));
    assert_eq!((policy.since, policy.days), (day(0), 10));
    let seen = policy
        .pins
        .iter()
        .map(|pin| (pin.pin, pin.first_seen, pin.last_seen));
    let mut expected = vec![
        (world.pin(0), day(0), day(1)),
        (world.pin(1), day(2), day(9)),
    ];
    expected.sort();
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    let counts = policy
        .versions
        .iter()
        .map(|of| (&*of.app_version, of.passed));
    assert_eq!(counts.collect::<Vec<_>>(), [("1.4.2", 2), ("1.5.0", 8)]);
}

#[tokio::test]
async fn changed_pins_begin_anew_and_a_pin_of_both_sets_keeps_its_history() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, (0..89).step_by(8)).await;
    let replace = |policy: PinPolicy| app.pinning.replace_pins([(HOST, policy)]).unwrap();
    // Another backup was observed for no time.
    replace(world.policy([0, 2]));
    app.connect_on(&world, [90, 91]).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    let policy = app.policy();
    let first = policy
        .pins
        .iter()
        .find(|pin| pin.pin == world.pin(0))
        .unwrap();
    assert_eq!(first.first_seen, Some(at(NOW / DAY * DAY)));
    assert_eq!(policy.since, Some(at((NOW / DAY + 90) * DAY)));
    // The live key was seen with the old pins: that the backup is used is known at once.
    world.serve(2);
    app.connect_on(&world, 92..100).await;
    assert_eq!(app.event_names(), ["only_backup_matches"]);
    // A set of which no pin was seen gives no alarm.
    replace(world.policy([2, 1]));
    world.serve(1);
    app.connect_on(&world, [100, 101]).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    let all = app.pinning.health().policies;
    assert_eq!(
        (all.len(), all.iter().filter(|it| it.is_current).count()),
        (3, 1)
    );
    assert_eq!(all.iter().map(|it| it.versions[0].passed).sum::<u64>(), 24);
}

#[tokio::test]
async fn damaged_and_unknown_records_are_ignored_and_no_pin_is_lost() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, [0]).await;
    app.stop();
    let known = records(&world);
    let [record] = &known
        .iter()
        .filter(|it| it.key() != "salt")
        .collect::<Vec<_>>()[..]
    else {
        panic!("{known:?}");
    };
    let value = record.value().to_owned();
    let mut damaged = vec!["{}".to_owned(), "7".to_owned(), "null".to_owned()];
    damaged.extend((1..value.len()).map(|len| format!("\"{}\"", &value[..len].replace('"', "'"))));
    damaged.push(value.replace("\"days\":1", "\"days\":99999999999"));
    damaged.push(value.replace("1.4.2", "1\u{e9}"));
    damaged.push(value.replace("\"days\":1", "\"days\":0"));
    damaged.push(value.replace("\"recent\":[", "\"recent\":[1,2,"));
    for value in damaged {
        let changed = Record::new(Record::HEALTH, record.key(), &value, record.time()).unwrap();
        let other = Record::new(Record::HEALTH, "not a key", &value, record.time()).unwrap();
        overwrite(&world, &[Change::put(changed), Change::put(other)]);
        let app = world.start(world.policy([0, 1]));
        assert!(app.pinning.health().policies.is_empty(), "{value}");
    }
    // What can't be read is replaced.
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, [1]).await;
    app.stop();
    assert_eq!(
        world.start(world.policy([0, 1])).pinning.health().policies[0].days,
        1
    );
    assert!(
        records(&world)
            .iter()
            .any(|record| record.key() == "not a key")
    );
}

#[tokio::test]
async fn a_deleted_file_is_written_again() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, [0, 1]).await;
    app.pinning.store().flush().unwrap();
    fs::remove_file(world.file()).unwrap();
    app.connect_on(&world, [2]).await;
    app.pinning.store().flush().unwrap();
    app.stop();
    let app = world.start(world.policy([0, 1]));
    let [policy] = &app.pinning.health().policies[..] else {
        panic!("one policy");
    };
    assert_eq!((policy.days, policy.versions[0].passed), (3, 3));
}

/// Counts are written with the next commit, and a day that begins is written at once.
#[tokio::test]
async fn connections_of_one_day_cause_no_commit_each() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, [0]).await;
    app.pinning.store().flush().unwrap();
    let before = fs::metadata(world.file()).unwrap().len();
    app.connect_on(&world, [0; 50]).await;
    assert_eq!(fs::metadata(world.file()).unwrap().len(), before);
    app.pinning.store().flush().unwrap();
    let after = fs::metadata(world.file()).unwrap().len();
    assert!(
        (before + 1..before + 1000).contains(&after),
        "{before} {after}"
    );
    app.stop();
    assert_eq!(
        world.start(world.policy([0, 1])).pinning.health().policies[0].versions[0].passed,
        51
    );
}

#[tokio::test]
async fn versions_and_pin_sets_are_limited() {
    let world = World::new().await;
    for release in 0..12 {
        world.set_day(release);
        let app = world.start_with(|builder| {
            let builder = builder.health(HealthOptions::new(format!("1.{release}")));
            builder.static_pins(HOST, world.policy([0, 1]))
        });
        assert!(app.connect(&world).await);
        app.stop();
    }
    let app = world.start(world.policy([0, 1]));
    let versions = app.pinning.health().policies[0].versions.clone();
    let mut versions = versions
        .iter()
        .map(|of| of.app_version.clone())
        .collect::<Vec<_>>();
    versions.sort();
    let mut expected = (4..12)
        .map(|release| format!("1.{release}"))
        .collect::<Vec<_>>();
    expected.sort();
    assert_eq!(versions, expected);
    app.stop();
    // Other pins each day; those of an earlier process give way to those of the present one.
    for (days, expected) in [(20..220, 201), (220..300, 256)] {
        let app = world.start(world.policy([0, 1]));
        for day in days {
            let pins = [world.pin(0), numbered_pin(day)];
            let policy = PinPolicy::new(pins).unwrap();
            app.pinning.replace_pins([(HOST, policy)]).unwrap();
            app.connect_on(&world, [day]).await;
        }
        assert_eq!(app.pinning.health().policies.len(), expected);
        app.stop();
    }
    // With that of the salt.
    assert_eq!(records(&world).len(), 257);
    let app = world.start(world.policy([0, 1]));
    let policies = app.pinning.health().policies;
    let last = policies
        .iter()
        .filter_map(|policy| policy.last_connection)
        .max();
    assert_eq!(last, Some(at(NOW + 299 * DAY)));
}

/// Pins that a bundle replaced while the process runs give way to those that replace them.
#[tokio::test]
async fn replaced_pins_make_room_for_others() {
    let world = World::new().await;
    let app = world.start_with(|builder| builder.store(PinStore::in_memory()));
    let names = (0..255).map(|number| format!("n{number}.{HOST}"));
    let names = names.collect::<Vec<_>>();
    let replace = |others: &[String], backup: u64| {
        let policy = |name: &str, number| {
            let pins = [world.pin(0), numbered_pin(number)];
            (name.to_owned(), PinPolicy::new(pins).unwrap())
        };
        let others = others.iter().map(|name| policy(name, 0));
        let policies = others.chain([policy(HOST, backup)]);
        app.pinning.replace_pins(policies).unwrap();
    };
    let mut client = client(&app.pinning, world.anchors(), &world.names);
    let (last, others) = names.split_last().unwrap();
    replace(others, 1);
    for name in others {
        world
            .names
            .point_to(name, world.names.address(HOST).unwrap());
        get(&mut client, &format!("https://{name}/")).await.unwrap();
    }
    app.connect_on(&world, [0]).await;
    replace(others, 2);
    app.connect_on(&world, [1]).await;
    let is_known = |host: &str, pin: u64| {
        let policies = app.pinning.health().policies;
        assert_eq!(policies.len(), 256);
        policies.iter().any(|policy| {
            let has_pin = policy.pins.iter().any(|it| it.pin == numbered_pin(pin));
            policy.host.as_str() == host && policy.is_current && has_pin
        })
    };
    assert!(is_known(HOST, 2));
    // A further host takes the place of the first pins, which the second ones have replaced.
    replace(&names, 2);
    world
        .names
        .point_to(last, world.names.address(HOST).unwrap());
    get(&mut client, &format!("https://{last}/")).await.unwrap();
    assert!(is_known(last, 0) && is_known(HOST, 2));
    // All are in effect: the next ones take the place of those that they replace, and go on.
    replace(&names, 3);
    app.connect_on(&world, [2]).await;
    assert!(is_known(HOST, 3) && !is_known(HOST, 2));
    let policies = app.pinning.health().policies;
    let policy = policies.iter().find(|policy| policy.host.as_str() == HOST);
    assert_eq!(policy.unwrap().days, 3);
}
