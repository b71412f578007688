//! [`HealthWarning`], what the connections of an application show about its pins.

use std::fmt;

/// What the connections under a policy show about its pins. Each is also an
/// [`Event`](crate::Event) of the same name, whose documentation states the exact condition.
///
/// ```
/// use pinhold::health::HealthWarning;
///
/// assert_eq!(HealthWarning::LastPin.to_string(), "last_pin");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HealthWarning {
    /// No chain has ever contained a backup pin: it was never proved that there is a key for it.
    BackupNeverSeen,
    /// Pins were skipped because a chain ends in a user-added root.
    BypassActive,
    /// The policy expires within 30 days.
    ExpiresSoon,
    /// One pin is still seen, and others that were seen earlier no longer are.
    LastPin,
    /// Chains pass only by a pin that was a backup: those that were seen before are gone.
    OnlyBackupMatches,
    /// The policy, or the pin bundle that it is from, has expired, and no longer refuses or was not
    /// renewed.
    Stale,
}

/// The number of warnings.
pub(crate) const WARNINGS: usize = 6;

/// Prints the name as it is exported, such as `last_pin`.
impl fmt::Display for HealthWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BackupNeverSeen => "backup_never_seen",
            Self::BypassActive => "bypass_active",
            Self::ExpiresSoon => "expires_soon",
            Self::LastPin => "last_pin",
            Self::OnlyBackupMatches => "only_backup_matches",
            Self::Stale => "stale",
        })
    }
}
