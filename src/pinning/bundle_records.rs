//! Pin bundles as records of the storage: their texts in parts, their versions, and the counts.

use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::bundles::{InstallId, PinBundle};
use crate::policy::fingerprint::{decode_base64, encode_base64};
use crate::policy::text::hex;
use crate::store::{BundleFloor, Change, Record, Records};

/// Counts of what happened to pin bundles, over all runs of the application with this storage.
///
/// ```
/// use pinhold::bundle::BundleCounts;
///
/// assert_eq!(BundleCounts::default().refused, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleCounts {
    /// Bundles that took effect.
    pub applied: u64,
    /// Bundles that turned on the kill switch.
    pub killed: u64,
    /// Recoveries: a host was refused by its pins, and a bundle fetched because of that allows the
    /// chain.
    pub recovered: u64,
    /// Refused bundles.
    pub refused: u64,
    /// Staged bundles that did not take effect.
    pub staged: u64,
    /// Bundles that were found stale.
    pub stale: u64,
}

impl BundleCounts {
    fn fields(&mut self) -> [&mut u64; 6] {
        [
            &mut self.applied,
            &mut self.killed,
            &mut self.recovered,
            &mut self.refused,
            &mut self.staged,
            &mut self.stale,
        ]
    }

    /// Returns the higher ones of both: another process may have counted since.
    pub(crate) fn max(mut self, mut other: Self) -> Self {
        for (count, other) in self.fields().into_iter().zip(other.fields()) {
            *count = (*count).max(*other);
        }
        self
    }

    /// Returns the change that stores the counts.
    pub(crate) fn to_change(mut self, now: UnixTime) -> Option<Change> {
        let counts = self.fields().map(|count| count.to_string());
        let value = ["[", &counts.join(","), "]"].concat();
        put(Record::BUNDLE_STATE, "counts", &value, now)
    }

    pub(crate) fn of_stored(records: &Records) -> Self {
        let mut counts = Self::default();
        let stored = records.get(Record::BUNDLE_STATE, "counts");
        let stored = stored.map(Record::value).unwrap_or_default();
        let numbers = stored.trim_matches(['[', ']']).split(',');
        for (count, number) in counts.fields().into_iter().zip(numbers) {
            *count = number.parse().unwrap_or_default();
        }
        counts
    }
}

/// Which of the stored bundles a version is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The newest bundle that is not staged.
    Full,
    /// A staged bundle by which a host was reached again: it is in effect whatever its percentage.
    Recovered,
    /// The newest staged bundle.
    Staged,
}

impl Slot {
    /// Returns where a bundle is stored.
    pub(crate) fn of(bundle: &PinBundle) -> Self {
        match bundle.staging() {
            Some(staging) if staging.percent() < 100 => Self::Staged,
            _ => Self::Full,
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Recovered => "recovered",
            Self::Staged => "staged",
        }
    }

    /// Returns the version in this slot.
    pub(crate) fn floor(self, records: &Records) -> Option<BundleFloor> {
        let record = records.get(Record::BUNDLE_FLOOR, self.key())?;
        BundleFloor::of_value(record.value())
    }

    /// Returns whether there is a record that can't be read.
    pub(crate) fn is_damaged(self, records: &Records) -> bool {
        records.get(Record::BUNDLE_FLOOR, self.key()).is_some() && self.floor(records).is_none()
    }

    /// Returns the change that puts the version in this slot, unless a higher one is there.
    pub(crate) fn put(self, floor: BundleFloor, now: UnixTime) -> Option<Change> {
        put(Record::BUNDLE_FLOOR, self.key(), &floor.to_value(), now)
    }
}

pub(crate) fn floor_of(bundle: &PinBundle) -> BundleFloor {
    BundleFloor {
        version: bundle.version(),
        digest: bundle.digest(),
    }
}

/// Returns the changes that store a bundle in a slot, in their order: its text, then its version, then
/// the removal of texts that no slot has.
pub(crate) fn store(
    slot: Slot,
    floor: BundleFloor,
    bytes: &[u8],
    now: UnixTime,
    records: &Records,
) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    // At most 24 of them.
    let mut kept = Vec::new();
    for (index, part) in bytes.chunks(PART).enumerate() {
        let key = part_key(&floor, index);
        let value = ["\"", &encode_base64(part), "\""].concat();
        changes.push(put(Record::BUNDLE_TEXT, &key, &value, now)?);
        kept.push(key);
    }
    changes.push(slot.put(floor, now)?);
    let others = [Slot::Full, Slot::Staged].into_iter();
    let others = others.filter(|other| *other != slot && slot != Slot::Full);
    let others = others.filter_map(|other| other.floor(records));
    let others = others.map(|floor| hex(&floor.digest)).collect::<Vec<_>>();
    let texts = records.iter().filter(|it| it.kind() == Record::BUNDLE_TEXT);
    for record in texts {
        let key = record.key();
        let digest = key.split('.').next().unwrap_or_default();
        if !kept.iter().any(|kept| kept == key) && !others.iter().any(|other| other == digest) {
            changes.push(Change::remove(Record::BUNDLE_TEXT, key));
        }
    }
    Some(changes)
}

/// Returns the bytes of the stored bundle with this digest; `None` if they are missing or can't be
/// read.
pub(crate) fn text(floor: &BundleFloor, records: &Records) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for index in 0.. {
        let Some(part) = records.get(Record::BUNDLE_TEXT, &part_key(floor, index)) else {
            break;
        };
        let part = part.value().strip_prefix('"')?.strip_suffix('"')?;
        bytes.extend(decode_base64(part.as_bytes())?);
        if bytes.len() > PinBundle::MAX_SIZE {
            return None;
        }
    }
    Some(bytes).filter(|bytes| !bytes.is_empty())
}

/// Returns the number of this installation.
pub(crate) fn install(records: &Records) -> Option<InstallId> {
    let record = records.get(Record::BUNDLE_STATE, "install")?;
    let value = record.value().strip_prefix('"')?.strip_suffix('"')?;
    let bytes = decode_base64(value.as_bytes())?;
    Some(InstallId::from_bytes(bytes.try_into().ok()?))
}

/// Returns the change that stores the number of this installation, unless there is one.
pub(crate) fn put_install(install: InstallId, now: UnixTime) -> Option<Change> {
    let value = ["\"", &encode_base64(&install.0), "\""].concat();
    put(Record::BUNDLE_STATE, "install", &value, now)
}

/// The attempts to fetch a bundle because of violations, which back off across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FetchState {
    /// The number of attempts since the last one that brought a recovery.
    pub(crate) attempts: u64,
    /// When the last attempt began, in seconds since 1970.
    pub(crate) last: u64,
}

impl FetchState {
    pub(crate) fn of_stored(records: &Records) -> Self {
        let record = records.get(Record::BUNDLE_STATE, "fetch");
        let value = record.map(Record::value).unwrap_or_default();
        let mut numbers = value.trim_matches(['[', ']']).split(',');
        let mut number = || numbers.next().and_then(|number| number.parse().ok());
        Self {
            attempts: number().unwrap_or_default(),
            last: number().unwrap_or_default(),
        }
    }
}

#[cfg(feature = "hyper")]
impl FetchState {
    /// Returns whether the next attempt may begin: a minute after the first one, then after twice as
    /// long each time, up to an hour. A clock that was set, in either direction, delays no attempt by
    /// more than that.
    pub(crate) fn is_due(self, now: UnixTime) -> bool {
        let Some(earlier) = self.attempts.checked_sub(1) else {
            return true;
        };
        let backoff = FIRST_BACKOFF << earlier.min(10);
        now.as_secs().abs_diff(self.last) >= backoff.min(MAX_BACKOFF)
    }

    /// Returns the state after an attempt begins.
    pub(crate) fn begun(self, now: UnixTime) -> Self {
        Self {
            attempts: self.attempts.saturating_add(1),
            last: now.as_secs(),
        }
    }

    /// Returns the state after an attempt that brought a new bundle.
    pub(crate) fn succeeded(self) -> Self {
        Self {
            attempts: 0,
            ..self
        }
    }

    pub(crate) fn to_change(self, now: UnixTime) -> Option<Change> {
        let (attempts, last) = (self.attempts.to_string(), self.last.to_string());
        let value = ["[", &attempts, ",", &last, "]"].concat();
        put(Record::BUNDLE_STATE, "fetch", &value, now)
    }
}

/// Returns a change; `None` only if a value is too long for a record.
fn put(kind: &str, key: &str, value: &str, now: UnixTime) -> Option<Change> {
    Record::new(kind, key, value, now).ok().map(Change::put)
}

fn part_key(floor: &BundleFloor, index: usize) -> String {
    [&hex(&floor.digest), ".", &index.to_string()].concat()
}

/// The time between the first two attempts to fetch a bundle because of violations, in seconds. Each
/// attempt costs a connection, and an attacker on the network can cause violations at any rate.
#[cfg(feature = "hyper")]
const FIRST_BACKOFF: u64 = 60;
/// The longest time between two such attempts, in seconds.
#[cfg(feature = "hyper")]
const MAX_BACKOFF: u64 = 60 * 60;
/// How long a bundle may take to be stored. A synced write takes milliseconds; a storage that hangs must
/// not hold the threads that apply bundles.
pub(crate) const STORAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The bytes of one part. In base64 they fit in a record.
const PART: usize = 45 * 1024;

const _: () = assert!(PART / 3 * 4 + 4 < Record::MAX_VALUE_LEN);
