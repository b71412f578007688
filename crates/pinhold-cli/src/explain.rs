//! The command `pinhold explain`: shows which of the given policies applies to a host name.

use std::ffi::OsString;
use std::str::FromStr;

use clap::Args;
use pinhold::policy::{HostError, HostMatch};
use pinhold::{Host, PinPolicy, Pinning, SpkiFingerprint};
use serde_json::json;

use crate::clock;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Host with a policy; `+sub` includes its subdomains
    #[arg(long = "policy", value_name = "HOST[+sub]")]
    policies: Vec<Policy>,
    /// Host name to which a client connects
    #[arg(allow_hyphen_values = true)]
    name: OsString,
}

#[derive(Clone)]
struct Policy {
    host: Host,
    includes_subdomains: bool,
}

impl FromStr for Policy {
    type Err = HostError;

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

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let pinning = pinning(&arguments.policies)?;
    let parsed = Host::parse(&arguments.name.to_string_lossy());
    let host = parsed.as_ref().ok();
    let applied = host.and_then(|host| pinning.policies(host, clock::now()).static_policy);
    let why = applied.as_ref().map(|applied| match applied.matched {
        HostMatch::Superdomain => "superdomain",
        _ => "congruent",
    });
    let json = json!({
        "host": host.map(Host::as_str),
        "policy": applied.as_ref().map(|applied| applied.noted_hostname.as_str()),
        "why": why,
    });
    let text = match (&parsed, &applied, why) {
        (Err(error), ..) => format!("can't be pinned: {error}"),
        (Ok(host), Some(applied), Some(why)) => format!(
            "the policy of {} applies to {host} ({why})",
            applied.noted_hostname
        ),
        (Ok(host), ..) => format!("no policy applies to {host}"),
    };
    output.print(&json, &text)
}

fn pinning(policies: &[Policy]) -> Result<Pinning, Failure> {
    let mut builder = Pinning::builder();
    for policy in policies {
        // The pins have no influence on which hosts a policy covers.
        let pins = PinPolicy::without_backup([SpkiFingerprint::from_digest([0; 32])]);
        let pins = pins.map_err(|error| Failure::Usage(error.to_string()))?;
        let pins = if policy.includes_subdomains {
            pins.include_subdomains()
        } else {
            pins
        };
        builder = builder.static_pins(policy.host.clone(), pins);
    }
    builder
        .build()
        .map_err(|error| Failure::input("--policy", error))
}
