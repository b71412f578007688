//! reqwest 0.12 with pinhold's `ClientConfig`: each handshake, full or resumed, of each redirect
//! too, is judged by the pins of the moment. An open connection is not, and no header is noted.
//! Settings of reqwest about TLS (roots, versions, identity, SNI) have no effect beside it.

use std::error::Error;

use pinhold::{BuildError, PinPolicy, PinViolation, Pinning, TrustAnchors};
use reqwest::ClientBuilder;

/// The configuration is handed over by value: reqwest takes no `Arc`, and refuses at `build` what
/// is not of its own version of rustls.
pub fn builder(pinning: &Pinning, anchors: TrustAnchors) -> Result<ClientBuilder, BuildError> {
    let config = pinning.client_config(anchors)?;
    Ok(reqwest::Client::builder()
        .use_preconfigured_tls(config)
        .https_only(true))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let policy = PinPolicy::new([
        "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
        "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    ])?;
    let pinning = Pinning::builder()
        .static_pins("example.com", policy)
        .build()?;
    let client = builder(&pinning, TrustAnchors::webpki_roots())?.build()?;
    match client.get("https://example.com/").send().await {
        Ok(response) => println!("{}", response.text().await?),
        Err(error) => match PinViolation::find(&error) {
            Some(violation) => println!("{violation}"),
            None => return Err(error.into()),
        },
    }
    Ok(())
}
