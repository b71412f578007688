//! New, unchanged and changed keys, and how long they hold.

use pinhold::first_use::OnChange;
use pinhold::{FileStorage, PinStore};

use crate::common::{DAY, NOW, at};
use crate::{Fixture, change, first_use, host, leaf_of};

#[tokio::test]
async fn a_change_is_refused_until_the_remembered_keys_have_lapsed() {
    let fixture = Fixture::new(first_use());
    let (own, other) = (leaf_of(&fixture.own), leaf_of(&fixture.other));
    fixture.activate(&own).await;
    let known = fixture.store.remembered_keys(&host()).unwrap();
    let refused = change(fixture.visit(&other).await);
    assert_eq!(refused.held_until(), at(NOW + 20 * DAY));
    assert_eq!(refused.seen().next().unwrap().fingerprint, other.pin());
    assert_eq!(fixture.store.remembered_keys(&host()).unwrap(), known);
    fixture.visit(&own).await.unwrap();
    fixture.clock.set(NOW + 20 * DAY);
    change(fixture.visit(&other).await);
    fixture.clock.set(NOW + 20 * DAY + 1);
    fixture.visit(&other).await.unwrap();
}

#[tokio::test]
async fn a_reported_change_is_used_and_not_remembered() {
    let fixture = Fixture::new(first_use().on_change(OnChange::Report));
    fixture.activate(&leaf_of(&fixture.own)).await;
    let known = fixture.store.remembered_keys(&host());
    fixture.visit(&leaf_of(&fixture.other)).await.unwrap();
    assert_eq!(fixture.store.remembered_keys(&host()), known);
}

#[tokio::test]
async fn other_hosts_leave_no_traces_until_they_are_named() {
    let first_use = pinhold::first_use::FirstUse::new(["other.example"]).unwrap();
    let fixture = Fixture::new(first_use);
    let leaf = leaf_of(&fixture.own);
    fixture.visit(&leaf).await.unwrap();
    assert!(fixture.store.first_use_hosts().is_empty());
    fixture.pinning.first_use().unwrap().remember(host());
    fixture.visit(&leaf).await.unwrap();
    assert_eq!(fixture.store.first_use_hosts().len(), 1);
    fixture.store.clear();
    assert!(fixture.store.first_use_hosts().is_empty());
}

#[tokio::test]
async fn keys_hold_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = || PinStore::open(FileStorage::new(folder.path().join("store"))).unwrap();
    let fixture = Fixture::with_store(first_use(), open());
    fixture.activate(&leaf_of(&fixture.own)).await;
    let known = fixture.store.remembered_keys(&host());
    fixture.store.flush().unwrap();
    drop(fixture);
    let fixture = Fixture::with_store(first_use(), open());
    assert_eq!(fixture.store.remembered_keys(&host()), known);
    fixture.clock.set(NOW + 10 * DAY);
    change(fixture.visit(&leaf_of(&fixture.other)).await);
}

/// The second process has not read what the first one has stored.
#[tokio::test]
async fn of_two_processes_on_one_file_the_first_use_wins() {
    let folder = tempfile::tempdir().unwrap();
    let open = || PinStore::open(FileStorage::new(folder.path().join("store"))).unwrap();
    let (one, other) = (open(), open());
    let first = Fixture::with_store(first_use(), one);
    let second = Fixture::with_store(first_use(), other);
    let leaf = leaf_of(&first.own);
    first.visit(&leaf).await.unwrap();
    first.store.flush().unwrap();
    second.visit(&leaf_of(&second.other)).await.unwrap();
    second.store.flush().unwrap();
    drop((first, second));
    let keys = open().remembered_keys(&host()).unwrap();
    assert_eq!(keys.keys()[0].fingerprint, leaf.pin());
}

#[tokio::test]
async fn of_parallel_first_connections_each_key_is_remembered_once() {
    let fixture = Fixture::new(first_use());
    let leaf = leaf_of(&fixture.own);
    let visits = tokio::join!(
        fixture.visit(&leaf),
        fixture.visit(&leaf),
        fixture.visit(&leaf)
    );
    assert!(visits.0.is_ok() && visits.1.is_ok() && visits.2.is_ok());
    let keys = fixture.store.remembered_keys(&host()).unwrap();
    assert_eq!(keys.keys().len(), 2);
}
