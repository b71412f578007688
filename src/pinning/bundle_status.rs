//! What became of a pin bundle, and the state of all: [`BundleOutcome`] and [`BundleStatus`].

use rustls_pki_types::UnixTime;

use crate::pinning::bundle_records::BundleCounts;
use crate::policy::BundleVersion;

/// What [`Pinning::apply_bundle`](crate::Pinning::apply_bundle) did with a bundle.
///
/// ```
/// use pinhold::bundle::BundleOutcome;
///
/// fn is_new(outcome: &BundleOutcome) -> bool {
///     !matches!(outcome, BundleOutcome::Unchanged(_))
/// }
/// # let _ = is_new;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleOutcome {
    /// It is in effect.
    Applied(BundleVersion),
    /// It is stored, and staged for other installations: its policies are evaluated and counted
    /// here, but refuse nothing. Its refused keys are refused.
    Staged(BundleVersion),
    /// It is the newest one that is known already.
    Unchanged(BundleVersion),
}

/// The pin bundles of an application at one moment.
///
/// ```
/// use pinhold::Pinning;
///
/// let pinning = Pinning::builder().build()?;
/// assert!(pinning.bundle_status().is_none()); // no bundles were set up
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleStatus {
    /// The bundle in effect.
    pub in_effect: BundleVersion,
    /// The lowest version that is accepted. That of a staged bundle is higher than the one in
    /// effect.
    pub floor: BundleVersion,
    /// The last second at which the bundle in effect is not stale.
    pub expires: UnixTime,
    /// Whether the bundle in effect is stale.
    pub is_stale: bool,
    /// The last second of the kill switch, if it is on.
    pub killed_until: Option<UnixTime>,
    /// The counts.
    pub counts: BundleCounts,
}
