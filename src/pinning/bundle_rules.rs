//! What the pin bundle in effect changes at each lookup, beside the entries that its policies are
//! merged into.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::pinning::covering::Covering;
use crate::pinning::evaluation::Policies;
use crate::pinning::static_pins::{BundleRules, StaticPins};
use crate::policy::{Host, PolicyState, UserAddedRoots};

impl BundleRules {
    /// Adds the fixed policy and the staged one, and suspends the noted one.
    pub(crate) fn apply(
        &self,
        statics: &StaticPins,
        host: &Host,
        nearest: Option<&Covering<'_>>,
        roots: UserAddedRoots,
        policies: &mut Policies,
        now: UnixTime,
    ) {
        let applied = &mut policies.applied;
        if let Some(noted) = &mut applied.noted
            && [host, &noted.noted_hostname]
                .iter()
                .any(|name| self.suspend_noted.contains(*name))
        {
            noted.state = PolicyState::ReportOnly;
        }
        if let Some(staged) = statics.staged(host, now) {
            let mut candidate = staged.apply(roots);
            candidate.state = PolicyState::ReportOnly;
            applied.candidate = Some(candidate);
            policies.tally = Some(Arc::clone(staged.tally()));
        }
        if let Some(fixed) = statics.fixed(host, now) {
            let is_applied = nearest
                .is_some_and(|nearest| nearest.policy().is_fixed() && nearest.is_same(&fixed));
            // A bundle could add pins to a united policy.
            let mut rules = statics.entries.rare_rules.iter();
            if !is_applied || rules.any(|rules| rules.unites()) {
                applied.fixed = Some(fixed.apply(roots));
            }
        }
        policies.intermediates.clone_from(&self.intermediates);
    }
}

impl StaticPins {
    /// Returns the nearest policy of a staged bundle that is not in effect here.
    pub(crate) fn staged(&self, host: &Host, now: UnixTime) -> Option<Covering<'_>> {
        let staged = self.bundled.as_ref()?.staged.as_ref()?;
        self.nearest_in(staged, host, now)
    }

    /// Returns the nearest policy of the application that no bundle replaces.
    pub(crate) fn fixed(&self, host: &Host, now: UnixTime) -> Option<Covering<'_>> {
        self.nearest_in(&self.bundled.as_ref()?.fixed, host, now)
    }

    /// Returns whether the host would be pinned by an enforced policy if the bundle had not made it
    /// report-only.
    pub(crate) fn is_loosened(&self, host: &Host, now: UnixTime) -> bool {
        let Some(bundled) = &self.bundled else {
            return false;
        };
        self.nearest(host, now).is_some_and(|nearest| {
            let without_bundle = nearest.policy().state(now);
            bundled.loosens(nearest.policy(), now)
                && without_bundle.is_some_and(|state| state != PolicyState::ReportOnly)
        })
    }
}
