//! [`BundleFloor`], the record of the newest bundle that was accepted, and the rule by which one of two
//! is kept.

use std::cmp::Ordering;

use crate::policy::BundleVersion;
use crate::policy::text::hex;
use crate::store::line::Reader;
use crate::store::record::{Record, Update};

/// The version and the digest of an accepted bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BundleFloor {
    pub(crate) version: BundleVersion,
    pub(crate) digest: [u8; 32],
}

impl BundleFloor {
    /// Returns the JSON text of the value.
    pub(crate) fn to_value(self) -> String {
        let BundleVersion { root, bundle } = self.version;
        let (root, bundle) = (root.to_string(), bundle.to_string());
        [
            ROOT,
            &root,
            VERSION,
            &bundle,
            DIGEST,
            &hex(&self.digest),
            END,
        ]
        .concat()
    }

    /// Parses what [`to_value`](Self::to_value) returns.
    pub(crate) fn of_value(value: &str) -> Option<Self> {
        let mut value = Reader::new(value);
        value.literal(ROOT)?;
        let root = value.number()?;
        value.literal(VERSION)?;
        let bundle = value.number()?;
        value.literal(DIGEST)?;
        let digits = value.until_quote()?;
        value.literal("}")?;
        value.is_at_end().then_some(Self {
            version: BundleVersion { root, bundle },
            digest: digest(digits)?,
        })
    }

    /// Compares the versions. Of two bundles with the same version the one that is known stays.
    pub(crate) fn is_above(&self, other: &Self) -> bool {
        self.version.cmp(&other.version) == Ordering::Greater
    }
}

/// Returns the update of a floor if the storage has this record; `None` if that one stays: no process
/// lowers what another one has accepted.
pub(crate) fn resolve(update: &Update, stored: Option<&Record>) -> Option<Update> {
    let Update::Put(new) = update else {
        return Some(update.clone());
    };
    let stored = stored.and_then(|stored| BundleFloor::of_value(stored.value()));
    let new = BundleFloor::of_value(new.value());
    match (new, stored) {
        (Some(new), Some(stored)) if !new.is_above(&stored) => None,
        (Some(_), _) => Some(update.clone()),
        (None, _) => None,
    }
}

fn digest(digits: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let [high, low] = *pair;
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(digest)
}

const ROOT: &str = r#"{"root":"#;
const VERSION: &str = r#","version":"#;
const DIGEST: &str = r#","sha256":""#;
const END: &str = "\"}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::timestamp::at;

    fn floor(root: u64, bundle: u64, digest: u8) -> BundleFloor {
        let version = BundleVersion { root, bundle };
        let digest = [digest; 32];
        BundleFloor { version, digest }
    }

    #[test]
    fn a_value_is_read_as_it_was_written() {
        let known = floor(2, u64::MAX, 0xa5);
        let value = known.to_value();
        assert_eq!(BundleFloor::of_value(&value), Some(known));
        for cut in 0..value.len() {
            assert_eq!(BundleFloor::of_value(&value[..cut]), None, "{cut}");
        }
        assert_eq!(BundleFloor::of_value(&format!("{value} ")), None);
    }

    #[test]
    fn the_higher_version_stays_whatever_process_writes_last() {
        let record =
            |floor: BundleFloor| Record::of_parts("bundle-floor", "full", &floor.to_value(), at(1));
        for (stored, new, is_put) in [
            (None, floor(1, 1, 1), true),
            (Some(floor(1, 1, 1)), floor(1, 2, 2), true),
            (Some(floor(1, 9, 1)), floor(2, 1, 2), true),
            (Some(floor(1, 2, 1)), floor(1, 1, 2), false),
            (Some(floor(2, 1, 1)), floor(1, 9, 2), false),
            // The first of two that were signed with the same version.
            (Some(floor(1, 1, 1)), floor(1, 1, 2), false),
        ] {
            let update = Update::Put(record(new));
            let stored = stored.map(record);
            let made = resolve(&update, stored.as_ref());
            assert_eq!(made.is_some(), is_put, "{stored:?} {new:?}");
        }
        // One that can't be read is replaced.
        let damaged = Record::of_parts("bundle-floor", "full", "1", at(1));
        let update = Update::Put(record(floor(1, 1, 1)));
        assert!(resolve(&update, Some(&damaged)).is_some());
    }
}
