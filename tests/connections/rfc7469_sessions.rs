//! Pins during the lifetime of TLS sessions and connections: resumption, early data, alerts and
//! shared connections.

use std::sync::Arc;

use crate::common::header::parse;
use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Names, Server, client, get, server_config};
use crate::common::tls::{VERSIONS, handshake, new_connections, transfer};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, header_value, now, policy_with, provider, unrelated_pin};
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
    PinningVerifier::builder(pinning.clone())
        .with_anchors(built_in_anchors(&[root]))
        .with_provider(provider())
        .with_protocol_versions(versions)
        .client_config()
        .unwrap()
}

#[test]
fn no_session_is_resumed_that_fails_the_current_pins() {
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
fn a_refusal_is_an_alert_for_the_server_and_a_typed_error_for_the_client() {
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
    // With one address, one certificate and HTTP/2, a browser would share the connection.
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
async fn a_header_on_an_old_connection_is_checked_with_the_current_pins() {
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
    // A header on the old connection changes nothing, and the connection is not used again.
    let header = parse(header_value(other.pin(), "max-age=100")).unwrap();
    let old = response.extensions().get::<VerifiedConnection>().unwrap();
    let host = old.host().unwrap();
    let noted = pinning.note(host, &header, old.chain(), now());
    assert_eq!(noted, Noted::Ignored(IgnoreReason::PinsFailed));
    assert!(pinning.store().list().is_empty());
    let error = get(&mut client, "https://example.com/").await.unwrap_err();
    assert!(PinViolation::find(&error).is_some());
}
