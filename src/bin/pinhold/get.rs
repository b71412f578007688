//! `pinhold get`: a request over a pinned connection.

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

use crate::network::{self, Network};
use crate::output::{self, Failure, Output};
use crate::reporting::Reporting;
use crate::store;

#[derive(Args)]
pub(crate) struct Arguments {
    /// What to fetch; redirects are not followed
    url: String,
    /// A key that the validated chain must hold; of several, one is enough
    #[arg(long = "pin", value_name = "FINGERPRINT")]
    pins: Vec<SpkiFingerprint>,
    /// Let the pins cover subdomains of the host, too
    #[arg(long, requires = "pins")]
    include_subdomains: bool,
    /// Enforce the noted pins of this file, and note there what the server asks for
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Report a pin violation to this endpoint, as RFC 7469 section 3 has it
    #[arg(long, value_name = "URL")]
    report_to: Option<ReportUri>,
    /// Tell on standard error what the connection was
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    network: Network,
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
        let begun = Reporting::begin(builder, to, &arguments.network)?;
        (builder, reporting) = (begun.0, Some(begun.1));
    }
    let pinning = builder.build();
    let pinning = pinning.map_err(|error| Failure::Usage(error.to_string()))?;
    let response = fetch(&arguments, &uri, pinning.clone()).await;
    if let Some(reporting) = &reporting {
        reporting.conclude(&pinning, output);
    }
    // Also a mere refresh, and before the body, which may be endless.
    let stored = store.durable().await;
    if let Err(error) = &stored {
        output.remark(error);
    }
    let printed = match response {
        Ok(response) => print(&arguments, &uri, response, &stored, output).await,
        Err(failure) => Err(failure),
    };
    match (printed, stored) {
        (Ok(()) | Err(Failure::Closed), Err(_)) => Err(Failure::Told),
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
    client.call(request).await.map_err(Failure::of_request)
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
        output.remark(&"pins skipped: the chain ends in a user-added root");
    }
    if arguments.verbose {
        remark_on(&response, output);
    }
    if output.is_json() {
        let (parts, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map_err(Failure::of_request)?
            .to_bytes();
        let mut result = describe(uri, &parts, &body);
        if let (Some(_), Value::Object(fields)) = (&arguments.store, &mut result) {
            fields.insert("stored".to_owned(), stored.is_ok().into());
        }
        return output.print(&result, &"");
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(Failure::of_request)?.into_data() {
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
        // As with curl, a single pin is the caller's choice.
        let mut policy = PinPolicy::without_backup(arguments.pins.iter().copied())
            .map_err(|error| Failure::input("--pin", error))?;
        if arguments.include_subdomains {
            policy = policy.include_subdomains();
        }
        builder = builder.static_pins(host, policy);
    }
    Ok(builder)
}

fn remark_on(response: &Response<Incoming>, output: Output) {
    output.remark(&format_args!(
        "{:?} {}",
        response.version(),
        response.status()
    ));
    let Some(connection) = response.extensions().get::<VerifiedConnection>() else {
        output.remark(&"plain http: nothing was verified");
        return;
    };
    let origin = connection.anchor_origin();
    let decision = decision(connection.decision());
    output.remark(&format_args!(
        "pins: {decision}; validated chain to a root of origin {origin}:"
    ));
    for key in connection.chain().keys() {
        output.remark(&format_args!(
            "  {} {:<12} {}",
            key.fingerprint, key.role, key.subject
        ));
    }
    if let Some(noted) = response.extensions().get::<Noted>() {
        output.remark(&format_args!("Public-Key-Pins: {}", outcome(noted)));
    }
}

fn describe(uri: &Uri, parts: &http::response::Parts, body: &Bytes) -> Value {
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
        "decision": connection.map_or("not-pinned", |known| decision(known.decision())),
        "anchor_origin": connection.map(|known| known.anchor_origin().to_string()),
        "chain": connection.map_or_else(Vec::new, |known| output::chain(known.chain())),
        "noted": parts.extensions.get::<Noted>().map(outcome),
        "headers": headers.collect::<Vec<_>>(),
        "body": String::from_utf8_lossy(body),
    })
}

fn decision(decision: &Decision) -> &'static str {
    match decision {
        Decision::Pass => "pass",
        Decision::Skipped => "skipped",
        Decision::ReportOnly(_) => "report-only",
        Decision::Refuse(_) => "refuse",
        _ => "not-pinned",
    }
}

fn outcome(noted: &Noted) -> String {
    match noted {
        Noted::Added => "added".to_owned(),
        Noted::Refreshed => "refreshed".to_owned(),
        Noted::Removed(reason) => format!("removed: {reason}"),
        Noted::Ignored(reason) => format!("ignored: {reason}"),
        _ => "unknown".to_owned(),
    }
}
