//! Changes of pins in, a number and a wake-up out: [`Generation`], by which a connection sees that
//! it has to be judged again, and [`Validity`], how long it need not be.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use parking_lot::Mutex;
#[cfg(feature = "hyper")]
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

use crate::store::worker::contain;

/// Counts what may change a verdict.
#[derive(Default)]
pub(crate) struct Generation {
    number: AtomicU64,
    /// The latest second that a verdict was asked for.
    latest: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    wakers: HashMap<u64, Waker>,
}

impl Generation {
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    /// Begins a new generation. Call it while what has changed is locked for writing: whoever sees
    /// the change then sees the number, too.
    pub(crate) fn advance(&self) {
        // Verdicts of earlier generations stand no more, whatever time they were made for. Before
        // the number: who reads the new one tells its time later.
        self.latest.store(0, Ordering::SeqCst);
        self.number.fetch_add(1, Ordering::SeqCst);
    }

    /// A verdict is made for this time. Call it before what the verdict is made of is read.
    pub(crate) fn judges_at(&self, now: UnixTime) {
        self.latest.fetch_max(now.as_secs(), Ordering::SeqCst);
    }

    /// Whether a verdict was made for a time at which what ends then had ended. Call it while what
    /// ends is locked for writing.
    pub(crate) fn has_judged_after(&self, end: UnixTime) -> bool {
        self.latest.load(Ordering::SeqCst) > end.as_secs()
    }

    /// Wakes all who watch. Call it without a lock: a waker is foreign code.
    pub(crate) fn wake(&self) {
        let wakers = self
            .waiting
            .lock()
            .wakers
            .values()
            .cloned()
            .collect::<Vec<_>>();
        for waker in wakers {
            // One that panics must keep no other connection from being woken, nor the writer of a
            // store from writing.
            contain(|| waker.wake());
        }
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Generation").field(&self.number).finish()
    }
}

/// For how long a judgement stands: in this generation of the pins, and while no policy ends. The
/// end of one can make another apply, and an expired one applies again if the clock goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    generation: u64,
    /// Seconds, the last one included.
    from: u64,
    until: u64,
}

impl Validity {
    /// Of a judgement at `now` by policies with these ends.
    pub(crate) fn new(generation: u64, expiry_times: Vec<UnixTime>, now: UnixTime) -> Self {
        let (mut from, mut until) = (0, u64::MAX);
        for end in expiry_times {
            if now > end {
                from = from.max(end.as_secs().saturating_add(1))
            } else {
                until = until.min(end.as_secs())
            }
        }
        Self {
            generation,
            from,
            until,
        }
    }

    /// For as long as both stand.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            // Of different generations neither will stand.
            generation: self.generation.min(other.generation),
            ..self.within(other.from, other.until)
        }
    }

    /// Only in these seconds.
    pub(crate) fn within(self, from: u64, until: u64) -> Self {
        Self {
            generation: self.generation,
            from: self.from.max(from),
            until: self.until.min(until),
        }
    }

    /// Of a judgement that stands no more.
    #[cfg(feature = "hyper")]
    pub(crate) const NEVER: Self = Self {
        generation: u64::MAX,
        from: u64::MAX,
        until: 0,
    };

    /// Whether the judgement is of this generation.
    #[cfg(feature = "hyper")]
    pub(crate) fn is_of(&self, generation: u64) -> bool {
        generation == self.generation
    }

    /// Whether the judgement stands. The clock is read only where time could change it.
    #[cfg(feature = "hyper")]
    #[inline]
    pub(crate) fn holds(&self, generation: u64, clock: &Arc<dyn TimeProvider>) -> bool {
        let is_timeless = (self.from, self.until) == (0, u64::MAX);
        let in_time = |now: UnixTime| self.holds_at(generation, now);
        self.is_of(generation) && (is_timeless || clock.current_time().is_some_and(in_time))
    }

    /// Whether the judgement stands at `now`.
    pub(crate) fn holds_at(&self, generation: u64, now: UnixTime) -> bool {
        generation == self.generation && (self.from..=self.until).contains(&now.as_secs())
    }
}

/// One connection that wants to be woken by each new generation.
pub(crate) struct GenerationWatch {
    generation: Arc<Generation>,
    key: u64,
    waker: Option<Waker>,
}

impl GenerationWatch {
    pub(crate) fn new(generation: &Arc<Generation>) -> Self {
        let mut waiting = generation.waiting.lock();
        waiting.next += 1;
        Self {
            generation: Arc::clone(generation),
            key: waiting.next,
            waker: None,
        }
    }

    /// Of the generation that is watched.
    #[cfg(feature = "hyper")]
    pub(crate) fn number(&self) -> u64 {
        self.generation.number()
    }

    /// Has this task woken. Look at the number afterwards, or a change between is missed.
    #[inline]
    pub(crate) fn wake_me(&mut self, cx: &Context<'_>) {
        let known = self.waker.as_ref();
        if !known.is_some_and(|known| known.will_wake(cx.waker())) {
            self.wake_another(cx.waker());
        }
    }

    #[cold]
    fn wake_another(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
        let mut waiting = self.generation.waiting.lock();
        let replaced = waiting.wakers.insert(self.key, waker.clone());
        drop(waiting);
        // Not under the lock.
        drop(replaced);
    }
}

impl Drop for GenerationWatch {
    fn drop(&mut self) {
        let waker = self.generation.waiting.lock().wakers.remove(&self.key);
        // Not under the lock.
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    /// Else a clock that was ahead once would make each refresh a change, for ever.
    #[test]
    fn verdicts_of_an_earlier_generation_are_no_matter() {
        let generation = Generation::default();
        generation.judges_at(at(9));
        generation.judges_at(at(5));
        assert!(generation.has_judged_after(at(8)) && !generation.has_judged_after(at(9)));
        generation.advance();
        assert!(!generation.has_judged_after(at(3)));
        generation.judges_at(at(5));
        assert!(generation.has_judged_after(at(4)) && !generation.has_judged_after(at(5)));
    }
}
