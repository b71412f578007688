//! The writer of a store: one thread that commits the changes of the entries in memory to a
//! [`Storage`].
//!
//! Changes that arrive during a commit are combined into the next one. Refreshes wait for the
//! refresh delay, further changes of an expiry for up to a second. The changes of a failed commit
//! are tried again after a backoff that doubles.

use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock, RwLockUpgradableReadGuard};

use crate::store::change::Change;
use crate::store::durable::{CLOSING_TIMEOUT, DurableFuture};
use crate::store::entries::Entries;
use crate::store::error::StorageError;
use crate::store::generation::Generation;
#[cfg(feature = "health")]
use crate::store::health_book::{HealthBook, Source};
#[cfg(any(feature = "first-use", feature = "hsts"))]
use crate::store::host_tables::HostTables;
use crate::store::noted::NotedChange;
use crate::store::observed_clock::ObservedClock;
#[cfg(feature = "bundles")]
use crate::store::other_changes::OtherChanges;
#[cfg(feature = "bundles")]
use crate::store::other_records::OtherRecords;
use crate::store::pending::Pending;
use crate::store::queue::{Queue, State, StorageErrorListener, WriterSettings};
use crate::store::storage::{Merged, Storage, StorageWaker};
use crate::store::worker::{contain, deadline};

/// Handle to the writer thread. Dropping it flushes pending changes.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    refresh_delay: Duration,
}

/// The entries of a store. The writer thread replaces them when another process has written the
/// storage.
pub(crate) struct Memory {
    /// Locked while a header is evaluated and takes effect, so that the entries it was evaluated
    /// with still apply; locked before `entries`.
    pub(crate) noting: Mutex<()>,
    /// Lists and changes begin with an upgradable lock, which lets lookups continue. A plain write
    /// lock would block all lookups until the readers before it have finished.
    pub(crate) entries: RwLock<Entries>,
    pub(crate) generation: Arc<Generation>,
    pub(crate) clock: ObservedClock,
    #[cfg(feature = "bundles")]
    pub(crate) others: OtherRecords,
    #[cfg(feature = "health")]
    pub(crate) health: HealthBook,
    #[cfg(any(feature = "first-use", feature = "hsts"))]
    pub(crate) tables: HostTables,
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
        mut storage: impl Storage,
        memory: Arc<Memory>,
        settings: WriterSettings,
    ) -> Result<Self, StorageError> {
        let queue = Arc::new(Queue::new(settings.on_error));
        let waker = StorageWaker::new(&queue);
        contain(|| storage.set_waker(waker));
        let thread = WriterThread {
            queue: Arc::clone(&queue),
            storage,
            memory,
            backoff: FIRST_BACKOFF,
            has_lost_records: false,
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
    pub(crate) fn record(&self, change: NotedChange, urgency: Urgency) {
        let mut state = self.queue.state.lock();
        state.pending.record(change);
        self.request(&mut state, urgency);
    }

    /// Requests a commit.
    fn request(&self, state: &mut State, urgency: Urgency) {
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

    /// Queues changes of other records, to be written without delay.
    #[cfg(feature = "bundles")]
    pub(crate) fn record_others(&self, changes: Vec<Change>) -> DurableFuture {
        let mut state = self.queue.state.lock();
        state.pending.others.extend(changes.into());
        state.latest += 1;
        state.due = Some(Instant::now());
        self.queue.changed.notify_all();
        let latest = state.latest;
        self.durable(&mut state, latest)
    }

    /// Requests a commit after this delay, to which the thread adds what connections have shown.
    #[cfg(feature = "health")]
    pub(crate) fn request_commit(&self, delay: Duration) {
        let mut state = self.queue.state.lock();
        if let Some(due) = Instant::now().checked_add(delay) {
            state.due = Some(state.due.map_or(due, |known| known.min(due)));
            self.queue.changed.notify_all();
        }
    }

    /// Requests a commit of what a table has recorded. Until an urgent change is durable, [`urgent`](Self::urgent)
    /// returns a future.
    #[cfg(any(feature = "first-use", feature = "hsts"))]
    pub(crate) fn request_table(&self, urgency: Urgency) {
        self.request(&mut self.queue.state.lock(), urgency);
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
        // The thread may own the last handle while it notifies a listener. It ends afterwards.
        while state.worker.is_running() && !state.worker.is_current_thread() {
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
    memory: Arc<Memory>,
    /// The time until the next attempt if this one fails.
    backoff: Duration,
    /// Whether the next commit must have all entries.
    has_lost_records: bool,
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
        let interval = contain(|| self.storage.pull_interval()).flatten();
        let interval = interval.map(|interval| interval.max(FIRST_BACKOFF));
        let mut next_pull = interval.and_then(|interval| Instant::now().checked_add(interval));
        loop {
            let mut state = self.queue.state.lock();
            while !state.is_due(Instant::now()) && !state.is_pull_due(next_pull) {
                match state.due.into_iter().chain(next_pull).min() {
                    Some(until) => drop(self.queue.changed.wait_until(&mut state, until)),
                    None => self.queue.changed.wait(&mut state),
                }
            }
            if !state.is_due(Instant::now()) {
                state.is_pull_requested = false;
                drop(state);
                self.pull();
                next_pull = interval.and_then(|interval| Instant::now().checked_add(interval));
                continue;
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
            let (batch, result) = self.commit(pending);
            let may_compact = matches!(&result, Ok(()) | Err(StorageError::TooLarge { .. }));
            let may_compact = may_compact && !batch.is_empty();
            self.complete(latest, batch, result);
            // Also before the thread ends: a process may make one commit only.
            if may_compact {
                self.call(|storage| storage.compact());
            }
            if is_last {
                self.end();
                return;
            }
        }
    }

    /// Commits the changes, and returns them with the outcome.
    fn commit(&mut self, mut pending: Pending) -> (Batch, Result<(), StorageError>) {
        // A storage resolves them only by what it has not returned yet.
        #[cfg(feature = "bundles")]
        self.memory.others.drop_unfounded(&mut pending.others);
        if self.has_lost_records {
            self.add_all(&mut pending);
        }
        let batch = self.batch(pending);
        if batch.is_empty() {
            return (batch, Ok(()));
        }
        let mut all = None;
        let mut result = self.commit_batch(&batch);
        let is_lost = match &result {
            Ok(Merged::Lost) => true,
            // The file was repaired, without what could not be read.
            Err(error @ StorageError::Corrupt { moved_to, .. }) => {
                let is_repaired = moved_to.is_some();
                if is_repaired {
                    self.emit(error);
                }
                is_repaired
            }
            _ => false,
        };
        if is_lost {
            self.has_lost_records = true;
            let mut pending = batch.clone().into_pending();
            self.add_all(&mut pending);
            let batch = all.insert(self.batch(pending));
            result = self.commit_batch(batch);
        }
        self.has_lost_records &= result.is_err();
        let result = result.map(|merged| {
            #[cfg(feature = "bundles")]
            {
                let committed = all.as_ref().unwrap_or(&batch);
                let others = committed.others.as_slice();
                self.memory.others.merge(others, &merged);
            }
            #[cfg(feature = "health")]
            self.memory.health.merge(&merged, Source::Commit);
            #[cfg(any(feature = "first-use", feature = "hsts"))]
            self.merge_tables(&merged, true);
            let mut noted = all.map(|all| all.noted).unwrap_or_default();
            noted.extend(batch.noted.iter().cloned());
            self.merge(&noted, merged);
        });
        (batch, result)
    }

    /// Returns the changes, with those of what connections have shown.
    fn batch(&self, pending: Pending) -> Batch {
        Batch {
            #[cfg(feature = "bundles")]
            others: pending.others.clone(),
            #[cfg(any(feature = "first-use", feature = "health", feature = "hsts"))]
            recorded: self.recorded(),
            noted: pending.into_changes(),
        }
    }

    fn commit_batch(&mut self, batch: &Batch) -> Result<Merged, StorageError> {
        let changes = batch.noted.iter().map(Change::from);
        #[cfg(feature = "bundles")]
        let changes = changes.chain(batch.others.as_slice().iter().cloned());
        #[cfg(any(feature = "first-use", feature = "health", feature = "hsts"))]
        let changes = changes.chain(batch.recorded.iter().cloned());
        let changes = changes.collect::<Vec<_>>();
        let storage = &mut self.storage;
        contain(|| storage.commit(&changes)).unwrap_or(Err(StorageError::Panicked))
    }

    /// Adds all entries in memory, so that they are stored again.
    fn add_all(&self, pending: &mut Pending) {
        let entries = self.memory.entries.upgradable_read();
        // No change is recorded meanwhile, since that needs the entries locked for writing.
        let state = self.queue.state.lock();
        for entry in entries.iter() {
            pending.add_stored(Arc::clone(entry), &state.pending);
        }
        #[cfg(feature = "bundles")]
        pending.others.add_stored(self.memory.others.to_changes());
        #[cfg(feature = "health")]
        self.memory.health.store_again();
        #[cfg(any(feature = "first-use", feature = "hsts"))]
        self.memory.tables.store_again();
    }

    /// Returns the changes that are made from what is in memory.
    #[cfg(any(feature = "first-use", feature = "health", feature = "hsts"))]
    fn recorded(&self) -> Vec<Change> {
        #[cfg(not(feature = "health"))]
        let changes = Vec::new();
        #[cfg(feature = "health")]
        let changes = self.memory.health.changes();
        #[cfg(any(feature = "first-use", feature = "hsts"))]
        let changes = self.memory.tables.with_changes(changes);
        changes
    }

    /// Applies to the tables what other processes have stored.
    #[cfg(any(feature = "first-use", feature = "hsts"))]
    fn merge_tables(&self, merged: &Merged, is_committed: bool) {
        if self.memory.tables.merge(merged, is_committed) {
            self.memory.generation.advance();
            self.memory.generation.wake();
        }
    }

    fn pull(&mut self) {
        if let Some(merged) = self.call(|storage| storage.pull()) {
            #[cfg(feature = "bundles")]
            self.memory.others.merge(&[], &merged);
            #[cfg(feature = "health")]
            self.memory.health.merge(&merged, Source::Other);
            #[cfg(any(feature = "first-use", feature = "hsts"))]
            self.merge_tables(&merged, false);
            self.merge(&[], merged);
        }
    }

    /// Calls a method of the storage, and emits its error.
    fn call<T>(&mut self, f: impl FnOnce(&mut S) -> Result<T, StorageError>) -> Option<T> {
        let storage = &mut self.storage;
        let result = contain(|| f(storage)).unwrap_or(Err(StorageError::Panicked));
        if let Err(error) = &result {
            self.emit(error);
        }
        result.ok()
    }

    fn emit(&self, error: &StorageError) {
        let receivers = self.queue.state.lock().listeners.receivers();
        receivers.emit(error);
    }

    /// Applies to memory what other processes have stored, except where changes are waiting that were
    /// made since the commit of these changes.
    fn merge(&self, committed: &[NotedChange], merged: Merged) {
        if matches!(merged, Merged::Nothing | Merged::Lost) {
            return;
        }
        // Otherwise a header that is being evaluated with the replaced entries could take effect.
        let one_at_a_time = self.memory.noting.lock();
        let entries = self.memory.entries.upgradable_read();
        // No change is recorded meanwhile, since that needs the entries locked for writing.
        let mut state = self.queue.state.lock();
        let mut stored = entries.stored(merged, &state.pending);
        if stored.is_empty() {
            return;
        }
        state.pending.drop_unfounded(committed, &stored);
        state.pending.apply(&mut stored);
        drop(state);
        let since = self.memory.clock.merged_now();
        let _changed = stored.len();
        // A large change is made to a copy, since lookups would wait for it.
        let mut copy = (stored.len() > MAX_IN_PLACE).then(|| entries.clone());
        if let Some(copy) = &mut copy {
            copy.replace_stored(std::mem::take(&mut stored), since);
        }
        let mut entries = RwLockUpgradableReadGuard::upgrade(entries);
        let replaced = copy.map(|copy| std::mem::replace(&mut *entries, copy));
        entries.replace_stored(stored, since);
        self.memory.generation.advance();
        drop(entries);
        drop(one_at_a_time);
        self.memory.generation.wake();
        // Dropped without the lock, since that takes long.
        drop(replaced);
        event!(
            INFO,
            changed = _changed,
            "entries stored by another process replace those in memory"
        );
    }

    /// Records the outcome of a commit of everything up to the number `until`.
    fn complete(&mut self, until: u64, batch: Batch, result: Result<(), StorageError>) {
        let mut unwritten = Pending::default();
        if result.is_err() {
            // Merged before the state is locked: recording a change waits for that lock with the
            // entries locked, and then lookups wait, too.
            unwritten = batch.into_pending();
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

/// The changes of one commit.
#[derive(Clone)]
struct Batch {
    noted: Vec<NotedChange>,
    #[cfg(feature = "bundles")]
    others: OtherChanges,
    /// Dropped if the commit fails, since they are made again for the next one.
    #[cfg(any(feature = "first-use", feature = "health", feature = "hsts"))]
    recorded: Vec<Change>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        #[cfg(any(feature = "first-use", feature = "health", feature = "hsts"))]
        if !self.recorded.is_empty() {
            return false;
        }
        #[cfg(feature = "bundles")]
        if !self.others.as_slice().is_empty() {
            return false;
        }
        self.noted.is_empty()
    }

    /// Returns the changes in the form in which later ones are added to them.
    fn into_pending(self) -> Pending {
        let mut pending = Pending::default();
        let noted = self.noted.into_iter();
        noted.for_each(|change| pending.record(change));
        #[cfg(feature = "bundles")]
        pending.others.extend(self.others);
        pending
    }
}

/// The number of entries that are replaced while lookups wait: they take less than 0.1 ms.
const MAX_IN_PLACE: usize = 64;
const SECOND: Duration = Duration::from_secs(1);
/// The time until the second attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest time between two attempts: a disk that stays full is tried once a minute.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
