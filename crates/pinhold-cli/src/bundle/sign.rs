//! The command `pinhold bundle sign`: signs a pin file as a bundle, or a text or note of a bundle or
//! root.

use clap::{Args, ValueHint};
use pinhold::bundle::{PinBundle, SignedNote};
use serde_json::json;

use crate::bundle::chain::{self, Chain};
use crate::bundle::destination::{Destination, Made};
use crate::bundle::input::{Document, Input, Kind};
use crate::bundle::key::KeyFile;
use crate::bundle::known;
use crate::bundle::lock_out;
use crate::bundle::next_root::{self, Next};
use crate::bundle::progress::{self, Progress};
use crate::bundle::tbs::{self, Draft, Maker};
use crate::bundle::terms::Terms;
use crate::bundle::{error, facts};
use crate::failure::Failure;
use crate::output::Output;
use crate::{clock, network};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Pin file, or a text or note of a bundle or root; `-` is standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: String,
    /// Private Ed25519 key (PKCS#8 PEM) that signs; can be repeated
    #[arg(long = "key", value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    keys: Vec<String>,
    #[command(flatten)]
    roots: chain::RootOptions,
    #[command(flatten)]
    lock_out: lock_out::Allowance,
    #[command(flatten)]
    destination: Destination,
    #[command(flatten)]
    terms: Terms,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let keys = arguments.keys.iter().map(|path| KeyFile::open(path));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let (name, draft) = match Input::open(&arguments.file)? {
        Input::Pins { name, bytes } => {
            let maker = Maker {
                roots: &arguments.roots,
                terms: &arguments.terms,
                lock_out: &arguments.lock_out,
            };
            let draft = maker.make(&name, &bytes, output)?;
            (name, draft)
        }
        Input::Document(document) => {
            arguments.ensure_no_terms(&document.name)?;
            known::ensure_known(&document)?;
            if document.kind == Kind::Root {
                return arguments.sign_root(document, &keys, output);
            }
            let name = document.name.clone();
            (name, arguments.draft(document, output)?)
        }
    };
    let Draft {
        bundle,
        mut note,
        chain,
        checked,
    } = draft;
    let signers = chain.newest.keys().iter().collect::<Vec<_>>();
    for key in &keys {
        key.sign(&mut note, &signers)?;
    }
    let facts = json!({ "findings": checked.json() });
    let made = signed(&name, &bundle, &note, &chain)?;
    let made = Made {
        facts: facts::joined(made.facts, facts),
        ..made
    };
    arguments.destination.write(made, output)
}

impl Arguments {
    fn ensure_no_terms(&self, name: &str) -> Result<(), Failure> {
        match self.terms.first_given() {
            Some(option) => Err(Failure::input(
                name,
                format!("a finished text, which {option} can't change; expected a pin file"),
            )),
            None => Ok(()),
        }
    }

    /// Returns a bundle that was made before.
    fn draft(&self, document: Document, output: Output) -> Result<Draft, Failure> {
        let Document { name, note, .. } = &document;
        let bundle = document.bundle()?;
        if !self.roots.roots.is_empty() {
            let reason = "a finished text, which --roots can't change; expected a pin file";
            return Err(Failure::input(name, reason));
        }
        let chain = Chain::new(self.roots.open_root()?, chain::successors(&bundle)?)?;
        ensure_root(name, &bundle, &chain)?;
        let previous = self.roots.open_previous(&chain.known)?;
        let previous = previous.map(|previous| previous.version());
        let now = clock::now();
        tbs::ensure_signable(name, &bundle, previous, now)?;
        let checked = self.lock_out.check(&bundle, name, None, now, output)?;
        Ok(Draft {
            bundle,
            note: note.clone(),
            chain,
            checked,
        })
    }

    /// Signs a root, whose own keys and those of the root before it count.
    fn sign_root(
        &self,
        document: Document,
        keys: &[KeyFile],
        output: Output,
    ) -> Result<(), Failure> {
        let before = self.roots.root.as_ref().map(|_| self.roots.open_root());
        let mut next = Next::new(before.transpose()?, document.root()?)?;
        next.sign(keys)?;
        let made = next_root::made(&next, &self.destination)?;
        self.destination.write(made, output)
    }
}

/// Fails for a bundle that other keys have to sign.
pub(super) fn ensure_root(name: &str, bundle: &PinBundle, chain: &Chain) -> Result<(), Failure> {
    let (found, expected) = (bundle.version().root, chain.newest.version());
    if found == expected {
        return Ok(());
    }
    let reason = format!(
        "made for root {found}, expected root {expected}, the newest of --root and of the bundle"
    );
    Err(Failure::input(name, reason))
}

/// Returns a bundle with its signatures, after verifying it as a client does if none is missing.
pub(super) fn signed(
    name: &str,
    bundle: &PinBundle,
    note: &SignedNote,
    chain: &Chain,
) -> Result<Made, Failure> {
    let progress = Progress::of(&chain.newest, note);
    let progress = [progress.map_err(|error| Failure::input(name, error))?];
    let text = note.to_string();
    let is_complete = progress::are_complete(&progress);
    let result = if is_complete {
        PinBundle::verify(text.as_bytes(), &chain.known, &network::provider())
    } else {
        PinBundle::parse_unverified(text.as_bytes())
    };
    result.map_err(|error| Failure::input(name, error::of_bundle(&error)))?;
    let mut summary = facts::summary(bundle);
    summary += &format!("\n{}", progress::lines(&progress));
    if !is_complete {
        summary += "\n  what to do: `pinhold bundle sign` with another key, or `attach`";
    }
    let facts = json!({
        "signatures": progress::json(&progress),
        "complete": is_complete,
    });
    Ok(Made {
        text,
        facts: facts::joined(facts::json(bundle), facts),
        summary,
    })
}

const EXAMPLES: &str = "\
Examples:
  pinhold bundle sign pins.json --root pins.root --previous old.bundle \\
      --expires 90d --key one.key --output part.bundle
  pinhold bundle sign part.bundle --root pins.root --key two.key \\
      --output pins.bundle";
