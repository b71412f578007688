//! Rules that few applications use: the union of overlapping policies, and the rule for unpinned
//! hosts.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls_pki_types::{ServerName, UnixTime};

use crate::pinning::covering::Covering;
use crate::pinning::static_pins::{MergedSettings, RareRules, StaticPins};
use crate::policy::{
    AppliedPolicy, Host, Overlap, PinGroup, PolicyState, Requirement, Settings, UnpinnedHosts,
    UnpinnedName,
};
use crate::violation::UnpinnedHost;

/// Merges the settings of the builder and of a pin file.
pub(crate) fn merge_settings(of_builder: &Settings, of_file: Settings) -> MergedSettings {
    let settings = of_builder.with(of_file);
    let rules = Rules {
        overlap: settings.overlap.unwrap_or_default(),
        unpinned_hosts: settings.unpinned_hosts,
        allow_unpinned: settings.allow_unpinned.into_iter().collect(),
    };
    let is_default =
        rules.overlap == Overlap::Nearest && rules.unpinned_hosts == UnpinnedHosts::Allow;
    let rules: Arc<dyn RareRules> = Arc::new(rules);
    MergedSettings {
        refused_keys: settings.refused_keys,
        rare_rules: Some(rules).filter(|_| !is_default),
    }
}

struct Rules {
    overlap: Overlap,
    unpinned_hosts: UnpinnedHosts,
    allow_unpinned: HashSet<UnpinnedName, RandomState>,
}

impl RareRules for Rules {
    fn unites(&self) -> bool {
        self.overlap == Overlap::Union
    }

    fn is_united(&self, nearest: &Covering<'_>, other: &Covering<'_>, now: UnixTime) -> bool {
        let is_weaker =
            nearest.state == PolicyState::Enforced && other.state != PolicyState::Enforced;
        let is_other = !std::ptr::eq(other.tally(), nearest.tally());
        self.unites() && is_other && !is_weaker && !other.policy().is_expired(now)
    }

    fn unite(
        &self,
        statics: &StaticPins,
        host: &Host,
        nearest: &Covering<'_>,
        applied: [&mut Option<AppliedPolicy>; 2],
        now: UnixTime,
    ) {
        let covering = statics.all_covering(host, now, &statics.disabled);
        let others = covering
            .iter()
            .filter(|it| self.is_united(nearest, it, now));
        let groups = others.filter_map(|it| it.policy().required().single_group());
        let others = groups.reduce(PinGroup::or);
        // A candidate is evaluated as it would be enforced: together with the other pins.
        for policy in applied.into_iter().flatten() {
            let own = policy.requirement().single_group();
            let joined = own.into_iter().chain(others.clone()).reduce(PinGroup::or);
            if let Ok(joined) = Requirement::new(joined) {
                policy.pins = joined.pins;
                policy.groups = joined.groups;
            }
        }
    }

    #[cfg(feature = "hyper")]
    fn refuses_unpinned(&self) -> bool {
        self.unpinned_hosts == UnpinnedHosts::Refuse
    }

    fn unpinned(
        &self,
        statics: &StaticPins,
        name: &ServerName<'_>,
        policy: Option<&AppliedPolicy>,
        now: UnixTime,
    ) -> Option<UnpinnedHost> {
        let is_enforced = policy.is_some_and(|policy| policy.state != PolicyState::ReportOnly);
        if self.unpinned_hosts == UnpinnedHosts::Allow || is_enforced {
            return None;
        }
        let allowed = match name {
            ServerName::DnsName(name) => {
                let host = Host::from(name);
                // A bundle that makes pins report-only must not make their hosts unreachable.
                #[cfg(feature = "bundles")]
                if statics.is_loosened(&host, now) {
                    return None;
                }
                // The user has chosen to connect without these pins (RFC 7469 section 2.7).
                if is_pinned_unless_disabled(statics, &host, now) {
                    return None;
                }
                UnpinnedName::Host(host)
            }
            ServerName::IpAddress(address) => UnpinnedName::Address((*address).into()),
            _ => return Some(UnpinnedHost::new(name, policy, true)),
        };
        let is_allowed = self.allow_unpinned.contains(&allowed);
        let is_refused = self.unpinned_hosts == UnpinnedHosts::Refuse;
        (!is_allowed).then(|| UnpinnedHost::new(name, policy, is_refused))
    }
}

/// Returns whether an enforced policy covers the host, disabled or not.
fn is_pinned_unless_disabled(statics: &StaticPins, host: &Host, now: UnixTime) -> bool {
    if !statics.all_disabled && statics.disabled.is_empty() {
        return false;
    }
    let covering = statics.all_covering(host, now, &HashSet::default());
    // Not that of a lookup, which a bundle may have made report-only.
    let state = covering.first().and_then(|it| it.policy().state(now));
    state.is_some_and(|state| state != PolicyState::ReportOnly)
}
