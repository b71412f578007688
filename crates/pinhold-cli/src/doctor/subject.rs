//! [`Subject`], one pinned name whose future is judged.

use pinhold::policy::{PinRole, Scope};
use pinhold::{Host, SpkiFingerprint, UserAddedRoots};
use rustls::pki_types::UnixTime;

/// A pinned name, its pins, and the name that is connected to in its place.
pub(crate) struct Subject {
    /// The name that the pins are set for.
    pub(crate) host: Host,
    pub(crate) scope: Scope,
    /// Where the pins come from: a pin file, a bundle, or `--pin`.
    pub(crate) source: String,
    pub(crate) probe: Probe,
    pub(crate) port: u16,
    /// Each group must hold; a group holds if any of its pins does.
    pub(crate) groups: Vec<Vec<Pin>>,
    pub(crate) expiry: Option<Expiry>,
    /// When the bundle of the policy is no longer fresh.
    pub(crate) staleness: Option<Staleness>,
    /// Whether a failed pin check refuses the connection.
    pub(crate) is_enforced: bool,
    /// The keys that no chain may contain, whatever the pins are.
    pub(crate) refused_keys: Vec<SpkiFingerprint>,
    pub(crate) user_added_roots: UserAddedRoots,
}

/// A pin with the positions in which it counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) role: PinRole,
    pub(crate) fingerprint: SpkiFingerprint,
}

/// The name that is connected to.
pub(crate) enum Probe {
    Name(Host),
    /// The pins cover names below `host` only, and none was given.
    NotProbed,
}

/// When a bundle becomes stale, and what its pins then mean.
#[derive(Clone, Copy)]
pub(crate) struct Staleness {
    pub(crate) at: UnixTime,
    /// In words of its format, such as "enforce".
    pub(crate) then: &'static str,
}

/// When the policy expires, and what then happens.
#[derive(Clone, Copy)]
pub(crate) struct Expiry {
    pub(crate) at: UnixTime,
    /// Whether all connections are refused afterwards.
    pub(crate) refuses: bool,
}
