//! Header fields `Public-Key-Pins` and `Public-Key-Pins-Report-Only` (RFC 7469).

use std::collections::HashMap;

use pinhold::header::{HeaderSyntax, PinHeader};
use pinhold::policy::{AfterExpiry, PinGroup, PinRole, Scope};
use pinhold::{Enforcement, Host};

use crate::pins::abilities::{Abilities, Exempt, Expiry, Names, Overlaps, Roles};
use crate::pins::expiry::after;
use crate::pins::loss::{LossKind, Losses};
use crate::pins::rules::{Rule, Rules, group_of};
use crate::pins::source::{Context, HostLines, InputError, Place, host_line, no_host};

const FIELD: &str = "Public-Key-Pins";
const REPORT_ONLY: &str = "Public-Key-Pins-Report-Only";

pub(super) fn abilities() -> Abilities {
    Abilities {
        names: vec![Names::HostAndSubdomains],
        roles: Roles::Any,
        exempt: Exempt::Never,
        expiry: Expiry::MaxAge,
        overlap: Overlaps::Nearest,
        report_uris: 1,
        one_entry: true,
        // A client ignores a header without a backup pin (RFC 7469 section 2.5).
        says: vec![LossKind::Candidate, LossKind::Port, LossKind::ReportOnly],
    }
}

pub(super) fn read(
    text: &str,
    context: &Context,
    losses: &mut Losses,
) -> Result<Rules, InputError> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut known = HashMap::new();
    for (place, host, line) in HostLines::new(text, context) {
        let (header, is_report_only) = parse(place, line)?;
        let host = host.ok_or_else(|| no_host(place))?;
        for name in header.unknown_algorithms() {
            losses.of(
                &host,
                LossKind::Algorithm,
                format!("a pin by {name} is not taken over"),
            );
        }
        let Some(group) = group_of(PinRole::Any, header.pins().iter().copied()) else {
            return Err(place.error("no SHA-256 pin"));
        };
        if !is_report_only && header.pins().len() == 1 {
            let detail = "a client of the source ignores a field with a single SHA-256 pin (RFC 7469 \
                          section 2.5): the target pins the host";
            losses.of(&host, LossKind::Backup, detail);
        }
        let next = rules.len();
        let index = *known.entry(host.clone()).or_insert(next);
        let rule = rule(host, &header, group, context, is_report_only, losses);
        match rules.get_mut(index) {
            None => rules.push(rule),
            Some(known) if known.enforcement == rule.enforcement || !known.candidate.is_empty() => {
                return Err(place.error(format!("a second field of its kind of {}", rule.host)));
            }
            Some(known) => join(known, rule, losses),
        }
    }
    // Its duration is zero: clients remove the pins.
    rules.retain(|rule| {
        let is_removed = rule
            .expiry
            .is_some_and(|(at, _)| at.as_secs() <= context.at.as_secs());
        if is_removed {
            losses.of(
                &rule.host,
                LossKind::Expiry,
                "max-age=0 removes the pins: none are taken over",
            );
        }
        !is_removed
    });
    Ok(Rules {
        rules,
        ..Rules::default()
    })
}

fn parse(place: Place, line: &str) -> Result<(PinHeader, bool), InputError> {
    let (is_report_only, value) = match line.split_once(':') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case(REPORT_ONLY) => (true, value),
        Some((name, value)) if name.trim().eq_ignore_ascii_case(FIELD) => (false, value),
        _ => (false, line),
    };
    let value = value.trim().as_bytes();
    let header = if is_report_only {
        PinHeader::parse_report_only(value, HeaderSyntax::Rfc7469)
    } else {
        PinHeader::parse(value, HeaderSyntax::Rfc7469)
    };
    let header = header.map_err(|error| place.error(error))?;
    Ok((header, is_report_only))
}

fn rule(
    host: Host,
    header: &PinHeader,
    group: PinGroup,
    context: &Context,
    is_report_only: bool,
    losses: &mut Losses,
) -> Rule {
    let scope = if header.includes_subdomains() {
        Scope::HostAndSubdomains
    } else {
        Scope::Host
    };
    let mut rule = Rule::new(host, scope, vec![group]);
    rule.report_uris.extend(header.report_uri().cloned());
    if is_report_only {
        rule.enforcement = Enforcement::ReportOnly;
    }
    if let Some(age) = header.max_age() {
        let detail = "each response renews the duration in the source; in the target it counts from \
                      the time of --at";
        losses.of(&rule.host, LossKind::Expiry, detail);
        rule.expiry = Some((after(context.at, age.as_secs()), AfterExpiry::Unpin));
    }
    rule
}

/// Makes the pins of the report-only field the candidate of the enforced ones.
fn join(known: &mut Rule, other: Rule, losses: &mut Losses) {
    let (enforced, candidate) = if known.enforcement == Enforcement::Enforce {
        (known.clone(), other)
    } else {
        (other, known.clone())
    };
    let host = enforced.host.clone();
    if candidate.scope != enforced.scope {
        let detail = "the candidate covers the names of the enforced pins in the target";
        losses.of(&host, LossKind::Scope, detail);
    }
    if candidate.report_uris != enforced.report_uris {
        let detail = "the candidate is reported as the enforced pins are in the target";
        losses.of(&host, LossKind::Reporting, detail);
    }
    *known = Rule {
        candidate: candidate.groups,
        ..enforced
    };
}

pub(super) fn write(rules: &Rules, context: &Context) -> String {
    let mut text = String::new();
    for rule in &rules.rules {
        text += &host_line(&rule.host);
        if rule.enforcement == Enforcement::ReportOnly {
            text += &field(REPORT_ONLY, None, rule, &rule.groups);
            continue;
        }
        let end = rule.expiry.map_or(0, |(at, _)| at.as_secs());
        let age = end.saturating_sub(context.at.as_secs());
        text += &field(FIELD, Some(age), rule, &rule.groups);
        if !rule.candidate.is_empty() {
            text += &field(REPORT_ONLY, None, rule, &rule.candidate);
        }
    }
    text
}

fn field(name: &str, max_age: Option<u64>, rule: &Rule, groups: &[PinGroup]) -> String {
    let pins = groups.iter().flat_map(PinGroup::iter);
    let pins = pins.map(|(_, pin)| format!("pin-sha256=\"{}\"", pin.to_base64()));
    let mut directives = max_age
        .map(|age| format!("max-age={age}"))
        .into_iter()
        .collect::<Vec<_>>();
    directives.extend(pins);
    if rule.scope.includes_subdomains() {
        directives.push("includeSubDomains".to_owned());
    }
    let uris = rule.report_uris.iter();
    directives.extend(uris.map(|uri| format!("report-uri=\"{uri}\"")));
    format!("{name}: {}\n", directives.join("; "))
}
