//! Lifetimes of certificates that become shorter than those of pins.

use crate::doctor::forecast::{Certainty, Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::judge::future::Kind;
use crate::doctor::rules::{Rule, day};

pub(super) const LIFETIME: Rule = Rule {
    id: "lifetime",
    severity: Severity::Warning,
    what: "A server key is pinned, and certificates will have to be renewed more often.",
    find,
};

fn find(case: &Case<'_>) -> Vec<Finding> {
    let now = case.setting.at;
    let lifetimes = case.setting.facts.data.lifetimes().iter();
    let next = lifetimes.filter(|it| it.from > now && it.statement.published <= now);
    let Some(next) = next.min_by_key(|it| it.from) else {
        return Vec::new();
    };
    let findings = case.groups.iter().filter_map(|group| {
        let pin = group.iter().find(|pin| pin.kind == Kind::Leaf)?;
        let has_other = group.iter().any(|pin| pin.kind != Kind::Leaf);
        let (pin, from, days) = (pin.pin.fingerprint, day(next.from), next.days);
        let before = case.setting.facts.data.longest_lifetime(now);
        let before = before.map_or_else(String::new, |days| format!(", now {days}"));
        let evidence = format!(
            "the server key {pin} is pinned, and certificates that are issued from {from} on live at \
             most {days} days{before}: each renewal has to keep the key ({})",
            next.statement.source
        );
        let remedy = "configure the renewal to keep the key, and pin a backup";
        Some(Finding {
            severity: if has_other {
                Severity::Notice
            } else {
                Severity::Warning
            },
            date: Some(next.from),
            certainty: Certainty::Announced,
            ..LIFETIME.finding(evidence, remedy)
        })
    });
    findings.collect()
}
