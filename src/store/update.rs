//! Changes of a store by response headers: insertion and refresh of entries within its limits.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::policy::{Host, KnownPinnedHost};
use crate::store::observed_clock::{EARLIEST_TIME, is_in_future};
use crate::store::pin_store::{EarlierVerdicts, MIN_TIME, PinStore, removed};
use crate::store::storage::Change;
use crate::store::writer::Urgency;

/// The effect of inserting an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Added,
    Changed,
    /// The domain has its share of the store already.
    DomainFull,
    /// The entry of the host was noted later, by another process.
    NotLatest,
    /// The entry is as before, with later times.
    Refreshed,
    StoreFull,
}

impl PinStore {
    /// Evaluates a header and lets it take effect. The noting of other headers is locked, so that
    /// the entries that the header is evaluated with still apply. Lookups don't wait for this lock.
    pub(crate) fn note<T>(&self, note: impl FnOnce() -> T) -> T {
        let generation = self.generation.number();
        let one_at_a_time = self.noting.lock();
        let noted = note();
        drop(one_at_a_time);
        // Without the lock, since wakers are code of the runtime.
        if self.generation.number() != generation {
            self.generation.wake();
        }
        noted
    }

    /// Returns `max_age`, limited to the maximum of this store.
    pub(crate) fn cap(&self, max_age: Duration) -> Duration {
        max_age.min(self.limits.max_age_cap)
    }

    /// Adds the entry, or replaces the one of the same host as a whole. Call it in
    /// [`note`](Self::note), which wakes connections.
    pub(crate) fn insert(&self, entry: KnownPinnedHost) -> Inserted {
        let (now, capacity) = (entry.noted_at, self.limits.capacity);
        self.clock.observe(now);
        // Checked before the change, since it may search all entries: lookups continue meanwhile.
        if !self
            .entries
            .upgradable_read()
            .domain_has_room(&entry.host, capacity, now)
        {
            return Inserted::DomainFull;
        }
        let entry = Arc::new(entry);
        let mut inserted = Inserted::StoreFull;
        self.change_without_waking(|entries| {
            let mut entry = entry;
            let Some(known) = entries.get(&entry.host).map(Arc::clone) else {
                let Some(evicted) = entries.add(Arc::clone(&entry), capacity) else {
                    return EarlierVerdicts::Stay;
                };
                for known in evicted {
                    self.record(|| removed(&known.host, known.noted_at), Urgency::Later);
                }
                inserted = Inserted::Added;
                self.record_noted(&entry, MIN_TIME, Urgency::Now);
                return EarlierVerdicts::MayChange;
            };
            // A clock that is surely wrong must not end what was noted by a right one.
            if now.as_secs() < EARLIEST_TIME && is_in_future(&known, now) {
                entry = Arc::new(entry.as_noted_at(known.noted_at));
            }
            if !self.clock.replaces(known.noted_at, entry.noted_at) {
                inserted = Inserted::NotLatest;
                return EarlierVerdicts::Stay;
            }
            inserted = if known.is_expired(now) {
                Inserted::Added
            } else if known.is_refreshed_by(&entry) {
                Inserted::Refreshed
            } else {
                Inserted::Changed
            };
            let was_urgent = entries.was_urgent(&entry.host, now.as_secs());
            let urgency = urgency(inserted, &known, &entry, was_urgent);
            if urgency == Urgency::Now {
                entries.put_urgent(Arc::clone(&entry), now.as_secs());
            } else {
                entries.put_delayed(Arc::clone(&entry));
            }
            self.record_noted(&entry, known.noted_at, urgency);
            // A refresh to a later expiry affects no verdict, unless a check with a clock ahead of
            // this header's has found the entry expired.
            if inserted == Inserted::Refreshed
                && known.expires_at <= entry.expires_at
                && !self.generation.was_checked_after(known.expires_at)
            {
                EarlierVerdicts::Stay
            } else {
                EarlierVerdicts::MayChange
            }
        });
        inserted
    }

    /// Removes the entry of exactly this host because of a header that was received at `now`.
    /// Returns `false` if the entry was noted later, by another process. Call it in
    /// [`note`](Self::note), which wakes connections.
    pub(crate) fn withdraw(&self, host: &Host, now: UnixTime) -> bool {
        self.clock.observe(now);
        let mut is_latest = true;
        self.change_without_waking(|entries| {
            let known = entries.get(host).map(|known| known.noted_at);
            is_latest = known.is_none_or(|noted_at| self.clock.replaces(noted_at, now));
            if !is_latest {
                return EarlierVerdicts::Stay;
            }
            entries.remove(host);
            // The clock may have been set back since the entry was noted.
            let noted_until = known.map_or(now, |noted_at| noted_at.max(now));
            // Recorded even if nothing was removed: another process may have stored an entry.
            self.record(|| removed(host, noted_until), Urgency::Now);
            // The entry of a superdomain may apply now.
            EarlierVerdicts::MayChange
        });
        is_latest
    }

    /// Queues an entry for the storage. Call it with the entries locked for writing.
    fn record_noted(&self, entry: &Arc<KnownPinnedHost>, replaces: UnixTime, urgency: Urgency) {
        let entry = Arc::clone(entry);
        let change = match urgency {
            // What differs in its times only must not undo a removal by another process.
            Urgency::Later | Urgency::Soon => Change::Refreshed { entry, replaces },
            Urgency::Now => Change::Noted { entry, replaces },
        };
        self.record(|| change, urgency);
    }
}

/// Returns whether a crash may lose an entry that replaces a known one. `was_urgent`: another
/// change of the host was written without delay in the same second.
fn urgency(
    inserted: Inserted,
    known: &KnownPinnedHost,
    entry: &KnownPinnedHost,
    was_urgent: bool,
) -> Urgency {
    match inserted {
        Inserted::Refreshed => Urgency::Later,
        // A server could otherwise alternate its `max-age`, and every response would wait for a
        // synchronised write.
        Inserted::Changed if was_urgent && known.differs_in_times_only(entry) => Urgency::Soon,
        _ => Urgency::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::timestamp::at;
    use crate::policy::{PinSet, SpkiFingerprint};

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

    #[test]
    fn a_full_store_refuses_new_hosts_and_keeps_live_ones() {
        let store = PinStore::builder().capacity(2).in_memory();
        assert_eq!(store.insert(entry("a.com", false, 10)), Inserted::Added);
        assert_eq!(store.insert(entry("b.com", false, 10)), Inserted::Added);
        assert_eq!(store.insert(entry("c.com", false, 10)), Inserted::StoreFull);
        assert_eq!(store.insert(entry("b.com", true, 10)), Inserted::Changed);
        assert_eq!(store.insert(entry("b.com", true, 10)), Inserted::Refreshed);
        let later = KnownPinnedHost {
            noted_at: at(11),
            ..entry("c.com", false, 20)
        };
        assert_eq!(store.insert(later), Inserted::Added);
        assert_eq!(store.list().len(), 1);
    }

    #[test]
    fn one_domain_gets_at_most_its_share_of_the_store() {
        let store = PinStore::builder().capacity(32).in_memory();
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
    fn renewed_expired_entries_get_at_most_the_share_of_their_domain() {
        let store = PinStore::builder().capacity(32).in_memory();
        let noted = |label: u64, now: u64| KnownPinnedHost {
            noted_at: at(now),
            ..entry(&format!("n{label}.evil.com"), false, now + 1)
        };
        // Two at a time, each pair after the one before has expired.
        for label in 0..8 {
            let now = 10 * (label / 2);
            assert_eq!(store.insert(noted(label, now)), Inserted::Added);
        }
        let renewed = (0..8).map(|label| store.insert(noted(label, 100)));
        let added = renewed.filter(|inserted| *inserted == Inserted::Added);
        assert_eq!(added.count(), 2);
    }

    /// A waker that records whether a lock of the store is held when it is called.
    #[cfg(feature = "hyper")]
    struct Probe(PinStore, parking_lot::Mutex<Vec<bool>>);

    #[cfg(feature = "hyper")]
    impl std::task::Wake for Probe {
        fn wake(self: Arc<Self>) {
            let is_free =
                self.0.noting.try_lock().is_some() && self.0.entries.try_write().is_some();
            self.1.lock().push(is_free);
        }
    }

    #[cfg(feature = "hyper")]
    #[test]
    fn connections_are_woken_while_no_lock_is_held() {
        let store = PinStore::in_memory();
        let probe = Arc::new(Probe(store.clone(), parking_lot::Mutex::default()));
        let mut watch = crate::store::GenerationWatch::new(store.generation());
        let waker = std::task::Waker::from(Arc::clone(&probe));
        watch.register(&std::task::Context::from_waker(&waker));
        store.note(|| store.insert(entry("a.com", false, 10)));
        store.note(|| store.withdraw(&Host::parse("a.com").unwrap(), at(0)));
        store.clear();
        assert_eq!(*probe.1.lock(), [true; 3]);
    }
}
