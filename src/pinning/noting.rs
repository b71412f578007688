//! A header and the keys of its connection in, a [`HeaderEffect`] out: the rules of [RFC 7469
//! section 2.5], and the words in which their outcome is told.
//!
//! [RFC 7469 section 2.5]: https://www.rfc-editor.org/rfc/rfc7469#section-2.5

use std::error::Error;
use std::fmt;

use crate::policy::{AnchorOrigin, HeaderError, PinHeader, SpkiFingerprint};

/// What a header did to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Noted {
    /// The host is a known pinned host now.
    Added,
    /// Nothing, and why.
    Ignored(IgnoreReason),
    /// The host's entry was replaced by what the header says.
    Refreshed,
    /// The host's entry is gone.
    Removed(RemovalReason),
}

/// Why an entry was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalReason {
    /// The server sent `max-age=0` (RFC 7469 section 2.3.1).
    MaxAgeZero,
    /// All pins of the header name unknown algorithms (RFC 7469 section 2.1.1).
    NoRecognisedPins,
}

impl fmt::Display for RemovalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxAgeZero => "max-age is 0",
            Self::NoRecognisedPins => "all pins name unknown algorithms",
        })
    }
}

/// Why a header changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IgnoreReason {
    /// The validated chain ends in an anchor that is not built in.
    AnchorNotBuiltIn(AnchorOrigin),
    /// The response answers a CONNECT, so it is the proxy's.
    ConnectResponse,
    /// The domain has filled its share of the store.
    DomainFull,
    /// The field does not follow the grammar.
    Header(HeaderError),
    /// The response did not come over TLS.
    InsecureTransport,
    /// The server has not proved that it has the leaf's key: the chain is that of a refused
    /// handshake.
    HandshakeNotVerified,
    /// Every pin of the header is in the validated chain: no backup pin.
    NoBackupPin,
    /// The response carries no [`VerifiedConnection`](crate::VerifiedConnection).
    NoConnectionData,
    /// The host is an IP address or no host at all.
    NoHost,
    /// No pin of the header is in the validated chain.
    NoPinInChain,
    /// The header has no pin.
    NoPins,
    /// The clock can't be read.
    NoTime,
    /// The application lets other hosts note pins, not this one.
    NotAllowed,
    /// There is no entry to remove.
    NotKnown,
    /// The connection was verified for another name.
    OtherHost,
    /// The chain does not satisfy the pins in force.
    PinsFailed,
    /// Report-only headers are never noted.
    ReportOnly,
    /// The host's name has a single label.
    SingleLabel,
    /// The store is full of live entries.
    StoreFull,
    /// The header has more than 64 distinct pins: what a server can make us keep is bounded.
    TooManyPins,
}

impl fmt::Display for IgnoreReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnchorNotBuiltIn(origin) => {
                return write!(f, "the validated chain ends in a root of origin {origin}");
            }
            Self::ConnectResponse => "the response is a proxy's answer to CONNECT",
            Self::DomainFull => "the domain has filled its share of the store",
            Self::Header(error) => return error.fmt(f),
            Self::InsecureTransport => "the response did not come over TLS",
            Self::HandshakeNotVerified => "the server has not proved that it has the leaf's key",
            Self::NoBackupPin => "no backup pin: every pin is in the validated chain",
            Self::NoConnectionData => {
                "the response carries no connection data, expected a client on PinningConnector, or \
                 a full handshake of NotingClient"
            }
            Self::NoHost => "the response does not come from a DNS name",
            Self::NoPinInChain => "no pin is in the validated chain",
            Self::NoPins => "no pin",
            Self::NoTime => "the clock can't be read",
            Self::NotAllowed => "the application does not let this host note pins",
            Self::NotKnown => "the host has no noted pins to remove",
            Self::OtherHost => "the connection was verified for another name",
            Self::PinsFailed => "the validated chain does not satisfy the pins in force",
            Self::ReportOnly => "report-only headers are never noted",
            Self::SingleLabel => "the host's name has a single label",
            Self::StoreFull => "the store is full of live entries",
            Self::TooManyPins => "more than 64 pins",
        })
    }
}

impl Error for IgnoreReason {}

/// What a header asks for, by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderEffect {
    /// Add an entry for the host, or replace it.
    Add,
    /// Evaluate a report-only header on its connection.
    Evaluate,
    /// Nothing.
    Ignore(IgnoreReason),
    /// Remove the host's entry.
    Remove(RemovalReason),
}

impl HeaderEffect {
    /// Applies the rules of RFC 7469 section 2.5 to a header on a connection that passed, whose
    /// validated chain has these keys. Without keys, what no chain could satisfy is ignored.
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
            // 7469-2.3.2-d: also without a `report-uri`, as the application may want to know.
            return match pins.len() {
                0 => Self::Ignore(IgnoreReason::NoPins),
                1..=MAX_PINS => Self::Evaluate,
                _ => Self::Ignore(IgnoreReason::TooManyPins),
            };
        }
        // D-02: no pins are needed to remove.
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
        let backup = match keys {
            Some(_) => !pins.iter().all(live),
            None => pins.len() > 1,
        };
        if backup {
            Self::Add
        } else {
            Self::Ignore(IgnoreReason::NoBackupPin)
        }
    }
}

/// Real headers had two to five; each one noted costs 32 bytes and a comparison a handshake.
const MAX_PINS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::HeaderSyntax;

    #[test]
    fn more_pins_than_can_be_meant_are_neither_noted_nor_evaluated() {
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
