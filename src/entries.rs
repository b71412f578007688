//! Known pinned hosts in memory: entries in, the one that applies to a name out; expiry, limits.
//!
//! The entry of the very name wins, else that of the nearest superdomain that includes subdomains;
//! what has expired is inert ([RFC 7469 section 2.3.3]). Live entries are never evicted to make
//! room.
//!
//! [RFC 7469 section 2.3.3]: https://www.rfc-editor.org/rfc/rfc7469#section-2.3.3

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::host::Host;
use crate::policy::{HostMatch, KnownPinnedHost};

/// At most one entry a host. Servers choose the names, but at most a sixteenth of the table under
/// one domain, so a fast hash with a seed of the process does.
#[derive(Default)]
pub(crate) struct Entries(HashSet<Entry, RandomState>);

impl Entries {
    /// The entry that applies to `host` at `now`, and how.
    pub(crate) fn query(
        &self,
        host: &Host,
        now: UnixTime,
    ) -> Option<(HostMatch, Arc<KnownPinnedHost>)> {
        if self.0.is_empty() {
            return None;
        }
        let mut matched = HostMatch::Congruent;
        for name in host.and_superdomains() {
            // D-01: an entry that is expired or lacks the flag is passed over, it blocks nothing.
            if let Some(Entry(entry)) = self.0.get(name)
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
    pub(crate) fn ends(&self, host: &Host) -> Vec<UnixTime> {
        let entries = host.and_superdomains().filter_map(|name| self.0.get(name));
        entries.map(|Entry(entry)| entry.expires_at).collect()
    }

    /// The entry kept under this very name, expired or not.
    pub(crate) fn get(&self, host: &Host) -> Option<&Arc<KnownPinnedHost>> {
        self.0.get(host.as_str()).map(|Entry(entry)| entry)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<KnownPinnedHost>> {
        self.0.iter().map(|Entry(entry)| entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
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
            let live = self.iter().filter(|known| !known.is_expired(now));
            if live.count() >= capacity {
                return None;
            }
            evicted = self.take_if(|known| known.is_expired(now));
        }
        self.put(entry);
        Some(evicted)
    }

    /// Adds the entry, or replaces the one under the same name as a whole.
    pub(crate) fn put(&mut self, entry: Arc<KnownPinnedHost>) {
        self.0.replace(Entry(entry));
    }

    pub(crate) fn remove(&mut self, host: &Host) -> Option<Arc<KnownPinnedHost>> {
        self.0.take(host.as_str()).map(|Entry(entry)| entry)
    }

    /// Removes what the condition names, and returns it.
    pub(crate) fn take_if(
        &mut self,
        condition: impl Fn(&KnownPinnedHost) -> bool,
    ) -> Vec<Arc<KnownPinnedHost>> {
        let taken = self.0.extract_if(|Entry(entry)| condition(entry));
        taken.map(|Entry(entry)| entry).collect()
    }
}

/// By name.
pub(crate) fn sorted(mut entries: Vec<Arc<KnownPinnedHost>>) -> Vec<Arc<KnownPinnedHost>> {
    entries.sort_unstable_by(|one, other| one.host.cmp(&other.host));
    entries
}

impl FromIterator<Arc<KnownPinnedHost>> for Entries {
    fn from_iter<I: IntoIterator<Item = Arc<KnownPinnedHost>>>(entries: I) -> Self {
        Self(entries.into_iter().map(Entry).collect())
    }
}

/// Hashed and compared by its host: the set then holds no name twice.
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
