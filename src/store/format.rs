//! The file format of [`FileStorage`](crate::FileStorage): a header line, then one line for each
//! entry.
//!
//! The format is specified in `format.md`, which is shown at
//! [`FileStorage`](crate::FileStorage#the-format).

use std::fmt;
use std::sync::Arc;

use crate::policy::KnownPinnedHost;
use crate::store::json::{
    Reader, SUM_LEN, TYPICAL_LINE, checksum, end_line, ends_in_sum, read_entry, verify, write_entry,
};

/// Returns the bytes of a file with these entries, which must be sorted by host.
pub(crate) fn encode(entries: &[Arc<KnownPinnedHost>]) -> Vec<u8> {
    let mut lines = String::with_capacity(entries.len() * TYPICAL_LINE);
    let mut sums = String::with_capacity(entries.len() * SUM_LEN);
    for entry in entries {
        sums.push_str(&write_entry(&mut lines, entry));
    }
    let mut file = String::with_capacity(lines.len() + TYPICAL_LINE);
    let (count, digest) = (entries.len().to_string(), checksum(sums.as_bytes()));
    let version = VERSION.to_string();
    file.extend([
        FORMAT, VERSION_OF, &version, ENTRIES, &count, DIGEST, &digest, "\"",
    ]);
    end_line(&mut file, 0);
    file.push_str(&lines);
    file.into_bytes()
}

/// The readable entries of a file, and what is wrong with it.
#[derive(Default)]
pub(crate) struct Contents {
    /// The entries of the lines that pass their checksums, in the order of the file.
    pub(crate) entries: Vec<KnownPinnedHost>,
    /// `None` if the file is exactly as it was written.
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
                corruption = corruption.or(Some(Corruption::Truncated));
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

/// Returns what is wrong with a file that has this header line and these entries. `corruption` is
/// the first corruption that was found in the lines of the entries.
fn fault(
    header: &[u8],
    entries: &[KnownPinnedHost],
    sums: &str,
    corruption: Option<Corruption>,
) -> Option<Fault> {
    match version(&mut Reader::new(str::from_utf8(header).unwrap_or_default())) {
        Some(version) if version > VERSION => return Some(Fault::NewerVersion(version)),
        Some(_) => {}
        None if header.is_empty() => return Some(Fault::Corruption(Corruption::Empty)),
        None if entries.is_empty() && !resembles_header(header) => {
            return Some(Fault::Corruption(Corruption::NotAStoreFile));
        }
        None => return Some(Fault::Corruption(Corruption::Header)),
    }
    let corruption = match read_header(header) {
        Some((count, digest)) => {
            let truncated =
                || (usize::try_from(count) != Ok(entries.len())).then_some(Corruption::Truncated);
            let mismatch =
                || (digest != checksum(sums.as_bytes())).then_some(Corruption::DigestMismatch);
            corruption.or_else(truncated).or_else(mismatch)
        }
        None => Some(Corruption::Header),
    };
    corruption.map(Fault::Corruption)
}

/// Returns whether the line is a header of which either the beginning or the end may be damaged, as
/// by a flipped bit, or what a power cut leaves of one: its first bytes, or NUL bytes. A file without
/// entries is otherwise not known to be a store.
fn resembles_header(line: &[u8]) -> bool {
    line.starts_with(FORMAT.as_bytes())
        || FORMAT.as_bytes().starts_with(line)
        || line.iter().all(|byte| *byte == 0)
        || ends_in_sum(line.strip_suffix(b"\n").unwrap_or(line))
}

/// Returns the version of the format. No version changes this part of the header, so that a newer
/// file is not mistaken for a corrupt one.
fn version(header: &mut Reader<'_>) -> Option<u64> {
    header.literal(FORMAT)?;
    header.literal(VERSION_OF)?;
    header.number()
}

/// Returns the number of entries and the digest of their checksums from the header of version 1.
fn read_header(header: &[u8]) -> Option<(u64, &str)> {
    let (text, _) = verify(header.strip_suffix(b"\n")?)?;
    let mut header = Reader::new(text);
    let version = version(&mut header)?;
    header.literal(ENTRIES)?;
    let entries = header.number()?;
    header.literal(DIGEST)?;
    let digest = header.until_quote()?;
    (version == VERSION && header.is_at_end()).then_some((entries, digest))
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
    /// Every line passes its checksum, but the digest in the header is not that of these entries:
    /// they come from several files.
    DigestMismatch,
    /// The file has no bytes: another program wrote it, or the system crashed.
    Empty,
    /// The first line fails its checksum, or is not a header.
    Header,
    /// This line, counted from 1, fails its checksum, is not an entry, or is not in order.
    Line(usize),
    /// The file has neither a header line nor an entry: pinhold did not write it. It is never moved
    /// or changed.
    NotAStoreFile,
    /// The file is longer than [`FileStorage::MAX_LEN`](crate::FileStorage::MAX_LEN).
    Oversized {
        /// The length of the file, in bytes.
        len: u64,
        /// The maximum length, in bytes.
        limit: u64,
    },
    /// Lines are missing at the end, or a part of the last one.
    Truncated,
}

impl Corruption {
    /// Returns whether the file is of another kind than a store, and so must be left unchanged.
    /// `readable` is the number of entries that were read.
    pub(crate) fn is_other_file(&self, readable: usize) -> bool {
        match self {
            Self::NotAStoreFile => true,
            // A store of this length would have entries.
            Self::Oversized { .. } => readable == 0,
            _ => false,
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DigestMismatch => f.write_str("the digest does not match the entries"),
            Self::Empty => f.write_str("the file is empty"),
            Self::Header => f.write_str("the header line fails its checksum"),
            Self::Line(number) => write!(f, "line {number} fails its checksum or is out of order"),
            Self::NotAStoreFile => f.write_str("not a pinhold store file: no header line"),
            Self::Oversized { len, limit } => {
                write!(f, "the file has {len} bytes, expected at most {limit}")
            }
            Self::Truncated => f.write_str("the file is truncated"),
        }
    }
}

/// The version that this code writes, and the newest one that it reads.
pub(crate) const VERSION: u64 = 1;
/// The text before each value of the header. No version may change the first two.
const FORMAT: &str = r#"{"format":"pinhold","#;
const VERSION_OF: &str = r#""version":"#;
const ENTRIES: &str = r#","entries":"#;
const DIGEST: &str = r#","digest":""#;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::timestamp::at;
    use crate::policy::{Host, PinSet, ReportUri, SpkiFingerprint};

    fn entry(host: &str, pins: &[u8], noted_at: u64, expires_at: u64) -> KnownPinnedHost {
        let pins = pins
            .iter()
            .map(|pin| SpkiFingerprint::from_digest([*pin; 32]));
        KnownPinnedHost {
            host: Host::parse(host).unwrap(),
            pins: PinSet::new(pins).unwrap(),
            includes_subdomains: false,
            report_uri: None,
            seen_since: at(noted_at),
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

    /// The checksums of the golden file were computed by another program, from the specification
    /// alone.
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
    fn the_time_since_which_a_host_is_known_is_written_where_it_differs() {
        let bytes = include_bytes!("../../tests/formats/v1-seen-since.jsonl");
        let seen_since = at(1_699_913_600);
        let known = KnownPinnedHost {
            seen_since,
            ..(*golden()[0]).clone()
        };
        assert!(known.is_confirmed() && !golden()[0].is_confirmed());
        assert_eq!(encode(&[Arc::new(known.clone())]), bytes);
        assert_eq!(read(bytes), (vec![known], None));
    }

    #[test]
    fn a_file_without_entries_is_a_header_line() {
        let bytes = encode(&[]);
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(read(&bytes), (vec![], None));
    }

    #[test]
    fn a_truncated_file_is_corrupt() {
        for len in 0..GOLDEN.len() {
            let (entries, fault) = read(&GOLDEN[..len]);
            let whole_lines = GOLDEN[..len].iter().filter(|byte| **byte == b'\n').count();
            // Whole lines are readable.
            assert_eq!(entries.len(), whole_lines.saturating_sub(1), "{len}");
            let expected = match (len, whole_lines) {
                (0, _) => Corruption::Empty,
                (_, 0) => Corruption::Header,
                _ => Corruption::Truncated,
            };
            assert_eq!(fault, Some(Fault::Corruption(expected)), "{len}");
        }
    }

    #[test]
    fn every_flipped_bit_is_detected() {
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
            // Without its line feed a line makes the next one unreadable, too.
            let lost = 1 + usize::from(GOLDEN[at / 8] == b'\n');
            assert!(entries.len() + lost >= whole.len(), "bit {at}");
        }
    }

    /// Such a file is replaced, while one of another kind is left unchanged.
    #[test]
    fn a_header_with_a_flipped_bit_is_still_one_of_a_store() {
        let header = encode(&[]);
        for at in 0..header.len() * 8 {
            let mut bytes = header.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            let (_, fault) = read(&bytes);
            let Some(Fault::Corruption(corruption)) = fault else {
                assert!(matches!(fault, Some(Fault::NewerVersion(_))), "bit {at}");
                continue;
            };
            assert!(!corruption.is_other_file(0), "bit {at}: {corruption}");
        }
    }

    #[test]
    fn the_kind_of_corruption_is_detected() {
        let text = str::from_utf8(GOLDEN).unwrap();
        let mut lines = text.split_inclusive('\n').collect::<Vec<_>>();
        lines.swap(1, 2);
        let swapped = lines.concat();
        let doubled = [lines[0], lines[2], lines[2]].concat();
        let one_less = [lines[0], lines[1]].concat();
        let without_first = [lines[2], lines[1]].concat();
        for (bytes, corruption, readable) in [
            (b"".to_vec(), Corruption::Empty, 0),
            (b"\n".to_vec(), Corruption::NotAStoreFile, 0),
            (b"\0\0\0\0".to_vec(), Corruption::Header, 0),
            (b"\0\0\0\x01".to_vec(), Corruption::NotAStoreFile, 0),
            (b"{".to_vec(), Corruption::Header, 0),
            (b"{\n".to_vec(), Corruption::NotAStoreFile, 0),
            (
                b"-----BEGIN CERTIFICATE-----\n".to_vec(),
                Corruption::NotAStoreFile,
                0,
            ),
            (b"{}\n".to_vec(), Corruption::NotAStoreFile, 0),
            (swapped.into_bytes(), Corruption::Line(3), 2),
            (doubled.into_bytes(), Corruption::Line(3), 2),
            (one_less.into_bytes(), Corruption::Truncated, 1),
            (without_first.into_bytes(), Corruption::Header, 1),
            ([GOLDEN, b"\n"].concat(), Corruption::Line(4), 2),
            ([GOLDEN, b"x"].concat(), Corruption::Truncated, 2),
            (replaced("\n", "\r\n"), Corruption::Header, 2),
            (replaced("api", "apj"), Corruption::Line(2), 1),
            (replaced("api", "ap"), Corruption::Line(2), 1),
            (replaced("null", "null "), Corruption::Line(3), 1),
            (
                replaced("\"version\":1", "\"version\":0"),
                Corruption::Header,
                2,
            ),
            (
                replaced("\"entries\":2", "\"entries\":1"),
                Corruption::Header,
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
    fn lines_of_two_files_are_detected() {
        let other = encode(&[
            Arc::new(entry("api.example.com", &[1], 0, 1)),
            golden()[1].clone(),
        ]);
        let header = GOLDEN.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let other_header = other.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let (entries, fault) = read(&[&GOLDEN[..header], &other[other_header..]].concat());
        assert_eq!(fault, Some(Fault::Corruption(Corruption::DigestMismatch)));
        assert_eq!(entries.len(), 2);
    }

    /// A newer version is recognised even if the rest of the header and the checksums differ.
    #[test]
    fn a_newer_version_is_not_corruption() {
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
        assert_eq!(entries.len(), 2, "readable entries are still enforced");
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
                    [0_u64..253_402_300_800, 0_u64..253_402_300_800],
                    proptest::option::of(0_u64..253_402_300_800),
                ),
                0..6,
            ),
        ) {
            let entries = entries.into_iter().map(|(host, (pins, subdomains, uri, [noted, end], since))| {
                let pins = pins.into_iter().collect::<Vec<_>>();
                KnownPinnedHost {
                    includes_subdomains: subdomains,
                    report_uri: uri.and_then(|uri| ReportUri::parse(&uri).ok()),
                    seen_since: at(since.unwrap_or(noted)),
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
        fn arbitrary_bytes_are_corrupt_and_cause_no_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let contents = Contents::read(&bytes);
            prop_assert!(contents.fault.is_some());
        }
    }
}
