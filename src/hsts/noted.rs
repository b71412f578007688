//! [`HstsNoted`], the effect of a `Strict-Transport-Security` field.

use std::error::Error;
use std::fmt;

use crate::hsts::header::StsHeaderError;
use crate::policy::AnchorOrigin;
use crate::policy::text::write_with_causes;

/// What a `Strict-Transport-Security` field changed. [`NotePinsLayer`](crate::NotePinsLayer) adds it to
/// the extensions of the response.
///
/// ```
/// use pinhold::hsts::HstsNoted;
///
/// fn is_known<B>(response: &http::Response<B>) -> bool {
///     let noted = response.extensions().get::<HstsNoted>();
///     matches!(noted, Some(HstsNoted::Added | HstsNoted::Refreshed))
/// }
/// # assert!(!is_known(&http::Response::new(())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HstsNoted {
    /// The host has become a known HSTS host.
    Added,
    /// Nothing changed, for this reason.
    Ignored(HstsIgnored),
    /// The host's entry was replaced by the field's directives.
    Refreshed,
    /// The host's entry was removed (`max-age=0`). It may still be known by a superdomain or by a
    /// preload list.
    Removed,
}

/// Why a `Strict-Transport-Security` field changed nothing.
///
/// ```
/// use pinhold::hsts::{HstsIgnored, StsHeaderError};
///
/// let reason = HstsIgnored::Header(StsHeaderError::MissingMaxAge);
/// assert_eq!(reason.to_string(), "no directive `max-age`");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HstsIgnored {
    /// The validated chain ends in an anchor that is not built in: a local proxy must neither note nor
    /// remove a host.
    AnchorNotBuiltIn(AnchorOrigin),
    /// The response answers a CONNECT request, so the proxy sent it.
    ConnectResponse,
    /// The handshake did not prove that the server has the leaf's key.
    HandshakeNotVerified,
    /// The field does not follow the grammar.
    Header(StsHeaderError),
    /// The response was not received over TLS.
    InsecureTransport,
    /// The response carries no [`VerifiedConnection`](crate::VerifiedConnection).
    NoConnectionData,
    /// The host of the request is an IP address or not a DNS name.
    NoHost,
    /// The clock can't be read.
    NoTime,
    /// The application allows only other hosts to note
    /// ([`note_only`](crate::PinningBuilder::note_only)).
    NotAllowed,
    /// There is no entry to remove.
    NotKnown,
    /// [`PinningBuilder::hsts`](crate::PinningBuilder::hsts) was not called.
    Off,
    /// The connection was verified for another name.
    OtherHost,
    /// The chain fails the pins in force.
    PinsFailed,
    /// The capacity of the store is zero.
    StoreFull,
}

impl fmt::Display for HstsIgnored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnchorNotBuiltIn(origin) => {
                return write!(
                    f,
                    "the validated chain ends in a root of origin {origin}, expected built-in"
                );
            }
            Self::ConnectResponse => "the response is a proxy's answer to CONNECT",
            Self::HandshakeNotVerified => {
                "the handshake did not prove that the server has the leaf's key"
            }
            Self::Header(error) => return error.fmt(f),
            Self::InsecureTransport => "the response was not received over TLS",
            Self::NoConnectionData => {
                "the response carries no connection data, expected a client on PinningConnector, \
                 or NotingClient"
            }
            Self::NoHost => "the host of the request is not a DNS name",
            Self::NoTime => "the clock can't be read",
            Self::NotAllowed => "the application does not allow this host to note",
            Self::NotKnown => "the host has no entry to remove",
            Self::Off => "HSTS is off, expected `PinningBuilder::hsts`",
            Self::OtherHost => "the connection was verified for another name",
            Self::PinsFailed => "the validated chain fails the pins in force",
            Self::StoreFull => "the capacity of the store is zero",
        })
    }
}

impl fmt::Debug for HstsIgnored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for HstsIgnored {}
