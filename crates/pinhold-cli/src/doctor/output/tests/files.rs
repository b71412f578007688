//! SARIF and JUnit XML.

use std::collections::BTreeSet;
use std::path::Path;

use roxmltree::Document;
use serde_json::Value;

use crate::doctor::forecast::{Report, Severity};
use crate::doctor::output::fixture::{self, time};
use crate::doctor::output::tests::{Folder, run};
use crate::doctor::output::{junit, sarif};
use crate::doctor::rules::RULES;

fn log(report: &Report) -> Value {
    serde_json::from_str(&sarif::log(report)).unwrap()
}

fn results(log: &Value) -> &[Value] {
    log["runs"][0]["results"].as_array().unwrap()
}

/// The schema is that of the OASIS SARIF committee, as the package serde-sarif has it.
#[test]
fn the_log_is_valid_by_the_schema_of_sarif() {
    let folder = Folder::new();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sarif/sarif-2.1.0.json");
    let schema = schema.to_str().unwrap();
    let mut empty = fixture::every_kind();
    (empty.hosts, empty.general) = (Vec::new(), Vec::new());
    let reports = [
        fixture::every_kind(),
        fixture::with_hostile_texts(),
        fixture::many(),
        empty,
    ];
    let texts = reports.iter().map(|report| (sarif::log(report), true));
    let broken = sarif::log(&reports[0]).replace("\"ruleId\"", "\"rule\"");
    for (index, (text, is_valid)) in texts.chain([(broken, false)]).enumerate() {
        let file = folder.write(&format!("{index}.sarif"), &text);
        let Some((found, output)) = run("jsonschema", &["-i", &file, schema]) else {
            return;
        };
        assert_eq!(found, is_valid, "{index}: {output}");
    }
}

#[test]
fn every_finding_is_a_result_with_its_rule() {
    let report = fixture::every_kind();
    let log = log(&report);
    let findings = report.hosts.iter().flat_map(|host| &host.findings);
    let findings = report.general.iter().chain(findings).collect::<Vec<_>>();
    assert_eq!(results(&log).len(), findings.len());
    for (result, finding) in results(&log).iter().zip(findings) {
        assert_eq!(result["ruleId"], finding.id);
        let expected = match finding.severity {
            Severity::LockedOut | Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "note",
        };
        assert_eq!(result["level"], expected);
    }
    let dated = |result: &&Value| result["ruleId"] == "root-leaves-mozilla";
    let dated = results(&log).iter().find(dated).unwrap();
    assert_eq!(dated["properties"]["date"], "2027-06-18T12:00:00Z");
    assert_eq!(dated["properties"]["host"], "files.example.com");
    assert_eq!(dated["properties"]["certainty"], "announced");
}

#[test]
fn every_rule_is_described() {
    let log = log(&fixture::every_kind());
    let rules = &log["runs"][0]["tool"]["driver"]["rules"];
    let rules = rules.as_array().unwrap();
    assert_eq!(rules.len(), RULES.len());
    let ids = rules.iter().map(|rule| rule["id"].as_str().unwrap());
    let ids = ids.collect::<BTreeSet<_>>();
    assert_eq!(ids.len(), rules.len());
    for result in results(&log) {
        assert!(
            ids.contains(result["ruleId"].as_str().unwrap()),
            "{result:#}"
        );
    }
}

fn fingerprints(report: &Report) -> BTreeSet<String> {
    let log = log(report);
    let of_result = |result: &Value| {
        let members = result["partialFingerprints"].as_object().unwrap();
        members.values().map(Value::to_string).collect()
    };
    results(&log).iter().map(of_result).collect()
}

/// Code scanning takes results of other fingerprints for new ones.
#[test]
fn fingerprints_are_unique_and_the_same_in_later_runs() {
    let mut report = fixture::every_kind();
    let repeated = report.hosts[1].findings[0].clone();
    report.hosts[1].findings.push(repeated);
    let before = fingerprints(&report);
    assert_eq!(before.len(), results(&log(&report)).len());
    (report.at, report.fail_before) = (time(7), time(37));
    report.hosts.reverse();
    for finding in report.hosts.iter_mut().flat_map(|host| &mut host.findings) {
        finding.evidence += ", in 13 days";
    }
    assert_eq!(fingerprints(&report), before);
}

#[test]
fn hostile_texts_are_no_links_and_no_placeholders_of_a_message() {
    let log = log(&fixture::with_hostile_texts());
    for result in results(&log) {
        let text = result["message"]["text"].as_str().unwrap();
        assert!(!text.contains(char::is_control), "{text}");
        let plain = text.replace("\\[", "").replace("\\]", "");
        assert!(!plain.contains(['[', ']']), "{text}");
        let plain = plain.replace("{{", "").replace("}}", "");
        assert!(!plain.contains(['{', '}']), "{text}");
    }
}

fn document(report: &Report) -> String {
    let text = junit::document(report).map_err(|failure| failure.to_string());
    text.unwrap()
}

#[test]
fn a_host_fails_if_it_is_locked_out_before_the_given_time() {
    let report = fixture::every_kind();
    let text = document(&report);
    let document = Document::parse(&text).unwrap();
    let suite = document.root_element().first_element_child().unwrap();
    assert_eq!(suite.attribute("tests"), Some("9"));
    assert_eq!(suite.attribute("failures"), Some("3"));
    assert_eq!(suite.attribute("timestamp"), Some("2026-11-30T12:00:00"));
    let cases = suite.children().filter(|it| it.has_tag_name("testcase"));
    let cases = cases.collect::<Vec<_>>();
    assert_eq!(cases.len(), 9);
    let failed = cases
        .iter()
        .filter(|case| case.children().any(|it| it.has_tag_name("failure")));
    let failed = failed.map(|case| case.attribute("name").unwrap());
    assert_eq!(
        failed.collect::<Vec<_>>(),
        ["pay.example.com", "api.example.com", "old.example.com"]
    );
    let later = cases
        .iter()
        .find(|it| it.attribute("name") == Some("files.example.com"));
    let output = later.unwrap().first_element_child().unwrap();
    assert!(output.has_tag_name("system-out"));
    assert!(output.text().unwrap().contains("[root-leaves-mozilla]"));
}

#[test]
fn hostile_texts_stay_text_in_xml() {
    let folder = Folder::new();
    for report in [fixture::with_hostile_texts(), fixture::many()] {
        let text = document(&report);
        let parsed = Document::parse(&text).unwrap();
        let known = [
            "testsuites",
            "testsuite",
            "testcase",
            "failure",
            "system-out",
        ];
        let elements = parsed.descendants().filter(|it| it.is_element());
        for element in elements {
            assert!(known.contains(&element.tag_name().name()), "{text}");
        }
        let file = folder.write("junit.xml", &text);
        if let Some((is_valid, output)) = run("xmllint", &["--noout", "--nonet", &file]) {
            assert!(is_valid, "{output}");
        }
    }
}
