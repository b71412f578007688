//! Pins in the life of a TLS session: resumption, early data, alerts, shared connections.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::io::{Read, Write};
use std::sync::Arc;

use common::pki::{Ca, Leaf};
use common::server::{Loopback, Names, Server, client, get, server_config};
use common::validated::trusting;
use common::{Clock, foreign_pin, header_value, pinned_to, provider};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::{
    BuildError, IgnoreReason, NotePinsLayer, Noted, PinViolation, Pinning, PinningConnector,
    PinningVerifier, VerifiedConnection,
};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};
use tower_layer::Layer;

const PKP: &str = "public-key-pins";

const VERSIONS: [&[&SupportedProtocolVersion]; 2] =
    [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];

fn unpinned() -> Pinning {
    let builder = Pinning::builder().time_provider(Clock::new());
    builder.build().unwrap()
}

fn client_config(
    pinning: &Pinning,
    root: &Ca,
    versions: &'static [&'static SupportedProtocolVersion],
) -> ClientConfig {
    PinningVerifier::builder(pinning.clone(), trusting(&[root]))
        .with_provider(provider())
        .with_protocol_versions(versions)
        .client_config()
        .unwrap()
}

/// Moves all that `from` has to say to `to`.
fn transfer(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut bytes = &bytes[..];
    while !bytes.is_empty() {
        to.read_tls(&mut bytes).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// Two ends that know nothing of each other yet.
fn ends(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> [Connection; 2] {
    let name = ServerName::try_from("example.com").unwrap();
    [
        ClientConnection::new(client.clone(), name).unwrap().into(),
        ServerConnection::new(server.clone()).unwrap().into(),
    ]
}

/// A handshake and two bytes from the server, so that its tickets have come, too.
fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> HandshakeKind {
    let [mut client, mut server] = ends(client, server);
    while client.is_handshaking() || server.is_handshaking() {
        transfer(&mut client, &mut server).unwrap();
        transfer(&mut server, &mut client).unwrap();
    }
    server.writer().write_all(b"ok").unwrap();
    transfer(&mut server, &mut client).unwrap();
    let mut bytes = [0; 2];
    client.reader().read_exact(&mut bytes).unwrap();
    assert_eq!(client.handshake_kind(), server.handshake_kind());
    client.handshake_kind().unwrap()
}

#[test]
fn no_session_is_resumed_past_the_verifier() {
    // D-12, 7469-2.6-i
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    for versions in VERSIONS {
        let server = Arc::new(server_config(&leaf, provider(), versions));
        let pinning = unpinned();
        let config = client_config(&pinning, &root, versions);
        assert!(!config.enable_early_data);

        let mut resuming = config.clone();
        let config = Arc::new(config);
        for _ in 0..3 {
            assert_eq!(handshake(&config, &server), HandshakeKind::Full);
        }
        // The server would have resumed: with rustls's own default it does.
        resuming.resumption = Resumption::default();
        let resuming = Arc::new(resuming);
        assert_eq!(handshake(&resuming, &server), HandshakeKind::Full);
        assert_eq!(handshake(&resuming, &server), HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn the_connector_neither_resumes_nor_sends_early_data() {
    // D-12, 7469-2.6-i
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    for versions in VERSIONS {
        let server = Server::with_config(
            server_config(&leaf, provider(), versions),
            common::server::answer(&[]),
        )
        .await;
        let pinning = unpinned();
        let mut config = client_config(&pinning, &root, versions);
        config.resumption = Resumption::default();
        let builder = || PinningConnector::builder(pinning.clone()).with_tls_config(config.clone());
        let names = Names::new([("example.com", &server)]);
        let connector = builder().wrap_connector(Loopback::new(&names)).unwrap();
        let client =
            Client::builder(TokioExecutor::new()).build::<_, Empty<bytes::Bytes>>(connector);
        let mut client = NotePinsLayer::new(pinning.clone()).layer(client);
        // Other ports are other connections to the pool, but one TLS name.
        for uri in [
            "https://example.com:1/",
            "https://example.com:2/",
            "https://example.com:3/",
        ] {
            let response = get(&mut client, uri).await.unwrap();
            assert!(
                response.extensions().get::<VerifiedConnection>().is_some(),
                "{uri}"
            );
        }
        config.enable_early_data = true;
        let early = PinningConnector::builder(pinning)
            .with_tls_config(config)
            .build();
        assert!(matches!(early, Err(BuildError::EarlyData)));
    }
}

#[test]
fn the_server_is_told_by_an_alert_and_the_client_by_a_typed_error() {
    // D-23
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    for versions in VERSIONS {
        let pinning = Pinning::builder()
            .static_pins("example.com", pinned_to(foreign_pin()))
            .time_provider(Clock::new())
            .build()
            .unwrap();
        let config = Arc::new(client_config(&pinning, &root, versions));
        let server = Arc::new(server_config(&leaf, provider(), versions));
        let [mut client, mut server] = ends(&config, &server);
        transfer(&mut client, &mut server).unwrap();
        let error = transfer(&mut server, &mut client).unwrap_err();
        assert!(PinViolation::find(&error).is_some(), "{error:?}");
        let alert = transfer(&mut client, &mut server).unwrap_err();
        let expected = rustls::Error::AlertReceived(AlertDescription::CertificateUnknown);
        assert_eq!(alert, expected);
    }
}

#[tokio::test]
async fn no_connection_is_shared_with_another_host() {
    // D-13
    let root = Ca::root("Root");
    // One address, one certificate, HTTP/2: what a browser would coalesce.
    let leaf = root.leaf(&["example.com", "pinned.example", "free.example"]);
    let server = Server::start(&leaf, &[]).await;
    let names = ["example.com", "pinned.example", "free.example"];
    let names = Names::new(names.map(|name| (name, &server)));
    let pinning = Pinning::builder()
        .static_pins("pinned.example", pinned_to(foreign_pin()))
        .time_provider(Clock::new())
        .build()
        .unwrap();
    let mut client = client(&pinning, trusting(&[&root]), &names);
    let response = get(&mut client, "https://example.com/").await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let error = get(&mut client, "https://pinned.example/")
        .await
        .unwrap_err();
    assert!(PinViolation::find(&error).is_some());
    assert_eq!(server.requests(), 1);
    let response = get(&mut client, "https://free.example/").await.unwrap();
    let connection = response.extensions().get::<VerifiedConnection>().unwrap();
    assert_eq!(connection.host().unwrap().as_str(), "free.example");
}

#[tokio::test]
async fn a_header_on_an_old_connection_is_judged_by_the_pins_of_today() {
    // D-13, 7469-2.5-b
    let root = Ca::root("Root");
    let (genuine, other): (Leaf, Leaf) = (root.leaf(&["example.com"]), root.leaf(&["example.com"]));
    let fields = [(PKP, &*header_value(other.pin(), "max-age=100"))];
    let server = Server::start(&other, &fields).await;
    let pinning = Pinning::builder()
        .static_pins("example.com", pinned_to(genuine.pin()))
        .time_provider(Clock::new())
        .build()
        .unwrap();
    pinning.disable_all_static();
    let names = Names::new([("example.com", &server)]);
    let mut client = client(&pinning, trusting(&[&root]), &names);
    let response = get(&mut client, "https://example.com/").await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Noted::Added));
    pinning.store().clear();
    pinning.restore_static();
    // What the old connection still says changes nothing.
    let response = get(&mut client, "https://example.com/").await.unwrap();
    let failed = Noted::Ignored(IgnoreReason::PinsFailed);
    assert_eq!(response.extensions().get(), Some(&failed));
    assert!(pinning.store().list().is_empty());
}
