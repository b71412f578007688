//! The table of known pinned hosts in memory: lookup by host, expiry, and limits.
//!
//! The entry of the host itself applies, or else that of the nearest superdomain that includes
//! subdomains; expired entries do not apply ([RFC 7469 section 2.3.3]). Entries that are confirmed
//! are never evicted before they expire; the others share a quarter of the capacity.
//!
//! [RFC 7469 section 2.3.3]: https://www.rfc-editor.org/rfc/rfc7469#section-2.3.3

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::policy::{Host, HostMatch, KnownPinnedHost};
use crate::store::domains::Domains;
use crate::store::observed_clock::Since;

/// A table with at most one entry for each host. Servers choose the names, but few of them are kept
/// that no user visits for days, so a fast hash with a seed for each process suffices against
/// collisions.
#[derive(Default)]
pub(crate) struct Entries {
    table: HashSet<Entry, RandomState>,
    /// The number of entries that are not confirmed, including expired ones. A low number proves
    /// that there is room for one more.
    first_seen: usize,
}

/// How many entries a store may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// All entries, except those that have expired and are replaced when room is needed.
    pub(crate) capacity: usize,
    /// Entries that are not confirmed: a quarter, at least one.
    first_seen: usize,
    /// Confirmed entries of one domain: a sixteenth, at least one.
    of_domain: usize,
}

impl Shares {
    pub(crate) fn of(capacity: usize) -> Self {
        Self {
            capacity,
            first_seen: (capacity / 4).max(1),
            of_domain: (capacity / 16).max(1),
        }
    }

    /// Returns how many entries may be confirmed.
    fn confirmed(self) -> usize {
        self.capacity.saturating_sub(self.first_seen)
    }
}

impl Entries {
    /// Returns the entry that applies to `host`, and how it matches.
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

    /// Returns a table of these entries, one of each host. Those that this table has are in memory
    /// as long as before.
    pub(crate) fn replaced_by(&self, new: impl Iterator<Item = Arc<KnownPinnedHost>>) -> Self {
        let mut this = Self::default();
        for entry in new {
            let known = self.table.get(entry.host.as_str());
            let known = known.filter(|known| known.entry == entry);
            let new = known.cloned().unwrap_or_else(|| Entry::loaded(entry));
            this.put_entry(new);
        }
        this
    }

    /// Returns the entries to evict before a host is added that has no live entry: expired ones if
    /// the table is full, and then, if the first-seen ones have their share, the oldest of those
    /// of the domain that has most of them, counted with the new one.
    pub(crate) fn to_evict(
        &self,
        host: &Host,
        shares: Shares,
        domains: &Domains,
        is_expired: impl Fn(&KnownPinnedHost, Since) -> bool,
    ) -> Vec<Arc<KnownPinnedHost>> {
        let is_expired = |known: &Entry| is_expired(&known.entry, known.since);
        let others = || self.table.iter().filter(|known| known.entry.host != *host);
        let mut evicted = Vec::new();
        // D-24: expired entries are evicted only when room is needed. The clock may be wrong.
        if self.len() >= shares.capacity {
            evicted.extend(others().filter(|known| is_expired(known)));
        }
        if self.first_seen >= shares.first_seen {
            let live = others().filter(|known| !known.entry.is_confirmed() && !is_expired(known));
            let mut live = live.collect::<Vec<_>>();
            // Several processes may have added more. Two are evicted for one, until that ends.
            for _ in 0..2 {
                if live.len() >= shares.first_seen
                    && let Some(oldest) = oldest_of_fullest(&live, domains.domain_of(host), domains)
                {
                    live.retain(|known| known.entry.host != oldest.entry.host);
                    evicted.push(oldest);
                }
            }
        }
        let evicted = evicted.into_iter();
        evicted.map(|known| Arc::clone(&known.entry)).collect()
    }

    /// Returns whether the entry of this host can be confirmed: neither have the confirmed ones
    /// their share, nor has its domain.
    pub(crate) fn can_confirm(
        &self,
        host: &Host,
        shares: Shares,
        domains: &Domains,
        is_expired: impl Fn(&KnownPinnedHost, Since) -> bool,
    ) -> bool {
        let domain = domains.domain_of(host);
        let (mut all, mut of_domain) = (0, 0);
        for Entry { entry, since, .. } in &self.table {
            if entry.host != *host && entry.is_confirmed() && !is_expired(entry, *since) {
                all += 1;
                of_domain += usize::from(domains.domain_of(&entry.host) == domain);
            }
        }
        all < shares.confirmed() && of_domain < shares.of_domain
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

/// Returns the oldest entry of the domain that has most of these entries, where `new` counts as
/// having one more. Of several such domains it is the one with the oldest entry.
fn oldest_of_fullest<'a>(live: &[&'a Entry], new: &str, domains: &Domains) -> Option<&'a Entry> {
    let mut of_domain = HashMap::<&str, (usize, &'a Entry), RandomState>::default();
    for known in live {
        let domain = domains.domain_of(&known.entry.host);
        let (count, oldest) = of_domain
            .entry(domain)
            .or_insert_with(|| (usize::from(domain == new), *known));
        *count += 1;
        if known.age() < oldest.age() {
            *oldest = *known;
        }
    }
    let fullest = of_domain
        .into_values()
        .max_by(|(count, oldest), (other_count, other)| {
            let by_count = count.cmp(other_count);
            by_count.then_with(|| other.age().cmp(&oldest.age()))
        });
    fullest.map(|(_, oldest)| oldest)
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
struct Entry {
    entry: Arc<KnownPinnedHost>,
    since: Since,
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
    fn age(&self) -> (UnixTime, UnixTime, &Host) {
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
    use proptest::prelude::*;

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

    const DAY: u64 = 24 * 60 * 60;
    const NOW: u64 = 9 * DAY;

    fn name() -> impl Strategy<Value = String> {
        "[a-f]\\.([xy]\\.)?(one|two|three)\\.com"
    }

    /// Hosts, when each was first and last seen, and when it expires.
    fn hosts() -> impl Strategy<Value = Vec<Arc<KnownPinnedHost>>> {
        let host = (name(), 0_u64..6, 0_u64..2, NOW - 2..NOW + 4);
        let host = host.prop_map(|(host, since, confirmed, end)| {
            entry(&host, NOW - DAY - since, NOW - since - 1 + confirmed, end)
        });
        proptest::collection::vec(host, 0..40)
    }

    fn domain(host: &Host) -> String {
        let labels = host.as_str().split('.').collect::<Vec<_>>();
        labels[labels.len() - 2..].join(".")
    }

    proptest! {
        /// The rule of eviction, applied to one entry after the other.
        #[test]
        fn the_oldest_first_seen_entry_of_the_fullest_domain_is_evicted(
            hosts in hosts(),
            host in name(),
            capacity in 1_usize..64,
        ) {
            let host = Host::parse(&host).unwrap();
            let entries = hosts.into_iter().collect::<Entries>();
            let all = entries.collect();
            let first_seen = all.iter().filter(|known| !known.is_confirmed()).count();
            prop_assert_eq!(entries.first_seen, first_seen);
            let is_expired = |known: &KnownPinnedHost, _| known.is_expired(at(NOW));
            let shares = Shares::of(capacity);
            let evicted = entries.to_evict(&host, shares, &Domains::default(), is_expired);

            let mut left = all.clone();
            left.retain(|known| known.host != host);
            let mut expected = Vec::new();
            if all.len() >= capacity {
                expected = left.iter().filter(|known| known.is_expired(at(NOW))).cloned().collect();
            }
            left.retain(|known| !known.is_expired(at(NOW)) && !known.is_confirmed());
            for _ in 0..2 {
                if left.len() < (capacity / 4).max(1) {
                    break;
                }
                let count = |of: &str| {
                    let others = left.iter().filter(|known| domain(&known.host) == of).count();
                    others + usize::from(domain(&host) == of)
                };
                let most = left.iter().map(|known| count(&domain(&known.host))).max().unwrap();
                let fullest = left.iter().filter(|known| count(&domain(&known.host)) == most);
                let age = |known: &&Arc<KnownPinnedHost>| {
                    (known.seen_since, known.noted_at, known.host.clone())
                };
                let oldest = fullest.min_by_key(age).unwrap().clone();
                left.retain(|known| *known != oldest);
                expected.push(oldest);
            }
            let may_be_evicted =
                |known: &Arc<KnownPinnedHost>| known.is_expired(at(NOW)) || !known.is_confirmed();
            prop_assert!(evicted.iter().all(may_be_evicted));
            prop_assert_eq!(sorted(evicted), sorted(expected));
        }

        #[test]
        fn an_entry_is_confirmed_within_the_shares_of_all_and_of_its_domain(
            hosts in hosts(),
            host in name(),
            capacity in 1_usize..64,
        ) {
            let host = Host::parse(&host).unwrap();
            let entries = hosts.into_iter().collect::<Entries>();
            let is_expired = |known: &KnownPinnedHost, _| known.is_expired(at(NOW));
            let shares = Shares::of(capacity);
            let can_confirm = entries.can_confirm(&host, shares, &Domains::default(), is_expired);
            let mut confirmed = entries.collect();
            confirmed.retain(|known| {
                known.is_confirmed() && !known.is_expired(at(NOW)) && known.host != host
            });
            let siblings = confirmed.iter().filter(|known| domain(&known.host) == domain(&host));
            let expected = siblings.count() < (capacity / 16).max(1)
                && confirmed.len() + (capacity / 4).max(1) < capacity;
            prop_assert_eq!(can_confirm, expected);
        }
    }
}
