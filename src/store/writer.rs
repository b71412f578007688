//! Changes in, commits out: one thread that keeps a [`Storage`] up with the entries in memory.
//!
//! Changes gather while a commit is under way, so that many of them make one. What can wait does,
//! for the delay of refreshes. A commit that failed is tried again, with its changes, after a pause
//! that doubles.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use std::{fmt, io};

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockUpgradableReadGuard};
use rustls_pki_types::UnixTime;

use crate::policy::{Host, KnownPinnedHost};
use crate::store::entries::{Entries, sorted};
use crate::store::generation::Generation;
use crate::store::storage::{Batch, Change, Storage, StorageError};
use crate::store::worker::{Worker, contain, deadline};

/// The hands of a store on its thread; when dropped, what is left is written.
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

/// Whether a change may be lost by a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It may be, for as long as refreshes are delayed.
    Later,
    Now,
}

type Callback = Arc<dyn Fn(&StorageError) + Send + Sync>;

/// Who is told of trouble.
#[derive(Clone, Default)]
struct Listeners {
    /// The application's own.
    on_error: Option<Callback>,
    watching: Vec<Weak<dyn StorageErrorListener>>,
}

/// Who is told of trouble for as long as it lives.
pub(crate) trait StorageErrorListener: Send + Sync {
    fn errors(&self, error: &StorageError);
}

struct Shared {
    state: Mutex<State>,
    /// Tells the thread of work, and others that it has settled some.
    turned: Condvar,
}

struct State {
    pending: Pending,
    /// Counts changes and requests to write.
    ticket: u64,
    /// The last change that can't wait.
    urgent: u64,
    /// Everything up to this ticket is durable.
    written: u64,
    /// An attempt that included this ticket has failed.
    failed: u64,
    error: Option<StorageError>,
    /// When to write; `None` while there is nothing to do.
    due: Option<Instant>,
    refresh_delay: Option<Duration>,
    listeners: Listeners,
    /// By the number of who waits.
    waiting: HashMap<u64, Waker>,
    waiters: u64,
    worker: Worker,
    /// The last handle is gone: one more attempt.
    is_closing: bool,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        storage: impl Storage,
        entries: Arc<RwLock<Entries>>,
        generation: Arc<Generation>,
    ) -> Result<Self, StorageError> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new()),
            turned: Condvar::new(),
        });
        let thread = Thread {
            shared: Arc::clone(&shared),
            storage,
            entries,
            generation,
            backoff: FIRST_BACKOFF,
        };
        let started = shared.state.lock().worker.start(|| thread.run_guarded());
        started.map_err(|error| StorageError::Thread(Arc::new(error)))?;
        Ok(Self { shared })
    }

    /// Takes in a change. Call it while the entries are locked for writing, so that changes come
    /// in the order in which they were made.
    pub(crate) fn record(&self, change: Change, urgency: Urgency) {
        let mut state = self.shared.state.lock();
        state.pending.record(change);
        state.ticket += 1;
        let delay = match urgency {
            Urgency::Later => state.refresh_delay.unwrap_or(REFRESH_DELAY),
            Urgency::Now => {
                state.urgent = state.ticket;
                Duration::ZERO
            }
        };
        // A delay beyond what the clock can count never ends.
        if let Some(due) = Instant::now().checked_add(delay) {
            state.due = Some(state.due.map_or(due, |known| known.min(due)));
            self.shared.turned.notify_all();
        }
    }

    /// Resolves once every change is durable that was recorded so far and can't wait; `None` if
    /// each of them is.
    pub(crate) fn urgent(&self) -> Option<DurableFuture> {
        let mut state = self.shared.state.lock();
        let ticket = state.urgent;
        (state.written < ticket).then(|| self.durable(&mut state, ticket))
    }

    /// Has everything written that was recorded so far.
    pub(crate) fn write_now(&self) -> DurableFuture {
        let mut state = self.shared.state.lock();
        state.ticket += 1;
        state.due = Some(Instant::now());
        self.shared.turned.notify_all();
        let ticket = state.ticket;
        self.durable(&mut state, ticket)
    }

    fn durable(&self, state: &mut State, ticket: u64) -> DurableFuture {
        state.waiters += 1;
        DurableFuture(Some(Waiting {
            shared: Arc::clone(&self.shared),
            ticket,
            number: state.waiters,
        }))
    }

    /// Tells the application of trouble.
    pub(crate) fn emit(&self, error: &StorageError) {
        let listeners = self.shared.state.lock().listeners.clone();
        listeners.emit(error);
    }

    pub(crate) fn set_refresh_delay(&self, delay: Duration) {
        self.shared.state.lock().refresh_delay = Some(delay);
    }

    pub(crate) fn set_on_error(&self, callback: Callback) {
        self.shared.state.lock().listeners.on_error = Some(callback);
    }

    /// Tells this one beside all others.
    pub(crate) fn watch(&self, watch: Weak<dyn StorageErrorListener>) {
        let watching = &mut self.shared.state.lock().listeners.watching;
        watching.retain(|known| known.strong_count() > 0);
        watching.push(watch);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.is_closing = true;
        self.shared.turned.notify_all();
        let until = deadline(CLOSING_TIMEOUT);
        while state.worker.is_running() {
            if self.shared.turned.wait_until(&mut state, until).timed_out() {
                drop(state);
                self.emit(&StorageError::Slow {
                    waited: CLOSING_TIMEOUT,
                });
                return;
            }
        }
    }
}

/// Resolves once all changes made before it was asked for are durable. Needs no runtime; dropped,
/// it changes nothing.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// use pinhold::PinStore;
///
/// let store = PinStore::in_memory();
/// store.clear();
/// store.durable().await?; // at once: nothing outlives this store
/// # Ok::<(), pinhold::storage::StorageError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct DurableFuture(Option<Waiting>);

impl DurableFuture {
    /// Of a store in memory: nothing to wait for.
    pub(crate) fn at_once() -> Self {
        Self(None)
    }

    /// Blocks the thread until it is resolved.
    pub(crate) fn wait(self) -> Result<(), StorageError> {
        self.wait_until(None).unwrap_or(Ok(()))
    }

    /// As long as the last handle of a store waits when it is dropped.
    pub(crate) fn wait_at_the_end(self) {
        drop(self.wait_until(Some(deadline(CLOSING_TIMEOUT))));
    }

    /// `None` if it was not resolved in time.
    fn wait_until(self, until: Option<Instant>) -> Option<Result<(), StorageError>> {
        let Some(waiting) = self.0 else {
            return Some(Ok(()));
        };
        let shared = Arc::clone(&waiting.shared);
        let mut state = shared.state.lock();
        loop {
            if let Some(settled) = state.settled(waiting.ticket) {
                // Before `waiting`, whose end locks it again.
                drop(state);
                return Some(settled);
            }
            match until {
                None => shared.turned.wait(&mut state),
                Some(until) if shared.turned.wait_until(&mut state, until).timed_out() => {
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
        let mut state = waiting.shared.state.lock();
        if let Some(settled) = state.settled(waiting.ticket) {
            return Poll::Ready(settled);
        }
        state.waiting.insert(waiting.number, cx.waker().clone());
        Poll::Pending
    }
}

struct Waiting {
    shared: Arc<Shared>,
    ticket: u64,
    number: u64,
}

/// Else every response that waits in vain for a disk that hangs would leave its waker.
impl Drop for Waiting {
    fn drop(&mut self) {
        let waker = self.shared.state.lock().waiting.remove(&self.number);
        // Not under the lock: foreign code.
        drop(waker);
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

impl State {
    fn new() -> Self {
        Self {
            pending: Pending::default(),
            ticket: 0,
            urgent: 0,
            written: 0,
            failed: 0,
            error: None,
            due: None,
            refresh_delay: None,
            listeners: Listeners::default(),
            waiting: HashMap::new(),
            waiters: 0,
            worker: Worker::new("pinhold-writer"),
            is_closing: false,
        }
    }

    /// What became of a ticket, if that is known.
    fn settled(&self, ticket: u64) -> Option<Result<(), StorageError>> {
        if self.written >= ticket {
            return Some(Ok(()));
        }
        match &self.error {
            Some(error) if self.failed >= ticket || !self.worker.is_running() => {
                Some(Err(error.clone()))
            }
            _ => None,
        }
    }

    /// Whether the thread has something to do.
    fn is_due(&self, now: Instant) -> bool {
        self.is_closing || self.due.is_some_and(|due| due <= now)
    }
}

/// The changes since the last commit, at most one of each host.
#[derive(Default)]
struct Pending {
    cleared_since: Option<UnixTime>,
    of_hosts: HashMap<Host, Change>,
    /// How many of them are removals.
    removals: usize,
}

impl Pending {
    fn record(&mut self, change: Change) {
        match change {
            Change::ClearedSince(time) => {
                self.of_hosts.retain(|_, change| !is_cleared(change, time));
                let earlier = self.cleared_since.map_or(time, |known| known.min(time));
                self.cleared_since = Some(earlier);
            }
            Change::Noted { entry, replaces } => {
                let replaces = self.replaced_by(&entry.host, replaces);
                self.put(entry.host.clone(), Change::Noted { entry, replaces });
            }
            Change::Refreshed { entry, replaces } => {
                let replaces = self.replaced_by(&entry.host, replaces);
                let host = entry.host.clone();
                let change = match self.of_hosts.get(&host) {
                    // What it refreshes is not stored yet.
                    Some(Change::Noted { .. } | Change::Removed { .. }) => {
                        Change::Noted { entry, replaces }
                    }
                    _ => Change::Refreshed { entry, replaces },
                };
                self.put(host, change);
            }
            Change::Removed { host, noted_until } => {
                self.put(host.clone(), Change::Removed { host, noted_until });
                // Else hosts that come and go while the disk is full would fill the memory. What is
                // dropped here can come back only if another process writes meanwhile: rather a pin
                // too many than one too few.
                if self.removals > MAX_REMOVED {
                    event!(
                        WARN,
                        "too many removals to remember while nothing can be stored"
                    );
                    self.of_hosts.retain(|_, change| !is_removal(change));
                    self.removals = 0;
                }
            }
        }
    }

    /// In place of an earlier change of the host.
    fn put(&mut self, host: Host, change: Change) {
        self.removals += usize::from(is_removal(&change));
        let replaced = self.of_hosts.insert(host, change);
        self.removals -= usize::from(replaced.as_ref().is_some_and(is_removal));
    }

    /// The latest time at which a stored entry was noted that the next change of the host replaces.
    fn replaced_by(&self, host: &Host, replaces: UnixTime) -> UnixTime {
        match self.of_hosts.get(host) {
            Some(
                Change::Noted { replaces: time, .. }
                | Change::Refreshed { replaces: time, .. }
                | Change::Removed {
                    noted_until: time, ..
                },
            ) => replaces.max(*time),
            Some(Change::ClearedSince(_)) | None => replaces,
        }
    }

    /// Takes back what could not be written; newer changes go before it.
    fn put_back(&mut self, older: Self) {
        let newer = std::mem::replace(self, older);
        newer
            .into_changes()
            .into_iter()
            .for_each(|change| self.record(change));
    }

    /// In the order in which a batch has them.
    fn into_changes(self) -> Vec<Change> {
        let cleared = self.cleared_since.map(Change::ClearedSince);
        let of_hosts = self.of_hosts.into_values();
        cleared.into_iter().chain(of_hosts).collect()
    }

    fn touches(&self, host: &Host) -> bool {
        self.of_hosts.contains_key(host)
    }

    /// Whether a stored entry of this host is out of date.
    fn concerns(&self, entry: &KnownPinnedHost) -> bool {
        self.touches(&entry.host)
            || self
                .cleared_since
                .is_some_and(|time| entry.noted_at >= time)
    }
}

fn is_removal(change: &Change) -> bool {
    matches!(change, Change::Removed { .. })
}

fn is_cleared(change: &Change, since: UnixTime) -> bool {
    match change {
        Change::Noted { entry, .. } | Change::Refreshed { entry, .. } => entry.noted_at >= since,
        Change::ClearedSince(_) | Change::Removed { .. } => false,
    }
}

/// What the thread owns.
struct Thread<S> {
    shared: Arc<Shared>,
    storage: S,
    entries: Arc<RwLock<Entries>>,
    generation: Arc<Generation>,
    /// Before the next attempt, should this one fail.
    backoff: Duration,
}

impl<S: Storage> Thread<S> {
    /// Whatever happens, nobody waits for a thread that has ended.
    fn run_guarded(self) {
        let shared = Arc::clone(&self.shared);
        if contain(|| self.run()).is_some() {
            return;
        }
        let mut state = shared.state.lock();
        state.worker.stopped();
        let error = StorageError::Thread(Arc::new(io::Error::other("it panicked")));
        state.error = Some(error.clone());
        let listeners = state.listeners.clone();
        shared.release(state);
        listeners.emit(&error);
    }

    fn run(mut self) {
        loop {
            let mut state = self.shared.state.lock();
            while !state.is_due(Instant::now()) {
                match state.due {
                    Some(due) => drop(self.shared.turned.wait_until(&mut state, due)),
                    None => self.shared.turned.wait(&mut state),
                }
            }
            state.due = None;
            let is_last = state.is_closing;
            let ticket = state.ticket;
            let pending = std::mem::take(&mut state.pending);
            drop(state);
            let changes = pending.into_changes();
            let result = if changes.is_empty() {
                Ok(())
            } else {
                self.commit(&changes)
            };
            self.settle(ticket, changes, result);
            if is_last {
                self.end();
                return;
            }
        }
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StorageError> {
        let entries = Arc::clone(&self.entries);
        let snapshot = move || {
            let list = entries.upgradable_read().collect();
            // Without the lock: it takes its time.
            sorted(list)
        };
        let batch = Batch::new(changes, &snapshot);
        let storage = &mut self.storage;
        // The storage may be the application's; its panic must not end the writing for good.
        let stored = contain(|| storage.commit(&batch)).ok_or(StorageError::Panicked)??;
        if let Some(stored) = stored {
            self.take_over(stored);
        }
        Ok(())
    }

    /// Makes what is stored the truth, but for what has changed since.
    fn take_over(&self, stored: Vec<KnownPinnedHost>) {
        let entries = self.entries.upgradable_read();
        // Nothing becomes pending meanwhile: whatever does holds the entries for writing.
        let state = self.shared.state.lock();
        let _before = entries.len();
        let stored = stored.into_iter();
        let stored = stored.filter(|entry| !state.pending.concerns(entry));
        let changed = entries.iter();
        let changed = changed.filter(|entry| state.pending.touches(&entry.host));
        let new = stored.map(Arc::new).chain(changed.cloned());
        let new = new.collect::<Entries>();
        drop(state);
        let _now = new.len();
        let mut entries = RwLockUpgradableReadGuard::upgrade(entries);
        let replaced = std::mem::replace(&mut *entries, new);
        self.generation.advance();
        drop(entries);
        self.generation.wake();
        // Without the lock: it takes its time.
        drop(replaced);
        event!(
            INFO,
            before = _before,
            now = _now,
            "what another process stored is taken over"
        );
    }

    fn settle(&mut self, ticket: u64, changes: Vec<Change>, result: Result<(), StorageError>) {
        let mut unwritten = Pending::default();
        if result.is_err() {
            let changes = changes.into_iter();
            // Before lookups have to wait for it, by way of whoever records a change.
            changes.for_each(|change| unwritten.record(change));
        }
        let mut state = self.shared.state.lock();
        let mut emitted = None;
        match result {
            Ok(()) => {
                state.written = ticket;
                state.error = None;
                self.backoff = FIRST_BACKOFF;
            }
            Err(error) => {
                state.pending.put_back(unwritten);
                state.failed = ticket;
                state.error = Some(error.clone());
                let retry = Instant::now() + self.backoff;
                state.due = Some(state.due.map_or(retry, |due| due.min(retry)));
                self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
                emitted = Some((error, state.listeners.clone()));
            }
        }
        self.shared.release(state);
        if let Some((error, listeners)) = emitted {
            listeners.emit(&error);
        }
    }

    fn end(self) {
        let Self {
            shared, storage, ..
        } = self;
        // Its file or lock is free for whoever opens it once the last handle is gone.
        contain(|| drop(storage));
        let mut state = shared.state.lock();
        state.worker.stopped();
        shared.release(state);
    }
}

impl Shared {
    /// Wakes all who wait for something to be settled.
    fn release(&self, mut state: MutexGuard<'_, State>) {
        let waiting = std::mem::take(&mut state.waiting);
        self.turned.notify_all();
        drop(state);
        for waker in waiting.into_values() {
            // Foreign code, which must not end the writing.
            contain(|| waker.wake());
        }
    }
}

impl Listeners {
    fn emit(&self, error: &StorageError) {
        event!(WARN, %error, "noted pins can't be stored");
        if let Some(callback) = &self.on_error {
            contain(|| callback(error));
        }
        for watch in self.watching.iter().filter_map(Weak::upgrade) {
            watch.errors(error);
        }
    }
}

/// How long a mere refresh may wait: pins live for days, and a refresh lost costs a minute of them.
const REFRESH_DELAY: Duration = Duration::from_secs(60);
/// How long the last handle waits for the last commit, which takes milliseconds on a disk that
/// works.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);
/// After the first failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// A full disk is looked at once a minute.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// How many removals are remembered while nothing can be written.
const MAX_REMOVED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PinSet, SpkiFingerprint};

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn host(number: usize) -> Host {
        Host::parse(&format!("h{number}.example")).unwrap()
    }

    fn entry(number: usize) -> Arc<KnownPinnedHost> {
        Arc::new(KnownPinnedHost {
            host: host(number),
            pins: PinSet::new([SpkiFingerprint::from_digest([1; 32])]).unwrap(),
            includes_subdomains: false,
            report_uri: None,
            noted_at: at(1),
            expires_at: at(9),
        })
    }

    fn removed(number: usize, noted_until: u64) -> Change {
        Change::Removed {
            host: host(number),
            noted_until: at(noted_until),
        }
    }

    #[test]
    fn removals_are_bounded_and_hosts_that_come_back_are_none() {
        let mut pending = Pending::default();
        pending.record(removed(0, 1));
        for _ in 0..=MAX_REMOVED {
            pending.record(Change::noted(entry(1)));
            pending.record(removed(1, 1));
        }
        assert!(pending.touches(&host(0)));
        pending.record(Change::noted(entry(1)));
        for number in 2..MAX_REMOVED + 2 {
            pending.record(removed(number, 1));
        }
        assert!(!pending.touches(&host(0)) && pending.touches(&host(1)));
        pending.record(removed(0, 1));
        assert!(pending.touches(&host(0)));
    }

    #[test]
    fn a_change_replaces_what_the_changes_before_it_replaced() {
        let mut pending = Pending::default();
        let refreshed = |replaces| Change::Refreshed {
            entry: entry(0),
            replaces: at(replaces),
        };
        let noted = |replaces| Change::Noted {
            entry: entry(0),
            replaces: at(replaces),
        };
        for (change, comes_to) in [
            (refreshed(4), refreshed(4)),
            (refreshed(3), refreshed(4)),
            (removed(0, 7), removed(0, 7)),
            // Refreshes nothing that is stored.
            (refreshed(5), noted(7)),
            (refreshed(8), noted(8)),
            (noted(2), noted(8)),
        ] {
            pending.record(change);
            let changes = pending.of_hosts.values().cloned().collect::<Vec<_>>();
            assert_eq!(changes, [comes_to]);
        }
    }
}
