//! Bundles and data that are too old.

use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{Certainty, DataAge, Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::judge::facts::Facts;
use crate::doctor::rules::{HORIZON, Rule, SOON, cited, day};

pub(super) const BUNDLE_STALE: Rule = Rule {
    id: "bundle-stale",
    severity: Severity::Warning,
    what: "The bundle is stale, so that clients no longer rely on its pins, or is so in 30 days.",
    find: bundle,
};

pub(super) const DATA_OLD: Rule = Rule {
    id: "data-old",
    severity: Severity::Warning,
    what: "The facts about CAs are older than 90 days.",
    // It concerns no single name.
    find: |_| Vec::new(),
};

pub(super) const PROGRAMME_DATE: Rule = Rule {
    id: "programme-date",
    severity: Severity::Notice,
    what: "From a date on, a root programme requires something else of all CAs.",
    // It concerns no single name.
    find: |_| Vec::new(),
};

/// Returns what will be required within the next 398 days.
pub(super) fn dates(facts: Facts<'_>, now: UnixTime) -> impl Iterator<Item = Finding> {
    let until = now.as_secs().saturating_add(HORIZON);
    let dates = facts.programme_dates();
    let dates = dates.filter(move |date| date.at.as_secs() <= until);
    dates.map(|date| Finding {
        date: Some(date.at),
        certainty: Certainty::Announced,
        ..PROGRAMME_DATE.finding(
            cited(&date.statement),
            "none, unless certificates are ordered for it",
        )
    })
}

fn bundle(case: &Case<'_>) -> Vec<Finding> {
    let now = case.setting.at;
    let staleness = case.subject.staleness;
    let staleness = staleness.filter(|it| it.at.as_secs() <= now.as_secs().saturating_add(SOON));
    let finding = staleness.map(|it| {
        let is_stale = now > it.at;
        let verb = if is_stale {
            "has been stale since"
        } else {
            "becomes stale on"
        };
        let evidence = format!("the bundle {verb} {}: then {}", day(it.at), it.then);
        Finding {
            severity: if is_stale {
                Severity::Warning
            } else {
                Severity::Notice
            },
            date: (!is_stale).then_some(it.at),
            ..BUNDLE_STALE.finding(evidence, "sign and publish the next bundle")
        }
    });
    finding.into_iter().collect()
}

/// Finds data that is too old.
pub(super) fn of_data(age: &DataAge) -> Option<Finding> {
    (age.days > MAX_DAYS).then(|| {
        let (days, source, date) = (age.days, &age.source, day(age.date));
        let evidence = format!(
            "the facts about CAs ({source}) are {days} days old, as of {date}: later announcements \
             are missing"
        );
        DATA_OLD.finding(
            evidence,
            "use a newer version of the program, or --pki-data FILE",
        )
    })
}

const MAX_DAYS: u64 = 90;
