//! Pins that depend on one operator of CAs.

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::judge::future::Future;
use crate::doctor::rules::Rule;

pub(super) const ONE_CA: Rule = Rule {
    id: "one-ca",
    severity: Severity::Warning,
    what: "All pins of a group are keys of one CA operator, without which the name is unreachable.",
    find,
};

fn find(case: &Case<'_>) -> Vec<Finding> {
    let findings = case.groups.iter().filter_map(|group| {
        let operator = operator_of_all(group, case)?;
        let mut evidence = format!(
            "all pins of a group are keys of {operator}: a certificate of any other CA is refused"
        );
        let services = case.setting.facts.services().join(" and ");
        if !services.is_empty() {
            evidence += &format!("; services such as {services} change the CA unannounced");
        }
        let remedy = "add the pin of a root of another CA, or of a key of your own";
        Some(ONE_CA.risk(evidence, remedy))
    });
    findings.collect()
}

fn operator_of_all<'c>(group: &'c [Future<'_>], case: &'c Case<'_>) -> Option<&'c str> {
    let mut operators = group.iter().map(|pin| Some(pin.ca?.operator.as_str()));
    if let Some(first) = operators.next()? {
        return operators.all(|it| it == Some(first)).then_some(first);
    }
    let pins = group
        .iter()
        .map(|pin| pin.pin.fingerprint)
        .collect::<Vec<_>>();
    case.setting.known.organization_of_all(&pins)
}
