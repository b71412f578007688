//! A wrapped verifier decides whom to trust; the pins need a path that is proved after it. By real
//! handshakes, over TLS 1.2 and 1.3, of a bare configuration and of the connector.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::pki::{Ca, Leaf, leaf_params};
use common::recording::with_recorder;
use common::server::{Loopback, Names, Server, answer, get};
use common::tls::{SwappableCertificate, handshake};
use common::tls_setup::{
    TlsSetup, Visit, builder, certificate_error, pinning_with, tls_setups, violation,
};
use common::validated::built_in_anchors;
use common::{policy_with, unrelated_pin};
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
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, HandshakeKind,
    RootCertStore, ServerConfig, SignatureScheme,
};
use tower_layer::Layer;

/// What a verifier made elsewhere says of every server.
#[derive(Clone, Copy, Debug)]
enum Foreign {
    /// Each server, name and signature is right: found in many a program.
    Careless,
    /// The same, of keys without certificates (RFC 7250).
    RawKeys,
    /// No server is.
    Strict,
}

impl ServerCertVerifier for Foreign {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self {
            Self::Careless | Self::RawKeys => Ok(ServerCertVerified::assertion()),
            Self::Strict => Err(CertificateError::ApplicationVerificationFailure.into()),
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
        matches!(self, Self::RawKeys)
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&[])
    }
}

/// As a platform would: these roots, by rustls's own rules.
fn platform(setup: &TlsSetup, roots: &[&Ca]) -> Arc<dyn ServerCertVerifier> {
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
    let builder = PinningVerifier::builder(pinning.clone(), anchors)
        .with_provider(setup.provider.clone())
        .with_protocol_versions(setup.versions);
    builder.with_inner_verifier(inner).client_config().unwrap()
}

/// A request over our connector, with this configuration.
async fn visit(pinning: &Pinning, config: ClientConfig, server: &Server) -> Visit {
    let loopback = Loopback::new(&Names::new([("example.com", server)]));
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    let connector = connector.wrap_connector(loopback).unwrap();
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let mut client = NotePinsLayer::new(pinning.clone()).layer(client);
    get(&mut client, "https://example.com/").await
}

/// One handshake without our connector.
fn bare(config: &ClientConfig, server: ServerConfig) -> Result<HandshakeKind, Error> {
    handshake(&Arc::new(config.clone()), &Arc::new(server), "example.com")
}

fn unpinned() -> Pinning {
    builder().build().unwrap()
}

fn is_unknown_issuer(unproved: &UnverifiablePath) -> bool {
    let unknown: Error = CertificateError::UnknownIssuer.into();
    *unproved.reason() == unknown
}

#[tokio::test]
async fn a_server_without_a_path_to_our_anchors_is_refused_where_pins_are_enforced() {
    for setup in tls_setups() {
        let (ours, theirs) = (Ca::root("Ours"), Ca::root("Theirs"));
        let leaf = theirs.leaf(&["example.com"]);
        // The pinned certificates behind it prove nothing.
        let genuine = ours.leaf(&["example.com"]);
        let beside = leaf
            .with_appended(genuine.chain.clone())
            .with_appended([ours.certificate()]);
        let server = setup.serve(&beside, &[]).await;
        for pin in [leaf.pin(), genuine.pin(), ours.pin()] {
            let pinning = pinning_with(policy_with(pin));
            let inner = platform(&setup, &[&theirs]);
            let config = with_inner_verifier(&setup, inner, &pinning, built_in_anchors(&[&ours]));
            let error = bare(&config, setup.config(&beside)).unwrap_err();
            assert!(
                PinViolation::find(&error).is_none(),
                "there is no validated chain"
            );
            // quinn sends the text to the server.
            let told = format!("{error} {error:?}");
            assert!(told.contains("example.com") && !told.contains(&pin.to_base64()));
            let unproved = UnverifiablePath::find(&error).unwrap();
            assert!(is_unknown_issuer(&unproved));
            assert!(unproved.policy().unwrap().pins.contains(&pin));
            assert_eq!(unproved.served(), beside.chain);

            let error = visit(&pinning, config, &server).await.unwrap_err();
            assert!(UnverifiablePath::find(&error).unwrap().policy().is_some());
        }
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn without_pins_the_verdict_stands_but_our_connector_wants_a_path() {
    for setup in tls_setups() {
        let (ours, theirs) = (Ca::root("Ours"), Ca::root("Theirs"));
        let leaf = theirs.leaf(&["example.com"]);
        let trial = policy_with(unrelated_pin()).enforcement(Enforcement::ReportOnly);
        let (on_trial, told) = with_recorder(builder().static_pins("example.com", trial));
        for pinning in [unpinned(), on_trial.clone()] {
            let inner = platform(&setup, &[&theirs]);
            let config = with_inner_verifier(&setup, inner, &pinning, built_in_anchors(&[&ours]));
            assert!(bare(&config, setup.config(&leaf)).is_ok());

            let server = setup.serve(&leaf, &[]).await;
            let error = visit(&pinning, config, &server).await.unwrap_err();
            let unproved = UnverifiablePath::find(&error).unwrap();
            assert!(is_unknown_issuer(&unproved));
            let is_on_trial = |policy: &AppliedPolicy| policy.state == PolicyState::ReportOnly;
            assert!(unproved.policy().is_none_or(is_on_trial));
            assert_eq!(server.requests(), 0);
        }
        // Whoever looks at the roll-out sees what enforcing would do.
        let rollout = on_trial.rollout(&Host::parse("example.com").unwrap());
        assert_eq!(rollout.unwrap().would_have_failed, 2);
        let events = told.events(&on_trial);
        assert!(matches!(
            &events[..],
            [Event::Unverifiable(_), Event::Unverifiable(_)]
        ));
    }
}

#[test]
fn revocation_lists_are_checked_or_nobody_is_let_in() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let mut params = leaf_params(&["example.com"]);
        params.serial_number = Some(SerialNumber::from(7));
        let revoked = root.leaf_from(params);
        let inner = platform(&setup, &[&root]);
        let builder = PinningVerifier::builder(unpinned(), built_in_anchors(&[&root]))
            .with_provider(setup.provider.clone())
            .with_protocol_versions(setup.versions)
            .with_crls([root.crl(&[7])])
            .with_inner_verifier(inner);
        let config = builder.client_config().unwrap();
        let error = bare(&config, setup.config(&revoked)).unwrap_err();
        let reason: Error = CertificateError::Revoked.into();
        assert_eq!(*UnverifiablePath::find(&error).unwrap().reason(), reason);
    }
}

#[tokio::test]
async fn the_wrapped_verifier_has_the_first_word() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let server = setup.serve(&leaf, &[]).await;
        for pinning in [
            unpinned(),
            pinning_with(policy_with(leaf.pin())),
            pinning_with(policy_with(unrelated_pin())),
        ] {
            let other = platform(&setup, &[&Ca::root("Other")]);
            let config = with_inner_verifier(&setup, other, &pinning, built_in_anchors(&[&root]));
            let refused = certificate_error(visit(&pinning, config, &server).await);
            assert_eq!(refused, CertificateError::UnknownIssuer);

            let verifier = PinningVerifier::builder(pinning, built_in_anchors(&[&root]))
                .with_provider(setup.provider.clone())
                .with_inner_verifier(Arc::new(Foreign::Strict))
                .verifier_without_resumption_check()
                .unwrap();
            let name = ServerName::try_from("example.com").unwrap();
            let verdict =
                verifier.verify_server_cert(&leaf.certificate(), &[], &name, &[], common::now());
            let error: Error = CertificateError::ApplicationVerificationFailure.into();
            assert_eq!(verdict.unwrap_err(), error);
        }
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn a_path_is_judged_as_without_a_wrapped_verifier() {
    for setup in tls_setups() {
        let (root, other) = (Ca::root("Root"), Ca::root("Other"));
        let leaf = root.leaf(&["example.com"]);
        let mis_issued = other
            .leaf(&["example.com"])
            .with_appended(leaf.chain.clone());
        let anchors = built_in_anchors(&[&root, &other]);
        let pinning = pinning_with(policy_with(leaf.pin()));
        let inner = || platform(&setup, &[&root, &other]);

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
async fn what_a_careless_verifier_overlooks_is_seen_where_pins_are_enforced() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let mut expired = leaf_params(&["example.com"]);
        expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
        for leaf in [root.leaf(&["other.example"]), root.leaf_from(expired)] {
            let pinning = pinning_with(policy_with(leaf.pin()));
            let careless = || Arc::new(Foreign::Careless);
            let config =
                with_inner_verifier(&setup, careless(), &pinning, built_in_anchors(&[&root]));
            let error = bare(&config, setup.config(&leaf)).unwrap_err();
            let unproved = UnverifiablePath::find(&error).unwrap();
            let reason = match unproved.reason() {
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
            // Elsewhere its word is what the application asked for.
            let config =
                with_inner_verifier(&setup, careless(), &unpinned(), built_in_anchors(&[&root]));
            assert!(bare(&config, setup.config(&leaf)).is_ok());
        }
    }
}

/// Presents a certificate without having its key.
#[derive(Debug)]
struct Replay(Arc<CertifiedKey>);

impl ResolvesServerCert for Replay {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn a_replayed_certificate_fails_even_if_the_wrapped_verifier_checks_no_signature() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let genuine = root.leaf(&["example.com"]);
        let own = root.leaf(&["attacker.example"]).key();
        let key = setup.provider.key_provider.load_private_key(own).unwrap();
        let mut server = setup.config(&genuine);
        let replayed = CertifiedKey::new(genuine.chain.clone(), key);
        server.cert_resolver = Arc::new(Replay(Arc::new(replayed)));
        let pinning = pinning_with(policy_with(genuine.pin()));
        let careless = Arc::new(Foreign::Careless);
        let config = with_inner_verifier(&setup, careless, &pinning, built_in_anchors(&[&root]));
        let bad: Error = CertificateError::BadSignature.into();
        assert_eq!(bare(&config, server.clone()).unwrap_err(), bad);
        let server = Server::with_config(server, answer(&[])).await;
        let error = certificate_error(visit(&pinning, config, &server).await);
        assert_eq!(error, CertificateError::BadSignature);
        assert_eq!(server.requests(), 0);
    }
}

/// A server that has a key without a certificate (RFC 7250), which rustls sends over TLS 1.2, too.
fn raw_key_server(setup: &TlsSetup, leaf: &Leaf) -> ServerConfig {
    let key = setup.provider.key_provider.load_private_key(leaf.key());
    let key = key.unwrap();
    let raw = key.public_key().unwrap().to_vec();
    let raw = CertifiedKey::new(vec![raw.into()], key);
    let mut server = setup.config(leaf);
    server.cert_resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(raw.into()));
    server
}

/// Nothing of a raw key can be pinned by a chain, and nobody checks the server's signature with it.
#[tokio::test]
async fn a_raw_public_key_is_refused_pinned_or_not() {
    let unreadable: Error = CertificateError::BadEncoding.into();
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let raw = raw_key_server(&setup, &leaf);
        let server = Server::with_config(raw.clone(), answer(&[])).await;

        let inner = Arc::new(Foreign::RawKeys);
        let plain = ClientConfig::builder_with_provider(setup.provider.clone())
            .with_protocol_versions(setup.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(inner.clone())
            .with_no_client_auth();
        assert!(bare(&plain, raw.clone()).is_ok());
        let pinned = pinning_with(policy_with(leaf.pin()));
        for (pinning, is_pinned) in [(unpinned(), false), (pinned, true)] {
            let config =
                with_inner_verifier(&setup, inner.clone(), &pinning, built_in_anchors(&[&root]));
            let error = bare(&config, raw.clone()).unwrap_err();
            // Pins refuse before any signature is looked at.
            assert_eq!(UnverifiablePath::find(&error).is_some(), is_pinned);
            assert!(is_pinned || error == unreadable, "{error:?}");
            let error = visit(&pinning, config, &server).await.unwrap_err();
            assert!(UnverifiablePath::find(&error).is_some());
        }
        assert_eq!(server.requests(), 0);
    }
}

#[test]
fn the_other_methods_are_those_of_the_wrapped_verifier() {
    let root = Ca::root("Root");
    let ours = |inner: Foreign| {
        let builder = PinningVerifier::builder(unpinned(), built_in_anchors(&[&root]));
        let builder = builder.with_provider(common::provider());
        let builder = builder.with_inner_verifier(Arc::new(inner));
        builder.verifier_without_resumption_check().unwrap()
    };
    for inner in [Foreign::Careless, Foreign::RawKeys, Foreign::Strict] {
        let ours = ours(inner);
        assert_eq!(
            ours.requires_raw_public_keys(),
            inner.requires_raw_public_keys()
        );
        assert!(ours.root_hint_subjects().is_some_and(<[_]>::is_empty));
        // Only what both can check is offered.
        let both = [SignatureScheme::ECDSA_NISTP256_SHA256];
        assert_eq!(ours.supported_verify_schemes(), both);
    }
}

/// A configuration over a platform with both roots, of which only the first is our anchor; and a
/// server that can serve certificates of both.
struct TwoRoots {
    pinning: Pinning,
    config: Arc<ClientConfig>,
    proved: Leaf,
    unproved: Leaf,
    swap: Arc<SwappableCertificate>,
    server: Arc<ServerConfig>,
}

impl TwoRoots {
    fn new(setup: &TlsSetup) -> Self {
        let (ours, theirs) = (Ca::root("Ours"), Ca::root("Theirs"));
        let proved = ours.leaf(&["example.com"]);
        let unproved = theirs.leaf(&["example.com"]);
        let swap = SwappableCertificate::new(&unproved, setup.provider.clone());
        let mut server = setup.config(&unproved);
        server.cert_resolver = swap.clone();
        let pinning = unpinned();
        let inner = platform(setup, &[&ours, &theirs]);
        Self {
            config: Arc::new(with_inner_verifier(
                setup,
                inner,
                &pinning,
                built_in_anchors(&[&ours]),
            )),
            pinning,
            proved,
            unproved,
            swap,
            server: Arc::new(server),
        }
    }

    fn connect(&self, leaf: &Leaf) -> Result<HandshakeKind, Error> {
        self.swap.set(leaf);
        handshake(&self.config, &self.server, "example.com")
    }
}

#[test]
fn what_was_not_proved_is_not_resumed() {
    for setup in tls_setups() {
        let world = TwoRoots::new(&setup);
        for _ in 0..3 {
            let kind = world.connect(&world.unproved).unwrap();
            assert_eq!(kind, HandshakeKind::Full);
        }
        // Once proved, twice the same: but nobody knows of which chain a ticket is.
        for _ in 0..3 {
            assert_eq!(world.connect(&world.proved).unwrap(), HandshakeKind::Full);
        }

        let world = TwoRoots::new(&setup);
        assert_eq!(world.connect(&world.proved).unwrap(), HandshakeKind::Full);
        assert_eq!(
            world.connect(&world.proved).unwrap(),
            HandshakeKind::Resumed
        );

        // One of the same name that knows none of these tickets ends that.
        let other = Arc::new(setup.config(&world.unproved));
        for _ in 0..3 {
            let kind = handshake(&world.config, &other, "example.com").unwrap();
            assert_eq!(kind, HandshakeKind::Full);
        }

        let world = TwoRoots::new(&setup);
        assert_eq!(world.connect(&world.unproved).unwrap(), HandshakeKind::Full);
        let pins = policy_with(world.unproved.pin());
        world.pinning.replace_pins([("example.com", pins)]).unwrap();
        let error = world.connect(&world.unproved).unwrap_err();
        assert!(
            UnverifiablePath::find(&error).is_some(),
            "pins that came later hold"
        );
    }
}

/// Runs the test of this name again, alone, since `SSL_CERT_FILE` belongs to the whole process: the
/// file is returned in the second one. Elsewhere no variable has a say in what the platform trusts.
#[cfg(all(feature = "native-certs", target_os = "linux"))]
fn inside(test: &str) -> Option<std::path::PathBuf> {
    const INSIDE: &str = "PINHOLD_TEST_INSIDE";
    if let Some(file) = std::env::var_os(INSIDE) {
        return Some(file.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.pem");
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env_remove("SSL_CERT_DIR")
        .env("SSL_CERT_FILE", &file)
        .env(INSIDE, &file)
        .status();
    assert!(status.unwrap().success() && file.exists(), "see above");
    None
}

#[cfg(all(feature = "native-certs", target_os = "linux"))]
#[tokio::test]
async fn the_verifier_of_the_platform_is_wrapped() {
    let Some(file) = inside("the_verifier_of_the_platform_is_wrapped") else {
        return;
    };
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    std::fs::write(file, root.pem()).unwrap();
    for setup in tls_setups() {
        let (anchors, trouble) = TrustAnchors::native();
        assert!(trouble.is_empty(), "{trouble:?}");
        let anchors = anchors.with_built_in([other.certificate()]).unwrap();
        let provider = setup.provider.clone();
        let platform = Arc::new(rustls_platform_verifier::Verifier::new(provider).unwrap());
        let leaf = root.leaf(&["example.com"]);
        let server = setup.serve(&leaf, &[]).await;
        for (pin, passes) in [
            (leaf.pin(), true),
            (root.pin(), true),
            (unrelated_pin(), false),
        ] {
            let pinning = pinning_with(policy_with(pin));
            let config = with_inner_verifier(&setup, platform.clone(), &pinning, anchors.clone());
            let visit = visit(&pinning, config, &server).await;
            assert_eq!(visit.is_ok(), passes);
            assert!(passes || violation(visit).is_some());
        }
        // What the platform does not trust is refused, whatever we hand in.
        let server = setup.serve(&other.leaf(&["example.com"]), &[]).await;
        let config = with_inner_verifier(&setup, platform, &unpinned(), anchors);
        let error = certificate_error(visit(&unpinned(), config, &server).await);
        assert_eq!(error, CertificateError::UnknownIssuer);
    }
}
