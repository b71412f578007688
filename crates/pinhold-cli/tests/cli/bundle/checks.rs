//! What is not signed: bundles by which clients could lose their servers, and those that no client
//! would accept.

use pinhold::SpkiFingerprint;
use serde_json::{Value, json};

use crate::bundle::kit::{Team, expect_error, pins};
use crate::pins::kit::{A, B, C};
use crate::program::run;

/// Signs these pins into `1.bundle`.
fn sign(team: &Team, pins: &Value, more: &[&str]) -> crate::program::Run {
    team.folder.write("pins.json", pins.to_string());
    team.sign(
        "1.bundle",
        &[&["--version", "1", "--json", "--force"], more].concat(),
    )
}

#[test]
fn a_lock_out_is_refused_unless_the_finding_is_allowed_by_name() {
    let team = Team::with_root();
    let root = webpki_root_certs::TLS_SERVER_ROOT_CERTS.first().unwrap();
    let digest = rustls::crypto::ring::default_provider().cipher_suites[0];
    let digest = digest.tls13().unwrap().common.hash_provider;
    let digest = if digest.output_len() == 32 {
        Some(digest.hash(root))
    } else {
        None
    };
    let mut expired = pins(&[A, B]);
    expired["policies"][0]["expires"] = "2020-01-01T00:00:00Z".into();
    expired["policies"][0]["after_expiry"] = "refuse".into();
    let mut unreachable = pins(&[A, B]);
    unreachable["policies"][0]["enforcement"] = "report-only".into();
    unreachable["unpinned_hosts"] = "refuse".into();
    let mut cases = vec![
        ("no-backup", pins(&[A])),
        ("repeated-key", pins(&[A, A])),
        ("expired", expired),
        ("unreachable", unreachable),
    ];
    cases[1].1["policies"][0]["without_backup"] = true.into();
    if let Some(digest) = digest {
        let digest = digest.as_ref().try_into().unwrap();
        let pin = SpkiFingerprint::from_digest(digest).to_string();
        cases.push(("certificate-pin", pins(&[&pin, A])));
    }
    for (id, pins) in cases {
        let also: &[&str] = if id == "repeated-key" {
            &["--allow", "no-backup"]
        } else {
            &[]
        };
        let refused = expect_error(sign(&team, &pins, also), 3, "lock-out");
        let findings = refused["findings"].as_array().unwrap();
        assert!(findings.iter().any(|it| it["id"] == id), "{refused}");
        let other = if id == "expired" {
            "unreachable"
        } else {
            "expired"
        };
        let other = [also, &["--allow", other]].concat();
        expect_error(sign(&team, &pins, &other), 3, "lock-out");
        assert!(!team.folder.contents().contains_key("1.bundle"), "{id}");
        let allowed = [also, &["--allow", id]].concat();
        let json = sign(&team, &pins, &allowed).expect_code(0).json();
        let findings = json["findings"].as_array().unwrap();
        assert!(findings.iter().any(|it| it["id"] == id), "{json}");

        // The same text is checked again where the second signer signs it. It has each pin once.
        if id != "repeated-key" {
            let again = [
                "sign", "1.bundle", "--root", "1.root", "--key", "3.key", "--json",
            ];
            expect_error(team.run(&again, &[]), 3, "lock-out");
            team.run(&again, &allowed).expect_code(0);
        }
        // A text would be signed elsewhere.
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
        expect_error(team.run(&tbs, &[also, &["--json"]].concat()), 3, "lock-out");
        std::fs::remove_file(team.folder.path("1.bundle")).unwrap();
    }
}

#[test]
fn a_pin_that_the_bundle_refuses_is_a_lock_out() {
    let team = Team::with_root();
    let refused = expect_error(
        sign(&team, &pins(&[A, B]), &["--refuse-key", B]),
        3,
        "lock-out",
    );
    let finding = &refused["findings"][0];
    assert_eq!(
        (&finding["id"], &finding["host"]),
        (&json!("refused-pin"), &json!("api.example.com"))
    );
    sign(&team, &pins(&[A, B]), &["--refuse-key", C]).expect_code(0);
}

#[test]
fn a_finding_is_printed_with_its_place_and_no_colours() {
    let team = Team::with_root();
    team.folder.write("pins.json", pins(&[A]).to_string());
    let fixed = [
        "sign",
        "pins.json",
        "--root",
        "1.root",
        "--version",
        "1",
        "--expires",
        "90d",
    ];
    let refused = team.run(&fixed, &["--key", "1.key"]).expect_code(3);
    assert_eq!(refused.text(), "");
    assert!(
        refused.stderr.contains("pins.json:1:"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("--allow no-backup"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("u{1b}"), "{}", refused.stderr);
}

#[test]
fn a_version_must_be_above_that_of_the_previous_bundle() {
    let team = Team::with_root();
    team.sign("7.bundle", &["--version", "7"]).expect_code(0);
    let previous = ["--previous", "7.bundle", "--json"];
    for version in ["1", "7"] {
        let version = [&previous[..], &["--version", version]].concat();
        expect_error(team.sign("8.bundle", &version), 2, "usage");
    }
    assert_eq!(
        team.sign("8.bundle", &previous).expect_code(0).json()["version"],
        8
    );
    let json = team.sign("9.bundle", &[&previous[..], &["--version", "20"]].concat());
    assert_eq!(json.expect_code(0).json()["version"], 20);
    // The second signer can check it, too.
    let again = [
        "sign", "7.bundle", "--root", "1.root", "--key", "3.key", "--json",
    ];
    expect_error(team.run(&again, &["--previous", "8.bundle"]), 2, "usage");
    team.run(&again, &[]).expect_code(0);
    expect_error(team.sign("10.bundle", &["--json"]), 2, "usage");
}

#[test]
fn a_bundle_of_another_root_is_not_signed() {
    let team = Team::with_root();
    team.sign("1.bundle", &["--version", "1"]).expect_code(0);
    team.roll();
    let sign = ["sign", "1.bundle", "--key", "1.key", "--json"];
    expect_error(team.run(&sign, &["--root", "2.root"]), 2, "usage");
    expect_error(team.run(&sign, &[]), 2, "usage");
    expect_error(
        team.run(
            &[
                "sign", "1.bundle", "--root", "1.root", "--key", "4.key", "--json",
            ],
            &[],
        ),
        2,
        "usage",
    );
    // Of an incomplete root no client takes bundles.
    let [one, two, three] = [1, 2, 3].map(|number| team.named(number, "pub"));
    let init = [
        "init-root",
        "--key",
        &one,
        "--key",
        &two,
        "--key",
        &three,
        "-o",
        "other.root",
    ];
    team.run(&init, &[]).expect_code(0);
    let tbs = [
        "tbs",
        "pins.json",
        "--root",
        "other.root",
        "--version",
        "1",
        "--expires",
        "9d",
    ];
    expect_error(team.run(&tbs, &["--json"]), 2, "usage");
}

#[test]
fn a_bundle_that_is_stale_or_of_the_future_is_not_signed() {
    let team = Team::with_root();
    let fixed = [
        "sign",
        "pins.json",
        "--root",
        "1.root",
        "--version",
        "1",
        "--key",
        "1.key",
        "--json",
    ];
    for terms in [
        &["--issued", "2020-01-01", "--expires", "90d"][..],
        &["--issued", "2020-01-01", "--expires", "2020-06-30"],
        &["--expires", "0d"],
        &["--issued", "2199-01-01", "--expires", "90d"],
        &["--expires", "90d", "--kill-switch-until", "31d"],
        &["--expires", "90d", "--suspend-noted", "other.example"],
        &["--expires", "90d", "--critical", "unheard-of"],
        &[],
    ] {
        expect_error(team.run(&fixed, terms), 2, "usage");
    }
    team.run(&fixed, &["--issued", "2020-01-01", "--expires", "9000d"])
        .expect_code(0);
}

#[test]
fn a_stale_bundle_is_a_finding_of_verify() {
    let team = Team::with_root();
    let terms = ["--version", "1", "--issued", "2026-11-01"];
    team.sign("1.bundle", &terms).expect_code(0);
    let verify = ["verify", "1.bundle", "--root", "1.root", "--json", "--at"];
    // 90 days after it was issued.
    for (at, code, id) in [
        ("2026-12-31T00:00:00Z", 0, Value::Null),
        ("2026-12-31T00:00:01Z", 3, json!("stale-soon")),
        ("2027-01-30", 3, json!("stale-soon")),
        ("2027-01-30T00:00:01Z", 3, json!("stale")),
    ] {
        let json = team.run(&verify, &[at]).expect_code(code).json();
        assert_eq!(
            (&json["verified"], &json["findings"][0]["id"]),
            (&true.into(), &id),
            "{at}"
        );
    }
    let text = team.run(
        &["verify", "1.bundle", "--root", "1.root", "--at"],
        &["2028-01-01"],
    );
    assert!(
        text.expect_code(3)
            .text()
            .contains("stale since 2027-01-30")
    );
}

#[test]
fn the_check_of_a_pin_file_has_the_same_findings() {
    let team = Team::with_root();
    let refused = expect_error(sign(&team, &pins(&[A]), &[]), 3, "lock-out");
    let json = run(["pins", "check", "--json", &team.folder.path("pins.json")]);
    assert_eq!(refused["findings"], json.expect_code(0).json()["findings"]);
}
