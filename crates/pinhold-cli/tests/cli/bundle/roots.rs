//! `init-root`, `add-key` and `roll-root`: keys that are lost, stolen, added and removed.

use serde_json::{Value, json};

use crate::bundle::kit::{NAME, SIGN, SIGN_ROLLED, TBS, Team};

#[test]
fn a_lost_key_is_replaced() {
    let team = Team::with_root();
    // The first and the third signer are left. Each signs alone.
    let change = format!("--remove {NAME}2 --add @4.pub");
    let json = team.json(&format!(
        "roll-root 1.root {change} --key 1.key -o part.root"
    ));
    assert_eq!(
        (&json["version"], &json["complete"]),
        (&json!(2), &json!(false))
    );
    for signature in json["signatures"].as_array().unwrap() {
        assert_eq!(signature["missing"], 1, "{json}");
        let others = signature["others"].as_array().unwrap();
        assert!(others.contains(&json!(format!("{NAME}3"))), "{json}");
    }
    let refused = team.fail("verify part.root --root 1.root", 1, "bundle");
    assert_eq!(refused["reason"], "signatures");
    let json = team.json("roll-root 1.root --next part.root --key 3.key -o 2.root");
    assert_eq!(json["complete"], true);
    team.run("verify 2.root --root 1.root").expect_code(0);

    // Clients with the first root accept what the fourth key signs.
    team.run(&format!(
        "{SIGN_ROLLED} --version 1 --key 3.key --key 4.key -o 1.bundle"
    ))
    .expect_code(0);
    for root in ["1.root", "2.root"] {
        let json = team.json(&format!("verify 1.bundle --root {root}"));
        assert_eq!(json["root_version"], 2);
    }
}

#[test]
fn a_stolen_key_signs_nothing_after_the_next_root() {
    let team = Team::with_root();
    team.sign("--version 1 -o 1.bundle").expect_code(0);
    team.roll();
    team.fail(
        &format!("{SIGN_ROLLED} --version 1 --key 2.key"),
        2,
        "usage",
    );
    // What it has signed before is no bundle of the newest root.
    let refused = team.fail("verify 1.bundle --root 2.root", 1, "bundle");
    assert_eq!(refused["reason"], "not-newest-root");
    // It alone reaches no threshold, so that the thief can't make a root either.
    let roll = format!("roll-root 1.root --remove {NAME}1 --key 2.key -o stolen.root");
    assert_eq!(team.json(&roll)["complete"], false);
    let sign = SIGN_ROLLED.replace("2.root", "stolen.root");
    team.fail(&format!("{sign} --version 9 --key 2.key"), 2, "usage");
}

/// The thief has signed the highest version there is, with two stolen keys.
#[test]
fn a_new_root_begins_again_below_a_version_that_a_thief_has_signed() {
    let team = Team::with_root();
    let highest = u64::MAX;
    team.sign(&format!("--version {highest} -o thief.bundle"))
        .expect_code(0);
    team.fail(
        &format!("{SIGN} --key 1.key --previous thief.bundle"),
        2,
        "usage",
    );
    team.roll();
    let sign = format!("{SIGN_ROLLED} --previous thief.bundle --key 3.key --key 4.key");
    let json = team.json(&sign);
    let version = (&json["root_version"], &json["version"]);
    assert_eq!(version, (&json!(2), &json!(1)));
}

#[test]
fn the_roots_of_the_previous_bundle_are_taken_over() {
    let team = Team::with_root();
    team.roll();
    let keys = "--key 3.key --key 4.key";
    team.run(&format!("{SIGN_ROLLED} --version 1 {keys} -o 1.bundle"))
        .expect_code(0);
    let json = team.json(&format!("{SIGN} --previous 1.bundle {keys} -o 2.bundle"));
    let version = (&json["root_version"], &json["version"]);
    assert_eq!(version, (&json!(2), &json!(2)));
    team.run("verify 2.bundle --root 1.root").expect_code(0);
    // With all roots that there are, nothing is embedded twice.
    team.run(&format!(
        "{SIGN_ROLLED} --previous 1.bundle {keys} -o 3.bundle"
    ))
    .expect_code(0);
    let json = team.json("show 3.bundle");
    assert_eq!(json["roots"].as_array().unwrap().len(), 1);
}

#[test]
fn add_key_writes_the_text_of_the_next_root() {
    let team = Team::with_root();
    let json = team.json("add-key 1.root @4.pub --threshold 3 -o next.text");
    assert_eq!(
        (&json["version"], &json["threshold"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(json["keys"].as_array().unwrap().len(), 4);
    let missing = json["signatures"].as_array().unwrap().iter();
    let missing = missing.map(|it| it["missing"].clone()).collect::<Vec<_>>();
    assert_eq!(missing, [2, 3]);
    assert!(!team.read("next.text").contains('\u{2014}'));
    let keys = "--key 1.key --key 2.key --key 4.key";
    let json = team.json(&format!(
        "roll-root 1.root --next next.text {keys} -o 2.root"
    ));
    assert_eq!(json["complete"], true);
    team.run("verify 2.root --root 1.root").expect_code(0);
}

/// A root that no key has signed is a draft, so each signer can add a key on another machine.
#[test]
fn add_key_changes_a_draft_itself() {
    let team = Team::new();
    team.run("init-root --key @1.pub --key @2.pub --threshold 2 -o draft.text")
        .expect_code(0);
    let json = team.json("add-key draft.text @3.pub -o root.text");
    assert_eq!(json["version"], 1);
    assert_eq!(json["keys"].as_array().unwrap().len(), 3);
    team.run("sign root.text --key 3.key --key 1.key -o 1.root")
        .expect_code(0);
    team.run("verify 1.root --root 1.root").expect_code(0);
}

#[test]
fn a_dangerous_root_is_made_with_a_notice() {
    let team = Team::new();
    let keys = ["--key @1.key", "--key @2.key", "--key @3.key"];
    for (count, threshold, expected) in [
        (1, "", json!("single-key")),
        (2, "--threshold 1", json!("one-stolen-key")),
        (2, "--threshold 2", json!("no-spare-key")),
        (3, "--threshold 1", json!("one-stolen-key")),
        (3, "--threshold 3", json!("no-spare-key")),
        (3, "", Value::Null),
    ] {
        let line = format!("init-root {} {threshold}", keys[..count].join(" "));
        let json = team.json(&line);
        assert_eq!(json["notices"][0]["id"], expected, "{json}");
        assert_eq!(json["complete"], true);
        let text = team.run(&line).expect_code(0);
        assert_eq!(text.stderr.contains("notice: "), !expected.is_null());
    }
}

#[test]
fn roots_that_make_no_sense_are_refused() {
    let team = Team::with_root();
    let path = |name: &str| team.folder.path(name);
    let (one, two) = (path("1.pub"), path("2.pub"));
    for line in [
        "init-root",
        "init-root --key @1.key --key @2.pub",
        "init-root --key @1.key --threshold 0",
        "init-root --key @1.key --threshold 2",
        "init-root --key @1.key --key @1.pub --threshold 1",
        &format!("init-root --key @1.key --key other={one} --threshold 1"),
        &format!("init-root --key @1.key --key {NAME}1={two} --threshold 1"),
        &format!("init-root --key a+b={one}"),
        "add-key 1.root",
        "add-key 1.root @1.key",
        &format!("add-key 1.root --remove {NAME}9"),
        &format!("add-key 1.root --remove {NAME}1 --remove {NAME}2"),
        "add-key pins.json @4.pub",
        "roll-root 1.root",
        "roll-root 1.root --next 1.root --threshold 1",
        "roll-root 1.root --threshold 1 --key 4.key",
    ] {
        team.fail(line, 2, "usage");
    }
}

#[test]
fn a_root_that_skips_one_is_refused() {
    let team = Team::with_root();
    team.roll();
    let keys = "--key 1.key --key 3.key --key 4.key";
    team.run(&format!("roll-root 2.root --threshold 3 {keys} -o 3.root"))
        .expect_code(0);
    for line in [
        "roll-root 1.root --next 3.root",
        "verify 3.root --root 1.root",
        &format!("{TBS} --roots 3.root"),
    ] {
        team.fail(line, 2, "usage");
    }
    let json = team.json(&format!("{TBS} --roots 3.root --roots 2.root"));
    assert_eq!(json["root_version"], 3);
}

/// Two successors of one root, both signed: no client could follow both.
#[test]
fn two_roots_with_one_version_are_refused() {
    let team = Team::with_root();
    team.roll();
    team.run("roll-root 1.root --add @4.key --key 1.key --key 2.key -o other.root")
        .expect_code(0);
    team.fail(
        &format!("{TBS} --roots 2.root --roots other.root"),
        2,
        "usage",
    );
}

/// The keys of an attacker sign a root of their own; and a root whose own keys have not signed could
/// never be replaced.
#[test]
fn a_root_needs_the_signatures_of_both_thresholds() {
    let team = Team::with_root();
    let remove = format!("--remove {NAME}1 --remove {NAME}2 --remove {NAME}3");
    let json = team.json(&format!(
        "roll-root 1.root {remove} --add @4.key --threshold 1 -o new.root"
    ));
    assert_eq!(json["signatures"][0]["missing"], 2);
    assert_eq!(json["signatures"][1]["missing"], 0);
    let roll = "roll-root 1.root --add @4.pub --threshold 3 --key 1.key --key 2.key";
    let json = team.json(&format!("{roll} -o old.root"));
    assert_eq!(json["signatures"][0]["missing"], 0);
    assert_eq!(json["signatures"][1]["missing"], 1);
    for root in ["new.root", "old.root"] {
        team.fail(&format!("{TBS} --roots {root}"), 2, "usage");
        team.fail(&format!("verify {root} --root 1.root"), 1, "bundle");
    }
    // No client contains such a root, so none would take its successor.
    team.run("init-root --key @1.key --key @2.pub --key @3.pub -o part.root")
        .expect_code(0);
    let roll = "roll-root part.root --add @4.pub --key 1.key";
    team.fail(roll, 2, "usage");
}
