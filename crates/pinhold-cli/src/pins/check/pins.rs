//! Findings about single pins and lists of pins.

use std::collections::HashSet;

use pinhold::{Host, SpkiFingerprint};

use crate::pins::check::finding::Finding;
use crate::pins::check::known::Known;
use crate::pins::check::source::{PinList, PolicySource, Source};

pub(crate) fn findings(source: &Source, known: &Known) -> Vec<Finding> {
    let refused = source.refused_keys.0.iter().map(|(pin, _)| *pin);
    let refused = refused.collect::<HashSet<_>>();
    let mut findings = of_certificates(&source.refused_keys, source, known);
    for policy in &source.policies {
        for list in &policy.lists {
            let mut own = of_certificates(list, source, known);
            own.extend(of_refused_keys(list, source, &refused));
            own.extend(repeated(list, source));
            findings.extend(own.into_iter().map(|finding| with_host(finding, policy)));
        }
    }
    findings
}

fn with_host(finding: Finding, policy: &PolicySource) -> Finding {
    match policy.hosts.first() {
        Some((name, _)) => match Host::parse(name) {
            Ok(host) => finding.of_host(host),
            Err(_) => finding.of_host(name),
        },
        None => finding,
    }
}

/// Finds pins that are the SHA-256 of a known certificate.
fn of_certificates(list: &PinList, source: &Source, known: &Known) -> Vec<Finding> {
    let findings = list.0.iter().filter_map(|(pin, end)| {
        let certificate = known.certificate(pin)?;
        let detail = format!(
            "{pin} is the SHA-256 of a certificate, not of its key, and matches no chain: {} in {}",
            certificate.subject, certificate.source
        );
        let remedy = format!("replace it by {}", certificate.pin);
        let finding = Finding::error("certificate-pin", detail, &remedy);
        Some(finding.at(source.place(*end)))
    });
    findings.collect()
}

fn of_refused_keys(
    list: &PinList,
    source: &Source,
    refused: &HashSet<SpkiFingerprint>,
) -> Vec<Finding> {
    let both = list.0.iter().filter(|(pin, _)| refused.contains(pin));
    let findings = both.map(|(pin, end)| {
        let detail =
            format!("{pin} is pinned, but in `refused_keys`, too: a chain with it is refused");
        let remedy = "remove it from the policy, or from `refused_keys` if it is still trusted";
        Finding::error("refused-pin", detail, remedy).at(source.place(*end))
    });
    findings.collect()
}

/// Finds a list that looks as if it had a backup, but has only one key.
fn repeated(list: &PinList, source: &Source) -> Option<Finding> {
    let [(first, _), .., (_, last)] = list.0.as_slice() else {
        return None;
    };
    list.0.iter().all(|(pin, _)| pin == first).then(|| {
        let count = list.0.len();
        let detail = format!("all {count} pins of the list are the same key, {first}");
        let remedy = "replace all but one by pins of other keys, such as a backup";
        Finding::warning("repeated-key", detail, remedy).at(source.place(*last))
    })
}
