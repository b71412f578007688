//! `init-root`, `add-key` and `roll-root`: keys that are lost, stolen, added and removed.

use serde_json::{Value, json};

use crate::bundle::kit::{Team, expect_error};

#[test]
fn a_lost_key_is_replaced() {
    let team = Team::with_root();
    // The first and the third signer are left. Each signs alone.
    let (added, remove) = (team.named(4, "pub"), ["--remove", "example.com/pins/2"]);
    let roll = [
        "roll-root",
        "1.root",
        "--add",
        &added,
        "--key",
        "1.key",
        "--json",
    ];
    let more = [&remove[..], &["-o", "part.root"]].concat();
    let json = team.run(&roll, &more).expect_code(0).json();
    assert_eq!(
        (&json["version"], &json["complete"]),
        (&2.into(), &false.into())
    );
    for signature in json["signatures"].as_array().unwrap() {
        assert_eq!(signature["missing"], 1, "{json}");
        let others = signature["others"].as_array().unwrap();
        assert!(others.contains(&json!("example.com/pins/3")), "{json}");
    }
    let verify = |name: &str| team.run(&["verify", name, "--root", "1.root", "--json"], &[]);
    assert_eq!(
        expect_error(verify("part.root"), 1, "bundle")["reason"],
        "signatures"
    );
    let roll = [
        "roll-root",
        "1.root",
        "--next",
        "part.root",
        "--key",
        "3.key",
        "--json",
    ];
    let json = team.run(&roll, &["-o", "2.root"]).expect_code(0).json();
    assert_eq!(json["complete"], true);
    verify("2.root").expect_code(0);

    // Clients with the first root accept what the fourth key signs.
    let sign = [
        "sign",
        "pins.json",
        "--root",
        "1.root",
        "--roots",
        "2.root",
        "--version",
        "1",
    ];
    let keys = [
        "--key",
        "3.key",
        "--key",
        "4.key",
        "--expires",
        "90d",
        "-o",
        "1.bundle",
    ];
    team.run(&sign, &keys).expect_code(0);
    for root in ["1.root", "2.root"] {
        let json = team.run(&["verify", "1.bundle", "--root", root, "--json"], &[]);
        assert_eq!(json.expect_code(0).json()["root_version"], 2);
    }
}

#[test]
fn a_stolen_key_signs_nothing_after_the_next_root() {
    let team = Team::with_root();
    team.sign("1.bundle", &["--version", "1"]).expect_code(0);
    team.roll();
    let sign = [
        "sign",
        "pins.json",
        "--root",
        "1.root",
        "--roots",
        "2.root",
        "--version",
        "1",
    ];
    let thief = [
        "--key",
        "2.key",
        "--expires",
        "90d",
        "-o",
        "stolen.bundle",
        "--json",
    ];
    expect_error(team.run(&sign, &thief), 2, "usage");
    // What it has signed before is no bundle of the newest root.
    let verify = ["verify", "1.bundle", "--root", "2.root", "--json"];
    assert_eq!(
        expect_error(team.run(&verify, &[]), 1, "bundle")["reason"],
        "not-newest-root"
    );
    // It alone reaches no threshold, so that the thief can't make a root either.
    let roll = [
        "roll-root",
        "1.root",
        "--remove",
        "example.com/pins/1",
        "--key",
        "2.key",
    ];
    let json = team
        .run(&roll, &["-o", "stolen.root", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(json["complete"], false);
    let sign = [
        "sign",
        "pins.json",
        "--root",
        "1.root",
        "--roots",
        "stolen.root",
    ];
    let more = [
        "--version",
        "9",
        "--expires",
        "90d",
        "--key",
        "2.key",
        "--json",
    ];
    expect_error(team.run(&sign, &more), 2, "usage");
}

/// The thief has signed the highest version there is, with two stolen keys.
#[test]
fn a_new_root_begins_anew_below_a_version_that_a_thief_has_signed() {
    let team = Team::with_root();
    let highest = u64::MAX.to_string();
    team.sign("thief.bundle", &["--version", &highest])
        .expect_code(0);
    let previous = ["--previous", "thief.bundle", "--json"];
    expect_error(team.sign("next.bundle", &previous), 2, "usage");
    team.roll();
    let sign = [
        "sign",
        "pins.json",
        "--root",
        "1.root",
        "--roots",
        "2.root",
        "--expires",
        "90d",
    ];
    let keys = ["--key", "3.key", "--key", "4.key", "-o", "next.bundle"];
    let json = team
        .run(&sign, &[&keys[..], &previous].concat())
        .expect_code(0)
        .json();
    assert_eq!(
        (&json["root_version"], &json["version"]),
        (&2.into(), &1.into())
    );
}

#[test]
fn the_roots_of_the_previous_bundle_are_taken_over() {
    let team = Team::with_root();
    team.roll();
    let fixed = ["sign", "pins.json", "--root", "1.root", "--expires", "90d"];
    let keys = ["--key", "3.key", "--key", "4.key", "--json"];
    let first = ["--roots", "2.root", "--version", "1", "-o", "1.bundle"];
    team.run(&[&fixed[..], &keys].concat(), &first)
        .expect_code(0);
    let second = ["--previous", "1.bundle", "-o", "2.bundle"];
    let json = team
        .run(&[&fixed[..], &keys].concat(), &second)
        .expect_code(0)
        .json();
    assert_eq!(
        (&json["root_version"], &json["version"]),
        (&2.into(), &2.into())
    );
    team.run(&["verify", "2.bundle", "--root", "1.root"], &[])
        .expect_code(0);
    // With all roots that there are, nothing is embedded twice.
    let all = [
        "--previous",
        "1.bundle",
        "--roots",
        "2.root",
        "-o",
        "3.bundle",
    ];
    team.run(&[&fixed[..], &keys].concat(), &all).expect_code(0);
    let json = team
        .run(&["show", "3.bundle", "--json"], &[])
        .expect_code(0)
        .json();
    assert_eq!(json["roots"].as_array().unwrap().len(), 1);
}

#[test]
fn add_key_writes_the_text_of_the_next_root() {
    let team = Team::with_root();
    let fourth = team.named(4, "pub");
    let add = ["add-key", "1.root", &fourth, "--threshold", "3"];
    let json = team
        .run(&add, &["-o", "next.text", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(
        (&json["version"], &json["threshold"]),
        (&2.into(), &3.into())
    );
    assert_eq!(json["keys"].as_array().unwrap().len(), 4);
    let missing = json["signatures"].as_array().unwrap().iter();
    assert_eq!(
        missing.map(|it| it["missing"].clone()).collect::<Vec<_>>(),
        [2, 3]
    );
    assert!(!team.read("next.text").contains('\u{2014}'));
    let roll = [
        "roll-root",
        "1.root",
        "--next",
        "next.text",
        "--json",
        "-o",
        "2.root",
    ];
    let keys = ["--key", "1.key", "--key", "2.key", "--key", "4.key"];
    assert_eq!(
        team.run(&roll, &keys).expect_code(0).json()["complete"],
        true
    );
    team.run(&["verify", "2.root", "--root", "1.root"], &[])
        .expect_code(0);
}

/// A root that no key has signed is a draft, so each signer can add a key on another machine.
#[test]
fn add_key_changes_a_draft_itself() {
    let team = Team::new();
    let [one, two, three] = [1, 2, 3].map(|number| team.named(number, "pub"));
    let init = [
        "init-root",
        "--key",
        &one,
        "--key",
        &two,
        "--threshold",
        "2",
    ];
    team.run(&init, &["-o", "draft.text"]).expect_code(0);
    let add = ["add-key", "draft.text", &three, "-o", "root.text", "--json"];
    let json = team.run(&add, &[]).expect_code(0).json();
    assert_eq!(json["version"], 1);
    assert_eq!(json["keys"].as_array().unwrap().len(), 3);
    let sign = [
        "sign",
        "root.text",
        "--key",
        "3.key",
        "--key",
        "1.key",
        "-o",
        "1.root",
    ];
    team.run(&sign, &[]).expect_code(0);
    team.run(&["verify", "1.root", "--root", "1.root"], &[])
        .expect_code(0);
}

#[test]
fn a_dangerous_root_is_made_with_a_notice() {
    let team = Team::new();
    let keys = [1, 2, 3].map(|number| team.named(number, "key"));
    for (count, threshold, expected) in [
        (1, None, json!("single-key")),
        (2, Some("1"), json!("one-stolen-key")),
        (2, Some("2"), json!("no-spare-key")),
        (3, Some("1"), json!("one-stolen-key")),
        (3, Some("3"), json!("no-spare-key")),
        (3, None, Value::Null),
    ] {
        let mut arguments = vec!["init-root"];
        arguments.extend(keys.iter().take(count).flat_map(|key| ["--key", key]));
        arguments.extend(threshold.iter().flat_map(|it| ["--threshold", it]));
        let json = team.run(&arguments, &["--json"]).expect_code(0).json();
        assert_eq!(json["notices"][0]["id"], expected, "{json}");
        assert_eq!(json["complete"], true);
        let text = team.run(&arguments, &[]).expect_code(0);
        assert_eq!(text.stderr.contains("notice: "), !expected.is_null());
    }
}

#[test]
fn roots_that_make_no_sense_are_refused() {
    let team = Team::with_root();
    let [one, two, again] =
        [(1, "key"), (2, "pub"), (1, "pub")].map(|(number, kind)| team.named(number, kind));
    let renamed = again.replace("pins/1=", "pins/9=");
    let other = two.replace("pins/2=", "pins/1=");
    let spaced = one.replace("pins/1=", "pins 1=");
    for arguments in [
        &["init-root"][..],
        &["init-root", "--key", &one, "--key", &two],
        &["init-root", "--key", &one, "--threshold", "0"],
        &["init-root", "--key", &one, "--threshold", "2"],
        &[
            "init-root",
            "--key",
            &one,
            "--key",
            &again,
            "--threshold",
            "1",
        ],
        &[
            "init-root",
            "--key",
            &one,
            "--key",
            &renamed,
            "--threshold",
            "1",
        ],
        &[
            "init-root",
            "--key",
            &one,
            "--key",
            &other,
            "--threshold",
            "1",
        ],
        &["init-root", "--key", &spaced],
        &["add-key", "1.root"],
        &["add-key", "1.root", &one],
        &["add-key", "1.root", "--remove", "example.com/pins/9"],
        &[
            "add-key",
            "1.root",
            "--remove",
            "example.com/pins/1",
            "--remove",
            "example.com/pins/2",
        ],
        &["add-key", "pins.json", &one],
        &["roll-root", "1.root"],
        &[
            "roll-root",
            "1.root",
            "--next",
            "1.root",
            "--threshold",
            "1",
        ],
        &["roll-root", "1.root", "--threshold", "1", "--key", "4.key"],
    ] {
        expect_error(team.run(arguments, &["--json"]), 2, "usage");
    }
}

#[test]
fn a_root_that_skips_one_is_refused() {
    let team = Team::with_root();
    team.roll();
    let roll = ["roll-root", "2.root", "--threshold", "3", "-o", "3.root"];
    let keys = ["--key", "1.key", "--key", "3.key", "--key", "4.key"];
    team.run(&roll, &keys).expect_code(0);
    for arguments in [
        &["roll-root", "1.root", "--next", "3.root"][..],
        &["verify", "3.root", "--root", "1.root"],
        &[
            "tbs",
            "pins.json",
            "--root",
            "1.root",
            "--roots",
            "3.root",
            "--version",
            "1",
            "--expires",
            "9d",
        ],
    ] {
        expect_error(team.run(arguments, &["--json"]), 2, "usage");
    }
    let all = ["--roots", "3.root", "--roots", "2.root"];
    let tbs = [
        "tbs",
        "pins.json",
        "--root",
        "1.root",
        "--version",
        "1",
        "--expires",
        "9d",
    ];
    let json = team
        .run(&tbs, &[&all[..], &["--json"]].concat())
        .expect_code(0)
        .json();
    assert_eq!(json["root_version"], 3);
}
