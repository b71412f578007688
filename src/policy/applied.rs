//! [`AppliedPolicy`], the form in which static and noted policies are evaluated, and the types of
//! its fields.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

#[cfg(feature = "bundles")]
use crate::policy::bundle_version::BundleVersion;
use crate::policy::fingerprint::SpkiFingerprint;
use crate::policy::host::Host;
use crate::policy::pin_group::{PinGroup, Requirement};
use crate::policy::pin_set::PinSet;
use crate::policy::plain_http::PlainHttp;
use crate::policy::report_uri::{EndpointUris, ReportUri};
use crate::policy::scope::Scope;

/// One policy as it applies to one host at one moment.
///
/// ```
/// use pinhold::policy::{HostMatch, PinSource, PolicyState};
/// use pinhold::{Host, PinPolicy, Pinning};
/// use rustls::pki_types::UnixTime;
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?;
/// let pinning = Pinning::builder()
///     .static_pins("example.com", policy.include_subdomains())
///     .build()?;
/// let policies = pinning.policies(&Host::parse("www.example.com")?, UnixTime::now());
/// let applied = policies.static_policy.unwrap();
/// assert_eq!(applied.source, PinSource::Static);
/// assert_eq!(applied.matched, HostMatch::Superdomain);
/// assert_eq!(applied.state, PolicyState::Enforced);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedPolicy {
    /// The name that the policy is set or noted for: the host itself or a superdomain of it.
    pub noted_hostname: Host,
    /// Whether the application or the server set the policy.
    pub source: PinSource,
    /// How the host matched `noted_hostname`.
    pub matched: HostMatch,
    /// The pins of all groups. With [`PinSource::RefusedKeys`]: the refused keys in the chain.
    pub pins: PinSet,
    /// See [`groups`](Self::groups); `None` if any of `pins` is sufficient in any position.
    pub(crate) groups: Option<Arc<[PinGroup]>>,
    /// The names that the policy covers, seen from `noted_hostname`.
    pub scope: Scope,
    pub(crate) report_uris: EndpointUris,
    /// The last second at which the policy is in this state; `None` if it does not expire.
    pub expires_at: Option<UnixTime>,
    /// What a failed pin check means.
    pub state: PolicyState,
    /// Whether the pins are enforced on a chain to a user-added root.
    pub user_added_roots: UserAddedRoots,
    /// The policy's own setting for `http://`.
    pub plain_http: Option<PlainHttp>,
}

impl AppliedPolicy {
    /// Returns the groups of pins, each of which must hold; empty if any of the pins is sufficient,
    /// in any position of the validated chain.
    #[must_use]
    pub fn groups(&self) -> &[PinGroup] {
        self.groups.as_deref().unwrap_or_default()
    }

    /// Returns where violations are to be reported.
    #[must_use]
    pub fn report_uris(&self) -> &[ReportUri] {
        self.report_uris.as_slice()
    }

    pub(crate) fn requirement(&self) -> Requirement {
        Requirement {
            pins: self.pins.clone(),
            groups: self.groups.clone(),
        }
    }

    /// Returns whether both are policies of one host and scope with the same pins.
    #[cfg(feature = "health")]
    pub(crate) fn has_same_pins(&self, other: &Self) -> bool {
        self.noted_hostname == other.noted_hostname
            && self.scope == other.scope
            && self.pins == other.pins
            && self.groups == other.groups
    }

    /// Returns whether a path with these keys, leaf first, satisfies the pins.
    pub(crate) fn matches(&self, keys: &[SpkiFingerprint]) -> bool {
        match &self.groups {
            None => self.pins.matches(keys),
            Some(groups) => groups.iter().all(|group| group.matches(keys)),
        }
    }
}

/// Who set a policy.
///
/// ```
/// use pinhold::policy::{AppliedPolicy, PinSource};
///
/// fn is_noted(policy: &AppliedPolicy) -> bool {
///     policy.source == PinSource::Noted
/// }
/// # let _ = is_noted;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PinSource {
    /// The operator of the application, by a [pin bundle](crate::bundle) of this version.
    #[cfg(feature = "bundles")]
    Bundle(BundleVersion),
    /// The server, by a `Public-Key-Pins` header field.
    Noted,
    /// The application, by its list of [refused keys](crate::PinningBuilder::refuse_keys).
    RefusedKeys,
    /// The application.
    Static,
}

/// How a host matched the name of a policy (RFC 6797 section 8.2).
///
/// ```
/// use pinhold::policy::{AppliedPolicy, HostMatch};
///
/// fn is_inherited(policy: &AppliedPolicy) -> bool {
///     policy.matched == HostMatch::Superdomain
/// }
/// # let _ = is_inherited;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostMatch {
    /// The names are equal.
    Congruent,
    /// The policy's name is a superdomain of the host, and the policy includes subdomains.
    Superdomain,
}

/// What a failed pin check means under an applied policy.
///
/// ```
/// use pinhold::policy::{AppliedPolicy, PolicyState};
///
/// fn can_refuse(policy: &AppliedPolicy) -> bool {
///     policy.state != PolicyState::ReportOnly
/// }
/// # let _ = can_refuse;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyState {
    /// The connection is refused.
    Enforced,
    /// Every connection is refused, whatever its chain: the policy has expired with
    /// [`AfterExpiry::Refuse`](crate::policy::AfterExpiry::Refuse).
    Expired,
    /// The failure is only reported.
    ReportOnly,
}

/// Whether pins are enforced on a validated chain that ends in a user-added root ([RFC 7469 section
/// 2.6]).
///
/// ```
/// use pinhold::{PinPolicy, UserAddedRoots};
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?
/// .user_added_roots(UserAddedRoots::EnforcePins);
/// # Ok::<(), pinhold::policy::PolicyError>(())
/// ```
///
/// [RFC 7469 section 2.6]: https://www.rfc-editor.org/rfc/rfc7469#section-2.6
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UserAddedRoots {
    /// Pins are enforced, too: an inspecting proxy is refused.
    EnforcePins,
    /// Pins are skipped, and the decision is [`Decision::Skipped`](crate::Decision::Skipped): the
    /// owner of a device may inspect its traffic.
    #[default]
    SkipPins,
}
