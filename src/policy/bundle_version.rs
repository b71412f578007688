//! [`BundleVersion`], by which pin bundles are ordered.

use std::fmt;

/// The version of a pin bundle: that of the root that its signatures count for, and its own.
///
/// Bundles are ordered by the version of the root first. So a new root makes every bundle of an
/// older one outdated, whatever its number: the remedy if stolen keys signed a bundle with the
/// highest number there is.
///
/// ```
/// use pinhold::bundle::BundleVersion;
///
/// let fast_forwarded = BundleVersion::new(1, u64::MAX);
/// let recovered = BundleVersion::new(2, 1);
/// assert!(fast_forwarded < recovered);
/// assert_eq!(recovered.to_string(), "2.1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "the two numbers of the order")]
pub struct BundleVersion {
    /// The version of the root.
    pub root: u64,
    /// The version of the bundle among those of this root.
    pub bundle: u64,
}

impl BundleVersion {
    /// Returns a version from its two numbers.
    #[must_use]
    pub const fn new(root: u64, bundle: u64) -> Self {
        Self { root, bundle }
    }
}

/// Prints the two numbers with a full stop between them.
impl fmt::Display for BundleVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.root, self.bundle)
    }
}
