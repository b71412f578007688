//! [`Rules`], the contents of a pin file with open fields, as readers create and writers print them.

use std::collections::{HashMap, HashSet};

use pinhold::pin_file::PinFile;
use pinhold::policy::{
    AfterExpiry, Overlap, PinGroup, PinRole, PlainHttp, PolicyError, ReportUri, Scope,
    UnpinnedHosts, UnpinnedName,
};
use pinhold::{Enforcement, Host, PinPolicy, PinSet, SpkiFingerprint, UserAddedRoots};
use rustls::pki_types::UnixTime;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    /// `None` means [`Overlap::Nearest`].
    pub(crate) overlap: Option<Overlap>,
    pub(crate) refused_keys: Option<PinSet>,
    pub(crate) unpinned_hosts: UnpinnedHosts,
    pub(crate) allow_unpinned: Vec<UnpinnedName>,
}

/// The policy of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) host: Host,
    pub(crate) scope: Scope,
    pub(crate) exempt: Vec<Host>,
    /// All of them must hold; never empty.
    pub(crate) groups: Vec<PinGroup>,
    pub(crate) candidate: Vec<PinGroup>,
    pub(crate) enforcement: Enforcement,
    pub(crate) expiry: Option<(UnixTime, AfterExpiry)>,
    pub(crate) report_uris: Vec<ReportUri>,
    pub(crate) user_added_roots: Option<UserAddedRoots>,
    pub(crate) plain_http: Option<PlainHttp>,
}

impl Rule {
    pub(crate) fn new(host: Host, scope: Scope, groups: Vec<PinGroup>) -> Self {
        Self {
            host,
            scope,
            exempt: Vec::new(),
            groups,
            candidate: Vec::new(),
            enforcement: Enforcement::Enforce,
            expiry: None,
            report_uris: Vec::new(),
            user_added_roots: None,
            plain_http: None,
        }
    }

    /// Returns the fingerprints of all groups, each once and in order.
    pub(crate) fn pins(&self) -> Vec<SpkiFingerprint> {
        let pins = self.groups.iter().flat_map(PinGroup::iter);
        let mut pins = pins.map(|(_, pin)| *pin).collect::<Vec<_>>();
        pins.sort_unstable();
        pins.dedup();
        pins
    }

    /// Returns whether the policies are equal but for the names that they cover.
    pub(crate) fn has_equal_pins(&self, other: &Self) -> bool {
        let names = |rule: &Self| Self {
            host: self.host.clone(),
            scope: self.scope,
            exempt: Vec::new(),
            ..rule.clone()
        };
        names(self) == names(other)
    }

    /// Returns whether this policy covers all names that `other` covers.
    pub(crate) fn covers_all_of(&self, other: &Self) -> bool {
        let (min, max) = range(self.scope);
        below(&self.host, &other.host).is_some_and(|labels| {
            let (other_min, other_max) = range(other.scope);
            min <= labels + other_min && labels.saturating_add(other_max) <= max
        })
    }

    /// Returns whether a name is covered by both policies. `other` is of a host below this one, or
    /// of the same host.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (min, max) = range(self.scope);
        below(&self.host, &other.host).is_some_and(|labels| {
            let (other_min, other_max) = range(other.scope);
            labels + other_min <= max && min <= labels.saturating_add(other_max)
        })
    }

    /// Returns whether the policy covers `host`, its exemptions aside.
    pub(crate) fn covers(&self, host: &Host) -> bool {
        let (min, max) = range(self.scope);
        below(&self.host, host).is_some_and(|labels| (min..=max).contains(&labels))
    }

    /// Returns whether this policy decides for names that both cover.
    pub(crate) fn is_nearer_than(&self, other: &Self) -> bool {
        if self.host == other.host {
            self.scope < other.scope
        } else {
            self.host.is_subdomain_of(&other.host)
        }
    }

    fn policy(&self) -> Result<PinPolicy, PolicyError> {
        let groups = self.groups.iter().cloned();
        let mut policy = PinPolicy::all_of_without_backup(groups)?
            .scope(self.scope)
            .enforcement(self.enforcement);
        for host in &self.exempt {
            policy = policy.exempt(host.clone())?;
        }
        if !self.candidate.is_empty() {
            policy = policy.candidate_all_of(self.candidate.iter().cloned())?;
        }
        if let Some((at, then)) = self.expiry {
            policy = policy.expires(at, then);
        }
        if let Some(choice) = self.user_added_roots {
            policy = policy.user_added_roots(choice);
        }
        if let Some(choice) = self.plain_http {
            policy = policy.plain_http(choice);
        }
        let uris = self.report_uris.iter().cloned();
        Ok(uris.fold(policy, PinPolicy::report_uri))
    }
}

impl Rules {
    /// Returns the pin file with these rules, or why there is none.
    pub(crate) fn pin_file(&self) -> Result<PinFile, String> {
        let policies = self.rules.iter().map(|rule| {
            let policy = rule.policy();
            let policy = policy.map_err(|error| format!("{}: {error}", rule.host));
            Ok((rule.host.clone(), policy?))
        });
        let policies = policies.collect::<Result<Vec<_>, String>>()?;
        let file = PinFile::new(policies);
        let mut file = file.map_err(|error| error.problem().to_string())?;
        if let Some(overlap) = self.overlap {
            file = file.with_overlap(overlap);
        }
        if let Some(keys) = &self.refused_keys {
            file = file.with_refused_keys(keys.clone());
        }
        let allowed = self.allow_unpinned.iter().cloned();
        Ok(file.with_unpinned_hosts(self.unpinned_hosts, allowed))
    }

    /// Gives the pins without a role this one.
    pub(crate) fn assign_role(&mut self, role: PinRole) {
        for rule in &mut self.rules {
            for it in rule.groups.iter_mut().chain(&mut rule.candidate) {
                let pins = it.iter().map(|(own, pin)| match own {
                    PinRole::Any => (role, *pin),
                    own => (own, *pin),
                });
                let assigned = group(pins);
                if let Some(assigned) = assigned {
                    *it = assigned;
                }
            }
        }
    }

    /// Returns whether two policies with different pins cover a name.
    pub(crate) fn has_overlap(&self) -> bool {
        let index = Index::new(&self.rules);
        let has_far = |near| index.far(near).any(|far| !far.has_equal_pins(near));
        self.rules.iter().any(has_far)
    }
}

/// Policies by their hosts.
pub(crate) struct Index<'r>(HashMap<&'r str, Vec<&'r Rule>>);

impl<'r> Index<'r> {
    pub(crate) fn new(rules: &'r [Rule]) -> Self {
        let mut index: HashMap<_, Vec<_>> = HashMap::new();
        for rule in rules {
            index.entry(rule.host.as_str()).or_default().push(rule);
        }
        Self(index)
    }

    /// Returns the policies of a host.
    pub(crate) fn of(&self, host: &Host) -> &[&'r Rule] {
        self.0.get(host.as_str()).map_or(&[], Vec::as_slice)
    }

    /// Returns the policies of a name and of the names above it.
    pub(crate) fn at_or_above(&self, name: &Host) -> impl Iterator<Item = &'r Rule> {
        let name = name.as_str();
        let names = std::iter::successors(Some(name), |it| Some(it.split_once('.')?.1));
        let rules = names.filter_map(|name| self.0.get(name)).flatten();
        rules.copied().collect::<Vec<_>>().into_iter()
    }

    /// Returns the policies that cover names of `near` for which it decides.
    pub(crate) fn far(&self, near: &Rule) -> impl Iterator<Item = &'r Rule> {
        let above = self.at_or_above(&near.host);
        above.filter(|far| near.is_nearer_than(far) && far.overlaps(near))
    }
}

impl From<&PinFile> for Rules {
    fn from(file: &PinFile) -> Self {
        let rule = |(host, policy): &(Host, PinPolicy)| Rule {
            host: host.clone(),
            scope: policy.scope_setting(),
            exempt: policy.exemptions().to_vec(),
            groups: policy.groups(),
            candidate: policy.candidate_groups(),
            enforcement: policy.enforcement_setting(),
            expiry: policy.expiry(),
            report_uris: policy.report_uris().to_vec(),
            user_added_roots: policy.user_added_roots_setting(),
            plain_http: policy.plain_http_setting(),
        };
        Self {
            rules: file.policies().iter().map(rule).collect(),
            overlap: file.overlap(),
            refused_keys: file.refused_keys().cloned(),
            unpinned_hosts: file.unpinned_hosts(),
            allow_unpinned: file.allow_unpinned().to_vec(),
        }
    }
}

/// Returns the group of these pins; `None` without a pin. A key that is accepted as a leaf and as a
/// CA is accepted anywhere, so that equal groups have equal values.
pub(crate) fn group(
    pins: impl IntoIterator<Item = (PinRole, SpkiFingerprint)>,
) -> Option<PinGroup> {
    let pins = pins.into_iter().collect::<HashSet<_>>();
    let has = |role, pin| pins.contains(&(role, pin));
    let of_role = |role| {
        let own = pins.iter().filter(|&&(own, pin)| {
            let is_any = has(PinRole::Any, pin) || has(PinRole::Leaf, pin) && has(PinRole::Ca, pin);
            role == if is_any { PinRole::Any } else { own }
        });
        group_of(role, own.map(|(_, pin)| *pin))
    };
    let roles = [PinRole::Any, PinRole::Leaf, PinRole::Ca];
    roles.into_iter().filter_map(of_role).reduce(PinGroup::or)
}

/// Returns the group of these pins, which are accepted with this role.
pub(crate) fn group_of(
    role: PinRole,
    pins: impl IntoIterator<Item = SpkiFingerprint>,
) -> Option<PinGroup> {
    let mut pins = pins.into_iter().collect::<Vec<_>>();
    // A set of sorted pins is created in less than quadratic time.
    pins.sort_unstable();
    PinGroup::of_role(role, pins).ok()
}

/// Returns how many labels more than `host` a covered name has, at least and at most.
fn range(scope: Scope) -> (usize, usize) {
    match scope {
        Scope::Host => (0, 0),
        Scope::OneLabel => (1, 1),
        Scope::Subdomains => (1, usize::MAX),
        _ => (0, usize::MAX),
    }
}

/// Returns how many labels `name` has more than `host`; `None` if it is not the host or a subdomain.
fn below(host: &Host, name: &Host) -> Option<usize> {
    (name == host || name.is_subdomain_of(host)).then(|| labels(name) - labels(host))
}

pub(crate) fn labels(host: &Host) -> usize {
    host.as_str().split('.').count()
}
