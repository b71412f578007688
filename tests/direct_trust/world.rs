//! Self-signed certificates, servers with raw public keys, and clients that trust both.

use std::sync::Arc;

use bytes::Bytes;
use pinhold::tls::{DirectTrustBuilder, UntrustedServer};
use pinhold::{PinViolation, Pinning, PinningBuilder, PinningVerifier, SpkiFingerprint};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;

use crate::common::Clock;
use crate::common::pki::{Leaf, leaf_params};
use crate::common::server::{Names, Server, answer, client_with_config, get};
use crate::common::tls_setup::{TlsSetup, tls_setups};

pub(crate) const HOST: &str = "example.com";
pub(crate) const URL: &str = "https://example.com/";

pub(crate) type Visit = Result<http::Response<Bytes>, hyper_util::client::legacy::Error>;

pub(crate) fn builder() -> PinningBuilder {
    Pinning::builder().time_provider(Clock::new())
}

pub(crate) fn pinning() -> Pinning {
    builder().build().unwrap()
}

pub(crate) fn name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

/// A certificate that its own key has signed.
pub(crate) fn self_signed(params: CertificateParams) -> Leaf {
    self_signed_by(params, &KeyPair::generate().unwrap())
}

pub(crate) fn self_signed_by(params: CertificateParams, key: &KeyPair) -> Leaf {
    let own = params.self_signed(key).unwrap().der().clone();
    Leaf::from_parts(key.serialize_der(), vec![own])
}

pub(crate) fn own_certificate() -> Leaf {
    self_signed(leaf_params(&[HOST]))
}

/// The `SubjectPublicKeyInfo` of a leaf's key.
pub(crate) fn raw_key(leaf: &Leaf) -> SubjectPublicKeyInfoDer<'static> {
    let key = KeyPair::try_from(leaf.key().secret_der()).unwrap();
    key.subject_public_key_info().into()
}

/// A server that sends these bytes in place of a certificate, and signs with the key of `signer`.
pub(crate) fn raw_key_config(setup: &TlsSetup, sent: &[&[u8]], signer: &Leaf) -> ServerConfig {
    let key_provider = setup.provider.key_provider;
    let key = key_provider.load_private_key(signer.key()).unwrap();
    let sent = sent.iter().map(|der| CertificateDer::from(der.to_vec()));
    let certified = Arc::new(CertifiedKey::new(sent.collect(), key));
    let mut config = setup.config(signer);
    config.cert_resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified));
    config
}

pub(crate) async fn raw_key_server(setup: &TlsSetup, own: &Leaf) -> Server {
    let config = raw_key_config(setup, &[&raw_key(own)], own);
    Server::with_config(config, answer(&[])).await
}

/// The combinations with TLS 1.3, which raw public keys need.
pub(crate) fn tls13_setups() -> impl Iterator<Item = TlsSetup> {
    let setups = tls_setups().into_iter();
    setups.filter(|setup| setup.versions == [&rustls::version::TLS13])
}

impl TlsSetup {
    /// A client that trusts the certificates of these leaves.
    pub(crate) fn own(&self, pinning: &Pinning, leaves: &[&Leaf]) -> DirectTrustBuilder {
        let certificates = leaves.iter().map(|leaf| leaf.certificate());
        let builder =
            PinningVerifier::without_certification_authorities(pinning.clone(), certificates);
        builder
            .with_provider(self.provider.clone())
            .with_protocol_versions(self.versions)
    }

    /// A client that trusts these raw public keys.
    pub(crate) fn raw(
        &self,
        pinning: &Pinning,
        keys: &[(&str, SpkiFingerprint)],
    ) -> DirectTrustBuilder {
        let keys = keys.iter().map(|(host, key)| (name(host), *key));
        let keys = keys.collect::<Vec<_>>();
        let builder = PinningVerifier::without_certificates(pinning.clone(), keys);
        builder.with_provider(self.provider.clone())
    }
}

/// Sends a request to `example.com` at this server with a new client.
pub(crate) async fn visit(trust: DirectTrustBuilder, pinning: &Pinning, server: &Server) -> Visit {
    let names = Names::new([(HOST, server)]);
    let config = trust.client_config().unwrap();
    let mut client = client_with_config(pinning, config, &names);
    get(&mut client, URL).await
}

/// The refusal of a server that has another certificate or key.
pub(crate) fn untrusted(visit: Visit) -> UntrustedServer {
    let error = visit.unwrap_err();
    assert!(PinViolation::find(&error).is_none(), "{error:?}");
    UntrustedServer::find(&error).unwrap_or_else(|| panic!("{error:?}"))
}

/// The error of rustls for a visit that failed.
pub(crate) fn tls_error(visit: Visit) -> rustls::Error {
    let error = visit.unwrap_err();
    assert!(PinViolation::find(&error).is_none(), "{error:?}");
    assert!(UntrustedServer::find(&error).is_none(), "{error:?}");
    let source = std::error::Error::source(&error).unwrap();
    match source.downcast_ref::<pinhold::connector::ConnectError>() {
        Some(pinhold::connector::ConnectError::Tls(error)) => error.clone(),
        other => panic!("expected an error of rustls, found {other:?}"),
    }
}
