//! Verifiers of the program: one that keeps what the server sent, for messages, and one that accepts
//! every chain, for `fingerprint --insecure`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use pinhold::TrustAnchors;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::failure::Failure;

/// The certificates that the server sent in the last handshake, leaf first.
#[derive(Clone, Default)]
pub(crate) struct Served(Arc<Mutex<Vec<CertificateDer<'static>>>>);

impl Served {
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let served = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        served.clone()
    }

    fn record(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) {
        let all = std::iter::once(leaf).chain(rest);
        let all = all.map(|der| der.clone().into_owned()).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

/// rustls's own verifier, which records what the server sent: an error of rustls has neither the
/// issuer nor the dates that a message must name.
///
/// It is called before the pins are checked and decides with the same roots, so it accepts and
/// rejects the same chains.
pub(crate) struct Recorder {
    rustls: Arc<WebPkiServerVerifier>,
    served: Served,
}

impl Recorder {
    pub(crate) fn new(
        anchors: &TrustAnchors,
        provider: Arc<CryptoProvider>,
        served: Served,
    ) -> Result<Self, Failure> {
        let roots = anchors.iter().map(|(_, anchor)| anchor.clone()).collect();
        let roots = Arc::new(RootCertStore { roots });
        let rustls = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let no_root = |_| Failure::Usage("there is no root to trust".to_owned());
        let rustls = rustls.map_err(no_root)?;
        Ok(Self { rustls, served })
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.served.record(end_entity, intermediates);
        let rustls = &self.rustls;
        rustls.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.rustls.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.rustls.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rustls.supported_verify_schemes()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

/// Verifier that accepts every chain, so that it can be shown. No request is sent over such a
/// connection.
#[derive(Debug)]
pub(crate) struct AcceptAll(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
