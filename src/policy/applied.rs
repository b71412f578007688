//! [`AppliedPolicy`], the form in which static and noted policies are evaluated, and the types of
//! its fields.

use rustls_pki_types::UnixTime;

use crate::policy::host::Host;
use crate::policy::pin_set::PinSet;
use crate::policy::report_uri::ReportUri;

/// One policy as it applies to one host at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedPolicy {
    /// The name that the policy is set or noted for: the host itself or a superdomain of it.
    pub noted_hostname: Host,
    /// Whether the application or the server set the policy.
    pub source: PinSource,
    /// How the host matched `noted_hostname`.
    pub matched: HostMatch,
    /// The pins, at least one of which must be in the validated chain.
    pub pins: PinSet,
    /// Whether the policy covers the subdomains of `noted_hostname`.
    pub includes_subdomains: bool,
    /// Where violations are to be reported.
    pub report_uri: Option<ReportUri>,
    /// The last second at which the policy holds as it is; `None` if it does not expire.
    pub expires_at: Option<UnixTime>,
    /// What a failed pin check means.
    pub state: PolicyState,
    /// What a chain to a user-added root means.
    pub user_added_roots: UserAddedRoots,
}

/// Who set a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PinSource {
    /// The server, by a `Public-Key-Pins` header field.
    Noted,
    /// The application.
    Static,
}

/// How a host matched the name of a policy (RFC 6797 section 8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostMatch {
    /// The names are equal.
    Congruent,
    /// The policy's name is a superdomain of the host, and the policy includes subdomains.
    Superdomain,
}

/// What a failed pin check means under an applied policy.
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

/// What a validated chain that ends in a user-added root means for pins ([RFC 7469 section 2.6]).
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
    /// Pins are skipped, as the decision shows: the owner of a device may inspect its traffic.
    #[default]
    SkipPins,
}
