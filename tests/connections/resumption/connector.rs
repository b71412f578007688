//! Resumption through the connector, which checks resumed sessions with its own pins.

use std::sync::atomic::Ordering;

use hyper_util::rt::TokioIo;
use pinhold::{Decision, PinViolation, Pinning, PinningConnector, PinningVerifier};
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

use super::{Fixture, fixtures};
use crate::common::server::{Loopback, Names, Server, answer};
use crate::common::validated::built_in_anchors;
use crate::common::{policy_with, unrelated_pin};

/// Connects and returns the kind of handshake and the decision, or the violation.
async fn connect(
    connector: &PinningConnector<Loopback>,
) -> Result<(HandshakeKind, Decision), PinViolation> {
    let uri = http::Uri::from_static("https://example.com/");
    match connector.clone().oneshot(uri).await {
        Ok(mut stream) => {
            let verified = stream.verified().unwrap().clone();
            read_response(&mut stream).await;
            let kind = if verified.is_resumed() {
                HandshakeKind::Resumed
            } else {
                HandshakeKind::Full
            };
            Ok((kind, verified.decision().clone()))
        }
        Err(error) => Err(PinViolation::find(&error).unwrap_or_else(|| panic!("{error:?}"))),
    }
}

/// Sends a request and reads to the end, including session tickets.
async fn read_response(stream: &mut (impl hyper::rt::Read + hyper::rt::Write + Unpin)) {
    let mut stream = TokioIo::new(stream);
    let request = b"GET / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200"));
}

/// Serves the fixture on a loopback port and builds a connector with this configuration.
async fn serve(fixture: &Fixture, config: ClientConfig) -> (Server, PinningConnector<Loopback>) {
    let server = Server::with_config((*fixture.server).clone(), answer(&[])).await;
    let names = Names::new([("example.com", &server)]);
    let connector = PinningConnector::builder(fixture.pinning.clone())
        .with_tls_config(config)
        .http1_only()
        .wrap_connector(Loopback::new(&names))
        .unwrap();
    (server, connector)
}

#[tokio::test]
async fn attack_4_the_connector_resumes_no_session_that_the_pins_refuse() {
    for fixture in fixtures() {
        fixture.pin_to(policy_with(fixture.leaf.pin()));
        let (_server, connector) = serve(&fixture, (*fixture.client).clone()).await;
        let pass = |kind| (kind, "Pass".to_owned());
        let visit = async || {
            let outcome = connect(&connector).await;
            outcome.map(|(kind, decision)| (kind, format!("{decision:?}")))
        };
        assert_eq!(visit().await.unwrap(), pass(HandshakeKind::Full));
        assert_eq!(visit().await.unwrap(), pass(HandshakeKind::Resumed));
        let new = fixture.new_leaf();
        fixture.pin_to(policy_with(new.pin()));
        visit().await.unwrap_err();
        fixture.swap.set(&new);
        assert_eq!(visit().await.unwrap(), pass(HandshakeKind::Full));
    }
}

/// The configuration was built with other pins, so its resumption check does not apply the pins of
/// the connector.
#[tokio::test]
async fn a_session_refused_by_the_pins_of_the_connector_alone_is_replaced_by_a_full_handshake() {
    for fixture in fixtures() {
        let other = Pinning::builder().time_provider(fixture.clock.clone());
        let config = PinningVerifier::builder(other.build().unwrap())
            .with_anchors(built_in_anchors(&[&fixture.root]))
            .with_provider(fixture.client.crypto_provider().clone())
            .client_config();
        let (_server, connector) = serve(&fixture, config.unwrap()).await;
        let kind = async || connect(&connector).await.map(|(kind, _)| kind);
        fixture.pin_to(policy_with(fixture.leaf.pin()));
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Resumed);
        let new = fixture.new_leaf();
        fixture.swap.set(&new);
        fixture.pin_to(policy_with(new.pin()));
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
    }
}

/// Without the resumption check, the connector checks a resumed session itself and retries with a
/// full handshake.
#[tokio::test]
async fn attack_4_the_connector_checks_sessions_of_a_store_without_resumption_check() {
    for fixture in fixtures() {
        fixture.pin_to(policy_with(fixture.leaf.pin()));
        let mut config = (*fixture.client).clone();
        config.resumption = Resumption::in_memory_sessions(64);
        let (server, connector) = serve(&fixture, config).await;
        let kind = async || connect(&connector).await.map(|(kind, _)| kind);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Resumed);
        // The server resumes the old session, whose key is no longer pinned; a second connection
        // without resumption follows.
        let new = fixture.new_leaf();
        fixture.pin_to(policy_with(new.pin()));
        fixture.swap.set(&new);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
        assert_eq!(
            server.requests.load(Ordering::SeqCst),
            3,
            "no request was sent over the refused connection"
        );
        fixture.pin_to(policy_with(unrelated_pin()));
        let violation = kind().await.unwrap_err();
        assert_eq!(violation.chain().fingerprints()[0], new.pin());
    }
}

/// The session was established by a handshake outside the connector.
#[tokio::test]
async fn the_connector_does_not_resume_a_session_established_outside_it() {
    for fixture in fixtures() {
        let (_server, connector) = serve(&fixture, (*fixture.client).clone()).await;
        fixture.assert_full();
        fixture.assert_resumed();
        let (kind, _) = connect(&connector).await.unwrap();
        assert_eq!(kind, HandshakeKind::Full);
        let (kind, _) = connect(&connector).await.unwrap();
        assert_eq!(kind, HandshakeKind::Resumed);
    }
}
