//! The terms of a bundle, as `show` prints them.

use serde_json::{Value, json};

use crate::bundle::kit::{NAME, TBS, Team};
use crate::pins::kit::{A, B, C};
use crate::pki::Ca;

/// Signs `7.bundle` with all terms, and with a second root.
fn signed() -> Team {
    let team = Team::with_root();
    team.roll();
    let cross = Ca::root("Root").intermediate("Cross");
    team.folder.write("ca.pem", cross.pem());
    let terms = "--version 7 --issued 2026-11-01 --expires 9000d --when-stale report-only \
                 --staging 10:2026-\"CA\" --kill-switch-until 3d --suspend-noted api.example.com \
                 --intermediate ca.pem --critical kill_switch --critical staging";
    let keys = "--key 3.key --key 4.key -o 7.bundle";
    let roots = "--root 1.root --roots 2.root";
    team.run(&format!(
        "sign pins.json {roots} {terms} --refuse-key {C} {keys}"
    ))
    .expect_code(0);
    team
}

fn expected() -> Value {
    let policy = json!({ "hosts": ["api.example.com"], "pins": [A, B] });
    json!({
        "kind": "bundle",
        "version": 7,
        "root_version": 2,
        "issued": "2026-11-01T00:00:00Z",
        "expires": "2051-06-23T00:00:00Z",
        "when_stale": "report-only",
        "kill_switch": "2026-11-04T00:00:00Z",
        "staging": { "percent": 10, "salt": "2026-\"CA\"" },
        "refused_keys": [C],
        "suspend_noted": ["api.example.com"],
        "intermediates": ["CN=Cross"],
        "critical": ["kill_switch", "staging"],
        "pins": { "version": 1, "policies": [policy] },
        "hosts": 1,
        "verified": false,
        "signers": null,
        "stated_signers": [format!("{NAME}3"), format!("{NAME}4")],
    })
}

#[test]
fn show_prints_everything_that_a_bundle_states() {
    let team = signed();
    let json = team.json("show 7.bundle");
    for (name, value) in expected().as_object().unwrap() {
        assert_eq!(json[name], *value, "{name}");
    }
    let root = &json["roots"][0];
    assert_eq!(
        (&root["version"], &root["threshold"]),
        (&json!(2), &json!(2))
    );
    let text = team.run("show 7.bundle").expect_code(0);
    let text = text.text();
    for value in [
        "signatures are not verified",
        A,
        C,
        "2026-11-04",
        "report-only",
        "percent: 10",
        "CN=Cross",
        "kill_switch",
        "2: 2 must sign of",
    ] {
        assert!(text.contains(value), "{value}: {text}");
    }
    let json = team.json("show 7.bundle --root 1.root");
    assert_eq!(json["verified"], true);
    assert_eq!(json["signers"], json["stated_signers"]);
}

#[test]
fn show_fails_for_what_the_root_does_not_verify() {
    let (team, other) = (signed(), Team::with_root());
    let root = other.folder.path("1.root");
    for file in ["7.bundle", "2.root"] {
        let json = team.fail(&format!("show {file} --root {root}"), 1, "bundle");
        assert!(json["reason"].is_string(), "{json}");
    }
}

#[test]
fn a_text_is_shown_as_not_signed() {
    let team = Team::with_root();
    team.run(&format!("{TBS} -o a.text")).expect_code(0);
    let text = team.run("show a.text").expect_code(0);
    assert!(text.text().contains("not signed"), "{}", text.text());
}

#[test]
fn a_root_is_shown_with_its_keys() {
    let team = signed();
    let json = team.json("show 2.root");
    assert_eq!(
        (&json["kind"], &json["version"]),
        (&json!("root"), &json!(2))
    );
    assert_eq!(json["keys"].as_array().unwrap().len(), 3);
    assert_eq!(json["verified"], false);
    let json = team.json("show 2.root --root 1.root");
    assert_eq!(json["verified"], true);
    let text = team.run("show 2.root").expect_code(0);
    assert!(text.text().contains("signatures are not verified"));
}

/// A name in a signature that no root knows can be any text.
#[test]
fn names_of_unknown_signers_do_not_control_the_terminal() {
    let team = Team::with_root();
    team.sign("--version 1 -o 1.bundle").expect_code(0);
    let forged = team.read("1.bundle");
    let forged = forged.replacen("example.com/pins/1", "a\u{202e}b\u{200b}", 1);
    team.folder.write("x.bundle", forged);
    let text = team.run("show x.bundle").expect_code(0);
    assert!(
        text.text().contains("a\\u{202e}b\\u{200b}"),
        "{}",
        text.text()
    );
    assert!(!text.text().contains('\u{202e}'));
}
