//! Storage of noted pins in one file that is complete at every moment: [`FileStorage`].

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::policy::{Host, IntoUnixTime, KnownPinnedHost, timestamp};
use crate::store::entries::sorted;
use crate::store::error::StorageError;
use crate::store::file_lock::{FileLock, io_error, length, private};
use crate::store::format::{self, Contents, Corruption, Fault};
use crate::store::storage::{Batch, Recovered, Storage, put_newer};

/// A [`Storage`] in one file, which every commit rewrites as a whole.
///
/// # Performance
///
/// The time of a commit is proportional to the number of hosts, unlike that of a database. These
/// are medians of `cargo bench --bench store` on a virtual machine whose disk overwrites 4 KiB
/// durably in 0.13 ms; the flash memory of a phone takes ten to a hundred times as long:
///
/// | hosts | one change | opening | the same change in redb |
/// |---|---|---|---|
/// | 100 | 0.7 ms | | 0.3 ms |
/// | 1,000 | 1.7 ms | 1.2 ms | 0.3 ms |
/// | 10,000 | 11 ms | | 0.5 ms |
/// | 100,000 | 130 ms | 115 ms | 0.5 ms |
///
/// A store notes 1024 hosts by default, and up to a few thousand hosts no user notices the
/// difference. From about ten thousand hosts, implement [`Storage`] on a database, as
/// `examples/own_storage.rs` does. In memory a host with two pins takes 180 bytes.
///
/// # Several processes
///
/// Processes may share a file. Each reads what the others wrote when it opens the file and when it
/// commits.
///
/// ```
/// use pinhold::{FileStorage, PinStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("noted-pins.jsonl");
/// let (store, error) = PinStore::open_or_recover(FileStorage::new(path));
/// if let Some(error) = error {
///     eprintln!("{error}");
/// }
/// # assert!(store.list().is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # How a commit is written
///
/// 1. `FILE.lock`, an empty file that is never removed, is locked (advisory and exclusive). If
///    another process holds the lock for more than 2 s, the commit fails and is tried again. Until
///    one succeeds, no attempt waits, so that one holder delays no command by more than that.
/// 2. If the first line of `FILE` is not the one that this storage last read or wrote, another
///    process has written the file: the changes of the batch are applied to its entries. Otherwise
///    the snapshot of the batch is used.
/// 3. All entries are written to a new `FILE.tmp`, which is synced.
/// 4. `FILE.tmp` is renamed to `FILE`, and the folder is synced.
///
/// So a crash or a power cut at any moment leaves the old file or the new one, and perhaps a
/// `FILE.tmp`, which is never read and is replaced by the next commit. Reading needs no lock, and
/// no lock is held between commits: iOS ends an application that is suspended while it holds one
/// in a shared container. A directory, a symbolic link or a device in place of a file is refused.
///
/// # Corrupt files
///
/// [`recover`](Storage::recover) keeps the entries whose lines pass their checksums and moves the
/// corrupt file to `FILE.corrupt-DATE`. A file that a newer version of pinhold has written is never
/// changed, nor is one of another kind, which has neither a header line nor an entry.
///
#[doc = include_str!("format.md")]
/// # Platforms
///
/// - Unix: all files are created with mode 0600; every commit creates `FILE` again.
/// - macOS and iOS: files are synced by `F_FULLFSYNC`, which also flushes the cache of the drive.
/// - iOS: keep the file in the application's container. A write that is interrupted when the
///   application is suspended continues later; to complete it before, call
///   [`flush`](crate::PinStore::flush) within a background task.
/// - Android: keep the file below `getNoBackupFilesDir()`, so that pins are not moved to another
///   device. Where Rust has no file locks for the system, commits use none, and only one process
///   may write.
/// - Windows: the folder's permissions apply. A folder can't be synced: a power cut may undo the
///   latest commit, but never damages the file. A virus scanner that holds the file open makes a
///   commit fail; it is tried again.
/// - Network file systems: as reliable as their renames and locks.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    /// The first line of the file when this storage last read or wrote it. It has the digest of all
    /// entries, so it differs once another process has changed one.
    known_header: Option<Vec<u8>>,
    lock: FileLock,
}

impl FileStorage {
    /// Returns a storage in this file, which the first commit creates. Its folder must exist. A
    /// relative path is resolved against the current working directory now.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        // Only an empty path has no absolute form, and it can't be opened anyway.
        let path = std::path::absolute(&path).unwrap_or(path);
        Self {
            lock: FileLock::new(beside(&path, ".lock")),
            path,
            known_header: None,
        }
    }

    /// The maximum length of a file: 64 MiB, which is about 200,000 hosts with two pins. A longer
    /// file is not read beyond that, so that it can't fill the memory.
    pub const MAX_LEN: u64 = 64 * 1024 * 1024;

    /// Reads the whole file, and records its header unless it is corrupt. Returns `None` if there
    /// is no file.
    fn read(&mut self) -> Result<Option<Contents>, StorageError> {
        let Some(len) = length(&self.path)? else {
            self.known_header = None;
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(usize::try_from(len.min(Self::MAX_LEN)).unwrap_or(0));
        File::open(&self.path)
            .and_then(|file| file.take(Self::MAX_LEN).read_to_end(&mut bytes))
            .map_err(io_error(&self.path))?;
        let mut contents = Contents::read(&bytes);
        if len > Self::MAX_LEN && !matches!(contents.fault, Some(Fault::NewerVersion(_))) {
            let limit = Self::MAX_LEN;
            contents.fault = Some(Fault::Corruption(Corruption::Oversized { len, limit }));
        }
        self.known_header = match contents.fault {
            Some(_) => None,
            None => first_line(&mut &*bytes).ok(),
        };
        Ok(Some(contents))
    }

    /// Returns whether the file is unchanged since this storage last read or wrote it. A file that
    /// was removed counts as unchanged: it has no entries to merge.
    fn is_unchanged(&self) -> Result<bool, StorageError> {
        if length(&self.path)?.is_none() {
            return Ok(true);
        }
        let line = File::open(&self.path).and_then(|file| first_line(&mut BufReader::new(file)));
        let line = line.map_err(io_error(&self.path))?;
        Ok(self.known_header.as_ref() == Some(&line))
    }

    /// Replaces the file durably. Call it with the lock held.
    fn write(&mut self, entries: &[Arc<KnownPinnedHost>]) -> Result<(), StorageError> {
        let bytes = format::encode(entries);
        self.replace(&bytes)?;
        self.complete(&bytes)
    }

    /// Writes these bytes to a temporary file and renames it to the file.
    fn replace(&self, bytes: &[u8]) -> Result<(), StorageError> {
        if u64::try_from(bytes.len()).map_or(true, |len| len > Self::MAX_LEN) {
            return Err(StorageError::TooLarge {
                file: self.path.clone(),
                limit: Self::MAX_LEN,
            });
        }
        let temporary = beside(&self.path, ".tmp");
        let written = create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let renamed = written
            .map_err(io_error(&temporary))
            .and_then(|()| fs::rename(&temporary, &self.path).map_err(io_error(&self.path)));
        if renamed.is_err() {
            // Frees space on a full disk. If that fails, the next commit replaces the file.
            let _ = fs::remove_file(&temporary);
        }
        renamed
    }

    /// Makes the rename durable, then records the header. If the sync fails, the store does not get
    /// the merged entries, so the next commit must merge them again.
    fn complete(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        sync(self.folder()).map_err(io_error(self.folder()))?;
        self.known_header = first_line(&mut &*bytes).ok();
        Ok(())
    }

    /// Applies the batch to the entries that another process wrote.
    fn merge(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
        let contents = self.read()?.unwrap_or_default();
        // Unknown until the entries are returned to the store, which a failure below prevents.
        self.known_header = None;
        let readable = contents.entries.len();
        let mut stored = by_host(contents.entries);
        let corruption = match contents.fault {
            Some(Fault::Corruption(corruption)) if corruption.is_other_file(readable) => {
                return Err(self.corrupt(corruption, readable, None));
            }
            Some(Fault::Corruption(corruption)) => corruption,
            Some(Fault::NewerVersion(version)) => return Err(self.newer(version)),
            None => {
                batch.apply(&mut stored);
                let stored = sorted(stored.into_values().collect());
                self.write(&stored)?;
                return Ok(Some(stored.iter().map(|entry| (**entry).clone()).collect()));
            }
        };
        // The file was corrupted while the process runs: the entries in memory repair it.
        for entry in batch.snapshot() {
            stored.entry(entry.host.clone()).or_insert(entry);
        }
        batch.apply(&mut stored);
        let moved_to = self.replace_corrupt(&sorted(stored.into_values().collect()))?;
        // The store does not have the recovered entries yet, so the next commit merges them.
        self.known_header = None;
        Err(self.corrupt(corruption, readable, Some(moved_to)))
    }

    /// Replaces a corrupt file by one with these entries. Returns the new path of the corrupt file.
    fn replace_corrupt(
        &mut self,
        entries: &[Arc<KnownPinnedHost>],
    ) -> Result<PathBuf, StorageError> {
        let bytes = format::encode(entries);
        let kept = self.keep_corrupt()?;
        if let Err(error) = self.replace(&bytes) {
            // The file still has its own name, and the next attempt would make one more copy.
            let _ = fs::remove_file(&kept);
            return Err(error);
        }
        self.complete(&bytes)?;
        Ok(kept)
    }

    /// Gives the corrupt file a second name with the date. Never replaces another file.
    fn keep_corrupt(&self) -> Result<PathBuf, StorageError> {
        let now = SystemTime::now().into_unix_time();
        let date = timestamp::print(now).unwrap_or_default().replace(':', "");
        for number in 1..=100 {
            let suffix = match number {
                1 => format!(".corrupt-{date}"),
                _ => format!(".corrupt-{date}-{number}"),
            };
            let kept = beside(&self.path, &suffix);
            // Linked, not renamed, so that the file has its own name, too, at every moment.
            let linked = fs::hard_link(&self.path, &kept).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                // The file system may have no hard links.
                _ => copy(&self.path, &kept),
            });
            match linked {
                Ok(()) => return Ok(kept),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error(&kept)(error)),
            }
        }
        let error = io::Error::from(io::ErrorKind::AlreadyExists);
        Err(io_error(&beside(&self.path, ".corrupt-"))(error))
    }

    /// Replaces a corrupt file by one with its readable entries. Returns the entries, and the error
    /// that describes the corruption.
    fn repair(&mut self) -> Result<(Vec<KnownPinnedHost>, Option<StorageError>), StorageError> {
        let _lock = self.lock.acquire()?;
        let contents = self.read()?.unwrap_or_default();
        let readable = contents.entries.len();
        let corruption = match contents.fault {
            // Another process has repaired it since.
            None => return Ok((contents.entries, None)),
            Some(Fault::NewerVersion(version)) => return Err(self.newer(version)),
            Some(Fault::Corruption(corruption)) => corruption,
        };
        if corruption.is_other_file(readable) {
            return Err(self.corrupt(corruption, readable, None));
        }
        let entries = sorted(by_host(contents.entries).into_values().collect());
        let moved_to = self.replace_corrupt(&entries)?;
        let error = self.corrupt(corruption, readable, Some(moved_to));
        let entries = entries.iter().map(|entry| (**entry).clone()).collect();
        Ok((entries, Some(error)))
    }

    /// Returns the entries of the file that pass their checksums, and none if it can't be read.
    fn readable(&mut self) -> Vec<KnownPinnedHost> {
        let contents = self.read().ok().flatten().unwrap_or_default();
        contents.entries
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    fn corrupt(
        &self,
        corruption: Corruption,
        readable: usize,
        moved_to: Option<PathBuf>,
    ) -> StorageError {
        StorageError::Corrupt {
            file: self.path.clone(),
            corruption,
            readable,
            moved_to,
        }
    }

    fn newer(&self, version: u64) -> StorageError {
        StorageError::NewerVersion {
            file: self.path.clone(),
            version,
        }
    }
}

impl Storage for FileStorage {
    fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
        let Some(contents) = self.read()? else {
            // Checked now, so that a wrong path fails when the store is opened, not when the first
            // pins are written.
            return match fs::metadata(self.folder()) {
                Ok(folder) if folder.is_dir() => Ok(Vec::new()),
                Ok(_) => Err(io_error(self.folder())(io::ErrorKind::NotADirectory.into())),
                Err(error) => Err(io_error(self.folder())(error)),
            };
        };
        let readable = contents.entries.len();
        match contents.fault {
            None => Ok(contents.entries),
            Some(Fault::Corruption(corruption)) => Err(self.corrupt(corruption, readable, None)),
            Some(Fault::NewerVersion(version)) => Err(self.newer(version)),
        }
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
        let _lock = self.lock.acquire()?;
        if self.is_unchanged()? {
            self.write(&batch.snapshot())?;
            return Ok(None);
        }
        self.merge(batch)
    }

    fn recover(&mut self, error: StorageError) -> (Recovered, StorageError) {
        match error {
            StorageError::Corrupt {
                ref corruption,
                readable,
                ..
            } if !corruption.is_other_file(readable) => match self.repair() {
                Ok((entries, repaired)) => (Recovered::Stored(entries), repaired.unwrap_or(error)),
                // Meanwhile a file of another kind, which must not be replaced.
                Err(error @ StorageError::Corrupt { .. }) => (Recovered::InMemory(vec![]), error),
                // The folder may not be writable. The readable entries are enforced nevertheless,
                // and the first commit that succeeds moves the corrupt file.
                Err(_) => (Recovered::Stored(self.readable()), error),
            },
            // Its readable pins are enforced. Writing it would lose what this version can't read.
            StorageError::NewerVersion { .. } => (Recovered::InMemory(self.readable()), error),
            _ => (Recovered::InMemory(Vec::new()), error),
        }
    }
}

/// Returns the bytes up to the first LF, limited to the maximum length of a first line.
fn first_line(file: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    file.take(MAX_FIRST_LINE).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Creates a file that only this user may access, in place of one that an earlier commit left.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` does not follow a symbolic link that another user creates in between.
    private(OpenOptions::new().write(true).create_new(true)).open(path)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(to)?;
    // `dyn` avoids the specialised copying for files on Linux, which adds 2 kB to a program.
    let copied = File::open(from)
        .and_then(|mut from| io::copy::<dyn Read, dyn Write>(&mut from, &mut file))
        .and_then(|_| file.sync_all());
    if copied.is_err() {
        let _ = fs::remove_file(to);
    }
    copied
}

/// Makes a rename in this folder durable, where the system supports that.
#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Returns the path with a suffix appended to its last component.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

/// Returns a map from hosts to their entries. Of two entries of one host the one noted later is
/// kept.
fn by_host(entries: Vec<KnownPinnedHost>) -> HashMap<Host, Arc<KnownPinnedHost>> {
    let mut map = HashMap::with_capacity(entries.len());
    for entry in entries {
        put_newer(&mut map, Arc::new(entry));
    }
    map
}

/// The limit of bytes in the first line. It has about 130 in version 1; newer versions may need
/// more.
const MAX_FIRST_LINE: u64 = 4096;
