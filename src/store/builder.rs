//! [`PinStoreBuilder`]: the settings of a store, and the opening and recovery of its storage.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::KnownPinnedHost;
use crate::store::domains::Domains;
use crate::store::error::StorageError;
use crate::store::pin_store::{Limits, PinStore};
use crate::store::public_suffixes::PublicSuffixes;
use crate::store::queue::WriterSettings;
use crate::store::record::Record;
use crate::store::storage::{Recovered, Storage};
use crate::store::worker::contain;

impl PinStore {
    /// Returns a builder with the default settings.
    pub fn builder() -> PinStoreBuilder {
        PinStoreBuilder::new()
    }

    /// Returns an empty store in memory, with the default settings. Its pins are lost when the last
    /// clone is dropped.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::builder().in_memory()
    }

    /// Opens a storage that must be readable as a whole, with the default settings. Blocks while it
    /// is read.
    ///
    /// # Errors
    ///
    /// Those of [`PinStoreBuilder::open`].
    pub fn open(storage: impl Storage) -> Result<Self, StorageError> {
        Self::builder().open(storage)
    }

    /// Opens a storage with the default settings. Returns a store even if that fails, see
    /// [`PinStoreBuilder::open_or_recover`]. Blocks while the storage is read.
    #[must_use = "the error states whether noted pins were lost"]
    pub fn open_or_recover(storage: impl Storage) -> (Self, Option<StorageError>) {
        Self::builder().open_or_recover(storage)
    }
}

/// Sets the limits of a [`PinStore`] and opens it. All clones of the store share them.
///
/// ```
/// use std::time::Duration;
///
/// use pinhold::{FileStorage, PinStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("noted-pins.jsonl");
/// let store = PinStore::builder()
///     .capacity(200)
///     .max_age_cap(Duration::from_secs(30 * 24 * 60 * 60)) // 30 days
///     .on_error(|error| eprintln!("{error}"))
///     .open(FileStorage::new(path))?;
/// assert!(store.list().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder opens no store by itself"]
pub struct PinStoreBuilder {
    limits: Limits,
    settings: WriterSettings,
}

impl PinStoreBuilder {
    pub(crate) fn new() -> Self {
        Self {
            limits: Limits::default(),
            settings: WriterSettings::default(),
        }
    }

    /// Limits the number of noted hosts, by default [`PinStore::CAPACITY`]. A quarter of them (at
    /// least one) may be first-seen, and a sixteenth (at least one) confirmed hosts of one domain,
    /// see [`PinStore`](PinStore#what-servers-can-make-a-store-keep). Entries that were loaded are
    /// kept even if there are more. With zero no host is noted.
    pub fn capacity(mut self, hosts: usize) -> Self {
        self.limits.capacity = hosts;
        self
    }

    /// Sets the list by which domains are distinguished. Without one a domain is determined by the last
    /// two labels of a name, so that all hosts under `co.uk` share what one domain may have. With
    /// one, `includeSubDomains` on a public suffix is not noted either
    /// ([`IgnoreReason::PublicSuffix`](crate::header::IgnoreReason::PublicSuffix)).
    ///
    /// ```no_run
    /// use pinhold::PinStore;
    /// use pinhold::storage::PublicSuffixes;
    ///
    /// let mut builder = PinStore::builder();
    /// if let Ok(list) = std::fs::read(PublicSuffixes::PATH) {
    ///     builder = builder.public_suffixes(PublicSuffixes::from_bytes(list)?);
    /// }
    /// # drop(builder);
    /// # Ok::<(), pinhold::storage::PublicSuffixesError>(())
    /// ```
    pub fn public_suffixes(mut self, suffixes: PublicSuffixes) -> Self {
        self.limits.domains = Domains(Some(Arc::new(suffixes)));
        self
    }

    /// Limits how long pins are in effect after they were last received, whatever `max-age` the
    /// server sends; by default [`PinStore::MAX_AGE_CAP`] (RFC 7469 section 4.1).
    pub fn max_age_cap(mut self, cap: Duration) -> Self {
        self.limits.max_age_cap = cap;
        self
    }

    /// Sets how long a refresh may wait until it is written, by default 60 seconds. A longer delay
    /// saves disk writes; after a crash, pins expire earlier by at most this delay. A store in
    /// memory ignores it.
    pub fn refresh_delay(mut self, delay: Duration) -> Self {
        self.settings.refresh_delay = delay;
        self
    }

    /// Sets a callback for errors of an open store: each failed attempt to write, called from the
    /// writer thread, and each wait for the storage that took too long, called from the thread that
    /// waited. Errors of opening are returned instead. A store in memory has no such errors.
    ///
    /// The callback must not keep a clone of the store, which would then never be closed, and must
    /// not wait for the store. A panic in it is contained.
    pub fn on_error(mut self, callback: impl Fn(&StorageError) + Send + Sync + 'static) -> Self {
        self.settings.on_error = Some(Arc::new(callback));
        self
    }

    /// Returns an empty store in memory, whose pins are lost when the last clone is dropped: for
    /// private browsing, or for tests.
    ///
    /// ```
    /// use pinhold::PinStore;
    ///
    /// let store = PinStore::builder().capacity(16).in_memory();
    /// assert!(store.list().is_empty());
    /// ```
    #[must_use]
    pub fn in_memory(self) -> PinStore {
        PinStore::with_entries(Vec::new(), self.limits)
    }

    /// Opens a storage that must be readable as a whole. Blocks while it is read.
    ///
    /// # Errors
    ///
    /// The error of [`Storage::load`], or [`StorageError::Thread`]. The pins noted earlier are then
    /// not enforced: prefer [`open_or_recover`](Self::open_or_recover) if the application continues
    /// after an error.
    pub fn open(self, mut storage: impl Storage) -> Result<PinStore, StorageError> {
        let records = load(&mut storage)?;
        let (entries, unreadable) = entries(&records);
        if let Some(error) = unreadable {
            return Err(error);
        }
        let store = PinStore::with_entries(entries, self.limits).with_others(records);
        store.start_writer(storage, self.settings)
    }

    /// Opens a storage. Returns a store even if that fails, with every entry that can be recovered.
    /// A corrupt storage is repaired. A storage that can't be used, or a file that pinhold did not
    /// write, is left unchanged, and the store keeps pins in memory only. The error states which of these happened; show or log it. Blocks
    /// while the storage is read.
    ///
    /// Static pins do not depend on the store.
    ///
    /// ```
    /// use pinhold::{FileStorage, PinStore};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("noted-pins.jsonl");
    /// # std::fs::write(&path, "")?;
    /// let (store, error) = PinStore::builder().open_or_recover(FileStorage::new(path));
    /// assert!(error.is_some_and(|error| error.to_string().contains("the file is empty")));
    /// store.flush()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the error states whether noted pins were lost"]
    pub fn open_or_recover(self, mut storage: impl Storage) -> (PinStore, Option<StorageError>) {
        let (records, error) = match load(&mut storage) {
            Ok(records) => (records, None),
            Err(error) => match recover(&mut storage, error) {
                (Recovered::InMemory(records), error) => {
                    event!(WARN, %error, "noted pins are kept in memory only");
                    let (entries, _) = entries(&records);
                    let store = PinStore::with_entries(entries, self.limits);
                    return (store.with_others(records), Some(error));
                }
                (Recovered::Stored(records), error) => (records, Some(error)),
            },
        };
        let (entries, unreadable) = entries(&records);
        let error = error.or(unreadable);
        if let Some(_error) = &error {
            event!(WARN, error = %_error, "noted pins were corrupt");
        }
        let store = PinStore::with_entries(entries, self.limits).with_others(records);
        match store.clone().start_writer(storage, self.settings) {
            Ok(store) => (store, error),
            Err(no_thread) => (store, Some(error.unwrap_or(no_thread))),
        }
    }
}

/// Returns the noted pins among the records, and the error if this version can't read some of them.
fn entries(records: &[Record]) -> (Vec<KnownPinnedHost>, Option<StorageError>) {
    let mut entries = Vec::with_capacity(records.len());
    let mut unreadable = Vec::new();
    for record in records
        .iter()
        .filter(|record| record.kind() == Record::NOTED_PINS)
    {
        match KnownPinnedHost::try_from(record) {
            Ok(entry) => entries.push(entry),
            Err(_) => unreadable.push(record.key()),
        }
    }
    let error = unreadable.first().map(|host| StorageError::Unreadable {
        host: (*host).to_owned(),
        count: unreadable.len(),
    });
    (entries, error)
}

fn load(storage: &mut impl Storage) -> Result<Vec<Record>, StorageError> {
    contain(|| storage.load()).unwrap_or(Err(StorageError::Panicked))
}

fn recover(storage: &mut impl Storage, error: StorageError) -> (Recovered, StorageError) {
    let recovered = contain(|| storage.recover(error));
    recovered.unwrap_or((Recovered::InMemory(Vec::new()), StorageError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Host;
    use crate::store::change::Change;
    use crate::store::storage::Merged;

    /// A storage whose `load` and `recover` return these results, and whose commits fail.
    struct Failing {
        load: Result<(), StorageError>,
        recovered: Option<Recovered>,
    }

    impl Storage for Failing {
        fn load(&mut self) -> Result<Vec<Record>, StorageError> {
            self.load.clone().map(|()| Vec::new())
        }

        fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
            Err(StorageError::Panicked)
        }

        fn recover(&mut self, error: StorageError) -> (Recovered, StorageError) {
            let recovered = self.recovered.take();
            (recovered.unwrap_or(Recovered::InMemory(Vec::new())), error)
        }
    }

    /// A store without its limits could be filled by any server.
    #[test]
    fn settings_apply_to_every_way_of_opening() {
        let (sender, errors) = std::sync::mpsc::channel();
        let builder = PinStore::builder()
            .capacity(1)
            .max_age_cap(Duration::from_secs(7))
            .on_error(move |error| drop(sender.send(error.clone())));
        let failed = || Err(StorageError::Panicked);
        let storage = |load, recovered| Failing { load, recovered };
        let stored = Some(Recovered::Stored(Vec::new()));
        let opened = builder.clone().open(storage(Ok(()), None)).unwrap();
        let recover = |storage| builder.clone().open_or_recover(storage).0;
        for (store, is_stored) in [
            (builder.clone().in_memory(), false),
            (opened, true),
            (recover(storage(Ok(()), None)), true),
            (recover(storage(failed(), stored)), true),
            (recover(storage(failed(), None)), false),
        ] {
            assert_eq!(store.cap(Duration::MAX), Duration::from_secs(7));
            let settings = format!("{store:?}");
            assert!(settings.contains("capacity: 1,"), "{settings}");
            let stored = format!("is_stored: {is_stored}");
            assert!(settings.contains(&stored), "{settings}");
            store.forget(&Host::parse("example.com").unwrap());
            assert_eq!(store.flush().is_err(), is_stored);
            // The last handle waits for the thread and its last attempt.
            drop(store);
            assert_eq!(errors.try_iter().count() > 0, is_stored);
        }
    }
}
