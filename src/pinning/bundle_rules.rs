//! [`BundleRules`], what the pin bundle in effect changes at each lookup.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::bundles::{PinBundle, WhenStale};
use crate::pinning::evaluation::Policies;
use crate::pinning::static_pins::{Covering, StaticEntries, StaticPins};
use crate::policy::timestamp::at;
use crate::policy::{BundleVersion, Host, PinPolicy, PinSource, PolicyState, UserAddedRoots};
use crate::store::EARLIEST_TIME;

/// What the bundle in effect changes, beside the entries that its policies are merged into.
pub(crate) struct BundleRules {
    pub(crate) terms: Terms,
    /// The policies of the application that no bundle replaces.
    pub(crate) fixed: StaticEntries,
    /// The entries that apply once the bundle is stale, if others do.
    pub(crate) fallback: Option<StaticEntries>,
    /// The policies of a staged bundle that is not in effect here.
    pub(crate) staged: Option<StaticEntries>,
    pub(crate) suspend_noted: HashSet<Host, RandomState>,
    pub(crate) intermediates: Option<Arc<[CertificateDer<'static>]>>,
}

/// The times of a bundle, and what they mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) version: BundleVersion,
    issued: UnixTime,
    pub(crate) expires: UnixTime,
    when_stale: WhenStale,
    pub(crate) kill_switch: Option<UnixTime>,
}

impl Terms {
    pub(crate) fn of(bundle: &PinBundle) -> Self {
        Self {
            version: bundle.version(),
            issued: bundle.issued(),
            expires: bundle.expires(),
            when_stale: bundle.when_stale(),
            kill_switch: bundle.kill_switch(),
        }
    }

    /// Returns the time by which the terms are evaluated: at least that of the release and of the
    /// issue of the bundle, whose keys have signed that it has passed.
    fn time(&self, now: UnixTime) -> UnixTime {
        now.max(self.issued).max(at(EARLIEST_TIME))
    }

    pub(crate) fn is_stale(&self, now: UnixTime) -> bool {
        self.time(now) > self.expires
    }

    pub(crate) fn is_killed(&self, now: UnixTime) -> bool {
        self.kill_switch
            .is_some_and(|until| self.time(now) <= until)
    }
}

impl BundleRules {
    /// Returns the entries that apply in place of those with the bundle's policies.
    pub(crate) fn fallback_at(&self, now: UnixTime) -> Option<&StaticEntries> {
        self.fallback.as_ref().filter(|_| self.terms.is_stale(now))
    }

    /// Returns whether a policy is report-only because of the kill switch, or because the bundle that
    /// it is from is stale.
    pub(crate) fn loosens(&self, policy: &PinPolicy, now: UnixTime) -> bool {
        let is_of_bundle = policy.source() != PinSource::Static;
        let is_stale = is_of_bundle
            && self.terms.when_stale == WhenStale::ReportOnly
            && self.terms.is_stale(now);
        !policy.is_fixed() && (is_stale || self.terms.is_killed(now))
    }

    /// Adds the times at which the terms or the policies change that are not among the entries.
    pub(crate) fn add_times(&self, host: &Host, times: &mut Vec<UnixTime>) {
        times.push(self.terms.expires);
        times.extend(self.terms.kill_switch);
        let others = [&self.fallback, &self.staged].into_iter().flatten();
        for entries in others.chain([&self.fixed]) {
            entries.add_expiry_times(host, times);
        }
    }

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
        if let Some(fixed) = statics.nearest_in(&self.fixed, host, now) {
            let is_applied = nearest
                .is_some_and(|nearest| nearest.policy().is_fixed() && nearest.is_same(&fixed));
            if !is_applied {
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
