//! Chains to roots that a user or administrator added.

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::rules::Rule;

pub(super) const INTERCEPTED: Rule = Rule {
    id: "intercepted",
    severity: Severity::Warning,
    what: "A chain is valid only with a root that was added to this system, as by a proxy that \
           decrypts.",
    find,
};

fn find(case: &Case<'_>) -> Vec<Finding> {
    let chains = case.chains.iter().filter(|chain| {
        let mut paths = chain.paths().peekable();
        paths.peek().is_some() && paths.all(|path| path.skips_pins)
    });
    let findings = chains.map(|chain| {
        let root = chain.paths().next().and_then(|path| path.root_name());
        let evidence = format!(
            "{}: the chain ends in \"{}\", a root that was added to this system; nothing is known of \
             the chain that other clients receive",
            chain.source,
            root.unwrap_or_default()
        );
        INTERCEPTED.finding(evidence, "run the command from a network without such a proxy")
    });
    findings.collect()
}
