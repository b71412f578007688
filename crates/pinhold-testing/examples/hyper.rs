//! An application with hyper, and the unit tests of what it shows when pins refuse a server.
#![allow(clippy::print_stdout, reason = "prints the screen")]

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::{PinViolation, Pinning, PinningConnector};
use pinhold_testing::{LoopbackConnector, TestServer};

/// An application has the type of its own inner connector here, or a type parameter.
type HttpsClient = Client<PinningConnector<LoopbackConnector>, Empty<Bytes>>;

/// Returns the text to show: the body of the response, or why there is none.
async fn fetch(client: &HttpsClient, url: &str) -> Result<String, Box<dyn Error>> {
    match client.get(url.parse()?).await {
        Ok(response) => {
            let body = response.into_body().collect().await?.to_bytes();
            Ok(String::from_utf8_lossy(&body).into_owned())
        }
        Err(error) => match PinViolation::find(&error) {
            Some(violation) => Ok(refusal_screen(&violation)),
            None => Err(error.into()),
        },
    }
}

fn refusal_screen(violation: &PinViolation) -> String {
    let host = violation.host();
    format!("{host} did not prove its identity. Nothing was sent. Please update this application.")
}

/// Returns a client that connects to this server and pins the keys of the genuine one.
fn client_of(server: &TestServer) -> Result<HttpsClient, Box<dyn Error>> {
    let pinning = Pinning::builder()
        .static_pins("api.example", server.policy())
        .build()?;
    let connector = PinningConnector::builder(pinning).with_anchors(server.anchors());
    let connector = connector.https_only().wrap_connector(server.connector())?;
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = TestServer::mis_issued("api.example").await?;
    println!("{}", fetch(&client_of(&server)?, &server.url()).await?);
    Ok(())
}

#[tokio::test]
async fn the_screen_is_shown_for_a_mis_issued_chain_and_nothing_is_sent() {
    let server = TestServer::mis_issued("api.example").await.unwrap();
    let shown = fetch(&client_of(&server).unwrap(), &server.url())
        .await
        .unwrap();
    assert!(
        shown.starts_with("api.example did not prove its identity."),
        "{shown}"
    );
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn the_screen_is_not_shown_for_the_genuine_server_or_an_expired_certificate() {
    let server = TestServer::good("api.example").await.unwrap();
    let shown = fetch(&client_of(&server).unwrap(), &server.url())
        .await
        .unwrap();
    assert_eq!(shown, "ok");
    let server = TestServer::expired("api.example").await.unwrap();
    fetch(&client_of(&server).unwrap(), &server.url())
        .await
        .unwrap_err();
}
