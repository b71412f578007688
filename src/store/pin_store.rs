//! Noted pins in, the entry that applies to a name out: [`PinStore`], the handle on the entries in
//! memory and on what keeps them beyond the process.
//!
//! Lookups are answered from memory and never wait for a storage.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockUpgradableReadGuard};
use rustls_pki_types::UnixTime;

use crate::policy::{Host, HostMatch, KnownPinnedHost};
use crate::store::entries::{Entries, sorted};
use crate::store::generation::Generation;
use crate::store::storage::{Change, Recovered, Storage, StorageError};
use crate::store::worker::contain;
use crate::store::writer::{DurableFuture, StorageErrorListener, Urgency, Writer};

/// The known pinned hosts that servers asked for by header. A cheap handle: clones share entries;
/// cap and capacity belong to the handle.
///
/// In memory only, or with a [`Storage`] beneath that keeps them beyond the process:
///
/// ```
/// use pinhold::{FileStorage, PinStore, Pinning};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("noted-pins.jsonl");
/// let (store, trouble) = PinStore::open_or_recover(FileStorage::new(path));
/// if let Some(error) = trouble {
///     eprintln!("{error}"); // what was wrong, what was saved, what to do
/// }
/// let store = store.on_error(|error| eprintln!("{error}"));
/// let pinning = Pinning::builder().store(store.clone()).build()?;
/// assert!(store.list().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is durable when
///
/// A change is in memory at once. One thread writes it, together with those that come meanwhile:
///
/// - An entry added, changed or removed is written without delay.
///   [`NotePins`](crate::layer::NotePins) waits for it, at most 2 s unless told otherwise, before it hands
///   on the response that carried the header.
/// - A mere refresh, which only moves the expiry, is written within the
///   [`refresh_delay`](Self::refresh_delay).
/// - [`flush`](Self::flush) and [`durable`](Self::durable) have everything written now; so does the
///   drop of the last handle, which waits for at most 2 s.
///
/// Where writing fails, memory keeps the truth, [`on_error`](Self::on_error) is told, and it is
/// tried again after a pause of 100 ms that doubles up to a minute, and with the next change.
#[derive(Clone)]
pub struct PinStore {
    /// Held from the judgement of a header's chain until what it asks for is done.
    noting: Arc<Mutex<()>>,
    /// Whoever looks at all of them, or changes them, locks upgradably, and lookups go on; a plain
    /// lock for writing would have them wait for all that is read before it.
    entries: Arc<RwLock<Entries>>,
    generation: Arc<Generation>,
    writer: Option<Arc<Writer>>,
    /// Whether the entries were loaded and not looked at with a clock yet.
    is_fresh: Arc<AtomicBool>,
    max_age_cap: Duration,
    capacity: usize,
}

impl PinStore {
    /// An empty store that lives as long as its handles: for a private mode, or for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::holding(Vec::new())
    }

    /// Opens a storage that must be sound. Blocks while it is read.
    ///
    /// # Errors
    ///
    /// What [`Storage::load`] says. Pins that were noted are then in no store: prefer
    /// [`open_or_recover`](Self::open_or_recover) where the application goes on all the same.
    pub fn open(mut storage: impl Storage) -> Result<Self, StorageError> {
        let entries = load(&mut storage)?;
        Self::holding(entries).writing_to(storage)
    }

    /// Opens a storage, and always gives a store, with everything that can be saved: where the
    /// storage is damaged, the entries that verify, and it is mended; where it can't be used, in
    /// memory, and it is left as it is. What was wrong comes beside it; tell somebody. Blocks while
    /// the storage is read.
    ///
    /// Static pins do not depend on the store.
    #[must_use = "the error tells whether noted pins were lost"]
    pub fn open_or_recover(mut storage: impl Storage) -> (Self, Option<StorageError>) {
        let (entries, errors) = match load(&mut storage) {
            Ok(entries) => (entries, None),
            Err(error) => match recover(&mut storage, error) {
                (Recovered::InMemory(entries), error) => {
                    event!(WARN, %error, "noted pins live in memory only");
                    return (Self::holding(entries), Some(error));
                }
                (Recovered::Stored(entries), error) => (entries, Some(error)),
            },
        };
        if let Some(_error) = &errors {
            event!(WARN, error = %_error, "noted pins were damaged");
        }
        let store = Self::holding(entries);
        match store.clone().writing_to(storage) {
            Ok(store) => (store, errors),
            Err(error) => (store, Some(errors.unwrap_or(error))),
        }
    }

    fn holding(entries: Vec<KnownPinnedHost>) -> Self {
        Self {
            noting: Arc::default(),
            is_fresh: Arc::new(AtomicBool::new(!entries.is_empty())),
            entries: Arc::new(RwLock::new(entries.into_iter().map(Arc::new).collect())),
            generation: Arc::default(),
            writer: None,
            max_age_cap: Self::MAX_AGE_CAP,
            capacity: Self::CAPACITY,
        }
    }

    fn writing_to(self, storage: impl Storage) -> Result<Self, StorageError> {
        let (entries, generation) = (Arc::clone(&self.entries), Arc::clone(&self.generation));
        let writer = Writer::start(storage, entries, generation)?;
        Ok(Self {
            writer: Some(Arc::new(writer)),
            ..self
        })
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
    /// by the last two labels of their names. What was loaded stays, however much it is.
    #[must_use]
    pub fn capacity(mut self, hosts: usize) -> Self {
        self.capacity = hosts;
        self
    }

    /// How long a mere refresh may wait until it is written: unless said, 60 seconds. Longer spares
    /// the disk; after a crash, pins end by as much earlier. For all handles.
    #[must_use]
    pub fn refresh_delay(self, delay: Duration) -> Self {
        if let Some(writer) = &self.writer {
            writer.set_refresh_delay(delay);
        }
        self
    }

    /// Tells `callback` of each attempt to write that failed, from the thread that writes, and of
    /// each wait that took too long, from the one that waited. For all handles, in place of an
    /// earlier one. It must not keep a handle of the store, which would then never end, nor wait
    /// for the store.
    #[must_use]
    pub fn on_error(self, callback: impl Fn(&StorageError) + Send + Sync + 'static) -> Self {
        if let Some(writer) = &self.writer {
            writer.set_on_error(Arc::new(callback));
        }
        self
    }

    /// As [`on_error`](Self::on_error), beside all others.
    pub(crate) fn watch(&self, watch: Weak<dyn StorageErrorListener>) {
        if let Some(writer) = &self.writer {
            writer.watch(watch);
        }
    }

    /// The entry that applies to `host` at `now`, and how.
    #[must_use]
    pub fn query(&self, host: &Host, now: UnixTime) -> Option<(HostMatch, Arc<KnownPinnedHost>)> {
        self.entries.read().query(host, now)
    }

    /// All entries, expired ones included, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<KnownPinnedHost>> {
        let list = self.entries.upgradable_read().collect();
        sorted(list)
    }

    /// Removes the entry kept under this very name, and returns it. Superdomains keep theirs.
    pub fn forget(&self, host: &Host) -> Option<Arc<KnownPinnedHost>> {
        self.remove(host, END_OF_TIME)
    }

    /// Removes every entry.
    pub fn clear(&self) {
        self.clear_since(BEGINNING_OF_TIME);
    }

    /// Removes every entry that was noted, or last refreshed, at `time` or later.
    pub fn clear_since(&self, time: UnixTime) {
        self.change(|entries| {
            entries.take_if(|known| known.noted_at >= time);
            // Also what another process stored meanwhile.
            self.record(|| Change::ClearedSince(time), Urgency::Now);
            Verdicts::MayChange
        });
    }

    /// Resolves once all changes made so far are durable, and has them written now.
    ///
    /// Its error is that of the first attempt; more follow.
    pub fn durable(&self) -> DurableFuture {
        match &self.writer {
            Some(writer) => writer.write_now(),
            None => DurableFuture::at_once(),
        }
    }

    /// Blocks until all changes made so far are durable. In asynchronous code await
    /// [`durable`](Self::durable) instead.
    ///
    /// # Errors
    ///
    /// When they could not be written. They are kept in memory, and it is tried again.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.durable().wait()
    }

    /// Resolves once all that can't wait is durable; `None` if it is.
    pub(crate) fn urgent(&self) -> Option<DurableFuture> {
        self.writer.as_ref()?.urgent()
    }

    /// Whether the entry of this very name was noted, or last refreshed, at `time`.
    #[cfg(feature = "hyper")]
    pub(crate) fn is_noted_at(&self, host: &Host, time: UnixTime) -> bool {
        let entries = self.entries.read();
        entries
            .get(host)
            .is_some_and(|known| known.noted_at == time)
    }

    /// Tells the application that somebody waited this long for nothing.
    #[cfg(feature = "hyper")]
    pub(crate) fn emit_slow(&self, waited: Duration) {
        if let Some(writer) = &self.writer {
            writer.emit(&StorageError::Slow { waited });
        }
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
        // Apart, since it looks at every entry: lookups go on meanwhile.
        if !self
            .entries
            .upgradable_read()
            .domain_has_room(&entry.host, self.capacity, now)
        {
            return Inserted::DomainFull;
        }
        let entry = Arc::new(entry);
        let mut inserted = Inserted::StoreFull;
        self.change(|entries| match entries.get(&entry.host).map(Arc::clone) {
            Some(known) => {
                entries.put(Arc::clone(&entry));
                inserted = match known.is_expired(now) {
                    true => Inserted::Added,
                    false if known.is_refreshed_by(&entry) => Inserted::Refreshed,
                    false => Inserted::Changed,
                };
                self.record_noted(&entry, known.noted_at, inserted);
                match inserted {
                    // Only its end has moved, and not to an earlier time; nor was anybody told that
                    // it had ended, by a clock ahead of this header's.
                    Inserted::Refreshed
                        if known.expires_at <= entry.expires_at
                            && !self.generation.has_judged_after(known.expires_at) =>
                    {
                        Verdicts::Stay
                    }
                    _ => Verdicts::MayChange,
                }
            }
            None => {
                let Some(evicted) = entries.add(Arc::clone(&entry), self.capacity) else {
                    return Verdicts::Stay;
                };
                for known in evicted {
                    self.record(|| removed(&known.host, known.noted_at), Urgency::Later);
                }
                inserted = Inserted::Added;
                self.record_noted(&entry, BEGINNING_OF_TIME, inserted);
                Verdicts::MayChange
            }
        });
        inserted
    }

    /// While the entries are locked for writing.
    fn record_noted(&self, entry: &Arc<KnownPinnedHost>, replaces: UnixTime, how: Inserted) {
        let entry = Arc::clone(entry);
        match how {
            Inserted::Refreshed => {
                self.record(|| Change::Refreshed { entry, replaces }, Urgency::Later);
            }
            _ => self.record(|| Change::Noted { entry, replaces }, Urgency::Now),
        }
    }

    /// Removes the entry kept under this very name. Where another process has noted one after
    /// `noted_until`, that stays.
    pub(crate) fn remove(
        &self,
        host: &Host,
        noted_until: UnixTime,
    ) -> Option<Arc<KnownPinnedHost>> {
        let mut known = None;
        self.change(|entries| {
            known = entries.remove(host);
            // The clock may have been set back since it was noted.
            let noted_at = known.as_ref().map(|known| known.noted_at);
            let noted_until = noted_at.map_or(noted_until, |at| at.max(noted_until));
            // Also what another process stored meanwhile.
            self.record(|| removed(host, noted_until), Urgency::Now);
            // A superdomain's entry may apply now.
            Verdicts::MayChange
        });
        known
    }

    /// D-20: what was noted more than a day from now was noted under a wrong clock, and is taken as
    /// noted now, once after it was loaded.
    pub(crate) fn fix_future_timestamps(&self, now: UnixTime) {
        // A device whose clock has lost its battery begins in 1970 or 2000; it is that clock which
        // is wrong then, and pins rewritten to it would have expired once it is set.
        if now.as_secs() < EARLIEST || !self.is_fresh.swap(false, Ordering::Relaxed) {
            return;
        }
        let tomorrow = seconds(now.as_secs().saturating_add(DAY));
        self.change(|entries| {
            for known in entries.take_if(|known| known.noted_at > tomorrow) {
                let entry = Arc::new(known.as_noted_at(now));
                event!(WARN, host = %entry.host, "noted in the future: taken as noted now");
                entries.put(Arc::clone(&entry));
                self.record_noted(&entry, known.noted_at, Inserted::Refreshed);
            }
            Verdicts::MayChange
        });
    }

    /// Counts the changes of these pins and of those that were set by the application.
    pub(crate) fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// The times at which entries of the host and of its superdomains end, for a verdict at `now`.
    pub(crate) fn expiry_times(&self, host: &Host, now: UnixTime) -> Vec<UnixTime> {
        self.generation.judges_at(now);
        self.entries.read().expiry_times(host)
    }

    fn change(&self, change: impl FnOnce(&mut Entries) -> Verdicts) {
        let entries = self.entries.upgradable_read();
        let grown = entries.grown();
        let mut entries = RwLockUpgradableReadGuard::upgrade(entries);
        let replaced = grown.map(|grown| std::mem::replace(&mut *entries, grown));
        let verdicts = change(&mut entries);
        if verdicts == Verdicts::MayChange {
            self.generation.advance();
        }
        drop(entries);
        if verdicts == Verdicts::MayChange {
            self.generation.wake();
        }
        // Without the lock: it takes its time.
        drop(replaced);
    }

    /// While the entries are locked for writing.
    fn record(&self, change: impl FnOnce() -> Change, urgency: Urgency) {
        if let Some(writer) = &self.writer {
            writer.record(change(), urgency);
        }
    }
}

impl fmt::Debug for PinStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinStore")
            .field("hosts", &self.entries.read().len())
            .field("is_stored", &self.writer.is_some())
            .field("max_age_cap", &self.max_age_cap)
            .field("capacity", &self.capacity)
            .finish()
    }
}

/// A storage may be the application's: its panic is a failure as any other.
fn load(storage: &mut impl Storage) -> Result<Vec<KnownPinnedHost>, StorageError> {
    contain(|| storage.load()).unwrap_or(Err(StorageError::Panicked))
}

fn recover(storage: &mut impl Storage, error: StorageError) -> (Recovered, StorageError) {
    let recovered = contain(|| storage.recover(error));
    recovered.unwrap_or((Recovered::InMemory(Vec::new()), StorageError::Panicked))
}

/// What a change means for connections that were judged before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdicts {
    MayChange,
    Stay,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Added,
    Changed,
    DomainFull,
    /// The same once more, with a later expiry.
    Refreshed,
    StoreFull,
}

fn removed(host: &Host, noted_until: UnixTime) -> Change {
    Change::Removed {
        host: host.clone(),
        noted_until,
    }
}

fn seconds(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

const DAY: u64 = 24 * 60 * 60;
/// 1 January 2023: before the first release, so a clock that says less is wrong.
const EARLIEST: u64 = 1_672_531_200;
const BEGINNING_OF_TIME: UnixTime = UnixTime::since_unix_epoch(Duration::ZERO);
const END_OF_TIME: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{PinSet, SpkiFingerprint};

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
        assert_eq!(store.insert(entry("b.com", true, 10)), Inserted::Changed);
        assert_eq!(store.insert(entry("b.com", true, 10)), Inserted::Refreshed);
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
