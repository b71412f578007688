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
        let mut distinct = Vec::new();
        for pin in pins {
            // Inserted in order, since a sort afterwards adds three kilobytes to a binary.
            if let Err(index) = distinct.binary_search(&pin) {
                distinct.insert(index, pin);
            }
        }
        if distinct.is_empty() {
            return Err(PolicyError::NoPins);
        }
        Ok(Self(distinct.into()))
    }

    /// Creates a set of these pins, given as fingerprints or as text.
    pub(crate) fn parse<P>(pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        let pins = pins.into_iter().map(TryInto::try_into);
        let pins = pins.collect::<Result<Vec<_>, _>>();
        Self::new(pins.map_err(|error| PolicyError::Pin(error.into()))?)
    }

    /// Returns the pins of both sets.
    pub(crate) fn join(&self, other: &Self) -> Self {
        let mut joined = self.0.to_vec();
        for pin in other.iter() {
            if let Err(index) = joined.binary_search(pin) {
                joined.insert(index, *pin);
            }
        }
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
