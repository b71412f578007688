//! One line of a file of [`FileStorage`](crate::FileStorage): an [`Update`] as JSON text with a
//! checksum.

use crate::policy::timestamp::{self, print_capped};
use crate::policy::{sha256, text};
use crate::store::record::{Record, Update};

/// A parser that reads text from its beginning. The text between the values is known, and no value
/// has an escape; a JSON parser would add 35 kB to a program.
pub(crate) struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Skips this text; `None` if the rest does not begin with it.
    pub(crate) fn literal(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// Returns the text up to the next quotation mark, and skips both.
    pub(crate) fn until_quote(&mut self) -> Option<&'a str> {
        let (value, rest) = self.0.split_once('"')?;
        self.0 = rest;
        Some(value)
    }

    /// Returns the text up to the next quotation mark, and skips it but not the mark.
    fn before_quote(&mut self) -> Option<&'a str> {
        let (value, rest) = self.0.split_at_checked(self.0.find('"')?)?;
        self.0 = rest;
        Some(value)
    }

    /// Returns the decimal number, which another character must follow, and skips it.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let end = self.0.find(|next: char| !next.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        digits.parse().ok()
    }

    pub(crate) fn rest(self) -> &'a str {
        self.0
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

/// Parses a line, given without its line feed; `None` if it fails its checksum.
pub(crate) fn read(line: &[u8]) -> Option<Update> {
    let mut line = Reader::new(verify(line)?);
    line.literal(KIND)?;
    let kind = line.before_quote()?;
    if line.literal(KEY).is_some() {
        let key = line.before_quote()?;
        line.literal(TIME)?;
        let time = timestamp::parse(line.before_quote()?)?;
        line.literal(VALUE)?;
        return Some(Update::Put(Record::of_parts(kind, key, line.rest(), time)));
    }
    let kind = Record::shared_kind(kind);
    let update = if line.literal(REMOVED).is_some() {
        let key = line.until_quote()?.into();
        Update::Removed { kind, key }
    } else {
        line.literal(CLEARED_SINCE)?;
        let time = timestamp::parse(line.until_quote()?)?;
        Update::ClearedSince { kind, time }
    };
    line.is_at_end().then_some(update)
}

/// Appends the update as a line.
pub(crate) fn write(file: &mut String, update: &Update) {
    let begin = file.len();
    match update {
        Update::Put(record) => return write_put(file, record),
        Update::Removed { kind, key } => file.extend([KIND, kind, REMOVED, key, "\""]),
        Update::ClearedSince { kind, time } => {
            file.extend([KIND, kind, CLEARED_SINCE, &print_capped(*time), "\""]);
        }
    }
    end(file, begin);
}

/// Appends a record as a line.
pub(crate) fn write_put(file: &mut String, record: &Record) {
    let begin = file.len();
    let (key, time) = (record.key(), print_capped(record.time()));
    file.extend([
        KIND,
        record.kind(),
        KEY,
        key,
        TIME,
        &time,
        VALUE,
        record.value(),
    ]);
    end(file, begin);
}

/// Ends the line that begins at `begin` with its checksum.
pub(crate) fn end(file: &mut String, begin: usize) {
    let sum = checksum(file.get(begin..).unwrap_or_default().as_bytes());
    file.extend([SUM, &sum, END, "\n"]);
}

/// Returns the text of a line before its checksum; `None` if they do not match.
pub(crate) fn verify(line: &[u8]) -> Option<&str> {
    let line = str::from_utf8(line).ok()?;
    let (text, end) = line.split_at_checked(line.len().checked_sub(END_LEN)?)?;
    let sum = end.strip_prefix(SUM)?.strip_suffix(END)?;
    (sum == checksum(text.as_bytes())).then_some(text)
}

/// Returns whether a line ends as every line does, whatever its checksum.
pub(crate) fn ends_in_sum(line: &[u8]) -> bool {
    let end = line.len().checked_sub(END_LEN);
    let end = end.and_then(|start| line.get(start..)).unwrap_or_default();
    end.starts_with(SUM.as_bytes()) && end.ends_with(END.as_bytes())
}

/// Returns the checksum of these bytes: the first 16 bytes of their SHA-256 in hexadecimal.
pub(crate) fn checksum(bytes: &[u8]) -> String {
    let digest = sha256(&[bytes]);
    text::hex(digest.get(..SUM_LEN / 2).unwrap_or_default())
}

/// The text before each part of a line.
const KIND: &str = r#"{"kind":""#;
const KEY: &str = r#"","key":""#;
const TIME: &str = r#"","time":""#;
const VALUE: &str = r#"","value":"#;
const REMOVED: &str = r#"","removed":""#;
const CLEARED_SINCE: &str = r#"","cleared_since":""#;
/// The text around the checksum of a line.
const SUM: &str = r#","sum":""#;
const END: &str = r#""}"#;
/// The number of hexadecimal digits of a checksum.
const SUM_LEN: usize = 32;
/// The number of bytes from `SUM` to the end of a line.
const END_LEN: usize = SUM.len() + SUM_LEN + END.len();
/// The number of bytes of a line with two pins, for the initial capacity of buffers.
pub(crate) const TYPICAL_LINE: usize = 330;
/// About the number of bytes of a line beside key and value.
pub(crate) const OVERHEAD: usize = 120;
/// The maximum length of a line: 16 times that of a value.
pub(crate) const MAX_LINE: usize = 16 * Record::MAX_VALUE_LEN;
