//! [`DirectVerifier`]: a rustls `ServerCertVerifier` that trusts servers by their own certificate or
//! raw public key, and enforces the pins on it.

use std::fmt;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::{DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

use crate::chain::{DirectTrust, Presented, Untrusted};
#[cfg(feature = "self-test")]
use crate::tls::canary;
use crate::tls::client_config::OwnVerifier;
use crate::tls::resumption::Unsigned;
use crate::tls::verifier::PinningVerifier;
use crate::violation::{Trusted, UntrustedServer};

pub(crate) struct DirectVerifier {
    pub(crate) trust: DirectTrust,
    /// Evaluates the pins, and verifies signatures by certificates. It has no trust anchors, so that
    /// it would accept no chain itself.
    pub(crate) pins: PinningVerifier,
}

impl OwnVerifier for DirectVerifier {
    fn pins_mut(&mut self) -> &mut PinningVerifier {
        &mut self.pins
    }
}

impl DirectVerifier {
    fn refusal(&self, name: &ServerName<'_>, untrusted: Untrusted) -> Error {
        let trusted = match self.trust {
            DirectTrust::Certificates(_) => Trusted::Certificates,
            DirectTrust::Keys(_) => Trusted::RawKeys,
        };
        match untrusted {
            Untrusted::Invalid(error) => error,
            Untrusted::Other { expected, seen } => {
                UntrustedServer::new(name, trusted, expected, seen).into_rustls()
            }
        }
    }
}

impl ServerCertVerifier for DirectVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let lookup = self.pins.begin(server_name, now)?;
        let presented = Presented {
            leaf: end_entity,
            intermediates,
            name: server_name,
            #[cfg(feature = "ct")]
            ocsp_response: &[],
        };
        let paths = &self.pins.paths;
        let (hash, algorithms) = (paths.fingerprints.hash, paths.algorithms.provided);
        let chain = self
            .trust
            .verify(presented, lookup.host.clone(), now, (hash, algorithms))
            .map_err(|untrusted| self.refusal(server_name, untrusted))?;
        self.pins.conclude_chain(chain, lookup, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.trust {
            DirectTrust::Certificates(_) => self.pins.verify_tls12_signature(message, cert, dss),
            // rustls negotiates raw public keys with TLS 1.3 only, and no other version is offered.
            DirectTrust::Keys(_) => Err(PeerIncompatible::IncorrectCertificateTypeExtension.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if let DirectTrust::Certificates(_) = self.trust {
            return self.pins.verify_tls13_signature(message, cert, dss);
        }
        // Before a chain is recorded.
        #[cfg(feature = "self-test")]
        if let Some(refusal) = canary::refusal() {
            return Err(refusal);
        }
        let unsigned = Unsigned::take();
        let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
        let algorithms = &self.pins.algorithms;
        let valid = verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)?;
        self.pins.on_signature(unsigned, cert);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.pins.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        matches!(self.trust, DirectTrust::Keys(_))
    }
}

impl fmt::Debug for DirectVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectVerifier")
            .field("pinning", &self.pins.pinning)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}
