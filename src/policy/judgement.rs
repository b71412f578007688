//! The policies that apply to a host, and their verdicts on one validated path.

use crate::policy::applied::{AppliedPolicy, PolicyState, UserAddedRoots};
use crate::policy::fingerprint::SpkiFingerprint;
use crate::policy::origin::AnchorOrigin;

/// The policies that apply to one host at one moment: at most one static and one noted, and the
/// candidate beside the static one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedPolicies {
    /// What the application set.
    pub static_policy: Option<AppliedPolicy>,
    /// What the server asked for.
    pub noted: Option<AppliedPolicy>,
    /// What the application tries, see [`PinPolicy::candidate`](crate::PinPolicy::candidate).
    pub candidate: Option<AppliedPolicy>,
}

impl AppliedPolicies {
    /// Whether no policy applies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The policies, the application's first, a candidate last.
    pub fn iter(&self) -> impl Iterator<Item = &AppliedPolicy> {
        let decisive = self.static_policy.iter().chain(&self.noted);
        decisive.chain(&self.candidate)
    }

    /// Judges each policy alone (D-05): refuse if any refuses, else skipped if any was skipped,
    /// else pass. Report-only policies decide between paths that are equal otherwise, no more.
    pub(crate) fn judge(&self, keys: &[SpkiFingerprint], origin: AnchorOrigin) -> Judgement<'_> {
        let mut judgement = Judgement::default();
        #[cfg(pinhold_debug_overrides)]
        if origin == AnchorOrigin::DebugOverride {
            judgement.skipped = !self.is_empty();
            return judgement;
        }
        for policy in self.iter() {
            let skips = skips(policy, origin);
            let matches = policy.pins.matches(keys);
            match policy.state {
                // Expired with "refuse" is not a pin validation that a user-added root could skip.
                PolicyState::Expired => judgement.refused_by.get_or_insert(policy),
                _ if matches => {
                    judgement.passed = true;
                    continue;
                }
                PolicyState::Enforced if skips => {
                    judgement.skipped = true;
                    continue;
                }
                PolicyState::ReportOnly if skips => continue,
                PolicyState::Enforced => judgement.refused_by.get_or_insert(policy),
                PolicyState::ReportOnly => judgement.would_be_refused_by.get_or_insert(policy),
            };
        }
        judgement
    }
}

/// Whether a policy skips its pins for chains to an anchor of this origin.
pub(crate) fn skips(policy: &AppliedPolicy, origin: AnchorOrigin) -> bool {
    #[cfg(pinhold_debug_overrides)]
    if origin == AnchorOrigin::DebugOverride {
        return true;
    }
    origin == AnchorOrigin::UserAdded && policy.user_added_roots == UserAddedRoots::SkipPins
}

/// What the policies of a host say of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judgement<'p> {
    pub(crate) refused_by: Option<&'p AppliedPolicy>,
    /// An enforced policy would have failed, but for the user-added root.
    pub(crate) skipped: bool,
    /// At least one policy found its pin.
    pub(crate) passed: bool,
    pub(crate) would_be_refused_by: Option<&'p AppliedPolicy>,
}
