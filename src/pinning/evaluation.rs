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

    /// Evaluates the policies on a chain.
    pub(crate) fn evaluate(self, host: &Host, chain: &ValidatedChain, now: UnixTime) -> Evaluation {
        // For a host without policies no key is hashed.
        let verdicts = if self.applied.is_empty() {
            Verdicts::default()
        } else {
            let (keys, origin) = (chain.fingerprints(), chain.anchor_origin());
            self.applied.judge(keys, origin)
        };
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

    /// Combines the verdicts of all policies. In this order: refused if any policy refuses, skipped
    /// if the pins of an enforced policy are skipped, report-only if a report-only policy would
    /// refuse, passed if any policy passes.
    pub(crate) fn decision(&self) -> Decision {
        if let Some(violation) = self.violation(Verdict::Refuse) {
            return Decision::Refuse(violation);
        }
        if self.verdicts.has(Verdict::Skip) {
            return Decision::Skipped;
        }
        if let Some(violation) = self.violation(Verdict::WouldRefuse) {
            return Decision::ReportOnly(violation);
        }
        if self.verdicts.has(Verdict::Pass) {
            return Decision::Pass;
        }
        if self.verdicts.has(Verdict::SkipReportOnly) {
            return Decision::Skipped;
        }
        Decision::NotPinned
    }

    /// Returns the violation of the policies with this verdict, if there are any.
    pub(crate) fn violation(&self, verdict: Verdict) -> Option<PinViolation> {
        let roles = self.verdicts.with(verdict);
        let mut failed = roles.filter_map(|role| self.policies.applied.get(role).cloned());
        let first = failed.next()?;
        let (host, chain) = (self.host.clone()?, self.chain.clone());
        let others = failed.collect();
        Some(PinViolation::new(host, first, others, chain, self.at))
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
