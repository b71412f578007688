//! The table and the JSON object.

use anstream::adapter::strip_str;
use serde_json::Value;

use crate::doctor::forecast::{Certainty, HostForecast, Report, Severity};
use crate::doctor::output::fixture::{self, finding, fingerprint, healthy, lock_out, time};
use crate::doctor::output::summary::{State, days_between, rows, sentence};
use crate::doctor::output::{json, table};

fn text(report: &Report) -> String {
    strip_str(&table::report(report)).to_string()
}

/// Returns the state of a host with this lock-out and these findings.
fn state(day: Option<i64>, findings: &[(Severity, Option<i64>)]) -> State {
    let mut host = healthy("example.com");
    host.lock_out = day.map(|day| lock_out(day, Certainty::Certain, "a reason"));
    let findings = findings.iter();
    host.findings = findings
        .map(|(it, day)| finding("rule", *it, *day))
        .collect();
    let report = fixture::every_kind();
    State::of(&host, &report)
}

#[test]
fn the_state_follows_from_the_dates() {
    use Severity::{Error, LockedOut, Notice, Warning};
    for (day, findings, expected) in [
        (None, &[][..], State::Holds),
        (None, &[(Notice, None)], State::Holds),
        (None, &[(Notice, None), (Warning, None)], State::Warning),
        (None, &[(Error, None), (Warning, None)], State::Error),
        (None, &[(Error, Some(30))], State::Error),
        (None, &[(Error, Some(31))], State::Warning),
        (Some(31), &[(Error, Some(31))], State::Later),
        (Some(398), &[(Warning, None)], State::Later),
        (Some(399), &[(Warning, None)], State::Warning),
        (Some(5000), &[(Notice, None)], State::Holds),
        (Some(5000), &[(Error, Some(5000))], State::Later),
        (Some(31), &[(Error, None)], State::Error),
        (Some(30), &[(Error, Some(30))], State::Soon),
        (Some(1), &[], State::Soon),
        (Some(0), &[], State::LockedOut),
        (Some(-1), &[], State::LockedOut),
        (Some(300), &[(LockedOut, None)], State::LockedOut),
    ] {
        assert_eq!(state(day, findings), expected, "{day:?} {findings:?}");
        // As the exit codes 90 and 3.
        let is_due = day.is_some_and(|day| day <= 30);
        assert!(!is_due || expected.is_failure(), "{day:?}");
    }
}

#[test]
fn a_host_without_a_chain_is_not_seen_unless_its_pins_are_a_finding() {
    let mut report = fixture::every_kind();
    let failed = &mut report.hosts[6];
    failed.findings = vec![finding("not-observed", Severity::Warning, None)];
    assert_eq!(State::of(&report.hosts[6], &report), State::Unseen);
    let other = finding("no-backup", Severity::Warning, None);
    report.hosts[6].findings.push(other);
    assert_eq!(State::of(&report.hosts[6], &report), State::Warning);
}

#[test]
fn days_are_whole_and_negative_in_the_past() {
    assert_eq!(days_between(time(0), time(20)), 20);
    assert_eq!(days_between(time(20), time(0)), -20);
    assert_eq!(days_between(time(0), time(0)), 0);
}

#[test]
fn the_worst_host_is_the_first() {
    let report = fixture::many();
    let states = rows(&report)
        .iter()
        .map(|row| row.state)
        .collect::<Vec<_>>();
    assert!(states.is_sorted(), "{states:?}");
    let worst = rows(&report)[0].host.subject.host.clone();
    assert_eq!(worst.as_str(), "pay.example.com");
    assert_eq!(
        sentence(&report),
        "200 hosts: 1 locked out, 1 will be within 30 days, 1 with an error, 1 will be later, \
         3 not seen, 3 warnings"
    );
}

#[test]
fn a_terminal_of_80_columns_shows_the_table() {
    for report in [fixture::every_kind(), fixture::many()] {
        let text = text(&report);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
            assert_eq!(line, line.trim_end());
        }
        let row = text.lines().find(|line| line.contains("files.example.com"));
        let words = row.unwrap().split_whitespace().take(3);
        assert_eq!(
            words.collect::<Vec<_>>(),
            ["later", "files.example.com", "200"]
        );
        // A reader searches for the whole pin.
        let pin = fingerprint(1).to_string();
        assert!(text.lines().any(|line| line.contains(&pin)), "{text}");
        for finding in report.hosts.iter().flat_map(|host| &host.findings) {
            assert!(text.contains(&format!("[{}]", finding.id)), "{text}");
        }
    }
}

#[test]
fn hosts_that_hold_are_counted_if_there_are_many() {
    let text = text(&fixture::many());
    assert!(text.lines().count() < 140, "{text}");
    assert!(!text.contains("host-7.example.net"), "{text}");
    assert!(
        text.lines().any(|line| line == "holds       192 hosts"),
        "{text}"
    );
    let mut report = fixture::many();
    report.hosts.truncate(40);
    let text = self::text(&report);
    assert_eq!(text.matches(".example.net").count(), 40, "{text}");
    assert!(!text.contains("sha256/"), "{text}");
}

#[test]
fn colours_are_styles_alone() {
    let coloured = table::report(&fixture::every_kind());
    assert!(coloured.contains('\u{1b}'));
    assert!(!text(&fixture::every_kind()).contains('\u{1b}'));
}

/// Control characters could forge lines and change the terminal; others hide or reverse text.
#[test]
fn hostile_texts_do_not_control_the_terminal() {
    let report = fixture::with_hostile_texts();
    let json = json::report(&report).to_string();
    for text in [text(&report), json] {
        let is_unsafe = |char: char| {
            let is_hidden = matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
            (char.is_control() && char != '\n')
                || is_hidden
                || ('\u{2066}'..='\u{2069}').contains(&char)
        };
        let found = text.chars().find(|char| is_unsafe(*char));
        assert_eq!(found, None, "{text}");
        assert!(
            !text.lines().any(|line| line.starts_with("forged")),
            "{text}"
        );
        assert!(text.contains("u{202e}gpj.exe"), "{text}");
    }
}

#[test]
fn the_object_has_the_number_of_hosts_of_each_state() {
    let json = json::report(&fixture::every_kind());
    let summary = [
        ("hosts", 9),
        ("locked_out", 1),
        ("soon", 1),
        ("error", 1),
        ("later", 1),
        ("warning", 1),
        ("not_seen", 3),
        ("holds", 1),
    ];
    for (name, count) in summary {
        assert_eq!(json["summary"][name], count, "{name}");
    }
}

fn member<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    let found = value.pointer(pointer);
    found.unwrap_or_else(|| panic!("{pointer}: {value:#}"))
}

#[test]
fn the_object_has_everything_that_is_foreseen() {
    let report = fixture::every_kind();
    let json = json::report(&report);
    assert_eq!(json["at"], "2026-11-30T12:00:00Z");
    assert_eq!(json["fail_before"], "2026-12-30T12:00:00Z");
    assert_eq!(json["data"]["days"], 100);
    assert_eq!(json["findings"][0]["id"], "data-old");
    let hosts = json["hosts"].as_array().unwrap();
    // The order of the file stays.
    let names = hosts.iter().map(|host| host["host"].as_str().unwrap());
    let expected = report.hosts.iter().map(|host| host.subject.host.as_str());
    assert!(names.eq(expected), "{json:#}");
    let later = &hosts[1];
    for (pointer, expected) in [
        ("/lock_out/date", "2027-06-18T12:00:00Z"),
        ("/lock_out/certainty", "announced"),
        ("/state", "later"),
        ("/expires", "2027-11-30T12:00:00Z"),
        ("/stale_from", "2027-02-28T12:00:00Z"),
        ("/when_stale", "enforce"),
        ("/scope", "host"),
        ("/probe", "files.example.com"),
        ("/chains/0/source", "192.0.2.1:443, TLS 1.2"),
        ("/chains/0/paths/1/roots", "platform"),
        ("/chains/0/paths/1/names/2", "ISRG Root X1"),
        ("/pins/0/role", "any"),
        ("/pins/0/pin", &fingerprint(1).to_string()),
        ("/findings/0/severity", "error"),
        ("/findings/0/date", "2027-06-18T12:00:00Z"),
        ("/timeline/5/kind", "policy"),
        ("/timeline/2/certainty", "announced"),
    ] {
        assert_eq!(member(later, pointer), expected, "{pointer}");
    }
    assert_eq!(later["lock_out"]["days"], 200);
    assert_eq!(later["refuses_after_expiry"], false);
    assert_eq!(hosts[4]["groups"].as_array().unwrap().len(), 2);
    assert_eq!(hosts[4]["groups"][1][0]["role"], "ca");
    assert_eq!(hosts[2]["scope"], "subdomains");
    assert_eq!(hosts[2]["probe"], Value::Null);
    assert_eq!(hosts[6]["chains"][0]["failure"], "connection refused");
    assert_eq!(hosts[6]["enforced"], false);
    assert_eq!(hosts[7]["findings"][0]["severity"], "locked_out");
    every_member_is_known(later);
    let timelines = |host: &HostForecast| host.timeline.len();
    let spans = hosts
        .iter()
        .map(|host| host["timeline"].as_array().unwrap().len());
    assert!(spans.eq(report.hosts.iter().map(timelines)));
}

/// A member that is added has to be documented, so the list is kept here.
fn every_member_is_known(host: &Value) {
    let names = host.as_object().unwrap().keys().map(String::as_str);
    let expected = [
        "chains",
        "enforced",
        "expires",
        "findings",
        "groups",
        "host",
        "lock_out",
        "pins",
        "port",
        "probe",
        "refuses_after_expiry",
        "scope",
        "source",
        "stale_from",
        "state",
        "timeline",
        "when_stale",
    ];
    assert_eq!(names.collect::<Vec<_>>(), expected);
}
