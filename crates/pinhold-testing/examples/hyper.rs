//! An application with hyper, and the unit tests of what it shows when pins refuse a server.
#![allow(clippy::print_stdout, reason = "prints the screen")]

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, connect::Connect};
use hyper_util::rt::TokioExecutor;
use pinhold::{PinViolation, Pinning, PinningConnector};
use pinhold_testing::TestServer;

type BoxError = Box<dyn Error + Send + Sync>;

/// Returns the text to show: the body of the response, or the reason why nothing was sent.
async fn fetch<C>(client: &Client<C, Empty<Bytes>>, url: &str) -> Result<Bytes, BoxError>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    match client.get(url.parse()?).await {
        Ok(response) => Ok(response.into_body().collect().await?.to_bytes()),
        Err(error) => match PinViolation::find(&error) {
            Some(violation) => Ok(refusal_screen(&violation).into()),
            None => Err(error.into()),
        },
    }
}

fn refusal_screen(violation: &PinViolation) -> String {
    let host = violation.host();
    format!("{host} did not prove its identity. Nothing was sent. Please update this application.")
}

/// Fetches from a test server, with the pins of the genuine server.
async fn fetch_from(server: &TestServer) -> Result<Bytes, BoxError> {
    let builder = Pinning::builder().static_pins("api.example", server.policy());
    let builder = PinningConnector::builder(builder.build()?).with_anchors(server.anchors());
    let connector = builder.https_only().wrap_connector(server.connector())?;
    let client = Client::builder(TokioExecutor::new()).build(connector);
    fetch(&client, &server.url()).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let server = TestServer::mis_issued("api.example").await?;
    println!("{}", String::from_utf8_lossy(&fetch_from(&server).await?));
    Ok(())
}

#[tokio::test]
async fn the_screen_is_shown_for_a_mis_issued_chain_and_nothing_is_sent() {
    let server = TestServer::mis_issued("api.example").await.unwrap();
    let shown = fetch_from(&server).await.unwrap();
    assert!(shown.starts_with(b"api.example did not prove its identity."));
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn the_screen_is_not_shown_for_the_genuine_server_or_an_expired_certificate() {
    let good = TestServer::good("api.example").await.unwrap();
    assert_eq!(fetch_from(&good).await.unwrap(), "ok");
    let expired = TestServer::expired("api.example").await.unwrap();
    fetch_from(&expired).await.unwrap_err();
}
