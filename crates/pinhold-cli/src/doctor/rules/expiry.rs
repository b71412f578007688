//! Policies that expire.

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::rules::{Rule, SOON, day};

pub(super) const EXPIRED: Rule = Rule {
    id: "expired",
    severity: Severity::LockedOut,
    what: "The policy has expired: all connections are refused, or none is protected.",
    find: expired,
};

pub(super) const EXPIRES_SOON: Rule = Rule {
    id: "expires-soon",
    severity: Severity::Error,
    what: "The policy expires in 30 days: then all connections are refused, or none is protected.",
    find: soon,
};

fn expired(case: &Case<'_>) -> Vec<Finding> {
    let expiry = case.subject.expiry;
    let expiry = expiry.filter(|expiry| case.setting.at > expiry.at);
    let finding = expiry.map(|expiry| {
        let then = consequence(expiry.refuses);
        let evidence = format!("the policy expired on {}: {then}", day(expiry.at));
        Finding {
            severity: if expiry.refuses {
                Severity::LockedOut
            } else {
                Severity::Warning
            },
            ..EXPIRED.finding(evidence, REMEDY)
        }
    });
    finding.into_iter().collect()
}

fn soon(case: &Case<'_>) -> Vec<Finding> {
    let now = case.setting.at;
    let expiry = case.subject.expiry.filter(|expiry| {
        now <= expiry.at && expiry.at.as_secs().saturating_sub(now.as_secs()) <= SOON
    });
    let finding = expiry.map(|expiry| {
        let then = consequence(expiry.refuses);
        let evidence = format!("the policy expires on {}: then {then}", day(expiry.at));
        Finding {
            severity: if expiry.refuses {
                Severity::Error
            } else {
                Severity::Warning
            },
            date: Some(expiry.at),
            ..EXPIRES_SOON.finding(evidence, REMEDY)
        }
    });
    finding.into_iter().collect()
}

fn consequence(refuses: bool) -> &'static str {
    if refuses {
        "every connection is refused"
    } else {
        "failed pin checks no longer refuse a connection"
    }
}

const REMEDY: &str = "compare the pins with the keys of the server, and release them with a later \
                      `expires`";
