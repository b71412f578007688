//! The command `pinhold bundle init-root`, and what is dangerous about a root.

use clap::Args;
use pinhold::bundle::{PinRoot, SignedNote};

use crate::bundle::destination::Destination;
use crate::bundle::input::Root;
use crate::bundle::key::{KeyFile, NamedKey};
use crate::bundle::next_root::{self, Next};
use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InitRoot {
    /// Key of a signer: NAME=FILE with a private or public key in PEM, or NAME+KEYID+BASE64, or a
    /// file with that; can be repeated. The private ones sign
    #[arg(long = "key", value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// How many of the keys have to sign [default: all but one, of three keys or more]
    #[arg(long, value_name = "N")]
    threshold: Option<u64>,
    #[command(flatten)]
    destination: Destination,
}

pub(super) fn run(arguments: &InitRoot, output: Output) -> Result<(), Failure> {
    let keys = NamedKey::open_all(&arguments.keys)?;
    let threshold = match (arguments.threshold, keys.len()) {
        (Some(threshold), _) => threshold,
        (None, 1) => 1,
        (None, 2) => {
            let message = "--threshold is missing, expected 1 or 2 for two keys: with 1, a single \
                           stolen key signs for all clients; with 2, the loss of a single key ends \
                           all bundles\n  what to do: use three keys, of which two have to sign";
            return Err(Failure::Usage(message.to_owned()));
        }
        (None, count) => u64::try_from(count - 1).unwrap_or(u64::MAX),
    };
    let known = keys.iter().map(|it| it.key.clone()).collect::<Vec<_>>();
    next_root::ensure_distinct(&known)?;
    let root = PinRoot::new(1, threshold, known);
    let root = root.map_err(|error| Failure::Usage(error.to_string()))?;
    let mut next = Next::new(None, of(root, "the root")?)?;
    let private = keys.into_iter().filter_map(|it| it.private);
    next.sign(&private.collect::<Vec<KeyFile>>())?;
    let made = next_root::made(&next, &arguments.destination)?;
    arguments.destination.write(made, output)
}

/// Returns a root that is not signed.
pub(super) fn of(root: PinRoot, name: &str) -> Result<Root, Failure> {
    let note = SignedNote::new(root.to_text());
    Ok(Root {
        name: name.to_owned(),
        note: note.map_err(|error| Failure::input(name, error))?,
        root,
    })
}

/// What a lost or a stolen key of a root leads to.
pub(super) struct Notice {
    /// The kind, which scripts match.
    pub(super) id: &'static str,
    pub(super) text: &'static str,
}

pub(super) fn notice(root: &PinRoot) -> Option<Notice> {
    let (threshold, keys) = (root.threshold(), root.keys().len());
    if keys == 1 {
        return Some(Notice {
            id: "single-key",
            text: "the root has one key. If it is lost, no bundle and no next root can be signed \
                   any more: clients keep the last bundle until a release contains another root. If \
                   it is stolen, the thief signs bundles and roots for all clients",
        });
    }
    if threshold == 1 {
        return Some(Notice {
            id: "one-stolen-key",
            text: "the threshold is 1. If any of the keys is stolen, the thief signs bundles and \
                   roots for all clients",
        });
    }
    (threshold == keys).then_some(Notice {
        id: "no-spare-key",
        text: "all keys have to sign. If one of them is lost, no bundle and no next root can be \
               signed any more: clients keep the last bundle until a release contains another root",
    })
}

const EXAMPLES: &str = "\
Examples:
  openssl genpkey -algorithm ed25519 -out one.key
  pinhold bundle init-root --key example.com/pins/1=one.key \\
      --key example.com/pins/2=two.pub --key example.com/pins/3=three.pub \\
      --output pins.root";
