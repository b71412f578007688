//! The policies that apply to a host, and the verdict of each on one validated path.
//!
//! [`Verdicts`] compare the paths of a chain. Decisions, events, counts, violations and reports are
//! made from the [`JudgedPolicies`] of the path that was chosen.

use std::borrow::Borrow;
use std::fmt;

use crate::policy::applied::{AppliedPolicy, HostMatch, PinSource, PolicyState, UserAddedRoots};
use crate::policy::fingerprint::SpkiFingerprint;
use crate::policy::host::Host;
use crate::policy::origin::AnchorOrigin;
use crate::policy::pin_set::PinSet;
use crate::policy::report_uri::EndpointUris;
use crate::policy::scope::Scope;
use crate::policy::timestamp::print_capped;

/// The policies that apply to one host at one moment: at most one static and one noted policy, and
/// the candidate pins of the static one.
///
/// ```
/// use pinhold::{Host, PinPolicy, Pinning};
/// use rustls::pki_types::UnixTime;
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?;
/// let pinning = Pinning::builder().static_pins("example.com", policy).build()?;
/// let policies = pinning.policies(&Host::parse("example.com")?, UnixTime::now());
/// assert_eq!(policies.static_policy.unwrap().pins.len(), 2);
/// assert!(policies.noted.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedPolicies {
    /// The policy that the application set.
    pub static_policy: Option<AppliedPolicy>,
    /// The policy noted from `Public-Key-Pins`.
    pub noted: Option<AppliedPolicy>,
    /// The candidate pins of the static policy, see
    /// [`PinPolicy::candidate`](crate::PinPolicy::candidate).
    pub candidate: Option<AppliedPolicy>,
    /// The [fixed](crate::PinPolicy::fixed) policy of the application, if a pin bundle has replaced
    /// its static policy.
    #[cfg(feature = "bundles")]
    pub fixed: Option<AppliedPolicy>,
    /// The keys that no validated chain may contain, whatever the policies say.
    pub refused_keys: Option<PinSet>,
}

impl AppliedPolicies {
    /// Returns whether nothing depends on the keys of a chain: no policy applies, and no keys are
    /// refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none() && self.refused_keys.is_none()
    }

    /// Returns the policies in this order: static, noted, candidate, fixed.
    pub fn iter(&self) -> impl Iterator<Item = &AppliedPolicy> {
        self.all().into_iter().flatten()
    }

    fn all(&self) -> [Option<&AppliedPolicy>; COUNT] {
        [
            self.static_policy.as_ref(),
            self.noted.as_ref(),
            self.candidate.as_ref(),
            #[cfg(feature = "bundles")]
            self.fixed.as_ref(),
        ]
    }

    /// Evaluates each policy independently on a path with these keys to an anchor of this origin
    /// (D-05: static and noted pins must both pass).
    pub(crate) fn judge(&self, keys: &[SpkiFingerprint], origin: AnchorOrigin) -> Verdicts {
        Verdicts {
            of_policies: self.verdicts(|policy| policy.judge(keys, origin)),
            has_refused_key: refused(self.refused_keys.as_ref(), keys).next().is_some(),
        }
    }

    /// As [`judge`](Self::judge), for a path without refused keys whose other keys are not known.
    pub(crate) fn judge_match(&self, keys: KeyMatch, origin: AnchorOrigin) -> Verdicts {
        let is_match = keys == KeyMatch::PinnedKey;
        Verdicts {
            of_policies: self.verdicts(|policy| policy.verdict(origin, |_| is_match)),
            has_refused_key: false,
        }
    }

    /// Returns the verdict of each policy. A loop, since `map` of an array is not inlined.
    #[inline]
    fn verdicts(&self, judge: impl Fn(&AppliedPolicy) -> Verdict) -> [Option<Verdict>; COUNT] {
        let mut verdicts = [None; COUNT];
        for (verdict, policy) in verdicts.iter_mut().zip(self.all()) {
            *verdict = policy.map(&judge);
        }
        verdicts
    }

    /// Returns each policy with its verdict on a path, as [`judge`](Self::judge) does.
    pub(crate) fn judged(
        self,
        keys: &[SpkiFingerprint],
        origin: AnchorOrigin,
    ) -> JudgedPolicies<AppliedPolicy> {
        let policies = [
            self.static_policy,
            self.noted,
            self.candidate,
            #[cfg(feature = "bundles")]
            self.fixed,
        ];
        JudgedPolicies::new(policies, self.refused_keys.as_ref(), keys, origin)
    }

    /// As [`judged`](Self::judged), without a copy of the policies.
    pub(crate) fn judged_ref(
        &self,
        keys: &[SpkiFingerprint],
        origin: AnchorOrigin,
    ) -> JudgedPolicies<&AppliedPolicy> {
        JudgedPolicies::new(self.all(), self.refused_keys.as_ref(), keys, origin)
    }
}

/// Returns the keys of a path that are refused.
fn refused<'a>(
    list: Option<&'a PinSet>,
    keys: &'a [SpkiFingerprint],
) -> impl Iterator<Item = SpkiFingerprint> + 'a {
    let list = list.into_iter();
    list.flat_map(move |list| keys.iter().filter(|key| list.contains(key)).copied())
}

impl AppliedPolicy {
    #[inline]
    fn judge(&self, keys: &[SpkiFingerprint], origin: AnchorOrigin) -> Verdict {
        self.verdict(origin, |policy| policy.matches(keys))
    }

    /// Returns the verdict on a path, of which `matches` returns whether it satisfies the pins.
    #[inline]
    fn verdict(&self, origin: AnchorOrigin, matches: impl FnOnce(&Self) -> bool) -> Verdict {
        #[cfg(pinhold_debug_overrides)]
        if origin == AnchorOrigin::DebugOverride {
            return Verdict::Skip;
        }
        let skips =
            origin == AnchorOrigin::UserAdded && self.user_added_roots == UserAddedRoots::SkipPins;
        match self.state {
            // A policy that expired with "refuse" refuses every chain: there is no pin validation
            // that a user-added root could skip.
            PolicyState::Expired => Verdict::Refuse,
            _ if matches(self) => Verdict::Pass,
            PolicyState::Enforced if skips => Verdict::Skip,
            PolicyState::Enforced => Verdict::Refuse,
            PolicyState::ReportOnly if skips => Verdict::SkipReportOnly,
            PolicyState::ReportOnly => Verdict::WouldRefuse,
        }
    }
}

impl AppliedPolicy {
    /// Returns a phrase for messages: who set the pins, for which names, and when they expire.
    pub(crate) fn provenance(&self) -> impl fmt::Display {
        #[cfg(feature = "bundles")]
        let of_bundle;
        let source = match self.source {
            #[cfg(feature = "bundles")]
            PinSource::Bundle(version) => {
                of_bundle = format!("set by pin bundle {version}");
                &of_bundle
            }
            PinSource::Noted => "noted from a Public-Key-Pins header",
            PinSource::RefusedKeys => "refused by the application",
            PinSource::Static => "set by the application",
        };
        let (before, after) = match self.scope {
            Scope::Host => ("", ""),
            Scope::HostAndSubdomains => ("", " and its subdomains"),
            Scope::OneLabel => ("names of one label below ", ""),
            Scope::Subdomains => ("the subdomains of ", ""),
        };
        let until = match self.expires_at {
            Some(expiry) => format!(", until {}", print_capped(expiry)),
            None => String::new(),
        };
        format!("{source} for {before}{}{after}{until}", self.noted_hostname)
    }
}

/// Whether the keys of a chain satisfy the pins of a host.
///
/// ```
/// use pinhold::policy::KeyMatch;
///
/// assert_ne!(KeyMatch::PinnedKey, KeyMatch::NoPinnedKey);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyMatch {
    /// They satisfy the pins of no policy.
    NoPinnedKey,
    /// They satisfy the pins of each policy.
    PinnedKey,
}

/// What one policy decides about one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The path satisfies the pins.
    Pass,
    /// The path does not satisfy the pins, or the policy has expired with "refuse".
    Refuse,
    /// The path does not satisfy the pins and ends in a user-added root, for which they are
    /// skipped.
    Skip,
    /// The same as [`Skip`](Self::Skip), for a report-only policy.
    SkipReportOnly,
    /// The path does not satisfy the pins, and the policy is report-only.
    WouldRefuse,
}

/// The verdict of each policy of a host on one path, without the policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    of_policies: [Option<Verdict>; COUNT],
    has_refused_key: bool,
}

impl Verdicts {
    pub(crate) fn has(self, verdict: Verdict) -> bool {
        if self.has_refused_key && verdict == Verdict::Refuse {
            return true;
        }
        self.of_policies.contains(&Some(verdict))
    }

    pub(crate) fn refuses(self) -> bool {
        self.has(Verdict::Refuse)
    }

    /// Returns a rank, the least of which is preferred: a path that passes, then one whose pins are
    /// skipped, then a refused one. Of equals the one with the better anchor origin is preferred,
    /// of these the one that fails no report-only policy.
    pub(crate) fn rank(self, origin: AnchorOrigin) -> (bool, bool, AnchorOrigin, bool) {
        (
            self.refuses(),
            self.has(Verdict::Skip),
            origin,
            self.has(Verdict::WouldRefuse),
        )
    }
}

/// The number of policies that may apply to one host: static, noted, candidate, and fixed.
const COUNT: usize = if cfg!(feature = "bundles") { 4 } else { 3 };

/// The policies of a host, each with its verdict on one path: static, noted, candidate, fixed. There is no
/// verdict without its policy, so that every refusal can name the policy that refuses.
pub(crate) struct JudgedPolicies<P> {
    policies: [Option<(P, Verdict)>; COUNT],
    /// The keys of the path that are refused, whatever the policies say.
    refused_keys: Option<PinSet>,
}

impl<P: Borrow<AppliedPolicy>> JudgedPolicies<P> {
    fn new(
        policies: [Option<P>; COUNT],
        refused_keys: Option<&PinSet>,
        keys: &[SpkiFingerprint],
        origin: AnchorOrigin,
    ) -> Self {
        let judge = |policy: P| {
            let verdict = policy.borrow().judge(keys, origin);
            (policy, verdict)
        };
        Self {
            policies: policies.map(|policy| policy.map(judge)),
            refused_keys: PinSet::new(refused(refused_keys, keys)).ok(),
        }
    }

    /// Returns the refused keys in the path of `host`, in the form of a policy that failed.
    pub(crate) fn refused_keys(&self, host: &Host) -> Option<AppliedPolicy> {
        Some(AppliedPolicy {
            noted_hostname: host.clone(),
            source: PinSource::RefusedKeys,
            matched: HostMatch::Congruent,
            pins: self.refused_keys.clone()?,
            groups: None,
            scope: Scope::Host,
            report_uris: EndpointUris::None,
            expires_at: None,
            state: PolicyState::Enforced,
            user_added_roots: UserAddedRoots::EnforcePins,
            plain_http: None,
        })
    }

    /// Returns the policies with this verdict.
    pub(crate) fn with(&self, verdict: Verdict) -> impl Iterator<Item = &AppliedPolicy> {
        let judged = self.policies.iter().flatten();
        let with = judged.filter(move |(_, found)| *found == verdict);
        with.map(|(policy, _)| policy.borrow())
    }

    pub(crate) fn has(&self, verdict: Verdict) -> bool {
        let has_refused_key = verdict == Verdict::Refuse && self.refused_keys.is_some();
        has_refused_key || self.with(verdict).next().is_some()
    }

    /// Returns the policies of the application with their verdicts: the static and the fixed one.
    #[cfg(feature = "health")]
    pub(crate) fn own(&self) -> impl Iterator<Item = (&AppliedPolicy, Verdict)> {
        let [static_policy, _, _, fixed @ ..] = &self.policies;
        let own = std::iter::once(static_policy).chain(fixed).flatten();
        own.map(|(policy, verdict)| (policy.borrow(), *verdict))
    }

    /// Returns the candidate with its verdict.
    #[cfg(feature = "health")]
    pub(crate) fn candidate(&self) -> Option<(&AppliedPolicy, Verdict)> {
        let [_, _, candidate, ..] = &self.policies;
        let (policy, verdict) = candidate.as_ref()?;
        Some((policy.borrow(), *verdict))
    }

    /// Returns the verdict of the pins that are being rolled out: the candidate's, else the static
    /// ones.
    pub(crate) fn rolled_out(&self) -> Option<Verdict> {
        let [static_policy, _, candidate, ..] = &self.policies;
        let (_, verdict) = candidate.as_ref().or(static_policy.as_ref())?;
        Some(*verdict)
    }
}
