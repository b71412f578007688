//! Names that are refused now.

use crate::doctor::forecast::{Certainty, Finding, Severity};
use crate::doctor::judge::case::{Case, store_text};
use crate::doctor::rules::Rule;

pub(super) const LOCKED_OUT: Rule = Rule {
    id: "locked-out",
    severity: Severity::LockedOut,
    what: "Chains are valid, but have no pinned key, so that their servers are refused now.",
    find,
};

fn find(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for chain in &case.chains {
        let leaf = chain.certificates().first();
        let by = leaf.map_or("", |leaf| leaf.facts.issuer.as_str());
        for store in chain.refused() {
            let evidence = format!(
                "{}: the chain is valid with {}, but no path has the pinned keys; the certificate is \
                 issued by \"{by}\"",
                chain.source,
                store_text(store)
            );
            findings.push(LOCKED_OUT.finding(evidence, REMEDY));
        }
    }
    if findings.is_empty() {
        findings.extend(dead_groups(case));
    }
    if case.refuses(case.setting.at) {
        return findings;
    }
    let reported = findings.into_iter().map(|finding| Finding {
        severity: Severity::Warning,
        evidence: format!(
            "{}; it is not refused, since the policy is not enforced",
            finding.evidence
        ),
        ..finding
    });
    reported.collect()
}

/// Finds groups of which each pin has ended, whatever a server sends.
fn dead_groups(case: &Case<'_>) -> Option<Finding> {
    let now = case.setting.at;
    let group = case.groups.iter().find(|group| {
        group.iter().all(|pin| {
            let end = pin.end.as_ref().filter(|_| pin.holds != Some(true));
            end.is_some_and(|end| end.at <= now && end.certainty != Certainty::Risk)
        })
    })?;
    let reasons = group.iter().filter_map(|pin| pin.end.as_ref());
    let reasons = reasons.map(|end| end.reason.as_str()).collect::<Vec<_>>();
    let evidence = format!(
        "no pin of a group can hold any more: {}",
        reasons.join("; ")
    );
    Some(LOCKED_OUT.finding(evidence, REMEDY))
}

const REMEDY: &str = "move the server to a chain with a pinned key; if the chain is genuine, release \
                      its pins to the clients";
