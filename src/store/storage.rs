//! The interface to persistent storage: [`Storage`], and what its methods return.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::store::change::Change;
use crate::store::error::StorageError;
use crate::store::queue::Queue;
use crate::store::record::{Record, Update};

/// Persistent storage of records: [`FileStorage`](crate::FileStorage), or an implementation of the
/// application on a database, the Keychain or SharedPreferences.
///
/// A [`PinStore`](crate::PinStore) calls the methods from one thread at a time: first from the
/// thread that opens the store, then from the writer thread, never from a thread that serves
/// requests. So they may block. What was committed must survive a crash and a power cut. A panic in
/// any method counts as a failure.
///
/// ```
/// use std::collections::HashMap;
/// use pinhold::PinStore;
/// use pinhold::storage::{Change, Merged, Record, Storage, StorageError, Update};
///
/// #[derive(Default)]
/// struct Table(HashMap<(String, String), Record>); // in place of a database
///
/// impl Storage for Table {
///     fn load(&mut self) -> Result<Vec<Record>, StorageError> {
///         Ok(self.0.values().cloned().collect())
///     }
///
///     fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
///         for change in changes {
///             match change.update().clone() {
///                 Update::Put(record) => {
///                     let id = (record.kind().to_owned(), record.key().to_owned());
///                     self.0.insert(id, record);
///                 }
///                 Update::Removed { kind, key } => {
///                     self.0.remove(&(kind.into_owned(), key.into()));
///                 }
///                 Update::ClearedSince { kind, time } => {
///                     self.0.retain(|_, stored| stored.kind() != kind || stored.time() < time);
///                 }
///             }
///         }
///         Ok(Merged::Nothing)
///     }
/// }
///
/// let store = PinStore::open(Table::default())?;
/// # assert!(store.list().is_empty());
/// # Ok::<(), StorageError>(())
/// ```
pub trait Storage: Send + 'static {
    /// Returns all records of every kind, including those that have expired, in any order.
    ///
    /// # Errors
    ///
    /// An error if some of the records, or all, can't be read.
    fn load(&mut self) -> Result<Vec<Record>, StorageError>;

    /// Makes the changes durable in their order, and returns what other processes have stored since the
    /// last call of any method. After a crash before it returns, none of the changes is stored, or all,
    /// or the first of them. At most one change of a kind is an
    /// [`Update::ClearedSince`], which comes first; each key has at most one other.
    ///
    /// A storage that no other process changes makes each [`update`](Change::update) and returns
    /// [`Merged::Nothing`]. One that is shared makes what [`resolve`](Change::resolve) returns.
    ///
    /// # Errors
    ///
    /// An error if the changes were not stored, or may not have been stored. The store passes the
    /// error to the application and calls the method again later. After [`StorageError::Corrupt`] it
    /// commits all its records again.
    fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError>;

    /// Returns what other processes have stored since the last call of any method, without storing
    /// anything. Called every [`pull_interval`](Self::pull_interval), and after each
    /// [`StorageWaker::wake`]. The default implementation returns [`Merged::Nothing`].
    ///
    /// # Errors
    ///
    /// An error if the storage can't be read. It is passed to the application.
    fn pull(&mut self) -> Result<Merged, StorageError> {
        Ok(Merged::Nothing)
    }

    /// Returns how often [`pull`](Self::pull) is called; by default never.
    fn pull_interval(&self) -> Option<Duration> {
        None
    }

    /// Passes a handle by which the storage requests a [`pull`](Self::pull), for example when a
    /// database notifies it. Called once, after [`load`](Self::load). The default implementation
    /// drops the handle.
    fn set_waker(&mut self, waker: StorageWaker) {
        drop(waker);
    }

    /// Gives back space. Called after each successful commit, once those that waited for it have
    /// been notified. The default implementation does nothing.
    ///
    /// # Errors
    ///
    /// An error if it failed. No record may be lost. The error is passed to the application.
    fn compact(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Recovers the readable records after [`load`](Self::load) failed with `error`. Returns them
    /// with the error, to which it may add what was done. It must not lose data: a corrupt file,
    /// for example, is kept under another name.
    ///
    /// The default implementation recovers nothing and changes nothing.
    fn recover(&mut self, error: StorageError) -> (Recovered, StorageError) {
        (Recovered::InMemory(Vec::new()), error)
    }
}

impl<S: Storage + ?Sized> Storage for Box<S> {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        (**self).load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
        (**self).commit(changes)
    }

    fn pull(&mut self) -> Result<Merged, StorageError> {
        (**self).pull()
    }

    fn pull_interval(&self) -> Option<Duration> {
        (**self).pull_interval()
    }

    fn set_waker(&mut self, waker: StorageWaker) {
        (**self).set_waker(waker);
    }

    fn compact(&mut self) -> Result<(), StorageError> {
        (**self).compact()
    }

    fn recover(&mut self, error: StorageError) -> (Recovered, StorageError) {
        (**self).recover(error)
    }
}

/// What other processes have stored.
///
/// ```
/// use pinhold::FileStorage;
/// use pinhold::storage::{Merged, Storage};
///
/// # let folder = tempfile::tempdir()?;
/// let mut storage = FileStorage::new(folder.path().join("noted-pins.jsonl"));
/// assert_eq!(storage.pull()?, Merged::Nothing);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a store that misses an update enforces old pins"
)]
pub enum Merged {
    /// Nothing: the records are those that the store knows, with the changes just committed.
    Nothing,
    /// These updates, in their order. After a commit, the updates that the commit has made follow.
    Updates(Vec<Update>),
    /// These are all records that are stored now.
    All(Vec<Record>),
    /// The records were removed by something other than a store, such as a user who deletes the
    /// file. Only the changes just committed are stored. The store commits all its records again.
    Lost,
}

/// The records recovered from a storage that could not be loaded, and whether the store uses that
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
    /// The storage can't be used: the store keeps these records in memory only and commits nothing.
    InMemory(Vec<Record>),
    /// The storage can be used: the store begins with these records and commits changes.
    Stored(Vec<Record>),
}

/// A handle by which a [`Storage`] notifies its store that another process has stored something. It
/// can be called from any thread, and does nothing once the store is closed.
///
/// ```
/// use std::sync::mpsc::Sender;
/// use pinhold::PinStore;
/// use pinhold::storage::{Change, Merged, Record, Storage, StorageError, StorageWaker};
///
/// struct Notified(Sender<StorageWaker>);
///
/// impl Storage for Notified {
///     # fn load(&mut self) -> Result<Vec<Record>, StorageError> { Ok(Vec::new()) }
///     # fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> { Ok(Merged::Nothing) }
///     fn set_waker(&mut self, waker: StorageWaker) {
///         let _ = self.0.send(waker); // to the code that listens to the database
///     }
/// }
///
/// let (sender, wakers) = std::sync::mpsc::channel();
/// let _store = PinStore::open(Notified(sender))?;
/// wakers.recv()?.wake();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct StorageWaker(pub(crate) Weak<Queue>);

impl StorageWaker {
    pub(crate) fn new(queue: &Arc<Queue>) -> Self {
        Self(Arc::downgrade(queue))
    }

    /// Makes the store call [`Storage::pull`] soon.
    pub fn wake(&self) {
        if let Some(queue) = self.0.upgrade() {
            queue.state.lock().is_pull_requested = true;
            queue.changed.notify_all();
        }
    }
}

impl fmt::Debug for StorageWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageWaker")
    }
}
