//! tonic over `PinningConnector`: the current pins are enforced on each handshake and each open
//! channel. tonic's own hook for a verifier (`tls_config_with_verifier`) must not be used for
//! pinning: it makes a configuration with rustls's session cache, which resumes sessions without a
//! check of the pins.

mod raw;

use std::error::Error;

use bytes::Bytes;
use http::{Uri, uri::PathAndQuery};
use pinhold::{PinPolicy, PinViolation, Pinning, PinningConnector};
use raw::Raw;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower::ServiceExt;

/// Returns an endpoint for a connector with [`with_https_scheme`]. Its URI has the scheme `http`,
/// because with any feature `tls-*` tonic makes TLS connections of its own for `https`, and fails.
pub fn endpoint(host: &str, port: u16) -> Result<Endpoint, Box<dyn Error + Send + Sync>> {
    let origin = format!("https://{host}:{port}").parse()?;
    Ok(Endpoint::from_shared(format!("http://{host}:{port}"))?.origin(origin))
}

/// Replaces the scheme of a URI by `https`, for `map_request` of a connector. The connector is
/// `https_only`, so that it refuses to connect if this mapping is forgotten.
pub fn with_https_scheme(uri: Uri) -> Uri {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    Uri::try_from(format!("https://{authority}/")).unwrap_or(uri)
}

/// Makes one call, as a generated client does.
pub async fn call(channel: Channel, path: &'static str) -> Result<Bytes, Status> {
    let mut client = Grpc::new(channel);
    let ready = client.ready().await;
    ready.map_err(|error| Status::from_error(error.into()))?;
    let request = Request::new(Bytes::from_static(b"\x0a\x05world"));
    let answer = client.unary(request, PathAndQuery::from_static(path), Raw);
    Ok(answer.await?.into_inner())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let policy = PinPolicy::new([
        "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
        "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    ])?;
    let pinning = Pinning::builder().static_pins("grpcb.in", policy);
    let connector = PinningConnector::builder(pinning.build()?).with_webpki_roots();
    let connector = connector.https_only().http2_only().build()?;
    let endpoint = endpoint("grpcb.in", 9001)?;
    let channel = endpoint.connect_with_connector_lazy(connector.map_request(with_https_scheme));
    match call(channel, "/hello.HelloService/SayHello").await {
        Ok(answer) => println!("{answer:?}"),
        Err(status) => match PinViolation::find(&status) {
            Some(violation) => println!("{violation}"),
            None => return Err(status.into()),
        },
    }
    Ok(())
}
