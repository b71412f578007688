//! Limits on reports within an hour and on those that wait: duplicates, and numbers in total, for
//! each origin and for pins that servers set. A window of 60 minutes and 50 reports are Chrome's
//! limits.

use rustls_pki_types::UnixTime;

use crate::http_reporter::endpoint::Origin;
use crate::policy::PinSource;
use crate::violation::DropReason;

/// The reports of the last hour.
#[derive(Debug, Default)]
pub(crate) struct RateLimit(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// `None` for a report that was dropped: an equal one may be sent, but this one still counts.
    key: Option<[u8; 32]>,
    share: Share,
    at: UnixTime,
}

/// The limits that a report counts for: those of its endpoint's origin, and of the source of the
/// pins that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) origin: Origin,
    pub(crate) source: PinSource,
}

impl Share {
    /// Returns whether a report exceeds a limit, beside those that `known` are the shares of.
    pub(crate) fn exceeds_limit<'s>(&self, known: impl Iterator<Item = &'s Self> + Clone) -> bool {
        // A server that keeps setting other pins can use up half of each limit; the rest is left
        // to static pins.
        let max = Limits {
            total: MAX_REPORTS,
            origin: MAX_REPORTS_OF_ORIGIN,
        };
        let max_noted = Limits {
            total: MAX_REPORTS / 2,
            origin: MAX_REPORTS_OF_ORIGIN / 2,
        };
        let is_noted = |share: &&Self| share.source == PinSource::Noted;
        let has_max_noted = || max_noted.are_reached(known.clone().filter(is_noted), &self.origin);
        max.are_reached(known.clone(), &self.origin) || (is_noted(&self) && has_max_noted())
    }
}

impl RateLimit {
    /// Records a report, or returns the limit that it exceeds. The key is equal for equal reports
    /// to one endpoint.
    pub(crate) fn admit(
        &mut self,
        key: [u8; 32],
        share: &Share,
        at: UnixTime,
    ) -> Result<(), DropReason> {
        self.remove_old(at);
        if self.0.iter().any(|entry| entry.key == Some(key)) {
            return Err(DropReason::Duplicate);
        }
        // No entry is evicted within the window, so that none is sent twice.
        if share.exceeds_limit(self.0.iter().map(|entry| &entry.share)) {
            return Err(DropReason::RateLimit);
        }
        self.0.push(Entry {
            key: Some(key),
            share: share.clone(),
            at,
        });
        Ok(())
    }

    fn remove_old(&mut self, now: UnixTime) {
        let oldest = now.as_secs().checked_sub(WINDOW);
        self.0.retain_mut(|entry| {
            let at = entry.at.as_secs();
            // An entry of the near future belongs to a violation that was found later but reported
            // earlier. One of the far future shows that the clock was set back: its age is unknown.
            if at > now.as_secs().saturating_add(MAX_DISORDER) {
                entry.at = now;
            }
            oldest.is_none_or(|oldest| at > oldest)
        });
    }

    /// Lets an equal report be sent. The report still counts for the limits.
    pub(crate) fn allow_again(&mut self, key: [u8; 32]) {
        for entry in &mut self.0 {
            if entry.key == Some(key) {
                entry.key = None;
            }
        }
    }
}

/// Numbers of reports.
struct Limits {
    total: usize,
    origin: usize,
}

impl Limits {
    fn are_reached<'s>(
        &self,
        shares: impl Iterator<Item = &'s Share> + Clone,
        origin: &Origin,
    ) -> bool {
        let of_origin = shares.clone().filter(|share| share.origin == *origin);
        of_origin.count() >= self.origin || shares.count() >= self.total
    }
}

/// In seconds: how much older than an earlier report the violation of a later one can be.
const MAX_DISORDER: u64 = 60;
/// In seconds.
const WINDOW: u64 = 60 * 60;
const MAX_REPORTS: usize = 50;
/// Less than the total, so that one endpoint can't use it up.
const MAX_REPORTS_OF_ORIGIN: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::timestamp::at;

    fn share(host: &str, source: PinSource) -> Share {
        let origin = Origin {
            is_tls: true,
            host: host.to_owned(),
            port: 443,
        };
        Share { origin, source }
    }

    fn admit(limit: &mut RateLimit, key: u8, name: &str, seconds: u64) -> Result<(), DropReason> {
        limit.admit([key; 32], &share(name, PinSource::Static), at(seconds))
    }

    #[test]
    fn an_equal_report_is_not_sent_again_within_an_hour() {
        let mut limit = RateLimit::default();
        assert_eq!(admit(&mut limit, 1, "a", 10_000), Ok(()));
        assert_eq!(admit(&mut limit, 2, "a", 10_000), Ok(()));
        for seconds in [10_000, 13_599] {
            let again = admit(&mut limit, 1, "a", seconds);
            assert_eq!(again, Err(DropReason::Duplicate));
        }
        assert_eq!(admit(&mut limit, 1, "a", 13_600), Ok(()));
        // The violation was found earlier than the last one, but is reported later.
        let again = admit(&mut limit, 1, "a", 13_590);
        assert_eq!(again, Err(DropReason::Duplicate));
        // The clock was set back, so the age of the report is unknown.
        for seconds in [9_000, 12_599] {
            let again = admit(&mut limit, 1, "a", seconds);
            assert_eq!(again, Err(DropReason::Duplicate));
        }
        assert_eq!(admit(&mut limit, 1, "a", 12_600), Ok(()));
    }

    #[test]
    fn noted_pins_use_at_most_half_of_each_limit() {
        let mut limit = RateLimit::default();
        let mut noted =
            |key, name: &str| limit.admit([key; 32], &share(name, PinSource::Noted), at(0));
        for key in 0..15 {
            assert_eq!(noted(key, "a"), Ok(()));
        }
        assert_eq!(noted(15, "a"), Err(DropReason::RateLimit));
        for key in 15..25 {
            assert_eq!(noted(key, "b"), Ok(()));
        }
        assert_eq!(noted(25, "c"), Err(DropReason::RateLimit));
        for key in 25..40 {
            assert_eq!(admit(&mut limit, key, "a", 0), Ok(()));
        }
        assert_eq!(admit(&mut limit, 40, "a", 0), Err(DropReason::RateLimit));
    }

    #[test]
    fn reports_are_limited_for_each_origin_and_in_total() {
        let mut limit = RateLimit::default();
        for key in 0..30 {
            assert_eq!(admit(&mut limit, key, "a", 0), Ok(()));
        }
        assert_eq!(admit(&mut limit, 30, "a", 0), Err(DropReason::RateLimit));
        for key in 30..50 {
            assert_eq!(admit(&mut limit, key, "b", 0), Ok(()));
        }
        assert_eq!(admit(&mut limit, 50, "c", 0), Err(DropReason::RateLimit));
        assert_eq!(admit(&mut limit, 50, "c", 3_600), Ok(()));
    }

    #[test]
    fn a_dropped_report_can_be_sent_again_but_counts() {
        let mut limit = RateLimit::default();
        for _ in 0..30 {
            assert_eq!(admit(&mut limit, 1, "a", 0), Ok(()));
            limit.allow_again([1; 32]);
        }
        assert_eq!(admit(&mut limit, 1, "a", 0), Err(DropReason::RateLimit));
    }
}
