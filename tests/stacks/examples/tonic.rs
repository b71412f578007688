//! tonic over `PinningConnector`: each handshake and each open channel is judged by the pins of the
//! moment. tonic's own hook for a verifier (`tls_config_with_verifier`) makes a configuration with
//! rustls's memory of sessions, which resumes whatever the pins say: don't use it for pinning.

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

/// An endpoint for a connector that is [`secured`]. With any feature `tls-*` of tonic, the two must
/// agree on `http`: for `https` tonic would do TLS of its own, and fails without.
pub fn endpoint(host: &str, port: u16) -> Result<Endpoint, Box<dyn Error + Send + Sync>> {
    let origin = format!("https://{host}:{port}").parse()?;
    Ok(Endpoint::from_shared(format!("http://{host}:{port}"))?.origin(origin))
}

/// For `map_request` of a connector that is `https_only`, so that it can't be forgotten.
pub fn secured(uri: Uri) -> Uri {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    Uri::try_from(format!("https://{authority}/")).unwrap_or(uri)
}

/// One call, as a generated client makes it.
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
    let channel = endpoint.connect_with_connector_lazy(connector.map_request(secured));
    match call(channel, "/hello.HelloService/SayHello").await {
        Ok(answer) => println!("{answer:?}"),
        Err(status) => match PinViolation::find(&status) {
            Some(violation) => println!("{violation}"),
            None => return Err(status.into()),
        },
    }
    Ok(())
}
