//! Noted pins in, the entry that applies to a name out.
//!
//! Lookups are answered from memory: the entry of the very name wins, else that of the nearest
//! superdomain that includes subdomains; what has expired is inert ([RFC 7469 section 2.3.3]).
//! Live entries are never evicted to make room.
//!
//! [RFC 7469 section 2.3.3]: https://www.rfc-editor.org/rfc/rfc7469#section-2.3.3

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};
use rustls_pki_types::UnixTime;

use crate::host::Host;
use crate::policy::{HostMatch, KnownPinnedHost};

/// The known pinned hosts that servers asked for by header. A cheap handle: clones share entries;
/// cap and capacity belong to the handle.
///
/// ```
/// use std::time::Duration;
/// use pinhold::{Pinning, PinStore};
///
/// let store = PinStore::in_memory().max_age_cap(Duration::from_secs(7 * 24 * 60 * 60));
/// let pinning = Pinning::builder().store(store.clone()).build()?;
/// assert!(store.list().is_empty());
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone)]
pub struct PinStore {
    /// Held from the judgement of a header's chain until what it asks for is done.
    noting: Arc<Mutex<()>>,
    entries: Arc<RwLock<HashMap<Host, Arc<KnownPinnedHost>>>>,
    max_age_cap: Duration,
    capacity: usize,
}

impl PinStore {
    /// An empty store that lives as long as its handles.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            noting: Arc::default(),
            entries: Arc::default(),
            max_age_cap: Self::MAX_AGE_CAP,
            capacity: Self::CAPACITY,
        }
    }

    /// The longest time that pins are kept after they were last seen: 60 days, the balance that
    /// RFC 7469 section 4.1 suggests.
    pub const MAX_AGE_CAP: Duration = Duration::from_secs(60 * 24 * 60 * 60);

    /// How many hosts are noted at most: 1024, as Firefox kept. It bounds what hostile servers can
    /// make us hold; an application talks to far fewer.
    pub const CAPACITY: usize = 1024;

    /// Keeps pins no longer than `cap` after they were last seen, whatever the server says.
    #[must_use]
    pub fn max_age_cap(mut self, cap: Duration) -> Self {
        self.max_age_cap = cap;
        self
    }

    /// Notes at most `hosts` hosts, of which a sixteenth (at least one) under one domain, counted
    /// by the last two labels of their names.
    #[must_use]
    pub fn capacity(mut self, hosts: usize) -> Self {
        self.capacity = hosts;
        self
    }

    /// The entry that applies to `host` at `now`, and how.
    #[must_use]
    pub fn query(&self, host: &Host, now: UnixTime) -> Option<(HostMatch, Arc<KnownPinnedHost>)> {
        let entries = self.entries.read();
        if entries.is_empty() {
            return None;
        }
        let mut matched = HostMatch::Congruent;
        for name in host.and_superdomains() {
            // D-01: an entry that is expired or lacks the flag is passed over, it blocks nothing.
            if let Some(entry) = entries.get(name)
                && !entry.is_expired(now)
                && (matched == HostMatch::Congruent || entry.includes_subdomains)
            {
                return Some((matched, Arc::clone(entry)));
            }
            matched = HostMatch::Superdomain;
        }
        None
    }

    /// All entries, expired ones included, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<KnownPinnedHost>> {
        let mut list = self.entries.read().values().cloned().collect::<Vec<_>>();
        list.sort_by(|one, other| one.host.cmp(&other.host));
        list
    }

    /// Removes the entry kept under this very name, and returns it. Superdomains keep theirs.
    pub fn forget(&self, host: &Host) -> Option<Arc<KnownPinnedHost>> {
        self.entries.write().remove(host)
    }

    /// Removes every entry.
    pub fn clear(&self) {
        self.entries.write().clear();
    }

    /// Lets one header at a time change entries, so that what it was judged against still holds
    /// when it takes effect. Lookups don't wait for it.
    pub(crate) fn noting(&self) -> MutexGuard<'_, ()> {
        self.noting.lock()
    }

    /// `max_age`, capped.
    pub(crate) fn cap(&self, max_age: Duration) -> Duration {
        max_age.min(self.max_age_cap)
    }

    /// Adds the entry, or replaces the one under the same name as a whole.
    pub(crate) fn insert(&self, entry: KnownPinnedHost) -> Inserted {
        let now = entry.noted_at;
        let mut entries = self.entries.write();
        let known = entries.get(&entry.host).map(|known| known.is_expired(now));
        // An expired entry counts as none, or a domain could fill the store with short-lived ones
        // and then renew them all.
        if known != Some(false) {
            let share = (self.capacity / DOMAIN_SHARE).max(1);
            let domain = parent_domain(&entry.host);
            let siblings = entries
                .iter()
                .filter(|(host, known)| parent_domain(host) == domain && !known.is_expired(now));
            if siblings.count() >= share {
                return Inserted::DomainFull;
            }
        }
        if known.is_none() {
            // D-24: room is made of expired entries only, and only when it is needed.
            if entries.len() >= self.capacity {
                entries.retain(|_, known| !known.is_expired(now));
            }
            if entries.len() >= self.capacity {
                return Inserted::StoreFull;
            }
        }
        entries.insert(entry.host.clone(), Arc::new(entry));
        match known {
            Some(false) => Inserted::Replaced,
            Some(true) | None => Inserted::Added,
        }
    }
}

impl fmt::Debug for PinStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinStore")
            .field("hosts", &self.entries.read().len())
            .field("max_age_cap", &self.max_age_cap)
            .field("capacity", &self.capacity)
            .finish()
    }
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Added,
    DomainFull,
    Replaced,
    StoreFull,
}

/// The share of the store that one domain may fill: a sixteenth. So a hostile domain that answers
/// under many names can't keep others from being noted.
const DOMAIN_SHARE: usize = 16;

/// The last two labels. Coarser than the registrable domain under suffixes such as `co.uk`, which
/// then share; finer would need a list of public suffixes.
fn parent_domain(host: &Host) -> &str {
    let mut domain = host.as_str();
    for name in host.and_superdomains() {
        if !name.contains('.') {
            break;
        }
        domain = name;
    }
    domain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fingerprint::SpkiFingerprint;
    use crate::policy::PinSet;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn entry(host: &str, includes_subdomains: bool, expires_at: u64) -> KnownPinnedHost {
        KnownPinnedHost {
            host: Host::parse(host).unwrap(),
            pins: PinSet::new([SpkiFingerprint::from_digest([1; 32])]).unwrap(),
            includes_subdomains,
            report_uri: None,
            noted_at: at(0),
            expires_at: at(expires_at),
        }
    }

    fn found(store: &PinStore, host: &str, now: u64) -> Option<(HostMatch, String)> {
        let (matched, entry) = store.query(&Host::parse(host).unwrap(), at(now))?;
        Some((matched, entry.host.to_string()))
    }

    #[test]
    fn the_name_itself_wins_then_the_nearest_superdomain_with_the_flag() {
        let store = PinStore::in_memory();
        store.insert(entry("example.com", true, 10));
        store.insert(entry("b.example.com", false, 10));
        let congruent = |name: &str| Some((HostMatch::Congruent, name.to_owned()));
        let superdomain = |name: &str| Some((HostMatch::Superdomain, name.to_owned()));
        assert_eq!(found(&store, "example.com", 0), congruent("example.com"));
        assert_eq!(
            found(&store, "b.example.com", 0),
            congruent("b.example.com")
        );
        // D-01: an entry without the flag does not block the one above.
        assert_eq!(
            found(&store, "a.b.example.com", 0),
            superdomain("example.com")
        );
        assert_eq!(found(&store, "notexample.com", 0), None);
        assert_eq!(found(&store, "com", 0), None);
    }

    #[test]
    fn an_expired_entry_is_inert_but_kept() {
        let store = PinStore::in_memory();
        store.insert(entry("example.com", true, 20));
        store.insert(entry("www.example.com", false, 10));
        let congruent = Some((HostMatch::Congruent, "www.example.com".to_owned()));
        assert_eq!(found(&store, "www.example.com", 10), congruent);
        let superdomain = Some((HostMatch::Superdomain, "example.com".to_owned()));
        assert_eq!(found(&store, "www.example.com", 11), superdomain);
        // D-20: the clock went forward and back; nothing is lost.
        assert_eq!(found(&store, "www.example.com", 10), congruent);
    }

    #[test]
    fn a_full_store_refuses_new_hosts_and_keeps_live_ones() {
        let store = PinStore::in_memory().capacity(2);
        assert_eq!(store.insert(entry("a.com", false, 10)), Inserted::Added);
        assert_eq!(store.insert(entry("b.com", false, 10)), Inserted::Added);
        assert_eq!(store.insert(entry("c.com", false, 10)), Inserted::StoreFull);
        assert_eq!(store.insert(entry("b.com", true, 10)), Inserted::Replaced);
        let late = KnownPinnedHost {
            noted_at: at(11),
            ..entry("c.com", false, 20)
        };
        assert_eq!(store.insert(late), Inserted::Added);
        assert_eq!(store.list().len(), 1);
    }

    #[test]
    fn one_domain_fills_its_share_only() {
        let store = PinStore::in_memory().capacity(32);
        for label in ["a", "b.c"] {
            let host = format!("{label}.evil.com");
            assert_eq!(store.insert(entry(&host, false, 10)), Inserted::Added);
        }
        assert_eq!(
            store.insert(entry("d.e.f.evil.com", false, 10)),
            Inserted::DomainFull
        );
        assert_eq!(
            store.insert(entry("evil.com", false, 10)),
            Inserted::DomainFull
        );
        assert_eq!(
            store.insert(entry("example.com", false, 10)),
            Inserted::Added
        );
    }

    #[test]
    fn renewing_what_ran_out_fills_no_more_than_the_share() {
        let store = PinStore::in_memory().capacity(32);
        let noted = |label: u64, now: u64| KnownPinnedHost {
            noted_at: at(now),
            ..entry(&format!("n{label}.evil.com"), false, now + 1)
        };
        // Two at a time, each pair after the one before has run out.
        for label in 0..8 {
            let now = 10 * (label / 2);
            assert_eq!(store.insert(noted(label, now)), Inserted::Added);
        }
        let renewed = (0..8).map(|label| store.insert(noted(label, 100)));
        let added = renewed.filter(|inserted| *inserted == Inserted::Added);
        assert_eq!(added.count(), 2);
    }

    /// What the RFC says, as naively as can be.
    fn naive(entries: &[KnownPinnedHost], host: &Host, now: UnixTime) -> Option<Host> {
        let mut best: Option<&Host> = None;
        for entry in entries.iter().filter(|entry| now <= entry.expires_at) {
            let covers = entry.includes_subdomains && host.is_subdomain_of(&entry.host);
            let nearer = best.is_none_or(|best| entry.host.as_str().len() > best.as_str().len());
            if (entry.host == *host || covers) && nearer {
                best = Some(&entry.host);
            }
        }
        best.cloned()
    }

    proptest! {
        #[test]
        fn lookup_equals_the_naive_model(
            hosts in proptest::collection::hash_map(
                "([ab]\\.){0,3}(x|y)",
                (any::<bool>(), 0_u64..4),
                0..8,
            ),
            host in "([ab]\\.){0,4}(x|y)",
            now in 0_u64..4,
        ) {
            let store = PinStore::in_memory();
            let entries = hosts
                .iter()
                .map(|(host, (subdomains, expiry))| entry(host, *subdomains, *expiry))
                .collect::<Vec<_>>();
            for entry in &entries {
                store.insert(entry.clone());
            }
            let host = Host::parse(&host).unwrap();
            let answer = store.query(&host, at(now)).map(|(_, entry)| entry.host.clone());
            prop_assert_eq!(answer, naive(&entries, &host, at(now)));
        }
    }
}
