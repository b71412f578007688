//! Configurations with which a self-test succeeds, and unrelated or altered ones with which it fails.

use std::sync::Arc;

use pinhold::tls::{Attack, SelfTestError, SelfTestReport, TestedResumption};
use pinhold::{Pinning, PinningConnector, PinningVerifier, TrustAnchors};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, HandshakeKind, ProtocolVersion,
    RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

use super::common::pki::Ca;
use super::common::server::server_config;
use super::common::validated::built_in_anchors;
use super::common::{Clock, provider, providers};
use super::in_memory::connect;

fn pinning() -> Pinning {
    Pinning::builder().build().unwrap()
}

fn anchors() -> TrustAnchors {
    built_in_anchors(&[&Ca::root("Root")])
}

fn config_of(pinning: &Pinning) -> ClientConfig {
    let builder = PinningVerifier::builder(pinning.clone()).with_anchors(anchors());
    builder.with_provider(provider()).client_config().unwrap()
}

fn error_of(change: impl FnOnce(&mut ClientConfig)) -> SelfTestError {
    let pinning = pinning();
    let mut config = config_of(&pinning);
    change(&mut config);
    pinning.self_test(&config).unwrap_err()
}

#[test]
fn an_unchanged_configuration_passes_with_every_provider_and_version() {
    const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
    const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    let both = [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2];
    for provider in providers() {
        for (versions, expected) in [
            (rustls::DEFAULT_VERSIONS, &both[..]),
            (TLS13, &both[..1]),
            (TLS12, &both[1..]),
        ] {
            let pinning = pinning();
            let config = PinningVerifier::builder(pinning.clone())
                .with_anchors(anchors())
                .with_provider(provider.clone())
                .with_protocol_versions(versions)
                .client_config()
                .unwrap();
            let report: SelfTestReport = pinning.self_test(&config).unwrap();
            assert_eq!(report.versions, expected);
            assert_eq!(report.resumption, TestedResumption::Checked);
            assert_eq!(report.refused.len(), 4);
            // Again, with a clone of the configuration.
            pinning.self_test(&config.clone()).unwrap();
        }
    }
}

/// No server with a key on P-256 can be reached over TLS 1.2 then, which is no defect.
#[test]
fn cipher_suites_for_rsa_alone_leave_the_other_version_to_test() {
    let config_with = |pinning: &Pinning, suites: fn(&str) -> bool| {
        let mut only = (*provider()).clone();
        only.cipher_suites
            .retain(|suite| suites(&format!("{:?}", suite.suite())));
        let builder = PinningVerifier::builder(pinning.clone()).with_anchors(anchors());
        let config = builder.with_provider(Arc::new(only)).client_config();
        config.unwrap()
    };
    let pinning = pinning();
    let config = config_with(&pinning, |name| !name.contains("ECDSA"));
    let report = pinning.self_test(&config).unwrap();
    assert_eq!(report.versions, [ProtocolVersion::TLSv1_3]);

    let config = config_with(&pinning, |name| {
        name.contains("RSA") && !name.contains("ECDSA")
    });
    let error = pinning.self_test(&config).unwrap_err();
    assert!(matches!(error, SelfTestError::NoHandshake(_)), "{error:?}");
}

#[test]
fn a_configuration_that_the_application_may_change_passes() {
    let pinning = pinning();
    let mut config = config_of(&pinning);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.enable_sni = false;
    config.key_log = Arc::new(rustls::KeyLogFile::new());
    pinning.self_test(&config).unwrap();
}

#[test]
fn resumption_that_the_builder_disabled_differs_from_an_unrelated_store() {
    let pinning = pinning();
    let builder = PinningVerifier::builder(pinning.clone()).with_anchors(anchors());
    let builder = builder.with_provider(provider()).disable_resumption();
    let report = pinning.self_test(&builder.client_config().unwrap());
    assert_eq!(report.unwrap().resumption, TestedResumption::Disabled);
}

#[test]
fn an_unrelated_session_store_fails() {
    let other = config_of(&pinning()).resumption;
    for resumption in [
        Resumption::in_memory_sessions(8),
        Resumption::disabled(),
        Resumption::default(),
        other,
    ] {
        let error = error_of(|config| config.resumption = resumption);
        assert!(matches!(error, SelfTestError::OtherSessionStore), "{error}");
    }
}

#[test]
fn the_session_store_of_another_configuration_of_the_same_pins_fails() {
    let pinning = pinning();
    let mut config = config_of(&pinning);
    config.resumption = config_of(&pinning).resumption;
    let error = pinning.self_test(&config).unwrap_err();
    assert!(matches!(error, SelfTestError::OtherSessionStore), "{error}");
}

#[test]
fn early_data_and_another_clock_fail() {
    let error = error_of(|config| config.enable_early_data = true);
    assert!(matches!(error, SelfTestError::EarlyData), "{error}");
    let error = error_of(|config| config.time_provider = Clock::new());
    assert!(matches!(error, SelfTestError::ChangedClock), "{error}");
}

#[test]
fn an_unrelated_verifier_fails() {
    let root = Ca::root("Root");
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate()).unwrap();
    let unrelated = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    let unrelated = unrelated.build().unwrap();
    let error = error_of(|config| config.dangerous().set_certificate_verifier(unrelated));
    assert!(matches!(error, SelfTestError::OtherVerifier), "{error}");
}

#[test]
fn the_pins_of_another_part_of_the_application_fail() {
    let error = pinning().self_test(&config_of(&pinning())).unwrap_err();
    // Both use the system's clock, but each has its own.
    assert!(
        matches!(
            error,
            SelfTestError::OtherPins | SelfTestError::ChangedClock
        ),
        "{error}"
    );
    let clock = Clock::new();
    let [one, other] = [(); 2].map(|()| {
        let builder = Pinning::builder().time_provider(clock.clone());
        builder.build().unwrap()
    });
    let error = one.self_test(&config_of(&other)).unwrap_err();
    assert!(matches!(error, SelfTestError::OtherPins), "{error}");
    let connector = PinningConnector::builder(one.clone()).with_tls_config(config_of(&other));
    let error = connector.build().unwrap().self_test().unwrap_err();
    assert!(matches!(error, SelfTestError::OtherPins), "{error}");
    let connector = PinningConnector::builder(one.clone()).with_tls_config(config_of(&one));
    connector.build().unwrap().self_test().unwrap();
}

#[test]
fn a_verifier_made_for_another_configuration_fails() {
    let pinning = pinning();
    let builder = PinningVerifier::builder(pinning.clone()).with_anchors(anchors());
    let verifier = builder.with_provider(provider());
    let verifier = verifier.verifier_without_resumption_check().unwrap();
    let mut config = config_of(&pinning);
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(verifier));
    let error = pinning.self_test(&config).unwrap_err();
    assert!(matches!(error, SelfTestError::NoResumptionCheck), "{error}");
}

/// A verifier around that of this crate.
#[derive(Debug)]
struct Around {
    inner: Arc<dyn ServerCertVerifier>,
    accepts: Accepts,
}

/// What such a verifier accepts on its own.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Accepts {
    Nothing,
    /// Each server, after a call of the inner verifier.
    All,
    PinViolations,
    Signatures,
}

impl ServerCertVerifier for Around {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self
            .inner
            .verify_server_cert(leaf, intermediates, name, ocsp, now);
        match (self.accepts, verdict) {
            (Accepts::All, Err(_)) => Ok(ServerCertVerified::assertion()),
            (
                Accepts::PinViolations,
                Err(Error::InvalidCertificate(CertificateError::Other(_))),
            ) => Ok(ServerCertVerified::assertion()),
            (_, verdict) => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.accepts == Accepts::Signatures || self.accepts == Accepts::All {
            return Ok(HandshakeSignatureValid::assertion());
        }
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.accepts == Accepts::Signatures || self.accepts == Accepts::All {
            return Ok(HandshakeSignatureValid::assertion());
        }
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A verifier through which the application can wrap that of a configuration: rustls shows it to
/// nothing else.
fn around(pinning: &Pinning, accepts: Accepts) -> ClientConfig {
    let mut config = config_of(pinning);
    let builder = PinningVerifier::builder(pinning.clone()).with_anchors(anchors());
    let builder = builder.with_provider(provider());
    let inner = builder.verifier_without_resumption_check().unwrap();
    let inner = Arc::new(inner);
    let around = Around { inner, accepts };
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(around));
    config
}

#[test]
fn a_verifier_around_that_of_this_crate_fails_whatever_it_accepts() {
    for accepts in [
        Accepts::Nothing,
        Accepts::All,
        Accepts::PinViolations,
        Accepts::Signatures,
    ] {
        let pinning = pinning();
        let error = pinning.self_test(&around(&pinning, accepts)).unwrap_err();
        assert!(
            matches!(error, SelfTestError::NoResumptionCheck),
            "{accepts:?}: {error}"
        );
    }
}

/// A provider whose certificate signatures are all valid is one that an application can configure.
#[test]
fn a_provider_that_checks_no_signature_fails() {
    let broken = CryptoProvider {
        signature_verification_algorithms: unchecked::ALGORITHMS,
        ..(*provider()).clone()
    };
    let pinning = pinning();
    let builder = PinningVerifier::builder(pinning.clone()).with_anchors(anchors());
    let config = builder.with_provider(Arc::new(broken)).client_config();
    let error = pinning.self_test(&config.unwrap()).unwrap_err();
    let SelfTestError::Attack {
        attack,
        refusal: None,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(attack, Attack::Replay);
}

/// A signature algorithm that accepts everything.
mod unchecked {
    use rustls::SignatureScheme;
    use rustls::crypto::WebPkiSupportedAlgorithms;
    use rustls::pki_types::{
        AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
    };

    #[derive(Debug)]
    struct Unchecked;

    impl SignatureVerificationAlgorithm for Unchecked {
        fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), InvalidSignature> {
            Ok(())
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_SHA256
        }
    }

    pub(super) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
        all: &[&Unchecked],
        mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, &[&Unchecked])],
    };
}

/// A verifier that has a handshake of its own with the right configuration, and returns its verdict.
#[derive(Debug)]
struct Nested {
    config: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Nested {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let kind = connect(&self.config, &self.server, "example.com")?;
        assert_eq!(kind, HandshakeKind::Full);
        Ok(ServerCertVerified::assertion())
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
        self.schemes.clone()
    }
}

/// Such a verifier returns the refusal of the right one, whose session store is queried, too.
#[test]
fn a_verifier_that_calls_that_of_another_configuration_fails() {
    let pinning = pinning();
    let right = config_of(&pinning);
    let leaf = Ca::root("Other").leaf(&["example.com"]);
    let mut config = right.clone();
    let nested = Nested {
        config: Arc::new(right),
        server: Arc::new(server_config(&leaf, provider(), rustls::ALL_VERSIONS)),
        schemes: provider()
            .signature_verification_algorithms
            .supported_schemes(),
    };
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(nested));
    let error = pinning.self_test(&config).unwrap_err();
    assert!(matches!(error, SelfTestError::WrappedVerifier), "{error}");
}
