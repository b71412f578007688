//! Known HSTS hosts in a [`PinStore`]: lookup, and changes within the limits of the store.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::hsts::{HstsIgnored, HstsNoted, KnownHstsHost};
use crate::policy::{Host, HostMatch, IntoUnixTime};
use crate::store::eviction::Shares;
use crate::store::noted::{MAX_TIME, MIN_TIME};
use crate::store::pin_store::PinStore;
use crate::store::queue::Urgency;

impl PinStore {
    /// Returns all known HSTS hosts, including expired ones, sorted by name.
    #[must_use]
    pub fn hsts_hosts(&self) -> Vec<Arc<KnownHstsHost>> {
        self.tables().hsts.list()
    }

    /// Returns the entry by which `host` is a known HSTS host at `now`: its own, or else that of the
    /// nearest superdomain that includes subdomains (RFC 6797 section 8.2). Expired entries hide no
    /// other one.
    #[must_use]
    pub fn query_hsts(
        &self,
        host: &Host,
        now: impl IntoUnixTime,
    ) -> Option<(HostMatch, Arc<KnownHstsHost>)> {
        let now = now.into_unix_time();
        let applies = |known: &KnownHstsHost| {
            !known.is_expired(now) && (known.includes_subdomains || known.host == *host)
        };
        let known = self.tables().hsts.find(host, applies)?;
        let matched = if known.host == *host {
            HostMatch::Congruent
        } else {
            HostMatch::Superdomain
        };
        Some((matched, known))
    }

    /// Removes the HSTS entry of exactly this host and returns it. Entries of superdomains are kept.
    pub fn forget_hsts(&self, host: &Host) -> Option<Arc<KnownHstsHost>> {
        let known = self.tables().hsts.remove(host, MAX_TIME, self.is_stored());
        self.hsts_changed();
        known
    }

    /// Removes the HSTS entries that were noted at `time` or later.
    pub(crate) fn clear_hsts_since(&self, time: UnixTime) {
        if self.tables().hsts.clear_since(time, self.is_stored()) {
            self.hsts_changed();
        } else {
            self.store_tables(Urgency::Now);
        }
    }

    /// Adds an entry, or replaces the one of the same host. Call it in [`note`](Self::note).
    pub(crate) fn insert_hsts(&self, mut entry: KnownHstsHost) -> HstsNoted {
        let shares = Shares::of(self.limits.capacity);
        if shares.capacity == 0 {
            return HstsNoted::Ignored(HstsIgnored::StoreFull);
        }
        let (table, now) = (&self.tables().hsts, entry.noted_at);
        let known = table.get(&entry.host);
        let replaces = known.as_ref().map_or(MIN_TIME, |known| known.noted_at);
        let live = known.filter(|known| !known.is_expired(now));
        let Some(live) = live else {
            for evicted in self.hsts_to_evict(&entry.host, shares, now) {
                table.remove(&evicted.host, evicted.noted_at, self.is_stored());
            }
            table.put(entry, replaces, self.is_stored());
            self.hsts_changed();
            return HstsNoted::Added;
        };
        entry.seen_since = live.seen_since.min(now);
        if entry.is_confirmed()
            && !live.is_confirmed()
            && !self.can_confirm_hsts(&entry.host, shares, now)
        {
            entry.seen_since = now;
        }
        let lifetime = |known: &KnownHstsHost| {
            known
                .expires_at
                .as_secs()
                .saturating_sub(known.noted_at.as_secs())
        };
        let is_refresh = live.includes_subdomains == entry.includes_subdomains
            && lifetime(&live) == lifetime(&entry)
            && live.expires_at <= entry.expires_at;
        // Nearly every response has the field.
        if is_refresh && live.noted_at == now && live.seen_since == entry.seen_since {
            return HstsNoted::Refreshed;
        }
        table.put(entry, replaces, self.is_stored());
        if is_refresh {
            self.store_tables(Urgency::Later);
        } else {
            self.hsts_changed();
        }
        HstsNoted::Refreshed
    }

    /// Removes the entry of exactly this host because of a field that was received at `now`. Call it in
    /// [`note`](Self::note).
    pub(crate) fn withdraw_hsts(&self, host: &Host, now: UnixTime) -> HstsNoted {
        let known = self.tables().hsts.get(host);
        let Some(known) = known.filter(|known| !known.is_expired(now)) else {
            return HstsNoted::Ignored(HstsIgnored::NotKnown);
        };
        self.tables()
            .hsts
            .remove(host, known.noted_at, self.is_stored());
        self.hsts_changed();
        HstsNoted::Removed
    }

    /// Lets a change be stored without delay, and evaluates open plain connections again.
    fn hsts_changed(&self) {
        self.store_tables(Urgency::Now);
        self.memory.generation.advance();
        self.memory.generation.wake();
    }

    /// Returns the entries to evict before a new host is added: first-seen ones share a quarter of the
    /// capacity, in which the domain with most of them loses its oldest. Confirmed ones are evicted
    /// only after their expiry.
    fn hsts_to_evict(&self, host: &Host, shares: Shares, now: UnixTime) -> Vec<Arc<KnownHstsHost>> {
        let mut others = self.hsts_hosts();
        others.retain(|known| known.host != *host);
        let (mut evicted, len) = (Vec::new(), others.len());
        if len >= shares.capacity {
            let mut expired = others.clone();
            expired.retain(|known| known.is_expired(now));
            expired.sort_by_key(|known| (known.is_confirmed(), known.expires_at));
            evicted.extend(expired.into_iter().take(len + 1 - shares.capacity));
        }
        others.retain(|known| !known.is_confirmed() && !known.is_expired(now));
        if others.len() >= shares.first_seen {
            let domain =
                |known: &KnownHstsHost| self.limits.domains.domain_of(&known.host).to_owned();
            let own = self.limits.domains.domain_of(host);
            let count = |of: &str| {
                let same = others.iter().filter(|known| domain(known) == of).count();
                same + usize::from(own == of)
            };
            let oldest = others.iter().max_by_key(|known| {
                (
                    count(&domain(known)),
                    std::cmp::Reverse((known.seen_since, known.noted_at)),
                )
            });
            evicted.extend(oldest.cloned());
        }
        evicted
    }

    /// Returns whether neither the confirmed entries have their share nor the domain has its.
    fn can_confirm_hsts(&self, host: &Host, shares: Shares, now: UnixTime) -> bool {
        let domains = &self.limits.domains;
        let mut confirmed = self.hsts_hosts();
        confirmed
            .retain(|known| known.host != *host && known.is_confirmed() && !known.is_expired(now));
        let all = confirmed.len();
        confirmed.retain(|known| domains.domain_of(&known.host) == domains.domain_of(host));
        all < shares.confirmed() && confirmed.len() < shares.of_domain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::timestamp::at;

    const DAY: u64 = 24 * 60 * 60;

    fn note(store: &PinStore, host: &str, now: u64) -> HstsNoted {
        store.note(|| {
            store.insert_hsts(KnownHstsHost {
                host: Host::parse(host).unwrap(),
                includes_subdomains: false,
                seen_since: at(now),
                noted_at: at(now),
                expires_at: at(now + 30 * DAY),
            })
        })
    }

    fn names(store: &PinStore) -> Vec<String> {
        let name = |known: &Arc<KnownHstsHost>| {
            let confirmed = if known.is_confirmed() { "!" } else { "" };
            format!("{}{confirmed}", known.host)
        };
        store.hsts_hosts().iter().map(name).collect()
    }

    #[test]
    fn first_seen_entries_evict_each_other_and_no_confirmed_one() {
        let store = PinStore::builder().capacity(8).in_memory();
        note(&store, "a.com", 0);
        note(&store, "a.com", DAY);
        for seconds in 0..6 {
            note(&store, &format!("n{seconds}.evil.com"), DAY + seconds);
        }
        note(&store, "b.com", DAY + 6);
        note(&store, "c.com", DAY + 7);
        assert_eq!(names(&store), ["a.com!", "b.com", "c.com"]);
        note(&store, "n9.evil.com", DAY + 8);
        assert_eq!(names(&store), ["a.com!", "c.com", "n9.evil.com"]);
    }

    #[test]
    fn an_entry_beyond_the_share_of_its_domain_stays_first_seen() {
        let store = PinStore::builder().capacity(8).in_memory();
        for host in ["a.evil.com", "b.evil.com"] {
            note(&store, host, 0);
            note(&store, host, DAY);
        }
        assert_eq!(names(&store), ["a.evil.com!", "b.evil.com"]);
    }

    #[test]
    fn clearing_removes_what_was_noted_since_and_forgetting_one_host() {
        let store = PinStore::in_memory();
        for (host, now) in [("a.com", 1), ("b.com", 2), ("c.com", 3)] {
            assert_eq!(note(&store, host, now), HstsNoted::Added);
        }
        store.clear_since(at(3));
        assert_eq!(names(&store), ["a.com", "b.com"]);
        store.forget(&Host::parse("a.com").unwrap());
        assert_eq!(names(&store), ["a.com", "b.com"]);
        assert!(store.forget_hsts(&Host::parse("a.com").unwrap()).is_some());
        assert_eq!(names(&store), ["b.com"]);
        store.clear();
        assert!(names(&store).is_empty());
    }

    #[test]
    fn with_a_capacity_of_zero_no_host_is_noted() {
        let store = PinStore::builder().capacity(0).in_memory();
        assert_eq!(
            note(&store, "a.com", 0),
            HstsNoted::Ignored(HstsIgnored::StoreFull)
        );
    }
}
