//! [`PinStore`], the handle to the noted pins, with lookups and removals of entries.
//!
//! A lookup searches in memory and never waits for a storage.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock, RwLockUpgradableReadGuard};
use rustls_pki_types::UnixTime;

use crate::policy::{Host, HostMatch, IntoUnixTime, KnownPinnedHost};
use crate::store::domains::Domains;
use crate::store::durable::{CLOSING_TIMEOUT, DurableFuture};
use crate::store::entries::{Entries, sorted};
use crate::store::error::StorageError;
use crate::store::generation::Generation;
#[cfg(feature = "health")]
use crate::store::health_book::HealthBook;
#[cfg(any(feature = "first-use", feature = "hsts"))]
use crate::store::host_tables::HostTables;
use crate::store::noted::{HostChange, MAX_TIME, MIN_TIME, NotedChange};
use crate::store::observed_clock::{ObservedClock, is_in_future};
#[cfg(feature = "bundles")]
use crate::store::other_records::OtherRecords;
use crate::store::queue::{StorageErrorListener, Urgency, WriterSettings};
use crate::store::storage::Storage;
use crate::store::writer::{Memory, Writer};

/// The noted pins: the known pinned hosts, whose servers sent pins by header (RFC 7469 section
/// 2.3). Cheap to clone; clones share entries and settings.
///
/// A store is in memory only, or persistent with a [`Storage`]:
///
/// ```
/// use pinhold::{FileStorage, PinStore, Pinning};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("noted-pins.jsonl");
/// let (store, error) = PinStore::builder()
///     .on_error(|error| eprintln!("{error}"))
///     .open_or_recover(FileStorage::new(path));
/// if let Some(error) = error {
///     eprintln!("{error}"); // what is wrong, what was recovered, what to do
/// }
/// let pinning = Pinning::builder().store(store.clone()).build()?;
/// assert!(store.list().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When changes are durable
///
/// A change takes effect in memory at once. One thread writes it to the storage, together with
/// those that are made in the meantime:
///
/// - An entry that is added, changed or removed is written without delay. Before
///   [`NotePins`](crate::layer::NotePins) returns the response that carried the header, it waits
///   until the change is durable, for at most 2 s by default.
/// - A refresh, which changes only the times of an entry, is written within the
///   [`refresh_delay`](crate::storage::PinStoreBuilder::refresh_delay). Where a header changes the
///   `max-age` alone, and another change of the host was written without delay in the same second,
///   it is written within one second, and no response waits for it.
/// - [`flush`](Self::flush), [`durable`](Self::durable) and dropping the last clone write
///   everything without delay. Dropping waits for at most 2 s.
///
/// If writing fails, the changes are kept in memory, and the error is passed to
/// [`on_error`](crate::storage::PinStoreBuilder::on_error). Writing is tried again with the next
/// change and after a backoff of 100 ms, which doubles up to one minute.
///
/// # What servers can make a store keep
///
/// An entry is *first-seen* until a header of its host is received at least 24 hours after its first
/// one, and *confirmed* from then on
/// ([`is_confirmed`](crate::policy::KnownPinnedHost::is_confirmed)). A confirmed entry is never
/// evicted before it expires. First-seen ones share a quarter of the
/// [`capacity`](crate::storage::PinStoreBuilder::capacity): when a new host needs room, the oldest
/// entry of the domain that has most of them is evicted. A domain may have a sixteenth of the
/// capacity in confirmed entries, half of it below one more label; an entry beyond a share stays
/// first-seen.
///
/// So a server with many names under one domain evicts its own entries. One with names under
/// hundreds of domains can evict first-seen entries of other hosts, which are then as unprotected
/// as before their first visit, and by responding on two days it can keep others from being
/// confirmed. It can't evict a confirmed entry, and it can't keep a host from being noted.
#[derive(Clone)]
pub struct PinStore {
    pub(crate) memory: Arc<Memory>,
    pub(super) writer: Option<Arc<Writer>>,
    pub(crate) limits: Limits,
}

/// The limits of what servers can make a store keep.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_age_cap: Duration,
    pub(crate) capacity: usize,
    pub(crate) domains: Domains,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_age_cap: PinStore::MAX_AGE_CAP,
            capacity: PinStore::CAPACITY,
            domains: Domains::default(),
        }
    }
}

impl PinStore {
    /// The default [`max_age_cap`](crate::storage::PinStoreBuilder::max_age_cap): 60 days, the
    /// balance that RFC 7469 section 4.1 suggests.
    pub const MAX_AGE_CAP: Duration = Duration::from_secs(60 * 24 * 60 * 60);

    /// The default [`capacity`](crate::storage::PinStoreBuilder::capacity): 1024 hosts, as Firefox
    /// had. An application connects to far fewer; the limit bounds what hostile servers can add.
    pub const CAPACITY: usize = 1024;

    /// Returns the entry that applies to `host` at `now`, and whether it is that of the host itself
    /// or of a superdomain (RFC 7469 section 2.3.3).
    ///
    /// ```
    /// use std::time::SystemTime;
    ///
    /// use pinhold::{Host, PinStore};
    ///
    /// let store = PinStore::in_memory();
    /// let host = Host::parse("www.example.com")?;
    /// assert!(store.query(&host, SystemTime::now()).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn query(
        &self,
        host: &Host,
        now: impl IntoUnixTime,
    ) -> Option<(HostMatch, Arc<KnownPinnedHost>)> {
        let now = now.into_unix_time();
        let is_expired = |entry: &_, since| self.memory.clock.is_expired(entry, since, now);
        self.memory.entries.read().query(host, is_expired)
    }

    /// Returns all entries, including expired ones, sorted by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<KnownPinnedHost>> {
        let list = self.memory.entries.upgradable_read().collect();
        sorted(list)
    }

    /// Removes the entry of exactly this host and returns it. Entries of superdomains are kept.
    ///
    /// ```
    /// use pinhold::{Host, PinStore};
    ///
    /// let store = PinStore::in_memory();
    /// assert_eq!(store.forget(&Host::parse("example.com")?), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forget(&self, host: &Host) -> Option<Arc<KnownPinnedHost>> {
        let mut known = None;
        self.change(|entries| {
            known = entries.remove(host);
            // Recorded even if nothing was removed: another process may have stored an entry.
            self.record(|| removed(host, MAX_TIME), Urgency::Now);
            // The entry of a superdomain may apply now.
            EarlierVerdicts::MayChange
        });
        known
    }

    /// Removes all entries.
    pub fn clear(&self) {
        self.clear_since(MIN_TIME);
    }

    /// Removes all entries that were noted, or last refreshed, at `time` or later.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use pinhold::PinStore;
    ///
    /// let store = PinStore::in_memory();
    /// // "Clear the data of the last hour":
    /// store.clear_since(SystemTime::now() - Duration::from_secs(60 * 60));
    /// ```
    pub fn clear_since(&self, time: impl IntoUnixTime) {
        let time = time.into_unix_time();
        #[cfg(feature = "hsts")]
        self.clear_hsts_since(time);
        self.change(|entries| {
            entries.take_if(|known| known.noted_at >= time);
            // Recorded even if nothing was removed: another process may have stored such entries.
            self.record(|| NotedChange::ClearedSince(time), Urgency::Now);
            EarlierVerdicts::MayChange
        });
        #[cfg(feature = "first-use")]
        self.forget_remembered_since(time);
    }

    /// Starts to write all changes made so far, without delay. The returned future resolves once
    /// they are durable, or with the error of the first attempt; more attempts follow.
    pub fn durable(&self) -> DurableFuture {
        match &self.writer {
            Some(writer) => writer.write_now(),
            None => DurableFuture::ready(),
        }
    }

    /// Blocks until all changes made so far are durable. In asynchronous code, await
    /// [`durable`](Self::durable) instead.
    ///
    /// # Errors
    ///
    /// The error of the first attempt, if it failed. The changes are kept in memory and written
    /// later.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.durable().wait()
    }

    pub(crate) fn with_entries(entries: Vec<KnownPinnedHost>, limits: Limits) -> Self {
        let memory = Memory {
            noting: Mutex::default(),
            clock: ObservedClock::new(limits.max_age_cap, &entries),
            entries: RwLock::new(entries.into_iter().map(Arc::new).collect()),
            generation: Arc::default(),
            #[cfg(feature = "bundles")]
            others: OtherRecords::default(),
            #[cfg(feature = "health")]
            health: HealthBook::default(),
            #[cfg(any(feature = "first-use", feature = "hsts"))]
            tables: HostTables::default(),
        };
        Self {
            memory: Arc::new(memory),
            writer: None,
            limits,
        }
    }

    /// Starts the thread that commits all later changes to the storage.
    pub(crate) fn start_writer(
        self,
        storage: impl Storage,
        settings: WriterSettings,
    ) -> Result<Self, StorageError> {
        let writer = Writer::start(storage, Arc::clone(&self.memory), settings)?;
        Ok(Self {
            writer: Some(Arc::new(writer)),
            ..self
        })
    }

    /// Adds a listener for storage errors beside
    /// [`on_error`](crate::storage::PinStoreBuilder::on_error).
    pub(crate) fn watch(&self, listener: Weak<dyn StorageErrorListener>) {
        if let Some(writer) = &self.writer {
            writer.watch(listener);
        }
    }

    /// Returns a future that resolves once every change so far that must be written without delay
    /// is durable; `None` if all of them are durable already.
    pub(crate) fn urgent(&self) -> Option<DurableFuture> {
        self.writer.as_ref()?.urgent()
    }

    /// Returns whether the entry of exactly this host was noted, or last refreshed, at `time`.
    #[cfg(feature = "hyper")]
    pub(crate) fn is_noted_at(&self, host: &Host, time: UnixTime) -> bool {
        let entries = self.memory.entries.read();
        entries
            .get(host)
            .is_some_and(|known| known.noted_at == time)
    }

    /// Writes all changes made so far, and blocks for at most 2 s, as dropping the last handle does.
    /// Emits an error if they are not durable then.
    pub(crate) fn flush_at_close(&self) {
        if !self.durable().wait_with_timeout() {
            self.emit_slow(CLOSING_TIMEOUT);
        }
    }

    /// Reports that a wait for the storage has timed out after `waited`.
    pub(crate) fn emit_slow(&self, waited: Duration) {
        if let Some(writer) = &self.writer {
            writer.emit(&StorageError::Slow { waited });
        }
    }

    /// Returns the counter of changes of these pins and of the static pins used with them.
    pub(crate) fn generation(&self) -> &Arc<Generation> {
        &self.memory.generation
    }

    /// Returns the times at which the entries of the host and of its superdomains expire, for a
    /// check at `now`.
    pub(crate) fn expiry_times(&self, host: &Host, now: UnixTime) -> Vec<UnixTime> {
        self.memory.generation.record_check(now);
        self.change_times(host, now)
    }

    /// As [`expiry_times`](Self::expiry_times), for a query: no verdict is made.
    pub(crate) fn change_times(&self, host: &Host, now: UnixTime) -> Vec<UnixTime> {
        let entries = self.memory.entries.read();
        let entries = entries.of_name(host);
        entries
            .flat_map(|(entry, since)| self.memory.clock.changes(entry, since, now))
            .collect()
    }

    /// Returns how many entries were noted more than one day after `now`: the clock was ahead then,
    /// or is behind now.
    pub(crate) fn noted_after(&self, now: UnixTime) -> usize {
        let entries = self.memory.entries.upgradable_read();
        let in_future = entries.iter().filter(|entry| is_in_future(entry, now));
        in_future.count()
    }

    /// Changes the entries, and begins a new generation if the change may affect earlier verdicts.
    fn change(&self, change: impl FnOnce(&mut Entries) -> EarlierVerdicts) {
        let change = |entries: &mut Entries, ()| change(entries);
        if self.change_without_waking(|_| Some(()), change) == EarlierVerdicts::MayChange {
            self.memory.generation.wake();
        }
    }

    /// The same as [`change`](Self::change), but leaves it to the caller to wake connections.
    /// `plan` may search all entries, since lookups continue meanwhile; there is no change without
    /// a plan.
    pub(crate) fn change_without_waking<P>(
        &self,
        plan: impl FnOnce(&Entries) -> Option<P>,
        change: impl FnOnce(&mut Entries, P) -> EarlierVerdicts,
    ) -> EarlierVerdicts {
        let entries = self.memory.entries.upgradable_read();
        let Some(plan) = plan(&entries) else {
            return EarlierVerdicts::Stay;
        };
        let grown = entries.grown();
        let mut entries = RwLockUpgradableReadGuard::upgrade(entries);
        let replaced = grown.map(|grown| std::mem::replace(&mut *entries, grown));
        let verdicts = change(&mut entries, plan);
        if verdicts == EarlierVerdicts::MayChange {
            self.memory.generation.advance();
        }
        drop(entries);
        // Dropped without the lock, since that takes long.
        drop(replaced);
        verdicts
    }

    /// Queues a change for the storage. Call it with the entries locked for writing.
    pub(crate) fn record(&self, change: impl FnOnce() -> NotedChange, urgency: Urgency) {
        if let Some(writer) = &self.writer {
            writer.record(change(), urgency);
        }
    }
}

impl fmt::Debug for PinStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinStore")
            .field("hosts", &self.memory.entries.read().len())
            .field("is_stored", &self.writer.is_some())
            .field("max_age_cap", &self.limits.max_age_cap)
            .field("capacity", &self.limits.capacity)
            .field("domains", &self.limits.domains)
            .finish()
    }
}

/// Whether a change may affect the verdicts on connections that were checked before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EarlierVerdicts {
    MayChange,
    Stay,
}

/// Returns the change that removes the entry of exactly this host.
pub(crate) fn removed(host: &Host, noted_until: UnixTime) -> NotedChange {
    let change = HostChange {
        entry: None,
        replaces: noted_until,
        is_replacement: false,
    };
    NotedChange::OfHost(host.clone(), change)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::timestamp::at;
    use crate::policy::{PinSet, SpkiFingerprint};

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

    fn found(store: &PinStore, host: &str, now: u64) -> Option<(HostMatch, String)> {
        let (matched, entry) = store.query(&Host::parse(host).unwrap(), at(now))?;
        Some((matched, entry.host.to_string()))
    }

    #[test]
    fn the_host_itself_comes_before_the_nearest_superdomain_with_the_flag() {
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
        // D-01: an entry without the flag does not hide that of its superdomain.
        assert_eq!(
            found(&store, "a.b.example.com", 0),
            superdomain("example.com")
        );
        assert_eq!(found(&store, "notexample.com", 0), None);
        assert_eq!(found(&store, "com", 0), None);
    }

    #[test]
    fn an_expired_entry_does_not_apply_but_is_kept() {
        let store = PinStore::in_memory();
        store.insert(entry("example.com", true, 20));
        store.insert(entry("www.example.com", false, 10));
        let congruent = Some((HostMatch::Congruent, "www.example.com".to_owned()));
        assert_eq!(found(&store, "www.example.com", 10), congruent);
        let superdomain = Some((HostMatch::Superdomain, "example.com".to_owned()));
        assert_eq!(found(&store, "www.example.com", 11), superdomain);
        // D-20: the clock was set forward and back, and no entry is lost.
        assert_eq!(found(&store, "www.example.com", 10), congruent);
    }

    /// The rule of the RFC, applied to every entry.
    fn expected_host(entries: &[KnownPinnedHost], host: &Host, now: UnixTime) -> Option<Host> {
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
        fn a_lookup_finds_the_entry_that_a_search_of_all_entries_finds(
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
            prop_assert_eq!(answer, expected_host(&entries, &host, at(now)));
        }
    }
}
