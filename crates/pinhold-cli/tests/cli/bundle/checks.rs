//! What is not signed: bundles by which clients could lose their servers, and those that no client
//! would accept.

use pinhold::SpkiFingerprint;
use serde_json::{Value, json};

use crate::bundle::kit::{SIGN, TBS, Team, pins};
use crate::pins::kit::{A, B, C};
use crate::program::run;

/// Returns a pin file with each finding that is refused.
fn lock_outs() -> Vec<(&'static str, Value)> {
    let mut repeated = pins(&[A, A]);
    repeated["policies"][0]["without_backup"] = true.into();
    let mut expired = pins(&[A, B]);
    expired["policies"][0]["expires"] = "2020-01-01T00:00:00Z".into();
    expired["policies"][0]["after_expiry"] = "refuse".into();
    let suites = rustls::crypto::ring::default_provider().cipher_suites;
    let mut hashes = suites.iter().filter_map(|suite| suite.tls13());
    let sha256 = hashes.find(|suite| suite.common.hash_provider.output_len() == 32);
    let root = webpki_root_certs::TLS_SERVER_ROOT_CERTS.first().unwrap();
    let digest = sha256.unwrap().common.hash_provider.hash(root);
    let digest = SpkiFingerprint::from_digest(digest.as_ref().try_into().unwrap());
    vec![
        ("no-backup", pins(&[A])),
        ("repeated-key", repeated),
        ("expired", expired),
        ("certificate-pin", pins(&[&digest.to_string(), A])),
    ]
}

#[track_caller]
fn assert_found(json: &Value, id: &str) {
    let findings = json["findings"].as_array().unwrap();
    assert!(findings.iter().any(|it| it["id"] == id), "{json}");
}

#[test]
fn a_lock_out_is_refused_unless_the_finding_is_allowed_by_name() {
    let team = Team::with_root();
    for (id, pins) in lock_outs() {
        team.folder.write("pins.json", pins.to_string());
        // All pins of the list are one key, which is a finding of its own.
        let also = if id == "repeated-key" {
            "--allow no-backup"
        } else {
            ""
        };
        let other = if id == "expired" {
            "unreachable"
        } else {
            "expired"
        };
        let sign = format!("{SIGN} --version 1 --key 1.key -o {id}.bundle {also}");
        assert_found(&team.fail(&sign, 3, "lock-out"), id);
        team.fail(&format!("{sign} --allow {other}"), 3, "lock-out");
        // A text would be signed elsewhere.
        team.fail(&format!("{TBS} {also}"), 3, "lock-out");
        let name = format!("{id}.bundle");
        assert!(!team.folder.contents().contains_key(&name), "{id}");
        assert_found(&team.json(&format!("{sign} --allow {id}")), id);
    }
}

/// They hold for all hosts, so the application has them.
#[test]
fn settings_that_have_no_effect_in_a_bundle_are_refused() {
    let team = Team::with_root();
    for (name, value) in [
        ("overlap", json!("union")),
        ("unpinned_hosts", json!("refuse")),
        ("allow_unpinned", json!(["a.example"])),
    ] {
        let mut file = pins(&[A, B]);
        file[name] = value;
        team.folder.write("pins.json", file.to_string());
        team.fail(&format!("{SIGN} --version 1 --key 1.key"), 2, "usage");
        team.fail(TBS, 2, "usage");
    }
}

#[test]
fn a_text_is_checked_again_where_the_next_signer_signs_it() {
    let team = Team::with_root();
    for (id, pins) in lock_outs() {
        team.folder.write("pins.json", pins.to_string());
        let allow = format!("--allow {id} --allow no-backup");
        let name = format!("{id}.bundle");
        team.sign(&format!("--version 1 -o {name} {allow}"))
            .expect_code(0);
        let again = format!("sign {name} --root 1.root --key 3.key");
        team.fail(&again, 3, "lock-out");
        team.run(&format!("{again} {allow}")).expect_code(0);
    }
}

#[test]
fn a_byte_order_mark_hides_no_finding() {
    let team = Team::with_root();
    let file = format!("\u{feff}{}", pins(&[A]));
    team.folder.write("pins.json", file);
    team.fail(TBS, 3, "lock-out");
    let tbs = format!("{} --json", TBS.replace("pins.json", "-"));
    team.run_with_input("pins.json", &tbs).expect_code(3);
}

/// The next version of the program may know what it makes clients do.
#[test]
fn a_text_with_an_unknown_member_is_not_signed() {
    let team = Team::with_root();
    team.run(&format!(
        "{TBS} --staging 10:x --kill-switch-until 3d -o 1.text"
    ))
    .expect_code(0);
    team.run("add-key 1.root @4.pub -o 2.text").expect_code(0);
    let keys = "--root 1.root --key 1.key";
    for (file, member) in [
        ("1.text", "\"type\""),
        ("1.text", "\"until\""),
        ("1.text", "\"percent\""),
        ("1.text", "\"hosts\""),
        ("2.text", "\"type\""),
    ] {
        let text = team.read(file);
        for (added, code) in [("comment", 0), ("unknown", 2)] {
            let text = text.replacen(member, &format!("\"{added}\": 1, {member}"), 1);
            team.folder.write("x.text", text);
            team.run(&format!("sign x.text {keys}")).expect_code(code);
            if file == "2.text" {
                team.run("roll-root 1.root --next x.text --key 1.key")
                    .expect_code(code);
            }
        }
    }
}

#[test]
fn a_pin_that_the_bundle_refuses_is_a_lock_out() {
    let team = Team::with_root();
    let refused = team.fail(&format!("{TBS} --refuse-key {B}"), 3, "lock-out");
    let finding = &refused["findings"][0];
    assert_eq!(finding["id"], "refused-pin");
    assert_eq!(finding["host"], "api.example.com");
    team.run(&format!("{TBS} --refuse-key {C}")).expect_code(0);
}

#[test]
fn a_finding_is_printed_with_its_place_and_no_colours() {
    let team = Team::with_root();
    team.folder.write("pins.json", pins(&[A]).to_string());
    let refused = team.run(&format!("{SIGN} --version 1 --key 1.key"));
    let refused = refused.expect_code(3);
    assert_eq!(refused.text(), "");
    for text in ["pins.json:1:", "[no-backup]", "--allow no-backup"] {
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
    }
    assert!(!refused.stderr.contains("u{1b}"), "{}", refused.stderr);
}

#[test]
fn the_check_of_a_pin_file_has_the_same_findings() {
    let team = Team::with_root();
    team.folder.write("pins.json", pins(&[A]).to_string());
    let refused = team.fail(TBS, 3, "lock-out");
    let json = run(["pins", "check", "--json", &team.folder.path("pins.json")]);
    assert_eq!(refused["findings"], json.expect_code(0).json()["findings"]);
}

#[test]
fn a_version_must_be_above_that_of_the_previous_bundle() {
    let team = Team::with_root();
    team.sign("--version 7 -o 7.bundle").expect_code(0);
    let next = format!("{SIGN} --key 1.key --key 2.key --previous 7.bundle");
    for version in [1, 7] {
        team.fail(&format!("{next} --version {version}"), 2, "usage");
    }
    assert_eq!(team.json(&format!("{next} -o 8.bundle"))["version"], 8);
    assert_eq!(team.json(&format!("{next} --version 20"))["version"], 20);
    // The second signer can check it, too.
    let again = "sign 7.bundle --root 1.root --key 3.key";
    team.fail(&format!("{again} --previous 8.bundle"), 2, "usage");
    team.run(again).expect_code(0);
    team.fail(&format!("{SIGN} --key 1.key"), 2, "usage");
}

/// Its version would be the highest one, and its roots would be part of the next bundle.
#[test]
fn a_previous_bundle_that_the_root_does_not_verify_is_refused() {
    let team = Team::with_root();
    team.sign("--version 7 -o 7.bundle").expect_code(0);
    let forged = team.read("7.bundle");
    let forged = forged.replace("\"version\": 7", "\"version\": 18446744073709551614");
    team.folder.write("forged.bundle", forged);
    team.run(&format!("{SIGN} --version 9 --key 3.key -o part.bundle"))
        .expect_code(0);
    for previous in ["forged.bundle", "part.bundle", "pins.json", "1.root"] {
        let sign = format!("{SIGN} --key 1.key --previous {previous}");
        team.fail(&sign, 2, "usage");
    }
}

#[test]
fn a_bundle_of_another_root_is_not_signed() {
    let team = Team::with_root();
    team.sign("--version 1 -o 1.bundle").expect_code(0);
    team.roll();
    // Of an incomplete root no client takes bundles.
    team.run("init-root --key @1.pub --key @2.pub --key @3.pub -o other.root")
        .expect_code(0);
    for line in [
        "sign 1.bundle --key 1.key --root 2.root",
        "sign 1.bundle --key 1.key",
        "sign 1.bundle --key 4.key --root 1.root",
        &TBS.replace("1.root", "other.root"),
    ] {
        team.fail(line, 2, "usage");
    }
}

#[test]
fn a_bundle_that_is_stale_or_of_the_future_is_not_signed() {
    let team = Team::with_root();
    let sign = "sign pins.json --root 1.root --version 1 --key 1.key";
    for terms in [
        "--issued 2020-01-01 --expires 90d",
        "--issued 2020-01-01 --expires 2020-06-30",
        "--expires 0d",
        "--issued 2199-01-01 --expires 90d",
        "--expires 90d --kill-switch-until 31d",
        "--expires 90d --suspend-noted other.example",
        "--expires 90d --critical unknown",
        "",
    ] {
        team.fail(&format!("{sign} {terms}"), 2, "usage");
    }
    let terms = "--issued 2020-01-01 --expires 9000d";
    team.run(&format!("{sign} {terms}")).expect_code(0);
    // The next signer signs no stale text either.
    team.folder.write("stale.text", STALE);
    team.fail("sign stale.text --root 1.root --key 1.key", 2, "usage");
}

const STALE: &str = r#"{
  "type": "pin-bundle", "version": 1, "root_version": 1,
  "issued": "2020-01-01T00:00:00Z", "expires": "2020-06-30T00:00:00Z",
  "pins": { "version": 1, "policies": [{ "hosts": ["a.example"], "pins": [
    "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
    "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI="
  ] }] }
}
"#;

#[test]
fn a_stale_bundle_is_a_finding_of_verify() {
    let team = Team::with_root();
    // 9000 days later.
    let sign = SIGN.replace("90d", "9000d");
    let keys = "--key 1.key --key 2.key";
    team.run(&format!(
        "{sign} --version 1 --issued 2026-11-01 {keys} -o 1.bundle"
    ))
    .expect_code(0);
    let verify = "verify 1.bundle --root 1.root --at";
    for (at, code, id) in [
        ("2051-05-24T00:00:00Z", 0, json!(null)),
        ("2051-05-24T00:00:01Z", 3, json!("stale-soon")),
        ("2051-06-23", 3, json!("stale-soon")),
        ("2051-06-23T00:00:01Z", 3, json!("stale")),
    ] {
        let json = team.run(&format!("{verify} {at} --json"));
        let json = json.expect_code(code).json();
        assert_eq!(json["findings"][0]["id"], id, "{at}");
        assert_eq!(json["verified"], true);
    }
    let text = team.run(&format!("{verify} 2052-01-01")).expect_code(3);
    assert!(text.text().contains("stale since 2051-06-23"));
}
