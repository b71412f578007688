//! The command-line program `pinhold`: fetches URLs with pins, computes fingerprints, explains
//! headers and policies, and maintains store files.
//!
//! Results go to standard output, everything else to standard error.

mod bundle;
mod cause;
mod certificate;
mod clock;
mod doctor;
mod explain;
mod failure;
mod fingerprint;
mod get;
#[cfg(all(test, unix))]
mod growth;
mod header;
mod key;
mod key_file;
mod manual;
mod network;
mod new_file;
mod output;
mod peer;
mod pin_file;
mod pin_format;
mod pins;
mod proxy;
mod refusal;
mod reporting;
mod rfc3339;
mod roots;
mod self_test;
mod server_keys;
mod storage_error;
mod store;
mod store_hsts;
mod style;
mod suffixes;
mod syntax;
mod tls_error;
mod transport;
mod verifier;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::failure::Failure;
use crate::output::Output;

/// Public key pinning from the command line
#[derive(Parser)]
#[command(name = "pinhold", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    /// Print one JSON object instead of text; errors, too
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make, sign, verify, show and compare pin bundles and the roots that they are verified by
    Bundle(bundle::Arguments),
    /// Foresee which pinned host will stop working, when, and why
    Doctor(doctor::Arguments),
    /// Show which policy applies to a host name
    Explain(explain::Arguments),
    /// Print the fingerprint of each key in files or of servers, and which ones to pin
    Fingerprint(fingerprint::Arguments),
    /// Fetch a URL over a connection that satisfies the pins
    Get(get::Arguments),
    /// Show how a client handles a Public-Key-Pins header; exits with 0 for any value
    Header(header::Arguments),
    /// Make a key and its certificate signing request
    Key(key::Arguments),
    /// Check, convert and compare files of pins
    Pins(pins::Arguments),
    /// Show in memory, without a network, that a client with these pins refuses what it has to
    SelfTest(self_test::Arguments),
    /// Inspect, change or recover a store file of noted pins
    Store(store::Arguments),
    /// Print the completion script for a shell
    Completions(manual::Completions),
    /// Print the man page
    Man,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let output = Output::new(arguments.json);
    let result = match arguments.command {
        Command::Bundle(arguments) => bundle::run(&arguments, output),
        Command::Completions(arguments) => {
            manual::completions(&arguments, Arguments::command(), output)
        }
        Command::Doctor(arguments) => block_on(doctor::run(arguments, output)),
        Command::Explain(arguments) => explain::run(&arguments, output),
        Command::Fingerprint(arguments) => block_on(fingerprint::run(arguments, output)),
        Command::Get(arguments) => block_on(get::run(arguments, output)),
        Command::Header(arguments) => header::run(&arguments, output),
        Command::Key(arguments) => key::run(&arguments, output),
        Command::Man => manual::man(Arguments::command(), output),
        Command::Pins(arguments) => pins::run(&arguments, output),
        Command::SelfTest(arguments) => self_test::run(&arguments, output),
        Command::Store(arguments) => store::run(arguments, output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

/// Prints help, version, or what is wrong with the arguments.
fn refuse(error: &clap::Error) -> ExitCode {
    // Nothing can be printed to an output that is closed.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let arguments = std::env::args_os().skip(1);
    let mut options = arguments.take_while(|argument| argument != "--");
    let output = Output::new(options.any(|argument| argument == "--json"));
    let text = error.render().to_string();
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "the command is missing",
        // The usage and the reference to the help follow in paragraphs of their own.
        _ => text.split("\n\n").next().unwrap_or_default(),
    };
    let message = message.trim_start_matches("error: ").trim_end();
    let failure = Failure::Usage(message.to_owned());
    output.print_error(&failure.json());
    ExitCode::from(failure.code())
}

fn block_on(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal {
            subject: "asynchronous runtime",
            error,
        })?;
    let result = runtime.block_on(task);
    // A DNS query on another thread may take longer than the time limit.
    runtime.shutdown_background();
    result
}

const EXIT_CODES: &str = "\
Exit codes:
  0   success
  1   no result: the connection, the validation or the request failed,
      a file could not be written, a bundle is not trusted, or --fail was
      given and the response has a status of 400 or above
  2   invalid usage or input, such as a file that can't be read
  3   finding: a check of pins, or a comparison, found a difference, or
      a bundle is stale or soon will be
  90  pin violation: the chain is valid, but contains no pinned key, or a
      refused one; or the host is not pinned, and the pin file refuses such

Environment (the names in upper case, too):
  https_proxy, http_proxy, all_proxy
      connect through this proxy by HTTP CONNECT; expected
      http://[USER:PASSWORD@]HOST:PORT
  no_proxy
      hosts to connect to without a proxy, separated by commas
  NO_COLOR
      no colours on a terminal";
