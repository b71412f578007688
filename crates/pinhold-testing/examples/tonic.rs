//! An application with tonic, and the unit tests of what it shows when pins refuse a server.
//!
//! With a feature `tls-*`, tonic does not accept an `https` endpoint over a connector; then map the
//! scheme, as `tests/stacks/examples/tonic.rs` does.
#![allow(clippy::print_stdout, reason = "prints the screen")]

use std::error::Error;

use pinhold::{PinViolation, Pinning, PinningConnector, TrustAnchors};
use pinhold_testing::{LoopbackConnector, TestServer};
use tonic::transport::{Channel, Endpoint};

type BoxError = Box<dyn Error + Send + Sync>;

/// Opens the channel of the application. It has the type of its own inner connector here.
async fn open(
    url: String,
    pinning: Pinning,
    anchors: TrustAnchors,
    inner: LoopbackConnector,
) -> Result<Channel, BoxError> {
    let connector = PinningConnector::builder(pinning).with_anchors(anchors);
    let connector = connector.https_only().http2_only().wrap_connector(inner)?;
    let endpoint = Endpoint::from_shared(url)?;
    Ok(endpoint.connect_with_connector(connector).await?)
}

fn refusal_screen(violation: &PinViolation) -> String {
    let host = violation.host();
    format!("{host} did not prove its identity. Please update this application.")
}

/// Opens a channel to a test server, with the pins of the genuine server.
async fn open_to(server: &TestServer) -> Result<Channel, BoxError> {
    let pinning = Pinning::builder().static_pins("api.example", server.policy());
    let (anchors, inner) = (server.anchors(), server.connector());
    open(server.url(), pinning.build()?, anchors, inner).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let server = TestServer::mis_issued("api.example").await?;
    if let Err(error) = open_to(&server).await {
        let violation = PinViolation::find(&*error).ok_or(error)?;
        println!("{}", refusal_screen(&violation));
    }
    Ok(())
}

#[tokio::test]
async fn the_screen_is_shown_for_a_mis_issued_chain() {
    let server = TestServer::mis_issued("api.example").await.unwrap();
    let violation = PinViolation::find(&*open_to(&server).await.unwrap_err()).unwrap();
    assert!(refusal_screen(&violation).starts_with("api.example did not prove"));
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_channel_is_opened_to_the_genuine_server() {
    let server = TestServer::good("api.example").await.unwrap();
    open_to(&server).await.unwrap();
}
