//! Changes that wait for the next commit, merged so that each host has at most one.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::policy::{Host, KnownPinnedHost};
use crate::store::noted::{MAX_TIME, NotedChange, Stored};

/// The changes since the last commit, at most one for each host.
#[derive(Default)]
pub(crate) struct Pending {
    cleared_since: Option<UnixTime>,
    by_host: BTreeMap<Host, NotedChange>,
    /// The number of removals among them.
    removals: usize,
    /// Whether removals were dropped because there were too many.
    pub(crate) has_dropped_removals: bool,
}

impl Pending {
    /// Adds a change, merged with the earlier ones.
    pub(crate) fn record(&mut self, change: NotedChange) {
        match change {
            NotedChange::ClearedSince(time) => {
                let by_host = std::mem::take(&mut self.by_host).into_iter();
                let left = by_host.filter_map(|(host, change)| {
                    let left = change.cleared_since(time)?;
                    Some((host, left))
                });
                self.by_host = left.collect();
                self.count_removals();
                self.limit_removals();
                let earlier = self.cleared_since.map_or(time, |known| known.min(time));
                self.cleared_since = Some(earlier);
            }
            NotedChange::Noted { entry, replaces } => {
                let replaces = self.evaluated_against(&entry.host, replaces);
                self.put(entry.host.clone(), NotedChange::Noted { entry, replaces });
            }
            NotedChange::Replaced { entry, replaces } => {
                let replaces = self.evaluated_against(&entry.host, replaces);
                let host = entry.host.clone();
                let change = match self.by_host.get(&host) {
                    // The refreshed entry is not stored yet.
                    Some(NotedChange::Noted { .. } | NotedChange::Removed { .. }) => {
                        NotedChange::Noted { entry, replaces }
                    }
                    _ => NotedChange::Replaced { entry, replaces },
                };
                self.put(host, change);
            }
            NotedChange::Removed { host, noted_until } => {
                let noted_until = self.evaluated_against(&host, noted_until);
                self.put(host.clone(), NotedChange::Removed { host, noted_until });
                self.limit_removals();
            }
        }
    }

    /// Drops all removals if there are too many. Hosts that are added and removed while the disk is
    /// full would otherwise fill the memory. Only if another process writes in between does an
    /// entry remain whose removal was dropped: a surplus pin, which is safer than a missing one.
    fn limit_removals(&mut self) {
        if self.removals > MAX_REMOVALS {
            // The writer emits the event: the caller holds locks, and a `tracing` subscriber may use
            // the store.
            self.has_dropped_removals = true;
            self.by_host.retain(|_, change| !is_removal(change));
            self.removals = 0;
        }
    }

    fn count_removals(&mut self) {
        let removals = self.by_host.values().filter(|change| is_removal(change));
        self.removals = removals.count();
    }

    /// Puts a change in place of an earlier change of the host.
    fn put(&mut self, host: Host, change: NotedChange) {
        self.removals += usize::from(is_removal(&change));
        let replaced = self.by_host.insert(host, change);
        self.removals -= usize::from(replaced.as_ref().is_some_and(is_removal));
    }

    /// Returns the time of the latest stored entry that a change of the host affects, which itself
    /// affects those up to `time`. An earlier change of the host is not stored yet: what it was
    /// evaluated against counts in its place. Otherwise an impostor's second header would replace
    /// what its first one can't.
    fn evaluated_against(&self, host: &Host, time: UnixTime) -> UnixTime {
        match self.by_host.get(host) {
            Some(NotedChange::Noted { replaces, .. } | NotedChange::Replaced { replaces, .. })
                if time < MAX_TIME =>
            {
                *replaces
            }
            Some(NotedChange::Removed { noted_until, .. }) => time.max(*noted_until),
            _ => time,
        }
    }

    /// Drops what was evaluated against the entries of these changes where other entries are stored
    /// after the commit of the changes.
    pub(crate) fn drop_unfounded(&mut self, committed: &[NotedChange], stored: &Stored) {
        for change in committed {
            let (NotedChange::Noted { entry, .. } | NotedChange::Replaced { entry, .. }) = change
            else {
                continue;
            };
            // The stored entry of any other host is as it was committed.
            let is_stored = stored.get(&entry.host).is_none_or(|stored| {
                stored.as_ref().is_some_and(|stored| {
                    stored.noted_at == entry.noted_at && stored.has_same_pins(entry)
                })
            });
            if is_stored {
                continue;
            }
            let is_unfounded = |change: &NotedChange| match change {
                NotedChange::Noted { replaces: time, .. }
                | NotedChange::Replaced { replaces: time, .. }
                | NotedChange::Removed {
                    noted_until: time, ..
                } => *time < MAX_TIME,
                NotedChange::ClearedSince(_) => false,
            };
            if self.by_host.get(&entry.host).is_some_and(is_unfounded) {
                let dropped = self.by_host.remove(&entry.host);
                self.removals -= usize::from(dropped.as_ref().is_some_and(is_removal));
            }
        }
    }

    /// Adds an entry that a storage has lost. What a change of its host was evaluated against stays,
    /// whether it is among these changes or among the `later` ones: an impostor's note must not
    /// replace what another process has stored.
    pub(crate) fn add_stored(&mut self, entry: Arc<KnownPinnedHost>, later: &Self) {
        let replaces = later.stored_time(&entry.host).unwrap_or(entry.noted_at);
        match self.by_host.remove(&entry.host) {
            None => self.put(entry.host.clone(), NotedChange::Noted { entry, replaces }),
            Some(NotedChange::Replaced { entry, replaces }) => {
                self.put(entry.host.clone(), NotedChange::Noted { entry, replaces });
            }
            Some(other) => drop(self.by_host.insert(entry.host.clone(), other)),
        }
    }

    /// Returns when the stored entry of a host was noted that has a waiting change: at
    /// [`MIN_TIME`](super::noted::MIN_TIME) if there was none.
    pub(crate) fn stored_time(&self, host: &Host) -> Option<UnixTime> {
        match self.by_host.get(host)? {
            NotedChange::Noted { replaces, .. } | NotedChange::Replaced { replaces, .. } => {
                Some(*replaces)
            }
            NotedChange::ClearedSince(_) | NotedChange::Removed { .. } => None,
        }
    }

    /// Puts the changes of a failed commit before those that have been recorded since.
    pub(crate) fn put_back(&mut self, older: Self) {
        let newer = std::mem::replace(self, older);
        self.has_dropped_removals |= newer.has_dropped_removals;
        newer
            .into_changes()
            .into_iter()
            .for_each(|change| self.record(change));
    }

    /// Returns the changes in the order of [`Storage::commit`](crate::storage::Storage::commit).
    pub(crate) fn into_changes(self) -> Vec<NotedChange> {
        let cleared = self.cleared_since.map(NotedChange::ClearedSince);
        let by_host = self.by_host.into_values();
        cleared.into_iter().chain(by_host).collect()
    }

    /// Applies the changes to entries that another process has stored, and drops those without an
    /// effect: a note that is older than the stored one must not replace it with the next commit.
    pub(crate) fn apply(&mut self, stored: &mut Stored) {
        if let Some(time) = self.cleared_since {
            NotedChange::ClearedSince(time).apply(stored);
        }
        // The storage would make a change again that it has not made for the stored entry.
        self.by_host.retain(|_, change| change.apply(stored));
        self.count_removals();
    }
}

fn is_removal(change: &NotedChange) -> bool {
    matches!(change, NotedChange::Removed { .. })
}

/// The limit of removals that wait while nothing can be written: four times as many as a store
/// has hosts by default.
const MAX_REMOVALS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::timestamp::at;
    use crate::policy::{PinSet, SpkiFingerprint};

    fn host(number: usize) -> Host {
        Host::parse(&format!("h{number}.example")).unwrap()
    }

    fn entry(number: usize) -> Arc<KnownPinnedHost> {
        Arc::new(KnownPinnedHost {
            host: host(number),
            pins: PinSet::new([SpkiFingerprint::from_digest([1; 32])]).unwrap(),
            includes_subdomains: false,
            report_uri: None,
            seen_since: at(1),
            noted_at: at(1),
            expires_at: at(9),
        })
    }

    fn noted(number: usize) -> NotedChange {
        NotedChange::Noted {
            entry: entry(number),
            replaces: at(1),
        }
    }

    fn removed(number: usize, noted_until: u64) -> NotedChange {
        NotedChange::Removed {
            host: host(number),
            noted_until: at(noted_until),
        }
    }

    #[test]
    fn removals_are_limited_and_a_host_that_is_noted_again_does_not_count() {
        let mut pending = Pending::default();
        pending.record(removed(0, 1));
        for _ in 0..=MAX_REMOVALS {
            pending.record(noted(1));
            pending.record(removed(1, 1));
        }
        assert!(pending.by_host.contains_key(&host(0)));
        pending.record(noted(1));
        for number in 2..MAX_REMOVALS + 2 {
            pending.record(removed(number, 1));
        }
        assert!(!pending.by_host.contains_key(&host(0)) && pending.by_host.contains_key(&host(1)));
        pending.record(removed(0, 1));
        assert!(pending.by_host.contains_key(&host(0)));
    }

    #[test]
    fn a_change_replaces_what_the_earlier_change_of_the_host_was_evaluated_against() {
        let mut pending = Pending::default();
        let refreshed = |replaces| NotedChange::Replaced {
            entry: entry(0),
            replaces: at(replaces),
        };
        let noted = |replaces| NotedChange::Noted {
            entry: entry(0),
            replaces: at(replaces),
        };
        for (change, expected) in [
            (refreshed(4), refreshed(4)),
            (refreshed(3), refreshed(4)),
            (removed(0, 7), removed(0, 4)),
            // The refreshed entry is no longer stored.
            (refreshed(5), noted(5)),
            (refreshed(8), noted(5)),
            (noted(2), noted(5)),
            (removed(0, 9), removed(0, 5)),
            (removed(0, u64::MAX), removed(0, u64::MAX)),
        ] {
            pending.record(change);
            let changes = pending.by_host.values().cloned().collect::<Vec<_>>();
            assert_eq!(changes, [expected]);
        }
    }
}
