//! What the application pins: policies and exemptions in, the policy that applies to a name out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::pinning::rollout::Tally;
use crate::policy::{AppliedPolicy, Host, HostMatch, PinPolicy, UserAddedRoots};

/// What the application set, and what of it is disabled.
#[derive(Default)]
pub(crate) struct StaticPins {
    pub(crate) entries: StaticEntries,
    pub(crate) all_disabled: bool,
    pub(crate) disabled: HashSet<Host>,
}

/// By host: policies, and the names that they exempt. The application chooses the names: a fast
/// hash does.
#[derive(Default)]
pub(crate) struct StaticEntries(HashMap<Host, StaticEntry, RandomState>);

enum StaticEntry {
    /// By the policies of these hosts, for as long as one of them applies.
    Exempt(Vec<Host>),
    Policy(Box<Pinned>),
}

struct Pinned {
    policy: PinPolicy,
    tally: Arc<Tally>,
}

impl Pinned {
    /// The policy, kept under this very name, as it stands at `now`.
    fn apply(
        &self,
        host: &Host,
        matched: HostMatch,
        roots: UserAddedRoots,
        now: UnixTime,
    ) -> Option<Applied<'_>> {
        let policy = self.policy.apply(host, matched, roots, now)?;
        Some(Applied {
            candidate: self.policy.apply_candidate(&policy),
            policy,
            tally: &self.tally,
        })
    }
}

/// A policy as it applies, the candidate beside it, and what was seen of both.
pub(crate) struct Applied<'s> {
    pub(crate) policy: AppliedPolicy,
    pub(crate) candidate: Option<AppliedPolicy>,
    pub(crate) tally: &'s Arc<Tally>,
}

impl StaticPins {
    /// The policy that applies to `host` at `now`.
    pub(crate) fn policy(
        &self,
        host: &Host,
        roots: UserAddedRoots,
        now: UnixTime,
    ) -> Option<Applied<'_>> {
        if self.entries.0.is_empty() || self.all_disabled {
            return None;
        }
        let mut matched = HostMatch::Congruent;
        for name in host.and_superdomains() {
            if self.disabled.contains(name) {
                return None;
            }
            match self.entries.0.get_key_value(name) {
                Some((_, StaticEntry::Exempt(by))) => {
                    let mut by = by
                        .iter()
                        .filter_map(|host| match self.entries.0.get(host)? {
                            StaticEntry::Policy(pinned) => Some((host, pinned)),
                            StaticEntry::Exempt(_) => None,
                        });
                    let matched = HostMatch::Superdomain;
                    if by.any(|(host, pinned)| pinned.apply(host, matched, roots, now).is_some()) {
                        return None;
                    }
                }
                Some((host, StaticEntry::Policy(pinned))) => {
                    let applied = pinned.apply(host, matched, roots, now);
                    if applied.is_some() {
                        return applied;
                    }
                }
                None => {}
            }
            matched = HostMatch::Superdomain;
        }
        None
    }

    /// When the policies of the host and of its superdomains end, or ended.
    pub(crate) fn expiry_times(&self, host: &Host) -> Vec<UnixTime> {
        let entries = host
            .and_superdomains()
            .filter_map(|name| self.entries.0.get(name));
        let expiry_times = entries.filter_map(|entry| match entry {
            StaticEntry::Policy(pinned) => pinned.policy.end(),
            StaticEntry::Exempt(_) => None,
        });
        expiry_times.collect()
    }

    /// What was counted of pins that are still on trial in the new entries goes on there.
    pub(crate) fn carry_over(&self, entries: &mut StaticEntries) {
        for (host, entry) in &mut entries.0 {
            if let StaticEntry::Policy(new) = entry
                && let Some(StaticEntry::Policy(old)) = self.entries.0.get(host)
                && old.policy.candidate_or_pins() == new.policy.candidate_or_pins()
            {
                new.tally = Arc::clone(&old.tally);
            }
        }
    }
}

impl StaticEntries {
    /// The entries that these policies and their exemptions make.
    pub(crate) fn new(policies: Vec<(Host, PinPolicy)>) -> Result<Self, Conflict> {
        let mut entries = HashMap::default();
        let mut exemptions = Vec::new();
        for (host, policy) in policies {
            for exempt in policy.exemptions() {
                let covered = policy.covers_subdomains() && exempt.is_subdomain_of(&host);
                exemptions.push((host.clone(), exempt.clone(), covered));
            }
            let entry = StaticEntry::Policy(Box::new(Pinned {
                tally: Arc::new(Tally::new(policy.candidate_or_pins())),
                policy,
            }));
            if entries.insert(host.clone(), entry).is_some() {
                return Err(Conflict::DuplicateHost { host });
            }
        }
        for (host, exempt, covered) in exemptions {
            let pinned = matches!(entries.get(&exempt), Some(StaticEntry::Policy(_)));
            if pinned || !covered {
                return Err(Conflict::Exemption { host, exempt });
            }
            match entries
                .entry(exempt)
                .or_insert_with(|| StaticEntry::Exempt(Vec::new()))
            {
                StaticEntry::Exempt(by) => by.push(host),
                StaticEntry::Policy(_) => {}
            }
        }
        Ok(Self(entries))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Policies that contradict each other.
pub(crate) enum Conflict {
    /// Two for one host.
    DuplicateHost { host: Host },
    /// An exempt name that the policy of `host` does not cover, or that has a policy of its own.
    Exemption { host: Host, exempt: Host },
}
