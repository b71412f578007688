//! Notification of open connections about changes of pins. [`Generation`] counts the changes, after
//! each of which a connection must be checked again. [`Validity`] limits how long a verdict may be
//! reused.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
#[cfg(feature = "hyper")]
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

use crate::store::worker::contain;

/// Counts the changes that may affect a verdict, and wakes connections after each.
#[derive(Default)]
pub(crate) struct Generation {
    number: AtomicU64,
    /// The latest time that a verdict of this generation was made for, in seconds since 1970.
    latest_check: AtomicU64,
    watchers: Mutex<Watchers>,
}

#[derive(Default)]
struct Watchers {
    last_id: u64,
    /// Wakers by the ID of the watch.
    wakers: HashMap<u64, Arc<Waker>, RandomState>,
}

impl Generation {
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    /// Begins a new generation. Call it with the changed pins locked for writing, so that a reader
    /// of the changed pins finds the new number, too.
    pub(crate) fn advance(&self) {
        // Verdicts of earlier generations are invalid, whatever time they were made for. Reset
        // before the number changes, since a check reads the number before it records its time.
        self.latest_check.store(0, Ordering::SeqCst);
        self.number.fetch_add(1, Ordering::SeqCst);
    }

    /// Records that a verdict is made for this time. Call it before the pins are read.
    pub(crate) fn record_check(&self, now: UnixTime) {
        self.latest_check.fetch_max(now.as_secs(), Ordering::SeqCst);
    }

    /// Returns whether a verdict of this generation was made for a time after `expiry`, so that an
    /// entry with that expiry counted as expired. Call it with the entries locked for writing.
    pub(crate) fn was_checked_after(&self, expiry: UnixTime) -> bool {
        self.latest_check.load(Ordering::SeqCst) > expiry.as_secs()
    }

    /// Wakes all connections that watch. Call it without a lock, since a waker runs code of the
    /// runtime, which may use the store.
    pub(crate) fn wake(&self) {
        // Only the references are cloned with the lock held: cloning a waker runs its code, too.
        let wakers = self
            .watchers
            .lock()
            .wakers
            .values()
            .cloned()
            .collect::<Vec<_>>();
        for waker in wakers {
            // A waker that panics must not prevent the other connections from being woken, nor end
            // the writer thread.
            contain(move || waker.wake_by_ref());
        }
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Generation").field(&self.number).finish()
    }
}

/// How long a verdict may be reused: in its generation of the pins, and as long as no policy
/// expires. When one expires, another may apply; when the clock is set back, it may apply again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    generation: u64,
    /// The first and the last second of the validity, since 1970.
    from: u64,
    until: u64,
}

impl Validity {
    /// Returns the validity of a verdict at `now` by policies that expire at these times.
    pub(crate) fn new(generation: u64, expiry_times: Vec<UnixTime>, now: UnixTime) -> Self {
        let (mut from, mut until) = (0, u64::MAX);
        for expiry in expiry_times {
            if now > expiry {
                from = from.max(expiry.as_secs().saturating_add(1))
            } else {
                until = until.min(expiry.as_secs())
            }
        }
        Self {
            generation,
            from,
            until,
        }
    }

    /// Returns the validity of the combination of both verdicts.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            // If the generations differ, the result is that of the older one, which has ended.
            generation: self.generation.min(other.generation),
            ..self.within(other.from, other.until)
        }
    }

    /// Limits the validity to these seconds since 1970, including the last one.
    pub(crate) fn within(self, from: u64, until: u64) -> Self {
        Self {
            generation: self.generation,
            from: self.from.max(from),
            until: self.until.min(until),
        }
    }

    /// The validity of a verdict that must not be reused.
    #[cfg(feature = "hyper")]
    pub(crate) const NEVER: Self = Self {
        generation: u64::MAX,
        from: u64::MAX,
        until: 0,
    };

    /// Returns whether the verdict is of this generation.
    #[cfg(feature = "hyper")]
    #[inline]
    pub(crate) fn is_of(&self, generation: u64) -> bool {
        generation == self.generation
    }

    /// Returns whether the verdict is valid now. Reads the clock only if time can affect it.
    #[cfg(feature = "hyper")]
    #[inline]
    pub(crate) fn holds(&self, generation: u64, clock: &Arc<dyn TimeProvider>) -> bool {
        let in_time = |now: UnixTime| self.holds_at(generation, now);
        self.holds_at_all_times(generation)
            || self.is_of(generation) && clock.current_time().is_some_and(in_time)
    }

    /// Returns whether the verdict is valid whatever the time is.
    #[cfg(feature = "hyper")]
    #[inline]
    pub(crate) fn holds_at_all_times(&self, generation: u64) -> bool {
        self.is_of(generation) && (self.from, self.until) == (0, u64::MAX)
    }

    /// Returns whether the verdict is valid at `now`.
    #[inline]
    pub(crate) fn holds_at(&self, generation: u64, now: UnixTime) -> bool {
        generation == self.generation && (self.from..=self.until).contains(&now.as_secs())
    }
}

/// Registration of one connection that is woken by each new generation, until it is dropped.
pub(crate) struct GenerationWatch {
    generation: Arc<Generation>,
    id: u64,
    waker: Option<Arc<Waker>>,
}

impl GenerationWatch {
    pub(crate) fn new(generation: &Arc<Generation>) -> Self {
        let mut watchers = generation.watchers.lock();
        watchers.last_id += 1;
        Self {
            generation: Arc::clone(generation),
            id: watchers.last_id,
            waker: None,
        }
    }

    /// Returns the number of the current generation.
    #[cfg(feature = "hyper")]
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.generation.number()
    }

    /// Registers this task to be woken by the next generation. Read the number after that: a change
    /// in between would go unnoticed otherwise.
    #[inline]
    pub(crate) fn register(&mut self, cx: &Context<'_>) {
        let known = self.waker.as_ref();
        if !known.is_some_and(|known| known.will_wake(cx.waker())) {
            self.replace_waker(cx.waker());
        }
    }

    #[cold]
    fn replace_waker(&mut self, waker: &Waker) {
        let waker = Arc::new(waker.clone());
        let replaced = self.waker.replace(Arc::clone(&waker));
        let mut watchers = self.generation.watchers.lock();
        let replaced = (replaced, watchers.wakers.insert(self.id, waker));
        drop(watchers);
        // Dropped without the lock, since that runs code of the runtime.
        drop(replaced);
    }
}

impl Drop for GenerationWatch {
    fn drop(&mut self) {
        let waker = self.generation.watchers.lock().wakers.remove(&self.id);
        // Dropped without the lock, since that runs code of the runtime.
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::timestamp::at;

    /// Otherwise a clock that was ahead once would make every later refresh a change.
    #[test]
    fn verdicts_of_earlier_generations_are_ignored() {
        let generation = Generation::default();
        generation.record_check(at(9));
        generation.record_check(at(5));
        assert!(generation.was_checked_after(at(8)) && !generation.was_checked_after(at(9)));
        generation.advance();
        assert!(!generation.was_checked_after(at(3)));
        generation.record_check(at(5));
        assert!(generation.was_checked_after(at(4)) && !generation.was_checked_after(at(5)));
    }
}
