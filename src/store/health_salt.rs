//! [`Salt`], the random bytes by which exported digests of host names differ between installations.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

use crate::policy::text::hex;
use crate::policy::timestamp;
use crate::store::health_key::SALT;
use crate::store::record::Record;

/// The salt of exported digests of host names. The first process that uses a storage chooses it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Salt {
    bytes: Option<[u8; 16]>,
    is_sent: bool,
    is_stored: bool,
}

impl Salt {
    /// Returns the salt, which is chosen if there is none.
    pub(crate) fn get(&mut self) -> [u8; 16] {
        *self.bytes.get_or_insert_with(random)
    }

    /// Takes over the stored salt.
    pub(crate) fn take(&mut self, record: &Record) {
        if let Some(bytes) = parse(record.value()) {
            (self.bytes, self.is_stored) = (Some(bytes), true);
        }
    }

    /// Returns the record to store, unless it is stored.
    pub(crate) fn record_to_store(&mut self) -> Option<Record> {
        let bytes = self.bytes.filter(|_| !self.is_stored)?;
        self.is_sent = true;
        let value = ["\"", &hex(&bytes), "\""].concat();
        Record::new(Record::HEALTH, SALT, &value, timestamp::at(0)).ok()
    }

    /// Records that what was sent is stored.
    pub(crate) fn on_stored(&mut self) {
        self.is_stored |= self.is_sent;
    }

    pub(crate) fn store_again(&mut self) {
        (self.is_sent, self.is_stored) = (false, false);
    }
}

/// Parses the value of a salt's record.
pub(crate) fn parse(value: &str) -> Option<[u8; 16]> {
    let digits = value.strip_prefix('"')?.strip_suffix('"')?;
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<_>>>()?;
    bytes.try_into().ok().filter(|_| rest.is_empty())
}

/// Returns 16 random bytes: `RandomState` has secret keys from the operating system.
fn random() -> [u8; 16] {
    let parts = [0_u8, 1].map(|part| RandomState::new().hash_one((SystemTime::now(), part)));
    let [one, other] = parts.map(u128::from);
    (one << 64 | other).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_salt_replaces_the_chosen_one() {
        let mut stored = Salt::default();
        assert!(stored.record_to_store().is_none());
        let bytes = stored.get();
        let record = stored.record_to_store().unwrap();
        let mut other = Salt::default();
        assert_ne!(other.get(), bytes);
        other.take(&record);
        assert_eq!(other.get(), bytes);
        assert!(other.record_to_store().is_none());
        for value in [
            "",
            "\"\"",
            "\"00\"",
            "7",
            &record.value()[1..],
            &record.value().replace('"', ""),
        ] {
            assert_eq!(parse(value), None, "{value}");
        }
    }
}
