//! The JSON text of one entry with a checksum, which is one line of a file of
//! [`FileStorage`](crate::FileStorage).

use std::error::Error;
use std::fmt;

use crate::policy::text::{self, write_with_causes};
use crate::policy::timestamp::{self, print_capped};
use crate::policy::{Host, KnownPinnedHost, PinSet, ReportUri, SpkiFingerprint, sha256};

impl KnownPinnedHost {
    /// Returns the entry as one JSON object with a checksum, for a
    /// [`Storage`](crate::storage::Storage) that keeps text. It is a line of a
    /// [`FileStorage`](crate::FileStorage#the-format) without the line feed.
    ///
    /// ```
    /// use pinhold::policy::KnownPinnedHost;
    ///
    /// let line = include_str!("../../tests/formats/v1.jsonl").lines().nth(1).unwrap();
    /// let entry = KnownPinnedHost::from_json(line)?;
    /// assert_eq!(entry.host.as_str(), "api.example.com");
    /// assert_eq!(entry.to_json(), line);
    /// # Ok::<(), pinhold::storage::EntryError>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut line = String::with_capacity(TYPICAL_LINE);
        write_entry(&mut line, self);
        line.pop();
        line
    }

    /// Parses the text that [`to_json`](Self::to_json) returns.
    ///
    /// # Errors
    ///
    /// [`EntryError`] if the text fails its checksum or is not an entry.
    pub fn from_json(text: &str) -> Result<Self, EntryError> {
        let entry = read_entry(text.as_bytes());
        entry.map(|(entry, _)| entry).ok_or(EntryError)
    }
}

/// The error of a text that [`KnownPinnedHost::to_json`] has not returned, or that was altered.
///
/// ```
/// use pinhold::policy::KnownPinnedHost;
///
/// let error = KnownPinnedHost::from_json("{}").unwrap_err();
/// assert!(error.to_string().starts_with("the text fails its checksum"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryError;

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text fails its checksum, expected an entry as `to_json` returns it")
    }
}

impl fmt::Debug for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for EntryError {}

/// A parser that reads a line from its beginning. The text between the values is known, and no
/// value has an escape; a JSON parser would add 35 kB to a program.
pub(crate) struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        Self(line)
    }

    /// Skips this text; `None` if the rest of the line does not begin with it.
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

    /// Returns the decimal number, which another character must follow, and skips it.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let end = self.0.find(|next: char| !next.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        digits.parse().ok()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

/// Returns the text of a line before its checksum, and the checksum; `None` if they do not match.
pub(crate) fn verify(line: &[u8]) -> Option<(&str, &str)> {
    let line = str::from_utf8(line).ok()?;
    let (text, end) = line.split_at_checked(line.len().checked_sub(END_LEN)?)?;
    let sum = end.strip_prefix(SUM)?.strip_suffix(END)?;
    (sum == checksum(text.as_bytes())).then_some((text, sum))
}

/// Returns whether a line, given without its line feed, ends as every line does, whatever its
/// checksum.
pub(crate) fn ends_in_sum(line: &[u8]) -> bool {
    let end = line.len().checked_sub(END_LEN);
    let end = end.and_then(|start| line.get(start..)).unwrap_or_default();
    end.starts_with(SUM.as_bytes()) && end.ends_with(END.as_bytes())
}

/// Parses a line, given without its line feed. Returns the entry, and the checksum of the line.
pub(crate) fn read_entry(line: &[u8]) -> Option<(KnownPinnedHost, &str)> {
    let (text, sum) = verify(line)?;
    let mut line = Reader::new(text);
    line.literal(HOST)?;
    let name = line.until_quote()?;
    let host = Host::parse(name).ok()?;
    // `Host` accepts other forms, too, but an entry is stored under the canonical name only.
    if host.as_str() != name {
        return None;
    }
    line.literal(PINS)?;
    let mut pins = vec![read_pin(&mut line)?];
    while line.literal(ANOTHER_PIN).is_some() {
        pins.push(read_pin(&mut line)?);
    }
    line.literal(INCLUDE_SUBDOMAINS)?;
    let includes_subdomains = line.literal("true").is_some();
    if !includes_subdomains {
        line.literal("false")?;
    }
    line.literal(REPORT_URI)?;
    let report_uri = match line.literal("null") {
        Some(()) => None,
        None => {
            line.literal("\"")?;
            Some(ReportUri::parse(line.until_quote()?).ok()?)
        }
    };
    let seen_since = match line.literal(SEEN_SINCE) {
        Some(()) => Some(timestamp::parse(line.until_quote()?)?),
        None => None,
    };
    line.literal(NOTED_AT)?;
    let noted_at = timestamp::parse(line.until_quote()?)?;
    line.literal(EXPIRES_AT)?;
    let expires_at = timestamp::parse(line.until_quote()?)?;
    let entry = KnownPinnedHost {
        host,
        pins: PinSet::new(pins).ok()?,
        includes_subdomains,
        report_uri,
        seen_since: seen_since.unwrap_or(noted_at),
        noted_at,
        expires_at,
    };
    line.is_at_end().then_some((entry, sum))
}

fn read_pin(line: &mut Reader<'_>) -> Option<SpkiFingerprint> {
    SpkiFingerprint::from_base64(line.until_quote()?.as_bytes()).ok()
}

/// Appends the entry as a line, and returns the checksum of the line.
pub(crate) fn write_entry(file: &mut String, entry: &KnownPinnedHost) -> String {
    let begin = file.len();
    file.extend([HOST, entry.host.as_str(), "\""]);
    for (index, pin) in entry.pins.iter().enumerate() {
        let before = if index == 0 { PINS } else { ANOTHER_PIN };
        file.extend([before, &pin.to_base64(), "\""]);
    }
    let subdomains = if entry.includes_subdomains {
        "true"
    } else {
        "false"
    };
    file.extend([INCLUDE_SUBDOMAINS, subdomains, REPORT_URI]);
    match &entry.report_uri {
        Some(uri) => file.extend(["\"", uri.as_str(), "\""]),
        None => file.push_str("null"),
    }
    let (noted_at, expires_at) = (print_capped(entry.noted_at), print_capped(entry.expires_at));
    let seen_since = print_capped(entry.seen_since);
    if seen_since != noted_at {
        file.extend([SEEN_SINCE, &seen_since, "\""]);
    }
    file.extend([NOTED_AT, &noted_at, "\"", EXPIRES_AT, &expires_at, "\""]);
    end_line(file, begin)
}

/// Ends the line that begins at `begin` with its checksum, and returns the checksum.
pub(crate) fn end_line(file: &mut String, begin: usize) -> String {
    let sum = checksum(file.get(begin..).unwrap_or_default().as_bytes());
    file.extend([SUM, &sum, END, "\n"]);
    sum
}

/// Returns the checksum of these bytes: the first 16 bytes of their SHA-256 in hexadecimal.
pub(crate) fn checksum(bytes: &[u8]) -> String {
    let digest = sha256(&[bytes]);
    text::hex(digest.get(..SUM_LEN / 2).unwrap_or_default())
}

/// The text before each value of an entry.
const HOST: &str = r#"{"host":""#;
const PINS: &str = r#","pins":["sha256/"#;
const ANOTHER_PIN: &str = r#","sha256/"#;
const INCLUDE_SUBDOMAINS: &str = r#"],"include_subdomains":"#;
const REPORT_URI: &str = r#","report_uri":"#;
const SEEN_SINCE: &str = r#","seen_since":""#;
const NOTED_AT: &str = r#","noted_at":""#;
const EXPIRES_AT: &str = r#","expires_at":""#;
/// The text around the checksum of a line.
const SUM: &str = r#","sum":""#;
const END: &str = r#""}"#;
/// The number of hexadecimal digits of a checksum.
pub(crate) const SUM_LEN: usize = 32;
/// The number of bytes from `SUM` to the end of a line.
const END_LEN: usize = SUM.len() + SUM_LEN + END.len();
/// The number of bytes of an entry with two pins, for the initial capacity of buffers.
pub(crate) const TYPICAL_LINE: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    /// A report URI is the only part of a line that comes from a server as text.
    #[test]
    fn a_report_uri_never_needs_an_escape() {
        for char in (0..0x20)
            .map(char::from)
            .chain(['"', '\\', '\u{7f}', '\u{e4}'])
        {
            assert!(ReportUri::parse(&format!("https://r.example/{char}")).is_err());
        }
    }

    #[test]
    fn a_line_with_a_valid_checksum_is_an_entry_only_if_its_values_are_valid() {
        let golden = include_str!("../../tests/formats/v1.jsonl");
        let json = golden.lines().nth(1).unwrap();
        assert!(KnownPinnedHost::from_json(json).is_ok());
        for (from, to) in [
            ("api.example.com", "API.example.com"),
            ("api.example.com", "api.example.com."),
            ("api.example.com", "192.0.2.1"),
            ("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "AQEB"),
            ("true", "1"),
            ("https://r.example/", "/"),
            ("2023-11-14T22:13:20Z", "2023-11-14"),
            (",\"noted_at\"", ",\"seen_since\":\"2023\",\"noted_at\""),
            ("\"include", "\"more\":1,\"include"),
        ] {
            let (text, _) = json.rsplit_once(",\"sum\"").unwrap();
            let text = text.replacen(from, to, 1);
            let sum = checksum(text.as_bytes());
            let line = format!("{text},\"sum\":\"{sum}\"}}");
            assert_eq!(KnownPinnedHost::from_json(&line), Err(EntryError), "{line}");
        }
    }
}
