//! Random rules.

use std::ops::Range;
use std::time::Duration;

use pinhold::policy::{
    AfterExpiry, Overlap, PinGroup, PinRole, PlainHttp, ReportUri, Scope, UnpinnedHosts,
};
use pinhold::{Enforcement, Host, PinSet, SpkiFingerprint, UserAddedRoots};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use rustls::pki_types::UnixTime;

use crate::pins::rules::{Rule, Rules, group};

const HOSTS: [&str; 5] = [
    "example.com",
    "api.example.com",
    "v2.api.example.com",
    "example.org",
    "www.example.org",
];
/// Names that the policies of [`HOSTS`] may cover, and others.
pub(super) const NAMES: [&str; 10] = [
    "example.com",
    "api.example.com",
    "v2.api.example.com",
    "x.v2.api.example.com",
    "old.example.com",
    "x.old.example.com",
    "example.org",
    "www.example.org",
    "x.www.example.org",
    "example.net",
];
pub(super) const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;

pub(super) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

pub(super) fn pin(index: u8) -> SpkiFingerprint {
    let mut digest = [index; 32];
    // The text of 32 equal bytes is refused as a placeholder.
    digest[31] = !index;
    SpkiFingerprint::from_digest(digest)
}

fn groups(count: Range<usize>) -> impl Strategy<Value = Vec<PinGroup>> {
    let role = select(vec![PinRole::Any, PinRole::Any, PinRole::Leaf, PinRole::Ca]);
    let alike = (role.clone(), vec(1_u8..6, 1..4))
        .prop_map(|(role, pins)| pins.into_iter().map(|it| (role, pin(it))).collect());
    let mixed = vec((role, (1_u8..6).prop_map(pin)), 1..4);
    let one = prop_oneof![3 => alike, 1 => mixed];
    let groups = vec(one.prop_map(|pins: Vec<_>| group(pins).unwrap()), count);
    groups.prop_map(|mut groups| {
        groups.dedup();
        groups
    })
}

/// What a policy sets beside names and pins.
type Choices = (
    Enforcement,
    Option<(UnixTime, AfterExpiry)>,
    Vec<ReportUri>,
    Option<UserAddedRoots>,
    Option<PlainHttp>,
);

fn choices() -> impl Strategy<Value = Choices> {
    let then = select(vec![
        AfterExpiry::Refuse,
        AfterExpiry::ReportOnly,
        AfterExpiry::Unpin,
    ]);
    let midnight = (NOW / DAY + 1..40_000).prop_map(|days| days * DAY);
    let seconds = prop_oneof![NOW + 1..NOW * 2, midnight];
    let uris = ["https://one.example/r", "http://two.example/?a=1&b='%3C"];
    let uris = uris.map(|uri| ReportUri::parse(uri).unwrap());
    let uris = vec(select(uris.to_vec()), 0..3).prop_map(|mut uris| {
        uris.dedup();
        uris.truncate(2);
        uris
    });
    let roots = vec![UserAddedRoots::EnforcePins, UserAddedRoots::SkipPins];
    (
        prop_oneof![3 => Just(Enforcement::Enforce), 1 => Just(Enforcement::ReportOnly)],
        of((seconds.prop_map(at), then)),
        uris.prop_filter("distinct", |uris| uris.len() < 2 || uris[0] != uris[1]),
        of(select(roots)),
        of(select(vec![PlainHttp::Allow, PlainHttp::Refuse])),
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let scope = select(vec![
        Scope::Host,
        Scope::OneLabel,
        Scope::Subdomains,
        Scope::HostAndSubdomains,
        Scope::HostAndSubdomains,
    ]);
    let exempt = vec(select(NAMES.to_vec()), 0..2);
    let candidate = prop_oneof![3 => Just(Vec::new()), 1 => groups(1..2)];
    let pins = (groups(1..3), candidate);
    let names = (select(HOSTS.to_vec()), scope, exempt);
    (names, pins, choices()).prop_map(|((host, scope, exempt), (groups, candidate), choices)| {
        let mut rule = Rule::new(Host::parse(host).unwrap(), scope, groups);
        let exempt = exempt.into_iter().map(|name| Host::parse(name).unwrap());
        rule.exempt = exempt.collect();
        rule.candidate = candidate;
        rule.enforcement = choices.0;
        rule.expiry = choices.1;
        rule.report_uris = choices.2;
        rule.user_added_roots = choices.3;
        rule.plain_http = choices.4;
        rule
    })
}

/// Rules of which each file that is valid may consist.
pub(super) fn rules() -> impl Strategy<Value = Rules> {
    let overlap = of(select(vec![Overlap::Nearest, Overlap::Union]));
    let unpinned = select(vec![
        UnpinnedHosts::Allow,
        UnpinnedHosts::Report,
        UnpinnedHosts::Refuse,
    ]);
    let of_file = (of(6_u8..8), unpinned, any::<bool>());
    (vec(rule(), 1..5), overlap, any::<bool>(), of_file).prop_map(
        |(all, overlap, is_plain, (refused, unpinned_hosts, allows))| {
            let mut rules = Rules {
                rules: all,
                overlap,
                ..Rules::default()
            };
            if is_plain {
                rules.rules.iter_mut().for_each(simplify);
            } else {
                rules.refused_keys = refused.map(|it| PinSet::new([pin(it)]).unwrap());
                rules.unpinned_hosts = unpinned_hosts;
                let name = "free.example".to_owned().try_into().unwrap();
                rules.allow_unpinned = allows.then_some(name).into_iter().collect();
            }
            repair(&mut rules);
            rules
        },
    )
}

/// Most files set little.
fn simplify(rule: &mut Rule) {
    let exempt = std::mem::take(&mut rule.exempt);
    let groups = rule.groups.iter().take(1).cloned().collect();
    *rule = Rule {
        exempt,
        ..Rule::new(rule.host.clone(), rule.scope, groups)
    };
}

/// Removes what the library refuses.
fn repair(rules: &mut Rules) {
    let mut known = Vec::new();
    rules.rules.retain(|rule| {
        let key = (rule.host.clone(), rule.scope);
        let is_new = !known.contains(&key);
        known.push(key);
        is_new
    });
    for rule in &mut rules.rules {
        if rules.overlap == Some(Overlap::Union) {
            rule.groups.truncate(1);
        }
        let covering = rule.clone();
        rule.exempt.retain(|name| {
            // Whether the policies of the name cover all names that the exemption is of.
            let has = |scope| known.contains(&(name.clone(), scope));
            let has_no_effect =
                has(Scope::HostAndSubdomains) || (has(Scope::Host) && has(Scope::Subdomains));
            name.is_subdomain_of(&covering.host) && covering.covers(name) && !has_no_effect
        });
    }
}
