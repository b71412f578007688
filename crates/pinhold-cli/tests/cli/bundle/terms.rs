//! The terms of a bundle, as `show` prints them.

use serde_json::{Value, json};

use crate::bundle::kit::{Team, expect_error};
use crate::pins::kit::{A, B, C};
use crate::pki::Ca;

const TERMS: [&str; 20] = [
    "--version",
    "7",
    "--when-stale",
    "report-only",
    "--staging",
    "10:2026-12 \"new\" CA",
    "--kill-switch-until",
    "3d",
    "--refuse-key",
    C,
    "--suspend-noted",
    "api.example.com",
    "--intermediate",
    "ca.pem",
    "--critical",
    "kill_switch",
    "--critical",
    "staging",
    "--roots",
    "2.root",
];

fn signed() -> Team {
    let team = Team::with_root();
    team.roll();
    team.folder
        .write("ca.pem", Ca::root("Root").intermediate("Cross").pem());
    let fixed = [
        "sign",
        "pins.json",
        "--root",
        "1.root",
        "--issued",
        "2026-11-01",
        "--expires",
        "9000d",
    ];
    let keys = ["--key", "3.key", "--key", "4.key", "-o", "7.bundle"];
    team.run(&[&fixed[..], &keys].concat(), &TERMS)
        .expect_code(0);
    team
}

#[test]
fn show_prints_everything_that_a_bundle_states() {
    let team = signed();
    let json = team
        .run(&["show", "7.bundle", "--json"], &[])
        .expect_code(0)
        .json();
    let policy = json!({ "hosts": ["api.example.com"], "pins": [A, B] });
    for (name, expected) in [
        ("kind", json!("bundle")),
        ("version", json!(7)),
        ("root_version", json!(2)),
        ("issued", json!("2026-11-01T00:00:00Z")),
        ("expires", json!("2051-06-23T00:00:00Z")),
        ("when_stale", json!("report-only")),
        ("kill_switch", json!("2026-11-04T00:00:00Z")),
        (
            "staging",
            json!({ "percent": 10, "salt": "2026-12 \"new\" CA" }),
        ),
        ("refused_keys", json!([C])),
        ("suspend_noted", json!(["api.example.com"])),
        ("intermediates", json!(["CN=Cross"])),
        ("critical", json!(["kill_switch", "staging"])),
        ("pins", json!({ "version": 1, "policies": [policy] })),
        ("verified", json!(false)),
        ("signers", Value::Null),
        (
            "stated_signers",
            json!(["example.com/pins/3", "example.com/pins/4"]),
        ),
    ] {
        assert_eq!(json[name], expected, "{name}");
    }
    let root = &json["roots"][0];
    assert_eq!(
        (&root["version"], &root["threshold"]),
        (&2.into(), &2.into())
    );
    let text = team.run(&["show", "7.bundle"], &[]).expect_code(0);
    let text = text.text();
    assert!(text.contains("signatures are not verified"), "{text}");
    for value in [
        A,
        C,
        "2026-11-04",
        "report-only",
        "percent: 10",
        "CN=Cross",
        "kill_switch",
    ] {
        assert!(text.contains(value), "{value}: {text}");
    }
    let json = team.run(&["show", "7.bundle", "--root", "1.root", "--json"], &[]);
    let json = json.expect_code(0).json();
    assert_eq!(
        (&json["verified"], &json["signers"]),
        (&true.into(), &json["stated_signers"])
    );
}

#[test]
fn show_fails_for_a_bundle_that_the_root_does_not_verify() {
    let team = signed();
    let other = Team::with_root();
    let root = other.folder.path("1.root");
    let show = ["show", "7.bundle", "--json", "--root", &root];
    expect_error(team.run(&show, &[]), 1, "bundle");
}

#[test]
fn a_text_is_shown_as_not_signed() {
    let team = Team::with_root();
    let tbs = [
        "tbs",
        "pins.json",
        "--root",
        "1.root",
        "--version",
        "1",
        "--expires",
        "90d",
    ];
    team.run(&tbs, &["-o", "a.text"]).expect_code(0);
    let text = team.run(&["show", "a.text"], &[]).expect_code(0);
    assert!(text.text().contains("not signed"), "{}", text.text());
}

#[test]
fn a_root_is_shown_with_its_keys() {
    let team = signed();
    let json = team
        .run(&["show", "2.root", "--json"], &[])
        .expect_code(0)
        .json();
    assert_eq!(
        (&json["kind"], &json["version"]),
        (&json!("root"), &json!(2))
    );
    assert_eq!(json["keys"].as_array().unwrap().len(), 3);
    assert_eq!(json["verified"], false);
    let json = team.run(&["show", "2.root", "--root", "1.root", "--json"], &[]);
    assert_eq!(json.expect_code(0).json()["verified"], true);
    let text = team.run(&["show", "2.root"], &[]).expect_code(0);
    assert!(
        text.text().contains("signatures are not verified"),
        "{}",
        text.text()
    );
    let other = Team::with_root();
    other.roll();
    let root = other.folder.path("1.root");
    expect_error(
        team.run(&["show", "2.root", "--json", "--root", &root], &[]),
        1,
        "bundle",
    );
}

/// A name in a signature that no root knows can be any text.
#[test]
fn names_of_unknown_signers_do_not_control_the_terminal() {
    let team = Team::with_root();
    team.sign("1.bundle", &["--version", "1"]).expect_code(0);
    let forged = team
        .read("1.bundle")
        .replacen("example.com/pins/1", "a\u{202e}b\u{200b}", 1);
    team.folder.write("x.bundle", forged);
    let text = team.run(&["show", "x.bundle"], &[]).expect_code(0);
    assert!(
        text.text().contains("a\\u{202e}b\\u{200b}"),
        "{}",
        text.text()
    );
    assert!(!text.text().contains('\u{202e}'));
}
