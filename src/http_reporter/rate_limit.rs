//! What was reported, and where: duplicates and rates. The limits are Chrome's: 50 reports are
//! remembered for 60 minutes.

use rustls_pki_types::UnixTime;

use crate::policy::PinSource;
use crate::violation::DropReason;

/// Reports of the last hour.
#[derive(Debug, Default)]
pub(crate) struct RateLimit(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// `None` once it was given up: it may be tried anew, but counts.
    key: Option<[u8; 32]>,
    origin: (bool, String),
    source: PinSource,
    at: UnixTime,
}

impl RateLimit {
    /// Takes in a report, by what makes it distinct at its endpoint, or says why it is not sent.
    pub(crate) fn admit(
        &mut self,
        key: [u8; 32],
        origin: (bool, String),
        source: PinSource,
        now: UnixTime,
    ) -> Result<(), DropReason> {
        let (now_at, earliest) = (now.as_secs(), now.as_secs().checked_sub(WINDOW));
        self.0.retain_mut(|entry| {
            let at = entry.at.as_secs();
            // From the near future it was sent by a thread that was faster; from the far one before
            // the clock was set back, and how long ago nobody knows.
            if at > now_at.saturating_add(DISORDER) {
                entry.at = now;
            }
            earliest.is_none_or(|earliest| at > earliest)
        });
        if self.0.iter().any(|entry| entry.key == Some(key)) {
            return Err(DropReason::Duplicate);
        }
        let count = |of_all: bool, source: Option<PinSource>| {
            let entries = self.0.iter();
            entries
                .filter(|entry| of_all || entry.origin == origin)
                .filter(|entry| source.is_none_or(|source| entry.source == source))
                .count()
        };
        // A live entry is never evicted, so within the window nothing is sent twice. A server that
        // sets ever other pins leaves the other half to those of the application.
        let noted = Some(PinSource::Noted);
        let is_full = count(false, None) >= MAX_OF_ORIGIN || count(true, None) >= MAX_SENT;
        let has_had_half =
            count(false, noted) >= MAX_OF_ORIGIN / 2 || count(true, noted) >= MAX_SENT / 2;
        if is_full || (source == PinSource::Noted && has_had_half) {
            return Err(DropReason::RateLimit);
        }
        self.0.push(Entry {
            key: Some(key),
            origin,
            source,
            at: now,
        });
        Ok(())
    }

    /// Lets a report that was given up be tried anew. It still counts for the rate.
    pub(crate) fn forget(&mut self, key: [u8; 32]) {
        for entry in &mut self.0 {
            if entry.key == Some(key) {
                entry.key = None;
            }
        }
    }
}

/// Seconds that a report may be made later than one which arrives after it.
const DISORDER: u64 = 60;
/// Seconds.
const WINDOW: u64 = 60 * 60;
const MAX_SENT: usize = 50;
/// So that one endpoint can't fill the table.
const MAX_OF_ORIGIN: usize = 30;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn admit(sent: &mut RateLimit, key: u8, origin: &str, seconds: u64) -> Result<(), DropReason> {
        let origin = (true, origin.to_owned());
        sent.admit([key; 32], origin, PinSource::Static, at(seconds))
    }

    #[test]
    fn the_same_is_not_sent_twice_within_the_hour() {
        let mut sent = RateLimit::default();
        assert_eq!(admit(&mut sent, 1, "a", 10_000), Ok(()));
        assert_eq!(admit(&mut sent, 2, "a", 10_000), Ok(()));
        for seconds in [10_000, 13_599] {
            let again = admit(&mut sent, 1, "a", seconds);
            assert_eq!(again, Err(DropReason::Duplicate));
        }
        assert_eq!(admit(&mut sent, 1, "a", 13_600), Ok(()));
        // Another thread saw it a moment before.
        let again = admit(&mut sent, 1, "a", 13_590);
        assert_eq!(again, Err(DropReason::Duplicate));
        // The clock is set back: how long ago it was sent is not known any more.
        for seconds in [9_000, 12_599] {
            let again = admit(&mut sent, 1, "a", seconds);
            assert_eq!(again, Err(DropReason::Duplicate));
        }
        assert_eq!(admit(&mut sent, 1, "a", 12_600), Ok(()));
    }

    #[test]
    fn servers_leave_a_half_to_the_pins_of_the_application() {
        let mut sent = RateLimit::default();
        let mut noted = |key, origin: &str| {
            let origin = (true, origin.to_owned());
            sent.admit([key; 32], origin, PinSource::Noted, at(0))
        };
        for key in 0..15 {
            assert_eq!(noted(key, "a"), Ok(()));
        }
        assert_eq!(noted(15, "a"), Err(DropReason::RateLimit));
        for key in 15..25 {
            assert_eq!(noted(key, "b"), Ok(()));
        }
        assert_eq!(noted(25, "c"), Err(DropReason::RateLimit));
        for key in 25..40 {
            assert_eq!(admit(&mut sent, key, "a", 0), Ok(()));
        }
        assert_eq!(admit(&mut sent, 40, "a", 0), Err(DropReason::RateLimit));
    }

    #[test]
    fn an_endpoint_and_all_of_them_have_their_measure() {
        let mut sent = RateLimit::default();
        for key in 0..30 {
            assert_eq!(admit(&mut sent, key, "a", 0), Ok(()));
        }
        assert_eq!(admit(&mut sent, 30, "a", 0), Err(DropReason::RateLimit));
        for key in 30..50 {
            assert_eq!(admit(&mut sent, key, "b", 0), Ok(()));
        }
        assert_eq!(admit(&mut sent, 50, "c", 0), Err(DropReason::RateLimit));
        assert_eq!(admit(&mut sent, 50, "c", 3_600), Ok(()));
    }

    #[test]
    fn what_was_given_up_may_be_tried_anew_but_counts() {
        let mut sent = RateLimit::default();
        for _ in 0..30 {
            assert_eq!(admit(&mut sent, 1, "a", 0), Ok(()));
            sent.forget([1; 32]);
        }
        assert_eq!(admit(&mut sent, 1, "a", 0), Err(DropReason::RateLimit));
    }
}
