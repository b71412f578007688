//! hyper-rustls with pinhold's `ClientConfig`: the current pins are enforced on each handshake,
//! full or resumed. They are not enforced on open connections, and no header is noted: for both,
//! use `pinhold::PinningConnector`, whose builder has the same method names.

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use pinhold::{BuildError, PinPolicy, PinViolation, Pinning, TrustAnchors};

/// Returns a connector over any inner connector: TCP, a CONNECT tunnel, SOCKS.
pub fn connector<H>(
    pinning: &Pinning,
    anchors: TrustAnchors,
    inner: H,
) -> Result<HttpsConnector<H>, BuildError> {
    let mut config = pinning.client_config(anchors)?;
    // `enable_all_versions` sets the protocols, and the builder panics if they are set already.
    config.alpn_protocols.clear();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_all_versions()
        .wrap_connector(inner))
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
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connector = connector(&pinning, TrustAnchors::webpki_roots(), tcp)?;
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    match client.get("https://example.com/".parse()?).await {
        Ok(response) => println!("{:?}", response.into_body().collect().await?.to_bytes()),
        Err(error) => match PinViolation::find(&error) {
            Some(violation) => println!("{violation}"),
            None => return Err(error.into()),
        },
    }
    Ok(())
}
