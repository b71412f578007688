//! The command `pinhold get`: sends a GET request over a pinned connection.

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::header::{IgnoreReason, Noted};
use pinhold::pin_file::PinFile;
use pinhold::policy::{AppliedPolicies, UnpinnedHosts, UnpinnedName};
use pinhold::storage::StorageError;
use pinhold::{
    Decision, Host, NotePinsLayer, PinPolicy, PinStore, Pinning, PinningBuilder, SpkiFingerprint,
    UserAddedRoots, VerifiedConnection,
};
use serde_json::{Value, json};
use tower_layer::Layer;
use tower_service::Service;

use crate::failure::{Failure, RequestFailure};
use crate::network::{self, NetworkOptions};
use crate::output::Output;
use crate::peer::Peer;
use crate::refusal::{PinSources, chain_json, key_lines};
use crate::reporting::{self, Reporting};
use crate::syntax::{Field, Syntax};
use crate::{clock, pin_file, pins, storage_error, store};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// URL to fetch (https, unless the URL begins with http://); redirects are not followed
    #[arg(value_hint = ValueHint::Url)]
    url: String,
    #[command(flatten)]
    pinning: PinningOptions,
    /// Enforce the pins noted in this file, and note the response's Public-Key-Pins header there;
    /// the file is created if it is missing
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Grammar of Public-Key-Pins headers: to the letter of RFC 7469, or as browsers applied it,
    /// which accepted a trailing `;` and white space around `=`, too
    #[arg(long, value_enum, default_value_t = Syntax::Rfc7469)]
    syntax: Syntax,
    /// Send a report of a pin violation to this endpoint (RFC 7469, section 3)
    #[arg(long, value_name = "URL")]
    report_to: Option<String>,
    /// Exit with 1 and print no body if the response has a status of 400 or above
    #[arg(long, short)]
    fail: bool,
    /// Print the response status and the validated chain to standard error
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    network: NetworkOptions,
}

#[derive(Args)]
struct PinningOptions {
    /// Pin of the URL's host: the validated chain must contain the key of at least one --pin; the
    /// text of a PEM file with one key is a pin, too
    #[arg(long, value_name = "FINGERPRINT", allow_hyphen_values = true)]
    pin: Vec<SpkiFingerprint>,
    /// Enforce this pin file, too; its hosts must be others than that of --pin
    #[arg(long = "pins", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Apply each --pin to the subdomains of the host, too
    #[arg(long, requires = "pin")]
    include_subdomains: bool,
    /// Enforce the pins on chains to --user-ca roots, too, in place of skipping them
    #[arg(long, requires = "user_ca")]
    enforce_on_user_ca: bool,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let uri = network::url(&arguments.url)?;
    let sources = PinSources {
        has_pin_options: !arguments.pinning.pin.is_empty(),
        pins: arguments.pinning.file.clone(),
    };
    let peer = arguments.network.peer(&arguments.url, &uri, sources);
    let store = match &arguments.store {
        Some(file) => store::open(file)?,
        None => PinStore::in_memory(),
    };
    let file = arguments.pinning.file.as_deref();
    let file = file.map(pin_file::open).transpose()?;
    let mut builder = builder(&arguments, &uri, &store, file.as_ref())?;
    let mut reporting = None;
    if let Some(to) = &arguments.report_to {
        let to = reporting::endpoint(to)?;
        let (with_reporter, added) = Reporting::add_to(builder, &to, &arguments.network)?;
        (builder, reporting) = (with_reporter, Some(added));
    }
    let pinning = builder.build();
    let pinning = pinning.map_err(|error| Failure::of_build(&error))?;
    if is_reported_as_unpinned(&uri, file.as_ref(), &pinning) {
        let host = &peer.target.host;
        output.message(&format_args!(
            "{host} is not pinned, and the pin file reports unpinned hosts"
        ));
    }
    let response = fetch(&arguments, &uri, &peer, pinning.clone()).await;
    let stored = store_changes(&store, &peer, response.is_ok()).await;
    if let Err(error) = &stored {
        output.message(&storage_error::text(error));
    }
    let printed = match response {
        Ok(response) => print(&arguments, &uri, &peer, response, &stored, output).await,
        Err(failure) => Err(failure),
    };
    let printed = printed.map_err(|failure| failure.with_policies_of(&pinning));
    let result = match (printed, stored) {
        (Ok(()) | Err(Failure::OutputClosed), Err(_)) => Err(Failure::AlreadyPrinted { code: 1 }),
        (printed, _) => printed,
    };
    let Some(reporting) = &reporting else {
        return result;
    };
    // The user learns of a violation before the program waits for an endpoint.
    let result = result.map_err(|failure| output.print_failure(&failure));
    reporting.finish(&pinning, peer.deadline, output);
    result
}

/// Writes pending changes before the body is read, which may be endless. Refreshes are among them:
/// the store would delay their write beyond the end of the program.
async fn store_changes(
    store: &PinStore,
    peer: &Peer,
    has_response: bool,
) -> Result<(), StorageError> {
    match peer.deadline.limit(store.durable()).await {
        Some(stored) => stored,
        None if has_response => Err(StorageError::Slow {
            waited: peer.deadline.total.0,
        }),
        // There is nothing to store, and the time limit is reported already.
        None => Ok(()),
    }
}

async fn fetch(
    arguments: &Arguments,
    uri: &Uri,
    peer: &Peer,
    pinning: Pinning,
) -> Result<Response<Incoming>, Failure> {
    let connector = arguments.network.connector(&pinning, peer, uri)?;
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let mut client = NotePinsLayer::new(pinning).layer(client);
    let request = Request::get(uri.clone())
        .header("user-agent", concat!("pinhold/", env!("CARGO_PKG_VERSION")))
        .header("accept", "*/*")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::input(&arguments.url, error))?;
    let response = peer.limit("no response from", client.call(request)).await?;
    response.map_err(|error| Failure::of_request(peer, &error))
}

async fn print(
    arguments: &Arguments,
    uri: &Uri,
    peer: &Peer,
    response: Response<Incoming>,
    stored: &Result<(), StorageError>,
    output: Output,
) -> Result<(), Failure> {
    print_messages(arguments, peer, &response, output);
    let status = response.status();
    if arguments.fail && (status.is_client_error() || status.is_server_error()) {
        let detail = format!("{} responds with the status {status}", peer.target);
        return Err(peer.failure(RequestFailure::Status(status.as_u16()), detail));
    }
    let failed = |error: hyper::Error| Failure::of_request(peer, &error);
    let missing = "no complete body from";
    if output.is_json() {
        let noted = outcome(&response, arguments.syntax);
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect();
        let body = peer.limit(missing, body).await?;
        let body = body
            .map_err(|error| body_failure(peer, &*error))?
            .to_bytes();
        let mut result = response_json(uri, &parts, noted, &body);
        if let (Some(_), Value::Object(fields)) = (&arguments.store, &mut result) {
            fields.insert("stored".to_owned(), json!(stored.is_ok()));
        }
        return output.print(&result, &"");
    }
    let mut body = response.into_body();
    while let Some(frame) = peer.limit(missing, body.frame()).await? {
        if let Ok(bytes) = frame.map_err(failed)?.into_data() {
            output.write(&bytes)?;
        }
    }
    Ok(())
}

/// Returns the failure of a body that was to be kept in memory.
fn body_failure(peer: &Peer, error: &(dyn Error + 'static)) -> Failure {
    if error.is::<LengthLimitError>() {
        let detail = format!(
            "the body from {} is longer than {} MiB, the limit of --json\n  what to do: get it \
             without --json",
            peer.target,
            MAX_BODY >> 20
        );
        return peer.failure(RequestFailure::Http, detail);
    }
    Failure::of_request(peer, error)
}

fn builder(
    arguments: &Arguments,
    uri: &Uri,
    store: &PinStore,
    file: Option<&PinFile>,
) -> Result<PinningBuilder, Failure> {
    let mut builder = Pinning::builder()
        .store(store.clone())
        .header_syntax(arguments.syntax.into());
    let options = &arguments.pinning;
    if options.enforce_on_user_ca {
        builder = builder.user_added_roots(UserAddedRoots::EnforcePins);
    }
    if !options.pin.is_empty() {
        let host = Host::parse(uri.host().unwrap_or_default())
            .map_err(|error| Failure::input("--pin", error))?;
        // These pins apply to one request only, so they need no backup pin.
        let mut policy = PinPolicy::without_backup(options.pin.iter().copied())
            .map_err(|error| Failure::input("--pin", error))?;
        if options.include_subdomains {
            policy = policy.include_subdomains();
        }
        builder = builder.static_pins(host, policy);
    }
    if let Some(file) = file {
        // Reports are sent without a proxy, which is checked for the endpoint of the option only.
        builder = builder.pins(pins::without_report_uris(file)?);
    }
    Ok(builder)
}

/// Returns whether the pin file wants connections to the host of this URL to be reported.
fn is_reported_as_unpinned(uri: &Uri, file: Option<&PinFile>, pinning: &Pinning) -> bool {
    let Ok(name) = UnpinnedName::try_from(uri.host().unwrap_or_default()) else {
        return false;
    };
    let policies = match &name {
        UnpinnedName::Host(host) => pinning.policies(host, clock::now()),
        _ => AppliedPolicies::default(),
    };
    let policy = policies.static_policy.as_ref();
    pin_file::unpinned(file, &name, policy) == Some(UnpinnedHosts::Report)
}

/// Prints what the user should know besides the body.
fn print_messages(
    arguments: &Arguments,
    peer: &Peer,
    response: &Response<Incoming>,
    output: Output,
) {
    let connection = response.extensions().get::<VerifiedConnection>();
    if matches!(
        connection.map(VerifiedConnection::decision),
        Some(Decision::Skipped)
    ) {
        output.message(&"pins skipped: the validated chain ends in a user-added root (--user-ca)");
    }
    let noted = response.extensions().get::<Noted>();
    let is_malformed = matches!(noted, Some(Noted::Ignored(IgnoreReason::Header(_))));
    if arguments.verbose {
        print_connection(peer, response, arguments.syntax, output);
    } else if let (Some(_), true, Some(text)) = (
        &arguments.store,
        is_malformed,
        outcome(response, arguments.syntax),
    ) {
        output.message(&format_args!("Public-Key-Pins: {text}"));
    }
}

fn print_connection(peer: &Peer, response: &Response<Incoming>, syntax: Syntax, output: Output) {
    output.message(&format_args!(
        "{:?} {}",
        response.version(),
        response.status()
    ));
    let Some(connection) = response.extensions().get::<VerifiedConnection>() else {
        output.message(&"plain HTTP: the server was not authenticated");
        return;
    };
    let root = peer.roots.root(connection.anchor_origin());
    let decision = decision_text(connection.decision());
    let keys = connection.chain().keys();
    let keys = keys.map(|key| format!("\n  {}", key_lines(&key, "    ")));
    output.message(&format_args!(
        "pin check: {decision}; validated chain to {root}:{}",
        keys.collect::<String>()
    ));
    if let Some(text) = outcome(response, syntax) {
        output.message(&format_args!("Public-Key-Pins: {text}"));
    }
}

fn response_json(
    uri: &Uri,
    parts: &http::response::Parts,
    noted: Option<String>,
    body: &Bytes,
) -> Value {
    let connection = parts.extensions.get::<VerifiedConnection>();
    let host = uri.host().and_then(|host| Host::parse(host).ok());
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]));
    json!({
        "url": uri.to_string(),
        "status": parts.status.as_u16(),
        "version": format!("{:?}", parts.version),
        "host": host.as_ref().map(Host::as_str),
        "decision": connection.map_or("not-pinned", |known| decision_text(known.decision())),
        "anchor_origin": connection.map(|known| known.anchor_origin().to_string()),
        "chain": connection.map_or_else(Vec::new, |known| chain_json(known.chain())),
        "noted": noted,
        "headers": headers.collect::<Vec<_>>(),
        "body": String::from_utf8_lossy(body),
    })
}

/// The longest body with `--json`, which is kept in memory more than once.
const MAX_BODY: usize = 64 << 20;

fn decision_text(decision: &Decision) -> &'static str {
    match decision {
        Decision::Pass => "pass",
        Decision::Skipped => "skipped",
        Decision::ReportOnly(_) => "report-only",
        Decision::Refuse(_) => "refuse",
        _ => "not-pinned",
    }
}

/// Returns the effect of the response's `Public-Key-Pins` header, if it has one.
fn outcome<B>(response: &Response<B>, syntax: Syntax) -> Option<String> {
    let noted = response.extensions().get::<Noted>()?;
    Some(match noted {
        Noted::Added => "added".to_owned(),
        Noted::Refreshed => "refreshed".to_owned(),
        Noted::Removed(reason) => format!("removed: {reason}"),
        Noted::Ignored(IgnoreReason::NoConnectionData) => {
            "ignored: the connection was not verified".to_owned()
        }
        Noted::Ignored(reason) => {
            // RFC 7469 section 2.3.1: only the first field of a response counts.
            let value = response.headers().get("public-key-pins");
            let hint = match (reason, value) {
                (IgnoreReason::Header(_), Some(value)) => {
                    Field::Pins.hint(value.as_bytes(), syntax)
                }
                _ => None,
            };
            let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
            format!("ignored: {reason}{hint}")
        }
        _ => "unknown".to_owned(),
    })
}

const EXAMPLES: &str = "\
Examples:
  pinhold get example.com --pin sha256/BASE64 --pin sha256/BACKUP
  pinhold get example.com --store noted-pins.jsonl -v
  pinhold get intranet.example --ca root.pem --timeout 5";
