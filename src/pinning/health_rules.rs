//! The conditions of the warnings that depend on what was seen earlier, each with its thresholds.

use rustls_pki_types::UnixTime;

use crate::policy::{AppliedPolicy, PolicyState, SpkiFingerprint};
use crate::store::{DAY, HealthWarning, History, Sighting};

/// Adds the warnings that follow from the history of a policy on a day with a connection.
pub(crate) fn of_history(
    policy: &AppliedPolicy,
    history: &History,
    day: u64,
    warnings: &mut Vec<HealthWarning>,
) {
    let groups = groups(policy, history);
    if groups.iter().any(|group| group.only_backup().is_some()) {
        warnings.push(HealthWarning::OnlyBackupMatches);
    }
    if groups.iter().any(|group| group.last_pin(day).is_some()) {
        warnings.push(HealthWarning::LastPin);
    }
    if groups.iter().any(|group| group.is_backup_unseen(day)) {
        warnings.push(HealthWarning::BackupNeverSeen);
    }
}

/// Adds none: the pins of a candidate refuse nothing.
pub(crate) fn none(_: &AppliedPolicy, _: &History, _: u64, _: &mut Vec<HealthWarning>) {}

/// Returns the pin that [`HealthWarning::OnlyBackupMatches`] is about.
pub(crate) fn only_backup(policy: &AppliedPolicy, history: &History) -> Option<SpkiFingerprint> {
    let groups = groups(policy, history);
    groups.iter().find_map(Group::only_backup)
}

/// Returns the pin that [`HealthWarning::LastPin`] is about.
pub(crate) fn last_pin(
    policy: &AppliedPolicy,
    history: &History,
    day: u64,
) -> Option<SpkiFingerprint> {
    let groups = groups(policy, history);
    groups.iter().find_map(|group| group.last_pin(day))
}

/// Returns whether a policy expires soon.
pub(crate) fn expires_soon(policy: &AppliedPolicy, now: UnixTime) -> bool {
    let left = policy.expires_at.map(|expires| {
        let expires = expires.as_secs();
        expires.checked_sub(now.as_secs())
    });
    left.flatten().is_some_and(|left| left <= EXPIRY_NOTICE)
}

/// Returns whether a policy has expired and no longer refuses.
pub(crate) fn has_ended(policy: &AppliedPolicy, now: UnixTime) -> bool {
    policy.state != PolicyState::Expired && policy.expires_at.is_some_and(|expires| now > expires)
}

/// Returns the groups of a policy: one of all pins if any of them is sufficient.
fn groups<'a>(policy: &'a AppliedPolicy, history: &'a History) -> Vec<Group<'a>> {
    let group = |pins: Vec<&'a SpkiFingerprint>| {
        let seen = pins.iter().filter_map(|pin| history.seen(pin));
        Group {
            history,
            unseen: pins.len() - seen.clone().count(),
            seen: seen.collect(),
        }
    };
    if policy.groups().is_empty() {
        return vec![group(policy.pins.iter().collect())];
    }
    let groups = policy.groups().iter().map(|pins| {
        let mut distinct = pins.iter().map(|(_, pin)| pin).collect::<Vec<_>>();
        distinct.sort();
        distinct.dedup();
        group(distinct)
    });
    groups.collect()
}

/// Pins of which a chain must contain one.
struct Group<'a> {
    history: &'a History,
    seen: Vec<&'a Sighting>,
    /// The number of pins that were never seen.
    unseen: usize,
}

impl Group<'_> {
    /// Returns whether a pin was seen on the last day with a connection.
    fn is_live(&self, seen: &Sighting) -> bool {
        seen.last.ordinal == self.history.days
    }

    fn live(&self) -> impl Iterator<Item = &Sighting> {
        let seen = self.seen.iter().copied();
        seen.filter(|seen| self.is_live(seen))
    }

    /// Returns the pin by which alone chains pass, if it was a backup before: it was first seen after
    /// the first day with these pins, and on seven days with a connection since then no pin was seen
    /// that had been seen before. Once an older pin is seen again, both keys are in use, and the
    /// condition does not hold any more.
    fn only_backup(&self) -> Option<SpkiFingerprint> {
        let oldest = self.live().min_by_key(|seen| seen.first.ordinal)?;
        let first = oldest.first;
        let is_gone = |seen: &&&Sighting| {
            !self.is_live(seen)
                && seen.first.ordinal < first.ordinal
                && seen.last.ordinal <= first.ordinal
        };
        // On the first day with these pins it is not known which of them were backups.
        let is_backup = first.ordinal > self.history.since.ordinal;
        let days = self.history.days.saturating_sub(first.ordinal);
        let is_settled = is_backup && days >= SETTLED_DAYS_WITH_CONNECTION;
        let is_replaced = self.seen.iter().find(is_gone).is_some();
        (is_settled && is_replaced).then_some(oldest.pin)
    }

    /// Returns the pin that is still seen, if others were seen earlier and are lost.
    fn last_pin(&self, day: u64) -> Option<SpkiFingerprint> {
        let is_lost = |seen: &Sighting| {
            !self.is_live(seen)
                && self.history.days.saturating_sub(seen.last.ordinal) >= LOST_DAYS_WITH_CONNECTION
                && day.saturating_sub(seen.last.day) >= LOST_DAYS
        };
        let mut kept = self.seen.iter().filter(|seen| !is_lost(seen));
        let last = kept.next()?;
        let is_last = kept.next().is_none() && self.seen.len() > 1 && self.is_live(last);
        (is_last && self.only_backup().is_none()).then_some(last.pin)
    }

    /// Returns whether no pin but those of the live chain was seen for long.
    fn is_backup_unseen(&self, day: u64) -> bool {
        let History { since, days, .. } = self.history;
        self.unseen > 0
            && self.live().next().is_some()
            && self.seen.iter().all(|seen| self.is_live(seen))
            && day.saturating_sub(since.day) >= OBSERVED_DAYS
            && days.saturating_sub(since.ordinal) >= LOST_DAYS_WITH_CONNECTION
    }
}

/// How long before its expiry a policy is reported, in seconds: 30 days, in which a release of an
/// application reaches most devices.
const EXPIRY_NOTICE: u64 = 30 * DAY;
/// On how many days with a connection no older pin may be seen until a backup counts as used up. Where
/// servers of a host use two keys, a client that makes one connection a day would meet the same key
/// alone for two days in every second case, for seven in one of a hundred.
const SETTLED_DAYS_WITH_CONNECTION: u64 = 7;
/// For how long a pin is not seen until it counts as lost, in days. A client meets all servers of a host
/// in that time; it is shorter than the 47 days between renewals from 2029 on (CA/Browser Forum ballot
/// SC-081), so that the warning precedes the next change of the chain.
const LOST_DAYS: u64 = 30;
/// On how many days with a connection, too: an application that is used rarely, or a clock that is set
/// to a distant time, makes a single connection after a long time.
const LOST_DAYS_WITH_CONNECTION: u64 = 7;
/// For how long pins are observed until a backup that was never seen is reported, in days: a quarter of
/// a year, in which a prudent operator proves a backup once.
const OBSERVED_DAYS: u64 = 90;
