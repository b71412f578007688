//! CAA records that contradict the pins.

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::judge::future::{Future, Kind};
use crate::doctor::observation::Caa;
use crate::doctor::rules::Rule;

pub(super) const PERMITS_OTHERS: Rule = Rule {
    id: "caa-permits-unpinned",
    severity: Severity::Warning,
    what: "CAA records permit a CA whose certificates the pins refuse.",
    find: permits,
};

pub(super) const FORBIDS_PINS: Rule = Rule {
    id: "caa-forbids-pinned",
    severity: Severity::Error,
    what: "CAA records forbid the pinned CAs, so that the next certificate is refused or not issued.",
    find: forbids,
};

pub(super) const UNKNOWN: Rule = Rule {
    id: "caa-unknown",
    severity: Severity::Notice,
    what: "The CAA records could not be read, so that they are not compared with the pins.",
    find: unknown,
};

/// The domain with the records, and the issuers that they permit.
fn issuers<'c>(case: &'c Case<'_>) -> Option<(&'c str, &'c [String])> {
    let mut leaves = case.leaves().map(|(_, leaf)| leaf);
    let is_wildcard = leaves.any(|leaf| {
        let mut names = leaf.facts.names.iter();
        names.any(|name| name.starts_with("*."))
    });
    match &case.observations.caa {
        Caa::Found {
            domain,
            issue,
            issue_wild,
        } => {
            let wild = issue_wild.as_ref().filter(|_| is_wildcard);
            Some((domain, wild.unwrap_or(issue)))
        }
        Caa::Unrestricted { domain, issue_wild } => {
            let wild = issue_wild.as_ref().filter(|_| is_wildcard)?;
            Some((domain, wild))
        }
        Caa::NotQueried | Caa::Failed(_) | Caa::Absent => None,
    }
}

/// Returns whether any CA could certify a pinned key, as it is the operator's own.
fn has_own_key(group: &[Future<'_>]) -> bool {
    group
        .iter()
        .any(|pin| matches!(pin.kind, Kind::Leaf | Kind::Unknown))
}

fn unknown(case: &Case<'_>) -> Vec<Finding> {
    let Caa::Failed(reason) = &case.observations.caa else {
        return Vec::new();
    };
    let evidence = format!("CAA records are not compared with the pins: {reason}");
    let remedy = "see whether the DNS server answers, or give another one by --resolver";
    vec![UNKNOWN.finding(evidence, remedy)]
}

fn permits(case: &Case<'_>) -> Vec<Finding> {
    let Some((domain, issuers)) = issuers(case) else {
        return Vec::new();
    };
    let data = case.setting.facts.data;
    let mut findings = Vec::new();
    for group in case.groups.iter().filter(|group| !has_own_key(group)) {
        for issuer in issuers {
            let operators = data.permitted_by(issuer).collect::<Vec<_>>();
            let is_pinned = group.iter().filter_map(|pin| pin.ca).any(|ca| {
                let mut permitted = operators.iter();
                permitted.any(|operator| operator.name == ca.operator)
            });
            let Some(operator) = operators.first().filter(|_| !is_pinned) else {
                continue;
            };
            let evidence = format!(
                "the CAA records of {domain} permit {} (\"{issuer}\"), whose certificates the pins \
                 refuse",
                operator.name
            );
            let remedy =
                "remove the issuer from the CAA records, or add the pin of a root of that CA";
            findings.push(PERMITS_OTHERS.risk(evidence, remedy));
        }
    }
    findings
}

fn forbids(case: &Case<'_>) -> Vec<Finding> {
    let Some((domain, issuers)) = issuers(case) else {
        return Vec::new();
    };
    let data = case.setting.facts.data;
    let is_forbidden = |pin: &Future<'_>| {
        let operator = pin.ca.and_then(|ca| data.operator(&ca.operator));
        let operator = operator.filter(|operator| !operator.caa.is_empty());
        operator.is_some_and(|it| !it.caa.iter().any(|name| issuers.contains(name)))
    };
    let mut findings = Vec::new();
    for group in &case.groups {
        let forbidden = group
            .iter()
            .filter(|pin| is_forbidden(pin))
            .collect::<Vec<_>>();
        let Some(first) = forbidden.first().and_then(|pin| pin.ca) else {
            continue;
        };
        let is_all = forbidden.len() == group.len();
        let evidence = format!(
            "the CAA records of {domain} forbid {}, a CA of {} pins of a group",
            first.operator,
            if is_all { "all" } else { "some" }
        );
        let remedy =
            "permit the pinned CA in the CAA records before the next certificate is issued";
        findings.push(Finding {
            severity: if is_all {
                Severity::Error
            } else {
                Severity::Notice
            },
            ..FORBIDS_PINS.risk(evidence, remedy)
        });
    }
    findings
}
