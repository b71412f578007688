//! The command `pinhold pins`: converts pins between the formats of other systems, and compares
//! files of them.

mod abilities;
mod convert;
mod detect;
mod diff;
mod diff_output;
mod expiry;
mod formats;
mod input;
mod loss;
mod overlap;
mod reduce;
mod rules;
mod source;
#[cfg(test)]
mod tests;
mod xml;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Convert pins from one format to another, and list what is lost
    Convert(convert::Arguments),
    /// Compare the pins of files in any formats; exits with 3 if they differ
    Diff(diff::Arguments),
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    match &arguments.action {
        Action::Convert(arguments) => convert::run(arguments, output),
        Action::Diff(arguments) => diff::run(arguments, output),
    }
}

/// The exit code of invalid input.
const INVALID: u8 = 2;
/// The exit code of losses with `--strict`, and of differences.
const DIFFERENT: u8 = 3;
