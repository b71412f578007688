//! Pins that are the hash of something else than a key.

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::judge::future::Kind;
use crate::doctor::rules::Rule;

pub(super) const CERTIFICATE_PIN: Rule = Rule {
    id: "certificate-pin",
    severity: Severity::Error,
    what: "A pin is the SHA-256 of a certificate, not of its key, and never holds.",
    find,
};

fn find(case: &Case<'_>) -> Vec<Finding> {
    let findings = case.pins().filter_map(|pin| {
        let Kind::Certificate(key) = pin.kind else {
            return None;
        };
        let evidence = format!(
            "{} is the SHA-256 of a certificate, not of its key, and matches no chain: that of {}, \
             whose key has the pin {key}",
            pin.pin.fingerprint, pin.name
        );
        let remedy = "replace it by the pin of the key";
        Some(CERTIFICATE_PIN.finding(evidence, remedy))
    });
    findings.collect()
}
