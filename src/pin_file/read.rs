//! The members of a pin file, and what they mean.

use std::mem::take;

use rustls_pki_types::UnixTime;

use crate::pin_file::error::{PinFileError, PinFileProblem};
use crate::pin_file::json::{Fault, Names};
use crate::pin_file::members::{Distinct, Kind, Node, read};
#[cfg(feature = "bundles")]
use crate::pin_file::pins::PIN;
use crate::pin_file::pins::{Pins, candidate, pins};
use crate::policy::{
    AfterExpiry, Enforcement, Host, PinGroup, PinPolicy, PinSet, PlainHttp, ReportUri, Scope,
    StaticRules, UnpinnedName, UserAddedRoots, timestamp,
};

/// Reads the rules from the text of a pin file.
pub(crate) fn rules(text: &str) -> Result<StaticRules, PinFileError> {
    read(text, Names::All, file)
}

/// Fails if there is no policy, or if a host has two policies with the same scope.
pub(crate) fn ensure_distinct(policies: &[(Host, PinPolicy)]) -> Result<(), PinFileProblem> {
    let mut known = Distinct::default();
    let mut policies = policies.iter();
    if policies.len() == 0 {
        return Err(PinFileProblem::NoPolicies);
    }
    policies.try_for_each(|(host, policy)| known.ensure_first(host, policy.scope_setting()))
}

/// Reads the object of a pin file.
pub(crate) fn file(node: Node<'_>) -> Result<StaticRules, Box<Fault>> {
    let mut members = node.object(&FILE)?;
    let (mut version, mut policies) = (None, None);
    let mut rules = StaticRules::default();
    let settings = &mut rules.settings;
    while let Some((name, node)) = members.next()? {
        match name {
            "version" => version = Some(version_1(node)?),
            "policies" => policies = Some(policies_of(node)?),
            "overlap" => settings.overlap = Some(node.word(name)?),
            "refused_keys" => settings.refused_keys = PinSet::of(&pins(node)?).ok(),
            "unpinned_hosts" => settings.unpinned_hosts = node.word(name)?,
            "allow_unpinned" => node.texts(|text| {
                let name = UnpinnedName::try_from(text).map_err(PinFileProblem::Host)?;
                settings.allow_unpinned.push(name);
                Ok(())
            })?,
            _ => drop(node.text()?),
        }
    }
    members.required(version, "version")?;
    rules.policies = members.required(policies, "policies")?;
    if rules.policies.is_empty() {
        return Err(members.fault(PinFileProblem::NoPolicies));
    }
    Ok(rules)
}

/// Reads the number of the format.
fn version_1(node: Node<'_>) -> Result<(), Box<Fault>> {
    match node.number("the number 1")? {
        1 => Ok(()),
        found => Err(node.fault(PinFileProblem::Version { found })),
    }
}

fn policies_of(node: Node<'_>) -> Result<Vec<(Host, PinPolicy)>, Box<Fault>> {
    let mut list = node.list()?;
    let mut policies = Vec::new();
    let mut known = Distinct::default();
    while let Some(node) = list.next()? {
        let mut members = node.object(&POLICY)?;
        let mut policy = Policy::default();
        while let Some((name, node)) = members.next()? {
            policy.read(name, node)?;
        }
        let added = policy.add_to(&mut policies, &mut known);
        added.map_err(|problem| members.fault(problem))?;
    }
    Ok(policies)
}

#[derive(Default)]
struct Policy {
    hosts: Vec<Host>,
    scope: Scope,
    exempt: Vec<Host>,
    pins: Pins,
    candidate: Option<Vec<PinGroup>>,
    without_backup: bool,
    enforcement: Enforcement,
    expires: Option<UnixTime>,
    after_expiry: Option<AfterExpiry>,
    report_uris: Vec<ReportUri>,
    user_added_roots: Option<UserAddedRoots>,
    plain_http: Option<PlainHttp>,
}

impl Policy {
    /// Reads the value of a member.
    fn read(&mut self, name: &'static str, node: Node<'_>) -> Result<(), Box<Fault>> {
        match name {
            "hosts" => self.hosts = hosts(node)?,
            "exempt" => self.exempt = hosts(node)?,
            "scope" => self.scope = node.word(name)?,
            "candidate" => self.candidate = Some(candidate(node)?),
            "without_backup" => self.without_backup = node.bool()?,
            "enforcement" => self.enforcement = node.word(name)?,
            "expires" => self.expires = Some(time(node)?),
            "after_expiry" => self.after_expiry = Some(node.word(name)?),
            "report_uris" => node.texts(|text| {
                let uri = ReportUri::parse(text).map_err(PinFileProblem::ReportUri)?;
                self.report_uris.push(uri);
                Ok(())
            })?,
            "user_added_roots" => self.user_added_roots = Some(node.word(name)?),
            "plain_http" => self.plain_http = Some(node.word(name)?),
            _ => self.pins.read(name, node)?,
        }
        Ok(())
    }

    /// Adds the policy of each host.
    fn add_to(
        mut self,
        policies: &mut Vec<(Host, PinPolicy)>,
        known: &mut Distinct,
    ) -> Result<(), PinFileProblem> {
        let (hosts, exempt) = (take(&mut self.hosts), take(&mut self.exempt));
        let policy = self.policy()?;
        if hosts.is_empty() {
            return Err(POLICY.missing("hosts"));
        }
        // A policy of several hosts exempts a name from those above it only. A name that is below
        // none of them stays, so that the pins are refused when they are set.
        let is_misplaced = |name: &&Host| !hosts.iter().any(|host| name.is_subdomain_of(host));
        let misplaced = exempt.iter().find(is_misplaced);
        for host in &hosts {
            known.ensure_first(host, policy.scope_setting())?;
            let is_below = |name: &Host| hosts.len() == 1 || name.is_subdomain_of(host);
            let own = |name: &&Host| is_below(name) || misplaced == Some(*name);
            let own = exempt.iter().filter(own).cloned().collect();
            policies.push((host.clone(), policy.with_exemptions(own)));
        }
        Ok(())
    }

    /// Returns the policy without exemptions.
    fn policy(self) -> Result<PinPolicy, PinFileProblem> {
        let groups = self.pins.groups(&POLICY)?;
        let policy = if self.without_backup {
            PinPolicy::all_of_without_backup(groups)
        } else {
            PinPolicy::all_of(groups)
        };
        let mut policy = policy.map_err(PinFileProblem::Policy)?;
        policy = policy.scope(self.scope).enforcement(self.enforcement);
        if let Some(candidate) = self.candidate {
            let with = policy.candidate_all_of(candidate);
            policy = with.map_err(PinFileProblem::Policy)?;
        }
        policy = match (self.expires, self.after_expiry) {
            (Some(at), Some(then)) => policy.expires(at, then),
            (Some(_), None) => return Err(POLICY.missing("after_expiry")),
            (None, Some(_)) => return Err(POLICY.missing("expires")),
            (None, None) => policy,
        };
        if let Some(choice) = self.user_added_roots {
            policy = policy.user_added_roots(choice);
        }
        if let Some(choice) = self.plain_http {
            policy = policy.plain_http(choice);
        }
        let uris = self.report_uris.into_iter();
        Ok(uris.fold(policy, PinPolicy::report_uri))
    }
}

/// Reads a list of hosts.
pub(crate) fn hosts(node: Node<'_>) -> Result<Vec<Host>, Box<Fault>> {
    let mut hosts = Vec::new();
    node.texts(|text| {
        hosts.push(Host::parse(text).map_err(PinFileProblem::Host)?);
        Ok(())
    })?;
    Ok(hosts)
}

pub(crate) fn time(node: Node<'_>) -> Result<UnixTime, Box<Fault>> {
    let text = node.text()?;
    timestamp::parse(text).ok_or_else(|| {
        let text = text.to_owned();
        node.fault(PinFileProblem::Time { text })
    })
}

const FILE: Kind = Kind {
    name: "pin file",
    members: &[
        "$schema",
        "allow_unpinned",
        "overlap",
        "policies",
        "refused_keys",
        "unpinned_hosts",
        "version",
    ],
};

const POLICY: Kind = Kind {
    name: "policy",
    members: &[
        "after_expiry",
        "all_of",
        "ca_pins",
        "candidate",
        "enforcement",
        "exempt",
        "expires",
        "hosts",
        "leaf_pins",
        "pins",
        "plain_http",
        "report_uris",
        "scope",
        "user_added_roots",
        "without_backup",
    ],
};

/// The names of the members of all objects of a pin file. A candidate and a group have none that a
/// policy lacks.
#[cfg(feature = "bundles")]
pub(crate) const MEMBER_NAMES: [&[&str]; 3] = [FILE.members, POLICY.members, PIN.members];
