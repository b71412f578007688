//! Signing with `openssl` alone, and by several signers on different machines.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::bundle::kit::{NAME, SIGN, TBS, Team};
use crate::peers;
use crate::program::openssl;

/// Makes the keys of three signers by `openssl`.
fn generate(program: &Path, team: &Team) {
    for number in 1..=3 {
        let key = team.folder.path(&format!("{number}.key"));
        let new = ["genpkey", "-algorithm", "ed25519", "-out", &key];
        openssl(program, &new, b"");
        let public = openssl(program, &["pkey", "-in", &key, "-pubout"], b"");
        team.folder.write(&format!("{number}.pub"), public);
    }
}

/// Signs a file by `openssl`, to `1.signature` and so on.
fn sign(program: &Path, team: &Team, number: u8, text: &str) {
    let path = |name: &str| team.folder.path(name);
    let (key, text) = (path(&format!("{number}.key")), path(text));
    let file = path(&format!("{number}.signature"));
    let arguments = ["pkeyutl", "-sign", "-rawin", "-inkey", &key, "-in", &text];
    openssl(program, &[&arguments[..], &["-out", &file]].concat(), b"");
}

/// No private key is read by the program under test.
#[test]
fn openssl_alone_signs_a_root_and_a_bundle() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let team = Team::new();
    generate(&program, &team);
    team.run("init-root --key @1.pub --key @2.pub --key @3.pub -o root.text")
        .expect_code(0);
    sign(&program, &team, 1, "root.text");
    sign(&program, &team, 3, "root.text");
    let name = format!("--key {NAME}1");
    team.run(&format!(
        "attach root.text {name} --signature 1.signature -o part.root"
    ))
    .expect_code(0);
    let json = team.json("attach part.root --key @3.pub --signature 3.signature -o 1.root");
    assert_eq!(json["complete"], true);
    team.run("verify 1.root --root 1.root").expect_code(0);

    team.run(&format!("{TBS} -o pins.text")).expect_code(0);
    let text = team.read("pins.text");
    assert!(text.ends_with("}\n") && !text.contains('\t'), "{text}");
    sign(&program, &team, 1, "pins.text");
    sign(&program, &team, 2, "pins.text");
    let attach = format!("attach pins.text --root 1.root {name} --signature 1.signature");
    let json = team.json(&format!("{attach} -o part.bundle"));
    let state = (&json["complete"], &json["signatures"][0]["missing"]);
    assert_eq!(state, (&false.into(), &1.into()));
    let refused = team.fail("verify part.bundle --root 1.root", 1, "bundle");
    assert_eq!(refused["reason"], "signatures");

    let attach = "attach part.bundle --root 1.root --key @2.pub --signature 2.signature";
    team.run(&format!("{attach} -o pins.bundle")).expect_code(0);
    let json = team.json("verify pins.bundle --root 1.root");
    assert_eq!(
        json["signers"],
        json!([format!("{NAME}1"), format!("{NAME}2")])
    );
    let bundle = team.read("pins.bundle");
    assert!(bundle.starts_with(&format!("{text}\n\u{2014} ")));
}

#[test]
fn openssl_signs_the_next_root() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let team = Team::new();
    generate(&program, &team);
    team.run("init-root --key @1.key --key @2.key --key @3.pub -o 1.root")
        .expect_code(0);
    let add = format!("add-key 1.root @4.pub --remove {NAME}2 -o next.text");
    team.run(&add).expect_code(0);
    sign(&program, &team, 1, "next.text");
    sign(&program, &team, 3, "next.text");
    let attach = format!("attach next.text --key {NAME}1 --signature 1.signature --root 1.root");
    let json = team.json(&format!("{attach} -o part.root"));
    assert_eq!(json["complete"], false);
    team.run("sign part.root --root 1.root --key 3.key -o signed.root")
        .expect_code(0);
    let attach = format!("attach part.root --key {NAME}3 --signature 3.signature --root 1.root");
    assert_eq!(team.json(&format!("{attach} -o 2.root"))["complete"], true);
    assert_eq!(team.read("signed.root"), team.read("2.root"));
    team.run("verify 2.root --root 1.root").expect_code(0);
}

#[test]
fn openssl_verifies_a_signature_of_the_program() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let team = Team::with_root();
    team.sign("--version 1 -o 1.bundle").expect_code(0);
    let note = team.read("1.bundle");
    let (text, signatures) = note.split_once("\n\n").unwrap();
    let text = team.folder.write("1.text", format!("{text}\n"));
    let first = signatures.lines().next().unwrap();
    let encoded = first.rsplit_once(' ').unwrap().1;
    let decoded = openssl(&program, &["base64", "-d", "-A"], encoded.as_bytes());
    let signature = team.folder.write("1.signature", &decoded[4..]);
    let key = team.folder.path("1.pub");
    let verify = ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", &key];
    let files = ["-in", &text, "-sigfile", &signature];
    openssl(&program, &[&verify[..], &files].concat(), b"");
}

#[test]
fn two_signers_sign_one_after_the_other() {
    let team = Team::with_root();
    let json = team.json(&format!("{SIGN} --version 1 --key 3.key -o part.bundle"));
    assert_eq!(json["complete"], false);
    let json = team.json("sign part.bundle --root 1.root --key 2.key -o pins.bundle");
    let signature = &json["signatures"][0];
    let expected = json!([format!("{NAME}2"), format!("{NAME}3")]);
    assert_eq!(signature["signers"], expected);
    let state = (&json["complete"], &signature["missing"]);
    assert_eq!(state, (&true.into(), &0.into()));
    team.run("verify pins.bundle --root 1.root").expect_code(0);
    // A second signature of one key changes nothing.
    team.run("sign pins.bundle --root 1.root --key 2.key -o again.bundle")
        .expect_code(0);
    let lines = |name: &str| {
        let text = team.read(name);
        let mut lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
        lines.sort();
        lines
    };
    assert_eq!(lines("again.bundle"), lines("pins.bundle"));
}

#[test]
fn standard_input_and_output_stand_for_files() {
    let team = Team::with_root();
    let tbs = TBS.replace("pins.json", "-");
    let text = team.run_with_input("pins.json", &tbs).expect_code(0);
    let begin = "{\n  \"type\": \"pin-bundle\"";
    assert!(text.text().starts_with(begin), "{}", text.text());
    assert!(text.stderr.contains("pkeyutl"), "{}", text.stderr);
    team.folder.write("a.text", &text.stdout);
    let sign = "sign - --root 1.root --key 1.key --key 2.key";
    let signed = team.run_with_input("a.text", sign).expect_code(0);
    team.folder.write("a.bundle", signed.stdout);
    for line in ["verify - --root 1.root", "show -", "diff - a.text"] {
        team.run_with_input("a.bundle", line).expect_code(0);
    }
    let json = team.json(TBS);
    assert!(
        json["output"].as_str().unwrap().starts_with(begin),
        "{json}"
    );
    assert_eq!((&json["version"], &json["file"]), (&json!(1), &json!(null)));
}

#[test]
fn the_output_is_not_overwritten_unless_forced() {
    let team = Team::with_root();
    let file = team.folder.write("1.bundle", "precious");
    let before = team.folder.contents();
    let sign = format!("{SIGN} --key 1.key --key 2.key --version 1 -o");
    let json = team.fail(&format!("{sign} 1.bundle"), 2, "usage");
    assert!(json["message"].as_str().unwrap().contains(&file), "{json}");
    let missing = team.folder.path("missing/1.bundle");
    team.fail(&format!("{sign} {missing}"), 1, "internal");
    assert_eq!(team.folder.contents(), before);
    team.run(&format!("{sign} 1.bundle --force")).expect_code(0);
    assert_eq!(team.folder.contents().len(), before.len());
    team.run("verify 1.bundle --root 1.root").expect_code(0);
}

/// A limit on the length of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_file_and_changes_none() {
    let team = Team::with_root();
    team.folder.write("old.bundle", "precious");
    let before = team.folder.contents();
    for name in ["new.bundle", "old.bundle"] {
        let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" bundle tbs \"$@\"";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_pinhold")]);
        command.arg(team.folder.path("pins.json"));
        command.args(["--root", &team.folder.path("1.root"), "--version", "1"]);
        command.args(["--expires", "90d", "--json", "--force"]);
        command.args(["--output", &team.folder.path(name)]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(team.folder.contents(), before);
    }
    let old = fs::read(team.folder.path("old.bundle")).unwrap();
    assert_eq!(old, b"precious");
}
