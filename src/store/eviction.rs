//! The limits of the table of known pinned hosts: which entries are evicted for a new host, and which
//! can be confirmed.
//!
//! Entries that are confirmed are never evicted before they expire; the others share a quarter of the
//! capacity.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::policy::{Host, KnownPinnedHost};
use crate::store::domains::Domains;
use crate::store::entries::{Entries, Entry};
use crate::store::observed_clock::Since;

/// How many entries a store may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// All entries, except those that have expired and are replaced when room is needed.
    pub(crate) capacity: usize,
    /// Entries that are not confirmed: a quarter, at least one.
    pub(crate) first_seen: usize,
    /// Confirmed entries of one domain: a sixteenth, at least one.
    pub(crate) of_domain: usize,
    /// Confirmed entries of one domain of one more label: half of that, at least one.
    of_subdomain: usize,
}

impl Shares {
    pub(crate) fn of(capacity: usize) -> Self {
        Self {
            capacity,
            first_seen: (capacity / 4).max(1),
            of_domain: (capacity / 16).max(1),
            of_subdomain: (capacity / 32).max(1),
        }
    }

    /// Returns how many entries may be confirmed.
    pub(crate) fn confirmed(self) -> usize {
        self.capacity.saturating_sub(self.first_seen)
    }
}

impl Entries {
    /// Returns the entries to evict before a host is added that has no live entry. If the table is
    /// full, these are the expired first-seen ones. If the first-seen ones have their share, it is
    /// the oldest of the domain that has most of them, counted with the new one. If that leaves no
    /// room, it is the confirmed one that expired first.
    pub(crate) fn to_evict(
        &self,
        host: &Host,
        shares: Shares,
        domains: &Domains,
        is_expired: impl Fn(&KnownPinnedHost, Since) -> bool,
    ) -> Vec<Arc<KnownPinnedHost>> {
        let is_expired = |known: &Entry| is_expired(&known.entry, known.since);
        let others = || self.table.iter().filter(|known| known.entry.host != *host);
        let len = self.len() - usize::from(self.get(host).is_some());
        let mut evicted = Vec::new();
        // D-24: expired entries are evicted only when room is needed. The clock may be wrong.
        if len >= shares.capacity {
            let first_seen = others().filter(|known| !known.entry.is_confirmed());
            evicted.extend(first_seen.filter(|known| is_expired(known)));
        }
        if self.first_seen >= shares.first_seen {
            let live = others().filter(|known| !known.entry.is_confirmed() && !is_expired(known));
            let mut live = live.collect::<Vec<_>>();
            // Several processes may have added more. Two are evicted for one, until that ends.
            for _ in 0..2 {
                if live.len() >= shares.first_seen
                    && let Some(oldest) = oldest_of_fullest(&live, host, domains)
                {
                    live.retain(|known| known.entry.host != oldest.entry.host);
                    evicted.push(oldest);
                }
            }
        }
        // No more than that: under a clock that is far ahead, each new host would otherwise destroy
        // all confirmed pins.
        let missing = (len + 1).saturating_sub(evicted.len() + shares.capacity);
        if missing > 0 {
            let confirmed = others().filter(|known| known.entry.is_confirmed());
            let mut expired = confirmed
                .filter(|known| is_expired(known))
                .collect::<Vec<_>>();
            for _ in 0..missing.min(2) {
                let all = expired.iter().copied();
                let first = all.min_by_key(|&known| (known.entry.expires_at, &known.entry.host));
                if let Some(first) = first {
                    expired.retain(|known| known.entry.host != first.entry.host);
                    evicted.push(first);
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
        let (domain, subdomain) = (domains.domain_of(host), domains.subdomain_of(host));
        let (mut all, mut of_domain, mut of_subdomain) = (0, 0, 0);
        for Entry { entry, since, .. } in &self.table {
            if entry.host != *host && entry.is_confirmed() && !is_expired(entry, *since) {
                all += 1;
                of_domain += usize::from(domains.domain_of(&entry.host) == domain);
                of_subdomain += usize::from(domains.subdomain_of(&entry.host) == subdomain);
            }
        }
        all < shares.confirmed()
            && of_domain < shares.of_domain
            && of_subdomain < shares.of_subdomain
    }
}

/// Returns the oldest entry of the domain that has most of these entries, counted with the new host,
/// and within that domain of the one of one more label that has most of them: domains of several
/// owners, such as those under `co.uk`, may count as one.
fn oldest_of_fullest<'a>(live: &[&'a Entry], new: &Host, domains: &Domains) -> Option<&'a Entry> {
    let of_domain = fullest(live, new, &|host| domains.domain_of(host));
    let of_subdomain = fullest(&of_domain, new, &|host| domains.subdomain_of(host));
    of_subdomain.into_iter().min_by_key(|known| known.age())
}

/// Returns the entries of the domain that has most of these entries, where the new host counts, too.
/// Of several such domains it is the one with the oldest entry.
fn fullest<'a>(
    live: &[&'a Entry],
    new: &Host,
    domain_of: &dyn for<'h> Fn(&'h Host) -> &'h str,
) -> Vec<&'a Entry> {
    let mut of_domain = HashMap::<&str, (usize, &'a Entry), RandomState>::default();
    for known in live {
        let domain = domain_of(&known.entry.host);
        let (count, oldest) = of_domain
            .entry(domain)
            .or_insert_with(|| (usize::from(domain == domain_of(new)), *known));
        *count += 1;
        if known.age() < oldest.age() {
            *oldest = *known;
        }
    }
    let fullest =
        of_domain
            .into_iter()
            .max_by(|(_, (count, oldest)), (_, (other_count, other))| {
                let by_count = count.cmp(other_count);
                by_count.then_with(|| other.age().cmp(&oldest.age()))
            });
    let Some((domain, _)) = fullest else {
        return Vec::new();
    };
    let of_fullest = live.iter().copied();
    of_fullest
        .filter(|known| domain_of(&known.entry.host) == domain)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::timestamp::at;
    use crate::policy::{PinSet, SpkiFingerprint};
    use crate::store::entries::sorted;

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

    /// Returns the last labels of the host.
    fn last(labels: usize, host: &Host) -> String {
        let all = host.as_str().split('.').collect::<Vec<_>>();
        all[all.len().saturating_sub(labels)..].join(".")
    }

    /// Returns those of the domain of so many labels that has most of them, with the new host.
    fn of_fullest(
        labels: usize,
        left: &[Arc<KnownPinnedHost>],
        host: &Host,
    ) -> Vec<Arc<KnownPinnedHost>> {
        let count = |of: &Host| {
            let is_same = |other: &Host| last(labels, other) == last(labels, of);
            let others = left.iter().filter(|known| is_same(&known.host)).count();
            others + usize::from(is_same(host))
        };
        let most = left.iter().map(|known| count(&known.host)).max().unwrap();
        let fullest = left.iter().filter(|known| count(&known.host) == most);
        let oldest = fullest.min_by_key(|known| age(known)).unwrap();
        let is_of_fullest =
            |known: &&Arc<KnownPinnedHost>| last(labels, &known.host) == last(labels, &oldest.host);
        left.iter().filter(is_of_fullest).cloned().collect()
    }

    fn age(known: &KnownPinnedHost) -> impl Ord + use<> {
        (known.seen_since, known.noted_at, known.host.clone())
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

            let mut left = all;
            left.retain(|known| known.host != host);
            let is_room_left = |left: usize| left < capacity;
            let mut expected = Vec::new();
            if !is_room_left(left.len()) {
                let of_first_seen = |known: &&Arc<KnownPinnedHost>| {
                    known.is_expired(at(NOW)) && !known.is_confirmed()
                };
                expected = left.iter().filter(of_first_seen).cloned().collect();
            }
            let others = left.len();
            let mut expired = left.clone();
            expired.retain(|known| known.is_expired(at(NOW)) && known.is_confirmed());
            left.retain(|known| !known.is_expired(at(NOW)) && !known.is_confirmed());
            for _ in 0..2 {
                if left.len() < (capacity / 4).max(1) {
                    break;
                }
                let fullest = of_fullest(3, &of_fullest(2, &left, &host), &host);
                let oldest = fullest.into_iter().min_by_key(|known| age(known)).unwrap();
                left.retain(|known| *known != oldest);
                expected.push(oldest);
            }
            for _ in 0..2 {
                let first = expired.iter().min_by_key(|known| (known.expires_at, known.host.clone()));
                if let Some(first) = first.cloned()
                    && !is_room_left(others - expected.len())
                {
                    expired.retain(|known| *known != first);
                    expected.push(first);
                }
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
            let siblings = |labels| {
                let is_same = |known: &&Arc<KnownPinnedHost>| last(labels, &known.host) == last(labels, &host);
                confirmed.iter().filter(is_same).count()
            };
            let expected = siblings(2) < (capacity / 16).max(1)
                && siblings(3) < (capacity / 32).max(1)
                && confirmed.len() + (capacity / 4).max(1) < capacity;
            prop_assert_eq!(can_confirm, expected);
        }
    }
}
