//! What could not be observed, and chains that differ.

use std::collections::HashSet;

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::observation::ProbeFailureKind;
use crate::doctor::rules::Rule;
use crate::doctor::subject::Probe;

pub(super) const NOT_OBSERVED: Rule = Rule {
    id: "not-observed",
    severity: Severity::Warning,
    what: "No chain is known, so that a name is judged by the data alone.",
    find: not_observed,
};

pub(super) const ADDRESSES_DIFFER: Rule = Rule {
    id: "addresses-differ",
    severity: Severity::Notice,
    what: "Addresses or versions of TLS have different chains.",
    find: differ,
};

fn not_observed(case: &Case<'_>) -> Vec<Finding> {
    let seen = case.chains.iter().any(|chain| chain.served.is_ok());
    let failures = case.chains.iter().filter_map(|chain| {
        let failure = chain.served.as_ref().err()?;
        let is_expected = failure.kind == ProbeFailureKind::Version;
        (!is_expected).then(|| format!("{}: {}", chain.source, failure.detail))
    });
    let left_out = case.observations.left_out.iter();
    let left_out = left_out.map(|address| format!("{address}: not connected to, one of too many"));
    let missing = failures.chain(left_out).collect::<Vec<_>>();
    if missing.is_empty() {
        return if seen { Vec::new() } else { vec![unseen(case)] };
    }
    let severity = if seen {
        Severity::Notice
    } else {
        NOT_OBSERVED.severity
    };
    vec![Finding {
        severity,
        ..NOT_OBSERVED.finding(missing.join("; "), "see whether the server is reachable")
    }]
}

/// Returns the notice that nothing was to be observed.
fn unseen(case: &Case<'_>) -> Finding {
    let name = &case.subject.host;
    let (evidence, remedy) = match case.subject.probe {
        Probe::NotProbed => (
            format!("the pins cover names below {name}, and none was given"),
            "give a HOST below it, too",
        ),
        Probe::Name(_) => (
            format!("no chain of {name} is known"),
            "run the command without --offline",
        ),
    };
    Finding {
        severity: Severity::Notice,
        ..NOT_OBSERVED.finding(evidence, remedy)
    }
}

fn differ(case: &Case<'_>) -> Vec<Finding> {
    let issuers = case.leaves().map(|(_, leaf)| leaf.facts.issuer.as_str());
    let mut seen = HashSet::new();
    let issuers = issuers
        .filter(|issuer| seen.insert(*issuer))
        .collect::<Vec<_>>();
    if issuers.len() < 2 {
        return Vec::new();
    }
    let evidence = format!(
        "certificates of different issuers are served: {}",
        issuers.join(" / ")
    );
    let remedy = "see that each of the chains has a pinned key after its renewal, too";
    vec![ADDRESSES_DIFFER.finding(evidence, remedy)]
}

/// Returns the notice that the roots of the platform are not known.
pub(super) fn without_platform_roots(reason: &str) -> Finding {
    let evidence = format!("paths to the roots of this system are not judged: {reason}");
    Finding {
        severity: Severity::Notice,
        ..NOT_OBSERVED.finding(evidence, "none, if clients have Mozilla's roots")
    }
}
