//! Keys of signers, and the files that they sign.

use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use serde_json::{Value, json};

use crate::pins::kit::{A, B};
use crate::program::{Folder, Run, pem, run, run_with_input};

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
            let public = pem("PUBLIC KEY", &key.subject_public_key_info());
            folder.write(&format!("{number}.pub"), public);
        }
        folder.write("pins.json", pins(&[A, B]).to_string());
        Self { folder }
    }

    /// Returns a team with a complete root, `1.root`, of which two of three keys must sign.
    pub fn with_root() -> Self {
        let team = Self::new();
        let init = "init-root --key @1.key --key @2.key --key @3.pub -o 1.root";
        team.run(init).expect_code(0);
        team
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path(name)).unwrap()
    }

    /// Runs `pinhold bundle` with the words of this line. A file of the team is named without its
    /// folder. `@1.key` is that key with the name of its signer.
    pub fn run(&self, line: &str) -> Run {
        run(self.words(line))
    }

    /// As [`run`](Self::run), with a file as standard input.
    pub fn run_with_input(&self, file: &str, line: &str) -> Run {
        run_with_input(&self.folder.path(file), self.words(line))
    }

    /// Returns the JSON of a run that succeeds.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        self.run(&format!("{line} --json")).expect_code(0).json()
    }

    /// Expects a run with this exit code and an error of this kind.
    #[track_caller]
    pub fn fail(&self, line: &str, code: i32, kind: &str) -> Value {
        let json = self.run(&format!("{line} --json")).expect_code(code).json();
        assert_eq!(json["error"], kind, "{line}: {json}");
        json
    }

    fn words(&self, line: &str) -> Vec<String> {
        let words = line.split_whitespace().map(|word| {
            let is_file = FILES.iter().any(|end| word.ends_with(end));
            match word.strip_prefix('@') {
                Some(file) => format!("{NAME}{}={}", &file[..1], self.folder.path(file)),
                None if is_file && !word.contains('/') => self.folder.path(word),
                None => word.to_owned(),
            }
        });
        std::iter::once("bundle".to_owned()).chain(words).collect()
    }

    /// Signs `pins.json` by two signers.
    pub fn sign(&self, more: &str) -> Run {
        self.run(&format!("{SIGN} --key 1.key --key 2.key {more}"))
    }

    /// Writes the root without the second key, and with the fourth one: `2.root`.
    pub fn roll(&self) {
        let roll = "roll-root 1.root --remove example.com/pins/2 --add @4.key --key 1.key \
                    --key 3.key -o 2.root";
        assert_eq!(self.json(roll)["complete"], true);
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

/// The names of signers, without their numbers.
pub const NAME: &str = "example.com/pins/";

/// Signs `pins.json` for 90 days and the first root, by keys that follow.
pub const SIGN: &str = "sign pins.json --root 1.root --expires 90d";

/// As [`SIGN`], for clients with the first root by keys of the second one, that follow.
pub const SIGN_ROLLED: &str = "sign pins.json --root 1.root --roots 2.root --expires 90d";

/// Writes the text of a first bundle.
pub const TBS: &str = "tbs pins.json --root 1.root --expires 90d --version 1";

/// Returns a pin file with these pins for `api.example.com`.
pub fn pins(pins: &[&str]) -> Value {
    let mut policy = json!({ "hosts": ["api.example.com"], "pins": pins });
    if pins.len() < 2 {
        policy["without_backup"] = true.into();
    }
    json!({ "version": 1, "policies": [policy] })
}
