//! The commands `pinhold bundle add-key` and `roll-root`: the successor of a root.
//!
//! `add-key` only writes its text, without a private key. `roll-root` signs it, and shows what is
//! missing: the thresholds of the old root and of the new one both have to sign.

use std::collections::HashSet;

use clap::{Args, ValueHint};
use pinhold::bundle::{PinRoot, RootError, SignedNote, VerifierKey};
use serde_json::{Value, json};

use crate::bundle::chain;
use crate::bundle::destination::{Destination, Made};
use crate::bundle::input::{Document, Root};
use crate::bundle::key::{KeyFile, NamedKey};
use crate::bundle::progress::{self, Progress};
use crate::bundle::{error, known, root, tbs};
use crate::failure::Failure;
use crate::output::{Output, counted, wrapped};
use crate::refusal::shell_word;

#[derive(Args)]
#[command(after_help = ADD_KEY_EXAMPLES)]
pub(super) struct AddKey {
    /// Root; if no key has signed it yet, it is changed itself, and keeps its version
    #[arg(value_name = "ROOT", value_hint = ValueHint::FilePath)]
    root: String,
    /// Key to add: NAME=FILE with a private or public key in PEM, or NAME+KEYID+BASE64, or a file
    /// with that
    #[arg(value_name = "KEY")]
    add: Vec<String>,
    /// Name of a key to remove; can be repeated
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    /// How many of the keys have to sign [default: as many as before]
    #[arg(long, value_name = "N")]
    threshold: Option<u64>,
    #[command(flatten)]
    destination: Destination,
}

#[derive(Args)]
#[command(after_help = ROLL_ROOT_EXAMPLES)]
pub(super) struct RollRoot {
    /// Root to be replaced
    #[arg(value_name = "ROOT", value_hint = ValueHint::FilePath)]
    root: String,
    /// Next root, as add-key or an earlier run wrote it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["add", "remove", "threshold"])]
    next: Option<String>,
    /// Key to add: NAME=FILE with a private or public key in PEM, or NAME+KEYID+BASE64, or a file
    /// with that; can be repeated. A private one signs
    #[arg(long, value_name = "KEY")]
    add: Vec<String>,
    /// Name of a key to remove; can be repeated
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    /// How many of the keys have to sign [default: as many as before]
    #[arg(long, value_name = "N")]
    threshold: Option<u64>,
    /// Private Ed25519 key (PKCS#8 PEM) of the old or the new root that signs; can be repeated
    #[arg(long = "key", value_name = "FILE", value_hint = ValueHint::FilePath)]
    keys: Vec<String>,
    #[command(flatten)]
    destination: Destination,
}

pub(super) fn add_key(arguments: &AddKey, output: Output) -> Result<(), Failure> {
    let before = Root::open(&arguments.root)?;
    let added = NamedKey::open_all(&arguments.add)?.into_iter();
    let change = Change {
        add: added.map(|it| it.key).collect(),
        remove: &arguments.remove,
        threshold: arguments.threshold,
    };
    let is_draft = before.note.signatures().is_empty();
    let version = if is_draft {
        before.root.version()
    } else {
        before.next_version()?
    };
    let next = root::of(change.apply(&before.root, version)?, "the next root")?;
    let next = Next::new((!is_draft).then_some(before), next)?;
    let made = made(&next, &arguments.destination)?;
    arguments.destination.write(made, output)
}

pub(super) fn roll(arguments: &RollRoot, output: Output) -> Result<(), Failure> {
    let before = Root::open(&arguments.root)?;
    chain::ensure_signed(&before, &before.root)?;
    let keys = arguments.keys.iter().map(|path| KeyFile::open(path));
    let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
    let next = match &arguments.next {
        Some(next) => {
            let document = Document::open(next)?;
            known::ensure_known(&document)?;
            document.root()?
        }
        None => {
            let added = NamedKey::open_all(&arguments.add)?;
            let change = Change {
                add: added.iter().map(|it| it.key.clone()).collect(),
                remove: &arguments.remove,
                threshold: arguments.threshold,
            };
            let next = change.apply(&before.root, before.next_version()?)?;
            keys.extend(added.into_iter().filter_map(|it| it.private));
            root::of(next, "the next root")?
        }
    };
    let mut next = Next::new(Some(before), next)?;
    next.sign(&keys)?;
    let made = made(&next, &arguments.destination)?;
    arguments.destination.write(made, output)
}

impl Root {
    fn next_version(&self) -> Result<u64, Failure> {
        let next = self.root.version().checked_add(1);
        next.ok_or_else(|| Failure::input(&self.name, "has the highest version that there is"))
    }
}

/// What differs in the next root.
struct Change<'a> {
    add: Vec<VerifierKey>,
    remove: &'a [String],
    threshold: Option<u64>,
}

impl Change<'_> {
    fn apply(&self, before: &PinRoot, version: u64) -> Result<PinRoot, Failure> {
        if self.add.is_empty() && self.remove.is_empty() && self.threshold.is_none() {
            let message = "nothing to change, expected a key to add, --remove or --threshold";
            return Err(Failure::Usage(message.to_owned()));
        }
        let mut keys = before.keys().to_vec();
        for name in self.remove {
            let count = keys.len();
            keys.retain(|key| key.name() != name && key.to_string() != *name);
            if keys.len() == count {
                let names = before.keys().iter().map(|key| format!("{:?}", key.name()));
                let names = names.collect::<Vec<_>>().join(", ");
                let message = format!("--remove: no key {name:?}, expected one of: {names}");
                return Err(Failure::Usage(message));
            }
        }
        keys.extend(self.add.iter().cloned());
        ensure_distinct(&keys)?;
        let threshold = u64::try_from(before.threshold()).unwrap_or(u64::MAX);
        let threshold = self.threshold.unwrap_or(threshold);
        let root = PinRoot::new(version, threshold, keys);
        root.map_err(|error| Failure::Usage(error.to_string()))
    }
}

/// Fails if a key or a name occurs twice. A threshold would count the key once, and a signature of
/// one of two keys with a name could be taken for one of the other.
pub(super) fn ensure_distinct(keys: &[VerifierKey]) -> Result<(), Failure> {
    let mut known = HashSet::new();
    if let Some(key) = keys.iter().find(|key| !known.insert(*key.public_key())) {
        let message = format!("the key of {:?} occurs twice, expected once", key.name());
        return Err(Failure::Usage(message));
    }
    let mut known = HashSet::new();
    match keys.iter().find(|key| !known.insert(key.name())) {
        Some(key) => Err(Failure::Usage(format!(
            "two keys have the name {:?}, expected a name for each",
            key.name()
        ))),
        None => Ok(()),
    }
}

/// A root that is being signed, with the one before it.
pub(super) struct Next {
    before: Option<Root>,
    own: Root,
}

impl Next {
    /// Fails if the root is not the successor of the one before. A root that is given as its own
    /// predecessor has none.
    pub(super) fn new(before: Option<Root>, own: Root) -> Result<Self, Failure> {
        let before = before.filter(|before| before.note.text() != own.note.text());
        if let Some(before) = &before {
            let (expected, found) = (before.next_version()?, own.root.version());
            if found != expected {
                let reason = format!(
                    "root {found}, expected root {expected}, the successor of {}",
                    before.name
                );
                return Err(Failure::input(&own.name, reason));
            }
        }
        Ok(Self { before, own })
    }

    /// Returns the keys of both roots.
    pub(super) fn keys(&self) -> Vec<&VerifierKey> {
        let mut keys = self.own.root.keys().iter().collect::<Vec<_>>();
        for key in self.before.iter().flat_map(|it| it.root.keys()) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    pub(super) fn note_mut(&mut self) -> &mut SignedNote {
        &mut self.own.note
    }

    pub(super) fn sign(&mut self, keys: &[KeyFile]) -> Result<(), Failure> {
        let mut note = self.own.note.clone();
        for key in keys {
            key.sign(&mut note, &self.keys())?;
        }
        self.own.note = note;
        Ok(())
    }

    /// Fails with the rule that the root does not follow, unless the root before it and the root
    /// itself are complete.
    pub(super) fn verified(&self) -> Result<Vec<Progress>, Failure> {
        let name = &self.own.name;
        let refused = |error| error::refused_root(name, &error);
        let progress = self.each_progress().map_err(refused)?;
        if progress::are_complete(&progress) {
            return Ok(progress);
        }
        let (version, lines) = (self.own.root.version(), progress::lines(&progress));
        Err(Failure::Bundle {
            subject: name.clone(),
            reason: "signatures",
            detail: format!("root {version} is incomplete\n{lines}"),
        })
    }

    fn progress(&self) -> Result<Vec<Progress>, Failure> {
        let progress = self.each_progress();
        progress.map_err(|error| Failure::input(&self.own.name, error))
    }

    /// Returns the progress by the root before, if there is one, and by the root itself.
    fn each_progress(&self) -> Result<Vec<Progress>, RootError> {
        let roots = self.before.iter().chain(std::iter::once(&self.own));
        let progress = roots.map(|it| Progress::of(&it.root, &self.own.note));
        progress.collect()
    }
}

/// Returns the root with its signatures; without one, exactly its text.
pub(super) fn made(next: &Next, destination: &Destination) -> Result<Made, Failure> {
    let progress = next.progress()?;
    let Root { note, root, .. } = &next.own;
    let is_complete = progress::are_complete(&progress);
    let is_signed = !note.signatures().is_empty();
    let keys = root.keys().iter().map(ToString::to_string);
    let notice = root::notice(root);
    let facts = json!({
        "kind": "root",
        "version": root.version(),
        "threshold": root.threshold(),
        "keys": keys.collect::<Vec<_>>(),
        "signatures": progress::json(&progress),
        "complete": is_complete,
        "notices": notice.iter().map(|it| json!({ "id": it.id, "text": it.text })).collect::<Value>(),
    });
    let count = counted(root.keys().len(), "key", "keys");
    let mut lines = vec![
        format!(
            "root {} with {count}, of which {} must sign",
            root.version(),
            root.threshold()
        ),
        progress::lines(&progress),
    ];
    lines.extend(notice.map(|it| wrapped(&format!("notice: {}", it.text))));
    if !is_complete {
        let file = shell_word(destination.name_or("TEXT"));
        lines.push(if is_signed {
            "  what to do: `pinhold bundle sign` or `roll-root --next` with another key, or `attach`"
                .to_owned()
        } else {
            tbs::recipe(&file)
        });
    } else if next.before.is_some() {
        let text = "what to do: pass it to `tbs` and `sign` as --roots, and keep all roots; contain \
                    it in the next release";
        lines.push(wrapped(text));
    }
    Ok(Made {
        text: if is_signed {
            note.to_string()
        } else {
            note.text().to_owned()
        },
        facts,
        summary: lines.join("\n"),
    })
}

const ADD_KEY_EXAMPLES: &str = "\
Examples:
  pinhold bundle add-key pins.root example.com/pins/4=four.pub \\
      --remove example.com/pins/2 --output next.text
  pinhold bundle roll-root pins.root --next next.text --key one.key \\
      --output part.root";

const ROLL_ROOT_EXAMPLES: &str = "\
Examples:
  pinhold bundle roll-root pins.root --remove example.com/pins/2 \\
      --add example.com/pins/4=four.key --key one.key --output part.root
  pinhold bundle roll-root pins.root --next part.root --key three.key \\
      --output next.root";
