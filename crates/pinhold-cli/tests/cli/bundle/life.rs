//! Signing with `openssl` alone, and by several signers on different machines.

use std::fs;

use crate::bundle::kit::{Team, expect_error};
use crate::peers;
use crate::program::openssl;

/// No private key is read by the program under test.
#[test]
fn openssl_alone_signs_a_root_and_a_bundle() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let team = Team::new();
    let path = |name: &str| team.folder.path(name);
    for number in ["1", "2", "3"] {
        let key = path(&format!("{number}.key"));
        let new = ["genpkey", "-algorithm", "ed25519", "-out", &key];
        openssl(&program, &new, b"");
        let public = openssl(&program, &["pkey", "-in", &key, "-pubout"], b"");
        team.folder.write(&format!("{number}.pub"), public);
    }
    let sign = |number: u8, text: &str| {
        let (key, text) = (path(&format!("{number}.key")), path(text));
        let file = path(&format!("{number}.signature"));
        let arguments = ["pkeyutl", "-sign", "-rawin", "-inkey", &key, "-in", &text];
        openssl(&program, &[&arguments[..], &["-out", &file]].concat(), b"");
        format!("{number}.signature")
    };

    let keys = [1, 2, 3].map(|number| team.named(number, "pub"));
    let [one, two, three] = keys.each_ref().map(String::as_str);
    let init = ["init-root", "--key", one, "--key", two, "--key", three];
    team.run(&init, &["-o", "root.text"]).expect_code(0);
    let (first, third) = (sign(1, "root.text"), sign(3, "root.text"));
    let attach = [
        "attach",
        "root.text",
        "--key",
        "example.com/pins/1",
        "--signature",
        &first,
    ];
    team.run(&attach, &["-o", "part.root"]).expect_code(0);
    let attach = ["attach", "part.root", "--key", three, "--signature", &third];
    let json = team
        .run(&attach, &["-o", "1.root", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(json["complete"], true);
    team.run(&["verify", "1.root", "--root", "1.root"], &[])
        .expect_code(0);

    let tbs = [
        "tbs",
        "pins.json",
        "--root",
        "1.root",
        "--version",
        "1",
        "--expires",
        "90d",
    ];
    team.run(&tbs, &["-o", "pins.text"]).expect_code(0);
    let text = team.read("pins.text");
    assert!(text.ends_with("}\n") && !text.contains('\t'), "{text}");
    let (first, second) = (sign(1, "pins.text"), sign(2, "pins.text"));
    let root = ["--root", "1.root", "--json"];
    let attach = [
        "attach",
        "pins.text",
        "--key",
        "example.com/pins/1",
        "--signature",
        &first,
    ];
    let json = team.run(&attach, &[&root[..], &["-o", "part.bundle"]].concat());
    let json = json.expect_code(0).json();
    assert_eq!(
        (&json["complete"], &json["signatures"][0]["missing"]),
        (&false.into(), &1.into())
    );
    let refused = expect_error(team.run(&["verify", "part.bundle"], &root), 1, "bundle");
    assert_eq!(refused["reason"], "signatures");

    let attach = [
        "attach",
        "part.bundle",
        "--key",
        two,
        "--signature",
        &second,
    ];
    team.run(&attach, &[&root[..], &["-o", "pins.bundle"]].concat())
        .expect_code(0);
    let json = team
        .run(&["verify", "pins.bundle"], &root)
        .expect_code(0)
        .json();
    assert_eq!(
        json["signers"],
        serde_json::json!(["example.com/pins/1", "example.com/pins/2"])
    );
    assert!(
        team.read("pins.bundle")
            .starts_with(&format!("{text}\n\u{2014} "))
    );
}

#[test]
fn openssl_verifies_a_signature_of_the_program() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let team = Team::with_root();
    team.sign("1.bundle", &["--version", "1"]).expect_code(0);
    let note = team.read("1.bundle");
    let (text, signatures) = note.split_once("\n\n").unwrap();
    team.folder.write("1.text", format!("{text}\n"));
    let encoded = signatures
        .lines()
        .next()
        .unwrap()
        .rsplit_once(' ')
        .unwrap()
        .1;
    let decoded = openssl(&program, &["base64", "-d", "-A"], encoded.as_bytes());
    team.folder.write("1.signature", &decoded[4..]);
    let path = |name: &str| team.folder.path(name);
    let (key, text, signature) = (path("1.pub"), path("1.text"), path("1.signature"));
    let verify = [
        "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", &key, "-in", &text,
    ];
    openssl(
        &program,
        &[&verify[..], &["-sigfile", &signature]].concat(),
        b"",
    );
}

#[test]
fn two_signers_sign_one_after_the_other() {
    let team = Team::with_root();
    let first = [
        "sign",
        "pins.json",
        "--root",
        "1.root",
        "--expires",
        "90d",
        "--version",
        "1",
    ];
    let json = team.run(&first, &["--key", "3.key", "-o", "part.bundle", "--json"]);
    let json = json.expect_code(0).json();
    assert_eq!(json["complete"], false);
    let second = [
        "sign",
        "part.bundle",
        "--root",
        "1.root",
        "--key",
        "2.key",
        "--json",
    ];
    let json = team
        .run(&second, &["-o", "pins.bundle"])
        .expect_code(0)
        .json();
    let signature = &json["signatures"][0];
    assert_eq!(
        signature["signers"],
        serde_json::json!(["example.com/pins/2", "example.com/pins/3"])
    );
    assert_eq!(
        (&json["complete"], &signature["missing"]),
        (&true.into(), &0.into())
    );
    team.run(&["verify", "pins.bundle", "--root", "1.root"], &[])
        .expect_code(0);
    // A second signature of one key changes nothing.
    let again = ["sign", "pins.bundle", "--root", "1.root", "--key", "2.key"];
    team.run(&again, &["-o", "again.bundle"]).expect_code(0);
    let lines = |name: &str| {
        let mut lines = team
            .read(name)
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        lines.sort();
        lines
    };
    assert_eq!(lines("again.bundle"), lines("pins.bundle"));
}

#[test]
fn standard_input_and_output_stand_for_files() {
    let team = Team::with_root();
    let terms = ["--root", "1.root", "--version", "1", "--expires", "90d"];
    let text = team
        .run_with_input("pins.json", &["tbs", "-"], &terms)
        .expect_code(0);
    assert!(
        text.text().starts_with("{\n  \"type\": \"pin-bundle\""),
        "{}",
        text.text()
    );
    assert!(text.stderr.contains("pkeyutl"), "{}", text.stderr);
    team.folder.write("a.text", &text.stdout);
    let keys = ["--key", "1.key", "--key", "2.key"];
    let signed = team.run_with_input("a.text", &["sign", "-", "--root", "1.root"], &keys);
    team.folder.write("a.bundle", signed.expect_code(0).stdout);
    for command in [&["verify", "-", "--root", "1.root"][..], &["show", "-"]] {
        team.run_with_input("a.bundle", command, &[]).expect_code(0);
    }
    let json = team
        .run(&["tbs", "pins.json", "--json"], &terms)
        .expect_code(0)
        .json();
    let output = json["output"].as_str().unwrap();
    assert!(
        output.starts_with("{\n  \"type\": \"pin-bundle\""),
        "{output}"
    );
    assert_eq!(
        (&json["version"], &json["file"]),
        (&1.into(), &serde_json::Value::Null)
    );
}

#[test]
fn the_output_is_not_overwritten_unless_forced() {
    let team = Team::with_root();
    let file = team.folder.write("1.bundle", "precious");
    let before = team.folder.contents();
    let version = ["--version", "1", "--json"];
    let json = expect_error(team.sign("1.bundle", &version), 2, "usage");
    assert!(json["message"].as_str().unwrap().contains(&file), "{json}");
    let missing = team.folder.path("missing/1.bundle");
    expect_error(team.sign(&missing, &version), 1, "internal");
    assert_eq!(team.folder.contents(), before);
    team.sign("1.bundle", &[&version[..], &["--force"]].concat())
        .expect_code(0);
    assert_eq!(team.folder.contents().len(), before.len());
    team.run(&["verify", "1.bundle", "--root", "1.root"], &[])
        .expect_code(0);
}

/// A limit on the length of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_file_and_changes_none() {
    let team = Team::with_root();
    team.folder.write("old.bundle", "precious");
    let before = team.folder.contents();
    for name in ["new.bundle", "old.bundle"] {
        let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" bundle \"$@\"";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_pinhold"), "tbs"]);
        command.arg(team.folder.path("pins.json"));
        command.args(["--root", &team.folder.path("1.root"), "--version", "1"]);
        command.args(["--expires", "90d", "--json", "--force"]);
        command.args(["--output", &team.folder.path(name)]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(team.folder.contents(), before);
    }
    assert_eq!(
        fs::read(team.folder.path("old.bundle")).unwrap(),
        b"precious"
    );
}
