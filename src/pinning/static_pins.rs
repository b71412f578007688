//! Static pins: the policies and exemptions of the application, and the policy that applies to a
//! name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::{ServerName, UnixTime};

use crate::pinning::build_error::BuildError;
use crate::pinning::rollout::Tally;
use crate::policy::{
    AppliedPolicy, Host, Overlap, PinGroup, PinPolicy, PinSet, PolicyState, Requirement, Scope,
    StaticRules, UnpinnedHosts, UnpinnedName, UserAddedRoots,
};
use crate::violation::UnpinnedHost;

/// The static pins of an application, and which of them are disabled.
#[derive(Default)]
pub(crate) struct StaticPins {
    pub(crate) entries: StaticEntries,
    pub(crate) all_disabled: bool,
    pub(crate) disabled: HashSet<Host, RandomState>,
}

/// The rules of the application in the form of the lookup. The application chooses the names, so a
/// fast hash is safe.
#[derive(Default)]
pub(crate) struct StaticEntries {
    of_hosts: HashMap<Host, StaticEntry, RandomState>,
    overlap: Overlap,
    pub(crate) refused_keys: Option<PinSet>,
    pub(crate) unpinned_hosts: UnpinnedHosts,
    pub(crate) allow_unpinned: HashSet<UnpinnedName, RandomState>,
}

#[derive(Default)]
struct StaticEntry {
    /// The policies of the host, the one with the smallest scope first.
    policies: Vec<Pinned>,
    /// The name and its subdomains are exempt from the policies of these hosts with these scopes, and
    /// from no others.
    exempt_from: Vec<(Host, Scope)>,
}

struct Pinned {
    policy: PinPolicy,
    tally: Arc<Tally>,
}

/// A policy as it applies, its candidate, and the counts of its roll-out.
pub(crate) struct Applied<'s> {
    pub(crate) policy: AppliedPolicy,
    pub(crate) candidate: Option<AppliedPolicy>,
    pub(crate) tally: &'s Arc<Tally>,
    pinned: &'s Pinned,
}

/// A policy that covers a name, and where it was found.
struct Covering<'s> {
    host: &'s Host,
    pinned: &'s Pinned,
    more_labels: usize,
}

impl<'s> Covering<'s> {
    fn apply(&self, roots: UserAddedRoots, now: UnixTime) -> Option<Applied<'s>> {
        let policy = &self.pinned.policy;
        let applied = policy.apply(self.host, self.more_labels, roots, now)?;
        Some(Applied {
            candidate: policy.apply_candidate(&applied),
            policy: applied,
            tally: &self.pinned.tally,
            pinned: self.pinned,
        })
    }
}

impl StaticPins {
    /// Returns the policy that applies to `host` at `now`.
    pub(crate) fn policy(
        &self,
        host: &Host,
        roots: UserAddedRoots,
        now: UnixTime,
    ) -> Option<Applied<'_>> {
        if self.entries.of_hosts.is_empty() || self.all_disabled {
            return None;
        }
        if self.entries.overlap == Overlap::Union {
            return self.union(host, roots, now);
        }
        for (more_labels, name) in host.and_superdomains().enumerate() {
            if self.disabled.contains(name) {
                return None;
            }
            let Some((noted, entry)) = self.entries.of_hosts.get_key_value(name) else {
                continue;
            };
            if !entry.exempt_from.is_empty() {
                return self.not_exempt(host, roots, now);
            }
            let covering = entry.covering(noted, more_labels);
            let applied = covering.filter_map(|it| it.apply(roots, now)).next();
            if applied.is_some() {
                return applied;
            }
        }
        None
    }

    /// As [`policy`](Self::policy), for a name that is exempt from some policies.
    #[cold]
    fn not_exempt(&self, host: &Host, roots: UserAddedRoots, now: UnixTime) -> Option<Applied<'_>> {
        let covering = self.all_covering(host, &self.disabled);
        covering.iter().find_map(|it| it.apply(roots, now))
    }

    /// Returns the nearest policy, with the pins of all others that cover the name added.
    #[cold]
    fn union(&self, host: &Host, roots: UserAddedRoots, now: UnixTime) -> Option<Applied<'_>> {
        let covering = self.all_covering(host, &self.disabled);
        let mut applied = covering.iter().filter_map(|it| it.apply(roots, now));
        let mut nearest = applied.next()?;
        let others = covering.iter().filter(|it| {
            let policy = &it.pinned.policy;
            let is_weaker = nearest.policy.state == PolicyState::Enforced
                && policy.state(now) != Some(PolicyState::Enforced);
            !policy.is_expired(now) && !is_weaker
        });
        let others = others.filter(|it| !std::ptr::eq(it.pinned, nearest.pinned));
        let groups = others.filter_map(|it| it.pinned.policy.required().single_group());
        let others = groups.reduce(PinGroup::or);
        let join = |policy: AppliedPolicy| {
            let own = policy.requirement().single_group();
            let joined = own.into_iter().chain(others.clone()).reduce(PinGroup::or)?;
            let Requirement { pins, groups } = Requirement::new([joined]).ok()?;
            Some(AppliedPolicy {
                pins,
                groups,
                ..policy
            })
        };
        // A candidate is evaluated as it would be enforced: together with the other pins.
        nearest.candidate = nearest.candidate.and_then(join);
        nearest.policy = join(nearest.policy)?;
        Some(nearest)
    }

    /// Returns the policies that cover the name and that it is not exempt from, the nearest first,
    /// unless they are disabled.
    fn all_covering(
        &self,
        host: &Host,
        disabled: &HashSet<Host, RandomState>,
    ) -> Vec<Covering<'_>> {
        let mut found = Vec::new();
        let mut exempt_from = Vec::<&(Host, Scope)>::new();
        for (more_labels, name) in host.and_superdomains().enumerate() {
            if disabled.contains(name) {
                break;
            }
            let Some((noted, entry)) = self.entries.of_hosts.get_key_value(name) else {
                continue;
            };
            let applies = |covering: &Covering<'_>| {
                let scope = covering.pinned.policy.scope_setting();
                let mut exempt = exempt_from.iter();
                !exempt.any(|(host, exempt)| host == noted && *exempt == scope)
            };
            found.extend(entry.covering(noted, more_labels).filter(applies));
            exempt_from.extend(&entry.exempt_from);
        }
        found
    }

    /// Returns the name if `policy`, its static policy, does not make it pinned and that matters to
    /// the application. `host` is `None` for an IP address.
    pub(crate) fn unpinned(
        &self,
        name: &ServerName<'_>,
        host: Option<&Host>,
        policy: Option<&AppliedPolicy>,
        now: UnixTime,
    ) -> Option<UnpinnedHost> {
        let entries = &self.entries;
        let is_enforced = policy.is_some_and(|policy| policy.state != PolicyState::ReportOnly);
        if entries.unpinned_hosts == UnpinnedHosts::Allow || is_enforced {
            return None;
        }
        let name_allowed = match (host, name) {
            // The user has chosen to connect without these pins (RFC 7469 section 2.7).
            (Some(host), _) if self.is_pinned_unless_disabled(host, now) => return None,
            (Some(host), _) => UnpinnedName::Host(host.clone()),
            (None, ServerName::IpAddress(address)) => UnpinnedName::Address((*address).into()),
            (None, _) => return Some(UnpinnedHost::new(name, policy, true)),
        };
        let is_allowed = entries.allow_unpinned.contains(&name_allowed);
        let is_refused = entries.unpinned_hosts == UnpinnedHosts::Refuse;
        (!is_allowed).then(|| UnpinnedHost::new(name, policy, is_refused))
    }

    /// Returns whether an enforced policy covers the host, disabled or not.
    fn is_pinned_unless_disabled(&self, host: &Host, now: UnixTime) -> bool {
        if !self.all_disabled && self.disabled.is_empty() {
            return false;
        }
        let covering = self.all_covering(host, &HashSet::default());
        let state = covering.iter().find_map(|it| it.pinned.policy.state(now));
        state.is_some_and(|state| state != PolicyState::ReportOnly)
    }

    /// Returns the past and future expiry times of the policies of the host and its superdomains.
    pub(crate) fn expiry_times(&self, host: &Host) -> Vec<UnixTime> {
        let entries = host
            .and_superdomains()
            .filter_map(|name| self.entries.of_hosts.get(name));
        let policies = entries.flat_map(|entry| &entry.policies);
        let expiries = policies.filter_map(|pinned| pinned.policy.expiry());
        expiries.map(|(at, _)| at).collect()
    }

    /// Keeps the roll-out counts in the new entries, for policies whose counted pins are the same.
    pub(crate) fn carry_over(&self, entries: &mut StaticEntries) {
        for (host, entry) in &mut entries.of_hosts {
            let Some(old) = self.entries.of_hosts.get(host) else {
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
}

impl StaticEntry {
    /// Returns the policies of `host` that cover a name with this number of labels more.
    fn covering<'s>(
        &'s self,
        host: &'s Host,
        more_labels: usize,
    ) -> impl Iterator<Item = Covering<'s>> {
        let policies = self.policies.iter();
        let covers = move |pinned: &&Pinned| pinned.policy.scope_setting().covers(more_labels);
        policies.filter(covers).map(move |pinned| Covering {
            host,
            pinned,
            more_labels,
        })
    }
}

impl StaticEntries {
    /// Creates the entries of these rules.
    ///
    /// # Errors
    ///
    /// [`BuildError::DuplicateHost`], [`BuildError::Exemption`] and [`BuildError::UnionOfGroups`]
    /// for policies that contradict each other.
    pub(crate) fn new(rules: StaticRules) -> Result<Self, BuildError> {
        let mut entries = Self {
            of_hosts: HashMap::with_capacity_and_hasher(
                rules.policies.len(),
                RandomState::default(),
            ),
            overlap: rules.overlap.unwrap_or_default(),
            refused_keys: rules.refused_keys,
            unpinned_hosts: rules.unpinned_hosts,
            allow_unpinned: rules.allow_unpinned.into_iter().collect(),
        };
        let mut exemptions = Vec::new();
        for (host, policy) in rules.policies {
            for exempt in policy.exemptions() {
                let scope = policy.scope_setting();
                exemptions.push((host.clone(), exempt.clone(), scope));
            }
            entries.add(host, policy)?;
        }
        for (host, exempt, scope) in exemptions {
            entries.exempt(host, exempt, scope)?;
        }
        Ok(entries)
    }

    fn add(&mut self, host: Host, policy: PinPolicy) -> Result<(), BuildError> {
        let groups = policy.groups().len().max(policy.candidate_groups().len());
        if self.overlap == Overlap::Union && groups > 1 {
            return Err(BuildError::UnionOfGroups { host });
        }
        let scope = policy.scope_setting();
        let pinned = Pinned {
            tally: Arc::new(Tally::new(&policy.rolled_out_pins().pins)),
            policy,
        };
        let policies = &mut self.of_hosts.entry(host.clone()).or_default().policies;
        let position = policies.binary_search_by_key(&scope, |known| known.policy.scope_setting());
        match position {
            Ok(_) => Err(BuildError::DuplicateHost { host }),
            Err(position) => {
                policies.insert(position, pinned);
                Ok(())
            }
        }
    }

    /// Exempts a name and its subdomains from the policy of `host` with this scope.
    fn exempt(&mut self, host: Host, exempt: Host, scope: Scope) -> Result<(), BuildError> {
        let labels = |host: &Host| host.and_superdomains().count();
        let more_labels = labels(&exempt).saturating_sub(labels(&host));
        let is_covered = exempt.is_subdomain_of(&host) && scope.covers(more_labels);
        let entry = self.of_hosts.entry(exempt.clone()).or_default();
        let mut own = entry.policies.iter();
        let is_pinned = own.any(|pinned| pinned.policy.scope_setting().covers(0));
        if is_pinned || !is_covered {
            return Err(BuildError::Exemption { host, exempt });
        }
        entry.exempt_from.push((host, scope));
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.of_hosts.len()
    }
}
