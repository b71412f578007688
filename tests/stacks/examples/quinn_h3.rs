//! QUIC and HTTP/3 with pinhold's `ClientConfig`: the current pins are enforced on each handshake,
//! full or resumed. Early data must stay disabled. quinn turns a refusal into text, so an observer
//! receives the violation. Pins are not enforced on open connections: `close` them when pins
//! change.

use std::error::Error;
use std::future::poll_fn;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use pinhold::{Event, PinPolicy, Pinning, TrustAnchors};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};

type BoxError = Box<dyn Error + Send + Sync>;
pub type Requests = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

pub fn config(pinning: &Pinning, anchors: TrustAnchors) -> Result<ClientConfig, BoxError> {
    let mut config = pinning.client_config(anchors)?;
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = QuicClientConfig::try_from(config)?;
    Ok(ClientConfig::new(Arc::new(config)))
}

pub async fn requests(connection: Connection) -> Result<Requests, BoxError> {
    let connection = h3_quinn::Connection::new(connection);
    let (mut driver, requests) = h3::client::new(connection).await?;
    tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
    Ok(requests)
}

pub async fn get(requests: &mut Requests, uri: Uri) -> Result<StatusCode, BoxError> {
    let mut stream = requests.send_request(Request::get(uri).body(())?).await?;
    stream.finish().await?;
    Ok(stream.recv_response().await?.status())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let policy = PinPolicy::new([
        "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
        "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    ])?;
    let builder = Pinning::builder().static_pins("cloudflare-quic.com", policy);
    let pinning = builder.observer(|event| {
        if let Event::Violation(report) = event {
            println!("{}", report.violation());
        }
    });
    let config = config(&pinning.build()?, TrustAnchors::webpki_roots())?;
    let endpoint = Endpoint::client(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))?;
    let mut found = tokio::net::lookup_host("cloudflare-quic.com:443").await?;
    let address = found.next().ok_or("no address")?;
    let connecting = endpoint.connect_with(config, address, "cloudflare-quic.com")?;
    let mut requests = requests(connecting.await?).await?;
    let uri = Uri::from_static("https://cloudflare-quic.com/");
    println!("{}", get(&mut requests, uri).await?);
    Ok(())
}
