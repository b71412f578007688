//! `pinhold fingerprint`: keys in files and of servers, compared with `openssl`.

use std::path::Path;

use serde_json::{Value, json};

use crate::peers;
use crate::pki::Ca;
use crate::program::{Folder, Run, Site, openssl, pem, pin_by_openssl, run, run_async};

/// The only key of a result.
fn only_key(run: &Run) -> Value {
    let json = run.json();
    let certificates = json["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 1, "{json}");
    certificates[0].clone()
}

/// The entries of a result in text form, each of which begins with the fingerprint.
fn entries(run: &Run) -> Vec<String> {
    let entries = run.text().split("sha256/").skip(1);
    entries.map(|entry| format!("sha256/{entry}")).collect()
}

#[test]
fn prints_all_certificates_and_keys_of_a_file() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["shop.example"]);
    let folder = Folder::new();
    let key = "-----BEGIN PUBLIC KEY-----\n\
         MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
         -----END PUBLIC KEY-----\n";
    let text = pem("CERTIFICATE", &leaf.certificate()) + &root.pem() + "between\n" + key;
    let file = folder.write("all.pem", text);
    let json = run(["fingerprint", &file, "--json"]).expect_code(0).json();
    assert_eq!(json["source"], file);
    assert_eq!(json["validated"], false);
    let not_after = Some("4096-01-01T00:00:00Z");
    let entry = |fingerprint: &str, subject, role, not_after: Option<&str>, advice| {
        json!({
            "source": file,
            "validated": false,
            "fingerprint": fingerprint,
            "subject": subject,
            "role": role,
            "from": null,
            "not_after": not_after,
            "pin_this": advice,
        })
    };
    let [leaf, root] = [leaf.pin(), root.pin()].map(|pin| pin.to_string());
    let key = "sha256/oekVYFTgT6yJmunydRMs3Ael28TqLCrTof/G4NJTaB8=";
    let kept = "pin this if you run the server and keep this key at renewal";
    let renewed = "pin this if the server stays with this CA: it survives renewals";
    let backup = "pin this if it is your server's key, or a backup that is kept offline";
    let expected = json!([
        entry(&leaf, "CN=shop.example", "leaf", not_after, kept),
        entry(&root, "CN=Root", "root", not_after, renewed),
        entry(key, "", "key", None, backup),
    ]);
    assert_eq!(json["certificates"], expected);
    let run = run(["fingerprint", &file]).expect_code(0);
    let entries = entries(&run);
    assert_eq!(entries.len(), 3);
    for (text, entry) in entries.iter().zip(expected.as_array().unwrap()) {
        for field in ["fingerprint", "subject", "role", "pin_this"] {
            assert!(text.contains(entry[field].as_str().unwrap()), "{text}");
        }
    }
    assert_eq!(run.stderr, "");
}

#[test]
fn accepts_der() {
    let root = Ca::root("Root");
    let folder = Folder::new();
    let file = folder.write("root.der", root.certificate());
    let entry = only_key(&run(["fingerprint", &file, "--json"]).expect_code(0));
    assert_eq!(entry["fingerprint"], root.pin().to_string());
    assert_eq!(entry["role"], "root");
}

/// A byte order mark or an indented line must not lose a certificate in silence.
#[test]
fn every_section_of_a_file_is_read_or_named() {
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let folder = Folder::new();
    let marked = format!("\u{feff}{}{}", one.pem(), two.pem());
    let file = folder.write("marked.pem", marked);
    assert_eq!(
        entries(&run(["fingerprint", &file]).expect_code(0)).len(),
        2
    );
    let file = folder.write("indented.pem", format!("{}  {}", one.pem(), two.pem()));
    for arguments in [
        vec!["fingerprint", &file],
        vec!["fingerprint", "127.0.0.1:1", "--ca", &file],
    ] {
        run(arguments).expect_code(2);
    }
}

#[test]
fn a_subject_cannot_control_the_terminal() {
    let hostile = "\u{1b}]0;x\u{7}\nCN=bank\u{9b}2J\u{202e}";
    let folder = Folder::new();
    let file = folder.write("hostile.pem", Ca::root(hostile).pem());
    let run = run(["fingerprint", &file]).expect_code(0);
    assert_eq!(entries(&run).len(), 1);
    assert_eq!(run.text().lines().count(), 4, "{:?}", run.text());
    let is_unsafe = |char: char| char != '\n' && (char.is_control() || char == '\u{202e}');
    assert!(!run.text().contains(is_unsafe), "{:?}", run.text());
}

#[test]
fn other_content_than_certificates_and_keys_exits_with_2() {
    let folder = Folder::new();
    let root = Ca::root("Root");
    let good = folder.write("root.pem", root.pem());
    for file in [
        folder.write("text", "hello"),
        folder.write("empty", ""),
        folder.write("crl.pem", pem("X509 CRL", b"list")),
        folder.write("corrupt.pem", pem("CERTIFICATE", b"corrupt")),
        folder.write("half.pem", root.pem() + &pem("CERTIFICATE", b"corrupt")),
        folder.path("missing.pem"),
        "shop.example/path".to_owned(),
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
    let url = run(["fingerprint", "shop.example/path"]).expect_code(2);
    assert!(url.stderr.contains("https://"), "{}", url.stderr);
    run(["fingerprint", &good]).expect_code(0);
    run(["fingerprint", "--insecure", "http://shop.example/"]).expect_code(2);
    // A file is never validated, so the option would have no meaning.
    run(["fingerprint", "--insecure", &good]).expect_code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn prints_the_validated_chain_and_unused_certificates() {
    let unused = Ca::root("Unused");
    let appended = unused.certificate();
    let leaf = |root: &Ca| {
        let leaf = root.intermediate("Sub").leaf(&["shop.example"]);
        leaf.with_appended([appended])
    };
    let site = Site::with_leaf(leaf, &[]).await;
    let run = site
        .run_trusted("fingerprint", &["--json"])
        .await
        .expect_code(0);
    let json = run.json();
    assert_eq!(json["source"], site.url());
    assert_eq!(json["validated"], true);
    let found = json["certificates"].as_array().unwrap();
    let roles = found.iter().map(|entry| entry["role"].as_str().unwrap());
    let expected = ["leaf", "intermediate", "root", "unused"];
    assert!(roles.eq(expected), "{json}");
    assert_eq!(found[0]["fingerprint"], site.leaf.pin().to_string());
    assert_eq!(found[0]["not_after"], "4096-01-01T00:00:00Z");
    assert_eq!(found[2]["fingerprint"], site.root.pin().to_string());
    assert_eq!(found[2]["from"], "--ca");
    assert_eq!(found[3]["fingerprint"], unused.pin().to_string());
    assert_eq!(site.server.requests(), 0, "no request was sent");
    let run = site.run_trusted("fingerprint", &[]).await.expect_code(0);
    assert_eq!(entries(&run).len(), 4);
    let root = &entries(&run)[2];
    assert!(root.contains("  root from --ca\n"), "{root}");
}

#[tokio::test(flavor = "multi_thread")]
async fn validates_the_chain_unless_insecure() {
    let site = Site::start(&[]).await;
    site.run("fingerprint", &[]).await.expect_code(1);
    let json = site
        .run("fingerprint", &["--json"])
        .await
        .expect_code(1)
        .json();
    assert_eq!(json["error"], "certificate", "{json}");
    assert_eq!(json["reason"], "unknown-issuer", "{json}");
    let run = site.run("fingerprint", &["--insecure", "--json"]).await;
    let run = run.expect_code(0);
    assert_ne!(run.stderr, "", "the warning");
    let json = run.json();
    assert_eq!(json["validated"], false);
    let found = json["certificates"].as_array().unwrap();
    assert_eq!(found.len(), site.leaf.chain.len());
    for entry in found {
        assert_eq!(entry["role"], "served", "{entry}");
    }
    assert_eq!(found[0]["fingerprint"], site.leaf.pin().to_string());
    let root = site.root_file();
    let run = site.run("fingerprint", &["--user-ca", &root]).await;
    run.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn prints_the_keys_of_an_ip_address() {
    let site = Site::with_leaf(|root| root.leaf(&["127.0.0.1"]), &[]).await;
    let (root, port) = (site.root_file(), site.port());
    let url = format!("https://127.0.0.1:{port}");
    for options in [&["--ca", &root][..], &["--insecure"]] {
        let arguments = [&["fingerprint", "--json", &url], options].concat();
        let run = run_async(&arguments).await;
        let json = run.expect_code(0).json();
        let found = &json["certificates"][0]["fingerprint"];
        assert_eq!(*found, site.leaf.pin().to_string());
    }
}

/// The root is sent, too, and so is a certificate that occurs twice.
#[tokio::test(flavor = "multi_thread")]
async fn prints_each_certificate_once_and_which_to_pin() {
    let leaf = |root: &Ca| {
        let leaf = root.intermediate("Sub").leaf(&["shop.example"]);
        let again = leaf.chain.clone();
        leaf.with_appended([root.certificate()])
            .with_appended(again)
    };
    let site = Site::with_leaf(leaf, &[]).await;
    let run = site.run_trusted("fingerprint", &["--json"]).await;
    let json = run.expect_code(0).json();
    let found = json["certificates"].as_array().unwrap();
    let keys = found.iter().map(|entry| {
        let is_recommended = entry["pin_this"].is_string();
        (entry["role"].as_str().unwrap(), is_recommended)
    });
    let expected = [("leaf", true), ("intermediate", false), ("root", true)];
    assert!(keys.eq(expected), "{json}");

    let run = site.run("fingerprint", &["--insecure", "--json"]).await;
    let json = run.expect_code(0).json();
    assert_eq!(json["certificates"].as_array().unwrap().len(), 3, "{json}");

    // Pins are skipped on chains to a user-added root.
    let root = site.root_file();
    let options = ["--user-ca", &root, "--json"];
    let json = site
        .run("fingerprint", &options)
        .await
        .expect_code(0)
        .json();
    let found = json["certificates"].as_array().unwrap();
    assert_eq!(found[2]["from"], "--user-ca");
    assert!(found.iter().all(|entry| entry["pin_this"].is_null()));
}

#[test]
fn a_file_has_each_certificate_once() {
    let (folder, root) = (Folder::new(), Ca::root("Root"));
    let file = folder.write("twice.pem", root.pem() + &root.pem());
    only_key(&run(["fingerprint", &file, "--json"]).expect_code(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_a_host_with_and_without_a_port() {
    let site = Site::start(&[]).await;
    let (root, port) = (site.root_file(), site.port());
    let resolve = format!("shop.example:{port}:127.0.0.1");
    let with_port = format!("shop.example:{port}");
    let fixed = [
        "fingerprint",
        "--json",
        "--ca",
        &root,
        "--resolve",
        &resolve,
    ];
    let run = run_async(&[&fixed[..], &[&with_port]].concat()).await;
    let json = run.expect_code(0).json();
    assert_eq!(json["validated"], true);
    let found = &json["certificates"][0]["fingerprint"];
    assert_eq!(*found, site.leaf.pin().to_string());

    // Without a port it is 443, where no server has a certificate of a bundled root.
    let unused = ["fingerprint", "--json", "shop.example", "--resolve"];
    let run = run_async(&[&unused[..], &["shop.example:443:127.0.0.1"]].concat()).await;
    let json = run.expect_code(1).json();
    assert_eq!(
        (&json["host"], &json["port"]),
        (&"shop.example".into(), &443.into())
    );
}

#[test]
fn a_name_that_is_no_host_is_said_to_be_no_file_either() {
    let resolve = ["--resolve", "roots.pem:1:127.0.0.1"];
    for (source, is_named) in [("roots.pem:1", true), ("https://roots.pem:1/", false)] {
        let found = run([&["fingerprint", source], &resolve[..]].concat()).expect_code(1);
        assert_eq!(
            found.stderr.contains("no file"),
            is_named,
            "{}",
            found.stderr
        );
    }
}

/// Makes a key with these `genpkey` arguments. Returns its pin, computed by `openssl`, and files
/// with the key or its certificate.
fn made_by_openssl(program: &Path, key: &[&str], folder: &Folder) -> (String, Vec<String>) {
    let generate = [&["genpkey", "-algorithm"], key].concat();
    let secret = openssl(program, &generate, b"");
    let secret_file = folder.write("secret.pem", &secret);
    let public = ["pkey", "-pubout", "-outform", "DER"];
    let public = openssl(program, &public, &secret);
    let pin = pin_by_openssl(program, &public);

    let certificate = folder.path("certificate.pem");
    let request = "req -x509 -new -subj /CN=shop.example -days 30";
    let files = ["-key", &secret_file, "-out", &certificate];
    let request = request.split(' ').chain(files).collect::<Vec<_>>();
    openssl(program, &request, b"");
    let der = ["x509", "-in", &certificate, "-outform", "DER"];
    let der = openssl(program, &der, b"");
    let files = vec![
        certificate,
        folder.write("certificate.der", der),
        folder.write("public.pem", pem("PUBLIC KEY", &public)),
        folder.write("public.der", &public),
    ];
    (pin, files)
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
        let (pin, files) = made_by_openssl(&program, key, &folder);
        for file in files {
            let entry = only_key(&run(["fingerprint", "--json", &file]).expect_code(0));
            assert_eq!(entry["fingerprint"], pin, "{key:?} {file}");
        }
    }
}
