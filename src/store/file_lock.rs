//! The lock that keeps other processes from writing a file of noted pins: [`FileLock`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::store::error::StorageError;

/// An advisory lock on an empty file beside the file of noted pins.
#[derive(Debug)]
pub(crate) struct FileLock {
    path: PathBuf,
    /// When an attempt has last waited for [`LOCK_TIMEOUT`] in vain.
    timed_out: Option<Instant>,
}

impl FileLock {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            timed_out: None,
        }
    }

    /// Locks out other processes until the returned file is dropped. Returns `None` where the
    /// system has no file locks.
    pub(crate) fn acquire(&mut self) -> Result<Option<File>, StorageError> {
        length(&self.path)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = private(&mut options).open(&self.path);
        let file = file.map_err(io_error(&self.path))?;
        let begin = Instant::now();
        // One command makes several attempts: to repair the file, to commit, and to commit once
        // more before the store is dropped.
        let has_waited = self
            .timed_out
            .is_some_and(|at| begin.duration_since(at) < LOCK_TIMEOUT);
        loop {
            match file.try_lock() {
                Ok(()) => {
                    self.timed_out = None;
                    return Ok(Some(file));
                }
                Err(TryLockError::WouldBlock) if has_waited => break,
                Err(TryLockError::WouldBlock) if begin.elapsed() < LOCK_TIMEOUT => {
                    thread::sleep(LOCK_RETRY_DELAY);
                }
                Err(TryLockError::WouldBlock) => {
                    self.timed_out = Some(Instant::now());
                    break;
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(None);
                }
                Err(TryLockError::Error(error)) => return Err(io_error(&self.path)(error)),
            }
        }
        let lock = self.path.clone();
        Err(StorageError::Locked { lock })
    }
}

/// Returns the length of a regular file; `None` if the path does not exist.
pub(crate) fn length(path: &Path) -> Result<Option<u64>, StorageError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path)(error)),
    };
    let found = match metadata.file_type() {
        kind if kind.is_file() => return Ok(Some(metadata.len())),
        kind if kind.is_dir() => "a directory",
        // Refused, since another user with write access to the folder could use a link to have any
        // file of this user overwritten.
        kind if kind.is_symlink() => "a symbolic link",
        _ => "a device, a pipe or a socket",
    };
    Err(StorageError::NotAFile {
        path: path.to_owned(),
        found,
    })
}

#[cfg(unix)]
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

pub(crate) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.to_owned();
    |error| StorageError::Io {
        path,
        error: Arc::new(error),
    }
}

/// How long another process may hold the lock. The largest file is written in one second.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// The time between two attempts to lock the file.
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(2);
