//! Compaction of a file of [`FileStorage`]: a file with the present records replaces one that is
//! more than half history.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use crate::store::error::StorageError;
use crate::store::file::{FileStorage, beside, compaction_threshold, create};
use crate::store::file_lock::io_error;
use crate::store::format::{self, Position, scan};
use crate::store::journal::{KnownFile, append_at, has_header, has_last_line, len_of};
use crate::store::line;
use crate::store::records::Records;

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
        let path = self.path.clone();
        let Some(mut file) = self.open(false)? else {
            return Ok(());
        };
        let Some(records) = read_up_to(&mut file, &seen).map_err(io_error(&path))? else {
            // Corrupt, or replaced: the next commit reads the file as a whole.
            self.seen = None;
            return Ok(());
        };
        drop(file);
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
        let temporary = beside(&path, ".compact");
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
        let (path, temporary) = (self.path.clone(), beside(&self.path, ".compact"));
        let Some(mut file) = self.open(false)? else {
            return Ok(false);
        };
        let appended = appended_lines(&mut file, seen).map_err(io_error(&path))?;
        let Some(appended) = appended else {
            return Ok(false);
        };
        drop(file);
        if !appended.is_empty() {
            append_at(&mut new, compacted.end.offset, appended.as_bytes())
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

/// Reads the records up to where the storage has seen the file; `None` if it differs from that.
fn read_up_to(file: &mut File, seen: &KnownFile) -> io::Result<Option<Records>> {
    if !has_header(file, &seen.header)? {
        return Ok(None);
    }
    let header = str::from_utf8(&seen.header).unwrap_or_default();
    let from = Position::default().after(header);
    let mut reader = BufReader::new(file.take(seen.end.offset.saturating_sub(from.offset)));
    let mut records = Records::default();
    let (end, bad) = scan(&mut reader, from, &mut |line| records.apply_line(line))?;
    Ok(
        (bad.is_none() && (end.offset, end.last) == (seen.end.offset, seen.end.last))
            .then_some(records),
    )
}

/// Returns the lines that were appended since the storage has seen the file; `None` if another
/// process has replaced it, or if they are corrupt.
fn appended_lines(file: &mut File, seen: &KnownFile) -> io::Result<Option<String>> {
    if !has_header(file, &seen.header)? || !has_last_line(file, seen.end)? {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(seen.end.offset))?;
    let mut appended = String::new();
    let mut reader = BufReader::new(file.take(FileStorage::MAX_LEN));
    let copy = &mut |read: line::Line<'_>| line::write(&mut appended, &read.update());
    let (_, bad) = scan(&mut reader, seen.end, copy)?;
    Ok(bad.is_none().then_some(appended))
}

/// Creates a file with these bytes, and syncs it.
fn write(path: &std::path::Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}
