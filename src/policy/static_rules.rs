//! [`StaticRules`], all that an application sets at once: policies, refused keys, and what holds for
//! unpinned hosts.

use crate::policy::host::{Host, HostError};
use crate::policy::pin_policy::PinPolicy;
use crate::policy::pin_set::PinSet;
use crate::policy::unpinned::{UnpinnedHosts, UnpinnedName};

/// Which pins apply to a name that the scopes of several static policies contain.
///
/// ```
/// use pinhold::policy::Overlap;
/// use pinhold::{Host, PinPolicy, Pinning};
/// use rustls::pki_types::UnixTime;
///
/// const ONE: &str = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";
/// const OTHER: &str = "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=";
///
/// let pinning = Pinning::builder()
///     .static_pins("example.com", PinPolicy::without_backup([ONE])?.include_subdomains())
///     .static_pins("api.example.com", PinPolicy::without_backup([OTHER])?)
///     .overlap(Overlap::Union)
///     .build()?;
/// let policies = pinning.policies(&Host::parse("api.example.com")?, UnixTime::now());
/// assert_eq!(policies.static_policy.unwrap().pins.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overlap {
    /// Those of the nearest policy.
    #[default]
    Nearest,
    /// Those of all of them, any of which is sufficient, as with OkHttp's patterns. All else is as
    /// the nearest policy sets it. A policy that has expired adds no pins, and a report-only policy
    /// adds none to an enforced one. The pins of a candidate are united in the same way. Each policy
    /// and candidate has a single group of pins.
    Union,
}

/// All that an application sets at once, by its builder or by a pin file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticRules {
    pub(crate) policies: Vec<(Host, PinPolicy)>,
    pub(crate) settings: Settings,
}

/// What holds for all hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) overlap: Option<Overlap>,
    pub(crate) refused_keys: Option<PinSet>,
    pub(crate) unpinned_hosts: UnpinnedHosts,
    pub(crate) allow_unpinned: Vec<UnpinnedName>,
}

impl Settings {
    /// Returns these settings with those of `other` added: the stricter rule for unpinned hosts, the
    /// overlap of these if they set one, and everything else of both.
    pub(crate) fn with(&self, other: Self) -> Self {
        let mut both = self.clone();
        both.overlap = both.overlap.or(other.overlap);
        both.refused_keys = match (both.refused_keys, other.refused_keys) {
            (Some(one), Some(other)) => Some(one.join(&other)),
            (one, other) => one.or(other),
        };
        both.unpinned_hosts = both.unpinned_hosts.max(other.unpinned_hosts);
        both.allow_unpinned.extend(other.allow_unpinned);
        both
    }
}

/// The static pins that [`Pinning::replace_pins`](crate::Pinning::replace_pins) sets: pairs of a
/// host and its [`PinPolicy`], or a `PinFile`. The trait is sealed.
///
/// ```
/// use pinhold::policy::IntoStaticRules;
/// use pinhold::{BuildError, Host, PinPolicy, Pinning};
///
/// fn replace(pinning: &Pinning, pins: impl IntoStaticRules) -> Result<(), BuildError> {
///     pinning.replace_pins(pins)
/// }
/// # let pinning = Pinning::builder().build()?;
/// # replace(&pinning, Vec::<(Host, PinPolicy)>::new())?;
/// # Ok::<(), BuildError>(())
/// ```
pub trait IntoStaticRules: sealed::Sealed {
    /// Whether there can be settings beside the policies. What only these need is else no part of
    /// the program.
    #[doc(hidden)]
    const HAS_SETTINGS: bool;

    /// Returns the rules.
    ///
    /// # Errors
    ///
    /// A [`HostError`] for a name that is not a host.
    #[doc(hidden)]
    fn into_rules(self) -> Result<StaticRules, HostError>;
}

impl<I, H> IntoStaticRules for I
where
    I: IntoIterator<Item = (H, PinPolicy)>,
    H: TryInto<Host, Error: Into<HostError>>,
{
    const HAS_SETTINGS: bool = false;

    fn into_rules(self) -> Result<StaticRules, HostError> {
        let mut rules = StaticRules::default();
        for (host, policy) in self {
            let host = host.try_into().map_err(Into::into)?;
            rules.policies.push((host, policy));
        }
        Ok(rules)
    }
}

pub(crate) mod sealed {
    use crate::policy::host::{Host, HostError};
    use crate::policy::pin_policy::PinPolicy;

    #[expect(unnameable_types, reason = "seals `IntoStaticRules`")]
    pub trait Sealed {}
    impl<I, H> Sealed for I
    where
        I: IntoIterator<Item = (H, PinPolicy)>,
        H: TryInto<Host, Error: Into<HostError>>,
    {
    }
}
