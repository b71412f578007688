//! Static pins: the policies and exemptions of the application, and the policy that applies to a
//! name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::pinning::build_error::BuildError;
use crate::pinning::rollout::Tally;
use crate::policy::{AppliedPolicy, Host, HostMatch, PinPolicy, UserAddedRoots};

/// The static pins of an application, and which of them are disabled.
#[derive(Default)]
pub(crate) struct StaticPins {
    pub(crate) entries: StaticEntries,
    pub(crate) all_disabled: bool,
    pub(crate) disabled: HashSet<Host, RandomState>,
}

/// Policies and exempt names by host. The application chooses the names, so a fast hash is safe.
#[derive(Default)]
pub(crate) struct StaticEntries(HashMap<Host, StaticEntry, RandomState>);

enum StaticEntry {
    /// The name and its subdomains are exempt from the policies of these hosts, and of no others.
    Exempt(Vec<Host>),
    Policy(Box<Pinned>),
}

struct Pinned {
    policy: PinPolicy,
    tally: Arc<Tally>,
}

impl Pinned {
    /// Returns the policy, which is set for `host`, as it applies at `now`.
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

/// A policy as it applies, its candidate, and the counts of its roll-out.
pub(crate) struct Applied<'s> {
    pub(crate) policy: AppliedPolicy,
    pub(crate) candidate: Option<AppliedPolicy>,
    pub(crate) tally: &'s Arc<Tally>,
}

impl StaticPins {
    /// Returns the policy that applies to `host` at `now`.
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
                Some((_, StaticEntry::Exempt(_))) => return self.not_exempt(host, roots, now),
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

    /// As [`policy`](Self::policy), for a name that is exempt from some policies.
    #[cold]
    fn not_exempt(&self, host: &Host, roots: UserAddedRoots, now: UnixTime) -> Option<Applied<'_>> {
        let mut matched = HostMatch::Congruent;
        let mut exempt_from = Vec::new();
        for name in host.and_superdomains() {
            if self.disabled.contains(name) {
                return None;
            }
            match self.entries.0.get_key_value(name) {
                Some((_, StaticEntry::Exempt(by))) => exempt_from.extend(by),
                Some((host, StaticEntry::Policy(pinned))) if !exempt_from.contains(&host) => {
                    let applied = pinned.apply(host, matched, roots, now);
                    if applied.is_some() {
                        return applied;
                    }
                }
                Some((_, StaticEntry::Policy(_))) | None => {}
            }
            matched = HostMatch::Superdomain;
        }
        None
    }

    /// Returns the past and future expiry times of the policies of the host and its superdomains.
    pub(crate) fn expiry_times(&self, host: &Host) -> Vec<UnixTime> {
        let entries = host
            .and_superdomains()
            .filter_map(|name| self.entries.0.get(name));
        let times = entries.filter_map(|entry| match entry {
            StaticEntry::Policy(pinned) => pinned.policy.expiry_time(),
            StaticEntry::Exempt(_) => None,
        });
        times.collect()
    }

    /// Keeps the roll-out counts in the new entries, for policies whose counted pins are the same.
    pub(crate) fn carry_over(&self, entries: &mut StaticEntries) {
        for (host, entry) in &mut entries.0 {
            if let StaticEntry::Policy(new) = entry
                && let Some(StaticEntry::Policy(old)) = self.entries.0.get(host)
                && old.policy.rolled_out_pins() == new.policy.rolled_out_pins()
            {
                new.tally = Arc::clone(&old.tally);
            }
        }
    }
}

impl StaticEntries {
    /// Creates the entries of these policies and of their exemptions.
    ///
    /// # Errors
    ///
    /// [`BuildError::DuplicateHost`] and [`BuildError::Exemption`] for policies that contradict
    /// each other.
    pub(crate) fn new(policies: Vec<(Host, PinPolicy)>) -> Result<Self, BuildError> {
        let mut entries = HashMap::default();
        let mut exemptions = Vec::new();
        for (host, policy) in policies {
            for exempt in policy.exemptions() {
                let covered = policy.covers_subdomains() && exempt.is_subdomain_of(&host);
                exemptions.push((host.clone(), exempt.clone(), covered));
            }
            let entry = StaticEntry::Policy(Box::new(Pinned {
                tally: Arc::new(Tally::new(policy.rolled_out_pins())),
                policy,
            }));
            if entries.insert(host.clone(), entry).is_some() {
                return Err(BuildError::DuplicateHost { host });
            }
        }
        for (host, exempt, covered) in exemptions {
            let pinned = matches!(entries.get(&exempt), Some(StaticEntry::Policy(_)));
            if pinned || !covered {
                return Err(BuildError::Exemption { host, exempt });
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
