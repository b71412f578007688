//! The option `--pins`: the pin file of a command, what it says about unpinned hosts, and the words
//! of its format.

use std::path::Path;

use pinhold::Host;
use pinhold::pin_file::PinFile;
use pinhold::policy::{
    AfterExpiry, AppliedPolicy, PinGroup, PinRole, PinSet, PlainHttp, PolicyState, Scope,
    UnpinnedHosts, UnpinnedName, UserAddedRoots,
};
use serde_json::{Value, json};

use crate::failure::Failure;

/// Reads the file of `--pins`.
pub(crate) fn open(file: &Path) -> Result<PinFile, Failure> {
    PinFile::open(file).map_err(|error| Failure::Usage(error.to_string()))
}

/// Returns what happens at a connection to a name to which this static policy applies; `None` if
/// the name is pinned in the sense of the member `unpinned_hosts`.
pub(crate) fn unpinned(
    file: Option<&PinFile>,
    name: &UnpinnedName,
    policy: Option<&AppliedPolicy>,
) -> Option<UnpinnedHosts> {
    if policy.is_some_and(|policy| policy.state != PolicyState::ReportOnly) {
        return None;
    }
    let file = file.filter(|file| !file.allow_unpinned().contains(name));
    Some(file.map_or(UnpinnedHosts::Allow, PinFile::unpinned_hosts))
}

/// Returns the hosts whose policies exempt a name, or a superdomain of it.
pub(crate) fn exempt_from<'f>(file: &'f PinFile, name: &Host) -> Vec<&'f Host> {
    let policies = file.policies().iter().filter(|(_, policy)| {
        let mut exempt = policy.exemptions().iter();
        exempt.any(|exempt| exempt == name || name.is_subdomain_of(exempt))
    });
    policies.map(|(host, _)| host).collect()
}

/// Returns the groups of a policy, each of which must hold.
pub(crate) fn groups_json(policy: &AppliedPolicy) -> Vec<Value> {
    let of = |pins: Option<&PinSet>| {
        let pins = pins.into_iter().flat_map(PinSet::iter);
        pins.map(ToString::to_string).collect::<Vec<_>>()
    };
    let group_json = |group: &PinGroup| {
        json!({
            "leaf_pins": of(group.pins(PinRole::Leaf)),
            "ca_pins": of(group.pins(PinRole::Ca)),
            "pins": of(group.pins(PinRole::Any)),
        })
    };
    match policy.groups() {
        [] => vec![json!({ "leaf_pins": [], "ca_pins": [], "pins": of(Some(&policy.pins)) })],
        groups => groups.iter().map(group_json).collect(),
    }
}

/// Returns a pin as text lists it: with its role, unless it matches in any position.
pub(crate) fn pin_text(role: PinRole, pin: impl std::fmt::Display) -> String {
    match role {
        PinRole::Leaf => format!("{pin} leaf"),
        PinRole::Ca => format!("{pin} CA"),
        _ => pin.to_string(),
    }
}

pub(crate) fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::OneLabel => "one-label",
        Scope::Subdomains => "subdomains",
        Scope::HostAndSubdomains => "host-and-subdomains",
        _ => "host",
    }
}

pub(crate) fn state_word(state: PolicyState) -> &'static str {
    match state {
        PolicyState::Expired => "expired",
        PolicyState::ReportOnly => "report-only",
        _ => "enforced",
    }
}

pub(crate) fn after_expiry_word(then: AfterExpiry) -> &'static str {
    match then {
        AfterExpiry::Refuse => "refuse",
        AfterExpiry::Unpin => "unpin",
        _ => "report-only",
    }
}

pub(crate) fn unpinned_word(choice: UnpinnedHosts) -> &'static str {
    match choice {
        UnpinnedHosts::Refuse => "refuse",
        UnpinnedHosts::Report => "report",
        _ => "allow",
    }
}

pub(crate) fn plain_http_word(choice: PlainHttp) -> &'static str {
    match choice {
        PlainHttp::Allow => "allow",
        _ => "refuse",
    }
}

pub(crate) fn user_added_roots_word(choice: UserAddedRoots) -> &'static str {
    match choice {
        UserAddedRoots::EnforcePins => "enforce-pins",
        _ => "skip-pins",
    }
}
