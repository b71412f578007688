//! [`Outcome`], what the policies of a host decide about a kind of chain, and the order in which their
//! verdicts are combined.

use std::fmt;

use crate::policy::judgement::{AppliedPolicies, KeyMatch, Verdict};
use crate::policy::origin::AnchorOrigin;

/// What the pins of a host decide about every chain of one kind: a [`Decision`](crate::Decision)
/// without the facts of a connection.
///
/// ```
/// use pinhold::policy::Outcome;
///
/// assert_eq!(Outcome::Refuse.to_string(), "refuse");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// No policy applies.
    NotPinned,
    /// The chain satisfies the pins of every policy.
    Pass,
    /// The connection is refused.
    Refuse,
    /// The connection is used, and reported as one that would be refused.
    ReportOnly,
    /// The pins are skipped.
    Skip,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotPinned => "not pinned",
            Self::Pass => "pass",
            Self::Refuse => "refuse",
            Self::ReportOnly => "report",
            Self::Skip => "skip",
        })
    }
}

/// The combination of the verdicts of all policies, with a violation where policies fail.
pub(crate) enum Combined<V> {
    NotPinned,
    Pass,
    Refuse(V),
    ReportOnly(V),
    Skip,
}

impl<V> Combined<V> {
    /// Combines the verdicts of all policies, in this order: refused if any policy refuses, skipped
    /// if the pins of an enforced policy are skipped, report-only if a report-only policy would
    /// refuse, passed if any policy passes. `failed` returns a violation exactly if `has` is true.
    #[inline]
    pub(crate) fn of(failed: impl Fn(Verdict) -> Option<V>, has: impl Fn(Verdict) -> bool) -> Self {
        if let Some(violation) = failed(Verdict::Refuse) {
            return Self::Refuse(violation);
        }
        if !has(Verdict::Skip)
            && let Some(violation) = failed(Verdict::WouldRefuse)
        {
            return Self::ReportOnly(violation);
        }
        Self::without_violation(has)
    }

    /// Returns the combination where no policy is violated, or only report-only ones beside a skipped
    /// one.
    #[inline]
    pub(crate) fn without_violation(has: impl Fn(Verdict) -> bool) -> Self {
        if has(Verdict::Skip) {
            return Self::Skip;
        }
        if has(Verdict::Pass) {
            return Self::Pass;
        }
        if has(Verdict::SkipReportOnly) {
            return Self::Skip;
        }
        Self::NotPinned
    }
}

impl AppliedPolicies {
    /// Returns what these policies decide about a valid chain to an anchor of this origin whose keys
    /// satisfy the pins of all of them, or of none. Refused keys are not considered.
    ///
    /// ```
    /// use pinhold::policy::{KeyMatch, Outcome};
    /// use pinhold::roots::AnchorOrigin;
    /// use pinhold::{Host, PinPolicy, Pinning};
    /// use rustls::pki_types::UnixTime;
    ///
    /// let policy = PinPolicy::new([
    ///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
    ///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    /// ])?;
    /// let pinning = Pinning::builder().static_pins("example.com", policy).build()?;
    /// let policies = pinning.policies(&Host::parse("example.com")?, UnixTime::now());
    /// let outcome = |origin| policies.outcome(KeyMatch::NoPinnedKey, origin);
    /// assert_eq!(outcome(AnchorOrigin::BuiltIn), Outcome::Refuse);
    /// assert_eq!(outcome(AnchorOrigin::UserAdded), Outcome::Skip);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn outcome(&self, keys: KeyMatch, origin: AnchorOrigin) -> Outcome {
        let verdicts = self.judge_match(keys, origin);
        let has = |verdict| verdicts.has(verdict);
        match Combined::of(|verdict| has(verdict).then_some(()), has) {
            Combined::NotPinned => Outcome::NotPinned,
            Combined::Pass => Outcome::Pass,
            Combined::Refuse(()) => Outcome::Refuse,
            Combined::ReportOnly(()) => Outcome::ReportOnly,
            Combined::Skip => Outcome::Skip,
        }
    }
}
