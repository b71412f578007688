//! The interface to persistent storage of noted pins: [`Storage`], and the [`Batch`] of changes
//! that it commits.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::policy::{Host, KnownPinnedHost};
use crate::store::error::StorageError;

/// Persistent storage of noted pins: [`FileStorage`](crate::FileStorage), or an implementation of
/// the application on a database, the Keychain or SharedPreferences.
///
/// A [`PinStore`](crate::PinStore) calls the methods from one thread at a time: first from the
/// thread that opens the store, then from the writer thread, never from a thread that serves
/// requests. So they may block. What was committed must survive a crash and a power cut. A panic in
/// any method counts as a failure.
///
/// ```
/// use std::collections::HashMap;
/// use pinhold::{Host, PinStore};
/// use pinhold::policy::KnownPinnedHost;
/// use pinhold::storage::{Batch, Change, Storage, StorageError};
///
/// #[derive(Default)]
/// struct Table(HashMap<Host, KnownPinnedHost>); // in place of a database
///
/// impl Storage for Table {
///     fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
///         Ok(self.0.values().cloned().collect())
///     }
///
///     fn commit(
///         &mut self,
///         batch: &Batch<'_>,
///     ) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
///         for change in batch.changes() {
///             match change {
///                 Change::ClearedSince(time) => self.0.retain(|_, known| known.noted_at < *time),
///                 Change::Noted { entry, .. } | Change::Replaced { entry, .. } => {
///                     self.0.insert(entry.host.clone(), (**entry).clone());
///                 }
///                 Change::Removed { host, .. } => drop(self.0.remove(host)),
///             }
///         }
///         Ok(None)
///     }
/// }
///
/// let store = PinStore::open(Table::default())?;
/// # assert!(store.list().is_empty());
/// # Ok::<(), StorageError>(())
/// ```
pub trait Storage: Send + 'static {
    /// Returns all entries, including expired ones, in any order.
    ///
    /// # Errors
    ///
    /// An error if some of the entries, or all, can't be read.
    fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError>;

    /// Makes the batch durable, as a whole or not at all: either applies its changes in their
    /// order, or replaces all entries by its snapshot.
    ///
    /// Returns `None` if the stored entries now equal the snapshot. If another process has changed
    /// them since they were last read, returns all entries that are now stored; these then replace
    /// the entries in memory.
    ///
    /// # Errors
    ///
    /// An error if the batch was not stored, or may not have been stored. The store passes the
    /// error to the application and calls the method again later.
    fn commit(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError>;

    /// Recovers the readable entries after [`load`](Self::load) failed with `error`. Returns them
    /// with the error, to which it may add what was done. It must not lose data: a corrupt file,
    /// for example, is kept under another name.
    ///
    /// The default implementation recovers nothing and changes nothing.
    fn recover(&mut self, error: StorageError) -> (Recovered, StorageError) {
        (Recovered::InMemory(Vec::new()), error)
    }
}

impl<S: Storage + ?Sized> Storage for Box<S> {
    fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
        (**self).load()
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
        (**self).commit(batch)
    }

    fn recover(&mut self, error: StorageError) -> (Recovered, StorageError) {
        (**self).recover(error)
    }
}

/// The entries recovered from a storage that could not be loaded, and whether the store uses that
/// storage from now on.
///
/// ```
/// use pinhold::FileStorage;
/// use pinhold::storage::{Recovered, Storage};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("noted-pins.jsonl");
/// std::fs::write(&path, "")?;
/// let mut storage = FileStorage::new(path);
/// let error = storage.load().unwrap_err();
/// let (recovered, _error) = storage.recover(error);
/// assert_eq!(recovered, Recovered::Stored(Vec::new()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// The storage can't be used: the store keeps these entries in memory only and commits nothing.
    InMemory(Vec<KnownPinnedHost>),
    /// The storage can be used: the store begins with these entries and commits changes.
    Stored(Vec<KnownPinnedHost>),
}

/// The changes since the last commit, and the entries that result from them.
///
/// See [`Storage`] for an example that applies the changes.
pub struct Batch<'a> {
    changes: &'a [Change],
    snapshot: &'a dyn Fn() -> Vec<Arc<KnownPinnedHost>>,
}

impl<'a> Batch<'a> {
    /// Returns a batch of these changes, whose snapshot the closure returns. For applications that
    /// call a [`Storage`] themselves, to import entries or to test it.
    ///
    /// ```
    /// use pinhold::FileStorage;
    /// use pinhold::storage::{Batch, Storage};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("noted-pins.jsonl");
    /// let mut storage = FileStorage::new(path);
    /// storage.commit(&Batch::new(&[], &Vec::new))?;
    /// assert_eq!(storage.load()?, []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(changes: &'a [Change], snapshot: &'a dyn Fn() -> Vec<Arc<KnownPinnedHost>>) -> Self {
        Self { changes, snapshot }
    }

    /// Returns the changes in the order in which to apply them, for a storage that updates records.
    /// At most one is a [`Change::ClearedSince`], and it is the first. Each host has at most one
    /// other change.
    #[must_use]
    pub fn changes(&self) -> &'a [Change] {
        self.changes
    }

    /// Returns all entries sorted by name, for a storage that rewrites everything. They may include
    /// changes that are not in this batch; the next batch then contains these changes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<KnownPinnedHost>> {
        (self.snapshot)()
    }

    /// Applies the changes to entries that another process has stored.
    pub(crate) fn apply(&self, stored: &mut HashMap<Host, Arc<KnownPinnedHost>>) {
        for change in self.changes {
            change.apply(stored);
        }
    }
}

/// Returns the entry, confirmed if it replaces a confirmed one that this process did not know.
fn confirmed_as(
    known: Option<&Arc<KnownPinnedHost>>,
    entry: &Arc<KnownPinnedHost>,
) -> Arc<KnownPinnedHost> {
    let is_lost = |known: &&Arc<KnownPinnedHost>| {
        known.is_confirmed() && !known.is_expired(entry.noted_at) && !entry.is_confirmed()
    };
    match known.filter(is_lost) {
        Some(known) => Arc::new(KnownPinnedHost {
            seen_since: known
                .seen_since
                .min(KnownPinnedHost::confirmed_since(entry.noted_at)),
            ..(**entry).clone()
        }),
        None => Arc::clone(entry),
    }
}

/// Returns whether the stored entry stays. One that another process has noted since is one that the
/// header of the new entry was not evaluated against: an impostor could otherwise replace its pins
/// through a process that has not read them yet.
fn is_kept(stored: &KnownPinnedHost, entry: &KnownPinnedHost, replaces: UnixTime) -> bool {
    // `replaces` counts, too: the clock may have been set back after the stored entry was noted.
    let is_later = stored.noted_at > entry.noted_at.max(replaces);
    let is_evaluated = stored.has_same_pins(entry) || stored.is_expired(entry.noted_at);
    is_later || (!is_evaluated && stored.noted_at > replaces)
}

/// Inserts the entry unless the host has one that was noted later.
pub(crate) fn put_newer(
    stored: &mut HashMap<Host, Arc<KnownPinnedHost>>,
    entry: Arc<KnownPinnedHost>,
) {
    let newer = |known: &Arc<KnownPinnedHost>| known.noted_at > entry.noted_at;
    if !stored.get(&entry.host).is_some_and(newer) {
        stored.insert(entry.host.clone(), entry);
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

/// One change of the noted pins.
///
/// Where several processes share a storage, a change must not undo what another process has noted
/// since: a change affects stored entries that were noted up to the time in `replaces` or
/// `noted_until`.
///
/// See [`Storage`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a storage that misses a change loses pins"
)]
pub enum Change {
    /// Every entry that was noted at this time or later is removed.
    ClearedSince(UnixTime),
    /// The entry is added: its host had none, or one that has expired.
    Noted {
        /// The entry.
        entry: Arc<KnownPinnedHost>,
        /// The time of the entry that the header was evaluated against. A stored entry that was noted
        /// after this time is kept if it was noted after the new one, too, or has other pins or
        /// another scope and has not expired.
        replaces: UnixTime,
    },
    /// The entry replaces a live one of the same host.
    Replaced {
        /// The entry.
        entry: Arc<KnownPinnedHost>,
        /// As for [`Noted`](Self::Noted). If another process has removed the stored entry, it stays
        /// removed.
        replaces: UnixTime,
    },
    /// The entry of exactly this host is removed.
    Removed {
        /// The host.
        host: Host,
        /// A stored entry is kept if it was noted after this time.
        noted_until: UnixTime,
    },
}

impl Change {
    /// Applies the change to entries that another process has stored. Returns `false` if it has no
    /// effect because of what that process has noted or removed since.
    pub(crate) fn apply(&self, stored: &mut HashMap<Host, Arc<KnownPinnedHost>>) -> bool {
        match self {
            Self::ClearedSince(time) => stored.retain(|_, known| known.noted_at < *time),
            Self::Noted { entry, replaces } => match stored.get(&entry.host) {
                Some(known) if is_kept(known, entry, *replaces) => return false,
                known => {
                    let entry = confirmed_as(known, entry);
                    stored.insert(entry.host.clone(), entry);
                }
            },
            Self::Replaced { entry, replaces } => match stored.get_mut(&entry.host) {
                Some(known) if !is_kept(known, entry, *replaces) => {
                    *known = confirmed_as(Some(known), entry);
                }
                // If the other process has removed the entry, the next header adds it again.
                _ => return false,
            },
            Self::Removed { host, noted_until } => {
                let is_removed = |known: &Arc<KnownPinnedHost>| known.noted_at <= *noted_until;
                if stored.get(host).is_some_and(is_removed) {
                    stored.remove(host);
                }
            }
        }
        true
    }

    /// Returns the change that stores an entry unless a newer one of its host is stored: to import
    /// entries, or to migrate them to another storage.
    ///
    /// ```
    /// use pinhold::policy::KnownPinnedHost;
    /// use pinhold::storage::Change;
    ///
    /// let line = include_str!("../../tests/formats/v1.jsonl").lines().nth(1).unwrap();
    /// let change = Change::noted(KnownPinnedHost::from_json(line)?);
    /// assert!(matches!(change, Change::Noted { entry, .. } if entry.includes_subdomains));
    /// # Ok::<(), pinhold::storage::EntryError>(())
    /// ```
    #[must_use]
    pub fn noted(entry: impl Into<Arc<KnownPinnedHost>>) -> Self {
        let entry = entry.into();
        Self::Noted {
            replaces: entry.noted_at,
            entry,
        }
    }
}
