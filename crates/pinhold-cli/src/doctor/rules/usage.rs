//! Certificates whose usages verifiers will no longer accept.

use std::time::Duration;

use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{Certainty, Finding, RootStore, Severity};
use crate::doctor::judge::case::Case;
use crate::doctor::rules::{Rule, day};

pub(super) const KEY_USAGE: Rule = Rule {
    id: "key-usage",
    severity: Severity::Warning,
    what: "The key usage of a server's certificate lacks digitalSignature, which webpki 0.104 \
           demands.",
    find: key_usage,
};

pub(super) const CLIENT_AUTHENTICATION: Rule = Rule {
    id: "client-authentication",
    severity: Severity::Warning,
    what: "A public certificate is for servers and clients, which Chrome accepts in none that is \
           issued from 2027-03-15 on.",
    find: client_authentication,
};

fn key_usage(case: &Case<'_>) -> Vec<Finding> {
    let leaves = case.leaves().filter(|(_, leaf)| leaf.signs == Some(false));
    let findings = leaves.map(|(chain, leaf)| {
        let evidence = format!(
            "{}: the key usage of {} lacks digitalSignature; clients with webpki 0.104 will refuse it",
            chain.source,
            leaf.name()
        );
        KEY_USAGE.risk(evidence, "issue the next certificate with digitalSignature")
    });
    findings.collect()
}

fn client_authentication(case: &Case<'_>) -> Vec<Finding> {
    let date = UnixTime::since_unix_epoch(SERVERS_ONLY);
    let is_public = |store| store == RootStore::Mozilla;
    let leaves = case.leaves().filter(|(chain, leaf)| {
        let mut paths = chain.paths();
        leaf.is_for_both && paths.any(|path| is_public(path.store)) && case.setting.at < date
    });
    let findings = leaves.map(|(chain, leaf)| {
        let evidence = format!(
            "{}: the certificate of {} is for servers and clients; from {} on such ones come from \
             other roots, if at all",
            chain.source,
            leaf.name(),
            day(date)
        );
        let remedy = "order a certificate for servers only, and another one for clients";
        Finding {
            date: Some(date),
            certainty: Certainty::Announced,
            ..CLIENT_AUTHENTICATION.finding(evidence, remedy)
        }
    });
    findings.collect()
}

/// 2027-03-15, by the policy of Chrome's root programme.
const SERVERS_ONLY: Duration = Duration::from_secs(1_805_068_800);
