//! The TLS configuration with a verifier of this crate, its resumption check and its clock.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::pinning::BuildError;
use crate::tls::resumption::ResumptionCheck;
use crate::tls::verifier::PinningVerifier;
#[cfg(feature = "self-test")]
use {
    crate::tls::canary::{Identity, SessionUse},
    crate::tls::resumption::NoSessions,
    rustls::client::Tls12Resumption,
    std::sync::Weak,
};

/// What a configuration is made of beside its verifier.
pub(crate) struct TlsSettings {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) resumption: SessionResumption,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionResumption {
    Checked,
    Disabled,
}

/// A verifier of this crate, which contains the part that enforces the pins.
pub(crate) trait OwnVerifier: ServerCertVerifier + Sized + 'static {
    fn pins_mut(&mut self) -> &mut PinningVerifier;
}

impl OwnVerifier for PinningVerifier {
    fn pins_mut(&mut self) -> &mut PinningVerifier {
        self
    }
}

impl TlsSettings {
    /// Returns a configuration with the changes of `configure`, and with the session store that
    /// `store` makes of the resumption check.
    ///
    /// The verifier, the resumption check and the clock are set after `configure`, so that it can't
    /// replace them: without any of them a connection could bypass the pins. Nor can it copy them:
    /// a clone that it keeps trusts no server. Early data is refused, since it is sent before pins
    /// are checked.
    pub(crate) fn client_config<V: OwnVerifier>(
        self,
        mut verifier: V,
        configure: impl FnOnce(&mut ClientConfig),
        store: impl FnOnce(Arc<ResumptionCheck>) -> Arc<dyn ClientSessionStore>,
    ) -> Result<(ClientConfig, Arc<ResumptionCheck>), BuildError> {
        let pins = verifier.pins_mut();
        let clock = Arc::clone(pins.pinning.clock());
        let sessions = Arc::new(ResumptionCheck::new(pins.pinning.clone()));
        pins.sessions = Some(Arc::clone(&sessions));
        let algorithms = self.provider.signature_verification_algorithms;
        let mut config = ClientConfig::builder_with_details(self.provider, Arc::clone(&clock))
            .with_protocol_versions(self.versions)
            .map_err(BuildError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(RefuseAll(algorithms)))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        configure(&mut config);
        if config.enable_early_data {
            return Err(BuildError::EarlyData);
        }
        config.time_provider = clock;
        let resumes = self.resumption == SessionResumption::Checked;
        let store = resumes.then(|| store(Arc::clone(&sessions)));
        set_verifier(&mut config, verifier, store);
        Ok((config, sessions))
    }
}

/// Sets the verifier and the session store of a configuration; without a store, nothing is resumed.
#[cfg(not(feature = "self-test"))]
fn set_verifier<V: OwnVerifier>(
    config: &mut ClientConfig,
    verifier: V,
    store: Option<Arc<dyn ClientSessionStore>>,
) {
    let verifier = Arc::new(verifier);
    config.dangerous().set_certificate_verifier(verifier);
    config.resumption = match store {
        Some(store) => Resumption::store(store),
        None => Resumption::disabled(),
    };
}

/// As without the self-test, with what a self-test recognises both by.
#[cfg(feature = "self-test")]
fn set_verifier<V: OwnVerifier>(
    config: &mut ClientConfig,
    mut verifier: V,
    store: Option<Arc<dyn ClientSessionStore>>,
) {
    let (store, sessions, of_tls12) = match store {
        Some(store) => (
            store,
            SessionUse::Checked,
            Tls12Resumption::SessionIdOrTickets,
        ),
        None => {
            let store: Arc<dyn ClientSessionStore> = Arc::new(NoSessions);
            (store, SessionUse::Disabled, Tls12Resumption::Disabled)
        }
    };
    let of_store = Arc::downgrade(&store);
    let verifier = Arc::new_cyclic(|own: &Weak<V>| {
        verifier.pins_mut().identity = Some(Identity {
            verifier: own.clone(),
            store: of_store,
            sessions,
        });
        verifier
    });
    config.dangerous().set_certificate_verifier(verifier);
    config.resumption = Resumption::store(store).tls12_resumption(of_tls12);
}

/// The verifier of a configuration whose own verifier is not set yet.
#[derive(Debug)]
struct RefuseAll(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for RefuseAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
