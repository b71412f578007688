//! `pinhold fingerprint`: private keys, certificate requests, standard input and several sources.

use std::fs;
use std::path::Path;

use pinhold::SpkiFingerprint;
use serde_json::Value;

use crate::peers;
use crate::pki::Ca;
use crate::program::{
    Folder, Run, Site, openssl, pem, pin_by_openssl, run, run_async, run_with_input,
};

/// Returns the pin of a private key, as `openssl` computes it.
fn pin_of_private_key(program: &Path, secret: &[u8]) -> String {
    let public = openssl(program, &["pkey", "-pubout", "-outform", "DER"], secret);
    pin_by_openssl(program, &public)
}

/// Makes a private key with these `genpkey` arguments, in PKCS#8 PEM.
fn private_key(program: &Path, arguments: &str) -> Vec<u8> {
    let arguments = format!("genpkey -quiet -algorithm {arguments}");
    openssl(program, &arguments.split(' ').collect::<Vec<_>>(), b"")
}

fn only_entry(run: &Run) -> Value {
    let json = run.json();
    let entries = json["certificates"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{json}");
    entries[0].clone()
}

/// Writes a private key in each form that `openssl` writes. Not every key has a traditional one.
fn key_files(program: &Path, folder: &Folder, secret: &[u8], is_traditional: bool) -> Vec<String> {
    let pkey = |arguments: &[&str]| openssl(program, &[&["pkey"], arguments].concat(), secret);
    let mut files = vec![
        folder.write("pkcs8.pem", secret),
        folder.write("pkcs8.der", pkey(&["-outform", "DER"])),
    ];
    if is_traditional {
        let text = pkey(&["-traditional"]);
        assert!(!String::from_utf8_lossy(&text).contains("BEGIN PRIVATE KEY"));
        files.push(folder.write("traditional.pem", text));
        let der = pkey(&["-traditional", "-outform", "DER"]);
        files.push(folder.write("traditional.der", der));
    }
    files
}

/// Writes a certificate request for a key in each form that `openssl` writes.
fn request_files(program: &Path, folder: &Folder, key: &str) -> Vec<String> {
    let forms = [
        ("csr.pem", &[][..]),
        ("csr.der", &["-outform", "DER"]),
        ("new.pem", &["-newhdr"]),
    ];
    let files = forms.map(|(name, more)| {
        let request = ["req", "-new", "-key", key, "-subj", "/CN=shop.example"];
        folder.write(name, openssl(program, &[&request, more].concat(), b""))
    });
    files.into()
}

#[test]
fn private_keys_and_requests_have_the_pin_that_openssl_computes() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    for algorithm in [
        "RSA -pkeyopt rsa_keygen_bits:2048",
        "EC -pkeyopt ec_paramgen_curve:P-256",
        "EC -pkeyopt ec_paramgen_curve:P-384",
        "ED25519",
    ] {
        let folder = Folder::new();
        let secret = private_key(&program, algorithm);
        let pin = pin_of_private_key(&program, &secret);
        let keys = key_files(&program, &folder, &secret, algorithm != "ED25519");
        let requests = request_files(&program, &folder, &keys[0]);
        let keys = keys.iter().map(|file| (file, "private-key", ""));
        let requests = requests.iter().map(|file| (file, "csr", "CN=shop.example"));
        for (file, role, subject) in keys.chain(requests) {
            let entry = only_entry(&run(["fingerprint", "--json", file]).expect_code(0));
            assert_eq!(entry["fingerprint"], pin, "{file}");
            assert_eq!(
                (&entry["role"], &entry["subject"]),
                (&role.into(), &subject.into())
            );
            assert!(entry["pin_this"].is_string(), "{file}");
        }
    }
}

#[test]
fn an_encrypted_key_is_refused_with_a_command_that_helps() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let folder = Folder::new();
    let secret = private_key(&program, "RSA -pkeyopt rsa_keygen_bits:2048");
    let encrypt = ["pkey", "-aes256", "-passout", "pass:secret"];
    let encrypt = |more: &[&str]| openssl(&program, &[&encrypt, more].concat(), &secret);
    let der = [
        "pkcs8",
        "-topk8",
        "-outform",
        "DER",
        "-passout",
        "pass:secret",
    ];
    let traditional = encrypt(&["-traditional"]);
    assert!(String::from_utf8_lossy(&traditional).contains("Proc-Type: 4,ENCRYPTED"));
    for file in [
        folder.write("pkcs8.pem", encrypt(&[])),
        folder.write("pkcs8.der", openssl(&program, &der, &secret)),
        folder.write("traditional.pem", traditional),
    ] {
        for run in [
            run(["fingerprint", "--json", &file]),
            run_with_input(&file, ["fingerprint", "--json", "-"]),
        ] {
            let json = run.expect_code(2).json();
            let message = json["message"].as_str().unwrap();
            assert!(message.contains("encrypted"), "{message}");
            assert!(
                message.contains("-pubout | pinhold fingerprint -"),
                "{message}"
            );
        }
        // What the command of the message does, with the passphrase.
        let public = ["pkey", "-in", &file, "-passin", "pass:secret", "-pubout"];
        let public = folder.write("public.pem", openssl(&program, &public, b""));
        let found = run_with_input(&public, ["fingerprint", "--json", "-"]).expect_code(0);
        assert_eq!(
            only_entry(&found)["fingerprint"],
            pin_of_private_key(&program, &secret)
        );
    }
}

/// A key for RSA-PSS alone has another algorithm in its certificates than other RSA keys, so that
/// their pins differ.
#[test]
fn a_private_key_of_another_kind_is_refused_with_a_command_that_helps() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let folder = Folder::new();
    for algorithm in [
        "RSA-PSS -pkeyopt rsa_keygen_bits:2048",
        "RSA -pkeyopt rsa_keygen_bits:1024",
        "EC -pkeyopt ec_paramgen_curve:secp256k1",
        "ED448",
    ] {
        let secret = private_key(&program, algorithm);
        for file in key_files(&program, &folder, &secret, algorithm.starts_with("EC ")) {
            let refused = run(["fingerprint", &file]).expect_code(2);
            assert_eq!(refused.stdout, b"", "{algorithm}");
            assert!(refused.stderr.contains("-pubout | pinhold fingerprint -"));
        }
        let public = openssl(&program, &["pkey", "-pubout"], &secret);
        let public = folder.write("public.pem", public);
        let found = run_with_input(&public, ["fingerprint", "--json", "-"]).expect_code(0);
        assert_eq!(
            only_entry(&found)["fingerprint"],
            pin_of_private_key(&program, &secret)
        );
    }
}

#[test]
fn a_private_key_that_the_parser_would_skip_is_refused() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["shop.example"]);
    let key = leaf.key();
    let folder = Folder::new();
    for label in ["OPENSSH PRIVATE KEY", "DSA PRIVATE KEY"] {
        let file = folder.write("other.pem", root.pem() + &pem(label, b"other"));
        assert_eq!(run(["fingerprint", &file]).expect_code(2).stdout, b"");
    }
    let indented = pem("PRIVATE KEY", key.secret_der());
    let indented = folder.write("indented.pem", format!("{}  {indented}", root.pem()));
    run(["fingerprint", &indented]).expect_code(2);
    let corrupt = folder.write("corrupt.pem", pem("PRIVATE KEY", &key.secret_der()[1..]));
    run(["fingerprint", &corrupt]).expect_code(2);
}

/// A certificate and its key show that they belong together. The output has no line of the key.
#[test]
fn a_file_with_a_certificate_and_its_key_has_both() {
    let leaf = Ca::root("Root").leaf(&["shop.example"]);
    let secret = pem("PRIVATE KEY", leaf.key().secret_der());
    let folder = Folder::new();
    let both = pem("CERTIFICATE", &leaf.certificate()) + &secret;
    let file = folder.write("both.pem", both);
    let run = run(["fingerprint", &file, "--json"]).expect_code(0);
    let json = run.json();
    let entries = json["certificates"].as_array().unwrap();
    let roles = entries.iter().map(|entry| entry["role"].as_str().unwrap());
    assert!(roles.eq(["leaf", "private-key"]), "{json}");
    for entry in entries {
        assert_eq!(entry["fingerprint"], leaf.pin().to_string());
    }
    let line = secret.lines().nth(1).unwrap();
    assert!(!run.text().contains(line));
}

#[test]
fn the_old_label_of_a_request_is_read() {
    let folder = Folder::new();
    let json = run(["key", "new", &folder.path("a"), "--json"])
        .expect_code(0)
        .json();
    let request = fs::read_to_string(folder.path("a.csr")).unwrap();
    let old = request.replace("CERTIFICATE REQUEST-----", "NEW CERTIFICATE REQUEST-----");
    let file = folder.write("old.csr", old.repeat(2));
    let found = run(["fingerprint", &file, "--json"]).expect_code(0);
    assert_eq!(only_entry(&found)["fingerprint"], json["fingerprint"]);
}

#[test]
fn standard_input_is_read_like_a_file() {
    let root = Ca::root("Root");
    let folder = Folder::new();
    for file in [
        folder.write("root.pem", format!("\u{feff}{}", root.pem())),
        folder.write("root.der", root.certificate()),
    ] {
        let run = run_with_input(&file, ["fingerprint", "-", "--json"]).expect_code(0);
        assert_eq!(run.json()["source"], "-");
        assert_eq!(only_entry(&run)["fingerprint"], root.pin().to_string());
    }
    let json = run(["fingerprint", "-", "--json"]).expect_code(2).json();
    assert_eq!(json["error"], "usage");
    run(["fingerprint", "-", "--insecure"]).expect_code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sources_are_one_list_that_names_the_source_of_each_key() {
    let site = Site::start(&[]).await;
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let file = site.folder.write("one.pem", one.pem());
    let other = site.folder.write("two.pem", two.pem());
    let run = site
        .run_trusted("fingerprint", &[&file, &other, "--json"])
        .await
        .expect_code(0);
    let json = run.json();
    assert_eq!(
        (&json["source"], &json["validated"]),
        (&Value::Null, &false.into())
    );
    let url = site.url();
    let intermediate = SpkiFingerprint::of_certificate(&site.leaf.chain[1]).unwrap();
    let expected = [
        (&*url, true, site.leaf.pin()),
        (&url, true, intermediate),
        (&url, true, site.root.pin()),
        (&file, false, one.pin()),
        (&other, false, two.pin()),
    ];
    let found = json["certificates"].as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{json}");
    for (entry, (source, validated, pin)) in found.iter().zip(expected) {
        assert_eq!(entry["source"], source);
        assert_eq!(entry["validated"], validated);
        assert_eq!(entry["fingerprint"], pin.to_string());
    }
    let text = site
        .run_trusted("fingerprint", &[&file])
        .await
        .expect_code(0);
    let sources = text.text().lines().filter(|line| line.ends_with(':'));
    assert!(
        sources.eq([format!("{url}:"), format!("{file}:")]),
        "{}",
        text.text()
    );

    // One source that can't be read ends the command before it prints the others.
    let missing = site.folder.path("missing.pem");
    fs::remove_file(&other).unwrap();
    for name in [&missing, &other] {
        let failed = run_async(&["fingerprint", &file, name])
            .await
            .expect_code(2);
        assert_eq!(failed.stdout, b"");
    }
}
