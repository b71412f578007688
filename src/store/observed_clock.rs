//! [`ObservedClock`]: how entries apply that were noted in the future of the clock.

use std::time::{Duration, Instant};

use rustls_pki_types::UnixTime;

use crate::policy::KnownPinnedHost;
use crate::policy::timestamp::at;

/// How long the entries of a store have been in use.
///
/// An entry that was noted in the future of the clock applies for at most its lifetime, measured by
/// the running time of the process (D-20): a clock that is set back, however often, must not end
/// it. Only the lookup is affected. The entry itself is kept as it was noted, in memory and in the
/// storage, since it is the present clock that may be wrong.
#[derive(Debug)]
pub(crate) struct ObservedClock {
    opened: Instant,
    max_age_cap: Duration,
}

impl ObservedClock {
    pub(crate) fn new(max_age_cap: Duration) -> Self {
        Self {
            opened: Instant::now(),
            max_age_cap,
        }
    }

    /// Returns whether the entry has no effect at `now`.
    #[inline]
    pub(crate) fn is_expired(&self, entry: &KnownPinnedHost, now: UnixTime) -> bool {
        if is_in_future(entry, now) {
            self.left(entry, self.opened.elapsed()).is_none()
        } else {
            entry.is_expired(now)
        }
    }

    /// Returns how long an entry still applies that was noted in the future, after this time in
    /// use.
    #[cold]
    fn left(&self, entry: &KnownPinnedHost, in_use: Duration) -> Option<Duration> {
        let lifetime = Duration::from_secs(entry.lifetime()).min(self.max_age_cap);
        lifetime.checked_sub(in_use)
    }

    /// Returns the times after which the entry may apply otherwise than at `now`.
    pub(crate) fn changes(
        &self,
        entry: &KnownPinnedHost,
        now: UnixTime,
    ) -> impl Iterator<Item = UnixTime> + use<> {
        // From the next second on, the entry is not in the future of the clock.
        let last_before = entry.noted_at.as_secs().checked_sub(DAY + 1).map(at);
        let left = self.left(entry, self.opened.elapsed());
        let limit = left.filter(|_| is_in_future(entry, now));
        let limit = limit.map(|left| at(now.as_secs().saturating_add(left.as_secs())));
        std::iter::once(entry.expires_at)
            .chain(last_before)
            .chain(limit)
    }
}

/// Returns whether the entry was noted more than one day after `now`.
pub(crate) fn is_in_future(entry: &KnownPinnedHost, now: UnixTime) -> bool {
    entry.noted_at.as_secs() > now.as_secs().saturating_add(DAY)
}

/// One day in seconds. A clock that is wrong by less is not distinguished from one that is right.
const DAY: u64 = 24 * 60 * 60;

/// 28 November 2026, in seconds since 1970: set at each release. A clock that shows an earlier time
/// is wrong, so that a header received then does not shorten what was noted later.
pub(crate) const EARLIEST_TIME: u64 = 1_795_824_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Host, PinSet, SpkiFingerprint};

    const LATER: u64 = EARLIEST_TIME + 100 * DAY;

    fn entry(lifetime: u64) -> KnownPinnedHost {
        let host = Host::parse("example.com").unwrap();
        let pins = PinSet::new([SpkiFingerprint::from_digest([1; 32])]).unwrap();
        KnownPinnedHost::new(host, pins, at(LATER), at(LATER + lifetime))
    }

    #[test]
    fn an_entry_noted_in_the_future_applies_for_its_lifetime_of_running_time() {
        let clock = ObservedClock::new(Duration::from_secs(500));
        for (lifetime, limit) in [(100, 100), (1000, 500)] {
            let limit = Duration::from_secs(limit);
            let left = |in_use| clock.left(&entry(lifetime), in_use);
            assert_eq!(left(Duration::ZERO), Some(limit));
            assert_eq!(left(limit), Some(Duration::ZERO));
            assert_eq!(left(limit + Duration::from_secs(1)), None);
        }
    }

    /// A verdict must not outlast the moment at which the entry applies otherwise.
    #[test]
    fn a_verdict_ends_where_the_entry_begins_or_ceases_to_be_in_the_future() {
        let clock = ObservedClock::new(Duration::from_secs(500));
        let entry = entry(1000);
        let boundary = at(LATER - DAY - 1);
        assert!(is_in_future(&entry, boundary));
        assert!(!is_in_future(&entry, at(LATER - DAY)));
        for now in [boundary, at(LATER), at(1)] {
            let changes = clock.changes(&entry, now).collect::<Vec<_>>();
            assert!(changes.contains(&boundary), "{changes:?}");
            assert!(changes.contains(&entry.expires_at), "{changes:?}");
        }
    }
}
