//! The command-line program `pinhold`: fetches URLs with pins, computes fingerprints, explains
//! headers and policies, and maintains store files.
//!
//! Results go to standard output, everything else to standard error.

mod fingerprint;
mod get;
mod header;
mod network;
mod output;
mod policy_match;
mod reporting;
mod rfc3339;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::{Failure, Output};

/// Public key pinning from the command line
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
    /// Print fingerprint, role, expiry and subject of each key in a file or of a server
    Fingerprint(fingerprint::Arguments),
    /// Fetch a URL over a connection that satisfies the pins
    Get(get::Arguments),
    /// Show how a client handles a Public-Key-Pins header; exits with 0 for any value
    Header(header::Arguments),
    /// Show which policy applies to a host name
    Match(policy_match::Arguments),
    /// Inspect, change or recover a store file of noted pins
    Store(store::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    let result = match arguments.command {
        Command::Fingerprint(arguments) => block_on(fingerprint::run(arguments, output)),
        Command::Get(arguments) => block_on(get::run(arguments, output)),
        Command::Header(arguments) => header::run(&arguments, output),
        Command::Match(arguments) => policy_match::run(&arguments, output),
        Command::Store(arguments) => store::run(arguments, output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

fn block_on(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::of_request("asynchronous runtime", error))?;
    runtime.block_on(task)
}

const EXIT_CODES: &str = "\
Exit codes:
  0   success
  1   the connection, the validation or the request failed, or noted pins could not be written
  2   invalid usage or input
  90  pin violation: the chain is valid, but contains no pinned key";
