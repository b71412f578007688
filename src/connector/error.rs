//! [`ConnectError`]: why there is no connection, or why a plain one was closed.

use std::error::Error;
use std::fmt;
use std::io;

use http::Uri;

#[cfg(feature = "ct")]
use crate::ct::CtViolation;
use crate::policy::text::write_with_causes;
use crate::policy::{Host, HostError};
#[cfg(feature = "first-use")]
use crate::violation::KeyChange;
use crate::violation::{PinViolation, UnpinnedHost};

/// The reason why [`PinningConnector`](crate::PinningConnector) made no connection.
///
/// `Display` is one line; `source()` leads to the cause, such as the
/// [`PinViolation`](crate::PinViolation) with its advice. `Debug` prints both.
///
/// ```
/// use pinhold::PinViolation;
/// use pinhold::connector::ConnectError;
///
/// fn explain(error: &ConnectError) -> String {
///     match error {
///         ConnectError::Pins(violation) => violation.to_string(),
///         ConnectError::PlainHttp { host } => format!("use https for {host}"),
///         other => other.to_string(),
///     }
/// }
/// # assert!(explain(&ConnectError::NotVerified).contains("verifier"));
/// ```
#[non_exhaustive]
pub enum ConnectError {
    /// The certificate is not logged as expected.
    #[cfg(feature = "ct")]
    Ct(CtViolation),
    /// The URI's host is neither a DNS name nor an IP address.
    Host(HostError),
    /// An open plain connection was closed, since its host has become a known HSTS host (RFC 6797). The
    /// next connection to it is made with TLS.
    #[cfg(feature = "hsts")]
    HstsHost {
        /// The host.
        host: Host,
    },
    /// The URI is `http://`, and the connector is `https_only`.
    HttpsOnly {
        /// The URI's host.
        host: String,
    },
    /// The TLS stream failed during the handshake.
    Io(io::Error),
    /// The chain has none of the keys that are remembered of the host.
    #[cfg(feature = "first-use")]
    KeysChanged(KeyChange),
    /// The verifier of this crate did not check the connection, or checked it for another name than
    /// that of the URI.
    ///
    /// The TLS configuration then has another verifier. With reqwest, the URI may also be
    /// `http://`.
    NotVerified,
    /// The validated chain does not satisfy the pins, or contains a refused key.
    Pins(PinViolation),
    /// The URI is `http://`, and its host is pinned. An open plain connection is closed with this
    /// error once its host is pinned.
    PlainHttp {
        /// The pinned host.
        host: Host,
    },
    /// The URI's port is not a number of at most 65535.
    Port {
        /// The port as the URI has it.
        port: String,
    },
    /// The URI is neither `https` nor `http`.
    Scheme {
        /// The URI.
        uri: Uri,
    },
    /// The TLS handshake failed, for example because the certificate is not valid.
    Tls(rustls::Error),
    /// The inner connector failed.
    Transport(BoxError),
    /// The host is not pinned, and the application refuses such hosts.
    Unpinned(UnpinnedHost),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "ct")]
            Self::Ct(violation) => {
                let name = violation.server_name().to_str();
                write!(f, "the certificate of {name} is not logged as expected")
            }
            Self::Host(_) => f.write_str("the URI has no valid host"),
            #[cfg(feature = "hsts")]
            Self::HstsHost { host } => {
                write!(f, "http to the known HSTS host {host}, expected https")
            }
            Self::HttpsOnly { host } => write!(f, "http to {host:?}, expected https"),
            Self::Io(_) => f.write_str("the connection failed during the TLS handshake"),
            #[cfg(feature = "first-use")]
            Self::KeysChanged(change) => write!(f, "the keys of {} have changed", change.host()),
            Self::NotVerified => f.write_str(
                "the pinning verifier did not check the connection, expected https and the TLS \
                 configuration of `Pinning::client_config`",
            ),
            Self::Pins(violation) => {
                write!(f, "the pins of {} refuse the server", violation.host())
            }
            Self::PlainHttp { host } => write!(
                f,
                "http to the pinned host {host}, where pins can't be checked; expected https (or \
                 `PlainHttp::Allow`)"
            ),
            Self::Port { port } => write!(f, "port {port:?}, expected at most 65535"),
            Self::Scheme { uri } => write!(f, "can't connect to {uri}, expected an https URI"),
            Self::Tls(_) => f.write_str("the TLS handshake failed"),
            Self::Transport(_) => f.write_str("the inner connector failed"),
            Self::Unpinned(host) => write!(f, "{} is not pinned", host.server_name().to_str()),
        }
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            #[cfg(feature = "ct")]
            Self::Ct(violation) => Some(violation),
            Self::Host(error) => Some(error),
            Self::Io(error) => Some(error),
            #[cfg(feature = "first-use")]
            Self::KeysChanged(change) => Some(change),
            Self::Pins(violation) => Some(violation),
            Self::Tls(error) => Some(error),
            Self::Transport(error) => Some(&**error),
            Self::Unpinned(host) => Some(host),
            #[cfg(feature = "hsts")]
            Self::HstsHost { .. } => None,
            Self::HttpsOnly { .. }
            | Self::NotVerified
            | Self::PlainHttp { .. }
            | Self::Port { .. }
            | Self::Scheme { .. } => None,
        }
    }
}

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
