//! [`KnownKeys`], the keys that are remembered of a host, with TACK's rule of activation.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::policy::timestamp::{at, print_capped};
use crate::policy::{Host, SpkiFingerprint};

/// A key that was in a validated chain of a host.
///
/// ```
/// use pinhold::first_use::KnownKey;
/// use rustls::pki_types::UnixTime;
///
/// fn is_held(key: &KnownKey, now: UnixTime) -> bool {
///     assert!(key.last_seen <= key.active_until());
///     key.is_active(now)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownKey {
    /// The fingerprint of the key.
    pub fingerprint: SpkiFingerprint,
    /// The time of the first connection whose chain had the key.
    pub first_seen: UnixTime,
    /// The time of the latest one.
    pub last_seen: UnixTime,
}

impl KnownKey {
    /// Returns the last second at which the key is active: the time of the latest connection, and as
    /// long again as the key had been seen until then, at most 30 days (the rule of
    /// draft-perrin-tls-tack-02).
    #[must_use]
    pub fn active_until(&self) -> UnixTime {
        let (first, last) = (self.first_seen.as_secs(), self.last_seen.as_secs());
        let age = last.saturating_sub(first).min(MAX_ACTIVE);
        at(last.saturating_add(age))
    }

    /// Returns whether other chains than those with an active key are refused at `now`.
    ///
    /// A key that was seen more than one day after `now` is not active: the clock was ahead then, or
    /// is behind now, and the key would hold for longer than 30 days.
    #[must_use]
    pub fn is_active(&self, now: UnixTime) -> bool {
        let is_in_future = self.last_seen.as_secs() > now.as_secs().saturating_add(CLOCK_TOLERANCE);
        let has_age = self.last_seen > self.first_seen;
        has_age && !is_in_future && now <= self.active_until()
    }

    fn see(&mut self, now: UnixTime) {
        self.first_seen = self.first_seen.min(now);
        // A time in the future was shown by a clock that was ahead.
        if self.last_seen < now
            || self.last_seen.as_secs() > now.as_secs().saturating_add(CLOCK_TOLERANCE)
        {
            self.last_seen = now;
        }
    }
}

/// What the remembered keys of a host say about a chain, in SSH's words.
///
/// ```
/// use pinhold::SpkiFingerprint;
/// use pinhold::first_use::{KeyState, KnownKeys};
/// use rustls::pki_types::UnixTime;
///
/// fn is_refused(known: &KnownKeys, leaf: SpkiFingerprint, now: UnixTime) -> bool {
///     known.check(&[leaf], now) == KeyState::Changed
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// No key of the chain is remembered, and no remembered key is active.
    New,
    /// The chain has an active key; or a remembered one, while none is active.
    Ok,
    /// Keys are active, and the chain has none of them.
    Changed,
}

/// The keys that are remembered of a host, at most 16.
///
/// `Display` has one line for each key: the host, the key, when it was seen for the first and for the
/// latest time, and until when it is active.
///
/// ```
/// use pinhold::{Host, PinStore};
///
/// let store = PinStore::in_memory();
/// let host = Host::parse("example.com")?;
/// assert!(store.remembered_keys(&host).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKeys {
    host: Host,
    keys: Vec<KnownKey>,
}

impl KnownKeys {
    /// Returns the keys that were stored; `None` without keys, or with more than 16.
    pub(crate) fn of_stored(host: Host, keys: Vec<KnownKey>) -> Option<Self> {
        matches!(keys.len(), 1..=MAX_KEYS).then_some(Self { host, keys })
    }

    /// Returns the keys of a first connection.
    pub(crate) fn first(host: Host, keys: &[SpkiFingerprint], now: UnixTime) -> Self {
        Self {
            host,
            keys: Vec::new(),
        }
        .seen(keys, now)
    }

    /// Returns the host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the keys, the latest seen first.
    #[must_use]
    pub fn keys(&self) -> &[KnownKey] {
        &self.keys
    }

    /// Returns the time of the latest connection that was remembered.
    #[must_use]
    pub fn last_seen(&self) -> UnixTime {
        let times = self.keys.iter().map(|key| key.last_seen);
        times.max().unwrap_or(at(0))
    }

    /// Returns the last second at which a key is active that is active at `now`; `None` if none is.
    #[must_use]
    pub fn active_until(&self, now: UnixTime) -> Option<UnixTime> {
        let active = self.keys.iter().filter(|key| key.is_active(now));
        active.map(KnownKey::active_until).max()
    }

    /// Returns what these keys say about a chain with the keys `seen`.
    #[must_use]
    pub fn check(&self, seen: &[SpkiFingerprint], now: UnixTime) -> KeyState {
        let is_seen = |key: &&KnownKey| seen.contains(&key.fingerprint);
        let mut active = self.keys.iter().filter(|key| key.is_active(now)).peekable();
        if active.peek().is_some() {
            return match active.find(is_seen) {
                Some(_) => KeyState::Ok,
                None => KeyState::Changed,
            };
        }
        match self.keys.iter().find(is_seen) {
            Some(_) => KeyState::Ok,
            None => KeyState::New,
        }
    }

    /// Returns these keys after a connection whose chain is not `Changed`.
    pub(crate) fn seen(&self, seen: &[SpkiFingerprint], now: UnixTime) -> Self {
        let is_kept =
            |key: &&KnownKey| now.as_secs().saturating_sub(key.last_seen.as_secs()) <= MAX_UNSEEN;
        let mut keys = self
            .keys
            .iter()
            .filter(is_kept)
            .copied()
            .collect::<Vec<_>>();
        for fingerprint in seen.iter().take(MAX_KEYS) {
            match keys.iter_mut().find(|key| key.fingerprint == *fingerprint) {
                Some(known) => known.see(now),
                None => keys.push(KnownKey {
                    fingerprint: *fingerprint,
                    first_seen: now,
                    last_seen: now,
                }),
            }
        }
        keys.sort_by_key(|key| Reverse((seen.contains(&key.fingerprint), key.last_seen)));
        keys.truncate(MAX_KEYS);
        Self {
            host: self.host.clone(),
            keys,
        }
    }

    /// Returns the keys of a chain that the user accepted. They take over the age of the keys that they
    /// replace, so that they hold as long as those did.
    pub(crate) fn accepted(&self, seen: &[SpkiFingerprint], now: UnixTime) -> Self {
        let times = self.keys.iter().map(|key| key.first_seen.min(now));
        let oldest = times.min().unwrap_or(now);
        let key = |fingerprint: &SpkiFingerprint| KnownKey {
            fingerprint: *fingerprint,
            first_seen: oldest,
            last_seen: now,
        };
        Self {
            host: self.host.clone(),
            keys: seen.iter().take(MAX_KEYS).map(key).collect(),
        }
    }
}

impl fmt::Display for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, key) in self.keys.iter().enumerate() {
            let separator = if position > 0 { "\n" } else { "" };
            write!(
                f,
                "{separator}{} {} first seen {} last seen {} active until {}",
                self.host,
                key.fingerprint,
                print_capped(key.first_seen),
                print_capped(key.last_seen),
                print_capped(key.active_until())
            )?;
        }
        Ok(())
    }
}

pub(crate) const MAX_KEYS: usize = 16;
const DAY: u64 = 24 * 60 * 60;
const MAX_ACTIVE: u64 = Duration::from_secs(30 * DAY).as_secs();
/// How long a key is kept that is not seen any more: as long again as it can be active.
const MAX_UNSEEN: u64 = 60 * DAY;
const CLOCK_TOLERANCE: u64 = DAY;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn pin(number: u8) -> SpkiFingerprint {
        SpkiFingerprint::from_digest([number; 32])
    }

    fn seen_for(days: u64) -> KnownKeys {
        let host = Host::parse("a.example").unwrap();
        KnownKeys::first(host, &[pin(1)], at(NOW)).seen(&[pin(1)], at(NOW + days * DAY))
    }

    #[test]
    fn keys_hold_as_long_as_they_were_seen_and_at_most_30_days() {
        for (days, held) in [(0, 0), (1, 1), (10, 10), (30, 30), (59, 30)] {
            let keys = seen_for(days);
            let end = NOW + (days + held) * DAY;
            let at_end = keys.check(&[pin(2)], at(end));
            let expected = if held > 0 {
                KeyState::Changed
            } else {
                KeyState::New
            };
            assert_eq!(at_end, expected, "{days}");
            assert_eq!(keys.check(&[pin(2)], at(end + 1)), KeyState::New, "{days}");
            assert_eq!(keys.check(&[pin(2), pin(1)], at(end)), KeyState::Ok);
        }
    }

    #[test]
    fn a_clock_that_was_ahead_neither_locks_out_nor_activates_for_years() {
        let keys = seen_for(3650);
        assert_eq!(keys.check(&[pin(2)], at(NOW + DAY)), KeyState::New);
        let keys = seen_for(10).seen(&[pin(1)], at(NOW + 3650 * DAY));
        let corrected = keys.seen(&[pin(1)], at(NOW + 11 * DAY));
        assert!(corrected.keys()[0].last_seen <= at(NOW + 11 * DAY));
    }

    #[test]
    fn a_clock_that_is_a_little_behind_changes_nothing() {
        let keys = seen_for(10);
        assert_eq!(
            keys.check(&[pin(2)], at(NOW + 10 * DAY - 60)),
            KeyState::Changed
        );
        assert_eq!(keys.seen(&[pin(1)], at(NOW + 10 * DAY - 60)), keys);
    }

    #[test]
    fn accepted_keys_take_over_the_age_of_those_that_they_replace() {
        let keys = seen_for(10).accepted(&[pin(2)], at(NOW + 11 * DAY));
        assert_eq!(keys.check(&[pin(2)], at(NOW + 11 * DAY)), KeyState::Ok);
        assert_eq!(keys.check(&[pin(1)], at(NOW + 11 * DAY)), KeyState::Changed);
    }

    #[test]
    fn at_most_16_keys_are_kept_and_old_ones_are_dropped() {
        let many = (2..40).map(pin).collect::<Vec<_>>();
        assert_eq!(
            seen_for(1).seen(&many, at(NOW + DAY)).keys().len(),
            MAX_KEYS
        );
        let later = seen_for(0).seen(&[pin(2)], at(NOW + 61 * DAY));
        assert_eq!(later.keys().len(), 1);
    }
}
