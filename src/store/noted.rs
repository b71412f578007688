//! Noted pins as records: the JSON text of their values, and the rule by which one of two notes is
//! kept ([`HostChange`]).

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::policy::timestamp::{self, print_capped};
use crate::policy::{Host, KnownPinnedHost, PinSet, ReportUri, SpkiFingerprint};
use crate::store::line::Reader;
use crate::store::record::{Record, RecordError};

/// The kind of the records of noted pins.
pub(crate) const NOTED_PINS: &str = Record::NOTED_PINS;
/// The time of an entry that replaces none.
pub(crate) const MIN_TIME: UnixTime = timestamp::at(0);
/// The time of a removal that is not the effect of a header: it affects every entry of the host.
pub(crate) const MAX_TIME: UnixTime = timestamp::at(u64::MAX);

/// One change of the noted pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotedChange {
    /// Every entry that was noted at this time or later is removed.
    ClearedSince(UnixTime),
    OfHost(Host, HostChange),
}

/// A change of the entry of exactly one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostChange {
    /// The entry to store; `None` removes the stored one.
    pub(crate) entry: Option<Arc<KnownPinnedHost>>,
    /// The latest time of a stored entry that the change affects: what another process has noted
    /// since the header was evaluated must not be undone.
    pub(crate) replaces: UnixTime,
    /// Whether the entry replaces a live one: if another process has removed that, it stays removed.
    pub(crate) is_replacement: bool,
}

/// The stored entries of the hosts that other processes have changed; `None` for a removed one.
pub(crate) type Stored = HashMap<Host, Option<Arc<KnownPinnedHost>>, RandomState>;

/// What a change does to the stored entry of its host.
pub(crate) enum Effect {
    Put(Arc<KnownPinnedHost>),
    Remove,
    /// It stays, because of what another process has noted or removed since.
    Stay,
}

impl HostChange {
    /// Clears what was noted at this time or later from a change that is not stored yet. What is
    /// left is the removal of the stored entry that it would have replaced, which must not come
    /// back. Returns `false` if there was none.
    pub(crate) fn clear_since(&mut self, time: UnixTime) -> bool {
        if self.entry.take_if(|entry| entry.noted_at >= time).is_none() {
            return true;
        }
        self.is_replacement = false;
        self.replaces > MIN_TIME
    }

    pub(crate) fn effect(&self, stored: Option<&Arc<KnownPinnedHost>>) -> Effect {
        match (&self.entry, stored) {
            (Some(entry), Some(known)) if is_kept(known, entry, self.replaces) => Effect::Stay,
            (Some(entry), Some(known)) => Effect::Put(confirmed_as(known, entry)),
            (Some(entry), None) if !self.is_replacement => Effect::Put(Arc::clone(entry)),
            (None, Some(known)) if known.noted_at <= self.replaces => Effect::Remove,
            // If another process has removed the entry, the next header adds it again.
            _ => Effect::Stay,
        }
    }

    /// Applies the change to what another process has stored of its host. Returns `false` if it has
    /// no effect because of that.
    pub(crate) fn apply(&self, stored: &mut Option<Arc<KnownPinnedHost>>) -> bool {
        match self.effect(stored.as_ref()) {
            Effect::Put(entry) => *stored = Some(entry),
            Effect::Remove => *stored = None,
            Effect::Stay => return false,
        }
        true
    }
}

/// Removes the stored entries that were noted at this time or later.
pub(crate) fn clear_since(stored: &mut Stored, time: UnixTime) {
    for known in stored.values_mut() {
        known.take_if(|known| known.noted_at >= time);
    }
}

/// Returns whether the stored entry stays. One that another process has noted since is one that the
/// header of the new entry was not evaluated against: an impostor could otherwise replace its pins
/// through a process that has not read them yet.
fn is_kept(stored: &KnownPinnedHost, entry: &KnownPinnedHost, replaces: UnixTime) -> bool {
    // `replaces` counts, too: the clock may have been set back after the stored entry was noted.
    let is_later = stored.noted_at > entry.noted_at.max(replaces);
    let is_evaluated = stored.has_same_pins(entry) || stored.is_expired(entry.noted_at);
    is_later || (!is_evaluated && stored.noted_at > replaces)
}

/// Returns the entry, confirmed if it replaces a confirmed one that this process did not know.
fn confirmed_as(
    known: &Arc<KnownPinnedHost>,
    entry: &Arc<KnownPinnedHost>,
) -> Arc<KnownPinnedHost> {
    let is_lost =
        known.is_confirmed() && !known.is_expired(entry.noted_at) && !entry.is_confirmed();
    if !is_lost {
        return Arc::clone(entry);
    }
    Arc::new(KnownPinnedHost {
        seen_since: known
            .seen_since
            .min(KnownPinnedHost::confirmed_since(entry.noted_at)),
        ..(**entry).clone()
    })
}

impl From<&KnownPinnedHost> for Record {
    fn from(known: &KnownPinnedHost) -> Self {
        let value = write_value(known);
        Self::of_parts(NOTED_PINS, known.host.as_str(), &value, known.noted_at)
    }
}

impl TryFrom<&Record> for KnownPinnedHost {
    type Error = RecordError;

    /// Reads noted pins.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if the record has another kind or was not written by pinhold.
    fn try_from(record: &Record) -> Result<Self, RecordError> {
        if record.kind() != NOTED_PINS {
            return Err(RecordError::Kind);
        }
        read_value(record.key(), record.value(), record.time())
    }
}

/// Returns the JSON text of the value of noted pins.
fn write_value(known: &KnownPinnedHost) -> String {
    let mut value = String::with_capacity(TYPICAL_VALUE);
    for (index, pin) in known.pins.iter().enumerate() {
        let before = if index == 0 { PINS } else { ANOTHER_PIN };
        value.extend([before, &pin.to_base64(), "\""]);
    }
    let subdomains = if known.includes_subdomains {
        "true"
    } else {
        "false"
    };
    value.extend([INCLUDE_SUBDOMAINS, subdomains, REPORT_URI]);
    match &known.report_uri {
        Some(uri) => value.extend(["\"", uri.as_str(), "\""]),
        None => value.push_str("null"),
    }
    let seen_since = print_capped(known.seen_since);
    if known.seen_since != known.noted_at {
        value.extend([SEEN_SINCE, &seen_since, "\""]);
    }
    value.extend([EXPIRES_AT, &print_capped(known.expires_at), "\"}"]);
    value
}

/// Parses what [`write_value`] returns, and no other form of JSON.
fn read_value(key: &str, value: &str, noted_at: UnixTime) -> Result<KnownPinnedHost, RecordError> {
    // `Host` accepts other forms, too, but an entry is stored under the canonical name only.
    let host = Host::parse(key).ok().filter(|host| host.as_str() == key);
    let host = host.ok_or(RecordError::Key)?;
    read(host, value, noted_at).ok_or(RecordError::Value)
}

fn read(host: Host, value: &str, noted_at: UnixTime) -> Option<KnownPinnedHost> {
    let mut value = Reader::new(value);
    value.literal(PINS)?;
    let mut pins = vec![read_pin(&mut value)?];
    while value.literal(ANOTHER_PIN).is_some() {
        pins.push(read_pin(&mut value)?);
    }
    value.literal(INCLUDE_SUBDOMAINS)?;
    let includes_subdomains = value.literal("true").is_some();
    if !includes_subdomains {
        value.literal("false")?;
    }
    value.literal(REPORT_URI)?;
    let report_uri = match value.literal("null") {
        Some(()) => None,
        None => {
            value.literal("\"")?;
            Some(ReportUri::parse(value.until_quote()?).ok()?)
        }
    };
    let seen_since = match value.literal(SEEN_SINCE) {
        Some(()) => timestamp::parse(value.until_quote()?)?,
        None => noted_at,
    };
    value.literal(EXPIRES_AT)?;
    let expires_at = timestamp::parse(value.until_quote()?)?;
    value.literal("}")?;
    let known = KnownPinnedHost {
        host,
        pins: PinSet::new(pins).ok()?,
        includes_subdomains,
        report_uri,
        seen_since,
        noted_at,
        expires_at,
    };
    value.is_at_end().then_some(known)
}

fn read_pin(value: &mut Reader<'_>) -> Option<SpkiFingerprint> {
    SpkiFingerprint::from_base64(value.until_quote()?.as_bytes()).ok()
}

/// The text before each part of the value.
const PINS: &str = r#"{"pins":["sha256/"#;
const ANOTHER_PIN: &str = r#","sha256/"#;
const INCLUDE_SUBDOMAINS: &str = r#"],"include_subdomains":"#;
const REPORT_URI: &str = r#","report_uri":"#;
const SEEN_SINCE: &str = r#","seen_since":""#;
const EXPIRES_AT: &str = r#","expires_at":""#;
/// The number of bytes of a value with two pins, for the initial capacity.
const TYPICAL_VALUE: usize = 220;

#[cfg(test)]
mod tests {
    use super::*;

    /// A report URI is the only part of a value that comes from a server as text.
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
    fn a_value_is_read_only_as_it_is_written() {
        let value = r#"{"pins":["sha256/AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="],"include_subdomains":true,"report_uri":"https://r.example/","seen_since":"2023-11-13T22:13:20Z","expires_at":"2023-11-15T22:13:20Z"}"#;
        let read = |key: &str, value: &str| read_value(key, value, timestamp::at(1_700_000_000));
        let known = read("a.example", value).unwrap();
        assert_eq!(write_value(&known), value);
        for key in ["A.example", "a.example.", "192.0.2.1", ""] {
            assert_eq!(read(key, value), Err(RecordError::Key));
        }
        for (from, to) in [
            ("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "AQEB"),
            ("true", "1"),
            ("https://r.example/", "/"),
            ("2023-11-15T22:13:20Z", "2023-11-15"),
            ("2023-11-13T22:13:20Z", "2023"),
            ("\"include", "\"more\":1,\"include"),
            ("\"}", "\"} "),
            ("\"}", "\""),
        ] {
            let altered = value.replacen(from, to, 1);
            assert_eq!(
                read("a.example", &altered),
                Err(RecordError::Value),
                "{altered}"
            );
        }
    }
}
