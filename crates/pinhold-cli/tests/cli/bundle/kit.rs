//! Keys of signers, and the files that they sign.

use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use serde_json::{Value, json};

use crate::pins::kit::{A, B};
use crate::program::{Folder, Run, run, run_with_input};

/// Signers with the names `example.com/pins/1` and so on.
pub struct Team {
    pub folder: Folder,
}

impl Team {
    /// Writes the keys of three signers, and of a fourth one who joins later.
    pub fn new() -> Self {
        let folder = Folder::new();
        for number in 1..=4 {
            let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
            folder.write(&format!("{number}.key"), key.serialize_pem());
            let public = crate::program::pem("PUBLIC KEY", &key.subject_public_key_info());
            folder.write(&format!("{number}.pub"), public);
        }
        folder.write("pins.json", pins(&[A, B]).to_string());
        Self { folder }
    }

    /// Returns a team with a complete root, `1.root`, of which two of three keys must sign.
    pub fn with_root() -> Self {
        let team = Self::new();
        let keys = [
            team.named(1, "key"),
            team.named(2, "key"),
            team.named(3, "pub"),
        ];
        let [one, two, three] = keys.each_ref().map(String::as_str);
        let root = ["init-root", "--key", one, "--key", two, "--key", three];
        team.run(&root, &["--output", "1.root"]).expect_code(0);
        team
    }

    /// Returns a KEY with the name of a signer.
    pub fn named(&self, number: u8, kind: &str) -> String {
        let path = self.folder.path(&format!("{number}.{kind}"));
        format!("example.com/pins/{number}={path}")
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path(name)).unwrap()
    }

    /// Runs `pinhold bundle`. Arguments that end like one of the team's files name it in its folder.
    pub fn run(&self, arguments: &[&str], more: &[&str]) -> Run {
        run(self.arguments(arguments, more))
    }

    /// As [`run`](Self::run), with a file as standard input.
    pub fn run_with_input(&self, file: &str, arguments: &[&str], more: &[&str]) -> Run {
        run_with_input(&self.folder.path(file), self.arguments(arguments, more))
    }

    fn arguments(&self, arguments: &[&str], more: &[&str]) -> Vec<String> {
        let all = arguments.iter().chain(more).map(|argument| {
            let is_file = FILES.iter().any(|end| argument.ends_with(end));
            if is_file && !argument.contains('/') {
                self.folder.path(argument)
            } else {
                (*argument).to_owned()
            }
        });
        std::iter::once("bundle".to_owned()).chain(all).collect()
    }

    /// Signs `pins.json` by two signers for 90 days.
    pub fn sign(&self, output: &str, more: &[&str]) -> Run {
        let fixed = [
            "sign",
            "pins.json",
            "--root",
            "1.root",
            "--expires",
            "90d",
            "--output",
            output,
        ];
        let keys = ["--key", "1.key", "--key", "2.key"];
        self.run(&[&fixed[..], &keys].concat(), more)
    }

    /// Writes the root without the second key, and with the fourth one: `2.root`.
    pub fn roll(&self) {
        let added = self.named(4, "key");
        let remove = ["--remove", "example.com/pins/2", "--add", &added];
        let roll = ["roll-root", "1.root", "--key", "1.key", "--key", "3.key"];
        let more = [&remove[..], &["--output", "2.root"]].concat();
        let json = self.run(&roll, &[&more[..], &["--json"]].concat());
        assert_eq!(json.expect_code(0).json()["complete"], true);
    }
}

/// The ends of the names of the team's files.
const FILES: [&str; 9] = [
    ".bundle",
    ".json",
    ".key",
    ".pem",
    ".pub",
    ".root",
    ".signature",
    ".text",
    ".vkey",
];

/// Returns a pin file with these pins for `api.example.com`.
pub fn pins(pins: &[&str]) -> Value {
    let mut policy = json!({ "hosts": ["api.example.com"], "pins": pins });
    if pins.len() < 2 {
        policy["without_backup"] = true.into();
    }
    json!({ "version": 1, "policies": [policy] })
}

/// Expects this exit code and an error of this kind.
#[track_caller]
pub fn expect_error(run: Run, code: i32, kind: &str) -> Value {
    let json = run.expect_code(code).json();
    assert_eq!(json["error"], kind, "{json}");
    json
}
