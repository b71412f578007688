//! [`Scope`], the names that a policy covers.

/// The names that a static policy covers, seen from the host that it is set for.
///
/// If the scopes of several policies contain a name, the nearest policy decides: that of the longest
/// host, and of one host the one with the smallest scope, in the order of the variants.
///
/// ```
/// use pinhold::policy::Scope;
/// use pinhold::{Host, PinPolicy, Pinning};
/// use rustls::pki_types::UnixTime;
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?;
/// let pinning = Pinning::builder()
///     .static_pins("example.com", policy.scope(Scope::OneLabel))
///     .build()?;
/// for (name, is_pinned) in [
///     ("www.example.com", true),
///     ("example.com", false),
///     ("a.www.example.com", false),
/// ] {
///     let policies = pinning.policies(&Host::parse(name)?, UnixTime::now());
///     assert_eq!(policies.static_policy.is_some(), is_pinned);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// The host alone.
    #[default]
    Host,
    /// The names with exactly one label more than the host; the host itself is not among them.
    OneLabel,
    /// All subdomains of the host, at any depth; the host itself is not among them.
    Subdomains,
    /// The host and all its subdomains, at any depth.
    HostAndSubdomains,
}

impl Scope {
    /// Returns whether a name with this number of labels more than the host is covered.
    pub(crate) fn covers(self, more_labels: usize) -> bool {
        match self {
            Self::Host => more_labels == 0,
            Self::OneLabel => more_labels == 1,
            Self::Subdomains => more_labels > 0,
            Self::HostAndSubdomains => true,
        }
    }

    /// Returns whether every name that another scope covers is covered.
    #[cfg(feature = "bundles")]
    pub(crate) fn contains(self, other: Self) -> bool {
        // The host, one label more, and deeper.
        (0..=2).all(|more_labels| self.covers(more_labels) || !other.covers(more_labels))
    }

    /// Returns whether any subdomain of the host is covered.
    #[must_use]
    pub fn includes_subdomains(self) -> bool {
        self != Self::Host
    }
}
