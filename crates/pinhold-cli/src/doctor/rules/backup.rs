//! Groups of pins without a true backup.

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::judge::case::{Case, Chain};
use crate::doctor::judge::future::{Future, Kind};
use crate::doctor::judge::paths::position;
use crate::doctor::rules::Rule;

pub(super) const NO_BACKUP: Rule = Rule {
    id: "no-backup",
    severity: Severity::Warning,
    what: "A group has one pin, or all of its pins are in one chain that is served.",
    find: no_backup,
};

pub(super) const BACKUP_UNSEEN: Rule = Rule {
    id: "backup-unseen",
    severity: Severity::Notice,
    what: "A pinned key is in no chain and no data, so that it can't be checked.",
    find: unseen,
};

fn no_backup(case: &Case<'_>) -> Vec<Finding> {
    let findings = case.groups.iter().filter_map(|group| {
        let evidence = lack(group, case)?;
        let remedy = "add the pin of a key that is kept offline (`pinhold key new`), or of a root of \
                      another CA";
        Some(NO_BACKUP.finding(evidence, remedy))
    });
    findings.collect()
}

/// Returns why a group has no backup; `None` if it has one.
fn lack(group: &[Future<'_>], case: &Case<'_>) -> Option<String> {
    let first = group.first()?.pin.fingerprint;
    if group.iter().all(|pin| pin.pin.fingerprint == first) {
        return Some(format!("{first} is the only pin of a group"));
    }
    let has_all = |chain: &&Chain<'_>| {
        group.iter().all(|pin| {
            let mut paths = chain.paths();
            paths.any(|path| position(pin.pin, &path.keys).is_some())
        })
    };
    let chain = case.chains.iter().find(has_all)?;
    let is = |kind| group.iter().any(|pin| pin.kind == kind);
    let source = &chain.source;
    Some(if is(Kind::Leaf) && group.len() == 2 {
        format!(
            "the only other pin of a group is an issuer of the live key in the chain of {source}"
        )
    } else {
        format!("all pins of a group are in the chain of {source}: none is a backup")
    })
}

fn unseen(case: &Case<'_>) -> Vec<Finding> {
    let unknown = case.pins().filter(|pin| pin.kind == Kind::Unknown);
    let findings = unknown.map(|pin| {
        let evidence = format!(
            "{} is in no chain and not known: whether its key exists can't be checked",
            pin.pin.fingerprint
        );
        let remedy = "compare it with the key that is kept (`pinhold fingerprint FILE`)";
        BACKUP_UNSEEN.finding(evidence, remedy)
    });
    findings.collect()
}
