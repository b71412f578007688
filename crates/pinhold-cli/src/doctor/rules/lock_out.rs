//! Names that are refused now.

use crate::doctor::forecast::{Certainty, Finding, Severity};
use crate::doctor::judge::case::{Case, Chain, Refused, store_text};
use crate::doctor::rules::Rule;

pub(super) const LOCKED_OUT: Rule = Rule {
    id: "locked-out",
    severity: Severity::LockedOut,
    what: "Chains are valid, but have no pinned key, or a refused one, so that their servers are refused now.",
    find,
};

fn find(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for chain in &case.chains {
        let refused = chain.refused();
        findings.extend(refused.map(|refused| of_chain(chain, &refused, case)));
    }
    if findings.is_empty() {
        let dead = dead_groups(case);
        let is_refused = case.refuses(case.setting.at);
        findings.extend(dead.map(|it| if is_refused { it } else { reported(it) }));
    }
    findings
}

fn of_chain(chain: &Chain<'_>, refused: &Refused, case: &Case<'_>) -> Finding {
    let leaf = chain.certificates().first();
    let by = leaf.map_or("", |leaf| leaf.facts.issuer.as_str());
    let but = match refused.key {
        Some(key) => format!("but each path has a refused key ({key})"),
        None => "but no path has the pinned keys".to_owned(),
    };
    let evidence = format!(
        "{}: the chain is valid with {}, {but}; the certificate is issued by \"{by}\"",
        chain.source,
        store_text(refused.store)
    );
    let finding = LOCKED_OUT.finding(evidence, REMEDY);
    if case.is_refused_now(refused) {
        finding
    } else {
        reported(finding)
    }
}

/// Returns the finding for a policy that is not enforced.
fn reported(finding: Finding) -> Finding {
    Finding {
        severity: Severity::Warning,
        evidence: format!(
            "{}; it is not refused, since the policy is not enforced",
            finding.evidence
        ),
        ..finding
    }
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
