//! Static policies beside pin bundles: those that bundles contain, and those that no bundle replaces.

use crate::policy::bundle_version::BundleVersion;
use crate::policy::pin_policy::PinPolicy;

impl PinPolicy {
    /// Makes the policy apply whatever pin bundles say: beside that of a bundle, it must hold, too,
    /// and no kill switch makes it report-only. Its pins are not united with others
    /// ([`Overlap::Union`](crate::policy::Overlap::Union)). Without bundles it has no effect. A user can
    /// disable it as any static policy ([`Pinning::disable_static`](crate::Pinning::disable_static)).
    ///
    /// No bundle can repair a wrong fixed policy. So it needs a backup pin
    /// ([`BuildError::FixedWithoutBackup`](crate::BuildError::FixedWithoutBackup)), whose key is not
    /// in the live chain: [`Event::FixedWithoutBackup`](crate::Event::FixedWithoutBackup) shows a
    /// chain that contains all of them.
    ///
    /// ```
    /// use pinhold::PinPolicy;
    ///
    /// let policy = PinPolicy::new([
    ///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
    ///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    /// ])?
    /// .fixed();
    /// assert!(policy.is_fixed());
    /// # Ok::<(), pinhold::policy::PolicyError>(())
    /// ```
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.is_fixed = true;
        self
    }

    /// Returns whether pin bundles leave the policy in effect.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Returns the policy as one of a bundle.
    pub(crate) fn of_bundle(mut self, version: BundleVersion) -> Self {
        self.bundle = Some(version);
        self
    }
}
