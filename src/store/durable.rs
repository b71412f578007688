//! Waiting for changes to become durable: [`DurableFuture`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::store::error::StorageError;
use crate::store::queue::Queue;
use crate::store::worker::deadline;

/// A future that resolves once all changes made before its creation are durable. It needs no
/// runtime, and dropping it cancels nothing.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// use pinhold::PinStore;
///
/// let store = PinStore::in_memory();
/// store.clear();
/// store.durable().await?; // resolves at once: the store has no storage
/// # Ok::<(), pinhold::storage::StorageError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct DurableFuture(Option<Waiting>);

impl DurableFuture {
    /// Returns a future that resolves at once, for a store in memory.
    pub(crate) fn ready() -> Self {
        Self(None)
    }

    /// Returns a future that resolves once everything up to the number `until` is durable.
    pub(crate) fn new(queue: &Arc<Queue>, until: u64, id: u64) -> Self {
        Self(Some(Waiting {
            queue: Arc::clone(queue),
            until,
            id,
        }))
    }

    /// Blocks the thread until the outcome is known.
    pub(crate) fn wait(self) -> Result<(), StorageError> {
        self.wait_until(None).unwrap_or(Ok(()))
    }

    /// Blocks the thread until the outcome is known, for at most this time.
    ///
    /// # Errors
    ///
    /// The error of the first attempt, or [`StorageError::Slow`]. In both cases later attempts may
    /// succeed.
    #[cfg(feature = "bundles")]
    pub(crate) fn wait_at_most(self, limit: Duration) -> Result<(), StorageError> {
        let outcome = self.wait_until(Some(deadline(limit)));
        outcome.unwrap_or(Err(StorageError::Slow { waited: limit }))
    }

    /// Blocks the thread until the outcome is known, for at most 2 s, as dropping the last handle
    /// of a store does. Returns whether it is known.
    pub(crate) fn wait_with_timeout(self) -> bool {
        let outcome = self.wait_until(Some(deadline(CLOSING_TIMEOUT)));
        outcome.is_some()
    }

    /// Blocks the thread until the outcome is known. Returns `None` if it is unknown at `end`.
    fn wait_until(self, end: Option<Instant>) -> Option<Result<(), StorageError>> {
        let Some(waiting) = self.0 else {
            return Some(Ok(()));
        };
        let queue = Arc::clone(&waiting.queue);
        let mut state = queue.state.lock();
        loop {
            if let Some(outcome) = state.outcome(waiting.until) {
                // Unlocked before `waiting` is dropped, which locks it again.
                drop(state);
                return Some(outcome);
            }
            match end {
                None => queue.changed.wait(&mut state),
                Some(end) if queue.changed.wait_until(&mut state, end).timed_out() => {
                    drop(state);
                    return None;
                }
                Some(_) => {}
            }
        }
    }
}

impl Future for DurableFuture {
    type Output = Result<(), StorageError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(waiting) = &self.0 else {
            return Poll::Ready(Ok(()));
        };
        // Cloned before the lock is taken, and the replaced one dropped after it is released: a
        // waker is code of the runtime, and may use the store.
        let waker = Arc::new(cx.waker().clone());
        let mut state = waiting.queue.state.lock();
        if let Some(outcome) = state.outcome(waiting.until) {
            drop(state);
            return Poll::Ready(outcome);
        }
        let replaced = state.wakers.insert(waiting.id, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

struct Waiting {
    queue: Arc<Queue>,
    until: u64,
    id: u64,
}

/// Removes the waker. Otherwise each response that stops waiting for a disk that hangs would leave
/// one in the map.
impl Drop for Waiting {
    fn drop(&mut self) {
        let waker = self.queue.state.lock().wakers.remove(&self.id);
        // Dropped without the lock, since dropping a waker runs code of the runtime.
        drop(waker);
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// How long dropping the last handle waits for the last commit, which takes milliseconds on a disk
/// that works.
pub(crate) const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);
