//! `NSPinnedDomains` of Apple's App Transport Security, in an `Info.plist` in XML.
//!
//! `NSIncludesSubdomains` covers the host and the names with one label more, as its documentation says. If a domain has identities of both
//! kinds, the chain must contain one of each.

use std::io;

use pinhold::Host;
use pinhold::policy::{PinGroup, PinRole, Scope};

use crate::pins::abilities::{Abilities, Exempt, Expiry, Names, Overlaps, Roles};
use crate::pins::loss::{LossKind, Losses};
use crate::pins::rules::{Rule, Rules, group_of};
use crate::pins::source::InputError;
use crate::pins::xml::{
    Entry, Xml, array_entry, bool_entry, dict_entry, dict_of, read_plist, string_entry, write_plist,
};

const SECURITY: &str = "NSAppTransportSecurity";
const PINNED: &str = "NSPinnedDomains";
const EXCEPTIONS: &str = "NSExceptionDomains";
const SUBDOMAINS: &str = "NSIncludesSubdomains";
const LEAF: &str = "NSPinnedLeafIdentities";
const CA: &str = "NSPinnedCAIdentities";
const HASH: &str = "SPKI-SHA256-BASE64";

pub(super) fn abilities() -> Abilities {
    Abilities {
        names: vec![Names::HostAndOneLabel],
        roles: Roles::LeafAndCa,
        exempt: Exempt::Never,
        expiry: Expiry::Never,
        overlap: Overlaps::Nearest,
        report_uris: 0,
        one_entry: true,
        says: vec![LossKind::Backup, LossKind::Port],
    }
}

pub(super) fn read(text: &str, losses: &mut Losses) -> Result<Rules, InputError> {
    let root = read_plist(text)?;
    let security = root.get(SECURITY).unwrap_or(&root);
    lose_nested(security, losses)?;
    let mut rules = Rules::default();
    let Some(domains) = security.get(PINNED) else {
        let text = format!("no {PINNED} in {SECURITY}");
        return Err(security.place.error(text));
    };
    for (name, domain) in domains.dict(PINNED)? {
        let host = domain.place.host(name)?;
        let groups = groups(&host, domain, losses)?;
        if groups.is_empty() {
            let text = format!("{host} has neither {LEAF} nor {CA}");
            return Err(domain.place.error(text));
        }
        let subdomains = domain.get(SUBDOMAINS);
        let rule = Rule::new(host, Scope::Host, groups);
        if subdomains.map_or(Ok(false), |it| it.bool(SUBDOMAINS))? {
            let scope = Scope::OneLabel;
            rules.rules.push(Rule {
                scope,
                ..rule.clone()
            });
        }
        rules.rules.push(rule);
    }
    Ok(rules)
}

/// Names pinned domains in a place where they have no effect.
fn lose_nested(security: &Entry, losses: &mut Losses) -> Result<(), InputError> {
    let Some(exceptions) = security.get(EXCEPTIONS) else {
        return Ok(());
    };
    for (name, exception) in exceptions.dict(EXCEPTIONS)? {
        let is_nested = name == PINNED
            || [PINNED, LEAF, CA]
                .into_iter()
                .any(|it| exception.get(it).is_some());
        if is_nested {
            let detail = format!(
                "pins in {EXCEPTIONS} (under {name}) have no effect, and are not taken over; \
                 {PINNED} is a member of {SECURITY}"
            );
            losses.of_file(LossKind::Ignored, detail);
        } else if exception
            .get("NSExceptionAllowsInsecureHTTPLoads")
            .is_some()
        {
            let detail = format!("whether http:// is allowed to {name} is not taken over");
            losses.of_file(LossKind::PlainHttp, detail);
        }
    }
    Ok(())
}

fn groups(host: &Host, domain: &Entry, losses: &mut Losses) -> Result<Vec<PinGroup>, InputError> {
    let mut groups = Vec::new();
    for (name, value) in domain.dict("a pinned domain")? {
        let role = match name.as_str() {
            LEAF => PinRole::Leaf,
            CA => PinRole::Ca,
            SUBDOMAINS => continue,
            _ => {
                losses.of(
                    host,
                    LossKind::Ignored,
                    format!("the key {name} is not taken over"),
                );
                continue;
            }
        };
        let mut pins = Vec::new();
        for identity in value.array(name)? {
            let Some(hash) = identity.get(HASH) else {
                return Err(identity.place.error(format!("an identity without {HASH}")));
            };
            pins.push(hash.place.pin(hash.string(HASH)?)?);
        }
        groups.extend(group_of(role, pins));
    }
    // In the order in which they are written.
    groups.sort_by_key(|group| group.pins(PinRole::Leaf).is_none());
    Ok(groups)
}

pub(super) fn write(rules: &Rules) -> io::Result<String> {
    write_plist(|xml| {
        dict_entry(xml, SECURITY, |xml| {
            dict_entry(xml, PINNED, |xml| {
                for rule in &rules.rules {
                    // The names with one label more have the same pins.
                    if rule.scope == Scope::Host {
                        let mut all = rules.rules.iter();
                        let pair = all.any(|it| it.host == rule.host && it.scope != rule.scope);
                        dict_entry(xml, rule.host.as_str(), |xml| domain(xml, rule, pair))?;
                    }
                }
                Ok(())
            })
        })
    })
}

fn domain(xml: &mut Xml, rule: &Rule, includes_subdomains: bool) -> io::Result<()> {
    bool_entry(xml, SUBDOMAINS, includes_subdomains)?;
    for (name, role) in [(LEAF, PinRole::Leaf), (CA, PinRole::Ca)] {
        let pins = rule.groups.iter().filter_map(|group| group.pins(role));
        let pins = pins.flat_map(pinhold::PinSet::iter).collect::<Vec<_>>();
        if pins.is_empty() {
            continue;
        }
        array_entry(xml, name, |xml| {
            for pin in &pins {
                dict_of(xml, |xml| string_entry(xml, HASH, &pin.to_base64()))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
