//! Inputs that are not what they should be, each with its exit code.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};

use crate::bundle::kit::{NAME, TBS, Team};
use crate::peers;
use crate::program::{openssl, pem};

/// Writes files that have no key that can be used. Returns their names.
fn write_unusable_keys(team: &Team) -> [&'static str; 8] {
    let write = |name: &str, text: String| drop(team.folder.write(name, text));
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let key = team.read("1.key");
    let line = key.lines().nth(1).unwrap();
    write("p256.key", other.serialize_pem());
    write("p256.pub", other.public_key_pem());
    write("two.key", key.clone() + &team.read("2.key"));
    write("indented.key", key.replace("-----B", " -----B"));
    write("empty.key", String::new());
    write("certificate.key", pem("CERTIFICATE", b"other"));
    write("corrupt.key", key.replace(line, &line.to_lowercase()));
    [
        "p256.key",
        "p256.pub",
        "two.key",
        "indented.key",
        "empty.key",
        "certificate.key",
        "corrupt.key",
        "missing.key",
    ]
}

#[test]
fn files_without_an_ed25519_key_are_refused() {
    let team = Team::with_root();
    for file in write_unusable_keys(&team) {
        let path = team.folder.path(file);
        team.fail(&format!("init-root --key a={path}"), 2, "usage");
        team.fail(&format!("sign 1.root --key {file}"), 2, "usage");
    }
    // A public key can't sign.
    team.fail("sign 1.root --key 3.pub", 2, "usage");
}

#[test]
fn a_key_has_a_name() {
    let team = Team::with_root();
    let json = team.json("init-root --key @1.pub");
    let vkey = json["keys"][0].as_str().unwrap();
    let wrong = vkey.replace("pins/1", "pins/2");
    for key in ["1.key", "1.pub", "a+b+c", &wrong, "=", "a="] {
        team.fail(&format!("init-root --key {key}"), 2, "usage");
    }
    // The text of a key, and a file with it, are keys with names.
    let file = team.folder.write("1.vkey", format!("{vkey}\n"));
    for key in [vkey, "1.vkey", &format!("{NAME}1={file}")] {
        let json = team.json(&format!("init-root --key {key}"));
        assert_eq!(json["keys"][0], vkey);
        assert_eq!(json["complete"], false);
    }
    team.fail(&format!("init-root --key b={file}"), 2, "usage");
}

#[test]
fn an_encrypted_key_is_refused_with_the_way_to_sign() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let team = Team::with_root();
    let key = openssl(&program, &["genpkey", "-algorithm", "ed25519"], b"");
    let encrypt = ["pkey", "-aes256", "-passout", "pass:secret"];
    let encrypted = openssl(&program, &encrypt, &key);
    team.folder.write("encrypted.key", encrypted);
    let json = team.fail("sign 1.root --key encrypted.key", 2, "usage");
    let message = json["message"].as_str().unwrap();
    for part in ["encrypted", "pkeyutl -sign -rawin", "pinhold bundle attach"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn no_output_contains_a_line_of_a_private_key() {
    let team = Team::new();
    let secret = team.read("1.key");
    let secret = secret.lines().nth(1).unwrap();
    let corrupt = team.folder.write("corrupt.key", secret);
    for key in ["@1.key", &format!("a={corrupt}")] {
        for more in ["--json", ""] {
            let run = team.run(&format!("init-root --key {key} {more}"));
            assert!(!run.text().contains(secret) && !run.stderr.contains(secret));
        }
    }
}

#[test]
fn a_signature_of_another_text_key_or_length_is_refused() {
    let team = Team::with_root();
    team.run(&format!("{TBS} -o 1.text")).expect_code(0);
    team.folder.write("short.signature", [7; 63]);
    team.folder.write("wrong.signature", [7; 64]);
    team.folder.write("empty.signature", "");
    let known = format!("{NAME}1");
    for (key, signature) in [
        (known.as_str(), "short.signature"),
        (&known, "wrong.signature"),
        (&known, "empty.signature"),
        (&known, "missing.signature"),
        ("@4.pub", "wrong.signature"),
        ("example.com/pins/9", "wrong.signature"),
    ] {
        let signature = format!("--signature {signature}");
        for root in ["--root 1.root", ""] {
            let attach = format!("attach 1.text {root} --key {key} {signature}");
            team.fail(&attach, 2, "usage");
        }
    }
    let attach = "attach pins.json --key @1.pub --signature wrong.signature";
    team.fail(attach, 2, "usage");
}

/// It counts for no client, and a reader of the bundle could take it for one that does.
#[test]
fn a_valid_signature_of_another_key_than_the_roots_is_refused() {
    let team = Team::with_root();
    team.run(&format!("{TBS} -o 1.text")).expect_code(0);
    let key = KeyPair::from_pem(&team.read("4.key")).unwrap();
    let text = team.read("1.text");
    let signature = key.sign(text.as_bytes()).unwrap();
    team.folder.write("4.signature", signature);
    let attach = "attach 1.text --key @4.pub --signature 4.signature";
    team.fail(&format!("{attach} --root 1.root"), 2, "usage");
    assert_eq!(team.json(attach)["complete"], serde_json::Value::Null);
}

/// Returns bundles that a client refuses, each with the rule that it does not follow.
fn refused(good: &str) -> [(String, &'static str); 9] {
    let (text, signatures) = good.split_once("\n\n").unwrap();
    let first = signatures.lines().next().unwrap();
    let other_root = good.replace("\"root_version\": 1", "\"root_version\": 2");
    [
        (format!("{text}\n\n{first}\n"), "signatures"),
        (
            good.replace(".example.com", ".example.org"),
            "bad-signature",
        ),
        ("<html>Please log in</html>".to_owned(), "not-a-note"),
        (good.replace("  \"type\"", "\t\"type\""), "not-a-note"),
        (format!("{text}\n"), "not-a-note"),
        (format!("{text}\n\n{first}==\n"), "not-a-note"),
        (" ".repeat(1 << 20) + good, "too-large"),
        (other_root, "not-newest-root"),
        (good.replace("\"type\"", "\"kind\""), "unreadable"),
    ]
}

#[test]
fn verify_states_which_rule_failed() {
    let team = Team::with_root();
    team.sign("--version 1 -o 1.bundle").expect_code(0);
    for (bundle, reason) in refused(&team.read("1.bundle")) {
        team.folder.write("x.bundle", bundle);
        let json = team.fail("verify x.bundle --root 1.root", 1, "bundle");
        assert_eq!(json["reason"], reason, "{json}");
    }
    // A client refuses a root that its own keys have not signed.
    let root = team.read("1.root");
    let signature = root.lines().last().unwrap();
    let part = root.replace(&format!("{signature}\n"), "");
    team.folder.write("part.root", part);
    let json = team.fail("verify 1.bundle --root part.root", 1, "bundle");
    assert_eq!(json["reason"], "signatures");
    for line in [
        "verify 1.bundle --root pins.json",
        "verify 1.bundle --root 1.bundle",
        "verify missing.bundle --root 1.root",
        "verify 1.bundle",
    ] {
        team.fail(line, 2, "usage");
    }
}

#[test]
fn terms_that_are_not_understood_are_invalid_usage() {
    let team = Team::with_root();
    let tbs = TBS.replace("--expires 90d ", "");
    for terms in [
        "--expires soon",
        "--expires 90",
        "--expires=-1d",
        "--expires 99999999999999999999w",
        "--expires 9d --staging 101:x",
        "--expires 9d --staging 10",
        "--expires 9d --staging 10:",
        "--expires 9d --when-stale ignore",
        "--expires 9d --refuse-key sha256/AAAA",
        "--expires 9d --allow everything",
        "--expires 9d --intermediate pins.json",
        "--expires 9d --previous pins.json",
    ] {
        team.fail(&format!("{tbs} {terms}"), 2, "usage");
    }
}

#[test]
fn files_of_another_kind_are_invalid_usage() {
    let team = Team::with_root();
    team.sign("--version 1 -o 1.bundle").expect_code(0);
    let comma = "{ \"version\": 1, \"policies\": [], }";
    team.folder.write("comma.json", comma);
    let latin = b"{ \"comment\": \"\xe9\" }";
    team.folder.write("latin.json", latin);
    for file in ["comma.json", "latin.json", "missing.json", "1.bundle"] {
        team.fail(&TBS.replace("pins.json", file), 2, "usage");
    }
    for line in [
        "sign pins.json",
        "sign 1.bundle --key 1.key --root 1.root --expires 9d",
        "sign 1.bundle --key 1.key --root 1.root --roots 1.root",
        "show pins.json",
        "diff 1.bundle 1.root",
        "diff 1.bundle",
        "",
    ] {
        team.fail(line, 2, "usage");
    }
}
