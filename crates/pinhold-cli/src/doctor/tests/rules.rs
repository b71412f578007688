//! Each rule has a set-up in which it fires, and a similar one in which it does not.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::rules::RULES;
use crate::doctor::tests::world::World;
use crate::rfc3339;

/// A name with two CAs, of which the first one issued its certificate.
pub(super) fn base() -> Value {
    json!({
        "at": "2026-06-01",
        "data_date": "2026-05-01",
        "operators": {
            "Alpha": ["alpha.example"], "Beta": ["beta.example"], "Gamma": ["gamma.example"],
        },
        "certificates": [
            { "name": "Root A", "operator": "Alpha" },
            { "name": "Root A2", "operator": "Alpha" },
            { "name": "Root B", "operator": "Beta" },
            { "name": "Root N", "operator": "Alpha" },
            { "name": "Proxy" },
            { "name": "Root N", "issuer": "Root A", "operator": "Alpha", "until": "2026-12-01" },
            { "name": "Sub A", "issuer": "Root A", "operator": "Alpha", "until": "2030-01-01" },
            { "name": "Sub B", "issuer": "Root B", "operator": "Beta", "until": "2030-01-01" },
            leaf("leaf", "Sub A", json!(["signature"])),
            leaf("leaf B", "Sub B", json!([])),
            leaf("leaf N", "Root N", json!([])),
            leaf("leaf of a proxy", "Proxy", json!([])),
            leaf("leaf for both", "Sub A", json!(["client"])),
            leaf("leaf for RSA only", "Sub A", json!(["encipherment"])),
        ],
        "anchors": ["Root A", "Root A2", "Root B"],
        "chains": [["leaf", "Sub A"]],
        "groups": [["Root A", "Root B"]],
    })
}

fn leaf(name: &str, issuer: &str, usages: Value) -> Value {
    json!({
        "name": name, "issuer": issuer, "names": ["api.example"], "usages": usages,
        "from": "2026-05-01", "until": "2026-08-01",
    })
}

/// Returns the base with these members in place of its own.
pub(super) fn with(changes: &Value) -> Value {
    let mut spec = base();
    for (member, value) in changes.as_object().unwrap() {
        spec[member] = value.clone();
    }
    spec
}

pub(super) fn findings(changes: &Value) -> Vec<Finding> {
    let mut report = World::new(with(changes)).report();
    let mut findings = report.hosts.remove(0).findings;
    findings.extend(report.general);
    findings
}

/// A rule, its severity and date in a set-up, that set-up, and one in which the rule is silent.
type Row = (&'static str, Severity, Option<&'static str>, Value, Value);

#[test]
fn each_rule_fires_where_it_has_to_and_nowhere_else() {
    let rows = rows();
    for (id, severity, date, fires, silent) in &rows {
        let found = findings(fires);
        let found = found.iter().find(|finding| finding.id == *id);
        let found = found.unwrap_or_else(|| panic!("{id} does not fire"));
        assert_eq!(found.severity, *severity, "{id}: {}", found.evidence);
        let found_date = found.date.map(rfc3339::print);
        let expected = date.map(|date| format!("{date}T00:00:00Z"));
        assert_eq!(found_date, expected, "{id}: {}", found.evidence);
        let silent = findings(silent);
        let others = silent.iter().find(|finding| finding.id == *id);
        assert!(others.is_none(), "{id} fires: {}", others.unwrap().evidence);
    }
    let tested = rows.iter().map(|row| row.0).collect::<BTreeSet<_>>();
    let all = RULES.iter().map(|rule| rule.id).collect::<BTreeSet<_>>();
    assert_eq!(tested, all);
}

#[test]
fn the_documentation_lists_each_rule() {
    let text = include_str!("../rules.md");
    let listed = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect::<Vec<_>>();
    let rules = RULES.iter().map(|rule| {
        let severity = match rule.severity {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::LockedOut => "locked_out",
        };
        format!("| `{}` | {severity} | {} |", rule.id, rule.what)
    });
    assert_eq!(listed, rules.collect::<Vec<_>>());
}

#[test]
fn no_remedy_loosens_pins_or_adds_a_root_of_trust() {
    for changes in rows().into_iter().map(|row| row.3) {
        for finding in findings(&changes) {
            let remedy = finding.remedy;
            for word in [
                "disable",
                "remove the pin",
                "trust ",
                "--ca",
                "report-only",
                "unpin",
            ] {
                assert!(!remedy.contains(word), "{}: {remedy}", finding.id);
            }
        }
    }
}

fn rows() -> Vec<Row> {
    [rows_of_chains(), rows_of_cas(), rows_of_pins()].concat()
}

fn rows_of_chains() -> Vec<Row> {
    use Severity::{Error, LockedOut, Notice, Warning};
    let same = json!({});
    let chain = |names: &[&str]| json!({ "chains": [names] });
    let two = json!({ "chains": [["leaf", "Sub A"], ["leaf B", "Sub B"]] });
    vec![
        ("addresses-differ", Notice, None, two, same.clone()),
        (
            "chain-invalid",
            Error,
            None,
            json!({ "at": "2026-09-01" }),
            same.clone(),
        ),
        (
            "client-authentication",
            Warning,
            Some("2027-03-15"),
            chain(&["leaf for both", "Sub A"]),
            same.clone(),
        ),
        (
            "incomplete-chain",
            Error,
            None,
            chain(&["leaf"]),
            same.clone(),
        ),
        (
            "intercepted",
            Warning,
            None,
            json!({ "chains": [["leaf of a proxy"]], "user_added": ["Proxy"] }),
            json!({ "chains": [["leaf of a proxy"]] }),
        ),
        (
            "key-usage",
            Warning,
            None,
            chain(&["leaf for RSA only", "Sub A"]),
            same.clone(),
        ),
        (
            "locked-out",
            LockedOut,
            None,
            json!({ "groups": [["Root B", "backup"]] }),
            same.clone(),
        ),
        (
            "not-observed",
            Notice,
            None,
            json!({ "chains": [] }),
            same.clone(),
        ),
        (
            "unused-certificates",
            Notice,
            None,
            chain(&["leaf", "Sub A", "Sub B"]),
            same,
        ),
    ]
}

fn rows_of_cas() -> Vec<Row> {
    use Severity::{Error, Warning};
    let same = json!({});
    let event = |kind| json!([{ "key": "Root A", "kind": kind, "at": "2027-04-15" }]);
    let leaves = |kind| json!({ "groups": [["Root A", "backup"]], "events": event(kind) });
    let crossed = json!({ "chains": [["leaf N", "Root N by Root A"]] });
    let rotates = json!({ "Alpha": { "text": "Intermediates are replaced at any time" } });
    let anchors = json!(["Root A", "Root B", "Root N by Root N"]);
    let lifetimes = json!([{ "from": "2027-03-15", "days": 100 }]);
    vec![
        (
            "caa-forbids-pinned",
            Error,
            None,
            json!({ "caa": ["gamma.example"] }),
            json!({ "caa": ["alpha.example", "beta.example"] }),
        ),
        (
            "caa-permits-unpinned",
            Warning,
            None,
            json!({ "caa": ["alpha.example", "gamma.example"] }),
            json!({ "caa": ["alpha.example", "unknown.example"] }),
        ),
        (
            "cross-sign-ends",
            Warning,
            Some("2026-12-01"),
            crossed.clone(),
            same.clone(),
        ),
        (
            "data-old",
            Warning,
            None,
            json!({ "data_date": "2026-01-01" }),
            same.clone(),
        ),
        (
            "lifetime",
            Warning,
            Some("2027-03-15"),
            json!({ "groups": [["leaf"]], "lifetimes": lifetimes }),
            json!({ "lifetimes": lifetimes }),
        ),
        (
            "root-leaves-chrome",
            Warning,
            Some("2027-04-15"),
            leaves("chrome-sct-not-after"),
            leaves("leaves-mozilla"),
        ),
        (
            "root-leaves-mozilla",
            Warning,
            Some("2027-04-15"),
            leaves("leaves-mozilla"),
            leaves("leaves-chrome"),
        ),
        (
            "rotating-intermediate",
            Error,
            None,
            json!({ "groups": [["Sub A", "Sub B"]], "rotates": rotates }),
            json!({ "rotates": rotates }),
        ),
        (
            "shorter-path",
            Warning,
            None,
            json!({ "chains": crossed["chains"], "anchors": anchors }),
            crossed,
        ),
    ]
}

fn rows_of_pins() -> Vec<Row> {
    use Severity::{Error, LockedOut, Notice, Warning};
    let same = json!({});
    let required = |at: &str| json!({ "programme_dates": [{ "at": at }] });
    let groups = |pins: &[&str]| json!({ "groups": [pins] });
    let expiry = |at| json!({ "expiry": { "at": at, "refuses": true } });
    let suffix = |host| json!({ "host": host, "scope": "host-and-subdomains" });
    vec![
        (
            "backup-unseen",
            Notice,
            None,
            groups(&["Root A", "backup"]),
            same.clone(),
        ),
        (
            "bundle-stale",
            Warning,
            None,
            json!({ "stale": "2026-05-01" }),
            json!({ "stale": "2027-06-01" }),
        ),
        (
            "certificate-pin",
            Error,
            None,
            groups(&["Root A", "certificate:leaf"]),
            same.clone(),
        ),
        (
            "expired",
            LockedOut,
            None,
            expiry("2026-05-01"),
            expiry("2026-06-01"),
        ),
        (
            "expires-soon",
            Error,
            Some("2026-06-20"),
            expiry("2026-06-20"),
            expiry("2026-08-01"),
        ),
        (
            "leaf-expiry",
            Warning,
            Some("2026-08-01"),
            groups(&["leaf"]),
            same.clone(),
        ),
        (
            "no-backup",
            Warning,
            None,
            groups(&["Root A", "leaf"]),
            same.clone(),
        ),
        (
            "one-ca",
            Warning,
            None,
            groups(&["Root A", "Root A2"]),
            same,
        ),
        (
            "public-suffix",
            Warning,
            None,
            suffix("example"),
            suffix("api.example"),
        ),
    ]
}
