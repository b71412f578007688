//! A file that another process keeps locked.

use std::fs::File;
use std::time::{Duration, Instant};

use pinhold::storage::StorageError;
use pinhold::{FileStorage, PinStore};

use super::{ALL, fixture, names, open};

#[test]
fn attack_10_a_lock_held_by_another_process_delays_writing_but_not_reading() {
    let fixture = fixture();
    let store = open(&fixture.file).unwrap();
    let lock = File::open(fixture.folder.path().join("pins.jsonl.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL);
    store.forget(fixture.hosts.host(0));
    let error = store.flush().unwrap_err();
    assert!(matches!(error, StorageError::Locked { .. }), "{error:?}");
    assert_eq!(names(&store), ALL[1..], "the change is kept in memory");
    drop(lock);
    store.flush().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL[1..]);
}

/// Repairing the file, a commit and the last commit of a store need the lock one after the other.
#[test]
fn attack_10_a_lock_held_by_another_process_delays_a_command_by_two_seconds() {
    let fixture = fixture();
    fixture.write(&fixture.bytes[1..]);
    let lock = File::open(fixture.folder.path().join("pins.jsonl.lock")).unwrap();
    lock.lock().unwrap();
    let begin = Instant::now();
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&fixture.file));
    assert!(
        matches!(error, Some(StorageError::Corrupt { .. })),
        "{error:?}"
    );
    store.forget(fixture.hosts.host(0));
    let error = store.flush().unwrap_err();
    assert!(matches!(error, StorageError::Locked { .. }), "{error:?}");
    drop(store);
    let waited = begin.elapsed();
    // Two attempts that wait take 4 s.
    assert!(
        waited >= Duration::from_secs(2) && waited < Duration::from_millis(3500),
        "{waited:?}"
    );
}
