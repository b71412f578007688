//! Errors of reading and writing noted pins: [`StorageError`].

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::policy::text::write_with_causes;
use crate::store::format::{Corruption, VERSION};

/// Why noted pins can't be read or written.
///
/// `Display` prints what failed and what to do. `Debug` prints the same, since `main` prints an
/// error that it returns by `Debug`. Cheap to clone.
///
/// ```
/// use pinhold::storage::StorageError;
/// use pinhold::{FileStorage, PinStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("noted-pins.jsonl");
/// std::fs::write(&path, "")?;
/// match PinStore::open(FileStorage::new(path)) {
///     Err(StorageError::Corrupt { readable, .. }) => assert_eq!(readable, 0),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum StorageError {
    /// The file differs from what was written.
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        corruption: Corruption,
        /// The number of its entries that pass their checksums.
        readable: usize,
        /// The new path of the corrupt file, once a file with the readable entries has replaced
        /// it; `None` while it is still in place, where a file that pinhold did not write stays.
        moved_to: Option<PathBuf>,
    },
    /// The operating system reported an error.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error.
        error: Arc<io::Error>,
    },
    /// Another process held the lock for more than 2 seconds, which is longer than any write takes.
    Locked {
        /// The lock file.
        lock: PathBuf,
    },
    /// The file has another version of the format than this code, such as one of a newer version of
    /// pinhold. It is left unchanged.
    UnknownVersion {
        /// The file.
        file: PathBuf,
        /// The version of its format.
        version: u64,
    },
    /// The path leads to something other than a regular file.
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there, such as "a directory".
        found: &'static str,
    },
    /// The error of a [`Storage`](crate::storage::Storage) of the application.
    Other(Arc<dyn Error + Send + Sync>),
    /// The storage panicked.
    Panicked,
    /// The storage has not completed a commit in time. Its changes are kept in memory and may still
    /// be stored.
    Slow {
        /// How long the response, or the drop of the store, has waited.
        waited: Duration,
    },
    /// The writer thread could not be started, or has ended with a panic.
    Thread(Arc<io::Error>),
    /// The storage has a record of noted pins that this version can't read. It is kept, and the pins
    /// of its host are not enforced.
    Unreadable {
        /// The name of the host.
        host: String,
        /// The number of such records.
        count: usize,
    },
    /// The records need a longer file than
    /// [`FileStorage::MAX_LEN`](crate::FileStorage::MAX_LEN). The file is left unchanged.
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The maximum length of a file, in bytes.
        limit: u64,
    },
}

impl StorageError {
    /// Wraps the error of a [`Storage`](crate::storage::Storage) of the application.
    ///
    /// ```
    /// use pinhold::storage::StorageError;
    ///
    /// let error = StorageError::other("the Keychain is locked");
    /// assert_eq!(error.to_string(), "noted pins: the Keychain is locked");
    /// ```
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
                write!(f, "file of noted pins {}: {corruption}; ", file.display())?;
                write_recovered(f, corruption, *readable, moved_to.as_ref())
            }
            Self::Io { path, error } => {
                write!(
                    f,
                    "file of noted pins {}: {error}{}",
                    path.display(),
                    advice(error)
                )
            }
            Self::Locked { lock } => write!(
                f,
                "noted pins: another process has held the lock {} for longer than any write \
                 takes. Look for a process that hangs; the lock is released when it ends",
                lock.display()
            ),
            Self::UnknownVersion { file, version } => write!(
                f,
                "file of noted pins {}: format version {version}, expected {VERSION}. The file is \
                 left unchanged: update this application, or use another file",
                file.display()
            ),
            Self::NotAFile { path, found } => write!(
                f,
                "file of noted pins {}: the path leads to {found}, expected a regular file or none",
                path.display()
            ),
            Self::Other(error) => write!(f, "noted pins: {error}"),
            Self::Panicked => f.write_str("noted pins: the storage panicked"),
            Self::Slow { waited } => write!(
                f,
                "noted pins: not stored within {waited:?}. They are kept in memory; check the disk"
            ),
            Self::Thread(error) => write!(f, "noted pins: no writer thread: {error}"),
            Self::Unreadable { host, count } => write!(
                f,
                "noted pins: {count} of the stored hosts can't be read by this version, such as \
                 {host}, and are not enforced. They are kept: update this application"
            ),
            Self::TooLarge { file, limit } => write_too_large(f, file, *limit),
        }
    }
}

fn write_too_large(f: &mut fmt::Formatter<'_>, file: &Path, limit: u64) -> fmt::Result {
    write!(
        f,
        "file of noted pins {}: the records need more than {} MiB. The file is left unchanged: use \
         a `Storage` on a database",
        file.display(),
        limit >> 20
    )
}

/// Writes what was recovered of a corrupt file, or how to recover it.
fn write_recovered(
    f: &mut fmt::Formatter<'_>,
    corruption: &Corruption,
    readable: usize,
    moved_to: Option<&PathBuf>,
) -> fmt::Result {
    if corruption.is_other_file(readable) {
        return f.write_str("it is left unchanged. Choose another path");
    }
    let noun = if readable == 1 { "entry" } else { "entries" };
    match moved_to {
        Some(path) => write!(
            f,
            "{readable} {noun} recovered, the corrupt file was moved to {}",
            path.display()
        ),
        None => write!(
            f,
            "{readable} {noun} can be recovered. `PinStore::open_or_recover` and `pinhold store \
             recover` do so and move the corrupt file aside, once its folder is writable"
        ),
    }
}

/// Returns what to do about an error of the operating system, whose own text does not state it.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ". Create the folder first",
        io::ErrorKind::PermissionDenied => {
            ". This user must be able to read and write the file, and to create files beside it"
        }
        io::ErrorKind::ReadOnlyFilesystem => ". Choose a folder that is writable",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ". Free some space",
        _ => "",
    }
}

impl fmt::Debug for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for StorageError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corrupt_file_is_described_with_what_was_or_can_be_recovered() {
        let corrupt = |readable, moved_to: Option<&str>| StorageError::Corrupt {
            file: "pins".into(),
            corruption: Corruption::Line(3),
            readable,
            moved_to: moved_to.map(PathBuf::from),
        };
        let moved = corrupt(0, Some("pins.corrupt-1"));
        assert_eq!(
            moved.to_string(),
            "file of noted pins pins: line 3 fails its checksum; 0 entries recovered, the \
             corrupt file was moved to pins.corrupt-1"
        );
        assert_eq!(format!("{moved:?}"), moved.to_string());
        let in_place = corrupt(1, None).to_string();
        assert!(
            in_place.contains("; 1 entry can be recovered. "),
            "{in_place}"
        );
        let other = StorageError::Corrupt {
            file: "ca.pem".into(),
            corruption: Corruption::NotAStoreFile,
            readable: 0,
            moved_to: None,
        };
        assert!(other.to_string().contains("left unchanged"), "{other}");
    }
}
