//! Pins in the life of a TLS session: resumption, early data, alerts, shared connections.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;

use common::header::parse;
use common::pki::{Ca, Leaf};
use common::server::{Names, Server, client, get, server_config};
use common::tls::{VERSIONS, handshake, new_connections, transfer};
use common::validated::built_in_anchors;
use common::{Clock, header_value, now, policy_with, provider, unrelated_pin};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::{
    BuildError, PinViolation, Pinning, PinningConnector, PinningVerifier, VerifiedConnection,
};
use rustls::{AlertDescription, ClientConfig, HandshakeKind, SupportedProtocolVersion};

const PKP: &str = "public-key-pins";

fn unpinned() -> Pinning {
    let builder = Pinning::builder().time_provider(Clock::new());
    builder.build().unwrap()
}

fn client_config(
    pinning: &Pinning,
    root: &Ca,
    versions: &'static [&'static SupportedProtocolVersion],
) -> ClientConfig {
    PinningVerifier::builder(pinning.clone(), built_in_anchors(&[root]))
        .with_provider(provider())
        .with_protocol_versions(versions)
        .client_config()
        .unwrap()
}

#[test]
fn no_session_is_resumed_past_the_pins() {
    // D-12, 7469-2.6-i
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    for versions in VERSIONS {
        let server = Arc::new(server_config(&leaf, provider(), versions));
        let pinning = unpinned();
        let config = Arc::new(client_config(&pinning, &root, versions));
        let visit = || handshake(&config, &server, "example.com");
        assert_eq!(visit().unwrap(), HandshakeKind::Full);
        assert_eq!(visit().unwrap(), HandshakeKind::Resumed);
        let replaced = pinning.replace_pins([("example.com", policy_with(unrelated_pin()))]);
        replaced.unwrap();
        assert!(PinViolation::find(&visit().unwrap_err()).is_some());
    }
}

#[tokio::test]
async fn the_connector_sends_no_early_data() {
    // D-12, 7469-2.6-i
    let root = Ca::root("Root");
    let mut config = client_config(&unpinned(), &root, rustls::ALL_VERSIONS);
    assert!(!config.enable_early_data);
    config.enable_early_data = true;
    let early = PinningConnector::builder(unpinned())
        .with_tls_config(config)
        .build();
    assert!(matches!(early, Err(BuildError::EarlyData)));
}

#[test]
fn the_server_is_told_by_an_alert_and_the_client_by_a_typed_error() {
    // D-23
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    for versions in VERSIONS {
        let pinning = Pinning::builder()
            .static_pins("example.com", policy_with(unrelated_pin()))
            .time_provider(Clock::new())
            .build()
            .unwrap();
        let config = Arc::new(client_config(&pinning, &root, versions));
        let server = Arc::new(server_config(&leaf, provider(), versions));
        let [mut client, mut server] = new_connections(&config, &server, "example.com");
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
        .static_pins("pinned.example", policy_with(unrelated_pin()))
        .time_provider(Clock::new())
        .build()
        .unwrap();
    let mut client = client(&pinning, built_in_anchors(&[&root]), &names);
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
        .static_pins("example.com", policy_with(genuine.pin()))
        .time_provider(Clock::new())
        .build()
        .unwrap();
    pinning.disable_all_static();
    let names = Names::new([("example.com", &server)]);
    let mut client = client(&pinning, built_in_anchors(&[&root]), &names);
    let response = get(&mut client, "https://example.com/").await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Noted::Added));
    pinning.store().clear();
    pinning.restore_static();
    // What the old connection still says changes nothing, and it is used no more.
    let header = parse(header_value(other.pin(), "max-age=100")).unwrap();
    let old = response.extensions().get::<VerifiedConnection>().unwrap();
    let host = old.host().unwrap();
    let noted = pinning.note(host, &header, old.chain(), now());
    assert_eq!(noted, Noted::Ignored(IgnoreReason::PinsFailed));
    assert!(pinning.store().list().is_empty());
    let error = get(&mut client, "https://example.com/").await.unwrap_err();
    assert!(PinViolation::find(&error).is_some());
}
