//! The command `pinhold get`: sends a GET request over a pinned connection.

use std::path::PathBuf;

use clap::Args;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::header::Noted;
use pinhold::policy::ReportUri;
use pinhold::storage::StorageError;
use pinhold::{
    Decision, Host, NotePinsLayer, PinPolicy, PinStore, Pinning, PinningBuilder, SpkiFingerprint,
    VerifiedConnection,
};
use serde_json::{Value, json};
use tower_layer::Layer;
use tower_service::Service;

use crate::network::{self, NetworkOptions};
use crate::output::{self, Failure, Output};
use crate::reporting::Reporting;
use crate::store;

#[derive(Args)]
pub(crate) struct Arguments {
    /// URL to fetch; redirects are not followed
    url: String,
    /// Pin of the URL's host; the validated chain must contain the key of at least one --pin
    #[arg(long = "pin", value_name = "FINGERPRINT")]
    pins: Vec<SpkiFingerprint>,
    /// Apply each --pin to the subdomains of the host, too
    #[arg(long, requires = "pins")]
    include_subdomains: bool,
    /// Enforce the pins noted in this store file, and note the response's Public-Key-Pins header
    /// there; the file is created if it is missing
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Send a report of a pin violation to this endpoint (RFC 7469, section 3)
    #[arg(long, value_name = "URL")]
    report_to: Option<ReportUri>,
    /// Print the response status and the validated chain to standard error
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    network: NetworkOptions,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let uri = network::url(&arguments.url)?;
    let store = match &arguments.store {
        Some(file) => store::open(file)?,
        None => PinStore::in_memory(),
    };
    let mut builder = builder(&arguments, &uri, &store)?;
    let mut reporting = None;
    if let Some(to) = &arguments.report_to {
        let (with_reporter, added) = Reporting::add_to(builder, to, &arguments.network)?;
        (builder, reporting) = (with_reporter, Some(added));
    }
    let pinning = builder.build();
    let pinning = pinning.map_err(|error| Failure::Usage(error.to_string()))?;
    let response = fetch(&arguments, &uri, pinning.clone()).await;
    if let Some(reporting) = &reporting {
        reporting.finish(&pinning, output);
    }
    // Pending changes are written before the body is read, which may be endless. Refreshes are
    // among them: the store would delay their write beyond the end of the program.
    let stored = store.durable().await;
    if let Err(error) = &stored {
        output.message(error);
    }
    let printed = match response {
        Ok(response) => print(&arguments, &uri, response, &stored, output).await,
        Err(failure) => Err(failure),
    };
    match (printed, stored) {
        (Ok(()) | Err(Failure::OutputClosed), Err(_)) => Err(Failure::AlreadyPrinted),
        (printed, _) => printed,
    }
}

async fn fetch(
    arguments: &Arguments,
    uri: &Uri,
    pinning: Pinning,
) -> Result<Response<Incoming>, Failure> {
    let connector = arguments.network.connector(&pinning)?;
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let mut client = NotePinsLayer::new(pinning).layer(client);
    let request = Request::get(uri.clone())
        .header("user-agent", concat!("pinhold/", env!("CARGO_PKG_VERSION")))
        .header("accept", "*/*")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::input(&arguments.url, error))?;
    let response = client.call(request).await;
    response.map_err(|error| Failure::of_request(&arguments.url, error))
}

async fn print(
    arguments: &Arguments,
    uri: &Uri,
    response: Response<Incoming>,
    stored: &Result<(), StorageError>,
    output: Output,
) -> Result<(), Failure> {
    let connection = response.extensions().get::<VerifiedConnection>();
    if matches!(
        connection.map(VerifiedConnection::decision),
        Some(Decision::Skipped)
    ) {
        output.message(&"pins skipped: the validated chain ends in a user-added root");
    }
    if arguments.verbose {
        print_connection(&response, output);
    }
    if output.is_json() {
        let (parts, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| Failure::of_request(&arguments.url, error))?
            .to_bytes();
        let mut result = response_json(uri, &parts, &body);
        if let (Some(_), Value::Object(fields)) = (&arguments.store, &mut result) {
            fields.insert("stored".to_owned(), stored.is_ok().into());
        }
        return output.print(&result, &"");
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::of_request(&arguments.url, error))?;
        if let Ok(bytes) = frame.into_data() {
            output.write(&bytes)?;
        }
    }
    Ok(())
}

fn builder(arguments: &Arguments, uri: &Uri, store: &PinStore) -> Result<PinningBuilder, Failure> {
    let mut builder = Pinning::builder().store(store.clone());
    if !arguments.pins.is_empty() {
        let host = Host::parse(uri.host().unwrap_or_default())
            .map_err(|error| Failure::input("--pin", error))?;
        // These pins apply to one request only, so they need no backup pin.
        let mut policy = PinPolicy::without_backup(arguments.pins.iter().copied())
            .map_err(|error| Failure::input("--pin", error))?;
        if arguments.include_subdomains {
            policy = policy.include_subdomains();
        }
        builder = builder.static_pins(host, policy);
    }
    Ok(builder)
}

fn print_connection(response: &Response<Incoming>, output: Output) {
    output.message(&format_args!(
        "{:?} {}",
        response.version(),
        response.status()
    ));
    let Some(connection) = response.extensions().get::<VerifiedConnection>() else {
        output.message(&"plain HTTP: the server was not authenticated");
        return;
    };
    let origin = connection.anchor_origin();
    let decision = decision_text(connection.decision());
    output.message(&format_args!(
        "pin check: {decision}; validated chain to a trust anchor of origin {origin}:"
    ));
    for key in connection.chain().keys() {
        output.message(&format_args!(
            "  {} {:<12} {}",
            key.fingerprint, key.role, key.subject
        ));
    }
    if let Some(noted) = response.extensions().get::<Noted>() {
        output.message(&format_args!("Public-Key-Pins: {}", outcome_text(noted)));
    }
}

fn response_json(uri: &Uri, parts: &http::response::Parts, body: &Bytes) -> Value {
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
        "chain": connection.map_or_else(Vec::new, |known| output::chain_json(known.chain())),
        "noted": parts.extensions.get::<Noted>().map(outcome_text),
        "headers": headers.collect::<Vec<_>>(),
        "body": String::from_utf8_lossy(body),
    })
}

fn decision_text(decision: &Decision) -> &'static str {
    match decision {
        Decision::Pass => "pass",
        Decision::Skipped => "skipped",
        Decision::ReportOnly(_) => "report-only",
        Decision::Refuse(_) => "refuse",
        _ => "not-pinned",
    }
}

fn outcome_text(noted: &Noted) -> String {
    match noted {
        Noted::Added => "added".to_owned(),
        Noted::Refreshed => "refreshed".to_owned(),
        Noted::Removed(reason) => format!("removed: {reason}"),
        Noted::Ignored(reason) => format!("ignored: {reason}"),
        _ => "unknown".to_owned(),
    }
}
