//! [`History`], what is kept of the connections under one set of pins, and the rule by which what
//! several processes record is merged.

use crate::policy::SpkiFingerprint;
use crate::store::health_warning::{HealthWarning, WARNINGS};

/// What connections have shown of one set of pins. Days are those since 1970, in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// The first connection with these pins.
    pub(crate) since: Moment,
    /// The number of days with a connection.
    pub(crate) days: u64,
    /// The latest of these days, the highest first.
    pub(crate) recent: Vec<u64>,
    /// The last connection, in seconds since 1970; 0 if there was none.
    pub(crate) last: u64,
    /// The last connection that report-only pins would have refused, in seconds since 1970.
    pub(crate) last_failure: u64,
    /// The latest days on which each warning was emitted, the highest first.
    pub(crate) emitted: [Vec<u64>; WARNINGS],
    /// The pins that validated chains have contained.
    pub(crate) pins: Vec<Sighting>,
    pub(crate) versions: Vec<OfVersion>,
}

/// A day on which there was a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) day: u64,
    /// How many days with a connection there were, this one included. A clock that is set to a distant
    /// time, or an application that is not used, advances it by one at most.
    pub(crate) ordinal: u64,
}

/// A pin that a validated chain has contained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) pin: SpkiFingerprint,
    pub(crate) first: Moment,
    pub(crate) last: Moment,
}

/// The counts of one version of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfVersion {
    pub(crate) app_version: Box<str>,
    /// The last day with a connection.
    pub(crate) day: u64,
    pub(crate) counts: [u64; OUTCOMES],
}

/// What became of a connection under the pins, in the order of [`OfVersion::counts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Refused,
    WouldBeRefused,
    Skipped,
    CandidatePassed,
    CandidateWouldBeRefused,
}

pub(crate) const OUTCOMES: usize = 6;

impl History {
    /// Returns the moment of a connection on this day.
    pub(crate) fn now(&self, day: u64) -> Moment {
        let ordinal = self.days;
        Moment { day, ordinal }
    }

    /// Begins a day with a connection, unless it has begun. Returns whether it begins. Days that a
    /// clock has shown before it was set back become this day.
    pub(crate) fn begin_day(&mut self, day: u64) -> bool {
        self.since.day = self.since.day.min(day);
        for seen in &mut self.pins {
            seen.first.day = seen.first.day.min(day);
            seen.last.day = seen.last.day.min(day);
        }
        let is_new = !self.recent.contains(&day);
        if is_new {
            self.days = self.days.saturating_add(1);
            insert(&mut self.recent, day, RECENT_DAYS);
        }
        // Pins that replace others continue their days, of which this one may be the last.
        if self.since.ordinal == 0 {
            self.since = self.now(day);
        }
        is_new
    }

    /// Records that a validated chain contains a pin on this day, which has begun. Returns whether that
    /// is new.
    pub(crate) fn see(&mut self, pin: &SpkiFingerprint, day: u64) -> bool {
        let now = self.now(day);
        if let Some(known) = self.pins.iter_mut().find(|known| known.pin == *pin) {
            return std::mem::replace(&mut known.last, now) != now;
        }
        let (pin, first, last) = (*pin, now, now);
        self.pins.push(Sighting { pin, first, last });
        self.limit_pins();
        true
    }

    fn limit_pins(&mut self) {
        if self.pins.len() > MAX_PINS {
            self.pins
                .sort_by_key(|seen| std::cmp::Reverse(seen.last.ordinal));
            self.pins.truncate(MAX_PINS);
        }
    }

    pub(crate) fn seen(&self, pin: &SpkiFingerprint) -> Option<&Sighting> {
        self.pins.iter().find(|seen| seen.pin == *pin)
    }

    /// Counts a connection of this version.
    pub(crate) fn count(&mut self, app_version: &str, outcome: Outcome, day: u64) {
        let is_known = |known: &OfVersion| *known.app_version == *app_version;
        if !self.versions.iter().any(is_known) {
            self.limit_versions(MAX_VERSIONS - 1);
            let (app_version, counts) = (app_version.into(), [0; OUTCOMES]);
            self.versions.push(OfVersion {
                app_version,
                day,
                counts,
            });
        }
        let mut versions = self.versions.iter_mut();
        let Some(of_version) = versions.find(|known| *known.app_version == *app_version) else {
            return;
        };
        of_version.day = day;
        let [
            passed,
            refused,
            would_be,
            skipped,
            candidate_passed,
            candidate_would_be,
        ] = &mut of_version.counts;
        let count = match outcome {
            Outcome::Passed => passed,
            Outcome::Refused => refused,
            Outcome::WouldBeRefused => would_be,
            Outcome::Skipped => skipped,
            Outcome::CandidatePassed => candidate_passed,
            Outcome::CandidateWouldBeRefused => candidate_would_be,
        };
        *count = count.saturating_add(1);
    }

    /// Drops the versions that were not used for longest.
    fn limit_versions(&mut self, max: usize) {
        if self.versions.len() > max {
            self.versions.sort_by_key(|of| std::cmp::Reverse(of.day));
            self.versions.truncate(max);
        }
    }

    /// Returns the days on which a warning was emitted.
    pub(crate) fn emitted(&mut self, warning: HealthWarning) -> &mut Vec<u64> {
        let [never_seen, bypass, expires, last_pin, only_backup, stale] = &mut self.emitted;
        match warning {
            HealthWarning::BackupNeverSeen => never_seen,
            HealthWarning::BypassActive => bypass,
            HealthWarning::ExpiresSoon => expires,
            HealthWarning::LastPin => last_pin,
            HealthWarning::OnlyBackupMatches => only_backup,
            HealthWarning::Stale => stale,
        }
    }

    /// Returns the last day with a connection of any outcome.
    pub(crate) fn last_day(&self) -> u64 {
        let days = self.versions.iter().map(|of| of.day);
        days.max().unwrap_or_default()
    }
}

/// Inserts a number into some that are sorted, the highest first.
pub(crate) fn insert(sorted: &mut Vec<u64>, number: u64, max: usize) {
    let position = sorted.partition_point(|known| *known > number);
    if sorted.get(position) != Some(&number) {
        sorted.insert(position, number);
        sorted.truncate(max);
    }
}

/// Merging of what several processes record.
impl History {
    /// Returns `stored`, which another process has stored in place of `base`, with what this process
    /// has recorded since `base`.
    pub(crate) fn merged(base: &Self, own: &Self, stored: &Self) -> Self {
        let mut merged = stored.clone();
        let is_new = |day: &&u64| !base.recent.contains(day) && !stored.recent.contains(day);
        for day in own.recent.iter().filter(is_new) {
            merged.days = merged.days.saturating_add(1);
            insert(&mut merged.recent, *day, RECENT_DAYS);
        }
        merged.days = merged.days.max(own.days);
        merged.since = earlier(own.since, stored.since);
        merged.last = merged.last.max(own.last);
        merged.last_failure = merged.last_failure.max(own.last_failure);
        for (merged, own) in merged.emitted.iter_mut().zip(&own.emitted) {
            own.iter()
                .for_each(|day| insert(merged, *day, EMITTED_DAYS));
        }
        own.pins.iter().for_each(|seen| merged.merge_pin(seen));
        merged.limit_pins();
        own.versions.iter().for_each(|own| {
            let mut of_base = base.versions.iter();
            let of_base = of_base.find(|known| known.app_version == own.app_version);
            merged.merge_version(of_base, own);
        });
        merged.limit_versions(MAX_VERSIONS);
        merged
    }

    fn merge_pin(&mut self, own: &Sighting) {
        match self.pins.iter_mut().find(|known| known.pin == own.pin) {
            Some(known) => {
                known.first = earlier(known.first, own.first);
                if known.last.ordinal < own.last.ordinal {
                    known.last = own.last;
                }
            }
            None => self.pins.push(own.clone()),
        }
    }

    fn merge_version(&mut self, base: Option<&OfVersion>, own: &OfVersion) {
        let base = base.map_or([0; OUTCOMES], |base| base.counts);
        let mut versions = self.versions.iter_mut();
        let known = versions.find(|known| known.app_version == own.app_version);
        let Some(known) = known else {
            self.versions.push(own.clone());
            return;
        };
        known.day = known.day.max(own.day);
        let own = own.counts.iter().zip(base);
        for (count, (own, base)) in known.counts.iter_mut().zip(own) {
            *count = count.saturating_add(own.saturating_sub(base));
        }
    }
}

fn earlier(one: Moment, other: Moment) -> Moment {
    let is_set = |moment: Moment| moment.ordinal > 0;
    match (is_set(one), is_set(other)) {
        (true, true) if other.day < one.day => other,
        (false, true) => other,
        _ => one,
    }
}

/// The limit of days that are kept to know whether one is new: a clock that is set back and forth
/// between as many days begins no further one.
pub(crate) const RECENT_DAYS: usize = 7;
/// The limit of days that are kept for each warning: it is emitted once on each of them.
pub(crate) const EMITTED_DAYS: usize = 4;
/// The limit of pins of one set that are kept: as many as a header may have.
pub(crate) const MAX_PINS: usize = 64;
/// The limit of versions of the application: those that were used last are kept. With it and with the
/// limit of pins a value has less than 8 KiB.
pub(crate) const MAX_VERSIONS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(number: u8) -> SpkiFingerprint {
        SpkiFingerprint::from_digest([number; 32])
    }

    /// Days 10 to 12, of which each shows a pin and has two connections.
    fn three_days() -> History {
        let mut history = History::default();
        for day in 10..13 {
            assert!(history.begin_day(day) && !history.begin_day(day));
            assert!(history.see(&pin(1), day) && !history.see(&pin(1), day));
            history.count("1.0", Outcome::Passed, day);
            history.count("1.0", Outcome::Refused, day);
        }
        history.last = 12 * 86400;
        insert(history.emitted(HealthWarning::LastPin), 11, EMITTED_DAYS);
        history
    }

    #[test]
    fn what_two_processes_record_is_added_up() {
        let base = three_days();
        let [mut own, mut stored] = [base.clone(), base.clone()];
        // Both see day 13; another pin and another version each.
        for (history, number, version) in [(&mut own, 2, "1.0"), (&mut stored, 3, "1.1")] {
            history.begin_day(13);
            history.see(&pin(number), 13);
            history.count(version, Outcome::Passed, 13);
        }
        own.begin_day(14);
        own.count("1.0", Outcome::Passed, 14);
        insert(own.emitted(HealthWarning::LastPin), 14, EMITTED_DAYS);
        let mut merged = History::merged(&base, &own, &stored);
        assert_eq!((merged.days, &merged.recent[..2]), (5, &[14, 13][..]));
        assert_eq!(*merged.emitted(HealthWarning::LastPin), [14, 11]);
        assert!((1..4).all(|number| merged.seen(&pin(number)).is_some()));
        let counts = merged
            .versions
            .iter()
            .map(|of| (&*of.app_version, of.counts[0]));
        assert_eq!(counts.collect::<Vec<_>>(), [("1.0", 5), ("1.1", 1)]);
        // Nothing recorded adds nothing.
        assert_eq!(History::merged(&base, &base, &stored), stored);
        assert_eq!(History::merged(&base, &own, &base), own);
    }

    #[test]
    fn days_that_a_clock_showed_before_it_was_set_back_become_the_day() {
        let mut history = three_days();
        history.begin_day(5);
        assert_eq!(history.since.day, 5);
        let seen = history.seen(&pin(1)).unwrap();
        assert_eq!(
            (seen.first.day, seen.last.day, seen.last.ordinal),
            (5, 5, 3)
        );
        assert_eq!(history.days, 4);
    }
}
