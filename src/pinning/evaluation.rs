//! One evaluation of the pins of a host on a validated chain.
//!
//! A handshake, a resumption, a noted header and a change of pins lead to one [`Evaluation`] each.
//! The decision, the events, the counts, the violation and the report are made from that value, so
//! they always refer to the same pins.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::pinning::rollout::Tally;
#[cfg(feature = "hyper")]
use crate::policy::PolicyState;
use crate::policy::{AppliedPolicies, Host, Verdict, Verdicts};
use crate::violation::PinViolation;

/// The policies of a host as they were looked up, with the counts of the static one.
#[derive(Default)]
pub(crate) struct Policies {
    pub(crate) applied: AppliedPolicies,
    /// The counts of the pins that are rolled out: those of the candidate, else of the static
    /// policy.
    pub(crate) tally: Option<Arc<Tally>>,
}

impl Policies {
    /// Returns whether a policy applies that can refuse.
    #[cfg(feature = "hyper")]
    pub(crate) fn is_enforced(&self) -> bool {
        let mut policies = self.applied.iter();
        policies.any(|policy| policy.state != PolicyState::ReportOnly)
    }

    /// Evaluates each policy on a chain.
    fn judge(&self, chain: &ValidatedChain) -> Verdicts {
        // For a host without policies no key is hashed.
        if self.applied.is_empty() {
            return Verdicts::default();
        }
        self.applied
            .judge(chain.fingerprints(), chain.anchor_origin())
    }

    /// Returns the decision on a chain, without the copies that only events and counts need.
    pub(crate) fn decide(&self, host: &Host, chain: &ValidatedChain, now: UnixTime) -> Decision {
        let verdicts = self.judge(chain);
        Decision::of(verdicts, |verdict| {
            self.violation(verdicts, verdict, host, chain, now)
        })
    }

    /// Returns the violation of the policies with this verdict, if there are any.
    fn violation(
        &self,
        verdicts: Verdicts,
        verdict: Verdict,
        host: &Host,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Option<PinViolation> {
        let roles = verdicts.with(verdict);
        let mut failed = roles.filter_map(|role| self.applied.get(role).cloned());
        let first = failed.next()?;
        let (host, chain) = (host.clone(), chain.clone());
        Some(PinViolation::new(host, first, failed.collect(), chain, now))
    }

    /// Evaluates the pins on a chain.
    pub(crate) fn evaluate(self, host: &Host, chain: &ValidatedChain, now: UnixTime) -> Evaluation {
        let verdicts = self.judge(chain);
        self.with_verdicts(Some(host.clone()), verdicts, chain.clone(), now)
    }

    /// Combines the policies with the verdicts that path building has made by them. `host` is
    /// `None` for an IP address.
    pub(crate) fn with_verdicts(
        self,
        host: Option<Host>,
        verdicts: Verdicts,
        chain: ValidatedChain,
        now: UnixTime,
    ) -> Evaluation {
        Evaluation {
            host,
            policies: self,
            verdicts,
            chain,
            at: now,
        }
    }
}

/// The verdicts of a host's policies on a chain, and what they were made from.
pub(crate) struct Evaluation {
    host: Option<Host>,
    policies: Policies,
    verdicts: Verdicts,
    chain: ValidatedChain,
    at: UnixTime,
}

impl Evaluation {
    pub(crate) fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn chain(&self) -> &ValidatedChain {
        &self.chain
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn at(&self) -> UnixTime {
        self.at
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.verdicts.refuses()
    }

    /// Marks the chain as one of a completed handshake.
    #[cfg(feature = "hyper")]
    pub(crate) fn after_handshake(mut self) -> Self {
        self.chain = self.chain.after_handshake();
        self
    }

    /// Returns the decision that the verdicts lead to.
    pub(crate) fn decision(&self) -> Decision {
        Decision::of(self.verdicts, |verdict| self.violation(verdict))
    }

    /// Returns the violation of the policies with this verdict, if there are any.
    pub(crate) fn violation(&self, verdict: Verdict) -> Option<PinViolation> {
        let host = self.host.as_ref()?;
        self.policies
            .violation(self.verdicts, verdict, host, &self.chain, self.at)
    }

    /// Adds the connection to the counts of the pins that are rolled out, unless they were skipped.
    pub(crate) fn count(&self) {
        let Some(tally) = &self.policies.tally else {
            return;
        };
        let verdict = self.verdicts.get(self.policies.applied.rolled_out());
        let passed = match verdict {
            Some(Verdict::Pass) => true,
            Some(Verdict::Refuse | Verdict::WouldRefuse) => false,
            Some(Verdict::Skip | Verdict::SkipReportOnly) | None => return,
        };
        tally.count(self.chain.fingerprints(), passed, self.at);
    }
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
    /// The chain contains a pinned key of every enforced policy, and fails no report-only policy.
    Pass,
    /// For an enforced policy, the chain contains no pinned key, or the policy has expired with
    /// "refuse": the connection must be closed.
    Refuse(PinViolation),
    /// Only for a report-only policy, the chain contains no pinned key: the connection is used.
    ReportOnly(PinViolation),
    /// The chain ends in a user-added root, and the policy skips its pins there.
    Skipped,
}

impl Decision {
    /// Combines the verdicts of all policies, in this order: refused if any policy refuses, skipped
    /// if the pins of an enforced policy are skipped, report-only if a report-only policy would
    /// refuse, passed if any policy passes.
    #[inline]
    fn of(verdicts: Verdicts, violation: impl Fn(Verdict) -> Option<PinViolation>) -> Self {
        let failed = |verdict| {
            let has_verdict = verdicts.has(verdict);
            has_verdict.then(|| violation(verdict)).flatten()
        };
        if let Some(violation) = failed(Verdict::Refuse) {
            return Self::Refuse(violation);
        }
        if verdicts.has(Verdict::Skip) {
            return Self::Skipped;
        }
        if let Some(violation) = failed(Verdict::WouldRefuse) {
            return Self::ReportOnly(violation);
        }
        if verdicts.has(Verdict::Pass) {
            return Self::Pass;
        }
        if verdicts.has(Verdict::SkipReportOnly) {
            return Self::Skipped;
        }
        Self::NotPinned
    }
}
