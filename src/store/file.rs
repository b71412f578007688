//! Storage of records in one file, a journal: [`FileStorage`].

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::change::Change;
use crate::store::error::StorageError;
use crate::store::file_lock::{FileLock, io_error, length, private};
use crate::store::format::{self, Position};
use crate::store::journal::{
    Fault, KnownFile, MAX_APPENDED, MAX_LEN, append_at, len_of, read_all, read_appended,
};
use crate::store::line::{self, MAX_LINE};
use crate::store::record::{Record, Update};
use crate::store::records::{Records, Unreported};
use crate::store::storage::{Merged, Recovered, Storage};

/// A [`Storage`] in one file, to which every commit appends.
///
/// # Performance
///
/// A commit costs one small synced write, however many hosts there are. These are medians of
/// `cargo bench --bench store`, the file on a virtual disk; the flash memory of a phone takes ten to
/// a hundred times as long:
///
/// | hosts | one change | 4 KiB appended and synced | opening |
/// |---|---|---|---|
/// | 1,000 | 0.36 ms | 0.35 ms | 1.9 ms |
/// | 100,000 | 0.38 ms | 0.36 ms | 390 ms |
/// | 1,000,000 | 0.35 ms | 0.33 ms | |
///
/// In memory a host with two pins takes 220 bytes. A compaction takes a second at 100,000 hosts, and
/// changes that are made meanwhile wait for it.
///
/// # Several processes
///
/// Processes may share a file. Each reads what the others wrote when it opens the file and when it
/// commits, and if [`pull_every`](Self::pull_every) is set, at that interval.
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
/// 2. The lines that others have appended are read, or the whole file if its header shows that
///    another process has replaced it. Most of that is done before the lock is taken.
/// 3. The updates of the batch that do not undo what others have noted are appended, and synced.
///
/// The first commit creates the file: it is written to `FILE.tmp`, synced and renamed to `FILE`, and
/// the folder is synced. Once more than half of a file beyond 64 KiB is history, it is *compacted* in
/// the same way by `FILE.compact`, which is written before the lock is taken; `FILE.compact.lock`
/// keeps a second process from doing the same.
///
/// So a crash or a power cut at any moment leaves the records before the commit, or the first of its
/// updates, or all of them.
/// Reading needs no lock, and no lock and no open file is held between commits: iOS ends an
/// application that is suspended while it holds a lock in a shared container, and Windows can't
/// replace a file that is open. A directory, a symbolic link or a device in place of a file is refused.
///
/// # Corrupt files
///
/// [`recover`](Storage::recover) keeps the records whose lines pass their checksums and moves the
/// corrupt file to `FILE.corrupt-DATE`. A file of another version of the format is never changed, nor
/// is one of another kind, which has neither a header line nor a record. A flipped bit in the last line
/// can't be distinguished from what a crash leaves there: that line is cut, and no error reports it.
///
#[doc = include_str!("format.md")]
/// # Platforms
///
/// - Unix: all files are created with mode 0600.
/// - macOS and iOS: files are synced by `F_FULLFSYNC`, which also flushes the cache of the drive.
/// - iOS: keep the file in the application's container. A compaction holds a lock for longer than a
///   commit; drop the store, which waits for it, before an extension that shares the file is
///   suspended. A write that is interrupted when the application is suspended continues later; to
///   complete it before, call [`flush`](crate::PinStore::flush) within a background task.
/// - Android: keep the file below `getNoBackupFilesDir()`, so that pins are not moved to another
///   device. Where Rust has no file locks for the system, commits use none, and only one process
///   may write.
/// - Windows: the folder's permissions apply. A folder can't be synced: a power cut may undo the
///   creation or a compaction of the file, but never damages it. A virus scanner that holds the file
///   open makes a compaction fail; it is tried again.
/// - Network file systems: as reliable as their renames and locks.
#[derive(Debug)]
pub struct FileStorage {
    pub(super) path: PathBuf,
    pub(super) lock: FileLock,
    /// Held by the process that compacts the file.
    pub(super) compaction_lock: FileLock,
    /// `None` if this storage has not read the file, or if that failed.
    pub(super) seen: Option<KnownFile>,
    /// What others have written, until a method returns it to the store.
    pub(super) unreported: Unreported,
    /// The length from which on the file is compacted, in bytes.
    pub(super) compact_at: u64,
    /// Whether there was a file that this storage has read or written.
    pub(super) has_existed: bool,
    /// Whether the file was created in place of one that was removed.
    has_lost_records: bool,
    /// Whether a rename may not be durable yet.
    has_unsynced_rename: bool,
    pull_interval: Option<Duration>,
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
            compaction_lock: FileLock::new(beside(&path, ".compact.lock")),
            path,
            seen: None,
            unreported: Unreported::default(),
            compact_at: 0,
            has_existed: false,
            has_lost_records: false,
            has_unsynced_rename: false,
            pull_interval: None,
        }
    }

    /// Makes the store read what other processes write at this interval. By default it does so with
    /// each of its own commits only.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use pinhold::FileStorage;
    /// use pinhold::storage::Storage;
    ///
    /// let minute = Duration::from_secs(60);
    /// let storage = FileStorage::new("noted-pins.jsonl").pull_every(minute);
    /// assert_eq!(storage.pull_interval(), Some(minute));
    /// ```
    #[must_use]
    pub fn pull_every(mut self, interval: Duration) -> Self {
        self.pull_interval = Some(interval);
        self
    }

    /// The maximum length of a file: 1 GiB, which is more than three million hosts with two pins. A
    /// longer file is not read beyond that, so that it can't fill the memory.
    pub const MAX_LEN: u64 = MAX_LEN;

    /// Opens the file; `None` if there is none.
    pub(super) fn open(&self, for_writing: bool) -> Result<Option<File>, StorageError> {
        if length(&self.path)?.is_none() {
            return Ok(None);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(for_writing)
            .open(&self.path);
        file.map(Some).map_err(io_error(&self.path))
    }

    /// Reads what others have written since this storage last read or wrote the file: the lines that
    /// they have appended, or the whole file if they have replaced it.
    pub(super) fn catch_up(&mut self, file: &mut File) -> Result<Option<Fault>, StorageError> {
        if let Some(seen) = &self.seen {
            match read_appended(file, seen, MAX_APPENDED) {
                Ok(Some((end, updates))) if self.unreported.len() < MAX_UNREPORTED => {
                    self.seen = Some(KnownFile {
                        end,
                        ..seen.clone()
                    });
                    self.unreported.extend(updates);
                    return Ok(None);
                }
                Ok(_) => {}
                Err(error) => return Err(io_error(&self.path)(error)),
            }
        }
        self.seen = None;
        self.unreported = Unreported::default();
        let (seen, read) = read_all(file, MAX_LEN).map_err(io_error(&self.path))?;
        let records = match read {
            Ok(records) => records,
            Err(fault) => return Ok(Some(fault)),
        };
        self.has_existed = true;
        // The process that has renamed it may have been killed before it was durable.
        self.has_unsynced_rename = true;
        self.compact_at = compaction_threshold(records.typical_len());
        self.unreported.all = Some(records);
        self.seen = Some(seen);
        Ok(None)
    }

    /// Reads without the lock what others have written. A file that is being repaired or replaced
    /// is read again with the lock.
    fn read_ahead(&mut self) -> Result<(), StorageError> {
        let Some(mut file) = self.open(false)? else {
            return Ok(());
        };
        if self.catch_up(&mut file)?.is_none() {
            return Ok(());
        }
        // Once more, since another process may have written at the same time.
        match self.open(false)?.map(|mut file| self.catch_up(&mut file)) {
            Some(read) => match read? {
                Some(fault) => Err(self.error_of(fault, None)),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Appends the updates durably. Call it with the lock held, after [`catch_up`](Self::catch_up).
    fn append(&mut self, file: &mut File, updates: &[Update]) -> Result<(), StorageError> {
        let Some(KnownFile { header, end }) = self.seen.clone() else {
            return Err(io_error(&self.path)(io::ErrorKind::InvalidData.into()));
        };
        if updates.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        if end.lacks_line_feed {
            text.push('\n');
        }
        self.encode(&mut text, updates, end.offset)?;
        let appended = append_at(file, end.offset, text.as_bytes());
        if let Err(error) = appended {
            // What was written of it is cut, now or by the next commit.
            let _ = file.set_len(end.offset);
            return Err(io_error(&self.path)(error));
        }
        let end = end.after(&text);
        self.seen = Some(KnownFile { header, end });
        Ok(())
    }

    /// Returns what a method returns after it has made these updates.
    fn merged(&mut self, made: Vec<Update>) -> Merged {
        let merged = self.unreported.take(made);
        if std::mem::take(&mut self.has_lost_records) {
            return Merged::Lost;
        }
        merged
    }

    /// Appends the updates to the text, which is to be written at this offset of the file.
    fn encode(
        &self,
        text: &mut String,
        updates: &[Update],
        offset: u64,
    ) -> Result<(), StorageError> {
        let is_too_long = |update: &Update| matches!(update, Update::Put(put) if put.value().len() > MAX_LINE / 2);
        updates.iter().for_each(|update| line::write(text, update));
        if updates.iter().any(is_too_long)
            || offset.saturating_add(len_of(text.as_bytes())) > Self::MAX_LEN
        {
            return Err(StorageError::TooLarge {
                file: self.path.clone(),
                limit: Self::MAX_LEN,
            });
        }
        Ok(())
    }

    /// Creates the file with these changes. Call it with the lock held.
    fn create(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
        let header = format::new_header();
        let updates = changes.iter().map(|change| change.update().clone());
        let updates = updates.collect::<Vec<_>>();
        let mut text = header.clone();
        self.encode(&mut text, &updates, 0)?;
        self.seen = None;
        self.replace(text.as_bytes())?;
        // Until a commit returns that, also if the sync fails.
        self.has_lost_records = std::mem::replace(&mut self.has_existed, true);
        self.sync_folder()?;
        self.seen = Some(KnownFile {
            header: header.into_bytes(),
            end: Position::default().after(&text),
        });
        self.unreported = Unreported::default();
        self.compact_at = compaction_threshold(len_of(text.as_bytes()));
        Ok(self.merged(Vec::new()))
    }

    /// Writes these bytes to a temporary file and renames it to the file. Call it with the lock held.
    pub(super) fn replace(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let temporary = beside(&self.path, ".tmp");
        let written = create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let renamed = written
            .map_err(io_error(&temporary))
            .and_then(|()| self.rename(&temporary));
        if renamed.is_err() {
            // Frees space on a full disk. If that fails, the next commit replaces the file.
            let _ = fs::remove_file(&temporary);
        }
        renamed
    }

    /// Renames a file to the file of this storage.
    pub(super) fn rename(&mut self, from: &Path) -> Result<(), StorageError> {
        fs::rename(from, &self.path).map_err(io_error(&self.path))?;
        self.has_unsynced_rename = true;
        Ok(())
    }

    /// Makes a rename durable.
    pub(super) fn sync_folder(&mut self) -> Result<(), StorageError> {
        if self.has_unsynced_rename {
            sync(self.folder()).map_err(io_error(self.folder()))?;
            self.has_unsynced_rename = false;
        }
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    pub(super) fn error_of(&self, fault: Fault, moved_to: Option<PathBuf>) -> StorageError {
        let file = self.path.clone();
        match fault {
            Fault::Corruption(corruption, records) => StorageError::Corrupt {
                file,
                corruption,
                readable: records.len(),
                moved_to,
            },
            Fault::UnknownVersion(version, _) => StorageError::UnknownVersion { file, version },
        }
    }
}

impl Storage for FileStorage {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        if length(&self.path)?.is_none() {
            // Checked now, so that a wrong path fails when the store is opened, not when the first
            // pins are written.
            return match fs::metadata(self.folder()) {
                Ok(folder) if folder.is_dir() => Ok(Vec::new()),
                Ok(_) => Err(io_error(self.folder())(io::ErrorKind::NotADirectory.into())),
                Err(error) => Err(io_error(self.folder())(error)),
            };
        }
        self.seen = None;
        self.read_ahead()?;
        let all = self.unreported.all.take();
        Ok(all.map(Records::into_vec).unwrap_or_default())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
        // Most is read before the lock is held, since that takes long for a large file. An error
        // occurs again, or was the effect of a write at the same time.
        let _ = self.read_ahead();
        let lock = self.lock.acquire()?;
        let Some(mut file) = self.open(true)? else {
            return self.create(changes);
        };
        if let Some(fault) = self.catch_up(&mut file)? {
            // Windows can't replace a file that is open.
            drop(file);
            return Err(self.repair(fault));
        }
        let updates = changes
            .iter()
            .filter_map(|change| self.unreported.resolve(change, changes));
        let updates = updates.collect::<Vec<_>>();
        self.append(&mut file, &updates)?;
        self.sync_folder()?;
        drop((file, lock));
        Ok(self.merged(updates))
    }

    fn pull(&mut self) -> Result<Merged, StorageError> {
        self.read_ahead()?;
        if self.has_lost_records {
            // The next commit returns that.
            return Ok(Merged::Nothing);
        }
        Ok(self.merged(Vec::new()))
    }

    fn pull_interval(&self) -> Option<Duration> {
        self.pull_interval
    }

    fn compact(&mut self) -> Result<(), StorageError> {
        self.compact_if_history()
    }

    fn recover(&mut self, error: StorageError) -> (Recovered, StorageError) {
        match error {
            StorageError::Corrupt {
                ref corruption,
                readable,
                ..
            } if !corruption.is_other_file(readable) => self.recover_corrupt(error),
            // Its readable pins are enforced. Writing it would lose what this version can't read.
            StorageError::UnknownVersion { .. } => (Recovered::InMemory(self.readable()), error),
            _ => (Recovered::InMemory(Vec::new()), error),
        }
    }
}

/// Returns the length from which on a file with so many bytes of records is more than half history.
pub(super) fn compaction_threshold(live: u64) -> u64 {
    live.saturating_mul(2).max(MIN_COMPACTED)
}

/// Creates a file that only this user may access, in place of one that an earlier commit left.
pub(super) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` does not follow a symbolic link that another user creates in between.
    private(OpenOptions::new().write(true).create_new(true)).open(path)
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
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

/// The number of updates that wait to be returned to the store. After more the file is read as a whole.
const MAX_UNREPORTED: usize = 10_000;
/// A file that is shorter is not compacted: 64 KiB, which is read in less than a millisecond.
const MIN_COMPACTED: u64 = 64 * 1024;
