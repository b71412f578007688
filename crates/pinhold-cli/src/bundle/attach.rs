//! The command `pinhold bundle attach`: adds a signature that was made elsewhere.

use clap::{Args, ValueHint};
use pinhold::bundle::{PinRoot, SignedNote, VerifierKey};
use serde_json::json;

use crate::bundle::chain::{self, Chain};
use crate::bundle::destination::{Destination, Made};
use crate::bundle::input::{self, Document, Kind, Root};
use crate::bundle::key::NamedKey;
use crate::bundle::next_root::{self, Next};
use crate::bundle::{facts, sign};
use crate::failure::Failure;
use crate::network;
use crate::output::Output;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Text or note of a bundle or root; `-` is standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: String,
    /// Public key of the signer: its name in the root, or NAME=FILE, or NAME+KEYID+BASE64
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Signature in its 64 bytes, as openssl pkeyutl -sign -rawin writes it; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    signature: String,
    /// Root that clients contain, or of a root the one before it: shows which signatures are
    /// missing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    root: Option<String>,
    #[command(flatten)]
    destination: Destination,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let document = Document::open(&arguments.file)?;
    let root = arguments.root.as_deref().map(Root::open).transpose()?;
    let made = match document.kind {
        Kind::Root => {
            let mut next = Next::new(root, document.root()?)?;
            let keys = next.keys();
            let key = arguments.key(&keys)?;
            ensure_known(&key, &keys)?;
            arguments.attach(next.note_mut(), &key)?;
            next_root::made(&next, &arguments.destination)?
        }
        Kind::Bundle => arguments.of_bundle(document, root)?,
    };
    arguments.destination.write(made, output)
}

impl Arguments {
    fn of_bundle(&self, mut document: Document, root: Option<Root>) -> Result<Made, Failure> {
        let bundle = document.bundle()?;
        let Some(root) = root else {
            let key = self.key(&[])?;
            self.attach(&mut document.note, &key)?;
            let summary = format!(
                "{}, with a signature of {}; give --root to see which are missing",
                facts::summary(&bundle),
                key.name()
            );
            return Ok(Made {
                text: document.note.to_string(),
                facts: facts::joined(facts::json(&bundle), json!({ "complete": null })),
                summary,
            });
        };
        let chain = Chain::new(root, chain::successors(&bundle)?)?;
        sign::ensure_root(&document.name, &bundle, &chain)?;
        let keys = chain.newest.keys().iter().collect::<Vec<_>>();
        let key = self.key(&keys)?;
        ensure_known(&key, &keys)?;
        self.attach(&mut document.note, &key)?;
        sign::signed(&document.name, &bundle, &document.note, &chain)
    }

    /// Returns the key of `--key`, which may be the name of one of these.
    fn key(&self, known: &[&VerifierKey]) -> Result<VerifierKey, Failure> {
        let mut named = known.iter().filter(|key| key.name() == self.key);
        match (named.next(), named.next()) {
            (Some(key), None) => Ok((*key).clone()),
            (Some(key), Some(_)) => Err(Failure::Usage(format!(
                "several keys have the name {:?}, expected one as NAME+KEYID+BASE64, such as {key}",
                self.key
            ))),
            (None, _) => Ok(NamedKey::open(&self.key)?.key),
        }
    }

    /// Adds the signature, after verifying it.
    fn attach(&self, note: &mut SignedNote, key: &VerifierKey) -> Result<(), Failure> {
        let name = input::shown(&self.signature);
        let bytes = input::read_binary(&self.signature)?;
        let signature = <[u8; 64]>::try_from(bytes.as_slice()).map_err(|_| {
            let length = bytes.len();
            let reason = format!("{length} bytes, expected the 64 bytes of an Ed25519 signature");
            Failure::input(name, reason)
        })?;
        note.sign(key, &signature);
        let only = PinRoot::new(1, 1, [key.clone()]);
        let verified = only.and_then(|root| root.signers(note, &network::provider()).map(drop));
        verified.map_err(|_| {
            let reason = format!(
                "not a signature of {} by {key}\n  what to do: sign the output of `pinhold bundle \
                 tbs`, byte by byte, with the private key that belongs to this one",
                input::shown(&self.file)
            );
            Failure::input(name, reason)
        })
    }
}

fn ensure_known(key: &VerifierKey, keys: &[&VerifierKey]) -> Result<(), Failure> {
    if keys.contains(&key) {
        return Ok(());
    }
    let names = keys.iter().map(|key| format!("{:?}", key.name()));
    let names = names.collect::<Vec<_>>().join(", ");
    Err(Failure::Usage(format!(
        "{key} is none of the keys of the root, whose signatures alone count; expected one of: {names}"
    )))
}

const EXAMPLES: &str = "\
Examples:
  pinhold bundle attach pins.text --root pins.root --key example.com/pins/1 \\
      --signature one.sig --output part.bundle
  pinhold bundle attach part.bundle --root pins.root --key pins/2=two.pub \\
      --signature two.sig --output pins.bundle";
