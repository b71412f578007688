//! Repair of a corrupt file of [`FileStorage`]: the file is kept under another name, and one with its
//! readable records replaces it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::policy::{IntoUnixTime, timestamp};
use crate::store::error::StorageError;
use crate::store::file::{FileStorage, beside};
use crate::store::file_lock::{io_error, private};
use crate::store::format;
use crate::store::journal::{Fault, MAX_LEN, read_all};
use crate::store::record::Record;
use crate::store::storage::Recovered;

impl FileStorage {
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
        // If that fails, the next commit tries again.
        let _ = self.sync_folder();
        self.error_of(Fault::Corruption(corruption, records), Some(kept))
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

    /// Returns the records that pass their checksums, and none if the file can't be read.
    pub(super) fn readable(&self) -> Vec<Record> {
        let file = self.open(false).ok().flatten();
        match file.and_then(|mut file| read_all(&mut file, MAX_LEN).ok()) {
            Some((
                _,
                Ok(records)
                | Err(Fault::Corruption(_, records) | Fault::UnknownVersion(_, records)),
            )) => records.into_vec(),
            None => Vec::new(),
        }
    }

    pub(super) fn recover_corrupt(&mut self, error: StorageError) -> (Recovered, StorageError) {
        let repaired = self.lock.acquire().and_then(|_lock| {
            let Some(mut file) = self.open(false)? else {
                return Ok(None);
            };
            let fault = self.catch_up(&mut file)?;
            // Windows can't replace a file that is open.
            drop(file);
            Ok(fault.map(|fault| self.repair(fault)))
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
