//! [`PinPolicy`], the static pins that an application sets for a host.

use rustls_pki_types::UnixTime;

use crate::policy::applied::{AppliedPolicy, HostMatch, PinSource, PolicyState, UserAddedRoots};
#[cfg(feature = "bundles")]
use crate::policy::bundle_version::BundleVersion;
use crate::policy::enforcement::{AfterExpiry, Enforcement};
use crate::policy::fingerprint::SpkiFingerprint;
use crate::policy::fingerprint_error::ParseFingerprintError;
use crate::policy::host::{Host, HostError};
use crate::policy::pin_group::{PinGroup, Requirement};
use crate::policy::pin_set::{PinSet, PolicyError};
use crate::policy::plain_http::PlainHttp;
use crate::policy::report_uri::{EndpointUris, ReportUri};
use crate::policy::scope::Scope;
use crate::policy::timestamp::IntoUnixTime;

/// Static pins for one host, set by the application.
///
/// Pins are given as [`SpkiFingerprint`]s or as text in any spelling that it parses: `&str` or
/// `String`, by value or by reference, in arrays, slices, vectors and other iterators.
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
    required: Requirement,
    scope: Scope,
    report_uris: EndpointUris,
    expiry: Option<(UnixTime, AfterExpiry)>,
    enforcement: Enforcement,
    user_added_roots: Option<UserAddedRoots>,
    plain_http: Option<PlainHttp>,
    exempt: Vec<Host>,
    candidate: Option<Requirement>,
    /// The bundle that the policy is from.
    #[cfg(feature = "bundles")]
    pub(super) bundle: Option<BundleVersion>,
    #[cfg(feature = "bundles")]
    pub(super) is_fixed: bool,
}

impl PinPolicy {
    /// Creates a policy of at least two distinct pins, any of which is sufficient. One should be a
    /// backup pin: its key is kept offline until it replaces a live one (RFC 7469 section 4.3).
    ///
    /// # Errors
    ///
    /// [`PolicyError::Pin`] for a pin that can't be parsed, [`PolicyError::NoPins`] and
    /// [`PolicyError::NoBackup`] for fewer than two distinct pins.
    ///
    /// ```
    /// use pinhold::PinPolicy;
    /// use pinhold::policy::PolicyError;
    ///
    /// let pins = vec!["sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=".to_owned()];
    /// assert_eq!(PinPolicy::new(&pins), Err(PolicyError::NoBackup));
    /// ```
    pub fn new<P>(pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        let policy = Self::without_backup(pins)?;
        if policy.pins().len() < 2 {
            return Err(PolicyError::NoBackup);
        }
        Ok(policy)
    }

    /// Creates a policy that may have a single pin. If the server loses the key of that pin, or
    /// changes from its CA to another one, the host is unreachable until the application is
    /// updated.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Pin`] for a pin that can't be parsed, [`PolicyError::NoPins`] if there is
    /// none.
    pub fn without_backup<P>(pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        Ok(Self::of_requirement(Requirement::any(PinSet::parse(pins)?)))
    }

    /// Creates a policy of groups of pins, each of which must hold: the validated chain must contain
    /// a pin of every group. Another valid path is sought if the first one satisfies only some
    /// groups. Equal groups count once.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoPins`] if there is no group, [`PolicyError::NoBackup`] for a group of fewer
    /// than two distinct pins.
    ///
    /// ```
    /// use pinhold::PinPolicy;
    /// use pinhold::policy::{PinGroup, PolicyError};
    ///
    /// let ca = PinGroup::ca(["sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M="])?;
    /// assert_eq!(PinPolicy::all_of([ca]), Err(PolicyError::NoBackup));
    /// # Ok::<(), PolicyError>(())
    /// ```
    pub fn all_of(groups: impl IntoIterator<Item = PinGroup>) -> Result<Self, PolicyError> {
        let policy = Self::all_of_without_backup(groups)?;
        if !policy.required.has_backup() {
            return Err(PolicyError::NoBackup);
        }
        Ok(policy)
    }

    /// As [`all_of`](Self::all_of), for groups that may have a single pin, with the consequence that
    /// [`without_backup`](Self::without_backup) states.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoPins`] if there is no group.
    pub fn all_of_without_backup(
        groups: impl IntoIterator<Item = PinGroup>,
    ) -> Result<Self, PolicyError> {
        Ok(Self::of_requirement(Requirement::new(groups)?))
    }

    fn of_requirement(required: Requirement) -> Self {
        Self {
            required,
            scope: Scope::default(),
            report_uris: EndpointUris::None,
            expiry: None,
            enforcement: Enforcement::Enforce,
            user_added_roots: None,
            plain_http: None,
            exempt: Vec::new(),
            candidate: None,
            #[cfg(feature = "bundles")]
            bundle: None,
            #[cfg(feature = "bundles")]
            is_fixed: false,
        }
    }

    /// Sets the names that the policy covers. Default: the host alone.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Extends the policy to every subdomain of the host, at any depth: short for
    /// [`Scope::HostAndSubdomains`].
    #[must_use]
    pub fn include_subdomains(self) -> Self {
        self.scope(Scope::HostAndSubdomains)
    }

    /// Exempts a subdomain and every name below it from this policy. Every other policy that covers
    /// the name still applies: pins noted for it, static ones of another host above or below it,
    /// and those of the same host with another scope.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Exemption`] if the name is not a host.
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

    /// Returns a copy with these exemptions only.
    #[cfg(feature = "pin-file")]
    pub(crate) fn with_exemptions(&self, exempt: Vec<Host>) -> Self {
        let mut policy = self.clone();
        policy.exempt = exempt;
        policy
    }

    /// Sets the last second at which the policy is in effect as set, and what happens afterwards.
    /// Without an expiry, a policy is in effect for as long as the application runs.
    #[must_use]
    pub fn expires(mut self, at: impl IntoUnixTime, then: AfterExpiry) -> Self {
        self.expiry = Some((at.into_unix_time(), then));
        self
    }

    /// Sets whether a failed pin check refuses the connection (default) or is only reported.
    #[must_use]
    pub fn enforcement(mut self, enforcement: Enforcement) -> Self {
        self.enforcement = enforcement;
        self
    }

    /// Sets a candidate: a second pin set that is evaluated on every connection, but decides
    /// nothing. Connections that it would refuse are emitted to observers, reported and counted,
    /// so that a faulty set is found before it replaces the enforced one and locks out users.
    ///
    /// The counts are in [`Pinning::rollout`](crate::Pinning::rollout). A policy that is
    /// [`ReportOnly`](Enforcement::ReportOnly) as a whole is evaluated in the same way and needs no
    /// candidate.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Pin`] for a pin that can't be parsed, [`PolicyError::NoPins`] if there is
    /// none.
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
        self.candidate = Some(Requirement::any(PinSet::parse(pins)?));
        Ok(self)
    }

    /// As [`candidate`](Self::candidate), for groups of pins that must all hold.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoPins`] if there is no group.
    pub fn candidate_all_of(
        mut self,
        groups: impl IntoIterator<Item = PinGroup>,
    ) -> Result<Self, PolicyError> {
        self.candidate = Some(Requirement::new(groups)?);
        Ok(self)
    }

    /// Sets whether the pins of this policy are enforced on chains to user-added roots. The default
    /// is the setting of
    /// [`PinningBuilder::user_added_roots`](crate::PinningBuilder::user_added_roots).
    #[must_use]
    pub fn user_added_roots(mut self, choice: UserAddedRoots) -> Self {
        self.user_added_roots = Some(choice);
        self
    }

    /// Sets whether `http://` is allowed to the hosts of this policy while it is enforced, since pins
    /// can't be checked there. The default is the setting of the connector or client. A report-only
    /// policy refuses nothing.
    #[must_use]
    pub fn plain_http(mut self, choice: PlainHttp) -> Self {
        self.plain_http = Some(choice);
        self
    }

    /// Adds an endpoint to which violations of this policy are reported. Each receives every report;
    /// a URI that was added before is added once.
    #[must_use]
    pub fn report_uri(mut self, uri: ReportUri) -> Self {
        self.report_uris = self.report_uris.with(uri);
        self
    }

    /// Returns the pins of all groups, without those of a candidate.
    #[must_use]
    pub fn pins(&self) -> &PinSet {
        &self.required.pins
    }

    /// Returns the groups, each of which must hold: at least one.
    #[must_use]
    pub fn groups(&self) -> Vec<PinGroup> {
        self.required.groups()
    }

    /// Returns the groups of the candidate; empty if there is none.
    #[must_use]
    pub fn candidate_groups(&self) -> Vec<PinGroup> {
        let candidate = self.candidate.as_ref();
        candidate.map_or_else(Vec::new, Requirement::groups)
    }

    /// Returns whether each group has two distinct pins.
    #[must_use]
    pub fn has_backup(&self) -> bool {
        self.required.has_backup()
    }

    /// Returns the names that the policy covers.
    #[must_use]
    pub fn scope_setting(&self) -> Scope {
        self.scope
    }

    /// Returns the last second at which the policy is in effect as set, and what happens afterwards.
    #[must_use]
    pub fn expiry(&self) -> Option<(UnixTime, AfterExpiry)> {
        self.expiry
    }

    /// Returns the subdomains that are exempt.
    #[must_use]
    pub fn exemptions(&self) -> &[Host] {
        &self.exempt
    }

    /// Returns the endpoints for reports.
    #[must_use]
    pub fn report_uris(&self) -> &[ReportUri] {
        self.report_uris.as_slice()
    }

    /// Returns whether a failed pin check refuses.
    #[must_use]
    pub fn enforcement_setting(&self) -> Enforcement {
        self.enforcement
    }

    /// Returns the policy's own setting for user-added roots.
    #[must_use]
    pub fn user_added_roots_setting(&self) -> Option<UserAddedRoots> {
        self.user_added_roots
    }

    /// Returns the policy's own setting for `http://`.
    #[must_use]
    pub fn plain_http_setting(&self) -> Option<PlainHttp> {
        self.plain_http
    }

    /// Returns who set the policy.
    pub(crate) fn source(&self) -> PinSource {
        #[cfg(feature = "bundles")]
        if let Some(version) = self.bundle {
            return PinSource::Bundle(version);
        }
        PinSource::Static
    }

    /// Returns the pins that the roll-out counts refer to: those of the candidate if there is one,
    /// else those of the policy.
    pub(crate) fn rolled_out_pins(&self) -> &Requirement {
        self.candidate.as_ref().unwrap_or(&self.required)
    }

    /// Returns whether the policy or its candidate has several groups that must all hold.
    pub(crate) fn has_several_groups(&self) -> bool {
        let mut both = [Some(&self.required), self.candidate.as_ref()].into_iter();
        both.any(|required| required.is_some_and(Requirement::has_several_groups))
    }

    pub(crate) fn required(&self) -> &Requirement {
        &self.required
    }

    /// Returns the candidate as a report-only policy, with all else taken from `applied`.
    pub(crate) fn apply_candidate(&self, applied: &AppliedPolicy) -> Option<AppliedPolicy> {
        let candidate = self.candidate.clone()?;
        Some(AppliedPolicy {
            pins: candidate.pins,
            groups: candidate.groups,
            state: PolicyState::ReportOnly,
            ..applied.clone()
        })
    }

    /// Returns what a failed pin check means at `now`; `None` if the policy is unpinned by then.
    pub(crate) fn state(&self, now: UnixTime) -> Option<PolicyState> {
        let state = match self.enforcement {
            Enforcement::Enforce => PolicyState::Enforced,
            Enforcement::ReportOnly => PolicyState::ReportOnly,
        };
        // 7469-2.3.3-a: in the second of its expiry a policy is still in effect.
        match self.expiry {
            Some((at, then)) if now > at => match (then, state) {
                (AfterExpiry::Unpin, _) => None,
                (AfterExpiry::Refuse, PolicyState::Enforced) => Some(PolicyState::Expired),
                (AfterExpiry::Refuse | AfterExpiry::ReportOnly, _) => Some(PolicyState::ReportOnly),
            },
            _ => Some(state),
        }
    }

    pub(crate) fn is_expired(&self, now: UnixTime) -> bool {
        self.expiry.is_some_and(|(at, _)| now > at)
    }

    /// Returns the policy as it applies in this state to a name that it covers, with this number of
    /// labels more than `noted_hostname`.
    #[inline]
    pub(crate) fn apply(
        &self,
        noted_hostname: &Host,
        more_labels: usize,
        state: PolicyState,
        default: UserAddedRoots,
    ) -> AppliedPolicy {
        AppliedPolicy {
            noted_hostname: noted_hostname.clone(),
            source: self.source(),
            matched: if more_labels == 0 {
                HostMatch::Congruent
            } else {
                HostMatch::Superdomain
            },
            pins: self.required.pins.clone(),
            groups: self.required.groups.clone(),
            scope: self.scope,
            report_uris: self.report_uris.clone(),
            expires_at: self.expiry.map(|(at, _)| at),
            state,
            user_added_roots: self.user_added_roots.unwrap_or(default),
            plain_http: self.plain_http,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 2] = [
        "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
        "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    ];

    /// Builds the same policy from each kind of collection of these pins and of references to them.
    macro_rules! assert_collections_of {
        ($pins:expr) => {
            let pins: [_; 2] = $pins;
            let expected = PinPolicy::new(TEXTS).unwrap();
            assert_eq!(PinPolicy::new(&pins).as_ref(), Ok(&expected));
            assert_eq!(PinPolicy::new(pins.as_slice()).as_ref(), Ok(&expected));
            let vector = pins.to_vec();
            assert_eq!(PinPolicy::new(&vector).as_ref(), Ok(&expected));
            assert_eq!(PinPolicy::new(vector).as_ref(), Ok(&expected));
            assert_eq!(
                PinPolicy::new(vec![&pins[0], &pins[1]]).as_ref(),
                Ok(&expected)
            );
            assert_eq!(PinPolicy::new(pins).as_ref(), Ok(&expected));
        };
    }

    #[test]
    fn pins_come_in_arrays_slices_and_vectors_of_texts_and_fingerprints() {
        assert_collections_of!(TEXTS);
        assert_collections_of!(TEXTS.map(str::to_owned));
        assert_collections_of!(TEXTS.map(|text| text.parse::<SpkiFingerprint>().unwrap()));
    }

    #[test]
    fn a_pin_may_be_a_pem_text() {
        let key = "-----BEGIN PUBLIC KEY-----\n\
             MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
             -----END PUBLIC KEY-----\n";
        let policy = PinPolicy::new([key, TEXTS[0]]).unwrap();
        let pin = SpkiFingerprint::of_pem(key.as_bytes()).unwrap();
        assert!(policy.pins().contains(&pin));
        let twice = key.repeat(2);
        assert_eq!(
            PinPolicy::new([twice.as_str(), TEXTS[0]]),
            Err(PolicyError::Pin(ParseFingerprintError::PemSections {
                found: 2
            }))
        );
    }
}
