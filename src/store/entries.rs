//! Known pinned hosts in memory: entries in, the one that applies to a name out; expiry, limits.
//!
//! The entry of the very name wins, else that of the nearest superdomain that includes subdomains;
//! what has expired is inert ([RFC 7469 section 2.3.3]). Live entries are never evicted to make
//! room.
//!
//! [RFC 7469 section 2.3.3]: https://www.rfc-editor.org/rfc/rfc7469#section-2.3.3

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::policy::{Host, HostMatch, KnownPinnedHost};

/// At most one entry a host. Servers choose the names, but at most a sixteenth of the table under
/// one domain, so a fast hash with a seed of the process does.
#[derive(Default)]
pub(crate) struct Entries {
    table: HashSet<Entry, RandomState>,
    /// How many entries the domains of each slot have, expired ones included: never less than the
    /// live ones of one domain, and so enough to tell that there is room. Empty without entries.
    in_slot: Vec<u32>,
    /// No entry ends before.
    first_end: Option<UnixTime>,
}

impl Entries {
    /// The entry that applies to `host` at `now`, and how.
    pub(crate) fn query(
        &self,
        host: &Host,
        now: UnixTime,
    ) -> Option<(HostMatch, Arc<KnownPinnedHost>)> {
        if self.table.is_empty() {
            return None;
        }
        let mut matched = HostMatch::Congruent;
        for name in host.and_superdomains() {
            // D-01: an entry that is expired or lacks the flag is passed over, it blocks nothing.
            if let Some(Entry(entry)) = self.table.get(name)
                && !entry.is_expired(now)
                && (matched == HostMatch::Congruent || entry.includes_subdomains)
            {
                return Some((matched, Arc::clone(entry)));
            }
            matched = HostMatch::Superdomain;
        }
        None
    }

    /// When the entries of the host and of its superdomains end, or ended.
    pub(crate) fn expiry_times(&self, host: &Host) -> Vec<UnixTime> {
        let entries = host
            .and_superdomains()
            .filter_map(|name| self.table.get(name));
        entries.map(|Entry(entry)| entry.expires_at).collect()
    }

    /// The entry kept under this very name, expired or not.
    pub(crate) fn get(&self, host: &Host) -> Option<&Arc<KnownPinnedHost>> {
        self.table.get(host.as_str()).map(|Entry(entry)| entry)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<KnownPinnedHost>> {
        self.table.iter().map(|Entry(entry)| entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The same entries with room for as many more, if there is room for none. To add one would
    /// fill a bigger table under the lock that lookups wait for: 20 ms at 100,000 hosts.
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
            first_end: self.first_end,
        })
    }

    /// All entries, expired ones included.
    pub(crate) fn collect(&self) -> Vec<Arc<KnownPinnedHost>> {
        self.iter().cloned().collect()
    }

    /// Whether the host may be noted at `now` for all that its domain has filled of the store.
    pub(crate) fn domain_has_room(&self, host: &Host, capacity: usize, now: UnixTime) -> bool {
        // An expired entry counts as none, or a domain could fill the store with short-lived ones
        // and then renew them all.
        if self.get(host).is_some_and(|known| !known.is_expired(now)) {
            return true;
        }
        let share = (capacity / DOMAIN_SHARE).max(1);
        // No domain can have filled its share of so few.
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

    /// Adds an entry for a host that has none. Returns what had to be evicted for it; `None` where
    /// there is no room.
    pub(crate) fn add(
        &mut self,
        entry: Arc<KnownPinnedHost>,
        capacity: usize,
    ) -> Option<Vec<Arc<KnownPinnedHost>>> {
        let now = entry.noted_at;
        let mut evicted = Vec::new();
        // D-24: room is made of expired entries only, and only when it is needed.
        if self.len() >= capacity {
            let all_live = self.first_end.is_some_and(|end| now <= end);
            let live = self.iter().filter(|known| !known.is_expired(now));
            if all_live {
                return None;
            }
            if live.count() >= capacity {
                // Refreshes have moved the ends: once found, not looked for with each new host.
                self.first_end = self.iter().map(|known| known.expires_at).min();
                return None;
            }
            evicted = self.take_if(|known| known.is_expired(now));
            self.first_end = self.iter().map(|known| known.expires_at).min();
        }
        self.put(entry);
        Some(evicted)
    }

    /// Adds the entry, or replaces the one under the same name as a whole.
    pub(crate) fn put(&mut self, entry: Arc<KnownPinnedHost>) {
        let end = entry.expires_at;
        self.first_end = Some(self.first_end.map_or(end, |first| first.min(end)));
        let slot = self.slot(parent_domain(&entry.host));
        self.in_slot.resize(SLOTS, 0);
        if self.table.replace(Entry(entry)).is_none()
            && let Some(count) = self.in_slot.get_mut(slot)
        {
            *count = count.saturating_add(1);
        }
    }

    pub(crate) fn remove(&mut self, host: &Host) -> Option<Arc<KnownPinnedHost>> {
        let Entry(entry) = self.table.take(host.as_str())?;
        self.uncount(&entry);
        Some(entry)
    }

    /// Removes what the condition names, and returns it.
    pub(crate) fn take_if(
        &mut self,
        condition: impl Fn(&KnownPinnedHost) -> bool,
    ) -> Vec<Arc<KnownPinnedHost>> {
        let taken = self.table.extract_if(|Entry(entry)| condition(entry));
        let taken = taken.map(|Entry(entry)| entry).collect::<Vec<_>>();
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

/// By name.
pub(crate) fn sorted(mut entries: Vec<Arc<KnownPinnedHost>>) -> Vec<Arc<KnownPinnedHost>> {
    entries.sort_unstable_by(|one, other| one.host.cmp(&other.host));
    entries
}

impl FromIterator<Arc<KnownPinnedHost>> for Entries {
    fn from_iter<I: IntoIterator<Item = Arc<KnownPinnedHost>>>(entries: I) -> Self {
        let mut this = Self::default();
        for entry in entries {
            // Of two for one host the first stays.
            if this.get(&entry.host).is_none() {
                this.put(entry);
            }
        }
        this
    }
}

/// Hashed and compared by its host: the set then holds no name twice.
#[derive(Clone)]
struct Entry(Arc<KnownPinnedHost>);

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

/// The share of the store that one domain may fill: a sixteenth. So a hostile domain that answers
/// under many names can't keep others from being noted.
const DOMAIN_SHARE: usize = 16;

/// A slot has a 512th of the entries on average, which is a 32nd of a domain's share at most: two
/// domains of one slot seldom have all entries looked at.
const SLOTS: usize = 512;

/// The last two labels. Coarser than the registrable domain under suffixes such as `co.uk`, which
/// then share; finer would need a list of public suffixes.
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
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::{PinSet, SpkiFingerprint};

    const CAPACITY: usize = 48;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

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

    /// By looking at each entry.
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

    fn take(entries: &mut Entries, step: &Step, capacity: usize) {
        match step {
            Step::Add(host, now, end) => add(entries, entry(host, *now, *end), capacity),
            Step::Put(host, end) => entries.put(entry(host, 0, *end)),
            Step::Remove(host) => drop(entries.remove(&Host::parse(host).unwrap())),
            Step::TakeExpired(now) => drop(entries.take_if(|known| known.is_expired(at(*now)))),
            Step::Load => *entries = entries.collect().into_iter().collect(),
        }
    }

    /// Room is made exactly where it should be, of what should go.
    fn add(entries: &mut Entries, entry: Arc<KnownPinnedHost>, capacity: usize) {
        if entries.get(&entry.host).is_some() {
            return;
        }
        let (before, now) = (sorted(entries.collect()), entry.noted_at);
        let (expired, live) = before
            .into_iter()
            .partition::<Vec<_>, _>(|known| known.is_expired(now));
        let is_full = expired.len() + live.len() >= capacity;
        let expected = match is_full {
            true if live.len() >= capacity => None,
            true => Some(expired),
            false => Some(Vec::new()),
        };
        assert_eq!(entries.add(entry, capacity).map(sorted), expected);
    }

    #[test]
    fn a_table_that_has_grown_takes_the_next_host_without_growing() {
        let mut entries = Entries::default();
        let mut grown = 0;
        for number in 0..5_000 {
            if let Some(bigger) = entries.grown() {
                assert_eq!(sorted(bigger.collect()), sorted(entries.collect()));
                (entries, grown) = (bigger, grown + 1);
            }
            let before = entries.table.capacity();
            let host = format!("{number}.domain-{}.example", number / 3);
            entries.put(entry(&host, 0, 1));
            // The very first don't matter.
            assert!(number < 8 || entries.table.capacity() == before, "{number}");
        }
        assert!((8..20).contains(&grown), "{grown}");
        assert_eq!(entries.in_slot.iter().sum::<u32>(), 5_000);
    }

    proptest! {
        #[test]
        fn room_is_as_if_every_entry_were_looked_at(
            steps in proptest::collection::vec(step(), 0..80),
            host in "[a-f]\\.(one|two|three|four)\\.com",
            capacity in 1_usize..CAPACITY,
        ) {
            let host = Host::parse(&host).unwrap();
            let mut entries = Entries::default();
            for step in &steps {
                take(&mut entries, step, capacity);
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
