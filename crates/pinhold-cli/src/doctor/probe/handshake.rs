//! One TLS handshake that is restricted to a version, and the chain that the server sends in it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error,
    PeerIncompatible, SignatureScheme, SupportedCipherSuite, version,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::clock::Clock;
use crate::doctor::observation::{KeyKind, ProbeFailure, ProbeFailureKind, TlsVersion};
use crate::network;
use crate::output::{cut, printable};
use crate::tls_error;
use crate::verifier::AcceptAll;

/// What a handshake offers to the server.
#[derive(Clone, Copy)]
pub(super) struct Offer {
    pub(super) version: TlsVersion,
    /// The only kind of key whose signatures are accepted, if it is restricted.
    pub(super) key: Option<KeyKind>,
}

/// A chain whose server has shown to have the key of the leaf.
pub(super) struct Served {
    /// As they were sent, leaf first.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) key: KeyKind,
}

/// Why there is no chain.
#[derive(Clone)]
pub(super) struct Refusal {
    pub(super) failure: ProbeFailure,
    pub(super) cause: Cause,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// There was no TCP connection, so that another version of TLS yields none either.
    NoConnection,
    /// The server accepts nothing of the offer. It says so for a version that it does not speak, but also
    /// for a name that it does not know.
    NothingInCommon,
    Other,
}

impl Refusal {
    pub(super) fn new(kind: ProbeFailureKind, cause: Cause, detail: &str) -> Self {
        let detail = printable(&cut(detail, MAX_DETAIL));
        Self {
            failure: ProbeFailure { kind, detail },
            cause,
        }
    }

    /// Returns this refusal, of a server that refuses every version for a reason that need not be
    /// the version.
    pub(super) fn of_all(mut self) -> Self {
        if self.cause == Cause::NothingInCommon {
            self.failure.kind = ProbeFailureKind::Tls;
        }
        self
    }
}

/// Returns the chain that the server sends. Nothing is validated but the server's signature, and no
/// request is sent.
pub(super) async fn run(
    stream: TcpStream,
    name: ServerName<'static>,
    offer: Offer,
) -> Result<Served, Refusal> {
    let recorder = Arc::new(Recorder::new(offer));
    let tls = Refusal::new;
    let config = config(offer, recorder.clone()).map_err(|error| {
        tls(
            ProbeFailureKind::Tls,
            Cause::Other,
            &tls_error::text(&error),
        )
    })?;
    let result = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    // A server that requires a certificate of the client rejects the handshake after its own signature.
    if let Some(served) = recorder.served() {
        return Ok(served);
    }
    Err(match result {
        Ok(_) => tls(
            ProbeFailureKind::Tls,
            Cause::Other,
            "the server sent no certificate",
        ),
        Err(error) => refusal(&error, offer.version),
    })
}

fn config(offer: Offer, recorder: Arc<Recorder>) -> Result<ClientConfig, Error> {
    let version = match offer.version {
        TlsVersion::Tls12 => &version::TLS12,
        TlsVersion::Tls13 => &version::TLS13,
    };
    let provider = &recorder.provider;
    let config = ClientConfig::builder_with_details(provider.clone(), Arc::new(Clock))
        .with_protocol_versions(&[version])?;
    let mut config = config
        .dangerous()
        .with_custom_certificate_verifier(recorder)
        .with_no_client_auth();
    // A server sends no chain when it resumes a session.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Verifier that accepts every chain, and keeps it once the server's signature is verified.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    accept_all: AcceptAll,
    /// The accepted algorithms of signatures.
    schemes: Vec<SignatureScheme>,
    recorded: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    certificates: Vec<CertificateDer<'static>>,
    /// The kind of key by which the server signed, if its signature is right.
    signed_by: Option<KeyKind>,
}

impl Recorder {
    fn new(offer: Offer) -> Self {
        let is_offered = |scheme: SignatureScheme| offer.key.is_none_or(|it| it == kind(scheme));
        let mut provider = (*network::provider()).clone();
        provider.cipher_suites.retain(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => suite.sign.iter().copied().any(is_offered),
            SupportedCipherSuite::Tls13(_) => true,
        });
        let provider = Arc::new(provider);
        let accept_all = AcceptAll(provider.clone());
        let mut schemes = accept_all.supported_verify_schemes();
        schemes.retain(|scheme| is_offered(*scheme));
        Self {
            provider,
            accept_all,
            schemes,
            recorded: Mutex::default(),
        }
    }

    fn served(&self) -> Option<Served> {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let key = recorded.signed_by?;
        let certificates = std::mem::take(&mut recorded.certificates);
        Some(Served { certificates, key })
    }

    fn record_signature(&self, scheme: SignatureScheme) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.signed_by = Some(kind(scheme));
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        let all = all.map(|der| der.clone().into_owned()).collect();
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.certificates = all;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = self.accept_all.verify_tls12_signature(message, cert, dss)?;
        self.record_signature(dss.scheme);
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = self.accept_all.verify_tls13_signature(message, cert, dss)?;
        self.record_signature(dss.scheme);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

fn kind(scheme: SignatureScheme) -> KeyKind {
    match scheme {
        SignatureScheme::RSA_PKCS1_SHA1
        | SignatureScheme::RSA_PKCS1_SHA256
        | SignatureScheme::RSA_PKCS1_SHA384
        | SignatureScheme::RSA_PKCS1_SHA512
        | SignatureScheme::RSA_PSS_SHA256
        | SignatureScheme::RSA_PSS_SHA384
        | SignatureScheme::RSA_PSS_SHA512 => KeyKind::Rsa,
        _ => KeyKind::Ec,
    }
}

/// Returns what an error of the handshake means.
fn refusal(error: &io::Error, version: TlsVersion) -> Refusal {
    let Some(tls) = error.get_ref().and_then(|it| it.downcast_ref::<Error>()) else {
        let detail = format!("the connection ended in the TLS handshake: {error}");
        return Refusal::new(ProbeFailureKind::Tls, Cause::Other, &detail);
    };
    let text = tls_error::text(tls);
    let (kind, cause, detail) = match tls {
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            (ProbeFailureKind::Version, Cause::Other, text)
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            (ProbeFailureKind::Version, Cause::NothingInCommon, text)
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => {
            let text = format!("the server answers with another version than {version}");
            (ProbeFailureKind::Version, Cause::Other, text)
        }
        // Every chain is accepted, so only the signature can be rejected.
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            let text = "the server does not have the key of the certificate that it sends";
            (ProbeFailureKind::Tls, Cause::Other, text.to_owned())
        }
        Error::InvalidCertificate(_) => {
            let text = "the server's certificate can't be read, or does not fit its signature";
            (ProbeFailureKind::Tls, Cause::Other, text.to_owned())
        }
        _ => (ProbeFailureKind::Tls, Cause::Other, text),
    };
    Refusal::new(kind, cause, &detail)
}

/// The number of characters of a detail.
const MAX_DETAIL: usize = 200;
