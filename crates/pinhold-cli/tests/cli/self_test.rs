//! `pinhold self-test`, and `pinhold explain` with a pin bundle.

use serde_json::json;

use crate::bundle::kit::{SIGN, Team};
use crate::common::NOW;
use crate::pins::kit::{A, B};
use crate::program::{Folder, run};
use crate::store_files::{LAST, entry, write};

/// A pin file with an enforced policy and one that only reports.
fn pin_file(folder: &Folder) -> String {
    let document = json!({
        "version": 1,
        "policies": [
            { "hosts": ["api.example.com"], "pins": [A, B] },
            { "hosts": ["new.example.com"], "pins": [A, B], "enforcement": "report-only" },
            { "hosts": ["example.org"], "pins": [A, B], "scope": "subdomains" },
        ],
    });
    folder.write("pins.json", document.to_string())
}

#[test]
fn a_client_passes_with_any_pins() {
    let folder = Folder::new();
    let file = pin_file(&folder);
    let json = run(["self-test", "--json"]).expect_code(0).json();
    let expected = json!({
        "passed": true,
        "tls_versions": 2,
        "attacks_refused": 4,
        "resumption": "checked",
        "hosts": [],
    });
    assert_eq!(json, expected);
    let run_with_file = run(["self-test", "--pins", &file]).expect_code(0);
    for text in [
        "passed: 4 attacks refused with TLS 1.3 and TLS 1.2, resumption checked",
        "api.example.com: enforced",
        "new.example.com: not enforced",
    ] {
        assert!(
            run_with_file.text().contains(text),
            "{}",
            run_with_file.text()
        );
    }
    assert!(!run_with_file.text().contains("example.org"));
}

#[test]
fn a_given_host_without_enforced_pins_is_a_finding() {
    let folder = Folder::new();
    let file = pin_file(&folder);
    let self_test = |hosts: &[&str]| run([&["self-test", "--pins", &file], hosts].concat());
    self_test(&["api.example.com"]).expect_code(0);
    self_test(&["www.example.org", "api.example.com"]).expect_code(0);
    for host in ["new.example.com", "example.org", "www.api.example.com"] {
        self_test(&["api.example.com", host]).expect_code(3);
    }
    self_test(&["192.0.2.1"]).expect_code(2);
}

#[test]
fn noted_pins_count_and_the_store_is_not_changed() {
    let folder = Folder::new();
    let store = folder.path("noted");
    write(&store, &[entry("noted.example", NOW, LAST)]);
    let before = std::fs::read(&store).unwrap();
    let list = || std::fs::read_dir(folder.path("")).unwrap().count();
    let files = list();
    run(["self-test", "--store", &store, "noted.example"]).expect_code(0);
    run(["self-test", "--store", &store, "other.example"]).expect_code(3);
    run(["explain", "--store", &store, "noted.example"]).expect_code(0);
    assert_eq!(std::fs::read(&store).unwrap(), before);
    assert_eq!(list(), files);
}

#[test]
fn the_policies_of_a_bundle_are_explained_and_tested() {
    let team = Team::with_root();
    team.sign("--version 1 -o 1.bundle").expect_code(0);
    let (bundle, root) = (team.folder.path("1.bundle"), team.folder.path("1.root"));
    let store = team.folder.path("noted");
    write(&store, &[entry("noted.example", NOW, LAST)]);
    let before = std::fs::read(&store).unwrap();
    let options = ["--bundle", &bundle, "--root", &root, "--store", &store];
    let explain = [&["explain", "--json", "api.example.com"], &options[..]].concat();
    let json = run(explain).expect_code(0).json();
    assert_eq!(
        (&json["source"], &json["state"]),
        (&json!("bundle"), &json!("enforced"))
    );
    assert_eq!(json["anchors"][0]["not_pinned"], "refuse");
    assert!(
        json["until"].is_string(),
        "when the bundle is stale: {json}"
    );
    assert_eq!(std::fs::read(&store).unwrap(), before);
    let text = run([&["explain", "api.example.com"], &options[..]].concat());
    let text = text.expect_code(0);
    assert!(text.text().contains("bundle 1.1, in "), "{}", text.text());
    run([&["self-test", "api.example.com"], &options[..]].concat()).expect_code(0);

    let without_root = ["explain", "--bundle", &bundle, "api.example.com"];
    run(without_root).expect_code(2);
    team.run(&format!("{SIGN} --version 2 --key 1.key -o part.bundle"))
        .expect_code(0);
    let part = team.folder.path("part.bundle");
    let refused = run([
        "explain",
        "--json",
        "--bundle",
        &part,
        "--root",
        &root,
        "example.com",
    ]);
    assert_eq!(refused.expect_code(1).json()["error"], "bundle");
}
