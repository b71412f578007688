//! Chains that validation refuses whatever the pins are, and certificates that no path needs.

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::judge::case::{Case, Chain, store_text};
use crate::doctor::judge::paths::{Invalid, ValidPath};
use crate::doctor::rules::Rule;

pub(super) const CHAIN_INVALID: Rule = Rule {
    id: "chain-invalid",
    severity: Severity::Error,
    what: "A chain is not valid, so that clients refuse it whatever the pins are.",
    find: invalid,
};

pub(super) const INCOMPLETE_CHAIN: Rule = Rule {
    id: "incomplete-chain",
    severity: Severity::Error,
    what: "A server does not send the intermediate certificate that issued its own.",
    find: incomplete,
};

pub(super) const UNUSED_CERTIFICATES: Rule = Rule {
    id: "unused-certificates",
    severity: Severity::Notice,
    what: "A server sends certificates that are on no valid path, such as a wrong intermediate.",
    find: unused,
};

fn invalid(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for chain in &case.chains {
        if let Some(invalid) = chain.invalid().filter(|_| !is_incomplete(chain)) {
            findings.push(of_chain(chain, invalid, case));
        } else if chain.paths().any(|path| !path.skips_pins) {
            findings.extend(partly_invalid(chain));
        }
    }
    findings
}

fn of_chain(chain: &Chain<'_>, invalid: &Invalid, case: &Case<'_>) -> Finding {
    let evidence = format!("{}: {}", chain.source, invalid.text());
    let finding = CHAIN_INVALID.finding(evidence, "repair the chain of the server");
    if !matches!(invalid, Invalid::RootLeft(_)) {
        return finding;
    }
    // This is the lock-out that was foreseen before the root left.
    Finding {
        severity: if case.refuses(case.setting.at) {
            Severity::LockedOut
        } else {
            finding.severity
        },
        remedy: "move the server to a chain to a root that stays, with a pinned key",
        ..finding
    }
}

/// Finds a chain that is valid with one list of roots only.
fn partly_invalid(chain: &Chain<'_>) -> Option<Finding> {
    let (store, error) = chain.results.iter().find_map(|result| {
        let error = result.paths.as_ref().err()?;
        Some((result.store, error))
    })?;
    let evidence = format!(
        "{}: the chain is not valid with {}: {}",
        chain.source,
        store_text(store),
        error.text()
    );
    let remedy = "serve a chain to a root that all clients have";
    Some(Finding {
        severity: Severity::Warning,
        ..CHAIN_INVALID.finding(evidence, remedy)
    })
}

fn incomplete(case: &Case<'_>) -> Vec<Finding> {
    let chains = case.chains.iter().filter(|chain| is_incomplete(chain));
    let findings = chains.map(|chain| {
        let leaf = chain.certificates().first();
        let evidence = format!(
            "{}: no certificate of \"{}\" is sent, which issued that of the server",
            chain.source,
            leaf.map_or("", |leaf| leaf.facts.issuer.as_str())
        );
        let remedy = "configure the server to send the chain that its CA gave with the certificate";
        INCOMPLETE_CHAIN.finding(evidence, remedy)
    });
    findings.collect()
}

fn is_incomplete(chain: &Chain<'_>) -> bool {
    let Some((leaf, others)) = chain.certificates().split_first() else {
        return false;
    };
    let issued = others
        .iter()
        .any(|it| it.facts.subject == leaf.facts.issuer);
    chain.invalid() == Some(&Invalid::UnknownIssuer) && !issued && !leaf.facts.is_self_issued()
}

fn unused(case: &Case<'_>) -> Vec<Finding> {
    let chains = case.chains.iter().filter(|chain| chain.invalid().is_none());
    let findings = chains.filter_map(|chain| {
        let is_used = |key| {
            chain
                .paths()
                .any(|path: &ValidPath| path.keys.contains(key))
        };
        let served = chain.certificates().iter();
        let unused = served.filter(|certificate| !is_used(&certificate.key));
        let names = unused
            .map(|certificate| certificate.name())
            .collect::<Vec<_>>();
        (!names.is_empty()).then(|| {
            let evidence = format!(
                "{}: on no valid path are: {}",
                chain.source,
                names.join(", ")
            );
            UNUSED_CERTIFICATES.finding(evidence, "remove them from the chain of the server")
        })
    });
    findings.collect()
}
