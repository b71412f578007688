//! The command `pinhold doctor`: which pinned host will stop working, when, and why.
//!
//! `input` makes the subjects from files and options, `probe` and `caa` observe their servers, `judge`
//! foresees what happens to them by the facts of `pki` and the rules of `rules`, and `output` prints
//! it.

mod caa;
mod forecast;
mod input;
mod judge;
mod observation;
mod output;
mod pki;
mod probe;
mod rules;
mod subject;
mod tasks;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use pinhold::SpkiFingerprint;
use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{Report, Severity};
use crate::doctor::pki::PkiData;
use crate::failure::Failure;
use crate::network::NetworkOptions;
use crate::output::Output;
use crate::{clock, rfc3339};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Hosts to judge, as HOST or HOST:PORT [default: each host of the pin file or bundle; in place
    /// of subdomains one name is connected to, if a host below gives one]
    #[arg(value_name = "HOST[:PORT]")]
    hosts: Vec<String>,
    /// Pin file whose policies are judged
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pins: Option<PathBuf>,
    /// Pin of each HOST; can be repeated
    #[arg(long = "pin", value_name = "FINGERPRINT")]
    pin: Vec<SpkiFingerprint>,
    /// Pin bundle whose policies are judged; its signatures are not verified
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    bundle: Option<PathBuf>,
    /// Chain of a server (PEM, leaf first), judged for each host in place of what its servers send
    #[arg(long, value_name = "PEM", value_hint = ValueHint::FilePath)]
    chain: Vec<PathBuf>,
    /// Connect to nothing and query no DNS: judge pins and --chain by the data alone
    #[arg(long)]
    offline: bool,
    /// Judge as of this time, as in 2027-06-30 or 2027-06-30T23:59:59Z [default: now]
    #[arg(long, value_name = "DATE", value_parser = rfc3339::parse_date)]
    at: Option<UnixTime>,
    /// Exit with 3 if a lock-out is foreseen within this time, in days (30d) or weeks (4w)
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_days)]
    fail_within: Duration,
    /// Facts about CAs to use in place of those compiled in (JSON)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pki_data: Option<PathBuf>,
    #[command(flatten)]
    dns: caa::Options,
    #[command(flatten)]
    files: output::Files,
    #[command(flatten)]
    network: NetworkOptions,
}

impl Arguments {
    /// Returns the files that are read.
    fn inputs(&self) -> impl Iterator<Item = &PathBuf> {
        let single = [&self.pins, &self.bundle, &self.pki_data];
        let single = single.into_iter().flatten().chain(&self.chain);
        let network = &self.network;
        single
            .chain(network.ca_files())
            .chain(network.user_ca_files())
    }
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let at = arguments.at.unwrap_or_else(clock::now);
    let data = PkiData::load(arguments.pki_data.as_deref())?;
    arguments.files.refuse_overwriting(arguments.inputs())?;
    let subjects = input::subjects(&arguments, at)?;
    let deadline = arguments.network.deadline();
    let queries =
        (!arguments.offline).then(|| caa::Queries::start(&subjects, &arguments.dns, deadline));
    let mut observations = Vec::new();
    let given = input::chains(&arguments.chain)?;
    if arguments.offline || !given.is_empty() {
        observations.extend(subjects.iter().map(|_| input::given(&given)));
    } else {
        observations = probe::observe(&subjects, &arguments.network, deadline, output).await?;
    }
    if let Some(queries) = queries {
        queries.add(&mut observations).await;
    }
    let anchors = judge::Roots::load(&arguments.network)?;
    let fail_before = at.as_secs().saturating_add(arguments.fail_within.as_secs());
    let fail_before = UnixTime::since_unix_epoch(Duration::from_secs(fail_before));
    let judged = subjects.into_iter().zip(observations);
    let report = judge::report(judged.collect(), &data, &anchors, at, fail_before);
    output::write(&report, &arguments.files, output)?;
    match exit_code(&report) {
        0 => Ok(()),
        code => Err(Failure::AlreadyPrinted { code }),
    }
}

/// Returns 90 if a host is locked out now, 3 if one will be within the time of `--fail-within`, and
/// otherwise 1 if no server of a host could be connected to, so that nothing is known of it.
fn exit_code(report: &Report) -> u8 {
    let mut findings = report.hosts.iter().flat_map(|host| &host.findings);
    let lock_outs = report.hosts.iter();
    let lock_outs = lock_outs.filter_map(|host| host.lock_out.as_ref());
    let first = lock_outs.map(|lock_out| lock_out.at).min();
    let is_now = first.is_some_and(|at| at <= report.at);
    if is_now || findings.any(|finding| finding.severity == Severity::LockedOut) {
        return LOCKED_OUT;
    }
    if first.is_some_and(|at| at <= report.fail_before) {
        return FORESEEN;
    }
    if report.hosts.iter().any(rules::is_unreached) {
        return UNREACHED;
    }
    0
}

/// Parses a number of days (`30d`) or weeks (`4w`).
fn parse_days(text: &str) -> Result<Duration, &'static str> {
    let expected = "expected 0 to 3650 days as in 30d, or weeks as in 4w";
    let (digits, factor) = match text.strip_suffix('w') {
        Some(weeks) => (weeks, 7),
        None => (text.strip_suffix('d').unwrap_or(text), 1),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let days = digits.parse::<u64>().ok().filter(|_| is_number);
    let days = days.and_then(|days| days.checked_mul(factor));
    let days = days.filter(|days| *days <= 3650).ok_or(expected)?;
    Ok(Duration::from_secs(days * 86_400))
}

/// The exit code of a lock-out within the time of `--fail-within`.
const FORESEEN: u8 = 3;
/// The exit code if a host was not reached, as of each command whose connection fails.
const UNREACHED: u8 = 1;
/// The exit code of a present lock-out.
const LOCKED_OUT: u8 = 90;

const EXAMPLES: &str = "\
Examples:
  pinhold doctor --pins pins.json
  pinhold doctor --pins pins.json --fail-within 90d --sarif pins.sarif
  pinhold doctor --pins pins.json --offline --chain fullchain.pem --at 2027-05-01
  pinhold doctor api.example.com --pin sha256/... --pin sha256/... --html pins.html";
