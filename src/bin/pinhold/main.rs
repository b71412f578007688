//! The command-line tool: fetch with pins as curl does, compute fingerprints, explain headers and
//! policies. Results go to standard output, everything else to standard error.

mod explain;
mod fingerprint;
mod get;
mod network;
mod output;
mod reporting;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::{Failure, Output};

/// Public key pinning from the command line.
#[derive(Parser)]
#[command(name = "pinhold", version, after_help = EXIT_CODES)]
struct Arguments {
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the fingerprint, owner, role and expiry of each key in a file or behind a URL
    Fingerprint(fingerprint::Arguments),
    /// Fetch a URL, if the pins hold
    Get(get::Arguments),
    /// Say what a client makes of a Public-Key-Pins header; the exit code is 0 whatever that is
    Header(explain::HeaderArguments),
    /// Say which policy applies to a name
    Match(explain::MatchArguments),
    /// Look into a file of noted pins, change it or mend it
    Store(store::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    let done = match arguments.command {
        Command::Fingerprint(arguments) => in_runtime(fingerprint::run(arguments, output)),
        Command::Get(arguments) => in_runtime(get::run(arguments, output)),
        Command::Header(arguments) => explain::header(&arguments, output),
        Command::Match(arguments) => explain::policy(&arguments, output),
        Command::Store(arguments) => store::run(arguments, output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

fn in_runtime(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Request(error.into()))?;
    runtime.block_on(task)
}

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   the connection, the validation or the request failed, or noted pins can't be written
  2   bad usage or bad input
  90  a pin violation: the chain is valid, but holds no pinned key";
