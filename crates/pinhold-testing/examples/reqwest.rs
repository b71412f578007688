//! An application with reqwest, and the unit tests of what it shows when pins refuse a server.
#![allow(clippy::print_stdout, reason = "prints the screen")]

use std::error::Error;

use pinhold::{PinViolation, Pinning, UserAddedRoots};
use pinhold_testing::TestServer;
use reqwest::Client;

/// Returns the text to show: the body of the response, or the reason why nothing was sent.
async fn fetch(client: &Client, url: &str) -> Result<String, Box<dyn Error>> {
    match client.get(url).send().await {
        Ok(response) => Ok(response.text().await?),
        Err(error) => match PinViolation::find(&error) {
            Some(violation) => Ok(refusal_screen(&violation)),
            None => Err(error.into()),
        },
    }
}

fn refusal_screen(violation: &PinViolation) -> String {
    let issuer = violation.chain().keys().last();
    let issuer = issuer.map_or_else(|| "an unknown CA".to_owned(), |key| key.subject);
    let host = violation.host();
    format!("{host} has a certificate of {issuer}, which is not expected. Nothing was sent.")
}

/// Fetches from a test server, with the pins of the genuine server.
async fn fetch_from(server: &TestServer) -> Result<String, Box<dyn Error>> {
    let policy = server.policy();
    let policy = policy.user_added_roots(UserAddedRoots::EnforcePins);
    let pinning = Pinning::builder().static_pins("api.example", policy);
    let builder = pinning.build()?.reqwest_client_builder(server.anchors())?;
    let builder = builder.no_proxy().resolve("api.example", server.addr());
    fetch(&builder.build()?, &server.url()).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = TestServer::inspected("api.example").await?;
    println!("{}", fetch_from(&server).await?);
    Ok(())
}

#[tokio::test]
async fn the_screen_names_the_ca_of_a_proxy_that_decrypts() {
    let server = TestServer::inspected("api.example").await.unwrap();
    let shown = fetch_from(&server).await.unwrap();
    assert!(shown.contains("Inspection Root CA"), "{shown}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn the_screen_is_not_shown_for_the_genuine_server() {
    let server = TestServer::good("api.example").await.unwrap();
    assert_eq!(fetch_from(&server).await.unwrap(), "ok");
}
