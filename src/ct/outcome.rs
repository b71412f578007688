//! [`CtOutcome`], what the SCTs of one handshake have shown.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

/// What the SCTs of one handshake have shown. Cheap to clone.
///
/// ```
/// use pinhold::ct::{CtOutcome, CtVerdict};
///
/// fn is_logged(outcome: &CtOutcome) -> bool {
///     outcome.verdict() == CtVerdict::Compliant
/// }
/// # let _ = is_logged;
/// ```
#[derive(Clone, Debug)]
pub struct CtOutcome(pub(crate) Arc<Facts>);

#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) verdict: CtVerdict,
    pub(crate) scts: Vec<SeenSct>,
    pub(crate) list: UnixTime,
    pub(crate) is_stale: bool,
    pub(crate) at: UnixTime,
}

impl CtOutcome {
    /// Returns whether the SCTs comply, and what is missing.
    #[must_use]
    pub fn verdict(&self) -> CtVerdict {
        self.0.verdict
    }

    /// Returns the SCTs that were seen, at most 32.
    #[must_use]
    pub fn scts(&self) -> &[SeenSct] {
        &self.0.scts
    }

    /// Returns the time of the log list.
    #[must_use]
    pub fn list_timestamp(&self) -> UnixTime {
        self.0.list
    }

    /// Returns whether the log list was too old to be enforced, or from the future of the clock.
    #[must_use]
    pub fn list_is_stale(&self) -> bool {
        self.0.is_stale
    }

    /// Returns the time of the check.
    #[must_use]
    pub fn at(&self) -> UnixTime {
        self.0.at
    }

    pub(crate) fn complies(&self) -> bool {
        self.0.verdict == CtVerdict::Compliant
    }
}

/// Whether SCTs comply with a [`CtPolicy`](crate::ct::CtPolicy).
///
/// ```
/// use pinhold::ct::CtVerdict;
///
/// let text = CtVerdict::NoCurrentLog.to_string();
/// assert!(text.contains("retired"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CtVerdict {
    /// They comply.
    Compliant,
    /// Enough logs, but none that is qualified, usable or read-only now.
    NoCurrentLog,
    /// SCTs of too few logs count.
    TooFewLogs {
        /// How many count.
        found: usize,
        /// How many are needed.
        required: usize,
    },
    /// Enough logs, but of too few operators.
    TooFewOperators {
        /// How many there are.
        found: usize,
        /// How many are needed.
        required: usize,
    },
}

impl fmt::Display for CtVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compliant => f.write_str("its SCTs comply"),
            Self::NoCurrentLog => {
                f.write_str("SCTs of retired logs only, expected one of a log that is in use")
            }
            Self::TooFewLogs { found, required } => {
                write!(f, "SCTs of {found} logs count, expected {required}")
            }
            Self::TooFewOperators { found, required } => write!(
                f,
                "the SCTs are of logs of {found} operators, expected {required}"
            ),
        }
    }
}

/// An SCT that was seen in a handshake.
///
/// ```
/// use pinhold::ct::{CtOutcome, SctVerdict};
///
/// fn print_others(outcome: &CtOutcome) {
///     for sct in outcome.scts().iter().filter(|sct| sct.verdict != SctVerdict::Counts) {
///         println!("{:?}: {}", sct.log, sct.verdict);
///     }
/// }
/// # let _ = print_others;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenSct {
    /// The ID of the log.
    pub log_id: [u8; 32],
    /// The description of the log and its operator at the time of the SCT, if the list has the log.
    pub log: Option<(String, String)>,
    /// The time of the SCT in milliseconds since 1970.
    pub timestamp: u64,
    /// How the SCT was delivered.
    pub delivery: SctDelivery,
    /// Whether it counts.
    pub verdict: SctVerdict,
}

/// How an SCT was delivered.
///
/// ```
/// use pinhold::ct::SctDelivery;
///
/// assert_ne!(SctDelivery::Embedded, SctDelivery::Ocsp);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SctDelivery {
    /// In the certificate.
    Embedded,
    /// In a stapled OCSP response.
    Ocsp,
}

/// Whether an SCT counts.
///
/// ```
/// use pinhold::ct::SctVerdict;
///
/// assert_eq!(SctVerdict::Future.to_string(), "from the future");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SctVerdict {
    /// It counts.
    Counts,
    /// The signature is not one of the log over this certificate and its issuer.
    BadSignature,
    /// Its time is in the future.
    Future,
    /// The log is pending or rejected.
    NotAccepted,
    /// It was not verified, because 16 others were.
    NotVerified,
    /// The log was retired before the certificate was logged, or delivered the SCT beside it.
    Retired,
    /// Another SCT of the same log counts.
    SameLog,
    /// The list does not have the log.
    UnknownLog,
    /// The client's crypto provider lacks the algorithm of the log's key.
    UnsupportedKey,
}

impl fmt::Display for SctVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counts => "counts",
            Self::BadSignature => "not signed by the log for this certificate and issuer",
            Self::Future => "from the future",
            Self::NotAccepted => "the log is not accepted",
            Self::NotVerified => "not verified, since there are too many",
            Self::Retired => "the log is retired",
            Self::SameLog => "another SCT of this log counts",
            Self::UnknownLog => "the log is not in the list",
            Self::UnsupportedKey => "the algorithm of the log's key is not supported",
        })
    }
}
