//! reqwest 0.12 with pinhold's `ClientConfig`: the current pins are enforced on each handshake,
//! full or resumed, also of redirects. They are not enforced on open connections, and no header is
//! noted. reqwest's own TLS settings (roots, versions, identity, SNI) have no effect.

use std::error::Error;

use pinhold::{BuildError, PinPolicy, PinViolation, Pinning, TrustAnchors};
use reqwest::ClientBuilder;

/// Returns a builder with the configuration. reqwest takes it by value, not in an `Arc`, and
/// `build` refuses a configuration of another version of rustls.
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
