//! Chains that validation rejects: what the message states, and which option it names.

use rcgen::CertificateParams;
use serde_json::Value;

use crate::pki::{Ca, Leaf, leaf_params};
use crate::program::{Run, Site, pem, run_async, unrelated_pin};
use crate::usage::assert_plain_text;

/// The longest message: a terminal shows it as a whole.
const MAX_LEN: usize = 1500;
/// The longest line, which is longer than a terminal if it contains a long name.
const MAX_LINE: usize = 300;

/// Runs a command that must fail on the chain. Returns the error as JSON, and checks its text.
async fn error_of(site: &Site, command: &str, options: &[&str]) -> Value {
    let run = site.run(command, &[options, &["--json"]].concat()).await;
    let json = run.expect_code(1).json();
    assert_eq!(json["error"], "certificate", "{json}");
    assert_eq!(json["host"], "shop.example");
    assert_eq!(json["port"], site.port());
    let message = json["message"].as_str().unwrap();
    assert!(message.len() < MAX_LEN, "{} bytes", message.len());
    assert!(message.contains("what to do: "), "{message}");
    assert!(message.lines().all(|line| line.len() <= MAX_LINE));
    let target = format!("shop.example:{}", site.port());
    let (_, detail) = message.split_once(": ").unwrap();
    assert!(detail.contains(&target), "{message}");
    assert_plain_text(message);
    let text: Run = site.run(command, options).await.expect_code(1);
    // The other lines may have the time.
    let mut lines = detail.lines();
    let statement = lines.find(|line| line.contains(&target)).unwrap();
    assert!(text.stderr.contains(statement), "{}", text.stderr);
    check_cause(&json);
    json
}

/// Checks that the message begins with the statement of the cause, ends with one remedy, which does
/// not add a root.
fn check_cause(json: &Value) {
    let all = message(json);
    assert_eq!(all.matches("what to do").count(), 1, "{all}");
    assert!(!all.contains("--ca"), "{all}");
    assert!(!all.contains("--user-ca"), "{all}");
    if let Some(statement) = json["cause"]["statement"].as_str() {
        let (_, detail) = all.split_once(": ").unwrap();
        let statement = statement.split_whitespace().collect::<Vec<_>>();
        assert!(detail.starts_with(&statement.join(" ")), "{all}");
    }
}

async fn site_with(change: impl FnOnce(&mut CertificateParams)) -> Site {
    let mut params = leaf_params(&["shop.example"]);
    change(&mut params);
    Site::with_leaf(|root| root.leaf_from(params), &[]).await
}

/// The message without its line breaks.
fn message(json: &Value) -> String {
    let words = json["message"].as_str().unwrap().split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_named_with_its_dates() {
    let site = site_with(|params| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 2);
        params.not_after = rcgen::date_time_ymd(2020, 3, 4);
    })
    .await;
    let root = site.root_file();
    for command in ["get", "fingerprint"] {
        let json = error_of(&site, command, &["--ca", &root]).await;
        assert_eq!(json["reason"], "expired");
        assert_eq!(json["subject"], "CN=shop.example");
        assert_eq!(json["not_before"], "2019-01-02T00:00:00Z");
        assert_eq!(json["not_after"], "2020-03-04T00:00:00Z");
        for part in ["2019-01-02", "2020-03-04", "--insecure"] {
            assert!(message(&json).contains(part), "{part}: {json}");
        }
    }
}

/// The dates are those of the certificate that has expired, not those of the leaf.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_intermediate_is_named() {
    let leaf = |root: &Ca| {
        let mut params = crate::pki::ca_params("Sub");
        params.not_after = rcgen::date_time_ymd(2020, 3, 4);
        root.intermediate_from(params, "Sub")
            .leaf(&["shop.example"])
    };
    let site = Site::with_leaf(leaf, &[]).await;
    let json = error_of(&site, "get", &["--ca", &site.root_file()]).await;
    assert_eq!(json["reason"], "expired");
    assert_eq!(json["subject"], "CN=Sub");
    assert_eq!(json["not_after"], "2020-03-04T00:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_valid_yet_is_named_with_its_dates() {
    let site = site_with(|params| params.not_before = rcgen::date_time_ymd(4000, 5, 6)).await;
    let json = error_of(&site, "get", &["--ca", &site.root_file()]).await;
    assert_eq!(json["reason"], "not-yet-valid");
    assert_eq!(json["not_before"], "4000-05-06T00:00:00Z");
    assert!(message(&json).contains("4000-05-06"), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_issuer_is_named_without_advice_to_trust_it() {
    let site = Site::start(&[]).await;
    for command in ["get", "fingerprint"] {
        let json = error_of(&site, command, &[]).await;
        assert_eq!(json["reason"], "unknown-issuer");
        assert_eq!(json["issuer"], "CN=Root");
        assert_eq!(json["served"], 2);
        assert!(message(&json).contains("CN=Root"), "{json}");
        assert_eq!(json["cause"]["id"], "unknown-issuer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_is_named_as_such() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = leaf_params(&["shop.example"]);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let leaf = Leaf::from_parts(key.serialize_der(), vec![certificate.clone()]);
    let site = Site::with_chain(Ca::root("Root"), leaf, &[]).await;
    let json = error_of(&site, "get", &[]).await;
    assert_eq!(json["reason"], "unknown-issuer");
    assert!(message(&json).contains("self-signed"), "{json}");
    let file = site
        .folder
        .write("own.pem", pem("CERTIFICATE", &certificate));
    site.run("get", &["--ca", &file]).await.expect_code(0);
}

/// A certificate of a content delivery network may have a thousand names.
#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_a_certificate_for_another_host_are_cut() {
    let names = (0..1000).map(|number| format!("host-{number}.example"));
    let names = names.collect::<Vec<_>>();
    let names = names.iter().map(String::as_str).collect::<Vec<_>>();
    let site = Site::with_leaf(|root| root.leaf(&names), &[]).await;
    let json = error_of(&site, "get", &["--ca", &site.root_file()]).await;
    assert_eq!(json["reason"], "wrong-name");
    assert_eq!(json["names"].as_array().unwrap().len(), 10);
    assert_eq!(json["names_count"], 1000);
    for part in [
        "\"host-0.example\"",
        "\"host-9.example\" and 990 more",
        "check the URL",
    ] {
        assert!(message(&json).contains(part), "{part}: {json}");
    }
    assert!(!message(&json).contains("host-10.example"), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_an_address_has_its_names_listed() {
    let site = Site::with_leaf(|root| root.leaf(&["192.0.2.1", "::1"]), &[]).await;
    let json = error_of(&site, "get", &["--ca", &site.root_file()]).await;
    assert_eq!(json["reason"], "wrong-name");
    assert_eq!(json["names"], serde_json::json!(["192.0.2.1", "::1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_errors_of_chains_are_in_words() {
    let site = site_with(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    })
    .await;
    let json = error_of(&site, "get", &["--ca", &site.root_file()]).await;
    assert_eq!(json["reason"], "wrong-purpose");

    // A CA certificate in place of a leaf.
    let site = site_with(|params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    })
    .await;
    let json = error_of(&site, "get", &["--ca", &site.root_file()]).await;
    assert_eq!(json["reason"], "other");
    assert!(message(&json).contains("is that of a CA"), "{json}");
}

/// A subject of a hostile certificate can't fill the terminal either.
#[tokio::test(flavor = "multi_thread")]
async fn long_subjects_are_cut() {
    let long = "x".repeat(30_000);
    let root = Ca::root(&long);
    let leaf = root.leaf(&["shop.example"]);
    let site = Site::with_chain(root, leaf, &[]).await;
    let json = error_of(&site, "get", &[]).await;
    assert_eq!(json["reason"], "unknown-issuer");
    let pin = unrelated_pin().to_string();
    let run = site.run_trusted("get", &["--pin", &pin]).await;
    let stderr = run.expect_code(90).stderr;
    assert!(stderr.len() < MAX_LEN, "{} bytes", stderr.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_files_may_be_der() {
    let site = Site::start(&[]).await;
    let der = site.folder.write("root.der", site.root.certificate());
    for option in ["--ca", "--user-ca"] {
        site.run("get", &[option, &der]).await.expect_code(0);
    }
    let url = site.url();
    for bytes in [&b"\x30\x03\x02\x01\x00"[..], b"\x30", b""] {
        let file = site.folder.write("bad.der", bytes);
        let run = run_async(&["get", &url, "--ca", &file, "--json"]).await;
        assert_eq!(run.expect_code(2).json()["error"], "usage");
    }
}
