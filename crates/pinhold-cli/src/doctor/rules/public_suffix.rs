//! Pins for subdomains of others.

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::rules::Rule;
use crate::suffixes;

pub(super) const PUBLIC_SUFFIX: Rule = Rule {
    id: "public-suffix",
    severity: Severity::Warning,
    what: "The pins cover the subdomains of a public suffix, which belong to others.",
    find,
};

fn find(case: &Case<'_>) -> Vec<Finding> {
    let (host, scope) = (&case.subject.host, case.subject.scope);
    let kind = suffixes::shared_subdomains(host, scope, case.setting.suffixes);
    let finding = kind.map(|kind| {
        let evidence = format!("the policy of {host} covers its subdomains, but it is {kind}");
        PUBLIC_SUFFIX.finding(evidence, "set the policy for your own domain below it")
    });
    finding.into_iter().collect()
}
