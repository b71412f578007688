//! Connectors built from a caller's `rustls::ClientConfig`.

use std::sync::Arc;

use pinhold::connector::{ConnectError, PinningConnectorBuilder};
use pinhold::{BuildError, Decision, PinningConnector, PinningVerifier, TrustAnchors};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tower::ServiceExt;

use super::{built_in_anchors, client_with, connection, static_pins, unpinned};
use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Loopback, Names, Server, answer, get, server_config};
use crate::common::{Clock, policy_with, provider, unrelated_pin};

/// Connects to a server with certificates for `example.com` and `other.example`.
async fn connect(root: &Ca, connector: PinningConnectorBuilder) -> Result<(), ConnectError> {
    let server = Server::start(&root.leaf(&["example.com", "other.example"]), &[]).await;
    let loopback = Loopback::new(&Names::new([("example.com", &server)]));
    let connector = connector.wrap_connector(loopback).unwrap();
    let uri = http::Uri::from_static("https://example.com/");
    connector.oneshot(uri).await.map(drop)
}

/// The configuration of a verifier for an unpinned client.
fn unpinned_config(root: &Ca) -> ClientConfig {
    PinningVerifier::builder(unpinned())
        .with_anchors(built_in_anchors(root))
        .with_provider(provider())
        .client_config()
        .unwrap()
}

#[tokio::test]
async fn a_configuration_with_another_verifier_never_connects() {
    let root = Ca::root("Root");
    let mut store = RootCertStore::empty();
    store.add(root.certificate()).unwrap();
    let config = ClientConfig::builder_with_details(provider(), Clock::new())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let connector = PinningConnector::builder(unpinned()).with_tls_config(config);
    let error = connect(&root, connector).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotVerified));
}

/// A configuration may have been built with another `Pinning`.
#[tokio::test]
async fn the_pins_of_the_connector_apply_to_every_configuration() {
    let root = Ca::root("Root");
    let connector = PinningConnector::builder(static_pins(policy_with(unrelated_pin())))
        .with_tls_config(unpinned_config(&root));
    let error = connect(&root, connector).await;
    assert!(matches!(error, Err(ConnectError::Pins(_))));
}

#[tokio::test]
async fn a_verifier_that_checks_another_name_never_connects() {
    let root = Ca::root("Root");
    let mut config = unpinned_config(&root);
    let verifier = PinningVerifier::builder(unpinned()).with_anchors(built_in_anchors(&root));
    let verifier = verifier.with_provider(provider());
    let verifier = OtherName(verifier.verifier_without_resumption_check().unwrap());
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(verifier));
    let connector = PinningConnector::builder(unpinned()).with_tls_config(config);
    let error = connect(&root, connector).await;
    assert!(matches!(error, Err(ConnectError::NotVerified)));
}

/// A session of a caller's own store may have no verified chain. The connector then connects again
/// without resumption.
#[tokio::test]
async fn resumption_that_a_caller_enables_does_not_fail_later_connections() {
    let root = Ca::root("Root");
    let server = Server::start(&root.leaf(&["example.com", "other.example"]), &[]).await;
    let loopback = Loopback::new(&Names::new([("example.com", &server)]));
    let pinning = unpinned();
    let mut config = PinningVerifier::builder(pinning.clone())
        .with_anchors(built_in_anchors(&root))
        .with_provider(provider())
        .client_config()
        .unwrap();
    config.resumption = Resumption::in_memory_sessions(8);
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    let connector = connector.http1_only().wrap_connector(loopback).unwrap();
    for _ in 0..3 {
        let mut client = client_with(&pinning, connector.clone());
        get(&mut client, "https://example.com/").await.unwrap();
    }
}

#[test]
fn a_configuration_with_early_data_is_refused() {
    let root = Ca::root("Root");
    let pinning = unpinned();
    let mut config = PinningVerifier::builder(pinning.clone())
        .with_anchors(built_in_anchors(&root))
        .with_provider(provider())
        .client_config()
        .unwrap();
    config.enable_early_data = true;
    let built = PinningConnector::builder(pinning)
        .with_tls_config(config)
        .build();
    assert!(matches!(built, Err(BuildError::EarlyData)));
}

/// The configuration has anchors and a provider already, and those given beside it would be
/// ignored.
#[test]
fn a_configuration_with_anchors_or_a_provider_beside_it_is_refused() {
    let root = Ca::root("Root");
    type Choose = fn(PinningConnectorBuilder, &Ca) -> PinningConnectorBuilder;
    let anchors: Choose = |builder, root| builder.with_anchors(built_in_anchors(root));
    let choices: [(Choose, &str); 3] = [
        (anchors, "with_anchors"),
        (
            |builder, _| builder.with_provider(provider()),
            "with_provider",
        ),
        (
            |builder, _| builder.with_anchors(TrustAnchors::new()),
            "with_anchors",
        ),
    ];
    for (choose, expected) in choices {
        let builder = || PinningConnector::builder(unpinned());
        let config = || unpinned_config(&root);
        for builder in [
            choose(builder(), &root).with_tls_config(config()),
            choose(builder().with_tls_config(config()), &root),
        ] {
            match builder.build() {
                Err(BuildError::ConflictingTlsSettings { setting }) => {
                    assert_eq!(setting, expected);
                }
                built => panic!("expected a conflict: {built:?}"),
            }
        }
    }
    #[cfg(feature = "webpki-roots")]
    {
        let builder = PinningConnector::builder(unpinned()).with_webpki_roots();
        let built = builder.with_tls_config(unpinned_config(&root)).build();
        let is_conflict = matches!(built, Err(BuildError::ConflictingTlsSettings { .. }));
        assert!(is_conflict);
    }
}

#[tokio::test]
async fn a_client_certificate_of_the_configuration_is_sent() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(leaf.chain.clone(), leaf.key())
        .unwrap();
    server.alpn_protocols = server_config(&leaf, provider(), rustls::ALL_VERSIONS).alpn_protocols;
    let server = Server::with_config(server, answer(&[])).await;
    let pinning = static_pins(policy_with(leaf.pin()));
    let mut config = PinningVerifier::builder(pinning.clone())
        .with_anchors(built_in_anchors(&root))
        .with_provider(provider())
        .client_config()
        .unwrap();
    config.client_auth_cert_resolver = client_certificate(&root.leaf(&["me.example"]));
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    let loopback = Loopback::new(&Names::new([("example.com", &server)]));
    let connector = connector.wrap_connector(loopback).unwrap();
    let response = get(
        &mut client_with(&pinning, connector),
        "https://example.com/",
    )
    .await
    .unwrap();
    assert!(matches!(connection(&response).decision(), Decision::Pass));
}

fn client_certificate(leaf: &Leaf) -> Arc<dyn rustls::client::ResolvesClientCert> {
    let key = provider()
        .key_provider
        .load_private_key(leaf.key())
        .unwrap();
    let certified = rustls::sign::CertifiedKey::new(leaf.chain.clone(), key);
    Arc::new(rustls::sign::SingleCertAndKey::from(certified))
}

/// A verifier that checks the chain for another name than the URI's.
#[derive(Debug)]
struct OtherName(PinningVerifier);

impl ServerCertVerifier for OtherName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = ServerName::try_from("other.example").unwrap();
        self.0
            .verify_server_cert(end_entity, intermediates, &name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
