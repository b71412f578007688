//! Storage of records in one file, a journal: [`FileStorage`].

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::policy::{IntoUnixTime, timestamp};
use crate::store::error::StorageError;
use crate::store::file_lock::{FileLock, io_error, length, private};
use crate::store::format::{self, Corruption, Header, Position, scan};
use crate::store::line::{self, Line, MAX_LINE};
use crate::store::record::{Change, Record, Update};
use crate::store::records::{Records, Unreported};
use crate::store::storage::{Merged, Recovered, Storage};

/// A [`Storage`] in one file, to which every commit appends.
///
/// # Performance
///
/// A commit costs one small synced write, however many hosts there are. PERFORMANCE
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
/// So a crash or a power cut at any moment leaves the records before the commit or those after it.
/// Reading needs no lock, and no lock and no open file is held between commits: iOS ends an
/// application that is suspended while it holds a lock in a shared container, and Windows can't
/// replace a file that is open. A directory, a symbolic link or a device in place of a file is refused.
///
/// # Corrupt files
///
/// [`recover`](Storage::recover) keeps the records whose lines pass their checksums and moves the
/// corrupt file to `FILE.corrupt-DATE`. A file of another version of the format is never changed, nor
/// is one of another kind, which has neither a header line nor a record. A flipped bit in the last line
/// can't be told from what a crash leaves there: that line is cut, and no error reports it.
///
#[doc = include_str!("format.md")]
/// # Platforms
///
/// - Unix: all files are created with mode 0600.
/// - macOS and iOS: files are synced by `F_FULLFSYNC`, which also flushes the cache of the drive.
/// - iOS: keep the file in the application's container. A write that is interrupted when the
///   application is suspended continues later; to complete it before, call
///   [`flush`](crate::PinStore::flush) within a background task.
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
    pub(super) seen: Option<Seen>,
    /// What others have written, until a method returns it to the store.
    pub(super) unreported: Unreported,
    /// The length from which on the file is compacted, in bytes.
    pub(super) compact_at: u64,
    /// Whether there was a file that this storage has read or written.
    has_existed: bool,
    /// Whether a rename may not be durable yet.
    has_unsynced_rename: bool,
    pull_interval: Option<Duration>,
}

/// A file as a storage has read and written it up to a position.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The header line, which no other file has.
    pub(super) header: Vec<u8>,
    pub(super) end: Position,
}

/// A file that can't be used as it is, and its readable records.
pub(super) enum Fault {
    Corruption(Corruption, Records),
    UnknownVersion(u64, Records),
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
    pub const MAX_LEN: u64 = 1024 * 1024 * 1024;

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
    fn catch_up(&mut self, file: &mut File) -> Result<Option<Fault>, StorageError> {
        if let Some(seen) = &self.seen {
            match read_appended(file, seen) {
                Ok(Some((end, updates))) => {
                    self.seen = Some(Seen {
                        end,
                        ..seen.clone()
                    });
                    self.unreported.extend(updates);
                    return Ok(None);
                }
                Ok(None) => {}
                Err(error) => return Err(io_error(&self.path)(error)),
            }
        }
        self.seen = None;
        self.unreported = Unreported::default();
        let (seen, read) = read_all(file).map_err(io_error(&self.path))?;
        let records = match read {
            Ok(records) => records,
            Err(fault) => return Ok(Some(fault)),
        };
        self.has_existed = true;
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
        match self.catch_up(&mut file)? {
            Some(fault) => Err(self.error_of(fault, None)),
            None => Ok(()),
        }
    }

    /// Appends the updates durably. Call it with the lock held, after [`catch_up`](Self::catch_up).
    fn append(&mut self, file: &mut File, updates: &[Update]) -> Result<(), StorageError> {
        let Some(Seen { header, end }) = self.seen.clone() else {
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
        self.seen = Some(Seen {
            header,
            end: Position {
                offset: end.offset.saturating_add(len_of(text.as_bytes())),
                lines: end.lines.saturating_add(updates.len()),
                lacks_line_feed: false,
            },
        });
        Ok(())
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
        self.sync_folder()?;
        self.seen = Some(Seen {
            header: header.into_bytes(),
            end: Position {
                offset: len_of(text.as_bytes()),
                lines: 1 + updates.len(),
                lacks_line_feed: false,
            },
        });
        self.unreported = Unreported::default();
        self.compact_at = compaction_threshold(len_of(text.as_bytes()));
        let was_lost = std::mem::replace(&mut self.has_existed, true);
        Ok(if was_lost {
            Merged::Lost
        } else {
            Merged::Nothing
        })
    }

    /// Writes these bytes to a temporary file and renames it to the file. Call it with the lock held.
    fn replace(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
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

    /// Replaces a corrupt file by one with its readable records. Returns the error that describes the
    /// fault, or why the file could not be replaced. Call it with the lock held.
    pub(super) fn repair(&mut self, fault: Fault) -> StorageError {
        self.seen = None;
        let (corruption, records) = match fault {
            Fault::Corruption(corruption, records) if !corruption.is_other_file(records.len()) => {
                (corruption, records)
            }
            fault => return self.error_of(fault, None),
        };
        let text = format::new_header() + &records.to_lines();
        let kept = match self.keep_corrupt() {
            Ok(kept) => kept,
            Err(error) => return error,
        };
        if let Err(error) = self.replace(text.as_bytes()) {
            // The file still has its own name, and the next attempt would make one more copy.
            let _ = fs::remove_file(&kept);
            return error;
        }
        match self.sync_folder() {
            Ok(()) => self.error_of(Fault::Corruption(corruption, records), Some(kept)),
            Err(error) => error,
        }
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

    /// Returns the records that pass their checksums, and none if the file can't be read.
    fn readable(&self) -> Vec<Record> {
        let file = self.open(false).ok().flatten();
        match file.and_then(|mut file| read_all(&mut file).ok()) {
            Some((
                _,
                Ok(records)
                | Err(Fault::Corruption(_, records) | Fault::UnknownVersion(_, records)),
            )) => records.into_vec(),
            None => Vec::new(),
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
            return Err(self.repair(fault));
        }
        let updates = changes
            .iter()
            .filter_map(|change| self.unreported.resolve(change));
        let updates = updates.collect::<Vec<_>>();
        self.append(&mut file, &updates)?;
        self.sync_folder()?;
        drop((file, lock));
        Ok(self.unreported.take(updates))
    }

    fn pull(&mut self) -> Result<Merged, StorageError> {
        self.read_ahead()?;
        Ok(self.unreported.take(Vec::new()))
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

impl FileStorage {
    fn recover_corrupt(&mut self, error: StorageError) -> (Recovered, StorageError) {
        let repaired = self.lock.acquire().and_then(|_lock| {
            let Some(mut file) = self.open(false)? else {
                return Ok(None);
            };
            Ok(self.catch_up(&mut file)?.map(|fault| self.repair(fault)))
        });
        let error = match repaired {
            // Meanwhile a file of another kind, which must not be replaced.
            Ok(Some(error @ StorageError::Corrupt { moved_to: None, .. })) => {
                return (Recovered::InMemory(Vec::new()), error);
            }
            Ok(Some(repaired @ StorageError::Corrupt { .. })) => repaired,
            // Another process has repaired it since; or the folder may not be writable. The readable
            // records are enforced nevertheless, and the first commit that succeeds moves the file.
            _ => error,
        };
        let records = self.readable();
        // Until a commit has read the file again.
        self.seen = None;
        self.has_existed = true;
        (Recovered::Stored(records), error)
    }
}

/// Returns the position up to which others have appended lines, and their updates; `None` if the file
/// must be read as a whole.
fn read_appended(file: &mut File, seen: &Seen) -> io::Result<Option<(Position, Vec<Update>)>> {
    let len = file.metadata()?.len();
    let appended = len.checked_sub(seen.end.offset);
    let Some(appended) = appended.filter(|len| *len <= MAX_APPENDED) else {
        return Ok(None);
    };
    if !has_header(file, &seen.header)? {
        return Ok(None);
    }
    if appended == 0 {
        return Ok(Some((seen.end, Vec::new())));
    }
    file.seek(SeekFrom::Start(seen.end.offset))?;
    let mut updates = Vec::new();
    let mut reader = BufReader::new(file.take(appended));
    let (end, bad) = scan(&mut reader, seen.end, &mut |line| {
        updates.push(line.update())
    })?;
    // Perhaps another process has failed to write, and others have overwritten that.
    Ok(bad.is_none().then_some((end, updates)))
}

/// Returns whether the file begins with this header.
pub(super) fn has_header(file: &mut File, header: &[u8]) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut first = Vec::with_capacity(header.len());
    let len = u64::try_from(header.len()).unwrap_or(u64::MAX);
    file.take(len).read_to_end(&mut first)?;
    Ok(first == header)
}

/// Reads a file as a whole.
fn read_all(file: &mut File) -> io::Result<(Seen, Result<Records, Fault>)> {
    file.seek(SeekFrom::Start(0))?;
    let len = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(READ_BUFFER, file.take(FileStorage::MAX_LEN));
    let (mut header, mut records) = (Vec::new(), Records::default());
    let offset = format::read_line(&mut reader, &mut header)?;
    // In the place of a missing header.
    let first = header.strip_suffix(b"\n").and_then(Line::read);
    let is_update = first.is_some();
    first.into_iter().for_each(|line| records.apply_line(line));
    let from = Position {
        offset,
        lines: 1,
        lacks_line_feed: false,
    };
    let (end, bad) = scan(&mut reader, from, &mut |line| records.apply_line(line))?;
    let corruption = match Header::read(&header) {
        Header::UnknownVersion(version) => {
            let seen = Seen { header, end };
            return Ok((seen, Err(Fault::UnknownVersion(version, records))));
        }
        _ if len == 0 => Some(Corruption::Empty),
        _ if len > FileStorage::MAX_LEN => Some(Corruption::Oversized {
            len,
            limit: FileStorage::MAX_LEN,
        }),
        Header::Intact => bad.map(Corruption::Line),
        Header::Other if !is_update && end == from => Some(Corruption::NotAStoreFile),
        Header::Other | Header::Corrupt => Some(Corruption::Header),
    };
    let read = match corruption {
        Some(corruption) => Err(Fault::Corruption(corruption, records)),
        None => Ok(records),
    };
    Ok((Seen { header, end }, read))
}

/// Writes the bytes at this offset, where the file then ends, and syncs them.
pub(super) fn append_at(file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    if file.metadata()?.len() != offset {
        file.set_len(offset)?;
    }
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Returns the length from which on a file with so many bytes of records is more than half history.
pub(super) fn compaction_threshold(live: u64) -> u64 {
    live.saturating_mul(2).max(MIN_COMPACTED)
}

pub(super) fn len_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
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
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

/// Appended lines beyond this length are not read by themselves, but with the whole file.
const MAX_APPENDED: u64 = 1024 * 1024;
/// A file that is shorter is not compacted: 64 KiB, which is read in less than a millisecond.
const MIN_COMPACTED: u64 = 64 * 1024;
const READ_BUFFER: usize = 64 * 1024;
