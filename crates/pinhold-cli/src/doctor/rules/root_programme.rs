//! Pinned roots that leave the lists of Mozilla or Chrome.

use crate::doctor::forecast::{Certainty, Finding, RootStore, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::pki::{CaEvent, CaEventKind};
use crate::doctor::rules::{Rule, cited, day, urgency};

pub(super) const ROOT_LEAVES_MOZILLA: Rule = Rule {
    id: "root-leaves-mozilla",
    severity: Severity::Error,
    what: "A pinned root leaves Mozilla's list, as by the rule of 15 years; no chain to it is valid \
           afterwards.",
    find: mozilla,
};

pub(super) const ROOT_LEAVES_CHROME: Rule = Rule {
    id: "root-leaves-chrome",
    severity: Severity::Warning,
    what: "A pinned root leaves Chrome's list, or Chrome accepts no new certificates below it \
           (SCTNotAfter): its CA has to issue from another root.",
    find: chrome,
};

fn mozilla(case: &Case<'_>) -> Vec<Finding> {
    if case.setting.has(RootStore::Files) {
        return Vec::new();
    }
    let is_event = |event: &CaEvent| event.kind == CaEventKind::LeavesMozilla;
    find(case, &ROOT_LEAVES_MOZILLA, is_event)
}

fn chrome(case: &Case<'_>) -> Vec<Finding> {
    let is_event = |event: &CaEvent| {
        matches!(
            event.kind,
            CaEventKind::ChromeSctNotAfter | CaEventKind::LeavesChrome
        )
    };
    find(case, &ROOT_LEAVES_CHROME, is_event)
}

fn find(case: &Case<'_>, rule: &Rule, is_event: impl Fn(&CaEvent) -> bool) -> Vec<Finding> {
    let now = case.setting.at;
    let mut findings = Vec::new();
    for group in &case.groups {
        for pin in group {
            let events = pin.ca.map(|ca| case.setting.facts.events(ca));
            for event in events.into_iter().flatten().filter(|event| is_event(event)) {
                let severity = match event.certainty {
                    Certainty::Risk => Severity::Notice,
                    _ => urgency(pin, group, event.at, now).min(rule.severity),
                };
                let (name, text) = (&pin.name, cited(&event.statement));
                findings.push(Finding {
                    severity,
                    date: Some(event.at),
                    certainty: event.certainty,
                    ..rule.finding(format!("{name}, {}: {text}", day(event.at)), REMEDY)
                });
            }
        }
    }
    findings
}

const REMEDY: &str = "pin a root of the CA that stays, and move the server to a chain to it before \
                      that date";
