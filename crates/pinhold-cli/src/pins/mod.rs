//! The command `pinhold pins`: checks pin files, converts pins between the formats of other systems,
//! and compares files of them.

mod abilities;
pub(crate) mod check;
mod convert;
mod detect;
pub(crate) mod diff;
pub(crate) mod diff_output;
mod expiry;
mod formats;
mod input;
mod loss;
mod overlap;
mod reduce;
pub(crate) mod rules;
mod source;
#[cfg(test)]
mod tests;
pub(crate) mod xml;

use clap::{Args, Subcommand};
use pinhold::pin_file::PinFile;

use crate::failure::Failure;
use crate::output::Output;
use crate::pins::rules::Rules;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show what is wrong with a pin file, where, and what to do
    Check(check::Arguments),
    /// Convert pins from one format to another, and list what is lost
    Convert(convert::Arguments),
    /// Compare the pins of files in any formats; exits with 3 if they differ
    Diff(diff::Arguments),
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    match &arguments.action {
        Action::Check(arguments) => check::run(arguments, output),
        Action::Convert(arguments) => convert::run(arguments, output),
        Action::Diff(arguments) => diff::run(arguments, output),
    }
}

/// Returns a pin file without its endpoints for reports.
pub(crate) fn without_report_uris(file: &PinFile) -> Result<PinFile, Failure> {
    let mut rules = Rules::from(file);
    for rule in &mut rules.rules {
        rule.report_uris.clear();
    }
    rules.pin_file().map_err(Failure::Usage)
}

/// The exit code of invalid input.
const INVALID: u8 = 2;
/// The exit code of findings, of losses with `--strict`, and of differences.
const DIFFERENT: u8 = 3;
