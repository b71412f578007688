//! The command `pinhold bundle verify`: what a client decides about a bundle.

use clap::{Args, ValueHint};
use pinhold::bundle::{PinBundle, PinBundles};
use pinhold::{BuildError, Pinning};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};

use crate::bundle::chain::{self, Chain};
use crate::bundle::input::{self, Document, Input, Kind, Root};
use crate::bundle::next_root::Next;
use crate::bundle::progress::{self, Progress};
use crate::bundle::{FINDING, error, facts};
use crate::failure::Failure;
use crate::output::{Output, counted};
use crate::style::{BAD, GOOD, paint};
use crate::{clock, network, rfc3339};

#[derive(Args)]
pub(super) struct Arguments {
    /// Bundle or root; `-` is standard input
    #[arg(value_name = "BUNDLE", value_hint = ValueHint::FilePath)]
    file: String,
    /// Root that clients contain; of a root the one before it, or itself for the first one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    root: String,
    /// Check what is stale at this time, as in 2027-06-30 or 2027-06-30T23:59:59Z [default: now]
    #[arg(long, value_name = "DATE", value_parser = rfc3339::parse_date)]
    at: Option<UnixTime>,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let root = Root::open(&arguments.root)?;
    let bytes = input::read_binary(&arguments.file)?;
    let name = input::shown(&arguments.file);
    if let Ok(Input::Document(document)) = Input::of(name, bytes.clone())
        && document.kind == Kind::Root
    {
        return verify_root(document, root, output);
    }
    let verified = Verified::new(name, &bytes, root)?;
    let now = arguments.at.unwrap_or_else(clock::now);
    let stale = staleness(&verified.bundle, now);
    let json = json!({
        "file": arguments.file,
        "verified": true,
        "signers": verified.progress.signers,
        "findings": stale.iter().map(Staleness::json).collect::<Value>(),
    });
    let json = facts::joined(facts::json(&verified.bundle), json);
    let mut lines = vec![format!(
        "{name}: {}: {}\n  {}",
        paint(GOOD, "verified"),
        facts::summary(&verified.bundle),
        verified.progress.text()
    )];
    lines.extend(stale.iter().map(Staleness::text));
    output.print(&json, &lines.join("\n"))?;
    match stale {
        Some(_) => Err(Failure::AlreadyPrinted { code: FINDING }),
        None => Ok(()),
    }
}

/// A bundle that a client accepts, unless it knows a newer one.
pub(super) struct Verified {
    pub(super) bundle: PinBundle,
    pub(super) progress: Progress,
}

impl Verified {
    /// Verifies a bundle by the root that clients contain.
    pub(super) fn new(name: &str, bytes: &[u8], root: Root) -> Result<Self, Failure> {
        let refused = |error| error::refused(name, &error);
        let bundle = PinBundle::verify(bytes, &root.root, &network::provider());
        let bundle = bundle.map_err(refused)?;
        // The root itself, and rules that need all policies.
        let bundles = PinBundles::new(root.note.to_string(), bytes);
        let bundles = bundles.with_provider(network::provider());
        let built = Pinning::builder().bundles(bundles).build();
        built.map_err(|error| match error {
            BuildError::Bundle(error) => refused(error),
            BuildError::PinRoot(error) => error::refused_root(&root.name, &error),
            error => Failure::of_build(&error),
        })?;
        let document = match Input::of(name, bytes.to_vec())? {
            Input::Document(document) => document,
            Input::Pins { .. } => return Err(Failure::input(name, "not a bundle")),
        };
        let chain = Chain::new(root, chain::successors(&bundle)?)?;
        let progress = Progress::of(&chain.newest, &document.note);
        let progress = progress.map_err(|error| error::refused_root(name, &error))?;
        Ok(Self { bundle, progress })
    }
}

/// Opens a bundle that a client with this root accepts, as the client contains both.
pub(super) fn open_in_effect(bundle: &str, root: &str) -> Result<PinBundles, Failure> {
    let root = Root::open(root)?;
    let note = root.note.to_string();
    let bytes = input::read_binary(bundle)?;
    Verified::new(input::shown(bundle), &bytes, root)?;
    Ok(PinBundles::new(note, bytes).with_provider(network::provider()))
}

/// Verifies a root by the one before it and by itself.
fn verify_root(document: Document, before: Root, output: Output) -> Result<(), Failure> {
    let name = document.name.clone();
    let root = document.root()?;
    let version = root.root.version();
    let next = Next::new(Some(before), root)?;
    let progress = next.verified()?;
    let json = json!({
        "file": name,
        "kind": "root",
        "version": version,
        "verified": true,
        "signatures": progress::json(&progress),
    });
    let verified = paint(GOOD, "verified");
    let lines = progress::lines(&progress);
    output.print(
        &json,
        &format!("{name}: {verified}: root {version}\n{lines}"),
    )
}

/// A bundle that is stale, or soon will be.
pub(super) struct Staleness {
    expires: UnixTime,
    /// `None` if it is stale.
    days: Option<u64>,
}

pub(super) fn staleness(bundle: &PinBundle, now: UnixTime) -> Option<Staleness> {
    let expires = bundle.expires();
    let days = facts::days_left(expires, now);
    days.is_none_or(|days| days < SOON)
        .then_some(Staleness { expires, days })
}

impl Staleness {
    fn json(&self) -> Value {
        let id = if self.days.is_some() {
            "stale-soon"
        } else {
            "stale"
        };
        json!({ "id": id, "expires": rfc3339::print(self.expires), "days": self.days })
    }

    pub(super) fn text(&self) -> String {
        let expires = rfc3339::print(self.expires);
        let fact = match self.days {
            None => paint(BAD, format!("stale since {expires}")),
            Some(0) => paint(BAD, format!("stale in less than a day ({expires})")),
            Some(days) => {
                let days = usize::try_from(days).unwrap_or(usize::MAX);
                format!("stale in {} ({expires})", counted(days, "day", "days"))
            }
        };
        format!(
            "  {fact}\n  what to do: issue a bundle with a higher version (`pinhold bundle sign \
             --previous`)"
        )
    }
}

/// How many days before it becomes stale that is a finding.
const SOON: u64 = 30;
