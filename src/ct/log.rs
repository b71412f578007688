//! [`Log`], one log of a list.

use rustls_pki_types::UnixTime;

use crate::ct::list_error::LogListError;
use crate::policy::der::values;
use crate::policy::sha256;

/// A log of a [`LogList`](crate::ct::LogList).
///
/// ```
/// use pinhold::ct::{LogList, LogState};
///
/// fn usable(list: &LogList) -> impl Iterator<Item = &str> {
///     let usable = list.logs().filter(|log| log.state() == LogState::Usable);
///     usable.map(|log| log.description())
/// }
/// # let _ = usable;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub(crate) id: [u8; 32],
    pub(crate) description: String,
    pub(crate) operator: String,
    /// Earlier operators, each with the second at which it ceased to be one, in ascending order.
    pub(crate) previous: Vec<(u64, String)>,
    pub(crate) state: LogState,
    pub(crate) key: LogKey,
}

impl Log {
    /// Returns the SHA-256 digest of the log's key.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        self.id
    }

    /// Returns the description of the log in the list.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns the operator of the log at the time of the list.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// Returns the state of the log.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.state
    }

    /// Returns the operator at this time in milliseconds.
    pub(crate) fn operator_at(&self, timestamp: u64) -> &str {
        let mut previous = self.previous.iter();
        let then = previous.find(|(end, _)| timestamp / 1000 < *end);
        then.map_or(&self.operator, |(_, name)| name)
    }
}

/// The state of a log ([log states]).
///
/// ```
/// use pinhold::ct::LogState;
///
/// assert_ne!(LogState::Usable, LogState::ReadOnly);
/// ```
///
/// [log states]: https://googlechrome.github.io/CertificateTransparency/log_states.html
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogState {
    /// Not accepted yet; the state of a log without one, too. Its SCTs do not count.
    Pending,
    /// Accepted; its SCTs count.
    Qualified,
    /// Accepted for long enough that all clients know it; its SCTs count.
    Usable,
    /// It takes no new certificates; its SCTs count.
    ReadOnly,
    /// Its SCTs count if they are embedded and older than this.
    Retired {
        /// The time of the retirement.
        since: UnixTime,
    },
    /// Never accepted, or in a state that this version does not know. Its SCTs do not count.
    Rejected,
}

impl LogState {
    /// Returns whether the log is qualified, usable or read-only.
    pub(crate) fn is_current(self) -> bool {
        matches!(self, Self::Qualified | Self::Usable | Self::ReadOnly)
    }
}

/// The public key of a log, as an algorithm for signatures takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogKey {
    /// The contents of the `AlgorithmIdentifier`.
    pub(crate) algorithm: Vec<u8>,
    pub(crate) bits: Vec<u8>,
}

impl LogKey {
    /// Reads a `SubjectPublicKeyInfo`, and returns the ID of its log, too.
    pub(crate) fn parse(der: &[u8]) -> Option<([u8; 32], Self)> {
        let info = values(der).next().filter(|info| info.der == der)?;
        let mut parts = values(info.contents());
        let (algorithm, bits) = (parts.next()?, parts.next()?);
        let [0, bits @ ..] = bits.contents() else {
            return None;
        };
        let key = Self {
            algorithm: algorithm.contents().to_vec(),
            bits: bits.to_vec(),
        };
        Some((sha256(&[der]), key))
    }
}

/// Fails with the place of a member.
pub(crate) fn expected(place: &str, expected: &'static str) -> LogListError {
    LogListError::Member {
        place: place.to_owned(),
        expected,
    }
}
