//! The command `pinhold bundle`: makes, signs, verifies, shows and compares pin bundles, and the
//! roots of trust that they are verified by.
//!
//! No command connects to a server. Private keys are read by `init-root`, `roll-root` and `sign`
//! only; with `tbs` and `attach` they can stay in another program or device.

mod attach;
mod chain;
mod destination;
mod diff;
mod error;
mod facts;
mod input;
mod key;
mod known;
mod lock_out;
mod next_root;
mod progress;
mod root;
mod show;
mod sign;
mod tbs;
mod terms;
mod text;
mod verify;

use std::path::Path;

use clap::{Args, Subcommand};
use pinhold::bundle::{PinBundle, PinBundles};

pub(crate) use crate::bundle::facts::when_stale;
use crate::bundle::input::Document;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make the first root: the keys of the signers, and how many of them have to sign
    InitRoot(root::InitRoot),
    /// Write the text of the next root, with further keys or without some, to be signed
    AddKey(next_root::AddKey),
    /// Make or continue the next root, sign it, and show which signatures are missing
    RollRoot(next_root::RollRoot),
    /// Write the text of a bundle, exactly the bytes to be signed
    Tbs(tbs::Arguments),
    /// Sign a pin file as a bundle, or a text, or a bundle or root that others have signed
    Sign(sign::Arguments),
    /// Add a signature that another program or device has made
    Attach(attach::Arguments),
    /// Verify a bundle like a client; exits with 3 if it is stale or will be in 30 days
    Verify(verify::Arguments),
    /// Show the contents of a bundle or root
    Show(show::Arguments),
    /// Compare two bundles; exits with 3 if they differ
    Diff(diff::Arguments),
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    match &arguments.action {
        Action::InitRoot(arguments) => root::run(arguments, output),
        Action::AddKey(arguments) => next_root::add_key(arguments, output),
        Action::RollRoot(arguments) => next_root::roll(arguments, output),
        Action::Tbs(arguments) => tbs::run(arguments, output),
        Action::Sign(arguments) => sign::run(arguments, output),
        Action::Attach(arguments) => attach::run(arguments, output),
        Action::Verify(arguments) => verify::run(arguments, output),
        Action::Show(arguments) => show::run(arguments, output),
        Action::Diff(arguments) => diff::run(arguments, output),
    }
}

/// Opens a bundle, and the root that it is verified by, for a client that contains both.
pub(crate) fn open_in_effect(bundle: &str, root: &str) -> Result<PinBundles, Failure> {
    verify::open_in_effect(bundle, root)
}

/// The exit code of findings and of differences.
const FINDING: u8 = 3;

/// Reads a bundle, signed or not. Verifies no signature.
pub(crate) fn open(file: &Path) -> Result<PinBundle, Failure> {
    let (_, bundle) = Document::open_bundle(&file.display().to_string())?;
    Ok(bundle)
}
