//! [`TestClock`], a clock that a test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pinhold::policy::IntoUnixTime;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// A clock that shows the same time until the test sets or advances it.
///
/// Passed to [`PinningBuilder::time_provider`](pinhold::PinningBuilder::time_provider), it decides
/// which certificates are valid, when pins expire, and when noted pins are forgotten.
///
/// ```
/// use std::time::Duration;
/// use pinhold::Pinning;
/// use pinhold_testing::TestClock;
///
/// let clock = TestClock::new();
/// let pinning = Pinning::builder().time_provider(clock.clone()).build()?;
/// clock.advance(Duration::from_secs(90 * 24 * 60 * 60));
/// # drop(pinning);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TestClock(AtomicU64);

impl TestClock {
    /// Returns a clock that shows 1 January 2026, 00:00 UTC.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(START)))
    }

    /// Returns the time that the clock shows.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }

    /// Sets the clock to this time, later or earlier. Fractions of a second are dropped.
    pub fn set(&self, time: impl IntoUnixTime) {
        self.0
            .store(time.into_unix_time().as_secs(), Ordering::SeqCst);
    }

    /// Advances the clock. Fractions of a second are dropped.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

/// 1 January 2026, 00:00 UTC, in seconds since the Unix epoch. All certificates but the expired one
/// are valid then, and by the clock of the system.
const START: u64 = 1_767_225_600;
