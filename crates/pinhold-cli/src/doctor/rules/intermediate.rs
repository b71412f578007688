//! Pinned intermediates, which their CAs replace.

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::judge::future::{Future, Kind};
use crate::doctor::pki::CaEventKind;
use crate::doctor::rules::{Rule, cited, day};

pub(super) const ROTATING_INTERMEDIATE: Rule = Rule {
    id: "rotating-intermediate",
    severity: Severity::Error,
    what: "An intermediate certificate is pinned that its CA replaces at a date or at will.",
    find,
};

fn find(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for group in &case.groups {
        let pins = group.iter().filter(|pin| pin.kind == Kind::Intermediate);
        findings.extend(pins.map(|pin| of_pin(pin, group, case)));
    }
    findings
}

fn of_pin(pin: &Future<'_>, group: &[Future<'_>], case: &Case<'_>) -> Finding {
    let (facts, now) = (case.setting.facts, case.setting.at);
    let name = &pin.name;
    let severity = severity(pin, group);
    let replaced = pin.ca.and_then(|ca| facts.event(ca, CaEventKind::Replaced));
    if let Some(event) = replaced {
        let is_past = event.at <= now;
        let verb = if is_past { "has replaced" } else { "replaces" };
        let text = cited(&event.statement);
        let evidence = format!("the CA {verb} {name} on {}: {text}", day(event.at));
        let end = pin.end.as_ref().map(|end| end.at);
        return Finding {
            severity,
            date: if is_past { end } else { Some(event.at) },
            certainty: event.certainty,
            ..ROTATING_INTERMEDIATE.finding(evidence, REMEDY)
        };
    }
    match pin.ca.and_then(|ca| facts.rotates(ca)) {
        Some(statement) => {
            let evidence = format!(
                "the CA may replace {name} at any time: {}",
                cited(statement)
            );
            Finding {
                severity,
                ..ROTATING_INTERMEDIATE.risk(evidence, REMEDY)
            }
        }
        None => {
            let evidence =
                format!("{name} is an intermediate: what its CA plans for it is not known");
            Finding {
                severity: Severity::Notice,
                ..ROTATING_INTERMEDIATE.risk(evidence, REMEDY)
            }
        }
    }
}

/// Returns a notice if a root is pinned that holds, too; a warning if there is only a backup.
fn severity(pin: &Future<'_>, group: &[Future<'_>]) -> Severity {
    let mut others = group.iter().filter(|other| {
        matches!(other.kind, Kind::Root | Kind::Unknown | Kind::Leaf) && other.pin != pin.pin
    });
    let is_root = |other: &Future<'_>| other.kind == Kind::Root && other.holds != Some(false);
    if pin.holds == Some(false) || others.clone().any(is_root) {
        Severity::Notice
    } else if others.next().is_some() {
        Severity::Warning
    } else {
        Severity::Error
    }
}

const REMEDY: &str = "pin a root of the CA, or a key of your own, in its place";
