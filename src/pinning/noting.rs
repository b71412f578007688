//! The rules of [RFC 7469 section 2.5]: the effect of a header on a connection with given keys, and
//! the reason if it has none.
//!
//! [RFC 7469 section 2.5]: https://www.rfc-editor.org/rfc/rfc7469#section-2.5

use std::error::Error;
use std::fmt;

use crate::policy::text::write_with_causes;
use crate::policy::{AnchorOrigin, HeaderError, PinHeader, SpkiFingerprint};

/// What a header changed in the store.
///
/// ```
/// use pinhold::header::Noted;
///
/// fn describe<B>(response: &http::Response<B>) -> String {
///     match response.extensions().get::<Noted>() {
///         Some(Noted::Ignored(reason)) => format!("Public-Key-Pins ignored: {reason}"),
///         Some(noted) => format!("Public-Key-Pins: {noted:?}"),
///         None => "no Public-Key-Pins field".to_owned(),
///     }
/// }
/// # assert_eq!(describe(&http::Response::new(())), "no Public-Key-Pins field");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Noted {
    /// The host has become a known pinned host.
    Added,
    /// Nothing changed, for this reason.
    Ignored(IgnoreReason),
    /// The host's entry was replaced by the header's directives.
    Refreshed,
    /// The host's entry was removed.
    Removed(RemovalReason),
}

/// The reason why an entry was removed.
///
/// ```
/// use pinhold::header::RemovalReason;
///
/// assert_eq!(RemovalReason::MaxAgeZero.to_string(), "max-age is 0");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalReason {
    /// The server sent `max-age=0` (RFC 7469 section 2.3.1).
    MaxAgeZero,
    /// All pins of the header have unknown algorithms (RFC 7469 section 2.1.1).
    NoRecognisedPins,
}

impl fmt::Display for RemovalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxAgeZero => "max-age is 0",
            Self::NoRecognisedPins => "all pins have unknown algorithms",
        })
    }
}

/// The reason why a header changed nothing.
///
/// ```
/// use pinhold::header::{HeaderEffect, HeaderSyntax, IgnoreReason, PinHeader};
///
/// let header = PinHeader::parse(b"max-age=60", HeaderSyntax::Rfc7469)?;
/// let effect = HeaderEffect::of(&header, None);
/// assert_eq!(effect, HeaderEffect::Ignore(IgnoreReason::NoPins));
/// # Ok::<(), pinhold::header::HeaderError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IgnoreReason {
    /// The validated chain ends in an anchor that is not built in.
    AnchorNotBuiltIn(AnchorOrigin),
    /// The response answers a CONNECT request, so the proxy sent it.
    ConnectResponse,
    /// The handshake did not prove that the server has the leaf's key: the chain is that of a
    /// refused handshake.
    HandshakeNotVerified,
    /// The field does not follow the grammar.
    Header(HeaderError),
    /// The response was not received over TLS.
    InsecureTransport,
    /// Every pin of the header is in the validated chain, so there is no backup pin.
    NoBackupPin,
    /// The response carries no [`VerifiedConnection`](crate::VerifiedConnection).
    NoConnectionData,
    /// The host of the request is an IP address or not a DNS name.
    NoHost,
    /// No pin of the header is in the validated chain.
    NoPinInChain,
    /// The header has no pin.
    NoPins,
    /// The clock can't be read.
    NoTime,
    /// The application allows only other hosts to note pins.
    NotAllowed,
    /// There is no entry to remove.
    NotKnown,
    /// Another process that shares the storage has noted a header of the host that was received
    /// later.
    NotLatest,
    /// The connection was verified for another name.
    OtherHost,
    /// The chain fails the pins in force.
    PinsFailed,
    /// The header has `includeSubDomains`, and the host is a public suffix, under which other owners
    /// have domains. Without
    /// [`public_suffixes`](crate::storage::PinStoreBuilder::public_suffixes) only a
    /// [single label](Self::SingleLabel) is known to be one.
    PublicSuffix,
    /// Report-only headers are never noted.
    ReportOnly,
    /// The host's name has a single label.
    SingleLabel,
    /// The capacity of the store is zero.
    StoreFull,
    /// The header has more than 64 distinct pins, the limit of what a server can make a client
    /// store.
    TooManyPins,
}

impl fmt::Display for IgnoreReason {
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
            Self::NoBackupPin => "no backup pin: every pin is in the validated chain",
            Self::NoConnectionData => {
                "the response carries no connection data, expected a client on PinningConnector, \
                 or NotingClient"
            }
            Self::NoHost => "the host of the request is not a DNS name",
            Self::NoPinInChain => "no pin is in the validated chain",
            Self::NoPins => "the header has no pin",
            Self::NoTime => "the clock can't be read",
            Self::NotAllowed => "the application does not allow this host to note pins",
            Self::NotKnown => "the host has no noted pins to remove",
            Self::NotLatest => {
                "another process has noted a header of the host that was received later"
            }
            Self::OtherHost => "the connection was verified for another name",
            Self::PinsFailed => "the validated chain fails the pins in force",
            Self::PublicSuffix => "includeSubDomains on a public suffix",
            Self::ReportOnly => "report-only headers are never noted",
            Self::SingleLabel => "the host's name has a single label",
            Self::StoreFull => "the capacity of the store is zero",
            Self::TooManyPins => "the header has more than 64 pins",
        })
    }
}

impl fmt::Debug for IgnoreReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for IgnoreReason {}

/// What a header requests, independent of the state of the store.
///
/// ```
/// use pinhold::header::{HeaderEffect, HeaderSyntax, PinHeader};
///
/// let value = concat!(
///     r#"max-age=5184000; pin-sha256="C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M="; "#,
///     r#"pin-sha256="diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=""#,
/// );
/// let header = PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469)?;
/// assert_eq!(HeaderEffect::of(&header, None), HeaderEffect::Add);
/// # Ok::<(), pinhold::header::HeaderError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderEffect {
    /// Add an entry for the host, or replace it.
    Add,
    /// Evaluate a report-only header on its connection.
    Evaluate,
    /// Change nothing, for this reason.
    Ignore(IgnoreReason),
    /// Remove the host's entry.
    Remove(RemovalReason),
}

impl HeaderEffect {
    /// Applies the rules of RFC 7469 section 2.5 to a header on a connection that passed, whose
    /// validated chain has these keys. Without keys, only a header that fails on any chain is
    /// ignored.
    ///
    /// ```
    /// use pinhold::header::{HeaderEffect, HeaderSyntax, PinHeader, RemovalReason};
    ///
    /// let header = PinHeader::parse(b"max-age=0", HeaderSyntax::Rfc7469)?;
    /// let effect = HeaderEffect::of(&header, None);
    /// assert_eq!(effect, HeaderEffect::Remove(RemovalReason::MaxAgeZero));
    /// # Ok::<(), pinhold::header::HeaderError>(())
    /// ```
    #[must_use]
    pub fn of(header: &PinHeader, keys: Option<&[SpkiFingerprint]>) -> Self {
        let pins = header.pins();
        if header.is_report_only() {
            // 7469-2.3.2-d: also without a `report-uri`, as the application may observe it.
            return match pins.len() {
                0 => Self::Ignore(IgnoreReason::NoPins),
                1..=MAX_PINS => Self::Evaluate,
                _ => Self::Ignore(IgnoreReason::TooManyPins),
            };
        }
        // D-02: a removal needs no pins.
        if header.max_age().is_none_or(|age| age.is_zero()) {
            return Self::Remove(RemovalReason::MaxAgeZero);
        }
        if pins.is_empty() {
            // D-03
            return match header.unknown_algorithms().len() {
                0 => Self::Ignore(IgnoreReason::NoPins),
                _ => Self::Remove(RemovalReason::NoRecognisedPins),
            };
        }
        if pins.len() > MAX_PINS {
            return Self::Ignore(IgnoreReason::TooManyPins);
        }
        // 7469-2.5-b(2) and (3)
        let live = |pin: &SpkiFingerprint| keys.is_none_or(|keys| keys.contains(pin));
        if !pins.iter().any(live) {
            return Self::Ignore(IgnoreReason::NoPinInChain);
        }
        let has_backup = match keys {
            Some(_) => !pins.iter().all(live),
            None => pins.len() > 1,
        };
        if has_backup {
            Self::Add
        } else {
            Self::Ignore(IgnoreReason::NoBackupPin)
        }
    }
}

/// The limit of pins in a header. Headers in use had two to five; each noted pin costs 32 bytes,
/// and a comparison in every handshake.
const MAX_PINS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::HeaderSyntax;

    #[test]
    fn a_header_with_more_than_64_pins_is_neither_noted_nor_evaluated() {
        let too_many = HeaderEffect::Ignore(IgnoreReason::TooManyPins);
        for (count, noted, evaluated) in [
            (64, HeaderEffect::Add, HeaderEffect::Evaluate),
            (65, too_many.clone(), too_many),
        ] {
            let pins = (0..count).map(|n| SpkiFingerprint::from_digest([n; 32]));
            let pins = pins.map(|pin| format!("pin-sha256=\"{}\"; ", pin.to_base64()));
            let value = format!("{}max-age=1", pins.collect::<String>());
            let header = PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap();
            assert_eq!(HeaderEffect::of(&header, None), noted, "{count}");
            let header =
                PinHeader::parse_report_only(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap();
            assert_eq!(HeaderEffect::of(&header, None), evaluated, "{count}");
        }
    }
}
