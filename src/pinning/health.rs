//! [`Health`], what the connections of an application have shown about its pins, and the options for
//! keeping it.

use std::fmt;

use rustls_pki_types::UnixTime;

use crate::policy::{Host, Scope, SpkiFingerprint};
use crate::store::HealthWarning;

/// Which version of the application the counts are of, and what an export contains.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::health::HealthOptions;
///
/// let options = HealthOptions::new(env!("CARGO_PKG_VERSION"));
/// let pinning = Pinning::builder().health(options).build()?;
/// assert!(pinning.health().policies.is_empty()); // no connection yet
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct HealthOptions {
    pub(crate) app_version: String,
    pub(crate) host_names: HostNames,
}

impl HealthOptions {
    /// Takes the version of the application: 1 to 64 printable ASCII characters without `"` and `\`.
    /// With another text, [`PinningBuilder::build`](crate::PinningBuilder::build) fails with
    /// [`BuildError::AppVersion`](crate::BuildError::AppVersion).
    pub fn new(app_version: impl Into<String>) -> Self {
        Self {
            app_version: app_version.into(),
            host_names: HostNames::default(),
        }
    }

    /// Sets whether exports contain the names and the pins of hosts. Default: they do not.
    #[must_use]
    pub fn host_names(mut self, choice: HostNames) -> Self {
        self.host_names = choice;
        self
    }
}

/// Whether an export contains names of hosts.
///
/// ```
/// use pinhold::health::{HealthOptions, HostNames};
///
/// let options = HealthOptions::new("1.4.2").host_names(HostNames::Include);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostNames {
    /// Exports contain the names of the hosts and their pins.
    Include,
    /// A host is a digest of its name and of a random salt, which is kept in the storage and in no
    /// export: stable for one installation, different in every other one. Without the salt no
    /// dictionary of names finds the host. A pin is its number in the order of the set: the key of a
    /// public server can be found in logs of certificates, with the names that it is for.
    #[default]
    Omit,
}

/// A snapshot of what connections have shown about the pins of an application, in this process and in
/// earlier ones with the same storage.
///
/// Contains the static policies and those of pin bundles under which there was a connection, each with
/// the candidate's pins as a policy of their own. Noted pins are not among them: a record of them
/// would be a trace of the user's visits.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::health::{Health, HealthOptions};
///
/// fn log(health: &Health) {
///     for policy in &health.policies {
///         for warning in &policy.warnings {
///             eprintln!("{}: {warning}", policy.host);
///         }
///     }
/// }
///
/// let pinning = Pinning::builder().health(HealthOptions::new("1.4.2")).build()?;
/// log(&pinning.health());
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Health {
    /// The version of the application that runs; empty if nothing is kept.
    pub app_version: String,
    /// The policies, sorted by host and scope, those in effect first.
    pub policies: Vec<PolicyHealth>,
    pub(crate) host_names: HostNames,
    pub(crate) salt: [u8; 16],
}

/// What connections have shown of one pin set of a policy.
///
/// ```
/// use pinhold::health::PolicyHealth;
///
/// fn is_backup_proved(policy: &PolicyHealth) -> bool {
///     policy.pins.iter().all(|pin| pin.last_seen.is_some())
/// }
/// # let _ = is_backup_proved;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PolicyHealth {
    /// The host that the policy is set for.
    pub host: Host,
    /// The names that the policy covers, seen from `host`.
    pub scope: Scope,
    /// Whether the pins are in effect, as far as a connection in this process has shown. Others are
    /// those of earlier releases or bundles.
    pub is_current: bool,
    /// Whether the pins are those of a [candidate](crate::PinPolicy::candidate) or of a staged bundle.
    pub is_candidate: bool,
    /// When the policy expires; `None` if it does not, or is not current.
    pub expires: Option<UnixTime>,
    /// The day of the first connection with these pins.
    pub since: Option<UnixTime>,
    /// The number of days with a connection that was not refused or skipped, in UTC. A pin set that
    /// takes the place of another one continues its days.
    pub days: u64,
    /// The last connection.
    pub last_connection: Option<UnixTime>,
    /// The pins: all of them if the policy is current, else those that were seen.
    pub pins: Vec<PinHealth>,
    /// The counts of each version of the application, at most eight.
    pub versions: Vec<VersionCounts>,
    /// The warnings that hold now.
    pub warnings: Vec<HealthWarning>,
}

/// When validated chains contained a pin.
///
/// ```
/// use pinhold::health::PinHealth;
///
/// fn is_backup(pin: &PinHealth) -> bool {
///     pin.first_seen.is_none()
/// }
/// # let _ = is_backup;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinHealth {
    /// The pin.
    pub pin: SpkiFingerprint,
    /// The first day, at its beginning in UTC.
    pub first_seen: Option<UnixTime>,
    /// The last day, at its beginning in UTC.
    pub last_seen: Option<UnixTime>,
}

/// The connections of one version of the application under one pin set.
///
/// ```
/// use pinhold::health::VersionCounts;
///
/// fn skipped_share(counts: &VersionCounts) -> f64 {
///     counts.skipped as f64 / (counts.passed + counts.skipped).max(1) as f64
/// }
/// # let _ = skipped_share;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionCounts {
    /// The version.
    pub app_version: String,
    /// Connections that satisfied the pins.
    pub passed: u64,
    /// Connections that the policy refused or closed. An attacker on the network can cause any number.
    pub refused: u64,
    /// Connections that did not satisfy the pins of a report-only policy.
    pub would_be_refused: u64,
    /// Connections whose pins were skipped because of a user-added root.
    pub skipped: u64,
    /// Connections that satisfied the pins as those of a candidate.
    pub candidate_passed: u64,
    /// Connections that did not satisfy the pins as those of a candidate.
    pub candidate_would_be_refused: u64,
}

/// Prints the numbers of policies and of warnings, and no name.
impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warnings = self.policies.iter().map(|policy| policy.warnings.len());
        f.debug_struct("Health")
            .field("app_version", &self.app_version)
            .field("policies", &self.policies.len())
            .field("warnings", &warnings.sum::<usize>())
            .finish_non_exhaustive()
    }
}
