//! The end of certificates whose own keys are pinned.

use crate::doctor::forecast::{Certainty, Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::judge::future::Kind;
use crate::doctor::rules::{Rule, day};

pub(super) const LEAF_EXPIRY: Rule = Rule {
    id: "leaf-expiry",
    severity: Severity::Warning,
    what: "The certificate of a pinned server key ends; the pin holds afterwards only if the key is \
           kept.",
    find,
};

fn find(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for group in &case.groups {
        let live = group
            .iter()
            .filter(|pin| pin.kind == Kind::Leaf && pin.holds == Some(true));
        for pin in live {
            let Some(end) = &pin.end else {
                continue;
            };
            let mut others = group.iter().filter(|other| other.kind != Kind::Leaf);
            let has_other = others.any(|other| other.outlives(end.at));
            let evidence = format!(
                "the certificate of {} with the pinned key {} ends on {}: the next one may have \
                 another key",
                pin.name,
                pin.pin.fingerprint,
                day(end.at)
            );
            findings.push(Finding {
                severity: if has_other {
                    Severity::Notice
                } else {
                    Severity::Warning
                },
                date: Some(end.at),
                certainty: Certainty::Risk,
                ..LEAF_EXPIRY.finding(evidence, REMEDY)
            });
        }
    }
    findings
}

const REMEDY: &str = "renew the certificate with the same key, or with that of a backup pin";
