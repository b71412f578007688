//! Static pins: the policies and exemptions of the application, and the policy that applies to a
//! name.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::RandomState;
#[cfg(feature = "bundles")]
use rustls_pki_types::CertificateDer;
use rustls_pki_types::{ServerName, UnixTime};

#[cfg(feature = "bundles")]
use crate::bundles::WhenStale;
#[cfg(all(feature = "bundles", feature = "ct"))]
use crate::ct::LogList;
use crate::pinning::build_error::BuildError;
#[cfg(feature = "bundles")]
use crate::pinning::bundle_terms::Terms;
use crate::pinning::covering::{Covering, Pinned};
use crate::pinning::not_applied::NotApplied;
use crate::pinning::rollout::Tally;
#[cfg(feature = "bundles")]
use crate::policy::PinSource;
use crate::policy::{AppliedPolicy, Host, PinPolicy, PinSet, PolicyState, Scope, Settings};
use crate::violation::UnpinnedHost;

/// The static pins of an application, and which of them are disabled.
#[cfg_attr(feature = "self-test", derive(Clone))]
#[derive(Default)]
pub(crate) struct StaticPins {
    pub(crate) entries: StaticEntries,
    pub(crate) all_disabled: bool,
    pub(crate) disabled: HashSet<Host, RandomState>,
    /// Whether the policies are from a pin file, except for those beside it.
    pub(crate) has_pin_file: bool,
    /// What the pin bundle in effect changes.
    #[cfg(feature = "bundles")]
    pub(crate) bundled: Option<BundleRules>,
}

/// The rules of the application in the form of the lookup. The application chooses the names, so a
/// fast hash is safe.
#[cfg_attr(feature = "self-test", derive(Clone))]
#[derive(Default)]
pub(crate) struct StaticEntries {
    of_hosts: HashMap<Host, StaticEntry, RandomState>,
    pub(crate) refused_keys: Option<PinSet>,
    pub(crate) rare_rules: Option<Arc<dyn RareRules>>,
}

/// The form of [`Settings`] in which lookups apply them. Behind a trait, since few applications use
/// them: `merge_settings` alone names the type, so that other programs do not contain its code.
pub(crate) trait RareRules: Send + Sync {
    /// Returns whether the pins of overlapping policies are united.
    fn unites(&self) -> bool;

    /// Returns whether the pins of `other`, which covers the same name, are united with those of the
    /// nearest policy.
    fn is_united(&self, nearest: &Covering<'_>, other: &Covering<'_>, now: UnixTime) -> bool;

    /// Adds the pins of all other policies that cover `host` to those of the nearest policy, which
    /// is applied, and of its candidate.
    fn unite(
        &self,
        statics: &StaticPins,
        host: &Host,
        nearest: &Covering<'_>,
        applied: [&mut Option<AppliedPolicy>; 2],
        now: UnixTime,
    );

    /// Returns whether connections to unpinned hosts are refused.
    #[cfg(feature = "hyper")]
    fn refuses_unpinned(&self) -> bool;

    /// Returns the name if `policy`, its static policy, does not make it pinned and that matters to
    /// the application.
    fn unpinned(
        &self,
        statics: &StaticPins,
        name: &ServerName<'_>,
        policy: Option<&AppliedPolicy>,
        now: UnixTime,
    ) -> Option<UnpinnedHost>;
}

/// The settings of the builder and of the pin file in the form of the lookup.
#[derive(Default)]
pub(crate) struct MergedSettings {
    pub(crate) refused_keys: Option<PinSet>,
    pub(crate) rare_rules: Option<Arc<dyn RareRules>>,
}

/// The function that merges the settings of the builder and of a pin file.
pub(crate) type MergeSettings = fn(&Settings, Settings) -> MergedSettings;

#[cfg_attr(feature = "self-test", derive(Clone))]
#[derive(Default)]
struct StaticEntry {
    /// The policies of the host, the one with the smallest scope first.
    policies: Vec<Pinned>,
    /// The name and its subdomains are exempt from the policies of these hosts with these scopes, and
    /// from no others.
    exempt_from: Vec<(Host, Scope)>,
}

/// A policy of a name or of one of its superdomains.
pub(crate) enum Visited<'s> {
    Applies(Covering<'s>),
    /// Static pins are disabled for this name, so that none of the following policies applies.
    Disabled,
    Not(&'s Host, Scope, NotApplied),
}

impl StaticPins {
    /// Returns the nearest policy that covers `host` and is in effect at `now`.
    pub(crate) fn nearest(&self, host: &Host, now: UnixTime) -> Option<Covering<'_>> {
        self.nearest_in(self.entries_at(now), host, now)
    }

    /// As [`nearest`](Self::nearest), among these entries.
    pub(crate) fn nearest_in<'s>(
        &'s self,
        entries: &'s StaticEntries,
        host: &Host,
        now: UnixTime,
    ) -> Option<Covering<'s>> {
        if entries.of_hosts.is_empty() || self.all_disabled {
            return None;
        }
        let mut nearest = None;
        self.visit(
            entries,
            host,
            now,
            &self.disabled,
            |visited| match visited {
                Visited::Applies(covering) => {
                    nearest = Some(covering);
                    ControlFlow::Break(())
                }
                Visited::Disabled => ControlFlow::Break(()),
                Visited::Not(..) => ControlFlow::Continue(()),
            },
        );
        nearest
    }

    /// Returns the policies in effect that cover the name and that it is not exempt from, the nearest
    /// first, unless they are disabled.
    pub(crate) fn all_covering(
        &self,
        host: &Host,
        now: UnixTime,
        disabled: &HashSet<Host, RandomState>,
    ) -> Vec<Covering<'_>> {
        let mut found = Vec::new();
        self.visit(self.entries_at(now), host, now, disabled, |visited| {
            match visited {
                Visited::Applies(covering) => found.push(covering),
                Visited::Disabled => return ControlFlow::Break(()),
                Visited::Not(..) => {}
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Calls `visit` with each policy of the name and of its superdomains, the nearest first, until it
    /// breaks.
    pub(crate) fn visit<'s>(
        &self,
        entries: &'s StaticEntries,
        host: &Host,
        now: UnixTime,
        disabled: &HashSet<Host, RandomState>,
        mut visit: impl FnMut(Visited<'s>) -> ControlFlow<()>,
    ) {
        let mut exempt_from = Vec::<&(Host, Scope)>::new();
        for (more_labels, name) in host.and_superdomains().enumerate() {
            if disabled.contains(name) && visit(Visited::Disabled).is_break() {
                return;
            }
            let Some((host, entry)) = entries.of_hosts.get_key_value(name) else {
                continue;
            };
            for pinned in &entry.policies {
                let scope = pinned.policy.scope_setting();
                let mut exempt = exempt_from.iter();
                let is_exempt = exempt.any(|(from, of)| from == host && *of == scope);
                let visited = if !scope.covers(more_labels) {
                    Visited::Not(host, scope, NotApplied::Scope)
                } else if is_exempt {
                    Visited::Not(host, scope, NotApplied::Exempt)
                } else if let Some(state) = self.state(&pinned.policy, now) {
                    Visited::Applies(Covering {
                        host,
                        pinned,
                        more_labels,
                        state,
                    })
                } else {
                    Visited::Not(host, scope, NotApplied::Expired)
                };
                if visit(visited).is_break() {
                    return;
                }
            }
            exempt_from.extend(&entry.exempt_from);
        }
    }

    /// Returns the nearest policy that covers `host`, if it has expired and no longer applies.
    #[cfg(feature = "health")]
    pub(crate) fn unpinned_by_expiry(
        &self,
        host: &Host,
        roots: crate::policy::UserAddedRoots,
        now: UnixTime,
    ) -> Option<AppliedPolicy> {
        let entries = self.entries_at(now);
        let names = host.and_superdomains().enumerate();
        let mut covering = names.filter_map(|(more_labels, name)| {
            let (host, entry) = entries.of_hosts.get_key_value(name)?;
            let covers = |it: &&Pinned| it.policy.scope_setting().covers(more_labels);
            let pinned = entry.policies.iter().find(covers)?;
            Some((host, pinned, more_labels))
        });
        let (host, Pinned { policy, .. }, more_labels) = covering.next()?;
        let state = PolicyState::ReportOnly;
        (policy.is_expired(now) && policy.state(now).is_none())
            .then(|| policy.apply(host, more_labels, state, roots))
    }

    /// Returns the entries that apply at `now`.
    pub(crate) fn entries_at(&self, now: UnixTime) -> &StaticEntries {
        #[cfg(feature = "bundles")]
        if let Some(fallback) = self.bundled.as_ref().and_then(|it| it.fallback_at(now)) {
            return fallback;
        }
        let _ = now;
        &self.entries
    }

    /// Returns what a failed pin check means at `now`; `None` if the policy is unpinned by then.
    fn state(&self, policy: &PinPolicy, now: UnixTime) -> Option<PolicyState> {
        let state = policy.state(now)?;
        #[cfg(feature = "bundles")]
        if let Some(bundled) = &self.bundled
            && bundled.loosens(policy, now)
        {
            return Some(PolicyState::ReportOnly);
        }
        Some(state)
    }

    /// Returns the past and future times at which the policies of the host and its superdomains
    /// change.
    pub(crate) fn expiry_times(&self, host: &Host) -> Vec<UnixTime> {
        let mut times = Vec::new();
        self.entries.add_expiry_times(host, &mut times);
        #[cfg(feature = "bundles")]
        if let Some(bundled) = &self.bundled {
            bundled.add_times(host, &mut times);
        }
        times
    }

    /// Keeps the roll-out counts in the new entries, for policies whose counted pins are the same.
    pub(crate) fn carry_over(&self, entries: &mut StaticEntries) {
        entries.carry_over(&self.entries);
        #[cfg(feature = "bundles")]
        if let Some(staged) = self.bundled.as_ref().and_then(|it| it.staged.as_ref()) {
            entries.carry_over(staged);
        }
    }

    /// Replaces what a bundle changes, and keeps the roll-out counts of a staged one.
    #[cfg(feature = "bundles")]
    pub(crate) fn replace_bundled(&mut self, mut rules: BundleRules) {
        let known = self.bundled.as_ref().and_then(|it| it.staged.as_ref());
        if let Some((staged, known)) = rules.staged.as_mut().zip(known) {
            staged.carry_over(known);
        }
        self.bundled = Some(rules);
    }
}

impl StaticEntries {
    /// Keeps the roll-out counts of policies whose counted pins are the same.
    fn carry_over(&mut self, known: &Self) {
        for (host, entry) in &mut self.of_hosts {
            let Some(old) = known.of_hosts.get(host) else {
                continue;
            };
            let is_single = old.policies.len() == 1 && entry.policies.len() == 1;
            for new in &mut entry.policies {
                let is_same = |old: &&Pinned| {
                    (is_single || old.policy.scope_setting() == new.policy.scope_setting())
                        && old.policy.rolled_out_pins() == new.policy.rolled_out_pins()
                };
                if let Some(old) = old.policies.iter().find(is_same) {
                    new.tally = Arc::clone(&old.tally);
                }
            }
        }
    }

    /// Creates the entries of these policies.
    ///
    /// # Errors
    ///
    /// [`BuildError::DuplicateHost`], [`BuildError::Exemption`] and [`BuildError::UnionOfGroups`]
    /// for policies that contradict each other.
    pub(crate) fn new(
        policies: Vec<(Host, PinPolicy)>,
        settings: MergedSettings,
    ) -> Result<Self, BuildError> {
        Self::of(policies, settings, |exempted| exempted)
    }

    /// As [`new`](Self::new), without an error for an exemption that has no effect: policies of
    /// several origins need not know each other.
    #[cfg(feature = "bundles")]
    pub(crate) fn merged(
        policies: Vec<(Host, PinPolicy)>,
        settings: MergedSettings,
    ) -> Result<Self, BuildError> {
        Self::of(policies, settings, |_| Ok(()))
    }

    /// Creates the entries. `exempted` gets the result of each exemption.
    fn of(
        policies: Vec<(Host, PinPolicy)>,
        settings: MergedSettings,
        exempted: fn(Result<(), BuildError>) -> Result<(), BuildError>,
    ) -> Result<Self, BuildError> {
        let mut entries = Self {
            of_hosts: HashMap::with_capacity_and_hasher(policies.len(), RandomState::default()),
            refused_keys: settings.refused_keys,
            rare_rules: settings.rare_rules,
        };
        let mut exemptions = Vec::new();
        for (host, policy) in policies {
            for exempt in policy.exemptions() {
                let scope = policy.scope_setting();
                exemptions.push((host.clone(), exempt.clone(), scope));
            }
            entries.add(host, policy)?;
        }
        for (host, exempt, scope) in exemptions {
            exempted(entries.exempt(host, exempt, scope))?;
        }
        Ok(entries)
    }

    /// Adds the past and future expiry times of the policies of the host and its superdomains.
    pub(crate) fn add_expiry_times(&self, host: &Host, times: &mut Vec<UnixTime>) {
        for name in host.and_superdomains() {
            let policies = self.of_hosts.get(name).map(|entry| &*entry.policies);
            for pinned in policies.unwrap_or_default() {
                times.extend(pinned.policy.expiry().map(|(at, _)| at));
            }
        }
    }

    /// Makes this policy the only one that is set for the host.
    #[cfg(feature = "self-test")]
    pub(crate) fn set(&mut self, host: Host, policy: PinPolicy) -> Result<(), BuildError> {
        self.of_hosts.remove(&host);
        self.add(host, policy)
    }

    fn add(&mut self, host: Host, policy: PinPolicy) -> Result<(), BuildError> {
        #[cfg(feature = "bundles")]
        if policy.is_fixed() && !policy.has_backup() {
            return Err(BuildError::FixedWithoutBackup { host });
        }
        let unites = self.rare_rules.as_ref().is_some_and(|rules| rules.unites());
        if unites && policy.has_several_groups() {
            return Err(BuildError::UnionOfGroups { host });
        }
        let scope = policy.scope_setting();
        let pinned = Pinned {
            tally: Arc::new(Tally::new(&policy.rolled_out_pins().pins)),
            policy,
        };
        let policies = &mut self.entry(&host).policies;
        let not_smaller = |known: &Pinned| known.policy.scope_setting() >= scope;
        let position = policies.iter().position(not_smaller);
        match position.and_then(|position| policies.get(position)) {
            Some(known) if known.policy.scope_setting() == scope => {
                return Err(BuildError::DuplicateHost { host });
            }
            _ => policies.insert(position.unwrap_or(policies.len()), pinned),
        }
        Ok(())
    }

    // One copy: `HashMap::entry` is large.
    #[inline(never)]
    fn entry(&mut self, host: &Host) -> &mut StaticEntry {
        self.of_hosts.entry(host.clone()).or_default()
    }

    /// Exempts a name and its subdomains from the policy of `host` with this scope.
    fn exempt(&mut self, host: Host, exempt: Host, scope: Scope) -> Result<(), BuildError> {
        let labels = |host: &Host| host.and_superdomains().count();
        let more_labels = labels(&exempt).saturating_sub(labels(&host));
        let is_covered = exempt.is_subdomain_of(&host) && scope.covers(more_labels);
        let entry = self.entry(&exempt);
        let is_pinned = |more_labels| {
            let mut own = entry.policies.iter();
            own.any(|pinned| pinned.policy.scope_setting().covers(more_labels))
        };
        // Names that no exemption can reach: the name itself, one label below, and deeper.
        let has_no_effect = (0..=2).all(is_pinned);
        if has_no_effect || !is_covered {
            return Err(BuildError::Exemption { host, exempt });
        }
        entry.exempt_from.push((host, scope));
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.of_hosts.len()
    }
}

/// What the bundle in effect changes, beside the entries that its policies are merged into.
#[cfg(feature = "bundles")]
#[cfg_attr(feature = "self-test", derive(Clone))]
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
    #[cfg(feature = "ct")]
    pub(crate) log_list: Option<LogList>,
}

#[cfg(feature = "bundles")]
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
}
