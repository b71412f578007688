//! Remembered keys as records.

use rustls_pki_types::UnixTime;

use crate::known_keys::{KnownKey, KnownKeys, MAX_KEYS};
use crate::policy::timestamp::{self, print_capped};
use crate::policy::{Host, SpkiFingerprint};
use crate::store::host_table::HostEntry;
use crate::store::line::Reader;
use crate::store::record::Record;

impl HostEntry for KnownKeys {
    const KIND: &'static str = Record::FIRST_USE;

    fn parse(host: Host, value: &str, _: UnixTime) -> Option<Self> {
        let mut value = Reader::new(value);
        value.literal(BEGIN)?;
        let mut keys = Vec::new();
        loop {
            value.literal(KEY)?;
            let fingerprint = SpkiFingerprint::try_from(value.until_quote()?).ok()?;
            value.literal(FIRST_SEEN)?;
            let first_seen = timestamp::parse(value.until_quote()?)?;
            value.literal(LAST_SEEN)?;
            let last_seen = timestamp::parse(value.until_quote()?)?;
            keys.push(KnownKey {
                fingerprint,
                first_seen,
                last_seen,
            });
            if keys.len() > MAX_KEYS {
                return None;
            }
            if value.literal(NEXT).is_none() {
                break;
            }
        }
        value.literal(END)?;
        value.is_at_end().then_some(())?;
        Self::of_stored(host, keys)
    }

    fn host(&self) -> &Host {
        Self::host(self)
    }

    fn time(&self) -> UnixTime {
        self.last_seen()
    }

    fn to_value(&self) -> String {
        let mut value = BEGIN.to_owned();
        for (position, key) in self.keys().iter().enumerate() {
            if position > 0 {
                value.push_str(NEXT);
            }
            let (first, last) = (print_capped(key.first_seen), print_capped(key.last_seen));
            let fingerprint = key.fingerprint.to_string();
            value.extend([
                KEY,
                &fingerprint,
                "\"",
                FIRST_SEEN,
                &first,
                "\"",
                LAST_SEEN,
                &last,
                "\"",
            ]);
        }
        value.push_str(END);
        value
    }
}

/// The text around each part of a value.
const BEGIN: &str = r#"{"keys":["#;
const KEY: &str = r#"{"pin":""#;
const FIRST_SEEN: &str = r#","first_seen":""#;
const LAST_SEEN: &str = r#","last_seen":""#;
const NEXT: &str = "},";
const END: &str = "}]}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::timestamp::at;

    #[test]
    fn a_value_is_read_as_it_was_written() {
        let host = Host::parse("a.example").unwrap();
        let pins = [
            "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
            "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
        ]
        .map(|text| SpkiFingerprint::try_from(text).unwrap());
        let keys = KnownKeys::first(host.clone(), &pins, at(1)).seen(&pins[..1], at(5));
        let value = keys.to_value();
        assert_eq!(KnownKeys::parse(host.clone(), &value, at(5)), Some(keys));
        for len in 0..value.len() {
            assert_eq!(KnownKeys::parse(host.clone(), &value[..len], at(5)), None);
        }
    }
}
