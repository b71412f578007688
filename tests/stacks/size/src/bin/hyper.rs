//! Sends one request by hyper-util's client, over hyper-rustls or over `PinningConnector`.

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower_service::Service;

#[cfg(any(
    not(feature = "pinned"),
    all(feature = "static", not(feature = "connector"))
))]
fn client()
-> Result<Client<hyper_rustls::HttpsConnector<HttpConnector>, Empty<Bytes>>, Box<dyn Error>> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut config = pinhold_size::config()?;
    // The builder sets the protocols, and panics if they are set already.
    config.alpn_protocols.clear();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

#[cfg(any(
    feature = "connector",
    all(feature = "pinned", not(feature = "static"))
))]
type Pinned = Client<pinhold::PinningConnector<HttpConnector>, Empty<Bytes>>;

#[cfg(any(
    feature = "connector",
    all(feature = "pinned", not(feature = "static"))
))]
fn pinned_client(pinning: &pinhold::Pinning) -> Result<Pinned, Box<dyn Error>> {
    let connector = pinhold::PinningConnector::builder(pinning.clone())
        .with_provider(pinhold_size::provider())
        .with_webpki_roots()
        .build()?;
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

#[cfg(feature = "connector")]
fn client() -> Result<Pinned, Box<dyn Error>> {
    pinned_client(&pinhold_size::pinning()?)
}

#[cfg(all(feature = "pinned", not(feature = "static")))]
fn client() -> Result<pinhold::layer::NotePins<Pinned>, Box<dyn Error>> {
    use tower_layer::Layer;

    let pinning = pinhold_size::pinning()?;
    let client = pinned_client(&pinning)?;
    Ok(pinhold::NotePinsLayer::new(pinning).layer(client))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args()
        .nth(1)
        .ok_or("expected a URI as argument")?;
    let request = http::Request::get(uri).body(Empty::new())?;
    match client()?.call(request).await {
        Ok(response) => println!("{:?}", response.into_body().collect().await?.to_bytes()),
        Err(error) => pinhold_size::print_error(&error),
    }
    Ok(())
}
