//! Storages and callbacks that fail or panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use pinhold::PinStore;
use pinhold::storage::{Change, Merged, Record, Recovered, Storage, StorageError};

use super::{Outcome, fixture, fixture_with_callback};
use crate::common::{NOW, TIMEOUT};

#[tokio::test]
async fn a_failed_commit_is_reported_and_tried_again_with_the_changes_since() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    fixture.note(1, 1, NOW);
    fixture.next_commit();
    fixture.note(0, 2, NOW + 1);
    fixture.store.forget(fixture.hosts.host(2));
    fixture.finish_commit(Outcome::Fail);
    let error = fixture.errors.recv_timeout(TIMEOUT).unwrap();
    assert!(matches!(error, StorageError::Other(_)), "{error:?}");
    let expected = ["-c.example", "a.example 2", "b.example 1"];
    assert_eq!(fixture.next_commit(), expected);
    fixture.finish_commit(Outcome::Fail);
    // Without another change, the commit is tried again after the backoff.
    assert_eq!(fixture.next_commit(), expected);
    fixture.store.clear();
    fixture.note(0, 3, NOW + 2);
    fixture.finish_commit(Outcome::Fail);
    assert_eq!(
        fixture.next_commit(),
        ["!0", "a.example 3", "-c.example"]
            .map(str::to_owned)
            .sorted()
    );
    fixture.finish_commit(Outcome::Store);
    let durable = fixture.store.durable();
    durable.await.unwrap();
    assert_eq!(fixture.errors.try_iter().count(), 2);
    assert!(fixture.has_no_commit());
}

trait Sorted {
    fn sorted(self) -> Self;
}

impl Sorted for [String; 3] {
    fn sorted(mut self) -> Self {
        self.sort();
        self
    }
}

#[test]
fn flush_returns_the_error_of_the_commit() {
    struct Fails(Arc<AtomicBool>);
    impl Storage for Fails {
        fn load(&mut self) -> Result<Vec<Record>, StorageError> {
            Ok(Vec::new())
        }

        fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
            if self.0.load(Ordering::SeqCst) {
                Err(StorageError::other("no"))
            } else {
                Ok(Merged::Nothing)
            }
        }
    }
    let fails = Arc::new(AtomicBool::new(true));
    let store = PinStore::open(Fails(Arc::clone(&fails))).unwrap();
    store.clear();
    for _ in 0..3 {
        let error = store.flush().unwrap_err();
        assert!(matches!(error, StorageError::Other(_)), "{error:?}");
    }
    fails.store(false, Ordering::SeqCst);
    store.flush().unwrap();
}

#[tokio::test]
async fn the_store_continues_after_a_panic_of_the_storage_or_of_the_callback() {
    let (sender, errors) = channel();
    let on_error = move |error: &StorageError| {
        let _ = sender.send(error.clone());
        panic!("expected by the test");
    };
    let fixture = fixture_with_callback(PinStore::builder(), errors, on_error).await;
    fixture.note(0, 1, NOW);
    fixture.next_commit();
    fixture.finish_commit(Outcome::Panic);
    let error = fixture.errors.recv_timeout(TIMEOUT).unwrap();
    assert!(matches!(error, StorageError::Panicked), "{error:?}");
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.finish_commit(Outcome::Store);
    fixture.store.durable().await.unwrap();
}

#[test]
fn a_panic_of_the_storage_while_opening_is_an_error() {
    struct Panics;
    impl Storage for Panics {
        fn load(&mut self) -> Result<Vec<Record>, StorageError> {
            panic!("expected by the test")
        }

        fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
            panic!("expected by the test")
        }

        fn recover(&mut self, _: StorageError) -> (Recovered, StorageError) {
            panic!("expected by the test")
        }
    }
    let error = PinStore::open(Panics).unwrap_err();
    assert!(matches!(error, StorageError::Panicked), "{error:?}");
    let (store, error) = PinStore::open_or_recover(Panics);
    assert!(matches!(error, Some(StorageError::Panicked)), "{error:?}");
    store.flush().unwrap();
}

/// The storage can't be read and does not implement `recover`.
#[test]
fn without_recovery_pins_are_kept_in_memory_only() {
    struct Broken;
    impl Storage for Broken {
        fn load(&mut self) -> Result<Vec<Record>, StorageError> {
            Err(StorageError::other("broken"))
        }

        fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
            panic!("a storage that could not be read must not be overwritten")
        }
    }
    assert!(matches!(
        PinStore::open(Broken),
        Err(StorageError::Other(_))
    ));
    let (store, error) = PinStore::open_or_recover(Broken);
    assert!(matches!(error, Some(StorageError::Other(_))));
    store.clear();
    store.flush().unwrap();
}
