//! [`NotApplied`], why a static policy does not apply to a name.

use std::fmt;

/// Why a static policy of a host or of one of its superdomains does not apply to the host.
///
/// ```
/// use pinhold::explain::NotApplied;
///
/// assert_eq!(NotApplied::Exempt.to_string(), "the host is exempt from it");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotApplied {
    /// The user has disabled it ([`Pinning::disable_static`](crate::Pinning::disable_static)).
    Disabled,
    /// The host, or a name above it, is exempt from the policy.
    Exempt,
    /// It has expired with [`AfterExpiry::Unpin`](crate::policy::AfterExpiry::Unpin).
    Expired,
    /// A nearer policy applies.
    Nearer,
    /// The host is not in its scope.
    Scope,
    /// A nearer policy applies, and the pins of this one are sufficient, too
    /// ([`Overlap::Union`](crate::policy::Overlap::Union)).
    United,
}

impl fmt::Display for NotApplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "it is disabled",
            Self::Exempt => "the host is exempt from it",
            Self::Expired => "it has expired",
            Self::Nearer => "a nearer policy applies",
            Self::Scope => "the host is not in its scope",
            Self::United => "a nearer policy applies, and accepts its pins, too",
        })
    }
}
