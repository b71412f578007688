//! Pins that hold only through a cross-signed certificate.

use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{Certainty, Finding, Severity};
use crate::doctor::judge::case::{Case, Chain};
use crate::doctor::judge::facts::earliest_of;
use crate::doctor::judge::future::Future;
use crate::doctor::judge::paths::{ValidPath, position};
use crate::doctor::rules::{Rule, day, urgency};

pub(super) const CROSS_SIGN_ENDS: Rule = Rule {
    id: "cross-sign-ends",
    severity: Severity::Error,
    what: "A pin holds through a cross-signed certificate only, which ends.",
    find: ends,
};

pub(super) const SHORTER_PATH: Rule = Rule {
    id: "shorter-path",
    severity: Severity::Warning,
    what: "The pins hold on a longer path only, and a shorter one ends in a root or intermediate \
           that is an anchor and not pinned.",
    find: shorter,
};

fn ends(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for group in &case.groups {
        for pin in group {
            let Some((name, date, certainty)) = cross_sign(pin, case) else {
                continue;
            };
            let evidence = format!(
                "the pin of {} holds only through the cross-signed certificate of {name}, which ends \
                 on {}",
                pin.name,
                day(date)
            );
            findings.push(Finding {
                severity: urgency(pin, group, date, case.setting.at),
                date: Some(date),
                certainty,
                ..CROSS_SIGN_ENDS.finding(evidence, REMEDY)
            });
        }
    }
    findings
}

/// Returns the cross-signed certificate whose end is that of the pin.
fn cross_sign(pin: &Future<'_>, case: &Case<'_>) -> Option<(String, UnixTime, Certainty)> {
    let end = pin.end.as_ref().filter(|_| pin.holds == Some(true))?;
    let facts = case.setting.facts;
    for chain in &case.chains {
        let paths = chain.paths();
        for path in paths.filter(|path| position(pin.pin, &path.keys).is_some_and(|it| it > 0)) {
            let certificates = path.certificates(chain.certificates()).skip(1);
            for certificate in certificates.filter(|it| facts.is_root(&it.key)) {
                let ca = facts.key(&certificate.key);
                let announced = ca.and_then(|ca| facts.cross_sign_end(ca));
                let announced = announced.map(|end| (end.at, end.certainty));
                let own = (certificate.facts.not_after, Certainty::Certain);
                let (at, certainty) = earliest_of(own, announced);
                if at == end.at {
                    return Some((certificate.name().to_owned(), at, certainty));
                }
            }
        }
    }
    None
}

fn shorter(case: &Case<'_>) -> Vec<Finding> {
    let findings = case.chains.iter().filter_map(|chain| {
        let (anchor, long) = detour(chain)?;
        let evidence = format!(
            "{}: a valid path ends in {anchor}, which is not pinned; the pins hold only on the longer \
             path {}, as long as the server sends it. A client that takes the first path is locked out",
            chain.source,
            long.join(" > ")
        );
        Some(SHORTER_PATH.risk(evidence, "add the pin of the nearer root"))
    });
    findings.collect()
}

/// Returns the anchor of a path without the pins, and the names of a path through its key that has
/// them.
fn detour<'c>(chain: &'c Chain<'_>) -> Option<(&'c str, &'c [String])> {
    let pinned = |path: &&ValidPath| path.is_pinned;
    chain
        .paths()
        .filter(|path| !path.is_pinned && !path.skips_pins)
        .find_map(|short| {
            let anchor = short.keys.last()?;
            let mut long = chain.paths().filter(pinned);
            let long = long.find(|long| {
                let below = long.keys.split_last().map(|(_, below)| below);
                below.is_some_and(|below| below.contains(anchor)) && long.store == short.store
            })?;
            Some((short.root_name()?, long.names()))
        })
}

const REMEDY: &str = "pin a root that clients have themselves, and release it before that date";
