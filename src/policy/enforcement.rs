//! [`Enforcement`], what a failed pin check means, and [`AfterExpiry`], what follows the expiry of a
//! policy.

/// Whether a failed pin check refuses the connection.
///
/// ```
/// use pinhold::{Enforcement, PinPolicy};
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?
/// .enforcement(Enforcement::ReportOnly);
/// # Ok::<(), pinhold::policy::PolicyError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Enforcement {
    /// A connection whose validated chain does not satisfy the pins is refused.
    #[default]
    Enforce,
    /// The connection is used. The decision, observers and reports show that it would have been
    /// refused.
    ReportOnly,
}

/// What happens to a static policy after its expiry.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use pinhold::PinPolicy;
/// use pinhold::policy::AfterExpiry;
///
/// let in_a_year = SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60);
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?
/// .expires(in_a_year, AfterExpiry::ReportOnly);
/// # Ok::<(), pinhold::policy::PolicyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AfterExpiry {
    /// Every connection is refused until the application is updated.
    Refuse,
    /// Failed pin checks are reported and no longer refuse.
    ReportOnly,
    /// The policy no longer applies, as if it had never been set.
    Unpin,
}
