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
    /// Whether an attempt has waited for [`LOCK_TIMEOUT`] in vain, and none has succeeded since.
    timed_out: bool,
}

impl FileLock {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            timed_out: false,
        }
    }

    /// Locks out other processes until the returned file is dropped; `None` if one of them holds the
    /// lock. Where the system has no file locks, only one process may write.
    pub(crate) fn try_acquire(&self) -> Result<Option<File>, StorageError> {
        length(&self.path)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = private(&mut options).open(&self.path);
        let file = file.map_err(io_error(&self.path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
                Err(io_error(&self.path)(error))
            }
            _ => Ok(Some(file)),
        }
    }

    /// The same, but waits for at most [`LOCK_TIMEOUT`], then fails with [`StorageError::Locked`].
    pub(crate) fn acquire(&mut self) -> Result<File, StorageError> {
        let begin = Instant::now();
        loop {
            if let Some(file) = self.try_acquire()? {
                self.timed_out = false;
                return Ok(file);
            }
            // One command makes several attempts: to repair the file, to commit, and to commit
            // once more before the store is dropped.
            self.timed_out |= begin.elapsed() >= LOCK_TIMEOUT;
            if self.timed_out {
                let lock = self.path.clone();
                return Err(StorageError::Locked { lock });
            }
            thread::sleep(LOCK_RETRY_DELAY);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A command may make its next attempt at any time.
    #[test]
    fn no_attempt_waits_between_a_timeout_and_the_next_success() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = File::create(&path).unwrap();
        held.lock().unwrap();
        let mut lock = FileLock::new(path);
        let attempt = |lock: &mut FileLock| {
            let begin = Instant::now();
            let is_locked = lock.acquire().is_ok();
            (is_locked, begin.elapsed() < LOCK_TIMEOUT)
        };
        assert_eq!(attempt(&mut lock), (false, false));
        let end = Instant::now() + LOCK_TIMEOUT + LOCK_TIMEOUT / 10;
        while Instant::now() < end {
            assert_eq!(attempt(&mut lock), (false, true));
            thread::yield_now();
        }
        held.unlock().unwrap();
        assert_eq!(attempt(&mut lock), (true, true));
        held.lock().unwrap();
        assert_eq!(attempt(&mut lock), (false, false));
    }
}
