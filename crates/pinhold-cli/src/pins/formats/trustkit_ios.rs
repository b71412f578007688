//! TrustKit for iOS and macOS: the dictionary `TSKConfiguration` of an `Info.plist` in XML.
//!
//! Checked against `parse_configuration.m`, `configuration_utils.m` and `TSKTrustKitConfig.m`.

use std::io;

use pinhold::policy::{AfterExpiry, PinRole, Scope};
use pinhold::{Enforcement, Host};

use crate::pins::abilities::{Abilities, Exempt, Expiry, Names, Overlaps, Roles};
use crate::pins::expiry::{parse_date, print_date};
use crate::pins::formats::android::{DEFAULT_REPORT, TOO_FEW};
use crate::pins::loss::{LossKind, Losses};
use crate::pins::overlap::lose_after_expiry;
use crate::pins::rules::{Rule, Rules, group_of};
use crate::pins::source::InputError;
use crate::pins::xml::{
    Entry, Xml, array_entry, bool_entry, dict_entry, element, read_plist, string_entry, write_plist,
};

const CONFIGURATION: &str = "TSKConfiguration";
const SWIZZLE: &str = "TSKSwizzleNetworkDelegates";
const PINNED: &str = "TSKPinnedDomains";
const HASHES: &str = "TSKPublicKeyHashes";
const SUBDOMAINS: &str = "TSKIncludeSubdomains";
const EXCLUDE: &str = "TSKExcludeSubdomainFromParentPolicy";
const ENFORCE: &str = "TSKEnforcePinning";
const EXPIRATION: &str = "TSKExpirationDate";
const REPORT_URIS: &str = "TSKReportUris";
const DISABLE_DEFAULT: &str = "TSKDisableDefaultReportUri";

const KNOWN: [&str; 8] = [
    HASHES,
    SUBDOMAINS,
    EXCLUDE,
    ENFORCE,
    EXPIRATION,
    REPORT_URIS,
    DISABLE_DEFAULT,
    // Has had no effect since TrustKit knows all algorithms.
    "TSKPublicKeyAlgorithms",
];

pub(super) fn abilities() -> Abilities {
    Abilities {
        names: vec![Names::HostAndSubdomains],
        roles: Roles::Any,
        // An entry that excludes may have no other key, so it can't include its subdomains.
        exempt: Exempt::EntryAlone,
        expiry: Expiry::DateUtc,
        // `getPinningConfigurationKeyForDomain` takes the first parent of the dictionary.
        overlap: Overlaps::Arbitrary,
        report_uris: usize::MAX,
        one_entry: true,
        says: vec![LossKind::ReportOnly, LossKind::Port],
    }
}

pub(super) fn read(text: &str, losses: &mut Losses) -> Result<Rules, InputError> {
    let root = read_plist(text)?;
    let configuration = root.get(CONFIGURATION).unwrap_or(&root);
    let Some(domains) = configuration.get(PINNED) else {
        let text = format!("no {PINNED} in {CONFIGURATION}");
        return Err(configuration.place.error(text));
    };
    for (key, _) in configuration.dict(CONFIGURATION)? {
        // Whether connections of the application are pinned without its help is no policy.
        if key.starts_with("TSK") && key != PINNED && key != SWIZZLE {
            losses.of_file(
                LossKind::Ignored,
                format!("the key {key} is not taken over"),
            );
        }
    }
    let mut rules = Rules::default();
    let mut excluded = Vec::new();
    for (name, domain) in domains.dict(PINNED)? {
        let host = domain.place.host(name)?;
        if flag(domain, EXCLUDE)? == Some(true) {
            excluded.push(host);
        } else {
            rules.rules.push(rule(host, domain, losses)?);
        }
    }
    for host in excluded {
        exclude(&host, &mut rules, losses);
    }
    lose_after_expiry(&rules, losses);
    Ok(rules)
}

fn flag(domain: &Entry, name: &str) -> Result<Option<bool>, InputError> {
    domain.get(name).map(|value| value.bool(name)).transpose()
}

fn rule(host: Host, domain: &Entry, losses: &mut Losses) -> Result<Rule, InputError> {
    let mut pins = Vec::new();
    if let Some(hashes) = domain.get(HASHES) {
        for hash in hashes.array(HASHES)? {
            pins.push(hash.place.pin(hash.string(HASHES)?)?);
        }
    }
    let Some(group) = group_of(PinRole::Any, pins) else {
        return Err(domain.place.error(format!("{host} has no {HASHES}")));
    };
    let scope = match flag(domain, SUBDOMAINS)? {
        Some(true) => Scope::HostAndSubdomains,
        _ => Scope::Host,
    };
    let mut rule = Rule::new(host.clone(), scope, vec![group]);
    if flag(domain, ENFORCE)? == Some(false) {
        rule.enforcement = Enforcement::ReportOnly;
    }
    if rule.enforcement == Enforcement::Enforce && rule.pins().len() < 2 {
        losses.of(&host, LossKind::Backup, TOO_FEW);
    }
    if let Some(date) = domain.get(EXPIRATION) {
        let text = date.string(EXPIRATION)?;
        let error = || {
            date.place
                .error(format!("the date {text:?}, expected 2027-06-30"))
        };
        let at = parse_date(text).ok_or_else(error)?;
        rule.expiry = Some((at, AfterExpiry::Unpin));
    }
    if let Some(uris) = domain.get(REPORT_URIS) {
        for uri in uris.array(REPORT_URIS)? {
            rule.report_uris
                .push(uri.place.report_uri(uri.string(REPORT_URIS)?)?);
        }
    }
    if flag(domain, DISABLE_DEFAULT)? != Some(true) {
        losses.of(&host, LossKind::Reporting, DEFAULT_REPORT);
    }
    for (key, _) in domain.dict(PINNED)? {
        if !KNOWN.contains(&key.as_str()) {
            losses.of(
                &host,
                LossKind::Ignored,
                format!("the key {key} is not taken over"),
            );
        }
    }
    Ok(rule)
}

fn exclude(host: &Host, rules: &mut Rules, losses: &mut Losses) {
    let mut is_exempt = false;
    for rule in &mut rules.rules {
        if rule.scope.includes_subdomains() && host.is_subdomain_of(&rule.host) {
            rule.exempt.push(host.clone());
            is_exempt = true;
        }
    }
    let detail = if is_exempt {
        "the names below it are pinned by the source, and exempt in the target"
    } else {
        "is excluded from a parent that does not include it"
    };
    losses.of(host, LossKind::Exempt, detail);
}

pub(super) fn write(rules: &Rules) -> io::Result<String> {
    let excluded = rules.rules.iter().flat_map(|rule| &rule.exempt);
    let mut excluded = excluded.collect::<Vec<_>>();
    excluded.sort_unstable();
    excluded.dedup();
    write_plist(|xml| {
        dict_entry(xml, CONFIGURATION, |xml| {
            bool_entry(xml, SWIZZLE, false)?;
            dict_entry(xml, PINNED, |xml| {
                for rule in &rules.rules {
                    dict_entry(xml, rule.host.as_str(), |xml| domain(xml, rule))?;
                }
                for host in &excluded {
                    dict_entry(xml, host.as_str(), |xml| bool_entry(xml, EXCLUDE, true))?;
                }
                Ok(())
            })
        })
    })
}

fn domain(xml: &mut Xml, rule: &Rule) -> io::Result<()> {
    bool_entry(xml, SUBDOMAINS, rule.scope.includes_subdomains())?;
    bool_entry(xml, ENFORCE, rule.enforcement == Enforcement::Enforce)?;
    if let Some((at, _)) = rule.expiry {
        string_entry(xml, EXPIRATION, &print_date(at))?;
    }
    array_entry(xml, HASHES, |xml| {
        let mut pins = rule.pins().into_iter();
        pins.try_for_each(|pin| element(xml, "string", &pin.to_base64()))
    })?;
    bool_entry(xml, DISABLE_DEFAULT, true)?;
    if !rule.report_uris.is_empty() {
        array_entry(xml, REPORT_URIS, |xml| {
            let mut uris = rule.report_uris.iter();
            uris.try_for_each(|uri| element(xml, "string", uri.as_str()))
        })?;
    }
    Ok(())
}
