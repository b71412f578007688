//! [`ObservedClock`]: how entries apply that were noted in the future of the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::policy::KnownPinnedHost;
use crate::policy::timestamp::at;

/// The earliest time at which entries were looked up in this process.
///
/// An entry that was noted in the future of the clock applies from that time on, for at most its
/// lifetime (D-20). Only the lookup is affected: the entry itself is kept as it was noted, in
/// memory and in the storage, since it is the clock that may be wrong.
#[derive(Debug)]
pub(crate) struct ObservedClock(AtomicU64);

impl ObservedClock {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// Returns the entry as it applies at `now`.
    #[inline]
    pub(crate) fn apply(
        &self,
        entry: &Arc<KnownPinnedHost>,
        now: UnixTime,
        max_age_cap: Duration,
    ) -> Arc<KnownPinnedHost> {
        if is_in_future(entry, now) {
            self.limited(entry, now, max_age_cap)
        } else {
            Arc::clone(entry)
        }
    }

    #[cold]
    fn limited(
        &self,
        entry: &KnownPinnedHost,
        now: UnixTime,
        max_age_cap: Duration,
    ) -> Arc<KnownPinnedHost> {
        let now = now.as_secs().max(EARLIEST_TIME);
        let first = self.0.fetch_min(now, Ordering::Relaxed).min(now);
        Arc::new(entry.limited_from(at(first), max_age_cap))
    }

    /// Returns the times after which the entry may apply otherwise than at `now`.
    pub(crate) fn changes(
        &self,
        entry: &Arc<KnownPinnedHost>,
        now: UnixTime,
        max_age_cap: Duration,
    ) -> impl Iterator<Item = UnixTime> {
        let in_future = is_in_future(entry, now).then(|| {
            let last_second = entry.noted_at.as_secs().saturating_sub(DAY + 1);
            [
                at(last_second),
                self.limited(entry, now, max_age_cap).expires_at,
            ]
        });
        std::iter::once(entry.expires_at).chain(in_future.into_iter().flatten())
    }
}

/// Returns whether the entry was noted more than one day after `now`.
pub(crate) fn is_in_future(entry: &KnownPinnedHost, now: UnixTime) -> bool {
    entry.noted_at.as_secs() > now.as_secs().saturating_add(DAY)
}

/// One day in seconds. A clock that is wrong by less is not distinguished from one that is right.
const DAY: u64 = 24 * 60 * 60;

/// 28 November 2026, in seconds since 1970: set at each release. A clock that shows an earlier time
/// is wrong, and no entry expires by it.
pub(crate) const EARLIEST_TIME: u64 = 1_795_824_000;
