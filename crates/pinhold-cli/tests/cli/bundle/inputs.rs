//! Inputs that are not what they should be, each with its exit code.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::bundle::kit::{Team, expect_error};
use crate::peers;
use crate::program::openssl;

#[test]
fn keys_that_are_not_ed25519_or_have_no_name_are_refused() {
    let team = Team::with_root();
    let write = |name: &str, text: String| team.folder.write(name, text);
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    write("p256.key", other.serialize_pem());
    write("p256.pub", other.public_key_pem());
    write("two.key", team.read("1.key") + &team.read("2.key"));
    write(
        "indented.key",
        team.read("1.key").replace("-----B", " -----B"),
    );
    write("empty.key", String::new());
    write(
        "certificate.key",
        crate::program::pem("CERTIFICATE", b"other"),
    );
    write(
        "corrupt.key",
        team.read("1.key")
            .replacen("MC4CAQ", "MC4CAg", 1)
            .replacen("MFECAQ", "MFECAg", 1),
    );
    let json = team.run(
        &["init-root", "--key", &team.named(1, "pub"), "--json"],
        &[],
    );
    let vkey = json.expect_code(0).json()["keys"][0]
        .as_str()
        .unwrap()
        .to_owned();
    for file in [
        "p256.key",
        "p256.pub",
        "two.key",
        "indented.key",
        "empty.key",
        "certificate.key",
        "corrupt.key",
        "missing.key",
    ] {
        let named = format!("a={}", team.folder.path(file));
        expect_error(
            team.run(&["init-root", "--key", &named, "--json"], &[]),
            2,
            "usage",
        );
        let sign = ["sign", "1.root", "--key", file, "--json"];
        expect_error(team.run(&sign, &[]), 2, "usage");
    }
    let wrong = vkey.replace("example.com/pins/1", "example.com/pins/2");
    for key in ["1.key", "1.pub", "a+b+c", &wrong, "=", "a=", ""] {
        expect_error(
            team.run(&["init-root", "--key", key, "--json"], &[]),
            2,
            "usage",
        );
    }
    // A public key can't sign.
    let sign = ["sign", "1.root", "--key", "3.pub", "--json"];
    expect_error(team.run(&sign, &[]), 2, "usage");

    // The text of a key, and a file with it, are keys with names.
    team.folder.write("1.vkey", format!("{vkey}\n"));
    for key in [vkey.as_str(), "1.vkey"] {
        let json = team
            .run(&["init-root", "--key", key, "--json"], &[])
            .expect_code(0)
            .json();
        assert_eq!(json["keys"][0], vkey);
        assert_eq!(json["complete"], false);
    }
    let named = format!("b={}", team.folder.path("1.vkey"));
    expect_error(
        team.run(&["init-root", "--key", &named, "--json"], &[]),
        2,
        "usage",
    );
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
    let sign = ["sign", "1.root", "--key", "encrypted.key", "--json"];
    let json = expect_error(team.run(&sign, &[]), 2, "usage");
    let message = json["message"].as_str().unwrap();
    assert!(message.contains("pkeyutl -sign -rawin"), "{message}");
    assert!(message.contains("pinhold bundle attach"), "{message}");
}

#[test]
fn no_output_contains_a_line_of_a_private_key() {
    let team = Team::new();
    let secret = team.read("1.key");
    let secret = secret.lines().nth(1).unwrap();
    let named = team.named(1, "key");
    let corrupt = team.folder.write("corrupt.key", secret);
    let corrupt = format!("a={corrupt}");
    for key in [named, corrupt] {
        for more in [&["--json"][..], &[]] {
            let run = team.run(&["init-root", "--key", &key], more);
            assert!(!run.text().contains(secret) && !run.stderr.contains(secret));
        }
    }
}

#[test]
fn a_signature_of_another_text_key_or_length_is_refused() {
    let team = Team::with_root();
    team.sign("1.bundle", &["--version", "1"]).expect_code(0);
    team.folder.write("short.signature", [7; 63]);
    team.folder.write("wrong.signature", [7; 64]);
    team.folder.write("empty.signature", "");
    let before = team.read("1.bundle");
    let text = before.split("\n\n").next().unwrap().to_owned() + "\n";
    team.folder.write("1.text", text);
    let key = "example.com/pins/1";
    let unknown = team.named(4, "pub");
    for (key, signature) in [
        (key, "short.signature"),
        (key, "wrong.signature"),
        (key, "empty.signature"),
        (key, "missing.signature"),
        (&unknown, "wrong.signature"),
        ("example.com/pins/9", "wrong.signature"),
    ] {
        let attach = [
            "attach", "1.text", "--root", "1.root", "--key", key, "--json",
        ];
        expect_error(team.run(&attach, &["--signature", signature]), 2, "usage");
    }
    let attach = [
        "attach",
        "pins.json",
        "--key",
        key,
        "--signature",
        "wrong.signature",
        "--json",
    ];
    expect_error(team.run(&attach, &[]), 2, "usage");
}

#[test]
fn verify_says_which_rule_failed() {
    let team = Team::with_root();
    team.sign("1.bundle", &["--version", "1"]).expect_code(0);
    let good = team.read("1.bundle");
    let (text, signatures) = good.split_once("\n\n").unwrap();
    let first = signatures.lines().next().unwrap();
    let flipped = if first.ends_with('A') { "B" } else { "A" };
    for (name, bundle, reason) in [
        ("one", format!("{text}\n\n{first}\n"), "signatures"),
        (
            "tampered",
            good.replace("api.example.com", "api.example.org"),
            "bad-signature",
        ),
        (
            "portal",
            "<html>Please log in</html>".to_owned(),
            "not-a-note",
        ),
        (
            "control",
            good.replace("  \"type\"", "\t\"type\""),
            "not-a-note",
        ),
        ("unsigned", format!("{text}\n"), "not-a-note"),
        ("pins", team.read("pins.json"), "not-a-note"),
        (
            "line",
            format!("{text}\n\n{first}{flipped}=\n"),
            "not-a-note",
        ),
        ("large", " ".repeat(1 << 20) + &good, "too-large"),
        (
            "root",
            good.replace("\"root_version\": 1", "\"root_version\": 2"),
            "not-newest-root",
        ),
        (
            "body",
            good.replace("\"version\"", "\"other\""),
            "bad-signature",
        ),
    ] {
        team.folder.write("x.bundle", bundle);
        let json = team.run(&["verify", "x.bundle", "--root", "1.root", "--json"], &[]);
        let json = expect_error(json, 1, "bundle");
        assert_eq!(json["reason"], reason, "{name}: {json}");
    }
    // A client refuses a root that its own keys have not signed.
    let root = team.read("1.root");
    let signature = root.lines().last().unwrap();
    team.folder
        .write("part.root", root.replace(&format!("{signature}\n"), ""));
    let json = team.run(
        &["verify", "1.bundle", "--root", "part.root", "--json"],
        &[],
    );
    assert_eq!(expect_error(json, 1, "bundle")["reason"], "signatures");
    let verify =
        |file: &str, root: &str| team.run(&["verify", file, "--root", root, "--json"], &[]);
    expect_error(verify("1.bundle", "pins.json"), 2, "usage");
    expect_error(verify("1.bundle", "1.bundle"), 2, "usage");
    expect_error(verify("missing.bundle", "1.root"), 2, "usage");
    expect_error(team.run(&["verify", "1.bundle", "--json"], &[]), 2, "usage");
}

#[test]
fn options_and_inputs_that_are_not_understood_are_invalid_usage() {
    let team = Team::with_root();
    team.sign("1.bundle", &["--version", "1"]).expect_code(0);
    team.folder
        .write("bad.json", "{ \"version\": 1, \"policies\": [], }");
    team.folder
        .write("latin.json", b"{ \"comment\": \"\xe9\" }");
    let tbs = [
        "tbs",
        "pins.json",
        "--root",
        "1.root",
        "--version",
        "1",
        "--json",
    ];
    for terms in [
        &["--expires", "soon"][..],
        &["--expires", "90"],
        &["--expires", "-1d"],
        &["--expires", "99999999999999999999w"],
        &["--expires", "9d", "--staging", "101:x"],
        &["--expires", "9d", "--staging", "10"],
        &["--expires", "9d", "--staging", "10:"],
        &["--expires", "9d", "--when-stale", "ignore"],
        &["--expires", "9d", "--refuse-key", "sha256/AAAA"],
        &["--expires", "9d", "--allow", "everything"],
        &["--expires", "9d", "--intermediate", "pins.json"],
    ] {
        expect_error(team.run(&tbs, terms), 2, "usage");
    }
    for arguments in [
        &["tbs", "bad.json"][..],
        &["tbs", "latin.json"],
        &["tbs", "missing.json"],
        &["tbs", "1.bundle"],
        &["sign", "1.bundle", "--key", "1.key"],
        &["sign", "pins.json"],
    ] {
        let terms = [
            "--root",
            "1.root",
            "--version",
            "1",
            "--expires",
            "9d",
            "--json",
        ];
        expect_error(team.run(arguments, &terms), 2, "usage");
    }
    for arguments in [
        &["show", "pins.json"][..],
        &["diff", "1.bundle", "1.root"],
        &["diff", "1.bundle"],
        &[],
    ] {
        expect_error(team.run(arguments, &["--json"]), 2, "usage");
    }
}
