//! [`DirectTrustBuilder`]: TLS configurations that trust servers by their own certificate or raw
//! public key.

use std::sync::{Arc, OnceLock};

use rustls::client::ClientSessionStore;
use rustls::crypto::CryptoProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, DEFAULT_VERSIONS, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName};

use crate::chain::{
    CachingAlgorithms, DirectTrust, FingerprintCache, OwnCertificate, OwnKey, PathBuilder,
};
use crate::pinning::{BuildError, Pinning, provider};
use crate::policy::{KeyHash, SpkiFingerprint};
use crate::roots::TrustAnchors;
use crate::tls::client_config::{SessionResumption, TlsSettings};
use crate::tls::direct_verifier::DirectVerifier;
#[cfg(feature = "reqwest")]
use crate::tls::observed_config::{ObservedConfig, ObservedSessions};
use crate::tls::resumption::ResumptionCheck;
use crate::tls::verifier::PinningVerifier;

impl PinningVerifier {
    /// Returns a builder of configurations that trust exactly these server certificates, and no
    /// certification authority. For servers of one's own, and for devices with a self-signed
    /// certificate.
    ///
    /// A server is accepted if it sends one of these certificates, byte for byte, as its own, and
    /// proves that it has the key. Who issued it, and whether it is marked as that of a CA, does not
    /// matter. Its `subjectAltName` must contain the requested name, and its dates must hold. All pins
    /// apply, too. Other certificates that the server sends are ignored.
    ///
    /// # What it gives up
    ///
    /// - Certification authorities: none can mis-issue, and none vouches for a new server.
    /// - Renewal: every new certificate needs an update of the application, also one with the same key.
    ///   Ship the next certificate beside the current one before the server uses it.
    /// - Revocation: a stolen key is trusted until the certificate expires or the application is
    ///   updated.
    ///
    /// Nothing is noted from the responses of such servers, and no reports leave.
    ///
    /// ```
    /// use pinhold::{Pinning, PinningVerifier};
    /// use rustls::pki_types::{CertificateDer, pem::PemObject};
    ///
    /// /// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=printer.example
    /// /// -addext subjectAltName=DNS:printer.example`
    /// const OWN: &str = "\
    /// -----BEGIN CERTIFICATE-----
    /// MIIBpzCCAU2gAwIBAgIUbBFvuL76ZAfDf2DXtgsX1AgOz0AwCgYIKoZIzj0EAwIw
    /// GjEYMBYGA1UEAwwPcHJpbnRlci5leGFtcGxlMCAXDTI2MTIwMTA0MzY1MloYDzIx
    /// MjYxMTA3MDQzNjUyWjAaMRgwFgYDVQQDDA9wcmludGVyLmV4YW1wbGUwWTATBgcq
    /// hkjOPQIBBggqhkjOPQMBBwNCAASYyH6YKmVPuvYCks9BlSYdSLHVihWKhuASXS2u
    /// iIMPOkNTJnIih/tZOfNCT+7zS6ZyFinFmjs+r5mwq9u8Hk+8o28wbTAdBgNVHQ4E
    /// FgQUuif7wgw6lEbrcsjpfyi7vFwYSqgwHwYDVR0jBBgwFoAUuif7wgw6lEbrcsjp
    /// fyi7vFwYSqgwDwYDVR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgg9wcmludGVyLmV4
    /// YW1wbGUwCgYIKoZIzj0EAwIDSAAwRQIgWRi5q95JUMMInJCxx0wL0F8ZMU6d7hNP
    /// /+mO+tQ1Q0kCIQCyCEXNAE7HOYs4H1ts0P4Y1K1HLBKWFBOaKXwKsFSd1A==
    /// -----END CERTIFICATE-----
    /// ";
    ///
    /// # #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))] {
    /// let own = CertificateDer::from_pem_slice(OWN.as_bytes())?;
    /// let pinning = Pinning::builder().build()?;
    /// let config = PinningVerifier::without_certification_authorities(pinning, [own]).client_config()?;
    /// # drop(config);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// It is never mixed with trust anchors:
    ///
    /// ```compile_fail,E0599
    /// # use pinhold::{Pinning, PinningVerifier, TrustAnchors};
    /// # let pinning = Pinning::builder().build()?;
    /// PinningVerifier::without_certification_authorities(pinning, []).with_anchors(TrustAnchors::new());
    /// # Ok::<(), pinhold::BuildError>(())
    /// ```
    pub fn without_certification_authorities(
        pinning: Pinning,
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> DirectTrustBuilder {
        let all = certificates.into_iter().enumerate();
        let all = all.map(|(index, der)| {
            let own = OwnCertificate::new(der);
            own.map_err(|reason| BuildError::OwnCertificate { index, reason })
        });
        let all = all.collect::<Result<Vec<_>, _>>();
        DirectTrustBuilder::new(
            pinning,
            all.map(DirectTrust::Certificates),
            DEFAULT_VERSIONS,
        )
    }

    /// Returns a builder of configurations that trust raw public keys (RFC 7250): the server sends its
    /// key alone, without a certificate.
    ///
    /// A server is accepted for a name if it sends one of the keys of this name, and proves that it
    /// has it. A key counts for no other name, so that a server can't stand in for another one. Several
    /// keys may be given for one name: the next one before the server changes it. All pins apply, too.
    ///
    /// The fingerprint of a key is that of its `SubjectPublicKeyInfo`
    /// ([`SpkiFingerprint::of_public_key`]), which is also that of a certificate with this key.
    ///
    /// # What it gives up
    ///
    /// - All that a certificate says: a key does not expire, and its server is what the application
    ///   states.
    /// - Certification authorities: none can mis-issue, and none vouches for a new server.
    /// - Revocation: a stolen key is trusted until the application is updated.
    /// - Servers without raw public keys, which include nearly all of the web: the handshake fails with
    ///   [`PeerIncompatible`](rustls::Error::PeerIncompatible), and no certificate is accepted in
    ///   place of the key. rustls negotiates raw public keys with TLS 1.3 only, and no other version is
    ///   offered.
    ///
    /// Nothing is noted from the responses of such servers, and no reports leave.
    ///
    /// ```
    /// use pinhold::{Pinning, PinningVerifier, SpkiFingerprint};
    /// use rustls::pki_types::ServerName;
    ///
    /// # #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))] {
    /// let meter = ServerName::try_from("meter.example")?;
    /// let key: SpkiFingerprint = "sha256/UvrJ7xWQqIai1LiDUqrxuenMtEA5O+GkGhR09c59iJk=".parse()?;
    /// let pinning = Pinning::builder().build()?;
    /// let config = PinningVerifier::without_certificates(pinning, [(meter, key)]).client_config()?;
    /// # drop(config);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// It is never mixed with trust anchors:
    ///
    /// ```compile_fail,E0599
    /// # use pinhold::{Pinning, PinningVerifier, TrustAnchors};
    /// # let pinning = Pinning::builder().build()?;
    /// PinningVerifier::without_certificates(pinning, []).with_anchors(TrustAnchors::new());
    /// # Ok::<(), pinhold::BuildError>(())
    /// ```
    pub fn without_certificates(
        pinning: Pinning,
        keys: impl IntoIterator<Item = (ServerName<'static>, SpkiFingerprint)>,
    ) -> DirectTrustBuilder {
        let all = keys.into_iter().map(|(name, key)| OwnKey::new(name, key));
        let trust = DirectTrust::Keys(all.collect());
        DirectTrustBuilder::new(pinning, Ok(trust), TLS13_ONLY)
    }
}

/// Builds TLS configurations that trust servers by their own certificate or raw public key; see
/// [`PinningVerifier::without_certification_authorities`] and
/// [`PinningVerifier::without_certificates`].
///
/// It has no methods for trust anchors, revocation lists and another verifier: what is trusted
/// directly is never mixed with what a certification authority has issued.
///
/// ```
/// use pinhold::{BuildError, Pinning, PinningVerifier};
///
/// let pinning = Pinning::builder().build()?;
/// let built = PinningVerifier::without_certificates(pinning, []).client_config();
/// assert!(matches!(built, Err(BuildError::NoDirectTrust)));
/// # Ok::<(), BuildError>(())
/// ```
#[must_use]
#[derive(Debug)]
pub struct DirectTrustBuilder {
    pinning: Pinning,
    trust: Result<DirectTrust, BuildError>,
    provider: Option<Arc<CryptoProvider>>,
    versions: &'static [&'static SupportedProtocolVersion],
    resumption: SessionResumption,
}

impl DirectTrustBuilder {
    fn new(
        pinning: Pinning,
        trust: Result<DirectTrust, BuildError>,
        versions: &'static [&'static SupportedProtocolVersion],
    ) -> Self {
        Self {
            pinning,
            trust,
            provider: None,
            versions,
            resumption: SessionResumption::Checked,
        }
    }

    /// Uses this crypto provider. Default: the process default, else the one that the feature
    /// `aws-lc-rs` or `ring` enables. The process default is never set.
    pub fn with_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Offers these TLS versions. Default: TLS 1.2 and 1.3; with raw public keys TLS 1.3, without which
    /// no configuration is built and beside which no other version is offered.
    pub fn with_protocol_versions(
        mut self,
        versions: &'static [&'static SupportedProtocolVersion],
    ) -> Self {
        self.versions = versions;
        self
    }

    /// Disables the resumption of TLS sessions, so that every connection makes a full handshake.
    /// Default: a session is offered only while the pins in force accept the server's key and, of a
    /// certificate, the dates hold.
    pub fn disable_resumption(mut self) -> Self {
        self.resumption = SessionResumption::Disabled;
        self
    }

    /// Returns the configuration, for
    /// [`with_tls_config`](crate::connector::PinningConnectorBuilder::with_tls_config) of the connector
    /// and for any other stack that takes one. Replace neither its verifier nor `resumption`, as with
    /// that of [`Pinning::client_config`].
    ///
    /// # Errors
    ///
    /// [`BuildError::NoDirectTrust`] if no certificate or key was given,
    /// [`BuildError::OwnCertificate`] for one that can't be parsed, [`BuildError::NoCryptoProvider`],
    /// [`BuildError::UndecidedCryptoProvider`], and [`BuildError::Tls`] for TLS versions that the
    /// provider lacks, or that have no raw public keys.
    pub fn client_config(self) -> Result<ClientConfig, BuildError> {
        let (config, _) = self.client_config_with(|_| (), |sessions| sessions)?;
        Ok(config)
    }

    /// As [`client_config`](Self::client_config), for a client of reqwest with these pins, and with
    /// the changes of `configure`.
    #[cfg(feature = "reqwest")]
    pub(crate) fn observed_config(
        self,
        pinning: &Pinning,
        configure: impl FnOnce(&mut ClientConfig),
    ) -> Result<ObservedConfig, BuildError> {
        if !self.pinning.is_same(pinning) {
            return Err(BuildError::OtherPins);
        }
        let (config, sessions) =
            self.client_config_with(configure, |sessions| Arc::new(ObservedSessions(sessions)))?;
        Ok(ObservedConfig { config, sessions })
    }

    fn client_config_with(
        self,
        configure: impl FnOnce(&mut ClientConfig),
        store: impl FnOnce(Arc<ResumptionCheck>) -> Arc<dyn ClientSessionStore>,
    ) -> Result<(ClientConfig, Arc<ResumptionCheck>), BuildError> {
        let trust = self.trust?;
        let (is_empty, versions) = match &trust {
            DirectTrust::Certificates(all) => (all.is_empty(), self.versions),
            DirectTrust::Keys(all) if self.versions.contains(&&TLS13) => {
                (all.is_empty(), TLS13_ONLY)
            }
            // rustls returns its error for a configuration without a version.
            DirectTrust::Keys(all) => (all.is_empty(), NO_VERSION),
        };
        if is_empty {
            return Err(BuildError::NoDirectTrust);
        }
        let provider = provider::choose(self.provider)?;
        let algorithms = provider.signature_verification_algorithms;
        let pins = PinningVerifier {
            pinning: self.pinning,
            paths: PathBuilder {
                anchors: TrustAnchors::new(),
                algorithms: CachingAlgorithms::new(algorithms.all, 0),
                fingerprints: FingerprintCache::new(KeyHash::of(&provider), false),
                revocation: None,
            },
            roots: OnceLock::new(),
            algorithms,
            inner: None,
            sessions: None,
            #[cfg(feature = "self-test")]
            identity: None,
        };
        let settings = TlsSettings {
            provider,
            versions,
            resumption: self.resumption,
        };
        settings.client_config(DirectVerifier { trust, pins }, configure, store)
    }
}

const TLS13_ONLY: &[&SupportedProtocolVersion] = &[&TLS13];
const NO_VERSION: &[&SupportedProtocolVersion] = &[];
