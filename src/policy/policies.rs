//! Who is pinned to what, until when: [`PinSet`], [`PinPolicy`], [`KnownPinnedHost`], and
//! [`AppliedPolicy`], the one form in which a policy is judged.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::policy::fingerprint::{ParseFingerprintError, SpkiFingerprint};
use crate::policy::host::{Host, HostError};
use crate::policy::report_uri::ReportUri;
use crate::policy::timestamp::IntoUnixTime;

/// A set of pins that is never empty. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PinSet(Arc<[SpkiFingerprint]>);

impl PinSet {
    /// Collects distinct pins.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoPins`] for none at all: an empty set would refuse everybody.
    ///
    /// ```
    /// use pinhold::{PinSet, SpkiFingerprint};
    ///
    /// let pin = SpkiFingerprint::from_digest([7; 32]);
    /// assert_eq!(PinSet::new([pin, pin])?.len(), 1);
    /// assert!(PinSet::new([]).is_err());
    /// # Ok::<(), pinhold::policy::PolicyError>(())
    /// ```
    pub fn new(pins: impl IntoIterator<Item = SpkiFingerprint>) -> Result<Self, PolicyError> {
        let mut distinct = Vec::new();
        for pin in pins {
            // Not sorted afterwards: that is three kilobytes of a program.
            if let Err(place) = distinct.binary_search(&pin) {
                distinct.insert(place, pin);
            }
        }
        if distinct.is_empty() {
            return Err(PolicyError::NoPins);
        }
        Ok(Self(distinct.into()))
    }

    /// Whether `pin` is one of the set.
    #[must_use]
    pub fn contains(&self, pin: &SpkiFingerprint) -> bool {
        // A handful of pins: faster than a search, and no order to get wrong.
        self.0.contains(pin)
    }

    /// Whether at least one of `keys` is in the set (RFC 7469 section 2.6).
    #[must_use]
    pub fn matches(&self, keys: &[SpkiFingerprint]) -> bool {
        keys.iter().any(|key| self.contains(key))
    }

    /// The pins in the order of their bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &SpkiFingerprint> {
        self.0.iter()
    }

    /// How many distinct pins there are, at least one.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Whether a failure ends the connection or is only told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Enforcement {
    /// A connection whose validated chain holds no pin is refused.
    #[default]
    Enforce,
    /// It goes on, and the decision says what would have been refused.
    ReportOnly,
}

/// What a validated chain that ends in a user-added root means for the pins (RFC 7469 section
/// 2.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UserAddedRoots {
    /// The pins must hold all the same: an inspecting proxy is refused.
    EnforcePins,
    /// The pins are skipped, visibly: whoever owns the device may inspect its traffic.
    #[default]
    SkipPins,
}

/// What a static policy means after its expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AfterExpiry {
    /// Every connection is refused until the application is updated.
    Refuse,
    /// Failures are told, no longer refused.
    ReportOnly,
    /// The policy is gone, as if it had never been set.
    Unpin,
}

/// Static pins for one host, set by the application.
///
/// ```
/// use pinhold::PinPolicy;
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=", // the backup
/// ])?
/// .include_subdomains()
/// .exempt("legacy.example.com")?;
/// assert_eq!(policy.pins().len(), 2);
/// # Ok::<(), pinhold::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinPolicy {
    pins: PinSet,
    includes_subdomains: bool,
    report_uri: Option<ReportUri>,
    expiry: Option<(UnixTime, AfterExpiry)>,
    enforcement: Enforcement,
    user_added_roots: Option<UserAddedRoots>,
    exempt: Vec<Host>,
    candidate: Option<PinSet>,
}

impl PinPolicy {
    /// Pins a host to any of these keys, at least two, of which one should be a backup: a key that
    /// is kept offline until the live one must be replaced (RFC 7469 section 4.3).
    ///
    /// # Errors
    ///
    /// [`PolicyError::Pin`] for a pin that can't be parsed, [`PolicyError::NoPins`] and
    /// [`PolicyError::NoBackup`] for fewer than two distinct ones.
    pub fn new<P>(pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        let policy = Self::without_backup(pins)?;
        if policy.pins.len() < 2 {
            return Err(PolicyError::NoBackup);
        }
        Ok(policy)
    }

    /// As [`new`](Self::new), but one pin is enough. When its key is lost, or its CA replaced, the
    /// host can't be reached until the application is updated.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Pin`] for a pin that can't be parsed, [`PolicyError::NoPins`] for none.
    pub fn without_backup<P>(pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        Ok(Self {
            pins: parse_pins(pins)?,
            includes_subdomains: false,
            report_uri: None,
            expiry: None,
            enforcement: Enforcement::Enforce,
            user_added_roots: None,
            exempt: Vec::new(),
            candidate: None,
        })
    }

    /// Covers every subdomain of the host at any depth, too.
    #[must_use]
    pub fn include_subdomains(mut self) -> Self {
        self.includes_subdomains = true;
        self
    }

    /// Leaves out a subdomain and all below it. Pins that the subdomain itself asked for by header
    /// still hold, as does a static policy set for a name below.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Exemption`] if the name is no host.
    pub fn exempt<H>(mut self, subdomain: H) -> Result<Self, PolicyError>
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        let host = subdomain
            .try_into()
            .map_err(|error| PolicyError::Exemption(error.into()))?;
        self.exempt.push(host);
        Ok(self)
    }

    /// Ends the policy after `at` (at that very second it still holds), with a stated consequence.
    #[must_use]
    pub fn expires(mut self, at: impl IntoUnixTime, then: AfterExpiry) -> Self {
        self.expiry = Some((at.into_unix_time(), then));
        self
    }

    /// Refuses on failure (the default), or only tells.
    #[must_use]
    pub fn enforcement(mut self, enforcement: Enforcement) -> Self {
        self.enforcement = enforcement;
        self
    }

    /// Tries other pins beside the enforced ones: on every connection it is judged whether these
    /// would have let it pass, and told and counted if not, while the enforced pins decide. So
    /// that nobody is locked out by a pin set that replaces another one.
    ///
    /// [`Pinning::rollout`](crate::Pinning::rollout) has the counts. A policy that is
    /// [`ReportOnly`](Enforcement::ReportOnly) needs no candidate, it is one.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Pin`] for a pin that can't be parsed, [`PolicyError::NoPins`] for none.
    ///
    /// ```
    /// use pinhold::PinPolicy;
    ///
    /// let policy = PinPolicy::new([
    ///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
    ///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    /// ])?
    /// .candidate([
    ///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    ///     "sha256/hxqRlPTu1bMS/0DITB1SSu0vd4u/8l8TjPgfaAp63Gc=",
    /// ])?;
    /// # Ok::<(), pinhold::policy::PolicyError>(())
    /// ```
    pub fn candidate<P>(mut self, pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        self.candidate = Some(parse_pins(pins)?);
        Ok(self)
    }

    /// What a chain to a user-added root means for this policy. Unless said, the choice of
    /// [`PinningBuilder::user_added_roots`](crate::PinningBuilder::user_added_roots).
    #[must_use]
    pub fn user_added_roots(mut self, choice: UserAddedRoots) -> Self {
        self.user_added_roots = Some(choice);
        self
    }

    /// Where violations of this policy are to be reported.
    #[must_use]
    pub fn report_uri(mut self, uri: ReportUri) -> Self {
        self.report_uri = Some(uri);
        self
    }

    /// The pins.
    #[must_use]
    pub fn pins(&self) -> &PinSet {
        &self.pins
    }

    /// The pins that are on trial: those of the candidate, else those of the policy.
    pub(crate) fn rolled_out_pins(&self) -> &PinSet {
        self.candidate.as_ref().unwrap_or(&self.pins)
    }

    /// The candidate beside this policy, as it applies where the policy does.
    pub(crate) fn apply_candidate(&self, applied: &AppliedPolicy) -> Option<AppliedPolicy> {
        Some(AppliedPolicy {
            pins: self.candidate.clone()?,
            state: PolicyState::ReportOnly,
            ..applied.clone()
        })
    }

    /// When the policy ends, or becomes another one.
    pub(crate) fn expiry_time(&self) -> Option<UnixTime> {
        self.expiry.map(|(at, _)| at)
    }

    pub(crate) fn covers_subdomains(&self) -> bool {
        self.includes_subdomains
    }

    pub(crate) fn exemptions(&self) -> &[Host] {
        &self.exempt
    }

    /// The policy as it stands at `now` for a name that it matches, or `None` once it is unpinned
    /// or for a subdomain that it does not cover.
    pub(crate) fn apply(
        &self,
        noted_hostname: &Host,
        matched: HostMatch,
        default: UserAddedRoots,
        now: UnixTime,
    ) -> Option<AppliedPolicy> {
        if matched == HostMatch::Superdomain && !self.includes_subdomains {
            return None;
        }
        let mut state = match self.enforcement {
            Enforcement::Enforce => PolicyState::Enforced,
            Enforcement::ReportOnly => PolicyState::ReportOnly,
        };
        // 7469-2.3.3-a: at the very moment of its expiry a policy still holds.
        if let Some((at, then)) = self.expiry
            && now > at
        {
            state = match (then, state) {
                (AfterExpiry::Unpin, _) => return None,
                (AfterExpiry::Refuse, PolicyState::Enforced) => PolicyState::Expired,
                (AfterExpiry::Refuse | AfterExpiry::ReportOnly, _) => PolicyState::ReportOnly,
            };
        }
        Some(AppliedPolicy {
            noted_hostname: noted_hostname.clone(),
            source: PinSource::Static,
            matched,
            pins: self.pins.clone(),
            includes_subdomains: self.includes_subdomains,
            report_uri: self.report_uri.clone(),
            expires_at: self.expiry.map(|(at, _)| at),
            state,
            user_added_roots: self.user_added_roots.unwrap_or(default),
        })
    }
}

fn parse_pins<P>(pins: impl IntoIterator<Item = P>) -> Result<PinSet, PolicyError>
where
    P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
{
    let pins = pins.into_iter().map(|pin| pin.try_into());
    let pins = pins.collect::<Result<Vec<_>, _>>();
    PinSet::new(pins.map_err(|error| PolicyError::Pin(error.into()))?)
}

/// What one host asked for by `Public-Key-Pins`, and until when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownPinnedHost {
    /// The name whose response carried the header.
    pub host: Host,
    /// The pins, exactly as the last valid header gave them.
    pub pins: PinSet,
    /// Whether they hold for every subdomain, too.
    pub includes_subdomains: bool,
    /// Where the server wants violations to be reported.
    pub report_uri: Option<ReportUri>,
    /// When the header was received.
    pub noted_at: UnixTime,
    /// The last moment at which the pins hold.
    pub expires_at: UnixTime,
}

impl KnownPinnedHost {
    /// Whether the entry is inert at `now` (RFC 7469 section 2.3.3: its expiry lies in the past).
    #[must_use]
    pub fn is_expired(&self, now: UnixTime) -> bool {
        now > self.expires_at
    }

    /// Whether `newer` is a mere refresh of this entry: it says the same, for as long again.
    pub(crate) fn is_refreshed_by(&self, newer: &Self) -> bool {
        self.lifetime() == newer.lifetime()
            && *self
                == Self {
                    noted_at: self.noted_at,
                    expires_at: self.expires_at,
                    ..newer.clone()
                }
    }

    /// The same for as long again, as if it had been noted at `now`.
    pub(crate) fn as_noted_at(&self, now: UnixTime) -> Self {
        let expires_at = now.as_secs().saturating_add(self.lifetime());
        Self {
            noted_at: now,
            expires_at: UnixTime::since_unix_epoch(Duration::from_secs(expires_at)),
            ..self.clone()
        }
    }

    /// In seconds.
    fn lifetime(&self) -> u64 {
        self.expires_at
            .as_secs()
            .saturating_sub(self.noted_at.as_secs())
    }

    pub(crate) fn apply(&self, matched: HostMatch, roots: UserAddedRoots) -> AppliedPolicy {
        AppliedPolicy {
            noted_hostname: self.host.clone(),
            source: PinSource::Noted,
            matched,
            pins: self.pins.clone(),
            includes_subdomains: self.includes_subdomains,
            report_uri: self.report_uri.clone(),
            expires_at: Some(self.expires_at),
            state: PolicyState::Enforced,
            user_added_roots: roots,
        }
    }
}

/// Who set a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PinSource {
    /// The server, by `Public-Key-Pins`.
    Noted,
    /// The application.
    Static,
}

/// How a name came under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostMatch {
    /// The policy is kept under that very name.
    Congruent,
    /// It is kept under a superdomain and includes subdomains.
    Superdomain,
}

/// How a failure of an applied policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyState {
    /// It refuses.
    Enforced,
    /// It refuses whatever the chain: the policy has expired with [`AfterExpiry::Refuse`].
    Expired,
    /// It is told only.
    ReportOnly,
}

/// One policy as it applies to one host at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedPolicy {
    /// The name under which the policy is kept: the host, or a superdomain of it.
    pub noted_hostname: Host,
    /// Who set it.
    pub source: PinSource,
    /// How the host came under it.
    pub matched: HostMatch,
    /// The keys of which the validated chain must hold at least one.
    pub pins: PinSet,
    /// Whether it covers subdomains of `noted_hostname`.
    pub includes_subdomains: bool,
    /// Where violations are to be reported.
    pub report_uri: Option<ReportUri>,
    /// The last moment at which it holds as it is; `None` for ever.
    pub expires_at: Option<UnixTime>,
    /// How a failure counts.
    pub state: PolicyState,
    /// What a chain to a user-added root means for it.
    pub user_added_roots: UserAddedRoots,
}

/// Why pins can't be a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// The exempt name is no host.
    Exemption(HostError),
    /// Fewer than two distinct pins.
    NoBackup,
    /// No pin at all.
    NoPins,
    /// A pin that can't be parsed.
    Pin(ParseFingerprintError),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exemption(error) => write!(f, "exempt subdomain: {error}"),
            Self::NoBackup => f.write_str(
                "a pin set of one pin has no backup, expected two distinct pins or \
                 `PinPolicy::without_backup`",
            ),
            Self::NoPins => f.write_str("a pin set is empty, expected at least one pin"),
            Self::Pin(error) => error.fmt(f),
        }
    }
}

impl Error for PolicyError {}
