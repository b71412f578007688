//! The command `pinhold pins`: works on pin files.

mod check;

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
    /// Show what is wrong with a pin file, where, and what to do
    Check(check::Arguments),
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    match &arguments.action {
        Action::Check(arguments) => check::run(arguments, output),
    }
}
