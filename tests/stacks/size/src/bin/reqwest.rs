//! Sends one request by reqwest 0.13, with plain rustls or with pinhold's configuration.

use std::error::Error;

fn config() -> Result<rustls::ClientConfig, Box<dyn Error>> {
    #[cfg(feature = "pinned")]
    return Ok(pinhold::PinningVerifier::builder(pinhold_size::pinning()?)
        .with_anchors(pinhold::TrustAnchors::webpki_roots())
        .with_provider(pinhold_size::provider())
        .client_config()?);
    #[cfg(not(feature = "pinned"))]
    {
        let mut config = pinhold_size::plain()?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args()
        .nth(1)
        .ok_or("expected a URI as argument")?;
    let builder = reqwest::Client::builder().tls_backend_preconfigured(config()?);
    match builder.build()?.get(uri).send().await {
        Ok(response) => println!("{:?}", response.bytes().await?),
        Err(error) => pinhold_size::print_error(&error),
    }
    Ok(())
}
