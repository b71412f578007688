//! `pinhold doctor --offline`: inputs, exit codes, and forecasts of given chains.

use rcgen::CertificateParams;
use serde_json::{Value, json};

use crate::pki::Ca;
use crate::program::{Folder, Run, pem, pin, run};

/// A root, and a chain to it for `api.example`, as files.
struct Site {
    root: Ca,
    intermediate: Ca,
    folder: Folder,
}

impl Site {
    fn new() -> Self {
        let root = Ca::root("Root");
        let site = Self {
            intermediate: root.intermediate("Sub"),
            root,
            folder: Folder::new(),
        };
        site.folder.write("root.pem", site.root.pem());
        let leaf = site.intermediate.leaf(&["api.example", "*.sub.example"]);
        let chain = leaf.chain.iter().map(|der| pem("CERTIFICATE", der));
        site.folder.write("chain.pem", chain.collect::<String>());
        site
    }

    /// Judges the chain by its own root.
    fn doctor(&self, arguments: &[&str]) -> Run {
        let (root, chain) = (self.folder.path("root.pem"), self.folder.path("chain.pem"));
        let fixed = [
            "doctor",
            "--json",
            "--offline",
            "--ca",
            &root,
            "--chain",
            &chain,
        ];
        run([&fixed[..], arguments].concat())
    }

    /// Writes a file with one policy, whose pins hold.
    fn pin_file(&self, members: &Value) -> String {
        let pins = [self.root.pin(), pin(1)].map(|pin| pin.to_string());
        let mut policy = json!({ "hosts": ["api.example"], "pins": pins });
        let members = members.as_object().unwrap().clone();
        policy.as_object_mut().unwrap().extend(members);
        let document = json!({ "version": 1, "policies": [policy] });
        self.folder.write("pins.json", document.to_string())
    }
}

fn ids(host: &Value) -> Vec<&str> {
    let findings = host["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["id"].as_str().unwrap())
        .collect()
}

#[test]
fn pins_that_hold_end_with_code_0_and_others_with_90() {
    let site = Site::new();
    let (root, backup) = (site.root.pin().to_string(), pin(1).to_string());
    let pins = ["api.example", "--pin", &root, "--pin", &backup];
    let json = site.doctor(&pins).expect_code(0).json();
    let host = &json["hosts"][0];
    assert_eq!(host["chains"][0]["paths"][0]["pinned"], true);
    assert_eq!(host["pins"][0]["holds"], host["pins"][0]["name"] == "Root");
    assert_eq!(host["chains"][0]["paths"][0]["roots"], "files");
    let other = pin(2).to_string();
    let pins = ["api.example", "--pin", &other, "--pin", &backup];
    let json = site.doctor(&pins).expect_code(90).json();
    let host = &json["hosts"][0];
    assert_eq!(host["findings"][0]["id"], "locked-out");
    assert_eq!(host["chains"][0]["paths"][0]["pinned"], false);
    assert_eq!(host["lock_out"]["days"], 0);
}

#[test]
fn an_expiry_that_refuses_ends_with_code_3_within_the_time_given() {
    let site = Site::new();
    let expires = json!({ "expires": "2027-03-01T00:00:00Z", "after_expiry": "refuse" });
    let file = site.pin_file(&expires);
    let at = |date, days| site.doctor(&["--pins", &file, "--at", date, "--fail-within", days]);
    at("2027-01-01", "30d").expect_code(0);
    let json = at("2027-01-01", "60d").expect_code(3).json();
    let lock_out = &json["hosts"][0]["lock_out"];
    assert_eq!(lock_out["date"], "2027-03-01T00:00:00Z");
    assert_eq!(lock_out["certainty"], "certain");
    at("2027-02-20", "0d").expect_code(0);
    at("2027-03-02", "0d").expect_code(90);
    let unpins = json!({ "expires": "2027-03-01T00:00:00Z", "after_expiry": "unpin" });
    let file = site.pin_file(&unpins);
    let json = site.doctor(&["--pins", &file, "--at", "2027-03-02"]);
    assert_eq!(ids(&json.expect_code(0).json()["hosts"][0])[0], "expired");
}

#[test]
fn an_invalid_chain_is_no_pin_problem() {
    let site = Site::new();
    let (root, backup) = (site.root.pin().to_string(), pin(1).to_string());
    let pins = ["other.example", "--pin", &root, "--pin", &backup];
    let json = site.doctor(&pins).expect_code(0).json();
    let host = &json["hosts"][0];
    assert_eq!(host["findings"][0]["id"], "chain-invalid");
    assert_eq!(
        (&host["lock_out"], &host["pins"][0]["holds"]),
        (&Value::Null, &Value::Null)
    );
    assert!(
        host["chains"][0]["failure"]
            .as_str()
            .unwrap()
            .contains("another name")
    );
}

#[test]
fn only_the_leaf_sent_is_an_incomplete_chain() {
    let site = Site::new();
    let leaf = site.intermediate.leaf(&["api.example"]).certificate();
    let chain = site.folder.write("leaf.pem", pem("CERTIFICATE", &leaf));
    let (root, backup) = (site.root.pin().to_string(), pin(1).to_string());
    let ca = site.folder.path("root.pem");
    let fixed = [
        "doctor",
        "--json",
        "--offline",
        "--ca",
        &ca,
        "--chain",
        &chain,
    ];
    let pins = ["api.example", "--pin", &root, "--pin", &backup];
    let json = run([&fixed[..], &pins].concat()).expect_code(0).json();
    assert_eq!(ids(&json["hosts"][0])[0], "incomplete-chain");
}

#[test]
fn a_chain_that_ends_before_the_date_is_invalid_then() {
    let site = Site::new();
    let mut params = CertificateParams::new(["api.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let leaf = site.intermediate.leaf_from(params);
    let chain = leaf.chain.iter().map(|der| pem("CERTIFICATE", der));
    site.folder.write("chain.pem", chain.collect::<String>());
    let pin = leaf.pin().to_string();
    let at = |date| site.doctor(&["api.example", "--pin", &pin, "--at", date]);
    let json = at("2026-12-15").expect_code(3).json();
    let host = &json["hosts"][0];
    assert_eq!(host["lock_out"]["certainty"], "risk");
    assert!(ids(host).contains(&"leaf-expiry"), "{host}");
    let json = at("2027-01-02").expect_code(0).json();
    assert_eq!(ids(&json["hosts"][0])[0], "chain-invalid");
}

#[test]
fn names_below_a_rule_for_subdomains_are_judged_if_they_are_given() {
    let site = Site::new();
    let rule = json!({ "hosts": ["sub.example"], "scope": "subdomains" });
    let file = site.pin_file(&rule);
    let json = site.doctor(&["--pins", &file]).expect_code(0).json();
    assert_eq!(json["hosts"][0]["probe"], Value::Null);
    let json = site.doctor(&["a.sub.example:8443", "--pins", &file]);
    let host = json.expect_code(0).json()["hosts"][0].clone();
    assert_eq!(
        (&host["host"], &host["probe"]),
        (&json!("sub.example"), &json!("a.sub.example"))
    );
    assert_eq!(
        (&host["port"], &host["state"]),
        (&json!(8443), &json!("holds"))
    );
    site.doctor(&["sub.example", "--pins", &file])
        .expect_code(2);
}

#[test]
fn refused_keys_of_a_file_lock_out() {
    let site = Site::new();
    let file = site.pin_file(&json!({}));
    let mut document: Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    document["refused_keys"] = json!([site.intermediate.pin().to_string()]);
    let file = site.folder.write("refused.json", document.to_string());
    let json = site.doctor(&["--pins", &file]).expect_code(90).json();
    assert_eq!(ids(&json["hosts"][0])[0], "locked-out");
}

#[test]
fn the_pins_of_overlapping_policies_are_united_if_the_file_says_so() {
    let site = Site::new();
    let policy = |host: &str, scope: &str, first| {
        let pins = [first, pin(1)].map(|pin| pin.to_string());
        json!({ "hosts": [host], "scope": scope, "pins": pins })
    };
    let policies = [
        policy("example", "subdomains", site.root.pin()),
        policy("api.example", "host", pin(2)),
    ];
    for (overlap, code, groups) in [("union", 0, 3), ("nearest", 90, 2)] {
        let document = json!({ "version": 1, "overlap": overlap, "policies": policies });
        let file = site.folder.write("overlap.json", document.to_string());
        for host in [&[][..], &["api.example"]] {
            let arguments = [&["--pins", &file][..], host].concat();
            let json = site.doctor(&arguments).expect_code(code).json();
            let hosts = json["hosts"].as_array().unwrap();
            let own = hosts.iter().find(|it| it["host"] == "api.example").unwrap();
            assert_eq!(own["groups"][0].as_array().unwrap().len(), groups);
        }
    }
}

#[test]
fn a_bundle_is_judged_with_its_staleness() {
    let site = Site::new();
    let file = site.pin_file(&json!({}));
    let pins = std::fs::read_to_string(&file).unwrap();
    let mut bundle = json!({
        "type": "pin-bundle", "root_version": 1, "version": 7,
        "issued": "2026-11-01T00:00:00Z", "expires": "2026-12-01T00:00:00Z",
    });
    bundle["pins"] = serde_json::from_str::<Value>(&pins).unwrap();
    let path = site.folder.write("pins.bundle", format!("{bundle}\n"));
    let run = site.doctor(&["--bundle", &path, "--at", "2026-12-02"]);
    let json = run.expect_code(0).json();
    let host = &json["hosts"][0];
    assert_eq!(host["stale_from"], "2026-12-01T00:00:00Z");
    assert!(ids(host).contains(&"bundle-stale"), "{host}");
}

#[test]
fn pins_without_a_chain_are_judged_by_the_data() {
    // The root "Starfield Services Root Certificate Authority - G2".
    let pins = [
        "api.example",
        "--pin",
        "sha256/KwccWaCgrnaw6tsrrSO61FgLacNgG2MMLq8GE6+oP5I=",
    ];
    let fixed = [
        "doctor",
        "--json",
        "--offline",
        "--at",
        "2026-11-30",
        "--fail-within",
    ];
    let json = run([&fixed[..], &["30d"], &pins].concat())
        .expect_code(0)
        .json();
    assert_eq!(json["hosts"][0]["lock_out"]["date"], "2027-04-15T00:00:00Z");
    run([&fixed[..], &["140d"], &pins].concat()).expect_code(3);
}

/// Such a date concerns CAs, and would be in the text of each run.
#[test]
fn dates_of_root_programmes_are_in_json_and_not_in_the_text() {
    let backup = pin(1).to_string();
    let options = [
        "doctor",
        "api.example",
        "--offline",
        "--at",
        "2026-11-30",
        "--pin",
        &backup,
    ];
    let text = run(options).expect_code(0).text().to_owned();
    assert!(!text.contains("programme-date"), "{text}");
    let json = run([&options[..], &["--json"]].concat()).json();
    let general = json["findings"].as_array().unwrap();
    assert!(
        general.iter().any(|it| it["id"] == "programme-date"),
        "{json}"
    );
}

#[test]
fn nothing_to_judge_is_invalid_usage() {
    let site = Site::new();
    let root = site.root.pin().to_string();
    let file = site.pin_file(&json!({}));
    for arguments in [
        &["api.example"][..],
        &["--pin", &root],
        &["127.0.0.1", "--pin", &root],
        &["unpinned.example", "--pins", &file],
        &["--pins", "missing.json"],
    ] {
        let json = site.doctor(arguments).expect_code(2).json();
        assert_eq!(json["error"], "usage", "{arguments:?}");
    }
}
