//! Each rule has a set-up in which it fires, and a similar one in which it does not.

use serde_json::{Value, json};

use crate::doctor::forecast::{Finding, Severity};
use crate::doctor::rules::{RULES, Rule};
use crate::doctor::tests::world::{World, text};
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
            {
                "name": "wildcard leaf", "issuer": "Sub A", "names": ["*.api.example"],
                "from": "2026-05-01", "until": "2026-08-01",
            },
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

/// Returns the set-ups of all rules: one in which the rule fires, and one in which it is silent.
fn rows() -> Vec<Value> {
    let rows = include_str!("../../../tests/data/doctor/rules.json");
    serde_json::from_str(rows).unwrap()
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Notice => "notice",
        Severity::Warning => "warning",
        Severity::Error => "error",
        Severity::LockedOut => "locked_out",
    }
}

#[test]
fn each_rule_fires_where_it_has_to_and_nowhere_else() {
    for row in rows() {
        let id = text(&row["rule"]);
        let found = findings(&row["fires"]);
        let found = found.iter().find(|finding| finding.id == id);
        let found = found.unwrap_or_else(|| panic!("{id} does not fire"));
        assert_eq!(
            severity(found.severity),
            row["severity"],
            "{id}: {}",
            found.evidence
        );
        let date = found.date.map(rfc3339::print);
        let expected = row["date"].as_str().map(|date| format!("{date}T00:00:00Z"));
        assert_eq!(date, expected, "{id}: {}", found.evidence);
        let silent = findings(&row["silent"]);
        let other = silent.iter().find(|finding| finding.id == id);
        assert!(other.is_none(), "{id} fires: {}", other.unwrap().evidence);
    }
    let tested = rows()
        .iter()
        .map(|row| text(&row["rule"]))
        .collect::<Vec<_>>();
    assert_eq!(tested, RULES.map(|rule| rule.id));
}

#[test]
fn the_documentation_lists_each_rule() {
    let text = include_str!("../rules.md");
    let listed = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect::<Vec<_>>();
    let row = |rule: Rule| {
        let severity = severity(rule.severity);
        format!("| `{}` | {severity} | {} |", rule.id, rule.what)
    };
    assert_eq!(listed, RULES.map(row));
}

#[test]
fn no_remedy_loosens_pins_or_adds_a_root_of_trust() {
    for row in rows() {
        for finding in findings(&row["fires"]) {
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
