//! [`Covering`], a static policy that covers a name.

use std::sync::Arc;

use crate::pinning::rollout::Tally;
use crate::policy::{AppliedPolicy, Host, PinPolicy, PolicyState, UserAddedRoots};

/// A policy that covers a name and is in effect, and where it was found.
pub(crate) struct Covering<'s> {
    pub(crate) host: &'s Host,
    pub(crate) pinned: &'s Pinned,
    /// By how many labels the name is longer than the host.
    pub(crate) more_labels: usize,
    pub(crate) state: PolicyState,
}

impl<'s> Covering<'s> {
    pub(crate) fn host(&self) -> &'s Host {
        self.host
    }

    pub(crate) fn policy(&self) -> &'s PinPolicy {
        &self.pinned.policy
    }

    /// Returns whether both are the policy of the same host with the same scope.
    #[cfg(feature = "bundles")]
    pub(crate) fn is_same(&self, other: &Covering<'_>) -> bool {
        let scope = |it: &Covering<'_>| it.policy().scope_setting();
        self.host == other.host && scope(self) == scope(other)
    }

    /// Returns the counts of the policy's roll-out.
    pub(crate) fn tally(&self) -> &'s Arc<Tally> {
        &self.pinned.tally
    }

    #[inline]
    pub(crate) fn apply(&self, roots: UserAddedRoots) -> AppliedPolicy {
        let policy = &self.pinned.policy;
        policy.apply(self.host, self.more_labels, self.state, roots)
    }
}

/// A policy, and the counts of its roll-out.
#[cfg_attr(feature = "self-test", derive(Clone))]
pub(crate) struct Pinned {
    pub(crate) policy: PinPolicy,
    pub(crate) tally: Arc<Tally>,
}
