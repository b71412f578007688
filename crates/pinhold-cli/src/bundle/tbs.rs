//! The command `pinhold bundle tbs`: the text of a bundle, which is signed elsewhere.

use std::time::Duration;

use clap::{Args, ValueHint};
use pinhold::bundle::{BundleError, BundleVersion, PinBundle, SignedNote};
use pinhold::pin_file::PinFile;
use pinhold::policy::UnpinnedHosts;
use rustls::pki_types::UnixTime;
use serde_json::json;

use crate::bundle::chain::{self, Chain};
use crate::bundle::destination::{Destination, Made};
use crate::bundle::input::Input;
use crate::bundle::lock_out::{self, Checked};
use crate::bundle::progress::{self, Progress};
use crate::bundle::terms::Terms;
use crate::bundle::{error, facts, text};
use crate::failure::Failure;
use crate::output::Output;
use crate::refusal::shell_word;
use crate::{clock, rfc3339};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Pin file; `-` is standard input
    #[arg(value_name = "PINS_FILE", value_hint = ValueHint::FilePath)]
    file: String,
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
    let (name, bytes) = match Input::open(&arguments.file)? {
        Input::Pins { name, bytes } => (name, bytes),
        Input::Document(document) => {
            let reason = "a bundle or root, expected a pin file";
            return Err(Failure::input(&document.name, reason));
        }
    };
    let maker = Maker {
        roots: &arguments.roots,
        terms: &arguments.terms,
        lock_out: &arguments.lock_out,
    };
    let draft = maker.make(&name, &bytes, output)?;
    let progress = Progress::of(&draft.chain.newest, &draft.note);
    let progress = [progress.map_err(|error| Failure::input(&name, error))?];
    let file = shell_word(arguments.destination.name_or("TEXT"));
    let summary = format!(
        "the text of {}\n{}\n{}",
        facts::summary(&draft.bundle),
        progress::lines(&progress),
        recipe(&file)
    );
    let facts = json!({
        "signatures": progress::json(&progress),
        "complete": false,
        "findings": draft.checked.json(),
    });
    let made = Made {
        text: draft.note.text().to_owned(),
        facts: facts::joined(facts::json(&draft.bundle), facts),
        summary,
    };
    arguments.destination.write(made, output)
}

/// Returns how a text is signed without this program.
pub(super) fn recipe(file: &str) -> String {
    format!(
        "  what to do:\n    openssl pkeyutl -sign -rawin -inkey KEY -in {file} -out SIGNATURE\n    \
         pinhold bundle attach {file} --key NAME=PUBLIC --signature SIGNATURE --output NOTE"
    )
}

/// What the text of a bundle is made with.
#[derive(Clone, Copy)]
pub(super) struct Maker<'a> {
    pub(super) roots: &'a chain::RootOptions,
    pub(super) terms: &'a Terms,
    pub(super) lock_out: &'a lock_out::Allowance,
}

/// A bundle that may be signed.
pub(super) struct Draft {
    pub(super) bundle: PinBundle,
    pub(super) note: SignedNote,
    pub(super) chain: Chain,
    pub(super) checked: Checked,
}

impl Maker<'_> {
    /// Makes the bundle of a pin file.
    pub(super) fn make(&self, name: &str, bytes: &[u8], output: Output) -> Result<Draft, Failure> {
        let now = clock::now();
        let file = str::from_utf8(bytes).map_err(|_| Failure::input(name, "not UTF-8 text"))?;
        let pins = PinFile::parse(file).map_err(|error| Failure::input(name, error))?;
        ensure_of_bundle(name, &pins)?;
        let known = self.roots.open_root()?;
        let previous = self.roots.open_previous(&known.root)?;
        let chain = self.roots.chain(known, previous.as_ref())?;
        let root = chain.newest.version();
        let terms = self.terms.resolve(root, previous.as_ref(), now)?;
        let text = text::of(&terms, &chain, &pins);
        let refused = |error| Failure::input(name, error::of_bundle(&error));
        let size = text.len();
        if size > PinBundle::MAX_SIZE {
            return Err(refused(BundleError::TooLarge { size }));
        }
        let bundle = PinBundle::parse_text(&text).map_err(refused)?;
        let note = SignedNote::new(text).map_err(|error| Failure::input(name, error))?;
        let previous = previous.map(|previous| previous.version());
        ensure_signable(name, &bundle, previous, now)?;
        let checked = self
            .lock_out
            .check(&bundle, name, Some(bytes), now, output)?;
        Ok(Draft {
            bundle,
            note,
            chain,
            checked,
        })
    }
}

/// Fails for a pin file with settings that have no effect in a bundle.
fn ensure_of_bundle(name: &str, pins: &PinFile) -> Result<(), Failure> {
    let settings = [
        ("overlap", pins.overlap().is_some()),
        (
            "unpinned_hosts",
            pins.unpinned_hosts() != UnpinnedHosts::Allow,
        ),
        ("allow_unpinned", !pins.allow_unpinned().is_empty()),
    ];
    match settings.into_iter().find(|(_, is_set)| *is_set) {
        Some((member, _)) => {
            let reason = format!(
                "`{member}` has no effect in a bundle, expected it in the application: it holds for \
                 all hosts"
            );
            Err(Failure::input(name, reason))
        }
        None => Ok(()),
    }
}

/// Fails for a bundle that no client should get.
pub(super) fn ensure_signable(
    name: &str,
    bundle: &PinBundle,
    previous: Option<BundleVersion>,
    now: UnixTime,
) -> Result<(), Failure> {
    let refused = |reason: String| Err(Failure::input(name, reason));
    let (expires, issued) = (bundle.expires(), bundle.issued());
    if expires <= now {
        return refused(format!(
            "the bundle is stale already (expires {}), expected a time after {}",
            rfc3339::print(expires),
            rfc3339::print(now)
        ));
    }
    if issued.as_secs() > now.as_secs().saturating_add(MAX_AHEAD.as_secs()) {
        return refused(format!(
            "issued at {}, expected a time up to a day after {}: no client with the bundle would \
             count an earlier time",
            rfc3339::print(issued),
            rfc3339::print(now)
        ));
    }
    match previous {
        Some(previous) if bundle.version() <= previous => refused(format!(
            "version {} is not above {previous}, that of --previous: clients would refuse it\n  \
             what to do: --version {} or above",
            bundle.version(),
            previous.bundle.saturating_add(1)
        )),
        _ => Ok(()),
    }
}

/// How far ahead a bundle may be issued: clocks of computers that are offline differ.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

const EXAMPLES: &str = "\
Examples:
  pinhold bundle tbs pins.json --root pins.root --version 1 --expires 90d \\
      --output pins.text
  openssl pkeyutl -sign -rawin -inkey one.key -in pins.text -out one.sig
  pinhold bundle attach pins.text --root pins.root --key example.com/pins/1 \\
      --signature one.sig --output pins.bundle";
