//! The command `pinhold header`: parses a `Public-Key-Pins` header and shows its effect.

use std::ffi::{OsStr, OsString};

use clap::Args;
use pinhold::header::{HeaderEffect, HeaderError, IgnoreReason, PinHeader};
use pinhold::policy::ReportUri;
use pinhold::{PinStore, SpkiFingerprint};
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;
use crate::syntax::{Field, Syntax};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Parse the value as Public-Key-Pins-Report-Only; with --json, the outcome `add` then means
    /// that a client evaluates its connection by the pins
    #[arg(long)]
    report_only: bool,
    /// Grammar of the header: to the letter of RFC 7469, or as browsers applied it, which accepted a
    /// trailing `;` and white space around `=`, too
    #[arg(long, value_enum, default_value_t = Syntax::Rfc7469)]
    syntax: Syntax,
    /// Keys of the validated chain of the server, separated by commas: checks whether one is pinned
    /// and a backup pin is not among them
    #[arg(long, value_delimiter = ',', value_name = "FINGERPRINT")]
    chain: Option<Vec<SpkiFingerprint>>,
    /// Value of the header
    #[arg(allow_hyphen_values = true)]
    value: OsString,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let field = if arguments.report_only {
        Field::ReportOnly
    } else {
        Field::Pins
    };
    let value = bytes(&arguments.value);
    let parsed = field.parse(&value, arguments.syntax);
    let (outcome, reason) = outcome(&parsed, arguments.chain.as_deref());
    let hint = field.hint(&value, arguments.syntax);
    let header = parsed.as_ref().ok();
    let max_age = header.and_then(PinHeader::max_age);
    let max_age = max_age.map(|age| age.min(PinStore::MAX_AGE_CAP).as_secs());
    let pins = header.map_or(&[][..], PinHeader::pins);
    let pins = pins.iter().map(ToString::to_string).collect::<Vec<_>>();
    let subdomains = header.is_some_and(PinHeader::includes_subdomains);
    let report_uri = header
        .and_then(PinHeader::report_uri)
        .map(ReportUri::as_str);
    let json = json!({
        "outcome": outcome,
        "reason": reason,
        "hint": hint,
        "chain_checked": arguments.chain.is_some(),
        "max_age": max_age,
        "include_subdomains": subdomains,
        "pins": pins,
        "report_uri": report_uri,
    });
    let mut lines = vec![match &reason {
        Some(reason) => format!("{outcome}: {reason}"),
        None if arguments.report_only => "evaluate on this connection".to_owned(),
        None => outcome.to_owned(),
    }];
    lines.extend(hint.map(|hint| format!("  {hint}")));
    lines.extend(max_age.map(|age| format!("  max-age     {age} s")));
    lines.extend(pins.iter().map(|pin| format!("  pin         {pin}")));
    lines.extend(subdomains.then(|| "  subdomains  included".to_owned()));
    lines.extend(report_uri.map(|uri| format!("  report-uri  {uri}")));
    if arguments.chain.is_none() && !arguments.report_only {
        lines.extend(unchecked(outcome).map(str::to_owned));
    }
    output.print(&json, &lines.join("\n"))
}

/// Returns what only the connection shows.
fn unchecked(outcome: &str) -> Option<&'static str> {
    match outcome {
        "add" => Some(
            "not checked: whether the validated chain contains one of the pins and lacks\n\
             another (a backup pin); give the chain's keys by --chain. A client also\n\
             requires that the connection satisfies the pins already in effect",
        ),
        "remove" => Some(
            "not checked: whether the host has noted pins, and whether the connection\n\
             satisfies them",
        ),
        _ => None,
    }
}

/// Returns the effect of a header, and the reason unless it is to add an entry.
fn outcome(
    parsed: &Result<PinHeader, HeaderError>,
    chain: Option<&[SpkiFingerprint]>,
) -> (&'static str, Option<String>) {
    let header = match parsed {
        Ok(header) => header,
        Err(error) => return ("ignore", Some(error.to_string())),
    };
    match HeaderEffect::of(header, chain) {
        HeaderEffect::Add | HeaderEffect::Evaluate => ("add", None),
        // A single pin may well be in no chain, so that every pin is in it can't be said.
        HeaderEffect::Ignore(IgnoreReason::NoBackupPin) if header.pins().len() < 2 => {
            ("ignore", Some("fewer than two pins".to_owned()))
        }
        HeaderEffect::Remove(reason) => ("remove", Some(reason.to_string())),
        HeaderEffect::Ignore(reason) => ("ignore", Some(reason.to_string())),
        _ => ("ignore", None),
    }
}

/// Returns the bytes of a field value. On Unix an argument may contain any byte but NUL.
#[cfg(unix)]
fn bytes(value: &OsStr) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(value).to_vec()
}

#[cfg(not(unix))]
fn bytes(value: &OsStr) -> Vec<u8> {
    value.to_string_lossy().into_owned().into_bytes()
}
