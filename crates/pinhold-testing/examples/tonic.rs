//! An application with tonic, and the unit tests of what it shows when pins refuse a server.
//!
//! With a feature `tls-*`, tonic does not accept an `https` endpoint over a connector; then map the
//! scheme, as `tests/stacks/examples/tonic.rs` does.
#![allow(clippy::print_stdout, reason = "prints the screen")]

use std::error::Error;

use pinhold::{PinViolation, Pinning, PinningConnector};
use pinhold_testing::{LoopbackConnector, TestServer};
use tonic::transport::{Channel, Endpoint};

/// An application has the type of its own inner connector here, or a type parameter.
type Connector = PinningConnector<LoopbackConnector>;

/// Opens the channel of the application, or returns the text to show instead.
async fn open(url: String, connector: Connector) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(url).map_err(|error| error.to_string())?;
    let opened = endpoint.connect_with_connector(connector).await;
    opened.map_err(|error| match PinViolation::find(&error) {
        Some(violation) => refusal_screen(&violation),
        None => format!("No connection: {error}"),
    })
}

fn refusal_screen(violation: &PinViolation) -> String {
    let host = violation.host();
    format!("{host} did not prove its identity. Please update this application.")
}

/// Returns a connector to this server that pins the keys of the genuine one.
fn connector_to(server: &TestServer) -> Result<Connector, Box<dyn Error>> {
    let pinning = Pinning::builder()
        .static_pins("api.example", server.policy())
        .build()?;
    let connector = PinningConnector::builder(pinning).with_anchors(server.anchors());
    let connector = connector.https_only().http2_only();
    Ok(connector.wrap_connector(server.connector())?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = TestServer::mis_issued("api.example").await?;
    match open(server.url(), connector_to(&server)?).await {
        Ok(channel) => println!("{channel:?}"),
        Err(screen) => println!("{screen}"),
    }
    Ok(())
}

#[tokio::test]
async fn the_screen_is_shown_for_a_mis_issued_chain() {
    let server = TestServer::mis_issued("api.example").await.unwrap();
    let opened = open(server.url(), connector_to(&server).unwrap()).await;
    let shown = opened.unwrap_err();
    assert!(
        shown.starts_with("api.example did not prove its identity."),
        "{shown}"
    );
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn the_screen_is_not_shown_for_the_genuine_server() {
    let server = TestServer::good("api.example").await.unwrap();
    open(server.url(), connector_to(&server).unwrap())
        .await
        .unwrap();
}
