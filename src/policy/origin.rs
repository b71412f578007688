//! The origin of a trust anchor: [`AnchorOrigin`].

use std::fmt;

/// Where a trust anchor came from, in order of preference: where paths to several anchors are
/// valid and equal in the eyes of the pins, the one to a built-in anchor is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AnchorOrigin {
    /// Shipped with the application: Mozilla's roots, or the application's own CA. Pins are
    /// enforced, and noted.
    BuiltIn,
    /// From the platform's store or a variable such as `SSL_CERT_FILE`, and in no list of known
    /// roots. Pins are enforced, since nobody said that the user added it; nothing is noted.
    Unknown,
    /// A root of `PinningBuilder::debug_overrides`: all pins are skipped, nothing is noted.
    #[cfg(pinhold_debug_overrides)]
    DebugOverride,
    /// Added by the user or the administrator of the device: by the application's explicit word, or
    /// by the place where `TrustAnchors::native` found it. Pins are skipped unless a policy enforces
    /// them; nothing is noted.
    UserAdded,
}

impl AnchorOrigin {
    /// The origin of an anchor that was handed in with both. To know is more than not to know.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, known) | (known, Self::Unknown) => known,
            (one, other) => one.min(other),
        }
    }
}

impl fmt::Display for AnchorOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "built-in",
            #[cfg(pinhold_debug_overrides)]
            Self::DebugOverride => "debug-override",
            Self::Unknown => "unknown",
            Self::UserAdded => "user-added",
        })
    }
}
