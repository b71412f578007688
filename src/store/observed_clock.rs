//! [`ObservedClock`]: how entries apply that were noted in the future of the clock, and which of two
//! notes was received later.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls_pki_types::UnixTime;

use crate::policy::KnownPinnedHost;
use crate::policy::timestamp::at;

/// The second of the process's running time since which an entry is in memory, how often the clock
/// had been set back then, and whether this process noted the entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since(u32);

impl Since {
    /// An entry that is read from the storage when the store is opened.
    pub(crate) fn loaded_now() -> Self {
        let seconds = u32::try_from(BEGIN.elapsed().as_secs());
        let seconds = seconds.unwrap_or(u32::MAX).min(u32::MAX >> SECONDS_AT);
        Self(seconds << SECONDS_AT)
    }

    /// An entry that another process has stored, and that is read after so many set-backs.
    fn merged_now(set_backs: u32) -> Self {
        Self(Self::loaded_now().0 | set_backs.min(MAX_SET_BACKS) << 1)
    }

    /// An entry that is noted now.
    pub(crate) fn noted_now() -> Self {
        Self(Self::loaded_now().0 | 1)
    }

    fn is_noted_here(self) -> bool {
        self.0 & 1 == 1
    }

    fn set_backs(self) -> u32 {
        self.0 >> 1 & MAX_SET_BACKS
    }

    fn elapsed(self) -> Duration {
        let seconds = (Self::loaded_now().0 >> SECONDS_AT).saturating_sub(self.0 >> SECONDS_AT);
        Duration::from_secs(seconds.into())
    }
}

/// The lowest bit of the seconds in [`Since`]: they count eight years.
const SECONDS_AT: u32 = 4;
/// The limit of set-backs that are counted. After more, entries of other processes are replaced by
/// later headers only.
const MAX_SET_BACKS: u32 = 7;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How entries apply that were noted in the future of the clock.
///
/// Such an entry applies for at most its lifetime, measured by the running time since it came into
/// memory (D-20): a clock that is set back, however often, must not end it. Only the lookup is
/// affected. The entry itself is kept as it was noted, in memory and in the storage, since it is
/// the present clock that may be wrong.
#[derive(Debug)]
pub(crate) struct ObservedClock {
    max_age_cap: Duration,
    seen: Mutex<SeenTimes>,
}

/// The times of the entries that were loaded, and of the headers that were received since.
#[derive(Debug)]
struct SeenTimes {
    latest: u64,
    /// The latest time that was seen before the clock was set back; 0 if it never was.
    before_set_back: u64,
    /// How often the clock was set back, up to [`MAX_SET_BACKS`].
    set_backs: u32,
}

impl ObservedClock {
    /// Returns the clock of a store that loads these entries.
    pub(crate) fn new(max_age_cap: Duration, loaded: &[KnownPinnedHost]) -> Self {
        let times = loaded.iter().map(|entry| entry.noted_at.as_secs());
        Self {
            max_age_cap,
            seen: Mutex::new(SeenTimes {
                latest: times.max().unwrap_or_default(),
                before_set_back: 0,
                set_backs: 0,
            }),
        }
    }

    /// Records that a header was received at `now`.
    pub(crate) fn observe(&self, now: UnixTime) {
        let (now, mut seen) = (now.as_secs(), self.seen.lock());
        if now.saturating_add(SET_BACK) <= seen.latest {
            seen.before_set_back = seen.before_set_back.max(seen.latest);
            seen.set_backs = (seen.set_backs + 1).min(MAX_SET_BACKS);
            seen.latest = now;
        }
        seen.latest = seen.latest.max(now);
    }

    /// Returns since when an entry is in memory that another process has stored and that is read now.
    pub(crate) fn merged_now(&self) -> Since {
        Since::merged_now(self.seen.lock().set_backs)
    }

    /// Returns whether what a header does that was received at `now` replaces this entry. Another
    /// process may have noted it after the header was received. Within one second, and for entries
    /// that this process noted, the order of the changes decides.
    pub(crate) fn replaces(&self, entry: &KnownPinnedHost, since: Since, now: UnixTime) -> bool {
        if entry.noted_at <= now || since.is_noted_here() || is_in_future(entry, now) {
            return true;
        }
        // It may have been noted before the clock was set back, unless it was read since: an entry
        // from a clock that was ahead would otherwise disable this comparison.
        let seen = self.seen.lock();
        since.set_backs() < seen.set_backs && entry.noted_at.as_secs() <= seen.before_set_back
    }

    /// Returns whether the entry has no effect at `now`.
    #[inline]
    pub(crate) fn is_expired(&self, entry: &KnownPinnedHost, since: Since, now: UnixTime) -> bool {
        if is_in_future(entry, now) {
            self.left(entry, since.elapsed()).is_none()
        } else {
            entry.is_expired(now)
        }
    }

    /// Returns how long an entry still applies that was noted in the future, after this time in
    /// memory.
    #[cold]
    fn left(&self, entry: &KnownPinnedHost, in_memory: Duration) -> Option<Duration> {
        let lifetime = Duration::from_secs(entry.lifetime()).min(self.max_age_cap);
        lifetime.checked_sub(in_memory)
    }

    /// Returns the times after which the entry may apply otherwise than at `now`.
    pub(crate) fn changes(
        &self,
        entry: &KnownPinnedHost,
        since: Since,
        now: UnixTime,
    ) -> impl Iterator<Item = UnixTime> + use<> {
        // From the next second on, the entry is not in the future of the clock.
        let last_before = entry.noted_at.as_secs().checked_sub(DAY + 1).map(at);
        let in_future = is_in_future(entry, now).then(|| self.left(entry, since.elapsed()));
        let limit = in_future.flatten();
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

/// The seconds by which a time must be before an earlier one to show that the clock was set back.
/// Headers that are received by two threads in two seconds may take effect in either order.
const SET_BACK: u64 = 2;

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
        let clock = ObservedClock::new(Duration::from_secs(500), &[]);
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
        let clock = ObservedClock::new(Duration::from_secs(500), &[]);
        let entry = entry(1000);
        let boundary = at(LATER - DAY - 1);
        assert!(is_in_future(&entry, boundary));
        assert!(!is_in_future(&entry, at(LATER - DAY)));
        for now in [boundary, at(LATER), at(1)] {
            let changes = clock
                .changes(&entry, Since::loaded_now(), now)
                .collect::<Vec<_>>();
            assert!(changes.contains(&boundary), "{changes:?}");
            assert!(changes.contains(&entry.expires_at), "{changes:?}");
        }
    }

    /// Otherwise a process would replace what another one has noted since.
    #[test]
    fn an_older_header_replaces_an_entry_only_after_the_clock_was_set_back() {
        let clock = ObservedClock::new(Duration::MAX, &[entry(1)]);
        let replaces = |noted_at, now| {
            let entry = entry(0).as_noted_at(at(LATER + noted_at));
            assert!(clock.replaces(&entry, Since::noted_now(), at(LATER + now)));
            clock.replaces(&entry, Since::loaded_now(), at(LATER + now))
        };
        for seconds in [0, 10, 9] {
            clock.observe(at(LATER + seconds));
            assert!(
                replaces(9, 9) && replaces(8, 9) && !replaces(10, 9),
                "{seconds}"
            );
        }
        clock.observe(at(LATER + 8));
        for seconds in [8, 11, 2] {
            clock.observe(at(LATER + seconds));
            // What was noted after the latest time that was seen before is from another process.
            assert!(replaces(10, 8) && !replaces(12, 8), "{seconds}");
        }
        // Another process has noted it since, by a clock that is right.
        let entry_since = entry(0).as_noted_at(at(LATER + 10));
        assert!(!clock.replaces(&entry_since, clock.merged_now(), at(LATER + 8)));
        // By a clock that was ahead.
        let ahead = entry(0).as_noted_at(at(LATER + 2 * DAY));
        assert!(clock.replaces(&ahead, clock.merged_now(), at(LATER)));
        // The loaded entries were noted before any header was received.
        let clock = ObservedClock::new(Duration::MAX, &[entry(1)]);
        clock.observe(at(LATER - 3600));
        let loaded = |seconds| entry(0).as_noted_at(at(LATER + seconds));
        assert!(clock.replaces(&loaded(0), Since::loaded_now(), at(LATER - 3600)));
        assert!(!clock.replaces(&loaded(1), Since::loaded_now(), at(LATER - 3600)));
    }
}
