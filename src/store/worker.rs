//! Background threads: [`Worker`] starts one on demand, [`contain`] keeps a panic in code of the
//! application from ending it, and [`deadline`] limits how long another thread waits for it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// At most one thread with a given name. A worker is kept in the state that the thread locks, so
/// that starting the thread, ending it and adding work for it can't overlap.
#[derive(Debug)]
pub(crate) struct Worker {
    name: &'static str,
    /// The thread while it runs.
    thread: Option<ThreadId>,
}

impl Worker {
    /// Returns a worker whose thread is not started yet.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, thread: None }
    }

    /// Starts a thread that calls `run`, unless one is running. Call it with the state locked:
    /// `run` then finds the worker running once it has locked the state itself.
    ///
    /// # Errors
    ///
    /// The error of the operating system if it can't start a thread. The next call tries again.
    pub(crate) fn start(&mut self, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let thread = thread::Builder::new().name(self.name.to_owned());
        self.thread = Some(thread.spawn(run)?.thread().id());
        Ok(())
    }

    pub(crate) fn is_running(&self) -> bool {
        self.thread.is_some()
    }

    /// Returns whether the caller is the worker's own thread, which can't wait for itself.
    pub(crate) fn is_current_thread(&self) -> bool {
        self.thread == Some(thread::current().id())
    }

    /// Records that the thread is about to end. Call it from that thread, under the same lock as
    /// the last search for work: work that is added later then starts another thread.
    pub(crate) fn stopped(&mut self) {
        self.thread = None;
    }
}

/// Calls code of the application (a callback, a waker, a storage). Returns `None` if it panics; the
/// panic hook has already reported the panic.
pub(crate) fn contain<T>(f: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(f)).ok()
}

/// Returns the instant at which a wait that begins now ends, at most 24 hours from now.
pub(crate) fn deadline(within: Duration) -> Instant {
    Instant::now() + within.min(MAX_WAIT)
}

/// The longest wait. An `Instant` can't represent any distant time: adding `Duration::MAX` panics.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn a_worker_runs_one_thread_at_a_time_and_starts_another_after_it_stopped() {
        let worker = Arc::new(Mutex::new(Worker::new("pinhold-test")));
        let (sender, receiver) = mpsc::channel();
        for number in 0..2 {
            let mut state = worker.lock();
            assert!(!state.is_running() && !state.is_current_thread());
            let (shared, sender) = (Arc::clone(&worker), sender.clone());
            let run = move || {
                let mut state = shared.lock();
                let is_own = state.is_running() && state.is_current_thread();
                let name = thread::current().name().map(str::to_owned);
                state.stopped();
                drop(state);
                sender.send((number, is_own, name)).unwrap();
            };
            state.start(run).unwrap();
            state.start(|| unreachable!("a thread is running")).unwrap();
            assert!(state.is_running() && !state.is_current_thread());
            drop(state);
            let name = Some("pinhold-test".to_owned());
            assert_eq!(receiver.recv().unwrap(), (number, true, name));
        }
    }

    #[test]
    fn a_panic_is_contained_and_the_longest_wait_is_a_day() {
        assert_eq!(contain(|| 1), Some(1));
        assert_eq!(contain(|| -> u8 { panic!("expected by the test") }), None);
        let (now, until) = (Instant::now(), deadline(Duration::MAX));
        assert!(until >= now + MAX_WAIT && until <= Instant::now() + MAX_WAIT);
    }
}
