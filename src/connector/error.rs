//! Why no connection was made, or a plain one ended: [`ConnectError`].

use std::error::Error;
use std::{fmt, io};

use http::Uri;

use crate::policy::{Host, HostError};
use crate::violation::PinViolation;

/// Why [`PinningConnector`](crate::PinningConnector) made no connection. `source()` leads on to the cause.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URI's host is neither a DNS name nor an IP address.
    Host(HostError),
    /// An `http://` URI, while the connector is `https_only`.
    HttpsOnly {
        /// The URI's host.
        host: String,
    },
    /// The TLS stream failed otherwise.
    Io(io::Error),
    /// The handshake was done without our verifier, or for another name than the URI's: the TLS
    /// configuration has a verifier that is not ours.
    NotVerified,
    /// The validated chain holds no pinned key.
    Pins(PinViolation),
    /// Plain `http://` to a known pinned host. An open connection ends with it, too, once its host
    /// is pinned.
    PlainHttp {
        /// The pinned host.
        host: Host,
    },
    /// A URI that is neither `https` nor `http`.
    Scheme {
        /// The URI.
        uri: Uri,
    },
    /// The TLS handshake failed, say for an invalid certificate.
    Tls(rustls::Error),
    /// The inner connector failed.
    Transport(BoxError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(_) => f.write_str("the URI names no host"),
            Self::HttpsOnly { host } => write!(f, "http to {host:?}, expected https"),
            Self::Io(_) => f.write_str("the connection failed in the TLS handshake"),
            Self::NotVerified => f.write_str(
                "the TLS configuration has a foreign verifier, or one for another name, expected \
                 that of `Pinning::client_config`",
            ),
            Self::Pins(violation) => write!(f, "the pins of {} refused it", violation.host()),
            Self::PlainHttp { host } => write!(
                f,
                "http to the known pinned host {host}, where pins can't be checked; expected https \
                 (or `PlainHttp::Allow`)"
            ),
            Self::Scheme { uri } => write!(f, "can't connect to {uri}, expected an https URI"),
            Self::Tls(_) => f.write_str("the TLS handshake failed"),
            Self::Transport(_) => f.write_str("the connection failed"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Host(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Pins(violation) => Some(violation),
            Self::Tls(error) => Some(error),
            Self::Transport(error) => Some(&**error),
            Self::HttpsOnly { .. }
            | Self::NotVerified
            | Self::PlainHttp { .. }
            | Self::Scheme { .. } => None,
        }
    }
}

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
