//! Policies that cover the same names, in formats that apply others of them.

use pinhold::Enforcement;
use pinhold::policy::{Overlap, PinGroup, Scope};

use crate::pins::abilities::{Abilities, Expiry, Overlaps};
use crate::pins::loss::{LossKind, Losses};
use crate::pins::rules::{Index, Rule, Rules, group};

/// Adds the pins of united policies to each other, if the format unites none, or can't say some of
/// the names of a policy.
pub(crate) fn resolve(
    rules: &mut Rules,
    overlap: Overlaps,
    is_narrowed: bool,
    losses: &mut Losses,
) {
    if rules.overlap != Some(Overlap::Union) {
        return;
    }
    match overlap {
        Overlaps::Both => {}
        Overlaps::Union => {
            if is_narrowed {
                flatten(rules, losses);
            }
            rules.overlap = Some(Overlap::Union);
        }
        _ => flatten(rules, losses),
    }
}

/// States the names to which the format applies other policies than the source.
pub(crate) fn finish(rules: &mut Rules, abilities: &Abilities, losses: &mut Losses) {
    match abilities.overlap {
        Overlaps::Blocking => {
            let detail = "they are pinned by the source and not by the target";
            lose_hidden(rules, detail, losses);
        }
        Overlaps::Flattened => flatten(rules, losses),
        Overlaps::Arbitrary => lose_arbitrary(rules, losses),
        Overlaps::Union => {
            if rules.overlap != Some(Overlap::Union) {
                lose_nearest(rules, losses);
            }
            rules.overlap = Some(Overlap::Union);
        }
        Overlaps::Both | Overlaps::Nearest => {}
    }
    if !matches!(abilities.expiry, Expiry::Full | Expiry::Never) {
        lose_after_expiry(rules, losses);
    }
}

/// In the formats with an expiry an expired entry still hides those above it; in a pin file it does
/// not.
pub(crate) fn lose_after_expiry(rules: &Rules, losses: &mut Losses) {
    let index = Index::new(&rules.rules);
    for near in rules.rules.iter().filter(|near| near.expiry.is_some()) {
        if let Some(far) = index.far(near).next() {
            let detail = format!(
                "after the expiry the pins of {} apply here in a pin file, and none in the other \
                 format",
                far.host
            );
            losses.of(&near.host, LossKind::Expiry, detail);
        }
    }
}

fn lose_nearest(rules: &Rules, losses: &mut Losses) {
    let index = Index::new(&rules.rules);
    for near in &rules.rules {
        if let Some(far) = index.far(near).find(|far| !far.has_equal_pins(near)) {
            let detail = format!("the target accepts the pins of {} here, too", far.host);
            losses.of(&near.host, LossKind::Overlap, detail);
        }
    }
}

/// Adds to each policy the pins of those that cover some of its names, too, so that no key is
/// refused that is accepted by the union.
fn flatten(rules: &mut Rules, losses: &mut Losses) {
    let all = rules.rules.clone();
    let index = Index::new(&all);
    for (near, own) in rules.rules.iter_mut().zip(&all) {
        for far in index.far(own) {
            // A policy of several groups can't be united with others.
            let ([one], [other]) = (&mut *near.groups, &*far.groups) else {
                continue;
            };
            let united = joined(one, other);
            let is_weaker =
                far.enforcement != own.enforcement && far.enforcement == Enforcement::ReportOnly;
            if united == *one || is_weaker {
                continue;
            }
            *one = united;
            if !far.covers_all_of(own) || !is_as_valid(far, own) {
                let detail = format!(
                    "the source accepts the pins of {} for some of these names or for some time, \
                     and the target always",
                    far.host
                );
                losses.of(&near.host, LossKind::Overlap, detail);
            }
        }
    }
    rules.overlap = None;
}

/// Returns whether the pins of `far` are in effect whenever and wherever those of `near` are.
fn is_as_valid(far: &Rule, near: &Rule) -> bool {
    far.expiry == near.expiry
        && far.exempt.iter().all(|name| {
            name != &near.host
                && !near.host.is_subdomain_of(name)
                && !name.is_subdomain_of(&near.host)
        })
}

fn joined(one: &PinGroup, other: &PinGroup) -> PinGroup {
    let pins = one.iter().chain(other.iter());
    group(pins.map(|(role, pin)| (role, *pin))).unwrap_or_else(|| one.clone())
}

/// Names the policies of a host alone that end the effect of those above them on names below.
pub(crate) fn lose_hidden(rules: &Rules, detail: &str, losses: &mut Losses) {
    let index = Index::new(&rules.rules);
    for near in rules.rules.iter().filter(|near| near.scope == Scope::Host) {
        let is_above = |far: &&Rule| far.host != near.host && far.scope.includes_subdomains();
        if let Some(far) = index.at_or_above(&near.host).find(is_above) {
            let detail = format!(
                "the entry hides that of {} from the names below it: {detail}",
                far.host
            );
            losses.of(&near.host, LossKind::Overlap, detail);
        }
    }
}

fn lose_arbitrary(rules: &Rules, losses: &mut Losses) {
    let index = Index::new(&rules.rules);
    let covers_below = |rule: &&Rule| rule.scope.includes_subdomains();
    for near in rules.rules.iter().filter(covers_below) {
        let mut far = index.at_or_above(&near.host).filter(covers_below);
        let far = far.find(|far| far.host != near.host && !far.has_equal_pins(near));
        if let Some(far) = far {
            let detail = format!(
                "the target applies either these pins or those of {} to subdomains, in no fixed \
                 order",
                far.host
            );
            losses.of(&near.host, LossKind::Overlap, detail);
        }
    }
}
