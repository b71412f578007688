//! A pinned reqwest client that also notes `Public-Key-Pins` headers:
//! `cargo run --example reqwest --features reqwest -- https://example.com/ PIN BACKUP`.
#![allow(clippy::print_stdout, reason = "the example prints its result")]

use std::error::Error;
use std::process::ExitCode;

use pinhold::reqwest::NotingClient;
use pinhold::{PinPolicy, PinViolation, Pinning, VerifiedConnection, header::Noted};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [url, pins @ ..] = &arguments[..] else {
        return Err("usage: reqwest URL PIN BACKUP, where a pin is sha256/ and base64".into());
    };
    let url = reqwest::Url::parse(url).map_err(|error| error.to_string())?;
    let host = url.host_str().ok_or("the URL has no host")?;
    let pinning = Pinning::builder()
        .static_pins(host, PinPolicy::new(pins)?)
        .build()?;
    let client = NotingClient::builder(pinning).with_webpki_roots().build()?;
    let response = match client.send(client.reqwest().get(url)).await {
        Ok(response) => response,
        Err(error) => {
            let violation = PinViolation::find(&error).ok_or(error)?;
            eprintln!("{violation}");
            return Ok(ExitCode::from(90));
        }
    };
    println!("{} {}", response.status(), response.url());
    if let Some(connection) = response.extensions().get::<VerifiedConnection>() {
        for key in connection.chain().keys() {
            println!("  {} {} {}", key.fingerprint, key.role, key.subject);
        }
    }
    println!("noted: {:?}", response.extensions().get::<Noted>());
    Ok(ExitCode::SUCCESS)
}
