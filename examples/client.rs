//! A pinned hyper client: `cargo run --example client -- https://example.com/ PIN BACKUP`.
#![allow(clippy::print_stdout, reason = "the example prints its result")]

use std::error::Error;
use std::process::ExitCode;

use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use pinhold::{PinPolicy, PinViolation, Pinning, PinningConnector, VerifiedConnection};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [url, pins @ ..] = &arguments[..] else {
        return Err("usage: client URL PIN BACKUP, where a pin is sha256/ and base64".into());
    };
    let url = url.parse::<http::Uri>()?;
    let host = url.scheme().and_then(|_| url.host());
    let host = host.ok_or("the URL has no scheme or no host")?;
    let pinning = Pinning::builder()
        .static_pins(host, PinPolicy::new(pins)?)
        .build()?;
    let connector = PinningConnector::builder(pinning)
        .with_webpki_roots()
        .https_only()
        .build()?;
    let client = Client::builder(TokioExecutor::new()).build::<_, String>(connector);
    let response = match client.get(url).await {
        Ok(response) => response,
        Err(error) => {
            let violation = PinViolation::find(&error).ok_or(error)?;
            eprintln!("{violation}");
            return Ok(ExitCode::from(90));
        }
    };
    let connection = response.extensions().get::<VerifiedConnection>();
    let decision = connection.map(VerifiedConnection::decision);
    println!("{}, pins: {decision:?}", response.status());
    Ok(ExitCode::SUCCESS)
}
