//! Changes of a store by response headers: insertion and refresh of entries within its limits.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::policy::{Host, KnownPinnedHost};
use crate::store::entries::Entries;
use crate::store::eviction::Shares;
use crate::store::noted::{HostChange, MIN_TIME, NotedChange};
use crate::store::observed_clock::{EARLIEST_TIME, is_in_future};
use crate::store::pin_store::{EarlierVerdicts, PinStore, removed};
use crate::store::queue::Urgency;

/// The effect of inserting an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Added,
    Changed,
    /// The entry of the host was noted later, by another process.
    NotLatest,
    /// The entry is as before, with later times.
    Refreshed,
    /// The capacity is zero.
    StoreFull,
}

/// What inserting an entry changes.
struct Plan {
    entry: Arc<KnownPinnedHost>,
    /// The entry that is replaced, expired or not.
    known: Option<Arc<KnownPinnedHost>>,
    evicted: Vec<Arc<KnownPinnedHost>>,
    inserted: Inserted,
    urgency: Urgency,
}

impl PinStore {
    /// Evaluates a header and lets it take effect. The noting of other headers is locked, so that
    /// the entries that the header is evaluated with still apply. Lookups don't wait for this lock.
    pub(crate) fn note<T>(&self, note: impl FnOnce() -> T) -> T {
        let generation = self.memory.generation.number();
        let one_at_a_time = self.memory.noting.lock();
        let noted = note();
        drop(one_at_a_time);
        // Without the lock, since wakers are code of the runtime.
        if self.memory.generation.number() != generation {
            self.memory.generation.wake();
        }
        noted
    }

    /// Returns `max_age`, limited to the maximum of this store.
    pub(crate) fn cap(&self, max_age: Duration) -> Duration {
        max_age.min(self.limits.max_age_cap)
    }

    /// Returns whether the host is a public suffix, as far as a list is at hand.
    pub(crate) fn is_public_suffix(&self, host: &Host) -> bool {
        self.limits.domains.is_public_suffix(host)
    }

    /// Adds the entry, or replaces the one of the same host as a whole. Call it in
    /// [`note`](Self::note), which wakes connections.
    pub(crate) fn insert(&self, entry: KnownPinnedHost) -> Inserted {
        self.memory.clock.observe(entry.noted_at);
        let mut inserted = Inserted::StoreFull;
        let plan = |entries: &Entries| match self.plan(entries, entry) {
            Ok(plan) => {
                inserted = plan.inserted;
                Some(plan)
            }
            Err(ignored) => {
                inserted = ignored;
                None
            }
        };
        self.change_without_waking(plan, |entries, plan| self.carry_out(entries, plan));
        inserted
    }

    fn plan(&self, entries: &Entries, mut entry: KnownPinnedHost) -> Result<Plan, Inserted> {
        let now = entry.noted_at;
        let is_expired =
            |known: &KnownPinnedHost, since| self.memory.clock.is_expired(known, since, now);
        let (shares, domains) = (Shares::of(self.limits.capacity), &self.limits.domains);
        if shares.capacity == 0 {
            return Err(Inserted::StoreFull);
        }
        let known = entries.get_since(&entry.host);
        // A host whose entry has expired counts as new. Otherwise short-lived entries could be
        // renewed all at once.
        let Some((live, since)) = known.filter(|(known, since)| !is_expired(known, *since)) else {
            return Ok(Plan {
                evicted: entries.to_evict(&entry.host, shares, domains, is_expired),
                entry: Arc::new(entry),
                known: known.map(|(known, _)| Arc::clone(known)),
                inserted: Inserted::Added,
                urgency: Urgency::Now,
            });
        };
        entry.seen_since = seen_since(live, now);
        // A clock that is behind must not shorten what was noted by a right one. If it is after the
        // release, and the pins differ, it may as well be right, and the entry's have been ahead.
        if is_in_future(live, now)
            && (now.as_secs() < EARLIEST_TIME || live.differs_in_times_only(&entry))
        {
            entry = entry.as_noted_at(live.noted_at);
            entry.seen_since = live.seen_since;
        }
        if !self.memory.clock.replaces(live, since, entry.noted_at) {
            return Err(Inserted::NotLatest);
        }
        if entry.is_confirmed()
            && !live.is_confirmed()
            && !entries.can_confirm(&entry.host, shares, domains, is_expired)
        {
            entry.seen_since = entry.noted_at;
        }
        let inserted = if live.is_refreshed_by(&entry) {
            Inserted::Refreshed
        } else {
            Inserted::Changed
        };
        let was_urgent = entries.was_urgent(&entry.host, entry.noted_at.as_secs());
        Ok(Plan {
            urgency: urgency(inserted, live, &entry, was_urgent),
            entry: Arc::new(entry),
            known: Some(Arc::clone(live)),
            evicted: Vec::new(),
            inserted,
        })
    }

    fn carry_out(&self, entries: &mut Entries, plan: Plan) -> EarlierVerdicts {
        let entry = Arc::clone(&plan.entry);
        for evicted in &plan.evicted {
            entries.remove(&evicted.host);
            self.record(|| removed(&evicted.host, evicted.noted_at), Urgency::Later);
        }
        if plan.urgency == Urgency::Now {
            entries.put_urgent(Arc::clone(&entry), entry.noted_at.as_secs());
        } else {
            entries.put_delayed(Arc::clone(&entry));
        }
        self.record_noted(&plan);
        // A refresh to a later expiry affects no verdict, unless a check with a clock ahead of this
        // header's has found the entry expired.
        match plan.known {
            Some(known)
                if plan.inserted == Inserted::Refreshed
                    && known.expires_at <= entry.expires_at
                    && !self.memory.generation.was_checked_after(known.expires_at) =>
            {
                EarlierVerdicts::Stay
            }
            _ => EarlierVerdicts::MayChange,
        }
    }

    /// Removes the entry of exactly this host because of a header that was received at `now`.
    /// Returns `false` if the entry was noted later, by another process. Call it in
    /// [`note`](Self::note), which wakes connections.
    pub(crate) fn withdraw(&self, host: &Host, now: UnixTime) -> bool {
        self.memory.clock.observe(now);
        let mut is_latest = true;
        let plan = |entries: &Entries| {
            let known = entries.get_since(host);
            is_latest =
                known.is_none_or(|(known, since)| self.memory.clock.replaces(known, since, now));
            let known = known.map(|(known, _)| known.noted_at);
            known.filter(|_| is_latest)
        };
        self.change_without_waking(plan, |entries, noted_until| {
            entries.remove(host);
            // What another process has noted since stays: the header was not evaluated against it.
            self.record(|| removed(host, noted_until), Urgency::Now);
            // The entry of a superdomain may apply now.
            EarlierVerdicts::MayChange
        });
        is_latest
    }

    /// Queues the planned entry for the storage. Call it with the entries locked for writing.
    fn record_noted(&self, plan: &Plan) {
        let change = HostChange {
            entry: Some(Arc::clone(&plan.entry)),
            replaces: plan.known.as_ref().map_or(MIN_TIME, |known| known.noted_at),
            // It must not undo a removal by another process.
            is_replacement: plan.inserted != Inserted::Added,
        };
        let change = || NotedChange::OfHost(plan.entry.host.clone(), change);
        self.record(change, plan.urgency);
    }
}

/// Returns since when a host has been seen that has a live entry and sends a header at `now`.
fn seen_since(live: &KnownPinnedHost, now: UnixTime) -> UnixTime {
    let earliest = live.seen_since.min(now);
    if live.is_confirmed() {
        // It stays confirmed, also when the clock was set back.
        earliest.min(KnownPinnedHost::confirmed_since(now))
    } else if earliest.as_secs() < EARLIEST_TIME {
        // The clock was wrong, since it was before the release: it may have gone forward by any time.
        now
    } else {
        earliest
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
    use crate::store::change::Change;
    use crate::store::error::StorageError;
    use crate::store::record::Record;
    use crate::store::storage::{Merged, Storage};

    fn entry(host: &str, includes_subdomains: bool, expires_at: u64) -> KnownPinnedHost {
        KnownPinnedHost {
            host: Host::parse(host).unwrap(),
            pins: PinSet::new([SpkiFingerprint::from_digest([1; 32])]).unwrap(),
            includes_subdomains,
            report_uri: None,
            seen_since: at(0),
            noted_at: at(0),
            expires_at: at(expires_at),
        }
    }

    const DAY: u64 = 24 * 60 * 60;
    /// A time after the release, since an earlier one confirms no entry.
    const START: u64 = EARLIEST_TIME + 100 * DAY;

    /// Notes a host `seconds` after [`START`], for 30 days.
    fn note(store: &PinStore, host: &str, seconds: u64) -> Inserted {
        let now = START + seconds;
        store.insert(KnownPinnedHost {
            seen_since: at(now),
            noted_at: at(now),
            ..entry(host, false, now + 30 * DAY)
        })
    }

    fn names(store: &PinStore) -> Vec<String> {
        let list = store.list().into_iter();
        list.map(|known| {
            format!(
                "{}{}",
                known.host,
                if known.is_confirmed() { "!" } else { "" }
            )
        })
        .collect()
    }

    #[test]
    fn a_header_24_hours_after_the_first_confirms_an_entry() {
        let store = PinStore::builder().capacity(32).in_memory();
        for seconds in [0, 1, DAY - 1] {
            note(&store, "a.com", seconds);
            assert_eq!(names(&store), ["a.com"]);
        }
        note(&store, "a.com", DAY);
        assert_eq!(names(&store), ["a.com!"]);
        // The clock is set back.
        note(&store, "a.com", 0);
        assert_eq!(names(&store), ["a.com!"]);
    }

    #[test]
    fn a_clock_before_the_release_confirms_nothing() {
        let store = PinStore::in_memory();
        store.insert(entry("a.com", false, START + DAY));
        for seconds in [0, DAY - 1] {
            note(&store, "a.com", seconds);
            assert_eq!(names(&store), ["a.com"]);
        }
        note(&store, "a.com", DAY);
        assert_eq!(names(&store), ["a.com!"]);
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
    fn an_entry_beyond_a_share_stays_first_seen_and_begins_again() {
        let store = PinStore::builder().capacity(8).in_memory();
        for (host, seconds) in [("a.evil.com", 0), ("b.evil.com", 0)] {
            note(&store, host, seconds);
            note(&store, host, seconds + DAY);
        }
        assert_eq!(names(&store), ["a.evil.com!", "b.evil.com"]);
        // The first one has expired.
        note(&store, "b.evil.com", 2 * DAY);
        store.forget(&Host::parse("a.evil.com").unwrap());
        note(&store, "b.evil.com", 3 * DAY - 1);
        assert_eq!(names(&store), ["b.evil.com"]);
        note(&store, "b.evil.com", 3 * DAY);
        assert_eq!(names(&store), ["b.evil.com!"]);
    }

    #[test]
    fn an_entry_that_was_renewed_after_its_expiry_is_first_seen() {
        let store = PinStore::in_memory();
        note(&store, "a.com", 0);
        note(&store, "a.com", DAY);
        assert_eq!(note(&store, "a.com", 40 * DAY), Inserted::Added);
        assert_eq!(names(&store), ["a.com"]);
    }

    #[test]
    fn with_a_capacity_of_zero_no_host_is_noted() {
        let store = PinStore::builder().capacity(0).in_memory();
        assert_eq!(note(&store, "a.com", 0), Inserted::StoreFull);
        assert!(store.list().is_empty());
    }

    /// A storage into which another process has written an entry before the first commit.
    struct Shared;

    impl Storage for Shared {
        fn load(&mut self) -> Result<Vec<Record>, StorageError> {
            Ok(Vec::new())
        }

        fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
            Ok(Merged::All(vec![Record::from(&entry("a.com", false, 10))]))
        }
    }

    /// Otherwise an impostor's header could replace pins that it was not evaluated against.
    #[test]
    fn no_merge_replaces_the_entries_that_a_header_is_evaluated_with() {
        let store = PinStore::open(Shared).unwrap();
        store.note(|| {
            store.clear();
            assert!(!store.durable().wait_with_timeout());
            assert!(store.list().is_empty());
        });
        store.flush().unwrap();
        assert_eq!(names(&store), ["a.com"]);
    }

    /// A waker that records whether a lock of the store is held when it is called.
    #[cfg(feature = "hyper")]
    struct Probe(PinStore, parking_lot::Mutex<Vec<bool>>);

    #[cfg(feature = "hyper")]
    impl std::task::Wake for Probe {
        fn wake(self: Arc<Self>) {
            let is_free = self.0.memory.noting.try_lock().is_some()
                && self.0.memory.entries.try_write().is_some();
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
