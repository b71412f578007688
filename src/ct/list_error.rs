//! [`LogListError`], the reason why a text is not a log list.

use std::error::Error;
use std::fmt;

/// The reason why a text is not a [`LogList`](crate::ct::LogList).
///
/// ```
/// use pinhold::ct::{LogList, LogListError};
///
/// assert!(matches!(LogList::parse("{"), Err(LogListError::Json { line: 1, .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogListError {
    /// Two logs have the same ID.
    Duplicate {
        /// The description of the second one.
        log: String,
    },
    /// The text is not JSON.
    Json {
        /// The line of the error, from 1.
        line: usize,
        /// The column of the error, from 1.
        column: usize,
    },
    /// The ID of a log is not the SHA-256 digest of its key.
    LogId {
        /// The description of the log.
        log: String,
    },
    /// A member is missing or has another value than expected.
    Member {
        /// Where the member is.
        place: String,
        /// What was expected there.
        expected: &'static str,
    },
    /// No log is qualified, usable or read-only, so that no certificate could comply.
    NoLogs,
    /// The text is larger than [`LogList::MAX_SIZE`](crate::ct::LogList::MAX_SIZE).
    TooLarge {
        /// The size of the text in bytes.
        size: usize,
    },
    /// There are more logs than [`LogList::MAX_LOGS`](crate::ct::LogList::MAX_LOGS).
    TooManyLogs,
}

impl fmt::Display for LogListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { log } => write!(f, "the log {log:?} is listed twice"),
            Self::Json { line, column } => {
                write!(
                    f,
                    "the log list is not JSON at line {line}, column {column}"
                )
            }
            Self::LogId { log } => write!(
                f,
                "the ID of the log {log:?} is not that of its key, expected the SHA-256 digest"
            ),
            Self::Member { place, expected } => {
                write!(f, "{place} of the log list, expected {expected}")
            }
            Self::NoLogs => f.write_str(
                "the log list has no qualified, usable or read-only log, expected at least one",
            ),
            Self::TooLarge { size } => {
                write!(f, "the log list has {size} bytes, expected at most 4 MiB")
            }
            Self::TooManyLogs => {
                f.write_str("the log list has too many logs, expected 1024 at most")
            }
        }
    }
}

impl Error for LogListError {}
