//! The table of known pinned hosts in memory: lookup by host, expiry, and limits.
//!
//! The entry of the host itself applies, or else that of the nearest superdomain that includes
//! subdomains; expired entries do not apply ([RFC 7469 section 2.3.3]). Live entries are never
//! evicted.
//!
//! [RFC 7469 section 2.3.3]: https://www.rfc-editor.org/rfc/rfc7469#section-2.3.3

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::policy::{Host, HostMatch, KnownPinnedHost};
use crate::store::observed_clock::Since;

/// A table with at most one entry for each host. Servers choose the names, but one domain fills at
/// most a sixteenth of the table, so a fast hash with a seed for each process suffices against
/// collisions.
#[derive(Default)]
pub(crate) struct Entries {
    table: HashSet<Entry, RandomState>,
    /// The number of entries, including expired ones, of all domains that hash to a slot. It is an
    /// upper bound for the live entries of one domain, so a low number proves that there is room.
    /// Empty without entries.
    in_slot: Vec<u32>,
    /// No entry expires before this time.
    first_expiry: Option<UnixTime>,
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
            if let Some(Entry(entry, since)) = self.table.get(name)
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
            let Entry(entry, since) = self.table.get(name)?;
            Some((&**entry, *since))
        })
    }

    /// Returns the entry of exactly this host, expired or not.
    pub(crate) fn get(&self, host: &Host) -> Option<&Arc<KnownPinnedHost>> {
        self.table.get(host.as_str()).map(|Entry(entry, _)| entry)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<KnownPinnedHost>> {
        self.table.iter().map(|Entry(entry, _)| entry)
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
            in_slot: self.in_slot.clone(),
            first_expiry: self.first_expiry,
        })
    }

    /// Returns all entries, including expired ones, in any order.
    pub(crate) fn collect(&self) -> Vec<Arc<KnownPinnedHost>> {
        self.iter().cloned().collect()
    }

    /// Returns whether the host may be noted at `now` within the share of its domain.
    pub(crate) fn domain_has_room(&self, host: &Host, capacity: usize, now: UnixTime) -> bool {
        // A host whose entry has expired counts as new. Otherwise a domain could fill the store
        // with short-lived entries and then renew them all.
        if self.get(host).is_some_and(|known| !known.is_expired(now)) {
            return true;
        }
        let share = (capacity / DOMAIN_SHARE).max(1);
        // So few entries can't exceed the share of any domain.
        if self.len() < share {
            return true;
        }
        let domain = parent_domain(host);
        let in_slot = self.in_slot.get(self.slot(domain));
        if in_slot.is_none_or(|count| usize::try_from(*count).is_ok_and(|count| count < share)) {
            return true;
        }
        let siblings = self
            .iter()
            .filter(|known| !known.is_expired(now) && parent_domain(&known.host) == domain);
        siblings.count() < share
    }

    /// Adds an entry for a host that has none. Returns the entries evicted to make room; `None` if
    /// there is no room.
    pub(crate) fn add(
        &mut self,
        entry: Arc<KnownPinnedHost>,
        capacity: usize,
    ) -> Option<Vec<Arc<KnownPinnedHost>>> {
        let now = entry.noted_at;
        let mut evicted = Vec::new();
        // D-24: only expired entries are evicted, and only when room is needed.
        if self.len() >= capacity {
            let all_live = self.first_expiry.is_some_and(|first| now <= first);
            let live = self.iter().filter(|known| !known.is_expired(now));
            if all_live {
                return None;
            }
            if live.count() >= capacity {
                // Refreshes have moved the expiry times. Without this update, all entries would be
                // searched again for the next new host.
                self.first_expiry = self.iter().map(|known| known.expires_at).min();
                return None;
            }
            evicted = self.take_if(|known| known.is_expired(now));
            self.first_expiry = self.iter().map(|known| known.expires_at).min();
        }
        self.put(entry);
        Some(evicted)
    }

    /// Adds the entry, or replaces the one of the same host as a whole.
    pub(crate) fn put(&mut self, entry: Arc<KnownPinnedHost>) {
        let expiry = entry.expires_at;
        self.first_expiry = Some(self.first_expiry.map_or(expiry, |first| first.min(expiry)));
        let slot = self.slot(parent_domain(&entry.host));
        self.in_slot.resize(SLOTS, 0);
        if self.table.replace(Entry(entry, Since::now())).is_none()
            && let Some(count) = self.in_slot.get_mut(slot)
        {
            *count = count.saturating_add(1);
        }
    }

    pub(crate) fn remove(&mut self, host: &Host) -> Option<Arc<KnownPinnedHost>> {
        let Entry(entry, _) = self.table.take(host.as_str())?;
        self.uncount(&entry);
        Some(entry)
    }

    /// Removes the entries that fulfil the condition, and returns them.
    pub(crate) fn take_if(
        &mut self,
        condition: impl Fn(&KnownPinnedHost) -> bool,
    ) -> Vec<Arc<KnownPinnedHost>> {
        let taken = self.table.extract_if(|Entry(entry, _)| condition(entry));
        let taken = taken.map(|Entry(entry, _)| entry).collect::<Vec<_>>();
        taken.iter().for_each(|entry| self.uncount(entry));
        taken
    }

    fn uncount(&mut self, entry: &KnownPinnedHost) {
        let slot = self.slot(parent_domain(&entry.host));
        if let Some(count) = self.in_slot.get_mut(slot) {
            *count = count.saturating_sub(1);
        }
    }

    fn slot(&self, domain: &str) -> usize {
        let [low, high, ..] = self.table.hasher().hash_one(domain).to_le_bytes();
        usize::from(u16::from_le_bytes([low, high])) % SLOTS
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
                this.put(entry);
            }
        }
        this
    }
}

/// An entry that is hashed and compared by its host, so that the set has at most one for each.
#[derive(Clone)]
struct Entry(Arc<KnownPinnedHost>, Since);

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        self.0.host.as_str()
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.host.as_str().hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.host == other.0.host
    }
}

impl Eq for Entry {}

/// One domain may fill a sixteenth of the store, so that a hostile domain that responds under many
/// names can't prevent other hosts from being noted.
const DOMAIN_SHARE: usize = 16;

/// The number of slots. A slot has a 512th of the entries on average, at most a 32nd of a domain's
/// share. So the domains of one slot together rarely exceed a share; if they do, all entries are
/// searched.
const SLOTS: usize = 512;

/// Returns the last two labels of a name. All domains under a suffix such as `co.uk` count as one,
/// because distinguishing them requires a list of public suffixes.
fn parent_domain(host: &Host) -> &str {
    let name = host.as_str();
    let mut dots = name.rmatch_indices('.').map(|(at, _)| at);
    match dots.nth(1) {
        Some(at) => name.get(at + 1..).unwrap_or(name),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::timestamp::at;
    use crate::policy::{PinSet, SpkiFingerprint};

    const CAPACITY: usize = 48;

    fn entry(host: &str, now: u64, expires_at: u64) -> Arc<KnownPinnedHost> {
        Arc::new(KnownPinnedHost {
            host: Host::parse(host).unwrap(),
            pins: PinSet::new([SpkiFingerprint::from_digest([1; 32])]).unwrap(),
            includes_subdomains: false,
            report_uri: None,
            noted_at: at(now),
            expires_at: at(expires_at),
        })
    }

    /// Computes [`Entries::domain_has_room`] from all entries.
    fn has_room(all: &[Arc<KnownPinnedHost>], host: &Host, capacity: usize, now: UnixTime) -> bool {
        let live = || all.iter().filter(|known| !known.is_expired(now));
        let domain = parent_domain(host);
        let siblings = live().filter(|known| parent_domain(&known.host) == domain);
        live().any(|known| known.host == *host)
            || siblings.count() < (capacity / DOMAIN_SHARE).max(1)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(String, u64, u64),
        Put(String, u64),
        Remove(String),
        TakeExpired(u64),
        Load,
    }

    fn step() -> impl Strategy<Value = Step> {
        let host = || "[a-d]\\.([xyz]\\.)?(one|two|three)\\.com";
        prop_oneof![
            8 => (host(), 0_u64..8, 0_u64..8).prop_map(|(host, now, end)| Step::Add(host, now, end)),
            4 => (host(), 0_u64..8).prop_map(|(host, end)| Step::Put(host, end)),
            2 => host().prop_map(Step::Remove),
            1 => (0_u64..8).prop_map(Step::TakeExpired),
            1 => Just(Step::Load),
        ]
    }

    fn apply(entries: &mut Entries, step: &Step, capacity: usize) {
        match step {
            Step::Add(host, now, end) => add(entries, entry(host, *now, *end), capacity),
            Step::Put(host, end) => entries.put(entry(host, 0, *end)),
            Step::Remove(host) => drop(entries.remove(&Host::parse(host).unwrap())),
            Step::TakeExpired(now) => drop(entries.take_if(|known| known.is_expired(at(*now)))),
            Step::Load => *entries = entries.collect().into_iter().collect(),
        }
    }

    /// Adds an entry and asserts that exactly the expired ones are evicted, and only from a full
    /// table.
    fn add(entries: &mut Entries, entry: Arc<KnownPinnedHost>, capacity: usize) {
        if entries.get(&entry.host).is_some() {
            return;
        }
        let (before, now) = (sorted(entries.collect()), entry.noted_at);
        let (expired, live) = before
            .into_iter()
            .partition::<Vec<_>, _>(|known| known.is_expired(now));
        let expected = if live.len() >= capacity {
            None
        } else if expired.len() + live.len() >= capacity {
            Some(expired)
        } else {
            Some(Vec::new())
        };
        assert_eq!(entries.add(entry, capacity).map(sorted), expected);
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
            entries.put(entry(&host, 0, 1));
            // The growth of a nearly empty table does not matter.
            assert!(number < 8 || entries.table.capacity() == before, "{number}");
        }
        assert!(growths.contains(&grown), "{grown}");
        assert_eq!(entries.in_slot.iter().sum::<u32>(), hosts);
    }

    proptest! {
        #[test]
        fn the_room_of_a_domain_is_what_a_count_of_all_entries_gives(
            steps in proptest::collection::vec(step(), 0..80),
            host in "[a-f]\\.(one|two|three|four)\\.com",
            capacity in 1_usize..CAPACITY,
        ) {
            let host = Host::parse(&host).unwrap();
            let mut entries = Entries::default();
            for step in &steps {
                apply(&mut entries, step, capacity);
                let all = entries.collect();
                for now in (0..9).map(at) {
                    let room = entries.domain_has_room(&host, capacity, now);
                    prop_assert_eq!(room, has_room(&all, &host, capacity, now));
                }
                let counted = entries.in_slot.iter().sum::<u32>();
                prop_assert_eq!(usize::try_from(counted).unwrap(), all.len());
            }
        }
    }
}
