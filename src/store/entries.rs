//! The table of known pinned hosts in memory: lookup by host, and expiry.
//!
//! The entry of the host itself applies, or else that of the nearest superdomain that includes
//! subdomains; expired entries do not apply ([RFC 7469 section 2.3.3]).
//!
//! [RFC 7469 section 2.3.3]: https://www.rfc-editor.org/rfc/rfc7469#section-2.3.3

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::policy::{Host, HostMatch, KnownPinnedHost};
use crate::store::noted::{NOTED_PINS, Stored, clear_since};
use crate::store::observed_clock::Since;
use crate::store::pending::Pending;
use crate::store::record::Update;
use crate::store::storage::Merged;

/// A table with at most one entry for each host. Servers choose the names, but few of them are kept
/// that no user visits for days, so a fast hash with a seed for each process suffices against
/// collisions.
#[derive(Clone, Default)]
pub(crate) struct Entries {
    pub(super) table: HashSet<Entry, RandomState>,
    /// The number of entries that are not confirmed, including expired ones. A low number proves
    /// that there is room for one more.
    pub(super) first_seen: usize,
}

impl Entries {
    /// Returns the entry that applies to `host`, and how it matches.
    #[inline]
    pub(crate) fn query(
        &self,
        host: &Host,
        is_expired: impl Fn(&KnownPinnedHost, Since) -> bool,
    ) -> Option<(HostMatch, Arc<KnownPinnedHost>)> {
        if self.table.is_empty() {
            return None;
        }
        let mut matched = HostMatch::Congruent;
        for name in host.and_superdomains() {
            // D-01: an entry that is expired or lacks the flag is skipped; it hides no other entry.
            if let Some(Entry { entry, since, .. }) = self.table.get(name)
                && !is_expired(entry, *since)
                && (matched == HostMatch::Congruent || entry.includes_subdomains)
            {
                return Some((matched, Arc::clone(entry)));
            }
            matched = HostMatch::Superdomain;
        }
        None
    }

    /// Returns the entries of the host and of its superdomains, expired or not.
    pub(crate) fn of_name(&self, host: &Host) -> impl Iterator<Item = (&KnownPinnedHost, Since)> {
        let names = host.and_superdomains();
        names.filter_map(|name| {
            let Entry { entry, since, .. } = self.table.get(name)?;
            Some((&**entry, *since))
        })
    }

    /// Returns the entry of exactly this host, expired or not.
    pub(crate) fn get(&self, host: &Host) -> Option<&Arc<KnownPinnedHost>> {
        self.table.get(host.as_str()).map(|known| &known.entry)
    }

    /// Returns the entry of exactly this host, expired or not, and since when it is in memory.
    pub(crate) fn get_since(&self, host: &Host) -> Option<(&Arc<KnownPinnedHost>, Since)> {
        let known = self.table.get(host.as_str())?;
        Some((&known.entry, known.since))
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<KnownPinnedHost>> {
        self.table.iter().map(|known| &known.entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns a copy of twice the size if the table is full. Adding an entry would otherwise grow
    /// the table under the lock that lookups wait for: 20 ms at 100,000 hosts.
    pub(crate) fn grown(&self) -> Option<Self> {
        if self.len() < self.table.capacity() {
            return None;
        }
        let (room, hasher) = (2 * self.len(), self.table.hasher().clone());
        let mut table = HashSet::with_capacity_and_hasher(room, hasher);
        table.extend(self.table.iter().cloned());
        Some(Self {
            table,
            first_seen: self.first_seen,
        })
    }

    /// Returns all entries, including expired ones, in any order.
    pub(crate) fn collect(&self) -> Vec<Arc<KnownPinnedHost>> {
        self.iter().cloned().collect()
    }

    /// Returns what is stored now of the hosts that other processes have changed.
    pub(crate) fn stored(&self, merged: Merged, pending: &Pending) -> Stored {
        let mut stored = Stored::default();
        let updates = match merged {
            Merged::Nothing | Merged::Lost => return stored,
            Merged::Updates(updates) => updates,
            Merged::All(records) => {
                for known in self.iter() {
                    stored.insert(known.host.clone(), None);
                }
                records.into_iter().map(Update::Put).collect()
            }
        };
        for update in updates {
            match update {
                // Records of other kinds have no pins. Pins that this version can't read are not
                // enforced.
                Update::Put(record) => {
                    if let Ok(known) = KnownPinnedHost::try_from(&record) {
                        stored.insert(known.host.clone(), Some(Arc::new(known)));
                    }
                }
                Update::Removed { kind, key } if kind == NOTED_PINS => {
                    if let Ok(host) = Host::parse(&key) {
                        stored.insert(host, None);
                    }
                }
                Update::ClearedSince { kind, time } if kind == NOTED_PINS => {
                    clear_since(&mut stored, time);
                    let is_cleared = |known: &&Arc<KnownPinnedHost>| {
                        let noted_at = pending.stored_time(&known.host);
                        noted_at.unwrap_or(known.noted_at) >= time
                    };
                    for known in self.iter().filter(is_cleared) {
                        stored.entry(known.host.clone()).or_insert(None);
                    }
                }
                Update::Removed { .. } | Update::ClearedSince { .. } => {}
            }
        }
        stored
    }

    /// Replaces the entries of these hosts. One that is equal is in memory as long as before, the
    /// others as `since` has it.
    pub(crate) fn replace_stored(&mut self, stored: Stored, since: Since) {
        for (host, entry) in stored {
            match entry {
                None => drop(self.remove(&host)),
                Some(entry) if self.get(&host) == Some(&entry) => {}
                Some(entry) => self.put_entry(Entry {
                    since,
                    ..Entry::loaded(entry)
                }),
            }
        }
    }

    /// Adds an entry that was read from the storage, or replaces the one of the same host.
    #[cfg(test)]
    pub(crate) fn put(&mut self, entry: Arc<KnownPinnedHost>) {
        self.put_entry(Entry::loaded(entry));
    }

    /// Adds an entry that this process notes, or replaces the one of the same host as a whole. The
    /// change is written without delay in this second.
    pub(crate) fn put_urgent(&mut self, entry: Arc<KnownPinnedHost>, second: u64) {
        self.put_entry(Entry {
            urgent: Some(low_bits(second)),
            since: Since::noted_now(),
            entry,
        });
    }

    /// The same as [`put_urgent`](Self::put_urgent), for a change that is written later.
    pub(crate) fn put_delayed(&mut self, entry: Arc<KnownPinnedHost>) {
        let known = self.table.get(entry.host.as_str());
        self.put_entry(Entry {
            urgent: known.and_then(|known| known.urgent),
            since: Since::noted_now(),
            entry,
        });
    }

    /// Returns whether a change of this host was written without delay in this second.
    pub(crate) fn was_urgent(&self, host: &Host, second: u64) -> bool {
        let known = self.table.get(host.as_str());
        known.is_some_and(|known| known.urgent == Some(low_bits(second)))
    }

    fn put_entry(&mut self, new: Entry) {
        let is_first_seen = !new.entry.is_confirmed();
        if let Some(replaced) = self.table.replace(new) {
            self.uncount(&replaced.entry);
        }
        self.first_seen += usize::from(is_first_seen);
    }

    pub(crate) fn remove(&mut self, host: &Host) -> Option<Arc<KnownPinnedHost>> {
        let Entry { entry, .. } = self.table.take(host.as_str())?;
        self.uncount(&entry);
        Some(entry)
    }

    /// Removes the entries that fulfil the condition, and returns them.
    pub(crate) fn take_if(
        &mut self,
        condition: impl Fn(&KnownPinnedHost) -> bool,
    ) -> Vec<Arc<KnownPinnedHost>> {
        let taken = self.table.extract_if(|known| condition(&known.entry));
        let taken = taken.map(|known| known.entry).collect::<Vec<_>>();
        taken.iter().for_each(|entry| self.uncount(entry));
        taken
    }

    fn uncount(&mut self, entry: &KnownPinnedHost) {
        let one = usize::from(!entry.is_confirmed());
        self.first_seen = self.first_seen.saturating_sub(one);
    }
}

/// Returns the entries sorted by name.
pub(crate) fn sorted(mut entries: Vec<Arc<KnownPinnedHost>>) -> Vec<Arc<KnownPinnedHost>> {
    entries.sort_unstable_by(|one, other| one.host.cmp(&other.host));
    entries
}

impl FromIterator<Arc<KnownPinnedHost>> for Entries {
    fn from_iter<I: IntoIterator<Item = Arc<KnownPinnedHost>>>(entries: I) -> Self {
        let mut this = Self::default();
        for entry in entries {
            // Of two entries of one host, the first is kept.
            if this.get(&entry.host).is_none() {
                this.put_entry(Entry::loaded(entry));
            }
        }
        this
    }
}

/// An entry that is hashed and compared by its host, so that the set has at most one for each.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) entry: Arc<KnownPinnedHost>,
    pub(super) since: Since,
    /// The second in which a change of the host was last written without delay: its low bits, to
    /// save memory.
    urgent: Option<NonZeroU32>,
}

impl Entry {
    fn loaded(entry: Arc<KnownPinnedHost>) -> Self {
        Self {
            entry,
            since: Since::loaded_now(),
            urgent: None,
        }
    }

    /// Returns a key by which older entries come first.
    pub(super) fn age(&self) -> (UnixTime, UnixTime, &Host) {
        let entry = &self.entry;
        (entry.seen_since, entry.noted_at, &entry.host)
    }
}

/// Returns the low 31 bits of a number of seconds, in a form that leaves room for `None`.
fn low_bits(second: u64) -> NonZeroU32 {
    let [a, b, c, d, ..] = second.to_le_bytes();
    NonZeroU32::MIN | u32::from_le_bytes([a, b, c, d]) << 1
}

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        self.entry.host.as_str()
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.host.as_str().hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.entry.host == other.entry.host
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::timestamp::at;
    use crate::policy::{PinSet, SpkiFingerprint};

    fn entry(host: &str, seen_since: u64, noted_at: u64, expires_at: u64) -> Arc<KnownPinnedHost> {
        Arc::new(KnownPinnedHost {
            host: Host::parse(host).unwrap(),
            pins: PinSet::new([SpkiFingerprint::from_digest([1; 32])]).unwrap(),
            includes_subdomains: false,
            report_uri: None,
            seen_since: at(seen_since),
            noted_at: at(noted_at),
            expires_at: at(expires_at),
        })
    }

    #[test]
    fn a_grown_table_has_room_for_the_next_host() {
        // Miri takes a second for a few hosts.
        let (hosts, growths) = if cfg!(miri) {
            (60, 2..20)
        } else {
            (5_000, 8..20)
        };
        let mut entries = Entries::default();
        let mut grown = 0;
        for number in 0..hosts {
            if let Some(bigger) = entries.grown() {
                assert_eq!(sorted(bigger.collect()), sorted(entries.collect()));
                (entries, grown) = (bigger, grown + 1);
            }
            let before = entries.table.capacity();
            let host = format!("{number}.domain-{}.example", number / 3);
            entries.put(entry(&host, 0, 0, 1));
            // The growth of a nearly empty table does not matter.
            assert!(number < 8 || entries.table.capacity() == before, "{number}");
        }
        assert!(growths.contains(&grown), "{grown}");
        assert_eq!(entries.first_seen, hosts);
    }
}
