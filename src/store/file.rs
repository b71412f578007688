//! Batches in, one file out that is whole at every moment: [`FileStorage`].

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls_pki_types::UnixTime;

use crate::policy::{Host, KnownPinnedHost, timestamp};
use crate::store::entries::sorted;
use crate::store::format;
use crate::store::format::{Contents, Corruption, Fault};
use crate::store::storage::{Batch, Recovered, Storage, StorageError, put_newer};

/// Noted pins in one file, rewritten as a whole with every commit.
///
/// # What it costs
///
/// A commit takes time in proportion to the number of hosts, a database does not. Medians of
/// `cargo bench --bench store` on a virtual machine whose disk overwrites 4 KiB durably in 0.13 ms;
/// a phone's takes ten to a hundred times that:
///
/// | hosts | one change | opening | the same change in redb |
/// |---|---|---|---|
/// | 100 | 0.7 ms | | 0.3 ms |
/// | 1,000 | 1.7 ms | 1.2 ms | 0.3 ms |
/// | 10,000 | 11 ms | | 0.5 ms |
/// | 100,000 | 130 ms | 115 ms | 0.5 ms |
///
/// So up to some thousand hosts, of which the store notes 1024 unless told otherwise, the file's
/// simplicity costs nothing that a user could notice. From about ten thousand on, a database behind
/// [`Storage`] pays, as in `examples/own_storage.rs`. In memory a host with two pins takes 180
/// bytes.
///
/// # Several processes
///
/// Processes may share a file. Each takes over what the others wrote when it is opened, and with
/// its own next commit.
///
/// ```
/// use pinhold::{FileStorage, PinStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("noted-pins.jsonl");
/// let (store, trouble) = PinStore::open_or_recover(FileStorage::new(path));
/// if let Some(error) = trouble {
///     eprintln!("{error}");
/// }
/// # assert!(store.list().is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # How a commit is written
///
/// 1. `FILE.lock`, an empty file that stays, is locked (advisory, exclusive), for at most 2 s.
/// 2. If the first line of `FILE` is not the one last read or written here, another process has
///    written: the changes of the batch are applied to what it wrote. Else the store's snapshot is
///    taken.
/// 3. All entries go to a new `FILE.tmp`, which is synced.
/// 4. `FILE.tmp` is renamed to `FILE`, and the folder synced.
///
/// So a crash or a power cut at any moment leaves the old file or the new one, and perhaps a
/// `FILE.tmp`, which nobody reads and the next commit replaces. Reading needs no lock, and none is
/// held between commits: iOS ends an application that is suspended while it holds one in a shared
/// container. A directory, a symbolic link or a device in place of a file is refused.
///
/// # The format
///
/// JSON Lines in ASCII. Each line ends in one LF, the last one, too, and holds one object without
/// any whitespace, whose members stand in this order (the second line is wrapped here):
///
/// ```text
/// {"format":"pinhold","version":1,"entries":1,"digest":"HEX","sum":"HEX"}
/// {"host":"a.example","pins":["sha256/BASE64","sha256/BASE64"],"include_subdomains":true,
///  "report_uri":"https://r.example/","noted_at":"2026-11-23T04:16:53Z",
///  "expires_at":"2027-01-22T04:16:53Z","sum":"HEX"}
/// ```
///
/// - `HEX` stands for 32 lower-case hexadecimal digits: the first 16 bytes of a SHA-256.
/// - `sum` comes last in every line; its SHA-256 is that of all bytes of the line before
///   `,"sum":"`. It tells accidental corruption and is no signature.
/// - `entries` is the number of lines after the first, `digest` the SHA-256 of the digits of their
///   sums, one after the other: no line is lost, added or moved unseen.
/// - Entries are sorted by the bytes of `host`, a canonical name (A-labels in lower case, no
///   trailing dot) that occurs once.
/// - `pins` are distinct, at least one, sorted by the bytes of their digests; BASE64 is padded.
/// - `report_uri` is an absolute URI without a fragment, or `null`.
/// - Times are RFC 3339 in UTC with whole seconds; `expires_at` is the last second at which the
///   pins hold. A time beyond the year 9999 is written as the last second of that year.
/// - Nothing needs an escape, and a string with one is no entry.
///
/// Every version of the format begins with the bytes `{"format":"pinhold","version":`, digits, and
/// something else, so that a newer file is told from a damaged one. Version 1 is the only one so far; `tests/formats` has files of it.
///
/// # Platforms
///
/// - Unix: the three files are created with mode 0600, `FILE` anew with every commit.
/// - macOS and iOS: to sync means `F_FULLFSYNC`, which empties the drive's own cache, too.
/// - iOS: keep the file in the application's container. A write that is under way when the
///   application is suspended goes on later; to have it done, call
///   [`flush`](crate::PinStore::flush) within a background task.
/// - Android: keep it below `getNoBackupFilesDir()`, so that pins don't move to another device.
///   Where Rust has no file locks for the system, commits go on without one, and one process only
///   may write.
/// - Windows: access is that of the folder. A folder can't be synced: the newest commit may be lost
///   in a power cut, never the file. A virus scanner that holds the file open makes a commit fail;
///   it is tried again.
/// - Network file systems: as good as their renames and locks.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    /// The first line of the file as it was last read or written here.
    seen: Option<Vec<u8>>,
}

impl FileStorage {
    /// Keeps the entries in this file, which is created with the first commit. Its folder must
    /// exist. A relative path means one from the present working directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            // Only an empty path has no absolute form, and that one can't be opened.
            path: std::path::absolute(&path).unwrap_or(path),
            seen: None,
        }
    }

    /// The bytes that a file may have: 64 MiB, which is about 200,000 hosts with two pins. What is
    /// longer was not meant to be one.
    pub const MAX_LEN: u64 = 64 * 1024 * 1024;

    /// Everything in the file, remembered as seen if it is sound; `None` if there is no file.
    fn read(&mut self) -> Result<Option<Contents>, StorageError> {
        let Some(len) = length(&self.path)? else {
            self.seen = None;
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
        self.seen = match contents.fault {
            Some(_) => None,
            None => first_line(&mut &*bytes).ok(),
        };
        Ok(Some(contents))
    }

    /// Whether the file is the one last read or written here, or has gone.
    fn is_unmoved(&self) -> Result<bool, StorageError> {
        if length(&self.path)?.is_none() {
            return Ok(true);
        }
        let line = File::open(&self.path).and_then(|file| first_line(&mut BufReader::new(file)));
        let line = line.map_err(io_error(&self.path))?;
        Ok(self.seen.as_ref() == Some(&line))
    }

    /// Replaces the file, durably. The lock must be held.
    fn write(&mut self, entries: &[Arc<KnownPinnedHost>]) -> Result<(), StorageError> {
        let bytes = format::encode(entries);
        self.replace(&bytes)?;
        self.seal(&bytes)
    }

    /// Puts a whole file in place of the old one.
    fn replace(&self, bytes: &[u8]) -> Result<(), StorageError> {
        if u64::try_from(bytes.len()).map_or(true, |len| len > Self::MAX_LEN) {
            let error = "more than 64 MiB of noted pins, expected a database behind `Storage`";
            return Err(io_error(&self.path)(io::Error::other(error)));
        }
        let temporary = self.beside(".tmp");
        let written = create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let renamed = written
            .map_err(io_error(&temporary))
            .and_then(|()| fs::rename(&temporary, &self.path).map_err(io_error(&self.path)));
        if renamed.is_err() {
            // A full disk needs the room. What can't be removed, the next commit replaces.
            let _ = fs::remove_file(&temporary);
        }
        renamed
    }

    /// Makes the rename durable. Only then is the file known as ours: else the next commit would
    /// take it for unmoved, though the store has not seen what was merged into it.
    fn seal(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        sync(self.folder()).map_err(io_error(self.folder()))?;
        self.seen = first_line(&mut &*bytes).ok();
        Ok(())
    }

    /// Applies the batch to what another process wrote.
    fn merge(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
        let contents = self.read()?.unwrap_or_default();
        // Until the store has been told of it, which it is not where something fails below.
        self.seen = None;
        let readable = contents.entries.len();
        let mut stored = by_host(contents.entries);
        let corruption = match contents.fault {
            Some(Fault::Corruption(corruption)) => corruption,
            Some(Fault::NewerVersion(version)) => return Err(self.newer(version)),
            None => {
                batch.apply(&mut stored);
                let stored = sorted(stored.into_values().collect());
                self.write(&stored)?;
                return Ok(Some(stored.iter().map(|entry| (**entry).clone()).collect()));
            }
        };
        // Corrupt while the process runs: what the store knows makes it whole again.
        for entry in batch.snapshot() {
            put_newer(&mut stored, entry);
        }
        batch.apply(&mut stored);
        let kept = self.replace_damaged(&sorted(stored.into_values().collect()))?;
        // The store knows nothing of the saved entries yet, so the next commit merges again.
        self.seen = None;
        Err(self.damaged(corruption, readable, Some(kept)))
    }

    /// Writes the entries in place of a damaged file, which is kept under the name returned.
    fn replace_damaged(
        &mut self,
        entries: &[Arc<KnownPinnedHost>],
    ) -> Result<PathBuf, StorageError> {
        let bytes = format::encode(entries);
        let kept = self.keep_damaged()?;
        if let Err(error) = self.replace(&bytes) {
            // It is still there under its own name, and would be kept again next time.
            let _ = fs::remove_file(&kept);
            return Err(error);
        }
        self.seal(&bytes)?;
        Ok(kept)
    }

    /// Keeps the damaged file under a dated name, in place of no other file.
    fn keep_damaged(&self) -> Result<PathBuf, StorageError> {
        // `UnixTime::now` panics before 1970.
        let today = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let today = timestamp::print(UnixTime::since_unix_epoch(today)).unwrap_or_default();
        let today = today.replace(':', "");
        for number in 1..=100 {
            let suffix = match number {
                1 => format!(".damaged-{today}"),
                _ => format!(".damaged-{today}-{number}"),
            };
            let kept = self.beside(&suffix);
            // A second name first, so that the entries are on disk at every moment.
            let linked = fs::hard_link(&self.path, &kept).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                // A file system without hard links.
                _ => copy(&self.path, &kept),
            });
            match linked {
                Ok(()) => return Ok(kept),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error(&kept)(error)),
            }
        }
        let error = io::Error::from(io::ErrorKind::AlreadyExists);
        Err(io_error(&self.beside(".damaged-"))(error))
    }

    /// Saves the entries that verify and puts the damaged file aside.
    fn repair(&mut self) -> Result<(Vec<KnownPinnedHost>, Option<StorageError>), StorageError> {
        let _lock = self.lock()?;
        let contents = self.read()?.unwrap_or_default();
        let corruption = match contents.fault {
            // Another process was faster.
            None => return Ok((contents.entries, None)),
            Some(Fault::NewerVersion(version)) => return Err(self.newer(version)),
            Some(Fault::Corruption(corruption)) => corruption,
        };
        let readable = contents.entries.len();
        let entries = sorted(by_host(contents.entries).into_values().collect());
        let kept = self.replace_damaged(&entries)?;
        let error = self.damaged(corruption, readable, Some(kept));
        let entries = entries.iter().map(|entry| (**entry).clone()).collect();
        Ok((entries, Some(error)))
    }

    /// Locks out other processes until the file is dropped.
    fn lock(&self) -> Result<Option<File>, StorageError> {
        let path = self.beside(".lock");
        length(&path)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = private(&mut options).open(&path).map_err(io_error(&path))?;
        let begin = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if begin.elapsed() < TIMEOUT => {
                    thread::sleep(LOCK_RETRY_DELAY);
                }
                Err(TryLockError::WouldBlock) => return Err(StorageError::Locked { lock: path }),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(None);
                }
                Err(TryLockError::Error(error)) => return Err(io_error(&path)(error)),
            }
        }
    }

    /// The entries of the file that verify.
    fn readable(&mut self) -> Vec<KnownPinnedHost> {
        let contents = self.read().ok().flatten().unwrap_or_default();
        contents.entries
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The path with something appended to the file's name.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(suffix);
        path.into()
    }

    fn damaged(
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
            // A mistaken path is told now, not when the first pin can't be written.
            return match fs::metadata(self.folder()) {
                Ok(folder) if folder.is_dir() => Ok(Vec::new()),
                Ok(_) => Err(io_error(self.folder())(io::ErrorKind::NotADirectory.into())),
                Err(error) => Err(io_error(self.folder())(error)),
            };
        };
        let readable = contents.entries.len();
        match contents.fault {
            None => Ok(contents.entries),
            Some(Fault::Corruption(corruption)) => Err(self.damaged(corruption, readable, None)),
            Some(Fault::NewerVersion(version)) => Err(self.newer(version)),
        }
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
        let _lock = self.lock()?;
        if self.is_unmoved()? {
            self.write(&batch.snapshot())?;
            return Ok(None);
        }
        self.merge(batch)
    }

    fn recover(&mut self, error: StorageError) -> (Recovered, StorageError) {
        match error {
            StorageError::Corrupt { .. } => match self.repair() {
                Ok((entries, repaired)) => (Recovered::Stored(entries), repaired.unwrap_or(error)),
                // The folder can't be written to, say. What verifies holds all the same, and the
                // first commit that succeeds puts the damaged file aside.
                Err(_) => (Recovered::Stored(self.readable()), error),
            },
            // It may hold pins that this version can read, but is not this version's to write.
            StorageError::NewerVersion { .. } => (Recovered::InMemory(self.readable()), error),
            _ => (Recovered::InMemory(Vec::new()), error),
        }
    }
}

/// The length of a regular file; `None` if there is nothing of that name.
fn length(path: &Path) -> Result<Option<u64>, StorageError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path)(error)),
    };
    let found = match metadata.file_type() {
        kind if kind.is_file() => return Ok(Some(metadata.len())),
        kind if kind.is_dir() => "a directory",
        // Whoever may write to the folder could else have any file of this user's overwritten.
        kind if kind.is_symlink() => "a symbolic link",
        _ => "a device, a pipe or a socket",
    };
    Err(StorageError::NotAFile {
        path: path.to_owned(),
        found,
    })
}

/// The bytes up to the first LF, or those that a first line may have.
fn first_line(file: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    file.take(MAX_FIRST_LINE).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// A new file that only this user may read, instead of whatever is left of an earlier commit.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Never through a symbolic link that somebody puts there meanwhile.
    private(OpenOptions::new().write(true).create_new(true)).open(path)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(to)?;
    // Told nothing of the files: the ways by which Linux copies them are two kilobytes of a program.
    let copied = File::open(from)
        .and_then(|mut from| io::copy::<dyn Read, dyn Write>(&mut from, &mut file))
        .and_then(|_| file.sync_all());
    if copied.is_err() {
        let _ = fs::remove_file(to);
    }
    copied
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Makes a rename in this folder durable, where the system can.
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

/// Of two entries of one host the one noted later.
fn by_host(entries: Vec<KnownPinnedHost>) -> HashMap<Host, Arc<KnownPinnedHost>> {
    let mut map = HashMap::with_capacity(entries.len());
    for entry in entries {
        put_newer(&mut map, Arc::new(entry));
    }
    map
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.to_owned();
    |error| StorageError::Io {
        path,
        error: Arc::new(error),
    }
}

/// How long another process may hold the lock; the largest file is written in a second.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Between two attempts to lock.
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(2);
/// Version 1 has about 130 bytes.
const MAX_FIRST_LINE: u64 = 4096;
