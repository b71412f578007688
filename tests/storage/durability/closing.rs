//! Dropping the last handle of a store.

use std::sync::Arc;
use std::time::Instant;

use pinhold::PinStore;
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};

use super::{Outcome, fixture, name};
use crate::common::{NOW, TIMEOUT};

#[tokio::test]
async fn dropping_the_last_handle_writes_pending_changes() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.finish_commit(Outcome::Store);
    fixture.store.durable().await.unwrap();
    fixture.note(0, 1, NOW + 1);
    let other = fixture.store.clone();
    drop(other);
    assert!(fixture.has_no_commit(), "it was not the last handle");
    // The outcome is set before the commit begins, since the drop waits for its end.
    fixture.finish_commit(Outcome::Store);
    drop(fixture.store);
    let changes = fixture.commits.try_recv().unwrap();
    assert_eq!(
        changes.iter().map(name).collect::<Vec<_>>(),
        ["a.example 1"]
    );
}

#[tokio::test]
async fn dropping_the_last_handle_does_not_wait_for_a_storage_that_hangs() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    fixture.next_commit();
    let begin = Instant::now();
    drop(fixture.store);
    // The storage returns from the commit only after `TIMEOUT`.
    assert!(begin.elapsed() < TIMEOUT / 2);
}

/// An application may open a database again right after it has dropped the store.
#[test]
fn dropping_the_last_handle_drops_the_storage() {
    struct Open {
        _lock: Arc<()>,
    }
    impl Storage for Open {
        fn load(&mut self) -> Result<Vec<Record>, StorageError> {
            Ok(Vec::new())
        }

        fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
            Ok(Merged::Nothing)
        }
    }
    let lock = Arc::new(());
    for _ in 0..100 {
        let _lock = Arc::clone(&lock);
        let store = PinStore::open(Open { _lock }).unwrap();
        store.clear();
        drop(store);
        assert_eq!(Arc::strong_count(&lock), 1);
    }
}
