//! Entries in, the bytes of a [`FileStorage`](crate::FileStorage)'s file out, and back.
//!
//! The format is described byte for byte at [`FileStorage`](crate::FileStorage#the-format).

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
        let pins = entry.pins.iter().map(ToString::to_string);
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
        sums.push_str(&write_line(&mut lines, &line));
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
    let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
    digits.collect()
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
