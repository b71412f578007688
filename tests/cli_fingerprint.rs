//! `pinhold fingerprint` as a program, and against the `openssl` command line.
#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::cli::{Folder, Run, Site, pem, run, run_beside};
use common::peers;
use common::pki::Ca;
use pinhold::SpkiFingerprint;
use serde_json::{Value, json};

fn only(run: &Run) -> Value {
    let json = run.json();
    let certificates = json["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 1, "{json}");
    certificates[0].clone()
}

#[test]
fn lists_all_certificates_and_keys_of_a_file() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["shop.example"]);
    let folder = Folder::new();
    let key = "-----BEGIN PUBLIC KEY-----\n\
         MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
         -----END PUBLIC KEY-----\n";
    let text = pem("CERTIFICATE", &leaf.certificate()) + &root.pem() + "between\n" + key;
    let file = folder.write("all.pem", text);
    let json = run(["fingerprint", &file, "--json"]).ends_with(0).json();
    assert_eq!(json["source"], file);
    assert_eq!(json["validated"], false);
    let not_after = "4096-01-01T00:00:00Z";
    let expected = json!([
        {
            "fingerprint": leaf.pin().to_string(),
            "subject": "CN=shop.example",
            "role": "end-entity",
            "not_after": not_after,
        },
        {
            "fingerprint": root.pin().to_string(),
            "subject": "CN=Root",
            "role": "ca",
            "not_after": not_after,
        },
        {
            "fingerprint": "sha256/oekVYFTgT6yJmunydRMs3Ael28TqLCrTof/G4NJTaB8=",
            "subject": "",
            "role": "key",
            "not_after": null,
        },
    ]);
    assert_eq!(json["certificates"], expected);
    let run = run(["fingerprint", &file]).ends_with(0);
    let lines = run.text().lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 3);
    for (line, entry) in lines.iter().zip(expected.as_array().unwrap()) {
        for field in ["fingerprint", "subject", "role"] {
            assert!(line.contains(entry[field].as_str().unwrap()), "{line}");
        }
    }
    assert_eq!(run.stderr, "");
}

#[test]
fn reads_der() {
    let root = Ca::root("Root");
    let folder = Folder::new();
    let file = folder.write("root.der", root.certificate());
    let entry = only(&run(["fingerprint", &file, "--json"]).ends_with(0));
    assert_eq!(entry["fingerprint"], root.pin().to_string());
    assert_eq!(entry["role"], "ca");
}

#[test]
fn a_subject_does_not_steer_the_terminal() {
    let hostile = "\u{1b}]0;x\u{7}\nCN=bank\u{9b}2J\u{202e}";
    let folder = Folder::new();
    let file = folder.write("hostile.pem", Ca::root(hostile).pem());
    let run = run(["fingerprint", &file]).ends_with(0);
    assert_eq!(run.text().lines().count(), 1);
    let steers = |char: char| char != '\n' && (char.is_control() || char == '\u{202e}');
    assert!(!run.text().contains(steers), "{:?}", run.text());
}

#[test]
fn what_is_neither_certificate_nor_key_ends_with_2() {
    let folder = Folder::new();
    let root = Ca::root("Root");
    let private = root.leaf(&["shop.example"]);
    let private = pem("PRIVATE KEY", private.key().secret_der());
    let good = folder.write("root.pem", root.pem());
    for file in [
        folder.write("text", "hello"),
        folder.write("empty", ""),
        folder.write("private.pem", private),
        folder.write("damaged.pem", pem("CERTIFICATE", b"damaged")),
        folder.write("half.pem", root.pem() + &pem("CERTIFICATE", b"damaged")),
        folder.path("missing.pem"),
        "http://shop.example/".to_owned(),
        "https://".to_owned(),
    ] {
        let run = run(["fingerprint", &file]);
        assert_eq!(
            (run.code, run.stdout.len()),
            (2, 0),
            "{file}: {}",
            run.stderr
        );
        assert_ne!(run.stderr, "", "{file}");
    }
    run(["fingerprint", &good]).ends_with(0);
    run(["fingerprint", "--insecure", "http://shop.example/"]).ends_with(2);
    // It would promise something that a file does not have.
    run(["fingerprint", "--insecure", &good]).ends_with(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_the_validated_chain_and_what_is_beside_it() {
    let bystander = Ca::root("Bystander");
    let own = bystander.certificate();
    let leaf = |root: &Ca| {
        let leaf = root.intermediate("Sub").leaf(&["shop.example"]);
        leaf.with_appended([own])
    };
    let site = Site::with_leaf(leaf, &[]).await;
    let run = site.trusted("fingerprint", &["--json"]).await.ends_with(0);
    let json = run.json();
    assert_eq!(json["source"], site.url());
    assert_eq!(json["validated"], true);
    let found = json["certificates"].as_array().unwrap();
    let roles = found.iter().map(|entry| entry["role"].as_str().unwrap());
    let expected = ["leaf", "intermediate", "anchor", "unused"];
    assert!(roles.eq(expected), "{json}");
    assert_eq!(found[0]["fingerprint"], site.leaf.pin().to_string());
    assert_eq!(found[0]["not_after"], "4096-01-01T00:00:00Z");
    assert_eq!(found[2]["fingerprint"], site.root.pin().to_string());
    assert_eq!(found[2]["not_after"], Value::Null);
    assert_eq!(found[3]["fingerprint"], bystander.pin().to_string());
    assert_eq!(site.server.requests(), 0, "a handshake is enough");
    let run = site.trusted("fingerprint", &[]).await.ends_with(0);
    assert_eq!(run.text().lines().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn validates_unless_told_otherwise() {
    let site = Site::start(&[]).await;
    site.run("fingerprint", &[]).await.ends_with(1);
    let json = site
        .run("fingerprint", &["--json"])
        .await
        .ends_with(1)
        .json();
    assert!(json["error"].is_string());
    let run = site.run("fingerprint", &["--insecure", "--json"]).await;
    let run = run.ends_with(0);
    assert_ne!(run.stderr, "", "the warning");
    let json = run.json();
    assert_eq!(json["validated"], false);
    let found = json["certificates"].as_array().unwrap();
    assert_eq!(found.len(), site.leaf.chain.len());
    for entry in found {
        assert!(
            entry["role"].is_null() || entry["role"] == "served",
            "{entry}"
        );
    }
    assert_eq!(found[0]["fingerprint"], site.leaf.pin().to_string());
    let root = site.root_file();
    let run = site.run("fingerprint", &["--user-ca", &root]).await;
    run.ends_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_have_fingerprints_too() {
    let site = Site::with_leaf(|root| root.leaf(&["127.0.0.1"]), &[]).await;
    let (root, port) = (site.root_file(), site.port());
    let url = format!("https://127.0.0.1:{port}");
    for way in [&["--ca", &root][..], &["--insecure"]] {
        let arguments = [&["fingerprint", "--json", &url], way].concat();
        let run = run_beside(arguments.iter().map(|&text| text.into()).collect()).await;
        let json = run.ends_with(0).json();
        let found = &json["certificates"][0]["fingerprint"];
        assert_eq!(*found, site.leaf.pin().to_string());
    }
}

fn openssl(program: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    output.stdout
}

#[test]
fn agrees_with_openssl() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let folder = Folder::new();
    for key in [
        &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..],
        &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["ED25519"],
    ] {
        let generate = [&["genpkey", "-algorithm"], key].concat();
        let secret = openssl(&program, &generate, b"");
        let secret_file = folder.write("secret.pem", &secret);
        let public = ["pkey", "-pubout", "-outform", "DER"];
        let public = openssl(&program, &public, &secret);
        let digest = openssl(&program, &["dgst", "-sha256", "-binary"], &public);
        let pin = SpkiFingerprint::from_digest(digest.try_into().unwrap());

        let certificate = folder.path("certificate.pem");
        let request = [
            "req",
            "-x509",
            "-new",
            "-key",
            &secret_file,
            "-subj",
            "/CN=shop.example",
            "-days",
            "30",
            "-out",
            &certificate,
        ];
        openssl(&program, &request, b"");
        let der = ["x509", "-in", &certificate, "-outform", "DER"];
        let der = openssl(&program, &der, b"");
        for file in [
            certificate,
            folder.write("certificate.der", der),
            folder.write("public.pem", pem("PUBLIC KEY", &public)),
            folder.write("public.der", &public),
        ] {
            let entry = only(&run(["fingerprint", "--json", &file]).ends_with(0));
            assert_eq!(entry["fingerprint"], pin.to_string(), "{key:?} {file}");
        }
    }
}
