//! One evaluation of the pins of a host on a validated chain.
//!
//! A handshake, a resumption, a noted header and a change of pins lead to one [`Evaluation`] each.
//! The decision, the events, the counts, the violation and the report are made from that value, so
//! they always refer to the same pins.

use std::borrow::Borrow;
use std::sync::Arc;

#[cfg(feature = "bundles")]
use rustls_pki_types::CertificateDer;
use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::pinning::rollout::Tally;
use crate::policy::{
    AppliedPolicies, AppliedPolicy, Combined, Host, JudgedPolicies, PlainHttp, PolicyState, Verdict,
};
use crate::violation::{PinViolation, UnpinnedHost};

/// The policies of a host as they were looked up, with the counts of the static one.
#[derive(Default)]
pub(crate) struct Policies {
    pub(crate) applied: AppliedPolicies,
    /// The counts of the pins that are rolled out: those of the candidate, else of the static
    /// policy.
    pub(crate) tally: Option<Arc<Tally>>,
    /// The host, if no enforced static policy covers it and that matters to the application.
    pub(crate) unpinned: Option<UnpinnedHost>,
    /// Certificates of a pin bundle by which paths can be built, too.
    #[cfg(feature = "bundles")]
    pub(crate) intermediates: Option<Arc<[CertificateDer<'static>]>>,
}

impl Policies {
    /// Returns the host if connections to it are refused because it is unpinned.
    pub(crate) fn refused_as_unpinned(&self) -> Option<&UnpinnedHost> {
        self.unpinned.as_ref().filter(|host| host.is_refused())
    }

    /// Returns whether a policy applies that is enforced and does not allow `http://`, or one that
    /// has expired with "refuse".
    /// `default` is for policies without a setting of their own.
    pub(crate) fn refuses_plain_http(&self, default: PlainHttp) -> bool {
        let mut policies = self.applied.iter();
        policies.any(|policy| {
            let setting = policy.plain_http.unwrap_or(default);
            match policy.state {
                PolicyState::Enforced => setting == PlainHttp::Refuse,
                PolicyState::Expired => true,
                PolicyState::ReportOnly => false,
            }
        })
    }

    /// Returns the decision on a chain, without the copies that only events and counts need.
    pub(crate) fn decide(&self, host: &Host, chain: &ValidatedChain, now: UnixTime) -> Decision {
        if self.applied.is_empty() {
            return Decision::NotPinned;
        }
        let (keys, origin) = (chain.fingerprints(), chain.anchor_origin());
        let verdicts = self.applied.judge(keys, origin);
        if verdicts.has(Verdict::Refuse) || verdicts.has(Verdict::WouldRefuse) {
            let judged = self.applied.judged_ref(keys, origin);
            return Decision::of(&judged, Some(host), chain, now);
        }
        Combined::without_violation(|verdict| verdicts.has(verdict)).into()
    }

    /// Evaluates the pins on a chain. `host` is `None` for an IP address.
    pub(crate) fn evaluate(
        self,
        host: Option<Host>,
        chain: ValidatedChain,
        now: UnixTime,
    ) -> Evaluation {
        // For a host without policies no key is hashed.
        let keys = if self.applied.is_empty() {
            &[]
        } else {
            chain.fingerprints()
        };
        Evaluation {
            host,
            judged: self.applied.judged(keys, chain.anchor_origin()),
            tally: self.tally,
            unpinned: self.unpinned,
            chain,
            at: now,
        }
    }
}

/// The policies of a host with their verdicts on a chain, and what they were made from.
pub(crate) struct Evaluation {
    host: Option<Host>,
    judged: JudgedPolicies<AppliedPolicy>,
    tally: Option<Arc<Tally>>,
    unpinned: Option<UnpinnedHost>,
    chain: ValidatedChain,
    at: UnixTime,
}

impl Evaluation {
    pub(crate) fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    pub(crate) fn chain(&self) -> &ValidatedChain {
        &self.chain
    }

    /// Returns the policies of the application with their verdicts.
    #[cfg(feature = "health")]
    pub(crate) fn own_policies(&self) -> impl Iterator<Item = (&AppliedPolicy, Verdict)> {
        self.judged.own()
    }

    /// Returns the candidate with its verdict, unless its pins are those of the static policy, by
    /// which they are recorded.
    #[cfg(feature = "health")]
    pub(crate) fn candidate(&self) -> Option<(&AppliedPolicy, Verdict)> {
        let (candidate, verdict) = self.judged.candidate()?;
        let is_own = |(own, _): (&AppliedPolicy, _)| own.has_same_pins(candidate);
        (!self.judged.own().any(is_own)).then_some((candidate, verdict))
    }

    #[cfg(any(feature = "bundles", feature = "health", feature = "hyper"))]
    pub(crate) fn at(&self) -> UnixTime {
        self.at
    }

    /// Returns whether the connection is refused, by pins or because its host is unpinned.
    pub(crate) fn is_refused(&self) -> bool {
        self.judged.has(Verdict::Refuse) || self.refused_as_unpinned().is_some()
    }

    /// Returns the host if no enforced static policy covers it and that matters.
    pub(crate) fn unpinned(&self) -> Option<&UnpinnedHost> {
        self.unpinned.as_ref()
    }

    /// Returns the host if the connection is refused because it is unpinned. This is no part of the
    /// decision, which is about the chain.
    pub(crate) fn refused_as_unpinned(&self) -> Option<&UnpinnedHost> {
        self.unpinned.as_ref().filter(|host| host.is_refused())
    }

    /// Marks the chain as one of a completed handshake.
    #[cfg(any(feature = "health", feature = "hyper"))]
    pub(crate) fn after_handshake(mut self) -> Self {
        self.chain = self.chain.after_handshake();
        self
    }

    /// Returns the decision that the verdicts lead to.
    pub(crate) fn decision(&self) -> Decision {
        Decision::of(&self.judged, self.host.as_ref(), &self.chain, self.at)
    }

    /// Returns the violation of the report-only policies that the chain fails, if there are any.
    pub(crate) fn would_be_violation(&self) -> Option<PinViolation> {
        let host = self.host.as_ref();
        violation(
            &self.judged,
            Verdict::WouldRefuse,
            host,
            &self.chain,
            self.at,
        )
    }

    /// Adds the connection to the counts of the pins that are rolled out, unless they were skipped.
    pub(crate) fn count(&self) {
        let Some(tally) = &self.tally else {
            return;
        };
        let passed = match self.judged.rolled_out() {
            Some(Verdict::Pass) => true,
            Some(Verdict::Refuse | Verdict::WouldRefuse) => false,
            Some(Verdict::Skip | Verdict::SkipReportOnly) | None => return,
        };
        tally.count(self.chain.fingerprints(), passed, self.at);
    }
}

/// Returns the violation of the policies with this verdict: one exactly if there are any, so that
/// no refusal depends on anything else.
fn violation<P: Borrow<AppliedPolicy>>(
    judged: &JudgedPolicies<P>,
    verdict: Verdict,
    host: Option<&Host>,
    chain: &ValidatedChain,
    now: UnixTime,
) -> Option<PinViolation> {
    let host = match host {
        Some(host) => host.clone(),
        None => Host::of_address(chain.server_name()),
    };
    let mut failed = judged.with(verdict).cloned();
    let refused_keys = match verdict {
        Verdict::Refuse => judged.refused_keys(&host),
        _ => None,
    };
    let first = match refused_keys {
        Some(refused_keys) => refused_keys,
        None => failed.next()?,
    };
    let others = failed.collect();
    Some(PinViolation::new(host, first, others, chain.clone(), now))
}

/// What the pins decide about a validated chain.
///
/// ```
/// use pinhold::Decision;
///
/// fn describe(decision: &Decision) -> String {
///     match decision {
///         Decision::Refuse(violation) => format!("refused: {violation}"),
///         Decision::ReportOnly(violation) => format!("not refused, but reported: {violation}"),
///         Decision::Skipped => "not checked: the root was added by the user".to_owned(),
///         _ => "no objection".to_owned(),
///     }
/// }
/// # assert_eq!(describe(&Decision::Pass), "no objection");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Decision {
    /// No policy applies.
    NotPinned,
    /// The chain satisfies the pins of every policy.
    Pass,
    /// The chain does not satisfy the pins of an enforced policy, an enforced policy has expired with
    /// "refuse", or the chain contains a refused key: the connection must be closed.
    Refuse(PinViolation),
    /// The chain does not satisfy the pins of a report-only policy, and of no other: the connection
    /// is used.
    ReportOnly(PinViolation),
    /// The chain ends in a user-added root, and the policy skips its pins there.
    Skipped,
}

impl Decision {
    #[inline]
    fn of<P: Borrow<AppliedPolicy>>(
        judged: &JudgedPolicies<P>,
        host: Option<&Host>,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Self {
        let failed = |verdict| violation(judged, verdict, host, chain, now);
        Combined::of(failed, |verdict| judged.has(verdict)).into()
    }
}

impl From<Combined<PinViolation>> for Decision {
    #[inline]
    fn from(combined: Combined<PinViolation>) -> Self {
        match combined {
            Combined::NotPinned => Self::NotPinned,
            Combined::Pass => Self::Pass,
            Combined::Refuse(violation) => Self::Refuse(violation),
            Combined::ReportOnly(violation) => Self::ReportOnly(violation),
            Combined::Skip => Self::Skipped,
        }
    }
}
