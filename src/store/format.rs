//! Entries in, the bytes of a [`FileStorage`](crate::FileStorage)'s file out, and back.
//!
//! The format is described byte for byte at [`FileStorage`](crate::FileStorage#the-format).

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::policy::timestamp::{self, print_capped};
use crate::policy::{Host, KnownPinnedHost, PinSet, ReportUri, SpkiFingerprint, sha256, text};

/// The bytes of a file with these entries, which are sorted by host.
pub(crate) fn encode(entries: &[Arc<KnownPinnedHost>]) -> Vec<u8> {
    let mut lines = String::with_capacity(entries.len() * TYPICAL_LINE);
    let mut sums = String::with_capacity(entries.len() * SUM_LEN);
    for entry in entries {
        sums.push_str(&write_entry(&mut lines, entry));
    }
    let mut file = String::with_capacity(lines.len() + TYPICAL_LINE);
    let (count, digest) = (entries.len().to_string(), hex(sums.as_bytes()));
    let version = VERSION.to_string();
    file.extend([
        FORMAT, VERSION_OF, &version, ENTRIES, &count, DIGEST, &digest, "\"",
    ]);
    end_line(&mut file, 0);
    file.push_str(&lines);
    file.into_bytes()
}

impl KnownPinnedHost {
    /// The entry as one JSON object with a checksum, for a [`Storage`](crate::storage::Storage) that keeps
    /// text: a line of a [`FileStorage`](crate::FileStorage#the-format) without its end.
    ///
    /// ```
    /// use pinhold::policy::KnownPinnedHost;
    ///
    /// let line = include_str!("../tests/formats/v1.jsonl").lines().nth(1).unwrap();
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

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    ///
    /// [`EntryError`] if the text fails its checksum or is no entry.
    pub fn from_json(text: &str) -> Result<Self, EntryError> {
        let entry = read_entry(text.as_bytes());
        entry.map(|(entry, _)| entry).ok_or(EntryError)
    }
}

/// A text that is no entry, or no longer the one that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryError;

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text fails its checksum, expected an entry as `to_json` wrote it")
    }
}

impl Error for EntryError {}

/// Everything that can be read of a file, and what is wrong with it.
#[derive(Default)]
pub(crate) struct Contents {
    /// Of the lines that verify, in the order of the file.
    pub(crate) entries: Vec<KnownPinnedHost>,
    /// `None` for a file exactly as it was written.
    pub(crate) fault: Option<Fault>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Corruption(Corruption),
    NewerVersion(u64),
}

impl Contents {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut entries: Vec<KnownPinnedHost> = Vec::new();
        let mut sums = String::new();
        let mut corruption = None;
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let header = lines.next().unwrap_or_default();
        for (number, line) in (2..).zip(lines) {
            let Some(complete) = line.strip_suffix(b"\n") else {
                corruption = corruption.or(Some(Corruption::Cut));
                break;
            };
            let Some((entry, sum)) = read_entry(complete) else {
                corruption = corruption.or(Some(Corruption::Line(number)));
                continue;
            };
            sums.push_str(sum);
            if entries.last().is_some_and(|last| last.host >= entry.host) {
                corruption = corruption.or(Some(Corruption::Line(number)));
            }
            entries.push(entry);
        }
        let fault = fault(header, &entries, &sums, corruption);
        Self { entries, fault }
    }
}

/// What is wrong with a file of this first line, these entries, and the first corruption among them.
fn fault(
    header: &[u8],
    entries: &[KnownPinnedHost],
    sums: &str,
    corruption: Option<Corruption>,
) -> Option<Fault> {
    match version(&mut Reader(str::from_utf8(header).unwrap_or_default())) {
        Some(version) if version > VERSION => return Some(Fault::NewerVersion(version)),
        Some(_) => {}
        None if header.is_empty() => return Some(Fault::Corruption(Corruption::Empty)),
        None if entries.is_empty() && !header.starts_with(FORMAT.as_bytes()) => {
            return Some(Fault::Corruption(Corruption::Foreign));
        }
        None => return Some(Fault::Corruption(Corruption::FirstLine)),
    }
    let corruption = match read_header(header) {
        Some((count, digest)) => {
            let cut = || (usize::try_from(count) != Ok(entries.len())).then_some(Corruption::Cut);
            let mixed = || (digest != hex(sums.as_bytes())).then_some(Corruption::Mixed);
            corruption.or_else(cut).or_else(mixed)
        }
        None => Some(Corruption::FirstLine),
    };
    corruption.map(Fault::Corruption)
}

/// The version of a file that begins like this: what no version may change.
fn version(header: &mut Reader<'_>) -> Option<u64> {
    header.literal(FORMAT)?;
    header.literal(VERSION_OF)?;
    header.number()
}

/// The number of entries and the digest of their sums, as the first line of version 1 has them.
fn read_header(header: &[u8]) -> Option<(u64, &str)> {
    let (text, _) = verify(header.strip_suffix(b"\n")?)?;
    let mut header = Reader(text);
    let version = version(&mut header)?;
    header.literal(ENTRIES)?;
    let entries = header.number()?;
    header.literal(DIGEST)?;
    let digest = header.until_quote()?;
    (version == VERSION && header.0.is_empty()).then_some((entries, digest))
}

/// A line that is taken apart from its beginning: what stands between the values is known, and no
/// value has an escape. A parser of JSON would be 35 kilobytes of a program.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn literal(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn until_quote(&mut self) -> Option<&'a str> {
        let (value, rest) = self.0.split_once('"')?;
        self.0 = rest;
        Some(value)
    }

    fn number(&mut self) -> Option<u64> {
        let end = self.0.find(|next: char| !next.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        digits.parse().ok()
    }
}

/// The text of a line that says what its sum says, and that sum.
fn verify(line: &[u8]) -> Option<(&str, &str)> {
    let line = str::from_utf8(line).ok()?;
    let (text, end) = line.split_at_checked(line.len().checked_sub(END_LEN)?)?;
    let sum = end.strip_prefix(SUM)?.strip_suffix(END)?;
    (sum == hex(text.as_bytes())).then_some((text, sum))
}

fn read_entry(line: &[u8]) -> Option<(KnownPinnedHost, &str)> {
    let (text, sum) = verify(line)?;
    let mut line = Reader(text);
    line.literal(HOST)?;
    let name = line.until_quote()?;
    let host = Host::parse(name).ok()?;
    // Whatever else `Host` reads, an entry is kept under the canonical name only.
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
    line.literal(NOTED_AT)?;
    let noted_at = timestamp::parse(line.until_quote()?)?;
    line.literal(EXPIRES_AT)?;
    let expires_at = timestamp::parse(line.until_quote()?)?;
    let entry = KnownPinnedHost {
        host,
        pins: PinSet::new(pins).ok()?,
        includes_subdomains,
        report_uri,
        noted_at,
        expires_at,
    };
    line.0.is_empty().then_some((entry, sum))
}

fn read_pin(line: &mut Reader<'_>) -> Option<SpkiFingerprint> {
    SpkiFingerprint::from_base64(line.until_quote()?.as_bytes()).ok()
}

/// Appends the entry as a line, and returns its sum.
fn write_entry(file: &mut String, entry: &KnownPinnedHost) -> String {
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
    file.extend([NOTED_AT, &noted_at, "\"", EXPIRES_AT, &expires_at, "\""]);
    end_line(file, begin)
}

/// Ends the line that begins there with its sum, and returns the sum.
fn end_line(file: &mut String, begin: usize) -> String {
    let sum = hex(file.get(begin..).unwrap_or_default().as_bytes());
    file.extend([SUM, &sum, END, "\n"]);
    sum
}

/// Returns the first 16 bytes of the SHA-256 in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    let digest = sha256(&[bytes]);
    text::hex(digest.get(..SUM_LEN / 2).unwrap_or_default())
}

/// What is wrong with a file of noted pins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corruption {
    /// Lines are missing at the end, or a part of the last one.
    Cut,
    /// The file has no bytes: written by something else, or by a system that crashed.
    Empty,
    /// The first line fails its checksum, or is none.
    FirstLine,
    /// Not written by pinhold.
    Foreign,
    /// This line, counted from one, fails its checksum, is no entry, or is out of order.
    Line(usize),
    /// Every line verifies, but they were not written together.
    Mixed,
    /// More bytes than any file of noted pins may have.
    Oversized {
        /// The bytes of the file.
        len: u64,
        /// How many it may have.
        limit: u64,
    },
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("it is cut short"),
            Self::Empty => f.write_str("it is empty"),
            Self::FirstLine => f.write_str("its first line fails its checksum"),
            Self::Foreign => f.write_str("it is no file of noted pins"),
            Self::Line(number) => write!(f, "line {number} fails its checksum"),
            Self::Mixed => f.write_str("its lines were not written together"),
            Self::Oversized { len, limit } => {
                write!(f, "it has {len} bytes, expected at most {limit}")
            }
        }
    }
}

pub(crate) const VERSION: u64 = 1;
/// What stands before the values of the first line. No version may change the first two.
const FORMAT: &str = r#"{"format":"pinhold","#;
const VERSION_OF: &str = r#""version":"#;
const ENTRIES: &str = r#","entries":"#;
const DIGEST: &str = r#","digest":""#;
/// What stands before the values of an entry.
const HOST: &str = r#"{"host":""#;
const PINS: &str = r#","pins":["sha256/"#;
const ANOTHER_PIN: &str = r#","sha256/"#;
const INCLUDE_SUBDOMAINS: &str = r#"],"include_subdomains":"#;
const REPORT_URI: &str = r#","report_uri":"#;
const NOTED_AT: &str = r#","noted_at":""#;
const EXPIRES_AT: &str = r#","expires_at":""#;
/// What stands around the sum of a line.
const SUM: &str = r#","sum":""#;
const END: &str = r#""}"#;
/// Hexadecimal digits.
const SUM_LEN: usize = 32;
/// Bytes from `SUM` to the end of a line.
const END_LEN: usize = SUM.len() + SUM_LEN + END.len();
/// Bytes of an entry with two pins, for the buffers' first size only.
const TYPICAL_LINE: usize = 320;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use rustls_pki_types::UnixTime;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn entry(host: &str, pins: &[u8], noted_at: u64, expires_at: u64) -> KnownPinnedHost {
        let pins = pins
            .iter()
            .map(|pin| SpkiFingerprint::from_digest([*pin; 32]));
        KnownPinnedHost {
            host: Host::parse(host).unwrap(),
            pins: PinSet::new(pins).unwrap(),
            includes_subdomains: false,
            report_uri: None,
            noted_at: at(noted_at),
            expires_at: at(expires_at),
        }
    }

    /// The entries of `tests/formats/v1.jsonl`.
    fn golden() -> Vec<Arc<KnownPinnedHost>> {
        let api = KnownPinnedHost {
            includes_subdomains: true,
            report_uri: Some(ReportUri::parse("https://r.example/pins?a=%22b").unwrap()),
            ..entry("api.example.com", &[0xff, 1], 1_700_000_000, 1_705_184_000)
        };
        let idn = entry("xn--bcher-kva.example", &[2], 0, u64::MAX);
        vec![Arc::new(api), Arc::new(idn)]
    }

    const GOLDEN: &[u8] = include_bytes!("../../tests/formats/v1.jsonl");

    fn read(bytes: &[u8]) -> (Vec<KnownPinnedHost>, Option<Fault>) {
        let contents = Contents::read(bytes);
        (contents.entries, contents.fault)
    }

    fn replaced(from: &str, to: &str) -> Vec<u8> {
        let text = str::from_utf8(GOLDEN).unwrap();
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    }

    /// Its sums were computed by another program, from the description alone.
    #[test]
    fn version_1_is_written_and_read_byte_for_byte() {
        assert_eq!(encode(&golden()), GOLDEN);
        let (entries, fault) = read(GOLDEN);
        assert_eq!(fault, None);
        assert_eq!(entries.first(), Some(&*golden()[0]));
        let end_of_9999 = at(253_402_300_799);
        assert_eq!(entries.last().unwrap().expires_at, end_of_9999);
    }

    #[test]
    fn a_file_without_entries_is_a_first_line() {
        let bytes = encode(&[]);
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(read(&bytes), (vec![], None));
    }

    #[test]
    fn no_part_of_a_file_is_a_file() {
        for len in 0..GOLDEN.len() {
            let (entries, fault) = read(&GOLDEN[..len]);
            let expiry_times = GOLDEN[..len].iter().filter(|byte| **byte == b'\n').count();
            // Whole lines are saved.
            assert_eq!(entries.len(), expiry_times.saturating_sub(1), "{len}");
            let expected = match (len, expiry_times) {
                (0, _) => Corruption::Empty,
                (..20, 0) => Corruption::Foreign,
                (_, 0) => Corruption::FirstLine,
                _ => Corruption::Cut,
            };
            assert_eq!(fault, Some(Fault::Corruption(expected)), "{len}");
        }
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let (whole, _) = read(GOLDEN);
        for at in 0..GOLDEN.len() * 8 {
            let mut bytes = GOLDEN.to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            let (entries, fault) = read(&bytes);
            assert!(fault.is_some(), "bit {at}");
            assert!(
                entries.iter().all(|entry| whole.contains(entry)),
                "bit {at}"
            );
            // Without its end a line spoils the next one.
            let spoilt = 1 + usize::from(GOLDEN[at / 8] == b'\n');
            assert!(entries.len() + spoilt >= whole.len(), "bit {at}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let text = str::from_utf8(GOLDEN).unwrap();
        let mut lines = text.split_inclusive('\n').collect::<Vec<_>>();
        lines.swap(1, 2);
        let swapped = lines.concat();
        let doubled = [lines[0], lines[2], lines[2]].concat();
        let one_less = [lines[0], lines[1]].concat();
        let without_first = [lines[2], lines[1]].concat();
        for (bytes, corruption, readable) in [
            (b"".to_vec(), Corruption::Empty, 0),
            (b"\n".to_vec(), Corruption::Foreign, 0),
            (b"\0\0\0\0".to_vec(), Corruption::Foreign, 0),
            (
                b"-----BEGIN CERTIFICATE-----\n".to_vec(),
                Corruption::Foreign,
                0,
            ),
            (b"{}\n".to_vec(), Corruption::Foreign, 0),
            (swapped.into_bytes(), Corruption::Line(3), 2),
            (doubled.into_bytes(), Corruption::Line(3), 2),
            (one_less.into_bytes(), Corruption::Cut, 1),
            (without_first.into_bytes(), Corruption::FirstLine, 1),
            ([GOLDEN, b"\n"].concat(), Corruption::Line(4), 2),
            ([GOLDEN, b"x"].concat(), Corruption::Cut, 2),
            (replaced("\n", "\r\n"), Corruption::FirstLine, 2),
            (replaced("api", "apj"), Corruption::Line(2), 1),
            (replaced("api", "ap"), Corruption::Line(2), 1),
            (replaced("null", "null "), Corruption::Line(3), 1),
            (
                replaced("\"version\":1", "\"version\":0"),
                Corruption::FirstLine,
                2,
            ),
            (
                replaced("\"entries\":2", "\"entries\":1"),
                Corruption::FirstLine,
                2,
            ),
        ] {
            let (entries, fault) = read(&bytes);
            let shown = String::from_utf8_lossy(&bytes);
            assert_eq!(fault, Some(Fault::Corruption(corruption)), "{shown}");
            assert_eq!(entries.len(), readable, "{shown}");
        }
    }

    #[test]
    fn lines_of_two_files_are_told_apart() {
        let other = encode(&[
            Arc::new(entry("api.example.com", &[1], 0, 1)),
            golden()[1].clone(),
        ]);
        let header = GOLDEN.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let other_header = other.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let (entries, fault) = read(&[&GOLDEN[..header], &other[other_header..]].concat());
        assert_eq!(fault, Some(Fault::Corruption(Corruption::Mixed)));
        assert_eq!(entries.len(), 2);
    }

    /// Whatever else has changed in it, and whether or not its sums are ours.
    #[test]
    fn a_newer_version_is_no_damage() {
        for header in [
            r#"{"format":"pinhold","version":2,"kept":"elsewhere"}"#,
            r#"{"format":"pinhold","version":18446744073709551615}"#,
        ] {
            let bytes = [header.as_bytes(), b"\nanything at all"].concat();
            assert!(
                matches!(read(&bytes).1, Some(Fault::NewerVersion(2..))),
                "{header}"
            );
        }
        let (entries, fault) = read(&replaced("\"version\":1", "\"version\":2"));
        assert_eq!(fault, Some(Fault::NewerVersion(2)));
        assert_eq!(entries.len(), 2, "what can be read is pinned all the same");
    }

    /// The only part of a line that comes from a server as text.
    #[test]
    fn no_report_uri_needs_an_escape() {
        for char in (0..0x20)
            .map(char::from)
            .chain(['"', '\\', '\u{7f}', '\u{e4}'])
        {
            assert!(ReportUri::parse(&format!("https://r.example/{char}")).is_err());
        }
    }

    /// A line whose sum is right, and still no entry.
    #[test]
    fn a_right_sum_makes_no_entry() {
        for (from, to) in [
            ("api.example.com", "API.example.com"),
            ("api.example.com", "api.example.com."),
            ("api.example.com", "192.0.2.1"),
            ("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "AQEB"),
            ("true", "1"),
            ("https://r.example/", "/"),
            ("2023-11-14T22:13:20Z", "2023-11-14"),
            ("\"include", "\"more\":1,\"include"),
        ] {
            let json = golden()[0].to_json();
            let text = json
                .rsplit_once(",\"sum\"")
                .unwrap()
                .0
                .replacen(from, to, 1);
            let sum = hex(text.as_bytes());
            let line = format!("{text},\"sum\":\"{sum}\"}}");
            assert_eq!(KnownPinnedHost::from_json(&line), Err(EntryError), "{line}");
        }
    }

    proptest! {
        // 7469-2.3.3-f
        #[test]
        fn what_was_written_is_read(
            entries in proptest::collection::btree_map(
                "[a-z]{1,8}\\.(example|test)",
                (
                    proptest::collection::btree_set(any::<u8>(), 1..5),
                    any::<bool>(),
                    proptest::option::of("https?://[a-z]{1,9}/[a-z0-9?&=%41]{0,9}"),
                    0_u64..253_402_300_800,
                    0_u64..253_402_300_800,
                ),
                0..6,
            ),
        ) {
            let entries = entries.into_iter().map(|(host, (pins, subdomains, uri, noted, end))| {
                let pins = pins.into_iter().collect::<Vec<_>>();
                KnownPinnedHost {
                    includes_subdomains: subdomains,
                    report_uri: uri.and_then(|uri| ReportUri::parse(&uri).ok()),
                    ..entry(&host, &pins, noted, end)
                }
            });
            let entries = entries.map(Arc::new).collect::<Vec<_>>();
            let contents = Contents::read(&encode(&entries));
            prop_assert_eq!(contents.fault, None);
            prop_assert!(contents.entries.iter().eq(entries.iter().map(|entry| &**entry)));
            for entry in &entries {
                let json = entry.to_json();
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
                let restored = KnownPinnedHost::from_json(&json);
                prop_assert_eq!(restored.as_ref(), Ok(&**entry));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let contents = Contents::read(&bytes);
            prop_assert!(contents.fault.is_some());
        }
    }
}
