//! Reduction of rules to what a format can say, with a loss for each difference.
//!
//! A reduction never pins a name that was not pinned, and never accepts fewer keys at one: what it
//! changes makes the target less strict. The exceptions are expiries that are lost and names that
//! get the pins of another policy, and both are stated.

use std::collections::HashMap;

use pinhold::policy::{Overlap, PinGroup, PinRole, Scope, UnpinnedHosts};
use pinhold::{Enforcement, Host};
use rustls::pki_types::UnixTime;

use crate::pins::abilities::{Abilities, Exempt, Names, Roles};
use crate::pins::expiry;
use crate::pins::loss::{LossKind, Losses};
use crate::pins::overlap;
use crate::pins::rules::{Index, Rule, Rules, group, group_of, labels};

/// Reduces rules to what `abilities` can say. `now` is the time of a response with a header.
pub(crate) fn reduce(
    mut rules: Rules,
    abilities: &Abilities,
    now: UnixTime,
    losses: &mut Losses,
) -> Rules {
    share_exemptions(&mut rules);
    for rule in &mut rules.rules {
        simplify(rule);
    }
    merge_scopes(&mut rules);
    let is_narrowed = rules.rules.iter().any(|rule| {
        let is_exempt = abilities.exempt != Exempt::Full && !rule.exempt.is_empty();
        is_exempt || narrowed(rule.scope, abilities) != [rule.scope]
    });
    overlap::resolve(&mut rules, abilities.overlap, is_narrowed, losses);
    let before = rules.rules.clone();
    let before = Index::new(&before);
    let mut kept = Vec::new();
    for mut rule in std::mem::take(&mut rules.rules) {
        match reduce_rule(&mut rule, abilities, now, losses) {
            Ok(()) => kept.push(rule),
            Err((kind, why)) => leave_out(&rule, kind, why, &before, losses),
        }
    }
    rules.rules = kept;
    narrow_scopes(&mut rules, abilities, losses);
    reduce_exemptions(&mut rules, abilities, losses);
    pair_scopes(&mut rules, abilities, losses);
    overlap::finish(&mut rules, abilities, losses);
    reduce_file(&mut rules, abilities, losses);
    merge_scopes(&mut rules);
    rules.overlap = rules.overlap.filter(|it| *it != Overlap::Nearest);
    if !rules.has_overlap() {
        rules.overlap = None;
    }
    rules
}

/// An exemption is from all policies of a host.
fn share_exemptions(rules: &mut Rules) {
    let all = rules.rules.clone();
    let index = Index::new(&all);
    for rule in &mut rules.rules {
        let same = index.of(&rule.host).iter();
        rule.exempt = same.flat_map(|it| it.exempt.clone()).collect();
    }
}

/// Brings groups into the form of [`group`], and drops exemptions that have no effect.
fn simplify(rule: &mut Rule) {
    for groups in [&mut rule.groups, &mut rule.candidate] {
        let mut distinct = Vec::new();
        for it in groups.drain(..) {
            let pins = it.iter().map(|(role, pin)| (role, *pin));
            let it = group(pins).unwrap_or_else(|| it.clone());
            if !distinct.contains(&it) {
                distinct.push(it);
            }
        }
        *groups = distinct;
    }
    let (host, scope) = (&rule.host, rule.scope);
    rule.exempt.retain(|name| match scope {
        Scope::Host => false,
        Scope::OneLabel => labels(name) == labels(host) + 1,
        _ => true,
    });
    rule.exempt.sort_unstable();
    rule.exempt.dedup();
}

/// Joins policies of a host that differ in their scope only.
fn merge_scopes(rules: &mut Rules) {
    let all = std::mem::take(&mut rules.rules);
    let mut of_hosts: HashMap<Host, Vec<Rule>> = HashMap::new();
    let mut order = Vec::new();
    for rule in all {
        let same = of_hosts.entry(rule.host.clone()).or_default();
        if same.is_empty() {
            order.push(rule.host.clone());
        }
        same.push(rule);
    }
    for host in order {
        let mut same = of_hosts.remove(&host).unwrap_or_default();
        let explicit = same.iter().map(|it| it.scope).collect::<Vec<_>>();
        while let Some((one, other, joined)) = joinable(&same, &explicit) {
            same.remove(other);
            same.remove(one);
            same.push(joined);
        }
        rules.rules.extend(same);
    }
}

/// Returns two policies of a host that can be joined, and the joined one.
fn joinable(same: &[Rule], explicit: &[Scope]) -> Option<(usize, usize, Rule)> {
    let ends = (1..same.len()).flat_map(|end| (0..end).map(move |begin| (begin, end)));
    ends.filter_map(|(one, other)| {
        let joined = joined(same.get(one)?, same.get(other)?, explicit)?;
        Some((one, other, joined))
    })
    .next()
}

fn joined(one: &Rule, other: &Rule, explicit: &[Scope]) -> Option<Rule> {
    let scope = joined_scope(one.scope, other.scope)?;
    let exempt = match (one.scope, other.scope) {
        (Scope::Host, _) => &other.exempt,
        (_, Scope::Host) => &one.exempt,
        _ => Some(&one.exempt).filter(|it| **it == other.exempt)?,
    };
    // Another policy with these names is hidden by both of them, and stays what it is.
    let is_free = [one.scope, other.scope].contains(&scope) || !explicit.contains(&scope);
    (is_free && one.has_equal_pins(other)).then(|| Rule {
        scope,
        exempt: exempt.clone(),
        ..one.clone()
    })
}

fn joined_scope(one: Scope, other: Scope) -> Option<Scope> {
    match (one.min(other), one.max(other)) {
        (one, other) if one == other => Some(one),
        (Scope::OneLabel, Scope::Subdomains) => Some(Scope::Subdomains),
        (Scope::Host, Scope::Subdomains) | (_, Scope::HostAndSubdomains) => {
            Some(Scope::HostAndSubdomains)
        }
        _ => None,
    }
}

/// A policy that the target can't say at all: the kind of the loss, and why.
type LeftOut = (LossKind, String);

fn leave_out(rule: &Rule, kind: LossKind, why: String, all: &Index<'_>, losses: &mut Losses) {
    let names = match rule.scope {
        Scope::Host => "",
        Scope::OneLabel => " (the names with one label more)",
        Scope::Subdomains => " (its subdomains)",
        _ => " (with its subdomains)",
    };
    let instead = instead(rule, "its names", all);
    let detail = format!("{why}: the policy{names} is left out; {instead}");
    losses.of(&rule.host, kind, detail);
}

/// Returns what applies to names of a policy that the target does not have.
fn instead(rule: &Rule, names: &str, all: &Index<'_>) -> String {
    match all.far(rule).next() {
        Some(far) => format!(
            "the target applies the pins of {} to {names}, if it has them",
            far.host
        ),
        None => format!("{names} are pinned by the source and not by the target"),
    }
}

/// Reduces all but the names that a policy covers.
fn reduce_rule(
    rule: &mut Rule,
    abilities: &Abilities,
    now: UnixTime,
    losses: &mut Losses,
) -> Result<(), LeftOut> {
    if rule.enforcement == Enforcement::ReportOnly && !abilities.can_say(LossKind::ReportOnly) {
        let why = "pins that only report can't be said";
        return Err((LossKind::ReportOnly, why.to_owned()));
    }
    reduce_groups(rule, abilities.roles, losses)?;
    if !abilities.can_say(LossKind::Backup) && rule.pins().len() < 2 {
        let why = "the target refuses a policy with a single pin";
        return Err((LossKind::Backup, why.to_owned()));
    }
    reduce_candidate(rule, abilities, losses);
    expiry::reduce(rule, abilities.expiry, now, losses)?;
    let host = rule.host.clone();
    for lost in rule.report_uris.iter().skip(abilities.report_uris) {
        let detail = format!("violations are not reported to {lost} by the target");
        losses.of(&host, LossKind::Reporting, detail);
    }
    rule.report_uris.truncate(abilities.report_uris);
    if rule.user_added_roots.is_some() && !abilities.can_say(LossKind::UserAddedRoots) {
        let detail = "whether pins are enforced on chains to user-added roots can't be said; the \
                      target decides it for all hosts";
        losses.of(&host, LossKind::UserAddedRoots, detail);
        rule.user_added_roots = None;
    }
    if rule.plain_http.is_some() && !abilities.can_say(LossKind::PlainHttp) {
        let detail = "whether http:// is allowed can't be said; the target does not check it";
        losses.of(&host, LossKind::PlainHttp, detail);
        rule.plain_http = None;
    }
    Ok(())
}

fn reduce_groups(rule: &mut Rule, roles: Roles, losses: &mut Losses) -> Result<(), LeftOut> {
    let all = rule.groups.clone();
    let is_only = |role, group: &PinGroup| group.iter().all(|(it, _)| it == role);
    let first = |role| all.iter().find(|group| is_only(role, group)).cloned();
    rule.groups = match roles {
        Roles::Full => all.clone(),
        Roles::Any | Roles::OneGroup => all.iter().take(1).cloned().collect(),
        Roles::Leaf => first(PinRole::Leaf).into_iter().collect(),
        Roles::LeafAndCa => {
            let both = [first(PinRole::Leaf), first(PinRole::Ca)];
            both.into_iter().flatten().collect()
        }
    };
    if rule.groups.is_empty() {
        let roles = match roles {
            Roles::Leaf => "leaf_pins",
            _ => "leaf_pins or ca_pins",
        };
        let why = format!(
            "the target accepts keys by their position in the chain, and the pins are no {roles} \
             (--role sets it)"
        );
        return Err((LossKind::Role, why));
    }
    if rule.groups.len() < all.len() {
        let detail = format!(
            "the source demands a pin of each of {} groups, the target of {} of them",
            all.len(),
            rule.groups.len()
        );
        losses.of(&rule.host, LossKind::Groups, detail);
    }
    if roles == Roles::Any && !rule.groups.iter().all(|it| is_only(PinRole::Any, it)) {
        let detail = "the target accepts the keys in any position of the chain, the source in one";
        losses.of(&rule.host, LossKind::Role, detail);
        let pins = group_of(PinRole::Any, rule.pins());
        rule.groups = pins.into_iter().collect();
    }
    Ok(())
}

fn reduce_candidate(rule: &mut Rule, abilities: &Abilities, losses: &mut Losses) {
    if rule.candidate.is_empty() {
        return;
    }
    let host = rule.host.clone();
    let is_report_only = rule.enforcement == Enforcement::ReportOnly;
    if !abilities.can_say(LossKind::Candidate) || (is_report_only && abilities.roles != Roles::Full)
    {
        let detail = "the candidate is not evaluated by the target";
        losses.of(&host, LossKind::Candidate, detail);
        rule.candidate.clear();
        return;
    }
    // The candidate is reduced as the enforced pins are.
    let mut candidate = Rule::new(host, rule.scope, std::mem::take(&mut rule.candidate));
    if reduce_groups(&mut candidate, abilities.roles, losses).is_ok() {
        rule.candidate = candidate.groups;
    }
}

/// Narrows each policy to names that the target can pin.
fn narrow_scopes(rules: &mut Rules, abilities: &Abilities, losses: &mut Losses) {
    let all = std::mem::take(&mut rules.rules);
    let index = Index::new(&all);
    for rule in &all {
        let scopes = narrowed(rule.scope, abilities);
        if scopes.is_empty() {
            let why = "the names can't be said".to_owned();
            leave_out(rule, LossKind::Scope, why, &index, losses);
        } else if scopes != [rule.scope] {
            let names = if scopes.contains(&Scope::OneLabel) {
                "names with two and more labels more than the host"
            } else {
                "the subdomains"
            };
            losses.of(&rule.host, LossKind::Scope, instead(rule, names, &index));
        }
        for scope in scopes {
            // A policy of its own for these names is nearer.
            let is_explicit = index.of(&rule.host).iter().any(|it| it.scope == scope);
            if scope == rule.scope || !is_explicit {
                let mut rule = rule.clone();
                rule.scope = scope;
                simplify(&mut rule);
                rules.rules.push(rule);
            }
        }
    }
}

fn narrowed(scope: Scope, abilities: &Abilities) -> Vec<Scope> {
    let pair = abilities.can_name(Names::HostAndOneLabel);
    let one_label = pair || abilities.can_name(Names::OneLabel);
    match scope {
        Scope::OneLabel if one_label => vec![Scope::OneLabel],
        Scope::Subdomains if abilities.can_name(Names::Subdomains) => vec![Scope::Subdomains],
        Scope::Subdomains if one_label => vec![Scope::OneLabel],
        Scope::HostAndSubdomains if abilities.can_name(Names::HostAndSubdomains) => {
            vec![Scope::HostAndSubdomains]
        }
        Scope::HostAndSubdomains if one_label => vec![Scope::Host, Scope::OneLabel],
        Scope::Host | Scope::HostAndSubdomains => vec![Scope::Host],
        _ => Vec::new(),
    }
}

/// Removes what needs two different policies of a host where the format has one entry for it.
fn pair_scopes(rules: &mut Rules, abilities: &Abilities, losses: &mut Losses) {
    let all = rules.rules.clone();
    let index = Index::new(&all);
    rules.rules.retain(|rule| {
        let mut others = index.of(&rule.host).iter();
        let is_pair = |it: &Rule| it.scope == Scope::Host && it.has_equal_pins(rule);
        let is_lost = if rule.scope == Scope::OneLabel && !abilities.can_name(Names::OneLabel) {
            !others.any(|it| is_pair(it))
        } else {
            abilities.one_entry && others.any(|it| it.scope < rule.scope)
        };
        if is_lost {
            let why = "the target has one entry for a host, with the same pins for all its names";
            leave_out(rule, LossKind::Scope, why.to_owned(), &index, losses);
        }
        !is_lost
    });
}

fn reduce_exemptions(rules: &mut Rules, abilities: &Abilities, losses: &mut Losses) {
    // A policy that is narrowed no longer hides those above it.
    while narrow_for_exemptions(rules, abilities, losses) {}
    if abilities.exempt == Exempt::Full {
        return;
    }
    // Where all names below it have other pins, an exemption has no effect.
    let all = rules.rules.clone();
    let index = Index::new(&all);
    for (rule, own) in rules.rules.iter_mut().zip(&all) {
        rule.exempt
            .retain(|name| nearer(own, name, &index).is_none());
    }
    if matches!(abilities.exempt, Exempt::Entry | Exempt::EntryAlone) {
        spread_exemptions(rules, losses);
    }
    if abilities.exempt == Exempt::EntryAlone {
        lose_below(rules, losses);
    }
}

/// Narrows policies with exemptions that can't be said to their host, so that the target does not
/// pin the exempt names. Returns whether there was one.
fn narrow_for_exemptions(rules: &mut Rules, abilities: &Abilities, losses: &mut Losses) -> bool {
    let all = std::mem::take(&mut rules.rules);
    let index = Index::new(&all);
    let mut is_changed = false;
    for rule in &all {
        let lost = rule.exempt.iter().find(|name| {
            let nearer = nearer(rule, name, &index).map(|it| it.scope);
            match (abilities.exempt, nearer) {
                (Exempt::Full, _) | (Exempt::Entry | Exempt::EntryAlone, None) => false,
                (_, nearer) => nearer != Some(Scope::HostAndSubdomains),
            }
        });
        let mut rule = rule.clone();
        if let Some(name) = lost {
            is_changed = true;
            let instead = instead(&rule, "the subdomains", &index);
            let detail = format!("the exemption of {name} can't be said: {instead}");
            losses.of(&rule.host, LossKind::Exempt, detail);
            let is_host = |it: &&Rule| it.scope == Scope::Host;
            if rule.scope != Scope::HostAndSubdomains || index.of(&rule.host).iter().any(is_host) {
                continue;
            }
            rule.scope = Scope::Host;
            rule.exempt.clear();
        }
        rules.rules.push(rule);
    }
    is_changed
}

/// Returns the policy that decides for a name in place of `rule`.
fn nearer<'r>(rule: &Rule, name: &Host, all: &Index<'r>) -> Option<&'r Rule> {
    let mut others = all.at_or_above(name);
    others.find(|it| {
        let is_exempt = |exempt: &Host| name == exempt || name.is_subdomain_of(exempt);
        it.is_nearer_than(rule) && it.covers(name) && !it.exempt.iter().any(is_exempt)
    })
}

/// The entry of an exemption that is of the name alone.
fn lose_below(rules: &Rules, losses: &mut Losses) {
    for rule in &rules.rules {
        for name in &rule.exempt {
            let detail =
                format!("the names below {name} are exempt in the source and pinned by the target");
            losses.of(&rule.host, LossKind::Exempt, detail);
        }
    }
}

/// An entry without pins ends the effect of every policy above it.
fn spread_exemptions(rules: &mut Rules, losses: &mut Losses) {
    let names = rules.rules.iter().flat_map(|rule| rule.exempt.clone());
    let names = names.collect::<Vec<_>>();
    for rule in &mut rules.rules {
        for name in &names {
            if rule.scope.includes_subdomains()
                && name.is_subdomain_of(&rule.host)
                && !rule.exempt.contains(name)
            {
                let detail = format!(
                    "{name} is exempt from another policy in the source, and from this one in the \
                     target, too"
                );
                losses.of(&rule.host, LossKind::Exempt, detail);
                rule.exempt.push(name.clone());
            }
        }
        rule.exempt.sort_unstable();
    }
}

/// Reduces what concerns the whole file.
fn reduce_file(rules: &mut Rules, abilities: &Abilities, losses: &mut Losses) {
    if rules.refused_keys.is_some() && !abilities.can_say(LossKind::RefusedKeys) {
        let detail = "the refused keys are accepted by the target";
        losses.of_file(LossKind::RefusedKeys, detail);
        rules.refused_keys = None;
    }
    let has_choice = rules.unpinned_hosts != UnpinnedHosts::Allow;
    if (has_choice || !rules.allow_unpinned.is_empty())
        && !abilities.can_say(LossKind::UnpinnedHosts)
    {
        if has_choice {
            let detail = "the target connects to unpinned hosts and does not report it";
            losses.of_file(LossKind::UnpinnedHosts, detail);
        } else {
            let detail = "the list of names that may be unpinned can't be said";
            losses.of_file(LossKind::UnpinnedHosts, detail);
        }
        rules.unpinned_hosts = UnpinnedHosts::Allow;
        rules.allow_unpinned.clear();
    }
    if !abilities.can_say(LossKind::Port) && !rules.rules.is_empty() {
        let detail = "the source pins every port, the target port 443";
        losses.of_file(LossKind::Port, detail);
    }
}
