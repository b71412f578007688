//! The writer of a store: one thread that commits the changes of the entries in memory to a
//! [`Storage`].
//!
//! Changes that arrive during a commit are combined into the next one. Refreshes wait for the
//! refresh delay, further changes of an expiry for up to a second. The changes of a failed commit are tried again after a backoff that doubles.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock, RwLockUpgradableReadGuard};

use crate::policy::KnownPinnedHost;
use crate::store::durable::{CLOSING_TIMEOUT, DurableFuture};
use crate::store::entries::{Entries, sorted};
use crate::store::error::StorageError;
use crate::store::generation::Generation;
use crate::store::observed_clock::ObservedClock;
use crate::store::pending::Pending;
use crate::store::queue::{Queue, State, StorageErrorListener, WriterSettings};
use crate::store::storage::{Batch, Change, Storage};
use crate::store::worker::{contain, deadline};

/// Handle to the writer thread. Dropping it flushes pending changes.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    refresh_delay: Duration,
}

/// What the thread replaces when another process has written the storage.
pub(crate) struct Memory {
    pub(crate) noting: Arc<Mutex<()>>,
    pub(crate) entries: Arc<RwLock<Entries>>,
    pub(crate) generation: Arc<Generation>,
    pub(crate) clock: Arc<ObservedClock>,
}

/// Whether a crash may lose a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// The change may wait for the refresh delay; a crash before that may lose it.
    Later,
    /// The change is written within a second; a crash before that may lose it.
    Soon,
    /// The change is written without delay.
    Now,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        storage: impl Storage,
        memory: Memory,
        settings: WriterSettings,
    ) -> Result<Self, StorageError> {
        let queue = Arc::new(Queue::new(settings.on_error));
        let thread = WriterThread {
            queue: Arc::clone(&queue),
            storage,
            memory,
            backoff: FIRST_BACKOFF,
        };
        let started = queue.state.lock().worker.start(|| thread.run_guarded());
        started.map_err(|error| StorageError::Thread(Arc::new(error)))?;
        Ok(Self {
            queue,
            refresh_delay: settings.refresh_delay,
        })
    }

    /// Queues a change. Call it with the entries locked for writing, so that changes are queued in
    /// the order in which they were made.
    pub(crate) fn record(&self, change: Change, urgency: Urgency) {
        let mut state = self.queue.state.lock();
        state.pending.record(change);
        state.latest += 1;
        let delay = match urgency {
            Urgency::Later => self.refresh_delay,
            Urgency::Soon => self.refresh_delay.min(SECOND),
            Urgency::Now => {
                state.urgent = state.latest;
                Duration::ZERO
            }
        };
        // A delay that an `Instant` can't represent never passes.
        if let Some(due) = Instant::now().checked_add(delay) {
            state.due = Some(state.due.map_or(due, |known| known.min(due)));
            self.queue.changed.notify_all();
        }
    }

    /// Returns a future that resolves once every change so far that must be written without delay
    /// is durable; `None` if all of them are durable already.
    pub(crate) fn urgent(&self) -> Option<DurableFuture> {
        let mut state = self.queue.state.lock();
        let urgent = state.urgent;
        (state.written < urgent).then(|| self.durable(&mut state, urgent))
    }

    /// Starts to write everything recorded so far, without delay.
    pub(crate) fn write_now(&self) -> DurableFuture {
        let mut state = self.queue.state.lock();
        state.latest += 1;
        state.due = Some(Instant::now());
        self.queue.changed.notify_all();
        let latest = state.latest;
        self.durable(&mut state, latest)
    }

    fn durable(&self, state: &mut State, until: u64) -> DurableFuture {
        state.last_future_id += 1;
        DurableFuture::new(&self.queue, until, state.last_future_id)
    }

    /// Passes the error to the callback and the listeners.
    pub(crate) fn emit(&self, error: &StorageError) {
        let receivers = self.queue.state.lock().listeners.receivers();
        receivers.emit(error);
    }

    pub(crate) fn watch(&self, listener: Weak<dyn StorageErrorListener>) {
        self.queue.state.lock().listeners.add(listener);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.is_closing = true;
        self.queue.changed.notify_all();
        let until = deadline(CLOSING_TIMEOUT);
        while state.worker.is_running() {
            if self.queue.changed.wait_until(&mut state, until).timed_out() {
                drop(state);
                self.emit(&StorageError::Slow {
                    waited: CLOSING_TIMEOUT,
                });
                return;
            }
        }
    }
}

/// The state that the thread owns.
struct WriterThread<S> {
    queue: Arc<Queue>,
    storage: S,
    memory: Memory,
    /// The time until the next attempt if this one fails.
    backoff: Duration,
}

impl<S: Storage> WriterThread<S> {
    /// Runs the thread. If it panics, wakes all threads and tasks that wait for it.
    fn run_guarded(self) {
        let queue = Arc::clone(&self.queue);
        if contain(|| self.run()).is_some() {
            return;
        }
        let mut state = queue.state.lock();
        state.worker.stopped();
        let error = StorageError::Thread(Arc::new(io::Error::other("the thread panicked")));
        let replaced = state.error.replace(error.clone());
        let receivers = state.listeners.receivers();
        queue.release(state);
        drop(replaced);
        receivers.emit(&error);
    }

    fn run(mut self) {
        loop {
            let mut state = self.queue.state.lock();
            while !state.is_due(Instant::now()) {
                match state.due {
                    Some(due) => drop(self.queue.changed.wait_until(&mut state, due)),
                    None => self.queue.changed.wait(&mut state),
                }
            }
            state.due = None;
            let is_last = state.is_closing;
            let latest = state.latest;
            let pending = std::mem::take(&mut state.pending);
            drop(state);
            if pending.has_dropped_removals {
                event!(
                    WARN,
                    "too many removals are waiting for the storage, all of them are dropped"
                );
            }
            let changes = pending.into_changes();
            let result = if changes.is_empty() {
                Ok(())
            } else {
                self.commit(&changes)
            };
            self.complete(latest, changes, result);
            if is_last {
                self.end();
                return;
            }
        }
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StorageError> {
        let entries = Arc::clone(&self.memory.entries);
        let snapshot = move || {
            let list = entries.upgradable_read().collect();
            // Sorted without the lock, since that takes long.
            sorted(list)
        };
        let batch = Batch::new(changes, &snapshot);
        let storage = &mut self.storage;
        let stored = contain(|| storage.commit(&batch)).ok_or(StorageError::Panicked)??;
        if let Some(stored) = stored {
            self.replace_entries(changes, stored);
        }
        Ok(())
    }

    /// Replaces the entries in memory by the stored ones, with the changes since the commit of these
    /// changes.
    fn replace_entries(&self, committed: &[Change], stored: Vec<KnownPinnedHost>) {
        let stored = stored.into_iter().map(Arc::new);
        let mut stored = stored
            .map(|entry| (entry.host.clone(), entry))
            .collect::<HashMap<_, _>>();
        // Otherwise a header that is being evaluated with the replaced entries could take effect.
        let one_at_a_time = self.memory.noting.lock();
        let entries = self.memory.entries.upgradable_read();
        // No change is recorded meanwhile, since that needs the entries locked for writing.
        let mut state = self.queue.state.lock();
        state.pending.drop_unfounded(committed, &stored);
        state.pending.apply(&mut stored);
        drop(state);
        let _before = entries.len();
        let new = entries.replaced_by(stored.into_values(), self.memory.clock.merged_now());
        let _now = new.len();
        let mut entries = RwLockUpgradableReadGuard::upgrade(entries);
        let replaced = std::mem::replace(&mut *entries, new);
        self.memory.generation.advance();
        drop(entries);
        drop(one_at_a_time);
        self.memory.generation.wake();
        // Dropped without the lock, since that takes long.
        drop(replaced);
        event!(
            INFO,
            before = _before,
            now = _now,
            "entries stored by another process replace those in memory"
        );
    }

    /// Records the outcome of a commit of everything up to the number `until`.
    fn complete(&mut self, until: u64, changes: Vec<Change>, result: Result<(), StorageError>) {
        let mut unwritten = Pending::default();
        if result.is_err() {
            let changes = changes.into_iter();
            // Merged before the state is locked: recording a change waits for that lock with the
            // entries locked, and then lookups wait, too.
            changes.for_each(|change| unwritten.record(change));
        }
        let mut state = self.queue.state.lock();
        let mut failure = None;
        // Dropped without the lock: it may be the application's, whose `Drop` may use the store.
        let replaced = state.error.take();
        match result {
            Ok(()) => {
                state.written = until;
                self.backoff = FIRST_BACKOFF;
            }
            Err(error) => {
                state.pending.put_back(unwritten);
                state.failed = until;
                state.error = Some(error.clone());
                let retry = Instant::now() + self.backoff;
                state.due = Some(state.due.map_or(retry, |due| due.min(retry)));
                self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
                failure = Some((error, state.listeners.receivers()));
            }
        }
        self.queue.release(state);
        drop(replaced);
        if let Some((error, receivers)) = failure {
            receivers.emit(&error);
        }
    }

    fn end(self) {
        let Self { queue, storage, .. } = self;
        // Dropped first, so that its file and lock are free once the last handle is dropped.
        contain(|| drop(storage));
        let mut state = queue.state.lock();
        state.worker.stopped();
        queue.release(state);
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// The time until the second attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest time between two attempts: a disk that stays full is tried once a minute.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
