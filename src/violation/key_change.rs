//! [`KeyChange`], a chain that has none of the keys that are remembered of its host.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::chain::{ChainKey, ValidatedChain};
use crate::known_keys::KnownKeys;
use crate::policy::Host;
use crate::policy::timestamp::print_capped;

/// A server whose validated chain has no active key of those that were remembered of its host
/// ([`PinningBuilder::first_use`](crate::PinningBuilder::first_use)). Cheap to clone.
///
/// `Display` prints what was remembered, what was seen, likely causes, and what to do.
///
/// ```
/// use pinhold::first_use::KeyChange;
///
/// let error = std::io::Error::other("connection reset");
/// assert!(KeyChange::find(&error).is_none());
/// ```
#[derive(Clone)]
pub struct KeyChange(Arc<Facts>);

struct Facts {
    known: Arc<KnownKeys>,
    chain: ValidatedChain,
    at: UnixTime,
}

impl KeyChange {
    pub(crate) fn new(known: Arc<KnownKeys>, chain: ValidatedChain, at: UnixTime) -> Self {
        Self(Arc::new(Facts { known, chain, at }))
    }

    /// Returns the host.
    #[must_use]
    pub fn host(&self) -> &Host {
        self.0.known.host()
    }

    /// Returns the keys that were remembered.
    #[must_use]
    pub fn remembered(&self) -> &KnownKeys {
        &self.0.known
    }

    /// Returns the keys of the validated chain, leaf first.
    pub fn seen(&self) -> impl Iterator<Item = ChainKey> {
        self.0.chain.keys()
    }

    /// Returns the validated chain.
    #[must_use]
    pub fn chain(&self) -> &ValidatedChain {
        &self.0.chain
    }

    /// Returns the time of the connection.
    #[must_use]
    pub fn at(&self) -> UnixTime {
        self.0.at
    }

    /// Returns the last second at which the remembered keys hold.
    #[must_use]
    pub fn held_until(&self) -> UnixTime {
        self.0.known.active_until(self.0.at).unwrap_or(self.0.at)
    }
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the keys of {} have changed", self.host())?;
        for key in self.0.known.keys() {
            writeln!(
                f,
                "  remembered: {} (first seen {}, last seen {})",
                key.fingerprint,
                print_capped(key.first_seen),
                print_capped(key.last_seen)
            )?;
        }
        for key in self.seen() {
            writeln!(
                f,
                "  seen: {} ({}, {})",
                key.fingerprint, key.role, key.subject
            )?;
        }
        writeln!(
            f,
            "  likely causes: the operator has replaced key or CA; or the connection is intercepted \
             with a certificate that a public CA has issued to another party"
        )?;
        write!(
            f,
            "  what to do: ask the operator over another channel; if the change is genuine, accept it \
             (`FirstUseHosts::accept`) or forget the host (`FirstUseHosts::forget`); the remembered \
             keys hold until {}",
            print_capped(self.held_until())
        )
    }
}

impl fmt::Debug for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for KeyChange {}
