//! A storage that does not answer, and one that fails each time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use pinhold::health::HealthOptions;
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};
use pinhold::{PinStore, Pinning};

use crate::world::{HOST, World};

/// Waits in each commit for the other end of the channel, and fails once that is dropped.
struct Stuck {
    answers: Mutex<Receiver<()>>,
    commits: Arc<AtomicUsize>,
}

impl Storage for Stuck {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        match self.answers.lock().unwrap().recv() {
            Ok(()) => Ok(Merged::Nothing),
            Err(closed) => Err(StorageError::other(closed)),
        }
    }
}

#[tokio::test]
async fn a_storage_that_hangs_or_fails_delays_no_connection_and_is_not_tried_for_each() {
    let world = World::new().await;
    let (hold, answers) = channel();
    let commits = Arc::<AtomicUsize>::default();
    let storage = Stuck {
        answers: Mutex::new(answers),
        commits: Arc::clone(&commits),
    };
    let builder = Pinning::builder().store(PinStore::open(storage).unwrap());
    let builder = builder.health(HealthOptions::new("1.4.2"));
    let app = world.build(builder.static_pins(HOST, world.policy([0, 1])));
    // The first day is written at once, and the commit does not end.
    app.connect_on(&world, 0..5).await;
    assert_eq!((app.policy().days, app.counts().passed), (5, 5));
    assert!(commits.load(Ordering::SeqCst) <= 1);
    drop(hold);
    assert!(app.pinning.store().flush().is_err());
    let before = commits.load(Ordering::SeqCst);
    app.connect_on(&world, [4; 60]).await;
    // Attempts are made after 0.1, 0.2, 0.4 seconds and so on.
    let attempts = commits.load(Ordering::SeqCst) - before;
    assert!(attempts < 30, "{attempts}");
    assert!(app.pinning.store().flush().is_err());
    assert_eq!((app.policy().days, app.counts().passed), (5, 65));
}
