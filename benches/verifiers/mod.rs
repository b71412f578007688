//! The verifiers that are compared: plain rustls, pinned, naive, and one that accepts any chain.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::collections::HashSet;
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use pinhold::roots::AnchorOrigin;
use pinhold::{Pinning, PinningVerifier, SpkiFingerprint, TrustAnchors};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{
    CertificateDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::chains::HOST;
use crate::common::pki::Leaf;
use crate::common::{now, policy_with, providers, unrelated_pin};

/// Returns each crypto provider of this build with its name.
pub(crate) fn named_providers() -> Vec<(&'static str, Arc<CryptoProvider>)> {
    let all = providers().into_iter();
    all.map(|provider| {
        let is_ring = format!("{:?}", provider.secure_random).contains("Ring");
        let name = if is_ring { "ring" } else { "aws-lc-rs" };
        (name, provider)
    })
    .collect()
}

/// Returns Mozilla's roots followed by this root.
pub(crate) fn roots(root: &CertificateDer<'static>) -> RootCertStore {
    let mut store = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    store.add(root.clone()).unwrap();
    store
}

pub(crate) fn anchors(root: &CertificateDer<'static>) -> TrustAnchors {
    TrustAnchors::new().with_anchors(AnchorOrigin::BuiltIn, roots(root).roots)
}

pub(crate) fn plain(
    root: &CertificateDer<'static>,
    provider: &Arc<CryptoProvider>,
) -> Arc<WebPkiServerVerifier> {
    let roots = Arc::new(roots(root));
    let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
    builder.build().unwrap()
}

/// Returns pins that match the last key of the path, the worst case.
pub(crate) fn pinning(root: &CertificateDer<'static>) -> Pinning {
    let pin = SpkiFingerprint::of_certificate(root).unwrap();
    let builder = Pinning::builder().static_pins(HOST, policy_with(pin));
    builder.build().unwrap()
}

/// Returns pins that match no chain.
pub(crate) fn refusing() -> Pinning {
    let builder = Pinning::builder().static_pins(HOST, policy_with(unrelated_pin()));
    builder.build().unwrap()
}

/// Returns pins that pass with a candidate that fails: each connection is checked with both, and an
/// event is emitted.
pub(crate) fn observed(root: &CertificateDer<'static>) -> Pinning {
    let pin = SpkiFingerprint::of_certificate(root).unwrap();
    let policy = policy_with(pin).candidate([unrelated_pin()]).unwrap();
    let builder = Pinning::builder().static_pins(HOST, policy);
    builder
        .observer(|event| drop(black_box(event.clone())))
        .build()
        .unwrap()
}

pub(crate) fn pinned(
    pinning: Pinning,
    root: &CertificateDer<'static>,
    provider: &Arc<CryptoProvider>,
) -> PinningVerifier {
    PinningVerifier::builder(pinning)
        .with_anchors(anchors(root))
        .with_provider(provider.clone())
        .verifier_without_resumption_check()
        .unwrap()
}

/// Verifies each chain once.
pub(crate) fn verify<'a>(
    verifier: &dyn ServerCertVerifier,
    leaves: impl IntoIterator<Item = &'a Leaf>,
) {
    let name = ServerName::try_from(HOST).unwrap();
    for leaf in leaves {
        let (leaf, intermediates) = leaf.chain.split_first().unwrap();
        let verdict = verifier.verify_server_cert(leaf, intermediates, &name, &[], now());
        black_box(verdict).unwrap();
    }
}

/// Verifies each chain once, which the pins must refuse.
pub(crate) fn refuse<'a>(
    verifier: &dyn ServerCertVerifier,
    leaves: impl IntoIterator<Item = &'a Leaf>,
) {
    let name = ServerName::try_from(HOST).unwrap();
    for leaf in leaves {
        let (leaf, intermediates) = leaf.chain.split_first().unwrap();
        let verdict = verifier.verify_server_cert(leaf, intermediates, &name, &[], now());
        black_box(verdict).unwrap_err();
    }
}

/// Calls the inner verifier, which does not return its path, and then builds the path again.
pub(crate) struct Naive {
    inner: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    anchors: Vec<TrustAnchor<'static>>,
    pins: HashSet<SpkiFingerprint>,
}

impl Naive {
    pub(crate) fn new(root: &CertificateDer<'static>, provider: &Arc<CryptoProvider>) -> Self {
        Self {
            inner: plain(root, provider),
            provider: provider.clone(),
            anchors: roots(root).roots,
            pins: HashSet::from([SpkiFingerprint::of_certificate(root).unwrap()]),
        }
    }

    fn has_pin(&self, path: &VerifiedPath<'_>) -> bool {
        let leaf = path.end_entity().subject_public_key_info();
        let others = path.intermediate_certificates();
        let others = others.map(|certificate| certificate.subject_public_key_info());
        let is_pinned = |key: SubjectPublicKeyInfoDer<'_>| {
            let fingerprint = SpkiFingerprint::of_public_key(&key);
            fingerprint.is_ok_and(|fingerprint| self.pins.contains(&fingerprint))
        };
        let anchor = SpkiFingerprint::of_anchor(path.anchor());
        std::iter::once(leaf).chain(others).any(is_pinned) || self.pins.contains(&anchor)
    }
}

impl ServerCertVerifier for Naive {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .inner
            .verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        let check = |path: &VerifiedPath<'_>| {
            if self.has_pin(path) {
                Ok(())
            } else {
                Err(webpki::Error::UnknownIssuer)
            }
        };
        let leaf = EndEntityCert::try_from(leaf).map_err(|_| failed())?;
        leaf.verify_for_usage(
            self.provider.signature_verification_algorithms.all,
            &self.anchors,
            intermediates,
            now,
            KeyUsage::server_auth(),
            None,
            Some(&check),
        )
        .map_err(|_| failed())?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl fmt::Debug for Naive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Naive")
    }
}

fn failed() -> Error {
    Error::General("no path contains a pinned key".into())
}

/// Accepts any chain, but verifies the handshake signature: the minimum cost of a full handshake.
#[derive(Debug)]
pub(crate) struct Accepting(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for Accepting {
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
        let algorithms = &self.0.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
