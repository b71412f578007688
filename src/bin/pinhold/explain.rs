//! `pinhold header` and `pinhold match`: what pinhold makes of a header, and which policy applies.

use std::ffi::{OsStr, OsString};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use pinhold::header::{HeaderEffect, HeaderError, HeaderSyntax, PinHeader};
use pinhold::policy::{HostMatch, ReportUri};
use pinhold::{Host, PinPolicy, PinStore, Pinning, SpkiFingerprint};
use rustls_pki_types::UnixTime;
use serde_json::json;

use crate::output::{Failure, Output};

#[derive(Args)]
pub(crate) struct HeaderArguments {
    /// Read it as Public-Key-Pins-Report-Only; `add` then means "evaluate"
    #[arg(long)]
    report_only: bool,
    /// How literally the grammar is taken
    #[arg(long, value_enum, default_value_t = Syntax::Rfc7469)]
    syntax: Syntax,
    /// The fingerprints of the validated chain that the header came over
    #[arg(long, value_delimiter = ',', value_name = "FINGERPRINT")]
    chain: Option<Vec<SpkiFingerprint>>,
    /// The field's value
    #[arg(allow_hyphen_values = true)]
    value: OsString,
}

#[derive(Clone, Copy, ValueEnum)]
enum Syntax {
    Browsers,
    Rfc7469,
}

pub(crate) fn header(arguments: &HeaderArguments, output: Output) -> Result<(), Failure> {
    let syntax = match arguments.syntax {
        Syntax::Browsers => HeaderSyntax::Browsers,
        Syntax::Rfc7469 => HeaderSyntax::Rfc7469,
    };
    let value = bytes(&arguments.value);
    let parsed = if arguments.report_only {
        PinHeader::parse_report_only(&value, syntax)
    } else {
        PinHeader::parse(&value, syntax)
    };
    let (outcome, reason) = outcome(&parsed, arguments.chain.as_deref());
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
    lines.extend(max_age.map(|age| format!("  max-age     {age} s")));
    lines.extend(pins.iter().map(|pin| format!("  pin         {pin}")));
    lines.extend(subdomains.then(|| "  subdomains  included".to_owned()));
    lines.extend(report_uri.map(|uri| format!("  report-uri  {uri}")));
    output.print(&json, &lines.join("\n"))
}

/// What a client does, and why where it does not simply follow.
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
        HeaderEffect::Remove(reason) => ("remove", Some(reason.to_string())),
        HeaderEffect::Ignore(reason) => ("ignore", Some(reason.to_string())),
        _ => ("ignore", None),
    }
}

/// A field value is bytes; on Unix the command line can hold any but NUL.
#[cfg(unix)]
fn bytes(value: &OsStr) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(value).to_vec()
}

#[cfg(not(unix))]
fn bytes(value: &OsStr) -> Vec<u8> {
    value.to_string_lossy().into_owned().into_bytes()
}

#[derive(Args)]
pub(crate) struct MatchArguments {
    /// A pinned host; with `+sub` its subdomains are included
    #[arg(long = "policy", value_name = "HOST[+sub]")]
    policies: Vec<Policy>,
    /// The name that a client connects to
    #[arg(allow_hyphen_values = true)]
    name: OsString,
}

#[derive(Clone)]
struct Policy {
    host: Host,
    includes_subdomains: bool,
}

impl FromStr for Policy {
    type Err = pinhold::policy::HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, includes_subdomains) = match text.strip_suffix("+sub") {
            Some(host) => (host, true),
            None => (text, false),
        };
        Ok(Self {
            host: Host::parse(host)?,
            includes_subdomains,
        })
    }
}

pub(crate) fn policy(arguments: &MatchArguments, output: Output) -> Result<(), Failure> {
    let mut builder = Pinning::builder();
    for policy in &arguments.policies {
        // Which keys are pinned makes no difference to who is covered.
        let pins = PinPolicy::without_backup([SpkiFingerprint::from_digest([0; 32])]);
        let pins = pins.map_err(|error| Failure::Usage(error.to_string()))?;
        let pins = if policy.includes_subdomains {
            pins.include_subdomains()
        } else {
            pins
        };
        builder = builder.static_pins(policy.host.clone(), pins);
    }
    let pinning = builder
        .build()
        .map_err(|error| Failure::input("--policy", error))?;
    let parsed = Host::parse(&arguments.name.to_string_lossy());
    let applied = parsed.as_ref().ok();
    let applied = applied.and_then(|host| pinning.policies(host, UnixTime::now()).static_policy);
    let why = applied.as_ref().map(|applied| match applied.matched {
        HostMatch::Superdomain => "superdomain",
        _ => "congruent",
    });
    let json = json!({
        "host": parsed.as_ref().ok().map(Host::as_str),
        "policy": applied.as_ref().map(|applied| applied.noted_hostname.as_str()),
        "why": why,
    });
    let text = match (&parsed, &applied, why) {
        (Err(error), ..) => format!("never pinned: {error}"),
        (Ok(host), Some(applied), Some(why)) => {
            format!(
                "{host} is under the policy of {} ({why})",
                applied.noted_hostname
            )
        }
        (Ok(host), ..) => format!("{host} is under no policy"),
    };
    output.print(&json, &text)
}
