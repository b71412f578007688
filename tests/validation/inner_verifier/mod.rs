//! A verifier with an inner verifier: the inner one accepts or refuses the chain, and pins are then
//! checked on a path that is validated in addition. Tested in real handshakes over TLS 1.2 and 1.3,
//! with a configuration alone and with the connector.

#[cfg(all(feature = "native-certs", target_os = "linux"))]
mod platform;
mod refused_keys;
mod resumption;
mod signatures;

use std::sync::Arc;

use crate::common::pki::{Ca, leaf_params};
use crate::common::recording::with_recorder;
use crate::common::server::{Loopback, Names, Server, get};
use crate::common::tls::handshake;
use crate::common::tls_setup::{
    TlsSetup, Visit, builder, certificate_error, pinning_with, tls_setups, violation,
};
use crate::common::validated::built_in_anchors;
use crate::common::{policy_with, unrelated_pin};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::policy::{AppliedPolicy, PolicyState};
use pinhold::tls::UnverifiablePath;
use pinhold::{
    Decision, Enforcement, Event, Host, NotePinsLayer, PinViolation, Pinning, PinningConnector,
    PinningVerifier, TrustAnchors, VerifiedConnection,
};
use rcgen::SerialNumber;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, HandshakeKind,
    RootCertStore, ServerConfig, SignatureScheme,
};
use tower_layer::Layer;

/// An inner verifier that treats all servers alike.
#[derive(Clone, Copy, Debug)]
enum FixedVerifier {
    /// Accepts every chain, name and signature, as many applications do.
    AcceptAll,
    /// The same for raw public keys (RFC 7250).
    AcceptRawKeys,
    /// Refuses every server.
    RefuseAll,
}

impl ServerCertVerifier for FixedVerifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self {
            Self::AcceptAll | Self::AcceptRawKeys => Ok(ServerCertVerified::assertion()),
            Self::RefuseAll => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::Unknown(0xfe00),
            SignatureScheme::ECDSA_NISTP256_SHA256,
        ]
    }

    fn requires_raw_public_keys(&self) -> bool {
        matches!(self, Self::AcceptRawKeys)
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&[])
    }
}

/// Returns a verifier in place of the platform's: rustls's own one with these roots.
fn platform_verifier(setup: &TlsSetup, roots: &[&Ca]) -> Arc<dyn ServerCertVerifier> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.certificate()).unwrap();
    }
    let provider = setup.provider.clone();
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider);
    builder.build().unwrap()
}

fn with_inner_verifier(
    setup: &TlsSetup,
    inner: Arc<dyn ServerCertVerifier>,
    pinning: &Pinning,
    anchors: TrustAnchors,
) -> ClientConfig {
    let builder = PinningVerifier::builder(pinning.clone())
        .with_anchors(anchors)
        .with_provider(setup.provider.clone())
        .with_protocol_versions(setup.versions);
    builder.with_inner_verifier(inner).client_config().unwrap()
}

/// Sends a request through a connector with this configuration.
async fn visit(pinning: &Pinning, config: ClientConfig, server: &Server) -> Visit {
    let loopback = Loopback::new(&Names::new([("example.com", server)]));
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    let connector = connector.wrap_connector(loopback).unwrap();
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let mut client = NotePinsLayer::new(pinning.clone()).layer(client);
    get(&mut client, "https://example.com/").await
}

/// Runs one handshake without the connector.
fn bare_handshake(config: &ClientConfig, server: ServerConfig) -> Result<HandshakeKind, Error> {
    handshake(&Arc::new(config.clone()), &Arc::new(server), "example.com")
}

fn unpinned() -> Pinning {
    builder().build().unwrap()
}

fn is_unknown_issuer(error: &UnverifiablePath) -> bool {
    let unknown: Error = CertificateError::UnknownIssuer.into();
    *error.reason() == unknown
}

#[tokio::test]
async fn a_pinned_host_without_a_path_to_the_anchors_is_refused() {
    for setup in tls_setups() {
        let (anchor_root, other_root) = (Ca::root("Anchor"), Ca::root("Other"));
        let leaf = other_root.leaf(&["example.com"]);
        // Pinned certificates that are appended to the chain are not on a path.
        let genuine = anchor_root.leaf(&["example.com"]);
        let beside = leaf
            .with_appended(genuine.chain.clone())
            .with_appended([anchor_root.certificate()]);
        let server = setup.serve(&beside, &[]).await;
        for pin in [leaf.pin(), genuine.pin(), anchor_root.pin()] {
            let pinning = pinning_with(policy_with(pin));
            let inner = platform_verifier(&setup, &[&other_root]);
            let config =
                with_inner_verifier(&setup, inner, &pinning, built_in_anchors(&[&anchor_root]));
            let error = bare_handshake(&config, setup.config(&beside)).unwrap_err();
            assert!(
                PinViolation::find(&error).is_none(),
                "no chain was validated, so there is no violation"
            );
            // quinn sends this text to the server, so it must not contain the pins.
            let text = format!("{error} {error:?}");
            assert!(text.contains("example.com") && !text.contains(&pin.to_base64()));
            let unverifiable = UnverifiablePath::find(&error).unwrap();
            assert!(is_unknown_issuer(&unverifiable));
            assert!(unverifiable.policy().unwrap().pins.contains(&pin));
            assert_eq!(unverifiable.served(), beside.chain);

            let error = visit(&pinning, config, &server).await.unwrap_err();
            assert!(UnverifiablePath::find(&error).unwrap().policy().is_some());
        }
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn without_pins_the_inner_verifier_decides_but_the_connector_needs_a_path() {
    for setup in tls_setups() {
        let (anchor_root, other_root) = (Ca::root("Anchor"), Ca::root("Other"));
        let leaf = other_root.leaf(&["example.com"]);
        let candidate = policy_with(unrelated_pin()).enforcement(Enforcement::ReportOnly);
        let (report_only, recorder) =
            with_recorder(builder().static_pins("example.com", candidate));
        for pinning in [unpinned(), report_only.clone()] {
            let inner = platform_verifier(&setup, &[&other_root]);
            let config =
                with_inner_verifier(&setup, inner, &pinning, built_in_anchors(&[&anchor_root]));
            assert!(bare_handshake(&config, setup.config(&leaf)).is_ok());

            let server = setup.serve(&leaf, &[]).await;
            let error = visit(&pinning, config, &server).await.unwrap_err();
            let unverifiable = UnverifiablePath::find(&error).unwrap();
            assert!(is_unknown_issuer(&unverifiable));
            let is_report_only = |policy: &AppliedPolicy| policy.state == PolicyState::ReportOnly;
            assert!(unverifiable.policy().is_none_or(is_report_only));
            assert_eq!(server.requests(), 0);
        }
        // The roll-out counts what enforcement would have refused.
        let rollout = report_only.rollout(&Host::parse("example.com").unwrap());
        assert_eq!(rollout.unwrap().would_have_failed, 2);
        let events = recorder.events(&report_only);
        assert!(matches!(
            &events[..],
            [Event::Unverifiable(_), Event::Unverifiable(_)]
        ));
    }
}

#[test]
fn a_revoked_certificate_is_refused_without_pins_too() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let mut params = leaf_params(&["example.com"]);
        params.serial_number = Some(SerialNumber::from(7));
        let revoked = root.leaf_from(params);
        let inner = platform_verifier(&setup, &[&root]);
        let builder = PinningVerifier::builder(unpinned())
            .with_anchors(built_in_anchors(&[&root]))
            .with_provider(setup.provider.clone())
            .with_protocol_versions(setup.versions)
            .with_crls([root.crl(&[7])])
            .with_inner_verifier(inner);
        let config = builder.client_config().unwrap();
        let error = bare_handshake(&config, setup.config(&revoked)).unwrap_err();
        let reason: Error = CertificateError::Revoked.into();
        assert_eq!(*UnverifiablePath::find(&error).unwrap().reason(), reason);
    }
}

#[tokio::test]
async fn the_error_of_the_inner_verifier_takes_precedence() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let server = setup.serve(&leaf, &[]).await;
        for pinning in [
            unpinned(),
            pinning_with(policy_with(leaf.pin())),
            pinning_with(policy_with(unrelated_pin())),
        ] {
            let other = platform_verifier(&setup, &[&Ca::root("Other")]);
            let config = with_inner_verifier(&setup, other, &pinning, built_in_anchors(&[&root]));
            let refused = certificate_error(visit(&pinning, config, &server).await);
            assert_eq!(refused, CertificateError::UnknownIssuer);

            let verifier = PinningVerifier::builder(pinning)
                .with_anchors(built_in_anchors(&[&root]))
                .with_provider(setup.provider.clone())
                .with_inner_verifier(Arc::new(FixedVerifier::RefuseAll))
                .verifier_without_resumption_check()
                .unwrap();
            let name = ServerName::try_from("example.com").unwrap();
            let verdict = verifier.verify_server_cert(
                &leaf.certificate(),
                &[],
                &name,
                &[],
                crate::common::now(),
            );
            let error: Error = CertificateError::ApplicationVerificationFailure.into();
            assert_eq!(verdict.unwrap_err(), error);
        }
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn a_validated_path_is_checked_as_without_an_inner_verifier() {
    for setup in tls_setups() {
        let (root, other) = (Ca::root("Root"), Ca::root("Other"));
        let leaf = root.leaf(&["example.com"]);
        let mis_issued = other
            .leaf(&["example.com"])
            .with_appended(leaf.chain.clone());
        let anchors = built_in_anchors(&[&root, &other]);
        let pinning = pinning_with(policy_with(leaf.pin()));
        let inner = || platform_verifier(&setup, &[&root, &other]);

        let server = setup.serve(&leaf, &[]).await;
        let config = with_inner_verifier(&setup, inner(), &pinning, anchors.clone());
        let response = visit(&pinning, config, &server).await.unwrap();
        let connection = response.extensions().get::<VerifiedConnection>().unwrap();
        assert!(matches!(connection.decision(), Decision::Pass));
        assert_eq!(connection.chain().fingerprints(), [leaf.pin(), root.pin()]);

        let server = setup.serve(&mis_issued, &[]).await;
        let config = with_inner_verifier(&setup, inner(), &pinning, anchors);
        let violation = violation(visit(&pinning, config, &server).await).unwrap();
        assert_eq!(
            violation.chain().fingerprints(),
            [mis_issued.pin(), other.pin()]
        );
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn a_pinned_host_is_checked_even_if_the_inner_verifier_accepts_everything() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let mut expired = leaf_params(&["example.com"]);
        expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
        for leaf in [root.leaf(&["other.example"]), root.leaf_from(expired)] {
            let pinning = pinning_with(policy_with(leaf.pin()));
            let accept_all = || Arc::new(FixedVerifier::AcceptAll);
            let config =
                with_inner_verifier(&setup, accept_all(), &pinning, built_in_anchors(&[&root]));
            let error = bare_handshake(&config, setup.config(&leaf)).unwrap_err();
            let unverifiable = UnverifiablePath::find(&error).unwrap();
            let reason = match unverifiable.reason() {
                Error::InvalidCertificate(reason) => reason.clone(),
                other => panic!("{other:?}"),
            };
            assert!(
                matches!(
                    reason,
                    CertificateError::NotValidForNameContext { .. }
                        | CertificateError::ExpiredContext { .. }
                ),
                "{reason:?}"
            );
            let server = setup.serve(&leaf, &[]).await;
            let error = visit(&pinning, config, &server).await.unwrap_err();
            assert!(UnverifiablePath::find(&error).is_some());
            assert_eq!(server.requests(), 0);
            // Without pins, the decision of the inner verifier is the application's choice.
            let config = with_inner_verifier(
                &setup,
                accept_all(),
                &unpinned(),
                built_in_anchors(&[&root]),
            );
            assert!(bare_handshake(&config, setup.config(&leaf)).is_ok());
        }
    }
}
