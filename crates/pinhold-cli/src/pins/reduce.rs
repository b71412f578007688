//! Reduction of rules to what a format can say, with a loss for each difference.
//!
//! A reduction never pins a name that was not pinned, and never accepts fewer keys at one: what it
//! changes makes the target less strict. The exceptions are expiries that are lost and names that
//! get the pins of another policy, and both are stated.

use pinhold::policy::{Overlap, PinGroup, PinRole, Scope, UnpinnedHosts};
use pinhold::{Enforcement, Host};
use rustls::pki_types::UnixTime;

use crate::pins::abilities::{Abilities, Exempt, Names, Roles};
use crate::pins::expiry;
use crate::pins::loss::{LossKind, Losses};
use crate::pins::overlap;
use crate::pins::rules::{Rule, Rules, group, group_of, labels};

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
    overlap::resolve(&mut rules, abilities.overlap, losses);
    let before = rules.rules.clone();
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
    for rule in &mut rules.rules {
        let same = all.iter().filter(|it| it.host == rule.host);
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
    let explicit = scopes(&rules.rules);
    let mut merged: Vec<Rule> = Vec::new();
    for mut rule in std::mem::take(&mut rules.rules) {
        while let Some((index, joined)) = joinable(&merged, &rule, &explicit) {
            merged.remove(index);
            rule = joined;
        }
        merged.push(rule);
    }
    rules.rules = merged;
}

/// Returns a policy that can be joined with `rule`, and the joined one.
fn joinable(all: &[Rule], rule: &Rule, explicit: &[(Host, Scope)]) -> Option<(usize, Rule)> {
    all.iter().enumerate().find_map(|(index, other)| {
        let scope = joined_scope(other.scope, rule.scope)?;
        let exempt = match (other.scope, rule.scope) {
            (Scope::Host, _) => &rule.exempt,
            (_, Scope::Host) => &other.exempt,
            _ => Some(&rule.exempt).filter(|it| **it == other.exempt)?,
        };
        let is_same = other.host == rule.host && other.has_equal_pins(rule);
        let joined = Rule {
            scope,
            exempt: exempt.clone(),
            ..rule.clone()
        };
        // Another policy with these names is hidden by both of them, and stays what it is.
        let is_free = [other.scope, rule.scope].contains(&scope)
            || !explicit.contains(&(rule.host.clone(), scope));
        (is_same && is_free).then_some((index, joined))
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

fn leave_out(rule: &Rule, kind: LossKind, why: String, all: &[Rule], losses: &mut Losses) {
    let others = all
        .iter()
        .filter(|it| rule.is_nearer_than(it) && it.overlaps(rule));
    let names = match rule.scope {
        Scope::Host => "",
        Scope::OneLabel => " (the names with one label more)",
        Scope::Subdomains => " (its subdomains)",
        _ => " (with its subdomains)",
    };
    let instead = others.map(|it| it.host.as_str()).next().map_or_else(
        || "its names are pinned by the source and not by the target".to_owned(),
        |host| format!("the target applies the pins of {host} to its names, if it has them"),
    );
    losses.of(
        &rule.host,
        kind,
        format!("{why}: the policy{names} is left out; {instead}"),
    );
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
        losses.of(&host, LossKind::ReportUris, detail);
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
    let explicit = scopes(&all);
    for rule in &all {
        let scopes = narrowed(rule.scope, abilities);
        if scopes.is_empty() {
            let why = "the names can't be said".to_owned();
            leave_out(rule, LossKind::Scope, why, &all, losses);
        } else if scopes != [rule.scope] {
            let detail = if scopes.len() > 1 || scopes.contains(&Scope::OneLabel) {
                "names with two and more labels more than the host are pinned by the source and \
                 not by the target"
            } else {
                "the subdomains are pinned by the source and not by the target"
            };
            losses.of(&rule.host, LossKind::Scope, detail);
        }
        for scope in scopes {
            // A policy of its own for these names is nearer.
            if scope == rule.scope || !explicit.contains(&(rule.host.clone(), scope)) {
                let mut rule = rule.clone();
                rule.scope = scope;
                simplify(&mut rule);
                rules.rules.push(rule);
            }
        }
    }
}

/// Returns the names that policies are set for.
fn scopes(all: &[Rule]) -> Vec<(Host, Scope)> {
    all.iter().map(|it| (it.host.clone(), it.scope)).collect()
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
    let is_alone = |rule: &Rule| {
        rule.scope == Scope::OneLabel
            && !abilities.can_name(Names::OneLabel)
            && !all.iter().any(|it| {
                it.host == rule.host && it.scope == Scope::Host && it.has_equal_pins(rule)
            })
    };
    let has_other = |rule: &Rule| {
        abilities.one_entry
            && all.iter().any(|it| {
                let is_pair = rule.scope == Scope::OneLabel && it.has_equal_pins(rule);
                it.host == rule.host && it.scope < rule.scope && !is_pair
            })
    };
    rules.rules.retain(|rule| {
        let is_lost = is_alone(rule) || has_other(rule);
        if is_lost {
            let why = "the target has one entry for a host and can't tell these names apart";
            leave_out(rule, LossKind::Scope, why.to_owned(), &all, losses);
        }
        !is_lost
    });
}

fn reduce_exemptions(rules: &mut Rules, abilities: &Abilities, losses: &mut Losses) {
    let all = std::mem::take(&mut rules.rules);
    for rule in &all {
        let lost = rule.exempt.iter().find(|name| {
            let nearer = nearer(rule, name, &all);
            match (abilities.exempt, nearer) {
                (Exempt::Full, _) | (Exempt::Entry | Exempt::EntryAlone, None) => false,
                (_, Some(it)) => it.scope != Scope::HostAndSubdomains,
                _ => true,
            }
        });
        let mut rule = rule.clone();
        if let Some(name) = lost {
            let detail = format!(
                "the exemption of {name} can't be said: all subdomains are left out, so that the \
                 target does not pin it"
            );
            losses.of(&rule.host, LossKind::Exempt, detail);
            let is_host = |it: &Rule| it.host == rule.host && it.scope == Scope::Host;
            if rule.scope != Scope::HostAndSubdomains || all.iter().any(is_host) {
                continue;
            }
            rule.scope = Scope::Host;
            rule.exempt.clear();
        } else if abilities.exempt != Exempt::Full {
            // Where all names below it have other pins, the exemption has no effect.
            let exempt = std::mem::take(&mut rule.exempt).into_iter();
            let kept = exempt.filter(|name| {
                nearer(&rule, name, &all).is_none_or(|it| it.scope != Scope::HostAndSubdomains)
            });
            rule.exempt = kept.collect();
        }
        rules.rules.push(rule);
    }
    match abilities.exempt {
        Exempt::Entry => spread_exemptions(rules, losses),
        Exempt::EntryAlone => {
            spread_exemptions(rules, losses);
            lose_below(rules, losses);
        }
        _ => {}
    }
}

/// Returns the policy that decides for a name in place of `rule`.
fn nearer<'r>(rule: &Rule, name: &Host, all: &'r [Rule]) -> Option<&'r Rule> {
    let mut others = all.iter();
    others.find(|it| it.is_nearer_than(rule) && it.covers(name) && !it.exempt.contains(name))
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
