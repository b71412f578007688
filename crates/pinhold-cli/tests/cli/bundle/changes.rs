//! `pinhold bundle diff`.

use serde_json::json;

use crate::bundle::kit::{Team, pins};
use crate::pins::kit::{A, B, C};

#[test]
fn the_hosts_pins_and_terms_that_change_are_listed() {
    let team = Team::with_root();
    let issued = ["--issued", "2026-11-01"];
    team.sign("1.bundle", &[&["--version", "1"], &issued[..]].concat())
        .expect_code(0);
    let mut changed = pins(&[A, C]);
    let other = json!({ "hosts": ["other.example"], "pins": [A, B] });
    changed["policies"].as_array_mut().unwrap().push(other);
    team.folder.write("pins.json", changed.to_string());
    let more = [
        "--version",
        "2",
        "--staging",
        "10:x",
        "--kill-switch-until",
        "2026-11-20",
    ];
    team.sign("2.bundle", &[&more[..], &issued].concat())
        .expect_code(0);

    let diff = ["diff", "1.bundle", "2.bundle"];
    let json = team.run(&diff, &["--json"]).expect_code(3).json();
    assert_eq!(json["equal"], false);
    assert_eq!(json["hosts"], json!(["api.example.com", "other.example"]));
    assert_eq!(
        json["pins"],
        json!([
            { "host": "api.example.com", "field": "pins", "old": [B], "new": [C] },
            { "host": "other.example", "field": "scope", "old": [], "new": ["host"] },
        ])
    );
    assert_eq!(
        json["terms"],
        json!([
            { "field": "version", "old": "1.1", "new": "1.2" },
            { "field": "kill_switch", "old": null, "new": "2026-11-20T00:00:00Z" },
            { "field": "staging", "old": null, "new": { "percent": 10, "salt": "x" } },
        ])
    );
    let text = team.run(&diff, &[]).expect_code(3);
    for part in [
        B,
        C,
        "other.example",
        "kill_switch: none -> 2026-11-20",
        "1.1 -> 1.2",
    ] {
        assert!(text.text().contains(part), "{part}: {}", text.text());
    }
}

#[test]
fn a_bundle_equals_itself_whatever_its_signatures_are() {
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
    team.run(
        &[
            "sign", "a.text", "--root", "1.root", "--key", "1.key", "-o", "a.bundle",
        ],
        &[],
    )
    .expect_code(0);
    let json = team
        .run(&["diff", "a.text", "a.bundle", "--json"], &[])
        .expect_code(0)
        .json();
    assert_eq!(json["equal"], true);
    let from_input = team.run_with_input("a.bundle", &["diff", "-", "a.text"], &[]);
    from_input.expect_code(0);
}
