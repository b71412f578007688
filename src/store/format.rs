//! The file format of [`FileStorage`](crate::FileStorage): a header line, then one line for each
//! update.
//!
//! The format is specified in `format.md`, which is shown at
//! [`FileStorage`](crate::FileStorage#the-format).

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, Read};
use std::time::SystemTime;

use crate::policy::text;
use crate::store::line::{self, MAX_LINE, Reader, end, ends_in_sum, verify};
use crate::store::record::Update;

/// Returns the header line of a new file. Its identity differs from that of every other file, so
/// that a process notices that another one has replaced the file.
pub(crate) fn new_header() -> String {
    let now = SystemTime::now();
    let parts = [0_u8, 1].map(|part| RandomState::new().hash_one((now, part)).to_be_bytes());
    let version = VERSION.to_string();
    let mut header = String::new();
    header.extend([
        FORMAT,
        VERSION_OF,
        &version,
        ID,
        &text::hex(&parts.concat()),
        "\"",
    ]);
    end(&mut header, 0);
    header
}

/// What the first line of a file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The line that [`new_header`] returns.
    Intact,
    Corrupt,
    /// Of another version of the format.
    UnknownVersion(u64),
    /// Neither a header nor what a crash may leave of one.
    Other,
}

impl Header {
    /// Reads the first line, given with its line feed.
    pub(crate) fn read(line: &[u8]) -> Self {
        match version(&mut Reader::new(str::from_utf8(line).unwrap_or_default())) {
            Some(version) if version != VERSION => Self::UnknownVersion(version),
            Some(_) if is_intact(line).is_some() => Self::Intact,
            Some(_) => Self::Corrupt,
            None if resembles_header(line) => Self::Corrupt,
            None => Self::Other,
        }
    }
}

/// Returns the version of the format. No version changes this part of the header, so that a newer
/// file is not mistaken for a corrupt one.
fn version(header: &mut Reader<'_>) -> Option<u64> {
    header.literal(FORMAT)?;
    header.literal(VERSION_OF)?;
    header.number()
}

fn is_intact(line: &[u8]) -> Option<()> {
    let mut header = Reader::new(verify(line.strip_suffix(b"\n")?)?);
    version(&mut header)?;
    header.literal(ID)?;
    header.until_quote()?;
    header.is_at_end().then_some(())
}

/// Returns whether the line is a header of which either the beginning or the end may be damaged, as
/// by a flipped bit, or what a power cut leaves of one: its first bytes, or NUL bytes. A file without
/// records is otherwise not known to be a store.
fn resembles_header(line: &[u8]) -> bool {
    // An overlong line was read as an empty one.
    !line.is_empty()
        && (line.starts_with(FORMAT.as_bytes())
            || FORMAT.as_bytes().starts_with(line)
            || line.iter().all(|byte| *byte == 0)
            || ends_in_sum(line.strip_suffix(b"\n").unwrap_or(line)))
}

/// A position in a file, after whole lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// In bytes.
    pub(crate) offset: u64,
    /// The number of lines before it.
    pub(crate) lines: usize,
    /// Whether the last line before it has no line feed.
    pub(crate) lacks_line_feed: bool,
    /// The last bytes of that line, most of its checksum: another process may have failed to sync it,
    /// and cut it after it was read.
    pub(crate) last: [u8; 32],
}

impl Position {
    /// Returns the position after this text, which consists of whole lines, at this position.
    pub(crate) fn after(self, text: &str) -> Self {
        let text = text.trim_end_matches('\n').as_bytes();
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let len = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Self {
            offset: self.offset.saturating_add(len).saturating_add(1),
            lines: self.lines.saturating_add(lines.count()),
            lacks_line_feed: false,
            last: last(text),
        }
    }
}

/// Returns the last 32 bytes of a line.
pub(crate) fn last(line: &[u8]) -> [u8; 32] {
    line.last_chunk().copied().unwrap_or_default()
}

/// Reads lines from a position on. Returns the position after the last one that passes its checksum,
/// and the number of the first line that fails it and that such a line follows.
///
/// What follows the last line that passes its checksum is what a crash leaves of the last commit, or
/// what another process is writing.
pub(crate) fn scan(
    file: &mut dyn BufRead,
    from: Position,
    each: &mut dyn FnMut(Update),
) -> io::Result<(Position, Option<usize>)> {
    let (mut verified, mut at) = (from, from);
    let (mut bad, mut first_bad) = (None, None);
    let mut bytes = Vec::new();
    loop {
        let len = read_line(file, &mut bytes)?;
        if len == 0 {
            return Ok((verified, first_bad));
        }
        let text = bytes.strip_suffix(b"\n");
        at.offset += len;
        // The line feed that the last line lacked, written by another process since.
        let is_missing_end = at.lacks_line_feed && text == Some(b"");
        at.lines += usize::from(!is_missing_end);
        at.lacks_line_feed = text.is_none();
        match line::read(text.unwrap_or(&bytes)) {
            Some(update) => {
                each(update);
                at.last = last(text.unwrap_or(&bytes));
            }
            None if is_missing_end => {}
            None => {
                bad = bad.or(Some(at.lines));
                continue;
            }
        }
        first_bad = first_bad.or(bad);
        verified = at;
    }
}

/// Reads a line with its line feed, and returns its length. One that is too long becomes empty.
pub(crate) fn read_line(file: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let mut len = 0;
    loop {
        line.clear();
        let read = file.take(limit).read_until(b'\n', line)?;
        len += u64::try_from(read).unwrap_or(u64::MAX);
        let is_whole = read < MAX_LINE || line.ends_with(b"\n");
        if is_whole {
            if len >= limit {
                line.clear();
            }
            return Ok(len);
        }
    }
}

/// What is wrong with a file of noted pins.
///
/// ```
/// use pinhold::storage::Corruption;
///
/// assert_eq!(Corruption::Empty.to_string(), "the file is empty");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corruption {
    /// The file has no bytes: another program wrote it, or the system crashed.
    Empty,
    /// The first line fails its checksum, or is not a header.
    Header,
    /// This line, counted from 1, fails its checksum, and a line after it does not.
    Line(usize),
    /// The file has neither a header line nor a record: pinhold did not write it. It is never moved
    /// or changed.
    NotAStoreFile,
    /// The file is longer than [`FileStorage::MAX_LEN`](crate::FileStorage::MAX_LEN).
    Oversized {
        /// The length of the file, in bytes.
        len: u64,
        /// The maximum length, in bytes.
        limit: u64,
    },
}

impl Corruption {
    /// Returns whether the file is of another kind than a store, and so must be left unchanged.
    /// `readable` is the number of records that were read.
    pub(crate) fn is_other_file(&self, readable: usize) -> bool {
        match self {
            Self::NotAStoreFile => true,
            // A store of this length would have records.
            Self::Oversized { .. } => readable == 0,
            _ => false,
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty"),
            Self::Header => f.write_str("the header line fails its checksum"),
            Self::Line(number) => write!(f, "line {number} fails its checksum"),
            Self::NotAStoreFile => f.write_str("not a pinhold store file: no header line"),
            Self::Oversized { len, limit } => {
                write!(f, "the file has {len} bytes, expected at most {limit}")
            }
        }
    }
}

/// The version that this code reads and writes.
pub(crate) const VERSION: u64 = 2;
/// The text before each value of the header. No version may change the first two.
const FORMAT: &str = r#"{"format":"pinhold","#;
const VERSION_OF: &str = r#""version":"#;
const ID: &str = r#","id":""#;
