//! The command `pinhold self-test`: attacks on a client with the given pins, in memory, and which hosts
//! the pins are enforced for.

use std::path::PathBuf;

use clap::Args;
use pinhold::policy::{PinPolicy, Scope};
use pinhold::tls::{SelfTestReport, TestedResumption};
use pinhold::{BuildError, Host, Pinning, PinningVerifier, TrustAnchors};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::style::{BAD, GOOD, paint};
use crate::{bundle, network, pin_file, store};

#[derive(Args)]
#[command(after_help = EXPLANATION)]
pub(crate) struct Arguments {
    /// Pin file of the client
    #[arg(long, value_name = "FILE")]
    pins: Option<PathBuf>,
    /// Store file of noted pins, which is only read
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Pin bundle in effect; its policies replace those of the file
    #[arg(long, value_name = "FILE", requires = "root")]
    bundle: Option<String>,
    /// Root that clients contain, which the bundle is verified by
    #[arg(long, value_name = "FILE", requires = "bundle")]
    root: Option<String>,
    /// Hosts whose pins must be enforced now [default: shows those of the pin file]
    #[arg(value_name = "HOST", value_parser = Host::parse)]
    hosts: Vec<Host>,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let file = arguments.pins.as_deref().map(pin_file::open).transpose()?;
    let mut builder = Pinning::builder();
    let mut hosts = arguments.hosts.clone();
    if let Some(file) = &file {
        builder = builder.pins(file.clone());
        if hosts.is_empty() {
            hosts = file.policies().iter().filter_map(named).collect();
        }
    }
    if let Some(file) = &arguments.store {
        builder = builder.store(store::open_to_read(file)?);
    }
    if let (Some(file), Some(root)) = (&arguments.bundle, &arguments.root) {
        builder = builder.bundles(bundle::open_in_effect(file, root)?);
    }
    let failed = |error: BuildError| Failure::of_build(&error);
    let pinning = builder.build().map_err(failed)?;
    let config = PinningVerifier::builder(pinning.clone())
        .with_anchors(TrustAnchors::webpki_roots())
        .with_provider(network::provider())
        .client_config();
    let report = match pinning.self_test(&config.map_err(failed)?) {
        Ok(report) => report,
        Err(error) => {
            let text = format!("self-test failed: {error}");
            output.message(&text);
            output.print_error(&json!({ "error": "self-test", "message": text }));
            return Err(Failure::AlreadyPrinted { code: FAILED });
        }
    };
    let enforced = hosts.iter().map(|host| (host, pinning.is_enforced(host)));
    let enforced = enforced.collect::<Vec<_>>();
    output.print(&report_json(&report, &enforced), &text(&report, &enforced))?;
    let is_missing = enforced.iter().any(|(_, is_enforced)| !is_enforced);
    if is_missing && !arguments.hosts.is_empty() {
        return Err(Failure::AlreadyPrinted { code: FINDING });
    }
    Ok(())
}

/// Returns the host of a policy that covers the host itself.
fn named((host, policy): &(Host, PinPolicy)) -> Option<Host> {
    let scope = policy.scope_setting();
    matches!(scope, Scope::Host | Scope::HostAndSubdomains).then(|| host.clone())
}

fn report_json(report: &SelfTestReport, enforced: &[(&Host, bool)]) -> Value {
    let hosts = enforced
        .iter()
        .map(|(host, is_enforced)| json!({ "host": host.as_str(), "enforced": is_enforced }));
    let resumption = match report.resumption {
        TestedResumption::Checked => "checked",
        _ => "disabled",
    };
    json!({
        "passed": true,
        "tls_versions": report.versions.len(),
        "attacks_refused": report.refused.len(),
        "resumption": resumption,
        "hosts": hosts.collect::<Value>(),
    })
}

fn text(report: &SelfTestReport, enforced: &[(&Host, bool)]) -> String {
    let mut lines = vec![format!("{}: {report}", paint(GOOD, "passed"))];
    lines.extend(enforced.iter().map(|(host, is_enforced)| {
        let state = if *is_enforced {
            paint(GOOD, "enforced")
        } else {
            paint(BAD, "not enforced")
        };
        format!("  {host}: {state}")
    }));
    lines.join("\n")
}

const EXPLANATION: &str = "\
The client of this program is tested, with the pins given. An application tests
its own client when it starts, by the function of the library.

Exit code 3: the pins of a HOST that was given are not enforced now.";

/// The exit code of a self-test that failed.
const FAILED: u8 = 1;
/// The exit code of a host without enforced pins.
const FINDING: u8 = 3;
