//! [`TestError`], the error of everything in this crate.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use pinhold::connector::ConnectError;
use pinhold::policy::HostError;
use pinhold::{BuildError, Host};

/// Why a test server did not start, or did not yield what was requested of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum TestError {
    /// A client configuration could not be built.
    Build(BuildError),
    /// A key or a certificate could not be made.
    Certificate {
        /// The error of the library that makes them.
        reason: String,
    },
    /// The connection to the server failed. If pins refused it,
    /// [`PinViolation::find`](pinhold::PinViolation::find) returns the violation.
    Connect(ConnectError),
    /// The name is not a host name that can be pinned.
    Host(HostError),
    /// The server could not listen on a loopback port, or its thread has ended.
    Io(io::Error),
    /// A violation was requested, and the pins accepted the server or were skipped.
    NotRefused {
        /// The name of the server.
        host: Host,
    },
    /// The server did not complete a handshake in time.
    Timeout {
        /// The time limit.
        waited: Duration,
    },
}

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => error.fmt(f),
            Self::Certificate { reason } => write!(f, "no test certificate was made: {reason}"),
            Self::Connect(_) => write!(f, "the connection to the test server failed"),
            Self::Host(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the test server does not run: {error}"),
            Self::NotRefused { host } => write!(
                f,
                "the pins did not refuse the test server of {host}; expected a pin violation"
            ),
            Self::Timeout { waited } => {
                write!(f, "the test server did not respond within {waited:?}")
            }
        }
    }
}

impl Error for TestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BuildError> for TestError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl From<HostError> for TestError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<io::Error> for TestError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The conversion is private, as the library that makes the certificates is no part of the API.
pub(crate) fn certificate_error(error: impl fmt::Display) -> TestError {
    let reason = error.to_string();
    TestError::Certificate { reason }
}
