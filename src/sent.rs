//! What was reported, and where: duplicates and rates. The limits are Chrome's: 50 reports are
//! remembered for 60 minutes.

use rustls_pki_types::UnixTime;

use crate::report::DropReason;

/// Reports of the last hour.
#[derive(Debug, Default)]
pub(crate) struct Sent(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// `None` once it was given up: it may be tried anew, but counts.
    key: Option<[u8; 32]>,
    origin: (bool, String),
    at: UnixTime,
}

impl Sent {
    /// Takes in a report, by what makes it distinct at its endpoint, or says why it is not sent.
    pub(crate) fn admit(
        &mut self,
        key: [u8; 32],
        origin: (bool, String),
        now: UnixTime,
    ) -> Result<(), DropReason> {
        // One from the far future was sent before the clock was set back; from the near one, by
        // a thread that was faster.
        let (now_at, earliest) = (now.as_secs(), now.as_secs().checked_sub(WINDOW));
        self.0.retain(|entry| {
            let at = entry.at.as_secs();
            earliest.is_none_or(|earliest| at > earliest) && at <= now_at.saturating_add(DISORDER)
        });
        if self.0.iter().any(|entry| entry.key == Some(key)) {
            return Err(DropReason::Duplicate);
        }
        let of_origin = self.0.iter().filter(|entry| entry.origin == origin);
        // A live entry is never evicted, so within the window nothing is sent twice.
        if of_origin.count() >= MAX_OF_ORIGIN || self.0.len() >= MAX_SENT {
            return Err(DropReason::RateLimit);
        }
        self.0.push(Entry {
            key: Some(key),
            origin,
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

    fn admit(sent: &mut Sent, key: u8, origin: &str, seconds: u64) -> Result<(), DropReason> {
        sent.admit([key; 32], (true, origin.to_owned()), at(seconds))
    }

    #[test]
    fn the_same_is_not_sent_twice_within_the_hour() {
        let mut sent = Sent::default();
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
        // The clock is set back.
        assert_eq!(admit(&mut sent, 1, "a", 9_000), Ok(()));
    }

    #[test]
    fn an_endpoint_and_all_of_them_have_their_measure() {
        let mut sent = Sent::default();
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
        let mut sent = Sent::default();
        for _ in 0..30 {
            assert_eq!(admit(&mut sent, 1, "a", 0), Ok(()));
            sent.forget([1; 32]);
        }
        assert_eq!(admit(&mut sent, 1, "a", 0), Err(DropReason::RateLimit));
    }
}
