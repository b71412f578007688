//! The seam to where noted pins are kept: [`Storage`], what it is given ([`Batch`]), and how it
//! fails ([`StorageError`]).

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustls_pki_types::UnixTime;

use crate::policy::{Host, KnownPinnedHost};
use crate::store::format::{Corruption, VERSION};

/// Where noted pins outlive the process: [`FileStorage`](crate::FileStorage), or one's own on a
/// database, the Keychain, SharedPreferences.
///
/// A [`PinStore`](crate::PinStore) calls it from one thread at a time, never from one that serves
/// requests, so it may block. What is committed must be there after a crash or a power cut. A
/// panic, in any of them, counts as a failure.
///
/// ```
/// use std::collections::HashMap;
/// use pinhold::{Host, PinStore};
/// use pinhold::policy::KnownPinnedHost;
/// use pinhold::storage::{Batch, Change, Storage, StorageError};
///
/// #[derive(Default)]
/// struct Table(HashMap<Host, KnownPinnedHost>); // stands for a database
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
///                 Change::Noted { entry, .. } | Change::Refreshed { entry, .. } => {
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
    /// All entries, expired ones included, in any order.
    ///
    /// # Errors
    ///
    /// When they can't be read, or not all of them.
    fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError>;

    /// Makes the batch durable, as a whole or not at all: either its changes, in their order, or
    /// its snapshot in place of everything.
    ///
    /// Returns all that is stored now if somebody else has changed it since it was last read; the
    /// store then takes it over. `None` if it is the snapshot.
    ///
    /// # Errors
    ///
    /// When nothing was stored, or perhaps not. The store tells the application and tries again.
    fn commit(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError>;

    /// Saves what can be saved after [`load`](Self::load) failed with `error`, and returns the
    /// error with what was done about it. Nothing may be lost: what is damaged is put aside.
    ///
    /// Unless implemented, nothing is saved and nothing touched.
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

/// What was saved of a damaged storage, and how it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// With these entries in memory; nothing is committed any more.
    InMemory(Vec<KnownPinnedHost>),
    /// With these entries, which are stored again; commits go on.
    Stored(Vec<KnownPinnedHost>),
}

/// What has changed since the last commit, and what there is now.
pub struct Batch<'a> {
    changes: &'a [Change],
    snapshot: &'a dyn Fn() -> Vec<Arc<KnownPinnedHost>>,
}

impl<'a> Batch<'a> {
    /// A batch of these changes; the closure gives the snapshot.
    #[must_use]
    pub fn new(changes: &'a [Change], snapshot: &'a dyn Fn() -> Vec<Arc<KnownPinnedHost>>) -> Self {
        Self { changes, snapshot }
    }

    /// For a storage that updates: the changes, to be made in this order. There is at most one
    /// [`Change::ClearedSince`], which comes first, and one other change of each host.
    #[must_use]
    pub fn changes(&self) -> &'a [Change] {
        self.changes
    }

    /// For a storage that rewrites: all entries, by name. May hold changes that are not in the
    /// batch; they come again in the next one.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<KnownPinnedHost>> {
        (self.snapshot)()
    }

    /// Makes the changes to what somebody else has stored.
    pub(crate) fn apply(&self, stored: &mut HashMap<Host, Arc<KnownPinnedHost>>) {
        for change in self.changes {
            match change {
                Change::ClearedSince(time) => stored.retain(|_, known| known.noted_at < *time),
                Change::Noted { entry, replaces } => match stored.get(&entry.host) {
                    // Not by the times alone: the clock may have been set back between the two.
                    Some(known) if known.noted_at > entry.noted_at.max(*replaces) => {}
                    _ => drop(stored.insert(entry.host.clone(), Arc::clone(entry))),
                },
                Change::Refreshed { entry, replaces } => match stored.get_mut(&entry.host) {
                    Some(known) if known.noted_at <= entry.noted_at.max(*replaces) => {
                        *known = Arc::clone(entry);
                    }
                    // Gone: somebody was told to forget it. The next header notes it anew.
                    _ => {}
                },
                Change::Removed { host, noted_until } => {
                    let covered = |known: &Arc<KnownPinnedHost>| known.noted_at <= *noted_until;
                    if stored.get(host).is_some_and(covered) {
                        stored.remove(host);
                    }
                }
            }
        }
    }
}

/// Puts the entry in place of one that was noted no later.
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a storage that misses a change loses pins"
)]
pub enum Change {
    /// Every entry is gone that was noted at this time or later.
    ClearedSince(UnixTime),
    /// The entry is new, or takes the place of the one of its host.
    Noted {
        /// The entry.
        entry: Arc<KnownPinnedHost>,
        /// Where several processes share a storage, an entry that another one noted after this
        /// time, and after the new one, stays.
        replaces: UnixTime,
    },
    /// The entry of its host says the same for a later time.
    Refreshed {
        /// The entry.
        entry: Arc<KnownPinnedHost>,
        /// As with [`Noted`](Self::Noted). Where another process has removed the entry, it stays
        /// removed.
        replaces: UnixTime,
    },
    /// The entry of this very host is gone.
    Removed {
        /// The host.
        host: Host,
        /// Where several processes share a storage, an entry that another one noted after this
        /// time stays.
        noted_until: UnixTime,
    },
}

impl Change {
    /// An entry from elsewhere, to be stored unless a newer one is: to import, to migrate.
    #[must_use]
    pub fn noted(entry: impl Into<Arc<KnownPinnedHost>>) -> Self {
        let entry = entry.into();
        Self::Noted {
            replaces: entry.noted_at,
            entry,
        }
    }
}

/// Why noted pins can't be read or written. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StorageError {
    /// The file is not as it was written.
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        corruption: Corruption,
        /// How many entries of it verify.
        readable: usize,
        /// Where it was moved, once that is done.
        moved_to: Option<PathBuf>,
    },
    /// The operating system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its words.
        error: Arc<io::Error>,
    },
    /// Another process holds the lock for longer than any write takes.
    Locked {
        /// The file of the lock.
        lock: PathBuf,
    },
    /// The file was written by a newer version of pinhold.
    NewerVersion {
        /// The file.
        file: PathBuf,
        /// The version of its format.
        version: u64,
    },
    /// Something else than a regular file stands in its place.
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// What a storage of the application says.
    Other(Arc<dyn Error + Send + Sync>),
    /// The storage panicked.
    Panicked,
    /// The storage takes long. What was to be stored is kept in memory and may still be stored.
    Slow {
        /// How long somebody waited for it.
        waited: Duration,
    },
    /// The thread that writes could not be started, or has ended by a panic.
    Thread(Arc<io::Error>),
}

impl StorageError {
    /// An error of an application's own [`Storage`].
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(error.into().into())
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt {
                file,
                corruption,
                readable,
                moved_to,
            } => {
                let file = file.display();
                let (aside, advice) = match moved_to {
                    Some(aside) => (Some(aside.display()), KEPT),
                    None => (None, CAN_BE_KEPT),
                };
                write!(
                    f,
                    "noted pins {file}: {corruption}; {readable} of its entries verify{advice}"
                )?;
                aside.map_or(Ok(()), |aside| aside.fmt(f))
            }
            Self::Io { path, error } => {
                write!(f, "noted pins {}: {error}{}", path.display(), hint(error))
            }
            Self::Locked { lock } => write!(
                f,
                "noted pins: {} is locked for longer than any write takes. Look for a process \
                 that hangs; the lock expiry_times with it",
                lock.display()
            ),
            Self::NewerVersion { file, version } => write!(
                f,
                "noted pins {}: the format has version {version}, expected {VERSION}. It is left \
                 as it is: update this application, or give it another file",
                file.display()
            ),
            Self::NotAFile { path, found } => write!(
                f,
                "noted pins {}: it is {found}, expected a regular file or none",
                path.display()
            ),
            Self::Other(error) => write!(f, "noted pins: {error}"),
            Self::Panicked => f.write_str("noted pins: the storage panicked"),
            Self::Slow { waited } => {
                write!(
                    f,
                    "noted pins: not stored within {waited:?}; is the disk in trouble?"
                )
            }
            Self::Thread(error) => write!(f, "noted pins: no thread that writes: {error}"),
        }
    }
}

impl Error for StorageError {}

/// What to do, where the system's words don't say.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ". Create the folder first",
        io::ErrorKind::PermissionDenied => {
            ". This user must be able to read and write the file, and to create files beside it"
        }
        io::ErrorKind::ReadOnlyFilesystem => ". Choose a folder that can be written to",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ". Free some space",
        _ => "",
    }
}

const KEPT: &str = " and are kept, the damaged file is now ";
const CAN_BE_KEPT: &str = ". `PinStore::open_or_recover` and `pinhold store recover` keep those \
                           and put the file aside, once its folder can be written to";
