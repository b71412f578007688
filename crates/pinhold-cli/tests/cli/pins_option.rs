//! `pinhold get --pins`: the rules of a pin file on connections to real servers.

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::common::NOW;
use crate::program::{Run, Site, run, run_async, unrelated_pin};
use crate::server::{Server, answer};
use crate::store_files::{LAST, UNREACHABLE, entry, write};
use crate::usage::assert_plain_text;

/// The SHA-256 of a whole certificate in the form of a pin.
pub fn digest_pin(certificate: &CertificateDer<'_>) -> String {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let digest = suite.common.hash_provider.hash(certificate);
    let digest = <[u8; 32]>::try_from(digest.as_ref()).unwrap();
    pinhold::SpkiFingerprint::from_digest(digest).to_string()
}

/// Writes a file with one policy of `shop.example` with these members, and with those of the file.
fn pin_file(site: &Site, policy: Value, file: Value) -> String {
    let mut policy = policy;
    policy["hosts"] = json!(["shop.example"]);
    policy["without_backup"] = json!(true);
    let mut document = json!({ "version": 1, "policies": [policy] });
    let members = file.as_object().unwrap().clone();
    document.as_object_mut().unwrap().extend(members);
    site.folder.write("pins.json", document.to_string())
}

async fn get(site: &Site, file: &str, more: &[&str]) -> Run {
    let options = [&["--json", "--pins", file], more].concat();
    site.run_trusted("get", &options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_of_the_file_are_enforced() {
    let site = Site::start(&[]).await;
    let (leaf, other) = (site.leaf.pin().to_string(), unrelated_pin().to_string());
    let file = pin_file(&site, json!({ "pins": [leaf, other] }), json!({}));
    let json = get(&site, &file, &[]).await.expect_code(0).json();
    assert_eq!(json["decision"], "pass");

    let file = pin_file(&site, json!({ "pins": [other] }), json!({}));
    let run = get(&site, &file, &[]).await.expect_code(90);
    assert!(run.stderr.contains(&file), "{}", run.stderr);
    assert_plain_text(&run.stderr);
    let json = run.json();
    assert_eq!(json["error"], "pin-violation");
    assert_eq!(json["source"], "static");
    assert_eq!(json["state"], "enforced");
    assert_eq!(json["expected"], json!([other]));
    let groups = json!([{ "leaf_pins": [], "ca_pins": [], "pins": [other] }]);
    assert_eq!(json["groups"], groups);
    assert_eq!(json["refused"], json!([]));
    assert_eq!(json["certificate_pins"], json!([]));
    assert_eq!(site.server.requests(), 1, "only the first run");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_group_and_role_must_hold() {
    let site = Site::start(&[]).await;
    let [leaf, root] = [site.leaf.pin(), site.root.pin()].map(|pin| pin.to_string());
    let other = unrelated_pin().to_string();
    let both = json!({ "all_of": [{ "leaf_pins": [leaf] }, { "ca_pins": [root, other] }] });
    let file = pin_file(&site, both, json!({}));
    get(&site, &file, &[]).await.expect_code(0);

    let one = json!({ "all_of": [{ "leaf_pins": [other] }, { "ca_pins": [root] }] });
    let file = pin_file(&site, one, json!({}));
    let run = get(&site, &file, &[]).await.expect_code(90);
    for text in ["(missing)", "(found)", " leaf\n", " CA\n"] {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }
    let json = run.json();
    let groups = json!([
        { "leaf_pins": [other], "ca_pins": [], "pins": [] },
        { "leaf_pins": [], "ca_pins": [root], "pins": [] },
    ]);
    assert_eq!(json["groups"], groups);
    assert_eq!(json["policies"][0]["groups"], groups);
    assert_eq!(json["expected"].as_array().unwrap().len(), 2);

    for policy in [json!({ "ca_pins": [leaf] }), json!({ "leaf_pins": [root] })] {
        let file = pin_file(&site, policy, json!({}));
        get(&site, &file, &[]).await.expect_code(90);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_a_pin_violation() {
    let site = Site::start(&[]).await;
    let [leaf, root] = [site.leaf.pin(), site.root.pin()].map(|pin| pin.to_string());
    let other = unrelated_pin().to_string();
    let refused = json!({ "refused_keys": [other, root] });
    let sources = |json: &Value| {
        let policies = json["policies"].as_array().unwrap().iter();
        policies.map(|it| it["source"].clone()).collect::<Value>()
    };
    // In a position that the role does not accept, the policy fails, too.
    for (policy, expected) in [
        (json!({ "pins": [leaf] }), json!(["refused-keys"])),
        (json!({ "leaf_pins": [leaf] }), json!(["refused-keys"])),
        (
            json!({ "leaf_pins": [root] }),
            json!(["refused-keys", "static"]),
        ),
        (
            json!({ "ca_pins": [leaf] }),
            json!(["refused-keys", "static"]),
        ),
    ] {
        let file = pin_file(&site, policy, refused.clone());
        let run = get(&site, &file, &[]).await.expect_code(90);
        assert_plain_text(&run.stderr);
        assert!(run.stderr.contains("refused_keys"), "{}", run.stderr);
        let json = run.json();
        assert_eq!(json["source"], "refused-keys");
        assert_eq!(json["refused"], json!([root]));
        assert_eq!(json["expected"], json!([]));
        assert_eq!(json["groups"], json!([]));
        assert_eq!(sources(&json), expected);
    }
    assert_eq!(site.server.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pin_of_a_certificate_is_named_with_that_of_its_key() {
    let site = Site::start(&[]).await;
    let (wrong, right) = (digest_pin(&site.leaf.certificate()), site.leaf.pin());
    let file = pin_file(&site, json!({ "pins": [wrong] }), json!({}));
    let run = get(&site, &file, &[]).await.expect_code(90);
    assert!(run.stderr.contains("not of its key"), "{}", run.stderr);
    let expected = json!([{ "pin": wrong, "correct": right.to_string() }]);
    assert_eq!(run.json()["certificate_pins"], expected);
    // The option has no other text.
    let run = site.run_trusted("get", &["--json", "--pin", &wrong]).await;
    assert_eq!(run.expect_code(90).json()["certificate_pins"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_policy_refuses_if_it_is_to() {
    let site = Site::start(&[]).await;
    let leaf = site.leaf.pin().to_string();
    for (then, code) in [("refuse", 90), ("report-only", 0), ("unpin", 0)] {
        let expired = json!({
            "pins": [leaf],
            "expires": "2020-01-01T00:00:00Z",
            "after_expiry": then,
        });
        let file = pin_file(&site, expired, json!({}));
        let run = get(&site, &file, &[]).await.expect_code(code);
        if code == 90 {
            assert!(run.stderr.contains("have expired"), "{}", run.stderr);
            // The pinned key is on the path, so no text may deny it.
            for denial in ["no part of", "not part of", "is pinned", "expected one of"] {
                assert!(!run.stderr.contains(denial), "{denial}: {}", run.stderr);
            }
            let json = run.json();
            assert_eq!(json["state"], "expired");
            assert_eq!(json["cause"]["id"], "expired-policy");
            assert_eq!(json["cause"]["pinned_key_present"], true);
            assert_eq!(json["cause"]["expired_at"], "2020-01-01T00:00:00Z");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unpinned_hosts_are_refused_or_reported() {
    let site = Site::start(&[]).await;
    let other = unrelated_pin().to_string();
    let policy = json!({ "hosts": ["other.example"], "pins": [other], "without_backup": true });
    let file = |choice: &str, allowed: &[&str]| {
        let document = json!({
            "version": 1,
            "policies": [policy],
            "unpinned_hosts": choice,
            "allow_unpinned": allowed,
        });
        site.folder.write("pins.json", document.to_string())
    };
    let refuse = file("refuse", &["192.0.2.1"]);
    let run = get(&site, &refuse, &[]).await.expect_code(90);
    assert!(run.stderr.contains("allow_unpinned"), "{}", run.stderr);
    assert!(run.stderr.contains("add a policy"), "{}", run.stderr);
    assert_plain_text(&run.stderr);
    let json = run.json();
    assert_eq!(json["error"], "unpinned-host");
    assert_eq!(json["host"], "shop.example");
    assert_eq!(json["port"], site.port());
    let address = run_async(&["get", UNREACHABLE, "--pins", &refuse, "--json"]).await;
    let address = address.expect_code(90);
    assert_eq!(address.json()["error"], "unpinned-host");
    assert!(
        !address.stderr.contains("add a policy"),
        "{}",
        address.stderr
    );
    assert!(
        address.stderr.contains("allow_unpinned"),
        "{}",
        address.stderr
    );
    assert_eq!(site.server.connections(), 0, "no connection was made");
    // Pins by an option make the host pinned.
    let pin = site.leaf.pin().to_string();
    get(&site, &refuse, &["--pin", &pin]).await.expect_code(0);

    for (choice, allowed, messages) in [
        ("refuse", &["shop.example"][..], 0),
        ("report", &["shop.example"], 0),
        ("report", &[], 1),
        ("allow", &[], 0),
    ] {
        let file = file(choice, allowed);
        let run = get(&site, &file, &[]).await.expect_code(0);
        assert_eq!(run.stderr.lines().count(), messages, "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_as_the_policy_sets_it() {
    let site = Site::start(&[]).await;
    let server = Server::plain(answer(&[])).await;
    let port = server.address.port();
    let url = format!("http://shop.example:{port}/");
    let resolve = format!("shop.example:{port}:127.0.0.1");
    let pin = site.leaf.pin().to_string();
    for (choice, code) in [("refuse", 1), ("allow", 0)] {
        let policy = json!({ "pins": [pin], "plain_http": choice });
        let file = pin_file(&site, policy, json!({}));
        let run = run_async(&[
            "get",
            &url,
            "--resolve",
            &resolve,
            "--json",
            "--pins",
            &file,
        ])
        .await;
        let json = run.expect_code(code).json();
        assert_eq!(json["error"] == "plain-http", code == 1);
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_may_enforce_its_pins_on_user_added_roots() {
    let site = Site::start(&[]).await;
    let (root, other) = (site.root_file(), unrelated_pin().to_string());
    for (choice, code) in [("skip-pins", 0), ("enforce-pins", 90)] {
        let policy = json!({ "pins": [other], "user_added_roots": choice });
        let file = pin_file(&site, policy, json!({}));
        let options = ["--user-ca", &root, "--pins", &file];
        let run = site.run("get", &options).await.expect_code(code);
        assert!(!run.stderr.contains("--enforce-on-user-ca"));
        assert!(!run.stderr.contains("skip-pins"));
        assert_eq!(run.stderr.contains("what to do"), code == 90);
        assert_plain_text(&run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn noted_pins_skipped_on_a_user_added_root_are_not_named() {
    let site = Site::start(&[]).await;
    let (root, other) = (site.root_file(), unrelated_pin().to_string());
    let store = site.folder.path("noted");
    write(&store, &[entry("shop.example", NOW, LAST)]);
    let policy = json!({ "pins": [other], "user_added_roots": "enforce-pins" });
    let file = pin_file(&site, policy, json!({}));
    let options = ["--json", "--pins", &file, "--store", &store];
    for (root_option, count) in [("--user-ca", 1), ("--ca", 2)] {
        let options = [&options[..], &[root_option, &root]].concat();
        let json = site.run("get", &options).await.expect_code(90).json();
        assert_eq!(json["policies"].as_array().unwrap().len(), count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_of_one_host_are_in_one_place() {
    let site = Site::start(&[]).await;
    let pin = site.leaf.pin().to_string();
    let file = pin_file(&site, json!({ "pins": [pin] }), json!({}));
    let run = get(&site, &file, &["--pin", &pin]).await.expect_code(2);
    assert_plain_text(&run.stderr);
    let json = run.json();
    assert_eq!(json["error"], "usage");
    assert!(json["message"].as_str().unwrap().contains("shop.example"));
    assert_eq!(site.server.connections(), 0);
}

#[test]
fn files_that_cannot_be_used_are_invalid_input() {
    let folder = crate::program::Folder::new();
    let pin = unrelated_pin().to_string();
    let policy = |scope: &str, exempt: &str| {
        json!({
            "hosts": ["shop.example"],
            "scope": scope,
            "exempt": [exempt],
            "without_backup": true,
            "pins": [pin],
        })
    };
    let groups = json!({
        "hosts": ["shop.example"],
        "without_backup": true,
        "all_of": [{ "leaf_pins": [pin] }, { "pins": [pin] }],
    });
    let documents = [
        json!({ "version": 1, "policies": [policy("host", "www.shop.example")] }),
        json!({ "version": 1, "policies": [groups], "overlap": "union" }),
        json!({ "version": 2 }),
    ];
    let written = documents
        .iter()
        .zip(["a", "b", "c"])
        .map(|(document, name)| folder.write(name, document.to_string()));
    for file in written.chain([folder.path("missing")]) {
        for arguments in [
            &["get", UNREACHABLE, "--json", "--pins", &file],
            &["explain", "shop.example", "--json", "--pins", &file],
        ] {
            let run = run(arguments).expect_code(2);
            assert_eq!(run.json()["error"], "usage");
            assert_plain_text(&run.stderr);
        }
    }
}
