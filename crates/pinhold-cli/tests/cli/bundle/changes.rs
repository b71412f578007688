//! `pinhold bundle diff`.

use serde_json::json;

use crate::bundle::kit::{TBS, Team, pins};
use crate::pins::kit::{A, B, C};

#[test]
fn the_hosts_pins_and_terms_that_change_are_listed() {
    let team = Team::with_root();
    let sign = "sign pins.json --root 1.root --issued 2026-11-01 --expires 9000d --key 1.key";
    team.run(&format!("{sign} --version 1 -o 1.bundle"))
        .expect_code(0);
    let mut changed = pins(&[A, C]);
    let other = json!({ "hosts": ["other.example"], "pins": [A, B] });
    changed["policies"].as_array_mut().unwrap().push(other);
    team.folder.write("pins.json", changed.to_string());
    let terms = "--version 2 --staging 10:x --kill-switch-until 2026-11-20";
    team.run(&format!("{sign} {terms} -o 2.bundle"))
        .expect_code(0);

    let json = team.run("diff 1.bundle 2.bundle --json").expect_code(3);
    let json = json.json();
    assert_eq!(json["equal"], false);
    assert_eq!(json["hosts"], json!(["api.example.com", "other.example"]));
    let pins = json!([
        { "host": "api.example.com", "field": "pins", "old": [B], "new": [C] },
        { "host": "other.example", "field": "scope", "old": [], "new": ["host"] },
    ]);
    assert_eq!(json["pins"], pins);
    let terms = json!([
        { "field": "version", "old": "1.1", "new": "1.2" },
        { "field": "kill_switch", "old": null, "new": "2026-11-20T00:00:00Z" },
        { "field": "staging", "old": null, "new": { "percent": 10, "salt": "x" } },
    ]);
    assert_eq!(json["terms"], terms);
    let text = team.run("diff 1.bundle 2.bundle").expect_code(3);
    let text = text.text();
    for part in [
        B,
        C,
        "other.example",
        "kill_switch: none -> 2026-11-20",
        "1.1 -> 1.2",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_bundle_equals_its_text() {
    let team = Team::with_root();
    team.run(&format!("{TBS} -o a.text")).expect_code(0);
    team.run("sign a.text --root 1.root --key 1.key -o a.bundle")
        .expect_code(0);
    assert_eq!(team.json("diff a.text a.bundle")["equal"], true);
}
