//! Reading a file of [`FileStorage`](crate::FileStorage), as a whole or what others have appended,
//! and appending to it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use crate::store::format::{self, Corruption, Header, Position, scan};
use crate::store::line;
use crate::store::record::Update;
use crate::store::records::Records;

/// A file as a storage has read and written it up to a position.
#[derive(Clone, Debug)]
pub(super) struct KnownFile {
    /// The header line, which no other file has.
    pub(super) header: Vec<u8>,
    pub(super) end: Position,
}

impl KnownFile {
    /// Returns whether both are the same file up to the same line.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        let at = |known: &Self| (known.end.offset, known.end.last);
        self.header == other.header && at(self) == at(other)
    }
}

/// A file that can't be used as it is, and its readable records.
pub(super) enum Fault {
    Corruption(Corruption, Records),
    UnknownVersion(u64, Records),
}

/// Returns the position up to which others have appended lines, and their updates; `None` if the file
/// must be read as a whole, as it must if more than `limit` bytes were appended.
pub(super) fn read_appended(
    file: &mut File,
    seen: &KnownFile,
    limit: u64,
) -> io::Result<Option<(Position, Vec<Update>)>> {
    let len = file.metadata()?.len();
    let appended = len.checked_sub(seen.end.offset);
    let Some(appended) = appended.filter(|len| *len <= limit) else {
        return Ok(None);
    };
    if !has_header(file, &seen.header)? || !has_last_line(file, seen.end)? {
        return Ok(None);
    }
    if appended == 0 {
        return Ok(Some((seen.end, Vec::new())));
    }
    file.seek(SeekFrom::Start(seen.end.offset))?;
    let mut updates = Vec::new();
    let mut reader = BufReader::new(file.take(appended));
    let (end, bad) = scan(&mut reader, seen.end, &mut |update| updates.push(update))?;
    // Perhaps another process has failed to write, and others have overwritten that.
    Ok(bad.is_none().then_some((end, updates)))
}

/// Returns whether the file begins with this header.
fn has_header(file: &mut File, header: &[u8]) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut first = Vec::with_capacity(header.len());
    let len = u64::try_from(header.len()).unwrap_or(u64::MAX);
    file.take(len).read_to_end(&mut first)?;
    Ok(first == header)
}

/// Returns whether the line before this position is the one that was read there.
fn has_last_line(file: &mut File, end: Position) -> io::Result<bool> {
    let len = u64::try_from(end.last.len()).unwrap_or(u64::MAX);
    let line_end = end.offset.saturating_sub(u64::from(!end.lacks_line_feed));
    file.seek(SeekFrom::Start(line_end.saturating_sub(len)))?;
    let mut last = Vec::with_capacity(end.last.len());
    file.take(len).read_to_end(&mut last)?;
    Ok(last == end.last)
}

/// Reads a file as a whole, or its first bytes up to a limit.
pub(super) fn read_all(
    file: &mut File,
    limit: u64,
) -> io::Result<(KnownFile, Result<Records, Fault>)> {
    file.seek(SeekFrom::Start(0))?;
    let len = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(READ_BUFFER, file.take(limit.min(MAX_LEN)));
    let (mut header, mut records) = (Vec::new(), Records::default());
    let offset = format::read_line(&mut reader, &mut header)?;
    // In the place of a missing header.
    let first = header.strip_suffix(b"\n").and_then(line::read);
    let is_update = first.is_some();
    first.into_iter().for_each(|update| records.apply(update));
    let from = Position {
        offset,
        lines: 1,
        lacks_line_feed: false,
        last: format::last(header.strip_suffix(b"\n").unwrap_or(&header)),
    };
    let (end, bad) = scan(&mut reader, from, &mut |update| records.apply(update))?;
    let corruption = match Header::read(&header) {
        Header::UnknownVersion(version) => {
            let seen = KnownFile { header, end };
            return Ok((seen, Err(Fault::UnknownVersion(version, records))));
        }
        _ if len == 0 => Some(Corruption::Empty),
        _ if len > MAX_LEN => Some(Corruption::Oversized {
            len,
            limit: MAX_LEN,
        }),
        Header::Intact => bad.map(Corruption::Line),
        Header::Other if !is_update && end == from => Some(Corruption::NotAStoreFile),
        Header::Other | Header::Corrupt => Some(Corruption::Header),
    };
    let read = match corruption {
        Some(corruption) => Err(Fault::Corruption(corruption, records)),
        None => Ok(records),
    };
    Ok((KnownFile { header, end }, read))
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

pub(super) fn len_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Appended lines beyond this length are not read by themselves, but with the whole file.
pub(super) const MAX_APPENDED: u64 = 1024 * 1024;
const READ_BUFFER: usize = 64 * 1024;
/// The maximum length of a file, in bytes.
pub(super) const MAX_LEN: u64 = 1024 * 1024 * 1024;
