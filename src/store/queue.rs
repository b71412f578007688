//! The state that the handles of a store share with its writer thread: changes to write, the
//! progress of commits, and the futures and listeners that wait for them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::store::error::StorageError;
use crate::store::pending::Pending;
use crate::store::worker::{Worker, contain};

/// The shared state, and the signal of its changes.
pub(crate) struct Queue {
    pub(crate) state: Mutex<State>,
    /// Notified when there is work for the thread, and when the thread has completed some.
    pub(crate) changed: Condvar,
}

/// The shared state. Changes and requests to flush are numbered in the order in which they arrive.
pub(crate) struct State {
    pub(crate) pending: Pending,
    /// The number of the latest change or request.
    pub(crate) latest: u64,
    /// The number of the latest change that must be written without delay.
    pub(crate) urgent: u64,
    /// Everything up to this number is durable.
    pub(crate) written: u64,
    /// The latest commit that failed included everything up to this number.
    pub(crate) failed: u64,
    /// The error of the latest commit, if it failed.
    pub(crate) error: Option<StorageError>,
    /// When the next commit is due; `None` while there is nothing to write.
    pub(crate) due: Option<Instant>,
    /// Whether the storage has something to read that others have written.
    pub(crate) is_pull_requested: bool,
    pub(crate) listeners: Listeners,
    /// The tasks to wake once a commit has ended, by the ID of their future. Shared as in
    /// `Generation`, so that a program has one type of table for both.
    pub(crate) wakers: HashMap<u64, Arc<Waker>, RandomState>,
    pub(crate) last_future_id: u64,
    pub(crate) worker: Worker,
    /// Whether the last handle is dropped: the thread then makes one more attempt and ends.
    pub(crate) is_closing: bool,
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

/// How the writer thread treats refreshes, and where it reports errors.
#[derive(Clone)]
pub(crate) struct WriterSettings {
    /// How long a refresh may wait for its commit.
    pub(crate) refresh_delay: Duration,
    pub(crate) on_error: Option<ErrorCallback>,
}

pub(crate) type ErrorCallback = Arc<dyn Fn(&StorageError) + Send + Sync>;

/// Receives storage errors for as long as it exists, beside the callback of the application.
pub(crate) trait StorageErrorListener: Send + Sync {
    fn on_storage_error(&self, error: &StorageError);
}

/// Everything that receives storage errors.
pub(crate) struct Listeners {
    on_error: Option<ErrorCallback>,
    others: Vec<Weak<dyn StorageErrorListener>>,
}

impl Queue {
    pub(crate) fn new(on_error: Option<ErrorCallback>) -> Self {
        let listeners = Listeners {
            on_error,
            others: Vec::new(),
        };
        let state = State {
            pending: Pending::default(),
            latest: 0,
            urgent: 0,
            written: 0,
            failed: 0,
            error: None,
            due: None,
            is_pull_requested: false,
            listeners,
            wakers: HashMap::default(),
            last_future_id: 0,
            worker: Worker::new("pinhold-writer"),
            is_closing: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Unlocks the state and wakes all threads and tasks that wait for the end of a commit.
    pub(crate) fn release(&self, mut state: MutexGuard<'_, State>) {
        let wakers = std::mem::take(&mut state.wakers);
        self.changed.notify_all();
        drop(state);
        for waker in wakers.into_values() {
            // Moved, since dropping a waker runs code of the runtime, too.
            contain(move || waker.wake_by_ref());
        }
    }
}

impl State {
    /// Returns the outcome of everything up to the number `until`, if it is known.
    pub(crate) fn outcome(&self, until: u64) -> Option<Result<(), StorageError>> {
        if self.written >= until {
            return Some(Ok(()));
        }
        match &self.error {
            Some(error) if self.failed >= until || !self.worker.is_running() => {
                Some(Err(error.clone()))
            }
            _ => None,
        }
    }

    /// Returns whether a commit is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.is_closing || self.due.is_some_and(|due| due <= now)
    }

    /// Returns whether what others have written is to be read.
    pub(crate) fn is_pull_due(&self, next: Option<Instant>) -> bool {
        self.is_pull_requested || next.is_some_and(|next| next <= Instant::now())
    }
}

impl Listeners {
    pub(crate) fn add(&mut self, listener: Weak<dyn StorageErrorListener>) {
        self.others.retain(|known| known.strong_count() > 0);
        self.others.push(listener);
    }

    /// Returns the receivers that exist now. Call it before the outcome of a commit is known to
    /// others: a thread that waits for it may then drop the last handle to a listener.
    pub(crate) fn receivers(&self) -> Receivers {
        Receivers {
            on_error: self.on_error.clone(),
            others: self.others.iter().filter_map(Weak::upgrade).collect(),
        }
    }
}

/// The receivers of one error.
pub(crate) struct Receivers {
    on_error: Option<ErrorCallback>,
    others: Vec<Arc<dyn StorageErrorListener>>,
}

impl Receivers {
    /// Passes the error to all receivers. Call it without a lock on the state.
    pub(crate) fn emit(&self, error: &StorageError) {
        event!(WARN, %error, "noted pins can't be stored");
        if let Some(callback) = &self.on_error {
            contain(|| callback(error));
        }
        for listener in &self.others {
            listener.on_storage_error(error);
        }
    }
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self {
            refresh_delay: REFRESH_DELAY,
            on_error: None,
        }
    }
}

impl fmt::Debug for WriterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterSettings")
            .field("refresh_delay", &self.refresh_delay)
            .field("on_error", &self.on_error.is_some())
            .finish()
    }
}

/// The default delay of a refresh. Pins are in effect for days; a lost refresh shortens that by a
/// minute.
const REFRESH_DELAY: Duration = Duration::from_secs(60);
