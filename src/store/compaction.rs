//! Compaction of a file of [`FileStorage`]: a file with the present records replaces one that is
//! more than half history.

use std::fs::{self, File};
use std::io::{self, Write};

use crate::store::error::StorageError;
use crate::store::file::{FileStorage, beside, compaction_threshold, create};
use crate::store::file_lock::io_error;
use crate::store::format::{self, Position};
use crate::store::journal::{KnownFile, MAX_LEN, append_at, len_of, read_all, read_appended};
use crate::store::line;

impl FileStorage {
    /// Compacts the file if it has become so long, unless another process does so now. The new file
    /// is written and synced without the lock; it is held only to copy what was appended meanwhile,
    /// and to rename the new file.
    pub(super) fn compact_if_history(&mut self) -> Result<(), StorageError> {
        let Some(seen) = self.seen.clone() else {
            return Ok(());
        };
        if seen.end.offset < self.compact_at {
            return Ok(());
        }
        let Some(_lock) = self.compaction_lock.try_acquire()? else {
            return Ok(());
        };
        let Some(mut file) = self.open(false)? else {
            return Ok(());
        };
        let (read, records) = read_all(&mut file, seen.end.offset).map_err(io_error(&self.path))?;
        drop(file);
        let Some(records) = records.ok().filter(|_| read.is_at(&seen)) else {
            // Corrupt, or replaced: the next commit reads the file as a whole.
            self.seen = None;
            return Ok(());
        };
        let header = format::new_header();
        let text = header.clone() + &records.to_lines();
        self.compact_at = compaction_threshold(len_of(text.as_bytes()));
        if seen.end.offset < self.compact_at {
            return Ok(());
        }
        let compacted = KnownFile {
            header: header.into_bytes(),
            end: Position::default().after(&text),
        };
        drop(records);
        let temporary = beside(&self.path, ".compact");
        let renamed = write(&temporary, text.as_bytes())
            .map_err(io_error(&temporary))
            .and_then(|new| self.replace_by(new, &seen, compacted));
        if !matches!(renamed, Ok(true)) {
            let _ = fs::remove_file(&temporary);
            // Not again with every commit.
            self.compact_at = compaction_threshold(seen.end.offset);
        }
        renamed.map(drop)
    }

    /// Renames the new file to the file. Returns `false` if another process has replaced the file.
    fn replace_by(
        &mut self,
        mut new: File,
        seen: &KnownFile,
        compacted: KnownFile,
    ) -> Result<bool, StorageError> {
        let _lock = self.lock.acquire()?;
        let temporary = beside(&self.path, ".compact");
        let Some(mut file) = self.open(false)? else {
            return Ok(false);
        };
        let appended = read_appended(&mut file, seen, MAX_LEN).map_err(io_error(&self.path))?;
        let Some((_, appended)) = appended else {
            return Ok(false);
        };
        drop(file);
        let mut text = String::new();
        appended
            .iter()
            .for_each(|update| line::write(&mut text, update));
        if !text.is_empty() {
            append_at(&mut new, compacted.end.offset, text.as_bytes())
                .map_err(io_error(&temporary))?;
        }
        // Windows can't rename a file that is open.
        drop(new);
        // Unknown until the rename is durable.
        self.seen = None;
        self.rename(&temporary)?;
        self.sync_folder()?;
        // What was appended meanwhile is read with the next commit.
        self.seen = Some(compacted);
        Ok(true)
    }
}

/// Creates a file with these bytes, and syncs it.
fn write(path: &std::path::Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}
