//! [`PinPolicy`], the static pins that an application sets for a host, and the types of its
//! settings.

use rustls_pki_types::UnixTime;

use crate::policy::applied::{AppliedPolicy, HostMatch, PinSource, PolicyState, UserAddedRoots};
use crate::policy::fingerprint::SpkiFingerprint;
use crate::policy::fingerprint_error::ParseFingerprintError;
use crate::policy::host::{Host, HostError};
use crate::policy::pin_set::{PinSet, PolicyError};
use crate::policy::report_uri::ReportUri;
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
        if policy.pins.len() < 2 {
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
        Ok(Self {
            pins: PinSet::parse(pins)?,
            includes_subdomains: false,
            report_uri: None,
            expiry: None,
            enforcement: Enforcement::Enforce,
            user_added_roots: None,
            exempt: Vec::new(),
            candidate: None,
        })
    }

    /// Extends the policy to every subdomain of the host, at any depth.
    #[must_use]
    pub fn include_subdomains(mut self) -> Self {
        self.includes_subdomains = true;
        self
    }

    /// Exempts a subdomain and every name below it from this policy. Every other policy that covers
    /// the name still applies: pins noted for it, and static ones of another host above or below
    /// it.
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
        self.candidate = Some(PinSet::parse(pins)?);
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

    /// Sets where violations of this policy are to be reported.
    #[must_use]
    pub fn report_uri(mut self, uri: ReportUri) -> Self {
        self.report_uri = Some(uri);
        self
    }

    /// Returns the pins, without those of a candidate.
    #[must_use]
    pub fn pins(&self) -> &PinSet {
        &self.pins
    }

    /// Returns the pins that the roll-out counts refer to: those of the candidate if there is one,
    /// else those of the policy.
    pub(crate) fn rolled_out_pins(&self) -> &PinSet {
        self.candidate.as_ref().unwrap_or(&self.pins)
    }

    /// Returns the candidate as a report-only policy, with all else taken from `applied`.
    pub(crate) fn apply_candidate(&self, applied: &AppliedPolicy) -> Option<AppliedPolicy> {
        Some(AppliedPolicy {
            pins: self.candidate.clone()?,
            state: PolicyState::ReportOnly,
            ..applied.clone()
        })
    }

    /// Returns the last second before the policy ends or changes its state.
    pub(crate) fn expiry_time(&self) -> Option<UnixTime> {
        self.expiry.map(|(at, _)| at)
    }

    pub(crate) fn covers_subdomains(&self) -> bool {
        self.includes_subdomains
    }

    pub(crate) fn exemptions(&self) -> &[Host] {
        &self.exempt
    }

    /// Returns the policy as it applies at `now` to a name that matches `noted_hostname`, or `None`
    /// if it is unpinned by then or does not cover subdomains.
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
        // 7469-2.3.3-a: in the second of its expiry a policy is still in effect.
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

/// Whether a failed pin check refuses the connection.
///
/// ```
/// use pinhold::{Enforcement, PinPolicy};
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?
/// .enforcement(Enforcement::ReportOnly);
/// # Ok::<(), pinhold::policy::PolicyError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Enforcement {
    /// A connection whose validated chain contains no pinned key is refused.
    #[default]
    Enforce,
    /// The connection is used. The decision, observers and reports show that it would have been
    /// refused.
    ReportOnly,
}

/// What happens to a static policy after its expiry.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use pinhold::PinPolicy;
/// use pinhold::policy::AfterExpiry;
///
/// let in_a_year = SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60);
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?
/// .expires(in_a_year, AfterExpiry::ReportOnly);
/// # Ok::<(), pinhold::policy::PolicyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AfterExpiry {
    /// Every connection is refused until the application is updated.
    Refuse,
    /// Failed pin checks are reported and no longer refuse.
    ReportOnly,
    /// The policy no longer applies, as if it had never been set.
    Unpin,
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
