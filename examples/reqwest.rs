//! Public key pinning with reqwest: `cargo run --example reqwest --features reqwest -- URL [PIN]`.
//!
//! Prints the status, the keys of the validated chain, and the outcome of noting the header
//! `Public-Key-Pins`. With a pin, a server is refused if no key of its chain is pinned.
#![allow(clippy::print_stdout, reason = "the example prints its result")]

use std::env;
use std::error::Error;
use std::process::ExitCode;

use pinhold::header::Noted;
use pinhold::reqwest::NotingClient;
use pinhold::{PinPolicy, PinViolation, Pinning, VerifiedConnection};
use reqwest::Url;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let Some(url) = arguments.next() else {
        eprintln!("usage: reqwest URL [PIN], where a PIN is sha256/ and 44 characters of base64");
        return Ok(ExitCode::from(2));
    };
    let url = Url::parse(&url)?;
    let mut pinning = Pinning::builder();
    if let (Some(host), Some(pin)) = (url.host_str(), arguments.next()) {
        // An application should always pin a backup key, too, as `PinPolicy::new` requires.
        pinning = pinning.static_pins(host, PinPolicy::without_backup([pin.as_str()])?);
    }
    let client = NotingClient::builder(pinning.build()?)
        .with_webpki_roots()
        .configure(|builder| builder.user_agent("pinhold-example"))
        .build()?;

    let response = match client.send(client.reqwest().get(url)).await {
        Ok(response) => response,
        Err(error) => match PinViolation::find(&error) {
            Some(violation) => {
                eprintln!("{violation}");
                return Ok(ExitCode::from(90));
            }
            None => return Err(error.into()),
        },
    };
    println!("{} {}", response.status(), response.url());
    if let Some(connection) = response.extensions().get::<VerifiedConnection>() {
        for key in connection.chain().keys() {
            println!("  {} {} {}", key.fingerprint, key.role, key.subject);
        }
    }
    if let Some(noted) = response.extensions().get::<Noted>() {
        println!("  Public-Key-Pins: {noted:?}");
    }
    Ok(ExitCode::SUCCESS)
}
