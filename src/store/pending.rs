//! Changes that wait for the next commit, merged so that each host has at most one.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::policy::{Host, KnownPinnedHost};
use crate::store::noted::{HostChange, MAX_TIME, NotedChange, Stored, clear_since};
#[cfg(feature = "bundles")]
use crate::store::other_changes::OtherChanges;

/// The changes since the last commit, at most one for each host.
#[derive(Default)]
pub(crate) struct Pending {
    cleared_since: Option<UnixTime>,
    by_host: HashMap<Host, HostChange, RandomState>,
    /// The number of removals among them.
    removals: usize,
    /// Whether removals were dropped because there were too many.
    pub(crate) has_dropped_removals: bool,
    /// The changes of other records, in their order.
    #[cfg(feature = "bundles")]
    pub(crate) others: OtherChanges,
}

impl Pending {
    /// Adds a change, merged with the earlier ones.
    pub(crate) fn record(&mut self, change: NotedChange) {
        match change {
            NotedChange::ClearedSince(time) => {
                self.retain(&mut |_, change| change.clear_since(time));
                let earlier = self.cleared_since.map_or(time, |known| known.min(time));
                self.cleared_since = Some(earlier);
            }
            NotedChange::OfHost(host, change) => self.put(host, change),
        }
        // Drops all removals if there are too many. Hosts that are added and removed while the disk
        // is full would otherwise fill the memory. Only if another process writes in between does
        // an entry remain whose removal was dropped: a surplus pin, safer than a missing one.
        if self.removals > MAX_REMOVALS {
            // The writer emits the event: the caller holds locks, and a `tracing` subscriber may use
            // the store.
            self.has_dropped_removals = true;
            self.retain(&mut |_, change| change.entry.is_some());
        }
    }

    fn retain(&mut self, is_kept: &mut dyn FnMut(&Host, &mut HostChange) -> bool) {
        let mut removals = 0;
        self.by_host.retain(|host, change| {
            let is_kept = is_kept(host, change);
            removals += usize::from(is_kept && change.entry.is_none());
            is_kept
        });
        self.removals = removals;
    }

    /// Puts a change in place of an earlier change of the host. That one is not stored yet: what it
    /// was evaluated against counts in its place. Otherwise an impostor's second header would replace
    /// what its first one can't.
    fn put(&mut self, host: Host, mut change: HostChange) {
        if let Some(earlier) = self.by_host.get(&host) {
            if earlier.entry.is_none() {
                change.replaces = change.replaces.max(earlier.replaces);
                self.removals -= 1;
            } else if change.replaces < MAX_TIME {
                change.replaces = earlier.replaces;
            }
            // The refreshed entry is not stored yet.
            change.is_replacement &= earlier.is_replacement;
        }
        self.removals += usize::from(change.entry.is_none());
        self.by_host.insert(host, change);
    }

    /// Drops what was evaluated against the entries of these changes where other entries are stored
    /// after the commit of the changes.
    pub(crate) fn drop_unfounded(&mut self, committed: &[NotedChange], stored: &Stored) {
        for change in committed {
            let NotedChange::OfHost(host, change) = change else {
                continue;
            };
            let (Some(entry), Some(waiting)) = (&change.entry, self.by_host.get(host)) else {
                continue;
            };
            // The stored entry of any other host is as it was committed.
            let is_stored = stored.get(host).is_none_or(|stored| {
                stored.as_ref().is_some_and(|stored| {
                    stored.noted_at == entry.noted_at && stored.has_same_pins(entry)
                })
            });
            if !is_stored && waiting.replaces < MAX_TIME {
                self.removals -= usize::from(waiting.entry.is_none());
                self.by_host.remove(host);
            }
        }
    }

    /// Adds an entry that a storage has lost. What a change of its host was evaluated against stays,
    /// whether it is among these changes or among the `later` ones: an impostor's note must not
    /// replace what another process has stored.
    pub(crate) fn add_stored(&mut self, entry: Arc<KnownPinnedHost>, later: &Self) {
        if let Some(change) = self.by_host.get_mut(&entry.host) {
            change.is_replacement = false;
            return;
        }
        let change = HostChange {
            replaces: later.stored_time(&entry.host).unwrap_or(entry.noted_at),
            is_replacement: false,
            entry: Some(Arc::clone(&entry)),
        };
        self.put(entry.host.clone(), change);
    }

    /// Returns when the stored entry of a host was noted that has a waiting change: at
    /// [`MIN_TIME`](super::noted::MIN_TIME) if there was none.
    pub(crate) fn stored_time(&self, host: &Host) -> Option<UnixTime> {
        let change = self.by_host.get(host)?;
        change.entry.as_ref().map(|_| change.replaces)
    }

    /// Puts the changes of a failed commit before those that have been recorded since.
    pub(crate) fn put_back(&mut self, older: Self) {
        let newer = std::mem::replace(self, older);
        self.has_dropped_removals |= newer.has_dropped_removals;
        #[cfg(feature = "bundles")]
        self.others.extend(newer.others.clone());
        newer
            .into_changes()
            .into_iter()
            .for_each(|change| self.record(change));
    }

    /// Returns the changes in the order of [`Storage::commit`](crate::storage::Storage::commit).
    pub(crate) fn into_changes(self) -> Vec<NotedChange> {
        let cleared = self.cleared_since.map(NotedChange::ClearedSince);
        let by_host = self.by_host.into_iter();
        let by_host = by_host.map(|(host, change)| NotedChange::OfHost(host, change));
        cleared.into_iter().chain(by_host).collect()
    }

    /// Applies the changes to entries that another process has stored, and drops those without an
    /// effect: a note that is older than the stored one must not replace it with the next commit.
    pub(crate) fn apply(&mut self, stored: &mut Stored) {
        if let Some(time) = self.cleared_since {
            clear_since(stored, time);
        }
        // The storage would make a change again that it has not made for the stored entry.
        self.retain(&mut |host, change| {
            let stored = stored.get_mut(host);
            stored.is_none_or(|stored| change.apply(stored))
        });
    }
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

    fn change(number: usize, is_noted: bool, replaces: u64, is_replacement: bool) -> NotedChange {
        let change = HostChange {
            entry: is_noted.then(|| entry(number)),
            replaces: at(replaces),
            is_replacement,
        };
        NotedChange::OfHost(host(number), change)
    }

    fn noted(number: usize) -> NotedChange {
        change(number, true, 1, false)
    }

    fn removed(number: usize, noted_until: u64) -> NotedChange {
        change(number, false, noted_until, false)
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
    fn a_lost_entry_is_stored_again_with_what_a_later_change_was_evaluated_against() {
        let mut later = Pending::default();
        for expected in [1, 3] {
            let mut pending = Pending::default();
            pending.add_stored(entry(0), &later);
            let changes = pending.into_changes();
            assert_eq!(changes, [change(0, true, expected, false)]);
            later.record(change(0, true, 3, true));
        }
    }

    #[test]
    fn a_cleared_change_removes_the_stored_entry_that_it_would_have_replaced() {
        for (replaces, left) in [(4, Some(removed(0, 4))), (0, None)] {
            let mut pending = Pending::default();
            pending.record(change(0, true, replaces, true));
            let cleared = NotedChange::ClearedSince(at(1));
            pending.record(cleared.clone());
            let expected = [cleared].into_iter().chain(left).collect::<Vec<_>>();
            assert_eq!(pending.into_changes(), expected);
        }
    }

    #[test]
    fn a_change_replaces_what_the_earlier_change_of_the_host_was_evaluated_against() {
        let mut pending = Pending::default();
        let refreshed = |replaces| change(0, true, replaces, true);
        let noted = |replaces| change(0, true, replaces, false);
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
            let changes = pending.by_host.clone().into_iter();
            let changes = changes.map(|(host, change)| NotedChange::OfHost(host, change));
            assert_eq!(changes.collect::<Vec<_>>(), [expected]);
        }
    }
}
