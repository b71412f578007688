//! Entries in, the bytes of a [`FileStorage`](crate::FileStorage)'s file out, and back.
//!
//! The format is described byte for byte at [`FileStorage`](crate::FileStorage#the-format).

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};

use crate::fingerprint::{self, SpkiFingerprint};
use crate::host::Host;
use crate::policy::{KnownPinnedHost, PinSet};
use crate::report_uri::ReportUri;
use crate::timestamp;

/// The bytes of a file with these entries, which are sorted by host.
pub(crate) fn encode(entries: &[Arc<KnownPinnedHost>]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(entries.len() * TYPICAL_LINE);
    let mut sums = String::with_capacity(entries.len() * SUM_LEN);
    for entry in entries {
        sums.push_str(&write_entry(&mut lines, entry));
    }
    let mut file = Vec::with_capacity(lines.len() + TYPICAL_LINE);
    let header = Header {
        format: FORMAT,
        version: VERSION,
        entries: entries.len(),
        digest: &hex(sums.as_bytes()),
        _sum: "",
    };
    write_line(&mut file, &header);
    file.append(&mut lines);
    file
}

impl KnownPinnedHost {
    /// The entry as one JSON object with a checksum, for a [`Storage`](crate::Storage) that keeps
    /// text: a line of a [`FileStorage`](crate::FileStorage#the-format) without its end.
    ///
    /// ```
    /// use pinhold::KnownPinnedHost;
    ///
    /// let line = include_str!("../tests/formats/v1.jsonl").lines().nth(1).unwrap();
    /// let entry = KnownPinnedHost::from_json(line)?;
    /// assert_eq!(entry.host.as_str(), "api.example.com");
    /// assert_eq!(entry.to_json(), line);
    /// # Ok::<(), pinhold::EntryError>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut line = Vec::with_capacity(TYPICAL_LINE);
        write_entry(&mut line, self);
        line.pop();
        // The writer of JSON writes UTF-8 only.
        String::from_utf8(line).unwrap_or_default()
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
    Damage(Damage),
    NewerVersion(u64),
}

impl Contents {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut entries: Vec<KnownPinnedHost> = Vec::new();
        let mut sums = String::new();
        let mut damage = None;
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let header = lines.next().unwrap_or_default();
        for (number, line) in (2..).zip(lines) {
            let Some(complete) = line.strip_suffix(b"\n") else {
                damage = damage.or(Some(Damage::Cut));
                break;
            };
            let Some((entry, sum)) = read_entry(complete) else {
                damage = damage.or(Some(Damage::Line(number)));
                continue;
            };
            sums.push_str(sum);
            if entries.last().is_some_and(|last| last.host >= entry.host) {
                damage = damage.or(Some(Damage::Line(number)));
            }
            entries.push(entry);
        }
        let fault = fault(header, &entries, &sums, damage);
        Self { entries, fault }
    }
}

/// What is wrong with a file of this first line, these entries, and the first damage among them.
fn fault(
    header: &[u8],
    entries: &[KnownPinnedHost],
    sums: &str,
    damage: Option<Damage>,
) -> Option<Fault> {
    let probe = serde_json::from_slice::<Probe<'_>>(header).ok();
    match probe.filter(|probe| probe.format == FORMAT) {
        Some(probe) if probe.version > VERSION => return Some(Fault::NewerVersion(probe.version)),
        Some(_) => {}
        None if header.is_empty() => return Some(Fault::Damage(Damage::Empty)),
        None if entries.is_empty() && !header.starts_with(BEGINNING) => {
            return Some(Fault::Damage(Damage::Foreign));
        }
        None => return Some(Fault::Damage(Damage::FirstLine)),
    }
    let verified = header.strip_suffix(b"\n").and_then(verify);
    let header = verified.and_then(|(line, _)| serde_json::from_slice::<Header<'_>>(line).ok());
    let damage = match header {
        Some(header) if header.version == VERSION => {
            let cut = || (header.entries != entries.len()).then_some(Damage::Cut);
            let mixed = || (header.digest != hex(sums.as_bytes())).then_some(Damage::Mixed);
            damage.or_else(cut).or_else(mixed)
        }
        _ => Some(Damage::FirstLine),
    };
    damage.map(Fault::Damage)
}

/// A line that says what its sum says, and that sum.
fn verify(line: &[u8]) -> Option<(&[u8], &str)> {
    let (text, end) = line.split_at_checked(line.len().checked_sub(END_LEN)?)?;
    let sum = end.strip_prefix(SUM)?.strip_suffix(b"\"}")?;
    let sum = str::from_utf8(sum).ok()?;
    (sum == hex(text)).then_some((line, sum))
}

fn read_entry(line: &[u8]) -> Option<(KnownPinnedHost, &str)> {
    let (line, sum) = verify(line)?;
    let line = serde_json::from_slice::<Line<'_>>(line).ok()?;
    let host = Host::parse(line.host).ok()?;
    // Whatever else `Host` reads, an entry is kept under the canonical name only.
    if host.as_str() != line.host {
        return None;
    }
    let pins = line.pins.iter().map(|pin| pin.parse::<SpkiFingerprint>());
    let pins = pins.collect::<Result<Vec<_>, _>>().ok()?;
    let report_uri = line.report_uri.map(ReportUri::parse).transpose().ok()?;
    let entry = KnownPinnedHost {
        host,
        pins: PinSet::new(pins).ok()?,
        includes_subdomains: line.include_subdomains,
        report_uri,
        noted_at: timestamp::parse(line.noted_at)?,
        expires_at: timestamp::parse(line.expires_at)?,
    };
    Some((entry, sum))
}

/// Appends the entry as a line, and returns its sum.
fn write_entry(file: &mut Vec<u8>, entry: &KnownPinnedHost) -> String {
    let pins = entry.pins.iter();
    let pins = pins.map(|pin| ["sha256/", &pin.to_base64()].concat());
    let pins = pins.collect::<Vec<_>>();
    let line = Line {
        host: entry.host.as_str(),
        pins: pins.iter().map(String::as_str).collect(),
        include_subdomains: entry.includes_subdomains,
        report_uri: entry.report_uri.as_ref().map(ReportUri::as_str),
        noted_at: &time(entry.noted_at),
        expires_at: &time(entry.expires_at),
        _sum: "",
    };
    write_line(file, &line)
}

/// Appends the object as a line that ends in its sum, and returns the sum.
fn write_line(file: &mut Vec<u8>, object: &impl Serialize) -> String {
    let begin = file.len();
    // Strings and integers always have a JSON form, and a vector takes all of it.
    let written = serde_json::to_writer(&mut *file, object);
    debug_assert!(written.is_ok(), "{written:?}");
    // The brace that closed the object closes it after the sum.
    file.pop();
    let sum = hex(file.get(begin..).unwrap_or_default());
    file.extend_from_slice(SUM);
    file.extend_from_slice(sum.as_bytes());
    file.extend_from_slice(b"\"}\n");
    sum
}

/// The first 16 bytes of the SHA-256 in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    let digest = fingerprint::sha256(&[bytes]);
    let digits = digest.iter().take(SUM_LEN / 2);
    let digits = digits.flat_map(|byte| [byte >> 4, byte & 15]);
    let mut hex = String::with_capacity(SUM_LEN);
    hex.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    hex
}

fn time(time: UnixTime) -> String {
    timestamp::print(time).unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned())
}

/// What is wrong with a file of noted pins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
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

impl fmt::Display for Damage {
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

/// What no version of the first line may change.
#[derive(Deserialize)]
struct Probe<'a> {
    format: &'a str,
    version: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    format: &'a str,
    version: u64,
    entries: usize,
    digest: &'a str,
    #[serde(skip_serializing, rename = "sum")]
    _sum: &'a str,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    host: &'a str,
    #[serde(borrow)]
    pins: Vec<&'a str>,
    include_subdomains: bool,
    report_uri: Option<&'a str>,
    noted_at: &'a str,
    expires_at: &'a str,
    #[serde(skip_serializing, rename = "sum")]
    _sum: &'a str,
}

const FORMAT: &str = "pinhold";
pub(crate) const VERSION: u64 = 1;
const BEGINNING: &[u8] = br#"{"format":"pinhold","#;
const SUM: &[u8] = br#","sum":""#;
/// Hexadecimal digits.
const SUM_LEN: usize = 32;
/// Bytes from `SUM` to the end of a line.
const END_LEN: usize = SUM.len() + SUM_LEN + 2;
/// Bytes of an entry with two pins, for the buffers' first size only.
const TYPICAL_LINE: usize = 320;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

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

    const GOLDEN: &[u8] = include_bytes!("../tests/formats/v1.jsonl");

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
            let ends = GOLDEN[..len].iter().filter(|byte| **byte == b'\n').count();
            // Whole lines are saved.
            assert_eq!(entries.len(), ends.saturating_sub(1), "{len}");
            let expected = match (len, ends) {
                (0, _) => Damage::Empty,
                (..20, 0) => Damage::Foreign,
                (_, 0) => Damage::FirstLine,
                _ => Damage::Cut,
            };
            assert_eq!(fault, Some(Fault::Damage(expected)), "{len}");
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
        for (bytes, damage, readable) in [
            (b"".to_vec(), Damage::Empty, 0),
            (b"\n".to_vec(), Damage::Foreign, 0),
            (b"\0\0\0\0".to_vec(), Damage::Foreign, 0),
            (
                b"-----BEGIN CERTIFICATE-----\n".to_vec(),
                Damage::Foreign,
                0,
            ),
            (b"{}\n".to_vec(), Damage::Foreign, 0),
            (swapped.into_bytes(), Damage::Line(3), 2),
            (doubled.into_bytes(), Damage::Line(3), 2),
            (one_less.into_bytes(), Damage::Cut, 1),
            (without_first.into_bytes(), Damage::FirstLine, 1),
            ([GOLDEN, b"\n"].concat(), Damage::Line(4), 2),
            ([GOLDEN, b"x"].concat(), Damage::Cut, 2),
            (replaced("\n", "\r\n"), Damage::FirstLine, 2),
            (replaced("api", "apj"), Damage::Line(2), 1),
            (replaced("api", "ap"), Damage::Line(2), 1),
            (replaced("null", "null "), Damage::Line(3), 1),
            (
                replaced("\"version\":1", "\"version\":0"),
                Damage::FirstLine,
                2,
            ),
            (
                replaced("\"entries\":2", "\"entries\":1"),
                Damage::FirstLine,
                2,
            ),
        ] {
            let (entries, fault) = read(&bytes);
            let shown = String::from_utf8_lossy(&bytes);
            assert_eq!(fault, Some(Fault::Damage(damage)), "{shown}");
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
        assert_eq!(fault, Some(Fault::Damage(Damage::Mixed)));
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
                let restored = KnownPinnedHost::from_json(&entry.to_json());
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
