//! [`PinSet`], the non-empty set of pins of a policy, and [`PolicyError`].

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::policy::fingerprint::SpkiFingerprint;
use crate::policy::fingerprint_error::ParseFingerprintError;
use crate::policy::host::HostError;
use crate::policy::text::write_with_causes;

/// A set of distinct pins that is never empty. Cheap to clone.
///
/// ```
/// use pinhold::{PinSet, SpkiFingerprint};
///
/// let pin = SpkiFingerprint::from_digest([7; 32]);
/// let pins = PinSet::new([pin])?;
/// assert!(pins.matches(&[SpkiFingerprint::from_digest([8; 32]), pin]));
/// # Ok::<(), pinhold::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PinSet(Arc<[SpkiFingerprint]>);

impl PinSet {
    /// Creates a set of these pins. Duplicates are dropped.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoPins`] if there is no pin: an empty set would refuse every connection.
    ///
    /// ```
    /// use pinhold::{PinSet, SpkiFingerprint};
    ///
    /// let pin = SpkiFingerprint::from_digest([7; 32]);
    /// assert_eq!(PinSet::new([pin, pin])?.len(), 1);
    /// assert!(PinSet::new([]).is_err());
    /// # Ok::<(), pinhold::policy::PolicyError>(())
    /// ```
    pub fn new(pins: impl IntoIterator<Item = SpkiFingerprint>) -> Result<Self, PolicyError> {
        Self::of(&Vec::from_iter(pins))
    }

    pub(crate) fn of(pins: &[SpkiFingerprint]) -> Result<Self, PolicyError> {
        if pins.is_empty() {
            return Err(PolicyError::NoPins);
        }
        Ok(Self::of_any_number(pins))
    }

    /// Merges sets of few pins, into which pins are inserted in order: the time for many pins is
    /// then not quadratic, and the sort of the standard library adds three kilobytes to a binary.
    fn of_any_number(pins: &[SpkiFingerprint]) -> Self {
        if pins.len() > MAX_INSERTED {
            let (one, other) = pins.split_at(pins.len() / 2);
            return Self::of_any_number(one).join(&Self::of_any_number(other));
        }
        let mut distinct = Vec::with_capacity(pins.len());
        for pin in pins {
            if let Err(index) = distinct.binary_search(pin) {
                distinct.insert(index, *pin);
            }
        }
        Self(distinct.into())
    }

    /// Creates a set of these pins, given as fingerprints or as text.
    pub(crate) fn parse<P>(pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        let pins = pins.into_iter().map(TryInto::try_into);
        let pins = pins.collect::<Result<Vec<_>, _>>();
        Self::of(&pins.map_err(|error| PolicyError::Pin(error.into()))?)
    }

    /// Returns the pins of both sets.
    pub(crate) fn join(&self, other: &Self) -> Self {
        let mut joined = Vec::with_capacity(self.len() + other.len());
        let mut own = self.iter().peekable();
        for pin in other.iter() {
            while let Some(smaller) = own.next_if(|own| *own < pin) {
                joined.push(*smaller);
            }
            own.next_if(|own| *own == pin);
            joined.push(*pin);
        }
        joined.extend(own);
        Self(joined.into())
    }

    /// Returns whether the set contains `pin`.
    #[must_use]
    pub fn contains(&self, pin: &SpkiFingerprint) -> bool {
        // A linear scan is faster than a binary search for the few pins that a set has.
        self.0.contains(pin)
    }

    /// Returns whether the set contains at least one of `keys` (RFC 7469 section 2.6).
    #[must_use]
    pub fn matches(&self, keys: &[SpkiFingerprint]) -> bool {
        keys.iter().any(|key| self.contains(key))
    }

    /// Returns the pins in the order of their bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &SpkiFingerprint> {
        self.0.iter()
    }

    /// Returns the number of pins, at least one.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Why a [`PinSet`] or [`PinPolicy`](crate::PinPolicy) can't be built.
///
/// ```
/// use pinhold::PinPolicy;
/// use pinhold::policy::PolicyError;
///
/// let error = PinPolicy::new(["sha256/AAAA"]).unwrap_err();
/// assert!(matches!(error, PolicyError::Pin(_)));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// The name given to [`PinPolicy::exempt`](crate::PinPolicy::exempt) is not a host.
    Exemption(HostError),
    /// There are fewer than two distinct pins, in all or in one of several groups.
    NoBackup,
    /// There is no pin.
    NoPins,
    /// A pin can't be parsed.
    Pin(ParseFingerprintError),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exemption(error) => write!(f, "exempt subdomain: {error}"),
            Self::NoBackup => f.write_str(
                "pin set has 1 pin and no backup, expected 2 distinct pins in each group or \
                 `PinPolicy::without_backup`",
            ),
            Self::NoPins => f.write_str("pin set is empty, expected at least 1 pin"),
            Self::Pin(error) => error.fmt(f),
        }
    }
}

/// Prints the text of `Display`, since `main` prints an error that it returns by `Debug`.
impl fmt::Debug for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for PolicyError {}

/// The pins that are inserted into a set, one by one.
const MAX_INSERTED: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Four times the pins take less than ten times the processor time of this thread: insertion of
    /// each pin would take sixteen times.
    #[cfg(unix)]
    #[test]
    fn many_pins_in_no_order_take_no_quadratic_time() {
        use std::time::Duration;

        use rustix::time::{ClockId, clock_gettime};

        let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        let [few, many] = [20_000, 80_000].map(|count: u32| {
            let pins = (0..count).map(|index| {
                let mut digest = [7; 32];
                digest[..4].copy_from_slice(&index.wrapping_mul(0x9e37_79b1).to_be_bytes());
                SpkiFingerprint::from_digest(digest)
            });
            let pins = Vec::from_iter(pins);
            let times = (0..3).map(|_| {
                let begin = now();
                assert_eq!(PinSet::of(&pins).unwrap().len(), pins.len());
                now() - begin
            });
            times.min().unwrap()
        });
        assert!(many < 10 * few, "{few:?}, then {many:?}");
    }

    proptest! {
        #[test]
        fn a_set_has_each_pin_once_in_order(digests in prop::collection::vec(0..300_u16, 1..400)) {
            let pins = digests.iter().map(|number| {
                let mut digest = [7; 32];
                digest[..2].copy_from_slice(&number.to_be_bytes());
                SpkiFingerprint::from_digest(digest)
            });
            let pins = Vec::from_iter(pins);
            let set = PinSet::new(pins.iter().copied()).unwrap();
            let expected = BTreeSet::from_iter(&pins);
            prop_assert!(set.iter().eq(expected));
        }
    }
}
