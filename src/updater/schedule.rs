//! When the next bundle is fetched.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Returns the time until the next fetch after so many failures in a row: the interval, or after a
/// failure a minute that doubles up to the interval. `random` spreads the installations that began at
/// the same time over a fifth of that.
pub(crate) fn delay(interval: Duration, failures: u32, random: u64) -> Duration {
    let delay = match failures.checked_sub(1) {
        None => interval,
        Some(earlier) => (FIRST_BACKOFF * (1 << earlier.min(16))).min(interval),
    };
    let tenth = delay / 10;
    let spread = u32::try_from(random % 1000).unwrap_or_default();
    (delay - tenth).saturating_add((tenth / 500).saturating_mul(spread))
}

/// Returns a number that differs in each call and process. It is no secret.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// The time until the second attempt.
const FIRST_BACKOFF: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    #[test]
    fn a_failure_is_tried_again_after_a_minute_that_doubles_up_to_the_interval() {
        let delays = [0, 1, 2, 3, 7, 8, 1000].map(|failures| delay(HOUR, failures, 500).as_secs());
        assert_eq!(delays, [3600, 60, 120, 240, 3600, 3600, 3600]);
        assert_eq!(delay(Duration::from_secs(5), 9, 500).as_secs(), 5);
        assert!(delay(Duration::MAX, 0, 999) > Duration::MAX / 10 * 9);
    }

    #[test]
    fn installations_are_spread_over_a_fifth_of_the_interval() {
        let delays = (0..1000).map(|random| delay(HOUR, 0, random));
        let (least, most) = (delays.clone().min(), delays.max());
        assert_eq!(least, Some(HOUR * 9 / 10));
        assert!(most > Some(HOUR * 109 / 100) && most < Some(HOUR * 11 / 10));
    }
}
