//! [`AnchorOrigin`], where a trust anchor came from.

use std::fmt;

/// Where a trust anchor came from, in order of preference. Of several valid paths with the same
/// outcome of the pin check, the one whose anchor has the best (least) origin is used.
///
/// ```
/// use pinhold::roots::AnchorOrigin;
///
/// assert!(AnchorOrigin::BuiltIn < AnchorOrigin::UserAdded);
/// assert_eq!(AnchorOrigin::UserAdded.to_string(), "user-added");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AnchorOrigin {
    /// Shipped with the application: Mozilla's roots or the application's own CA. Pins are enforced
    /// and may be noted.
    BuiltIn,
    /// The server's own certificate or raw public key, which the application trusts without a
    /// certification authority. Pins are enforced; none are noted, and no report leaves. No root has
    /// this origin.
    #[cfg(feature = "direct-trust")]
    Direct,
    /// From the platform's store or from a variable such as `SSL_CERT_FILE`, and in no list of
    /// known roots. Pins are enforced, since nothing shows that the user added it; none are noted.
    Unknown,
    /// A root of `PinningBuilder::debug_overrides`. All pins are skipped and none are noted.
    #[cfg(pinhold_debug_overrides)]
    DebugOverride,
    /// Added by the user or the administrator of the device, as the application declared or as the
    /// place shows where `TrustAnchors::native` found it. Pins are skipped unless a policy
    /// enforces them; none are noted.
    UserAdded,
}

impl AnchorOrigin {
    /// Returns the origin of a root that was declared to have this one.
    pub(crate) fn of_root(self) -> Self {
        #[cfg(feature = "direct-trust")]
        if self == Self::Direct {
            return Self::Unknown;
        }
        self
    }

    /// Returns the origin of an anchor that was added with both origins: the known one instead of
    /// `Unknown`, else the better one.
    pub(crate) fn merge(self, other: Self) -> Self {
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
            #[cfg(feature = "direct-trust")]
            Self::Direct => "direct",
            #[cfg(pinhold_debug_overrides)]
            Self::DebugOverride => "debug-override",
            Self::Unknown => "unknown",
            Self::UserAdded => "user-added",
        })
    }
}
