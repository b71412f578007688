//! Code of the application that uses the store: none of it runs while the store is locked.

use std::fmt;
use std::sync::OnceLock;

use super::*;

/// Runs the test in a thread, since it would never end where code runs under a lock that it needs.
fn run(test: impl FnOnce() + Send + 'static) {
    let (sender, ended) = channel();
    let thread = thread::spawn(move || {
        test();
        sender.send(()).unwrap();
    });
    let result = ended.recv_timeout(TIMEOUT);
    if thread.is_finished() || result.is_ok() {
        thread.join().unwrap();
    }
    result.expect("the test ends");
}

/// Takes each lock of the store when it is dropped, and counts.
struct UsesStore {
    store: Arc<OnceLock<PinStore>>,
    drops: Sender<()>,
}

impl Drop for UsesStore {
    fn drop(&mut self) {
        if let Some(store) = self.store.get() {
            drop(store.durable());
            store.forget(&Host::parse("z.example").unwrap());
            drop(store.list());
        }
        // The test may have ended.
        let _ = self.drops.send(());
    }
}

impl Wake for UsesStore {
    fn wake(self: Arc<Self>) {}
}

impl fmt::Debug for UsesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsesStore")
    }
}

impl fmt::Display for UsesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected by the test")
    }
}

impl std::error::Error for UsesStore {}

#[test]
fn a_replaced_waker_is_dropped_without_a_lock() {
    run(|| {
        let fixture = tokio::runtime::Runtime::new().unwrap().block_on(fixture());
        fixture.note(0, 1, NOW);
        fixture.next_commit();
        let (drops, dropped) = channel();
        let store = Arc::new(OnceLock::from(fixture.store.clone()));
        let mut durable = Box::pin(fixture.store.durable());
        let waker = Waker::from(Arc::new(UsesStore { store, drops }));
        assert!(
            durable
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
        assert!(dropped.try_recv().is_err(), "the store has a reference");
        assert!(is_pending(&mut durable));
        dropped.try_recv().unwrap();
        (0..9).for_each(|_| fixture.finish_commit(Outcome::Store));
        block_on(durable).unwrap();
    });
}

/// A storage whose first commit fails with an error of the application.
struct FailsOnce {
    error: Option<UsesStore>,
}

impl Storage for FailsOnce {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
        self.error
            .take()
            .map_or(Ok(Merged::Nothing), |error| Err(StorageError::other(error)))
    }
}

#[test]
fn a_replaced_error_is_dropped_without_a_lock() {
    run(|| {
        let (drops, dropped) = channel();
        let slot = Arc::new(OnceLock::new());
        let error = Some(UsesStore {
            store: Arc::clone(&slot),
            drops,
        });
        let store = PinStore::open(FailsOnce { error }).unwrap();
        slot.set(store.clone()).unwrap();
        store.forget(&Host::parse("y.example").unwrap());
        // The first attempt or the second.
        while store.flush().is_err() {}
        dropped.recv_timeout(TIMEOUT).unwrap();
    });
}
