//! [`PinningVerifierBuilder`] and [`Pinning::client_config`]: the TLS configuration with its
//! verifier and its resumption check.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionStore, VerifierBuilderError};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DEFAULT_VERSIONS, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::CertificateRevocationListDer;

use crate::chain::{
    CachingAlgorithms, FingerprintCache, PathBuilder, Revocation, RevocationChoice,
};
use crate::pinning::{BuildError, Pinning, provider};
use crate::policy::KeyHash;
use crate::roots::TrustAnchors;
use crate::tls::client_config::{SessionResumption, TlsSettings};
#[cfg(feature = "reqwest")]
use crate::tls::observed_config::{ObservedConfig, ObservedSessions};
use crate::tls::resumption::ResumptionCheck;
use crate::tls::verifier::PinningVerifier;

impl Pinning {
    /// Returns a TLS configuration that validates chains to `anchors` and enforces the pins, for
    /// any stack that takes one. ALPN offers HTTP/2 and HTTP/1.1.
    ///
    /// rustls does not call the verifier for a resumed session. The configuration therefore has a
    /// resumption check: a session is offered only while every chain that was verified for the name
    /// passes the pins in force and is within its dates. Replace neither `resumption` nor the
    /// verifier.
    ///
    /// # Errors
    ///
    /// As [`PinningVerifierBuilder::client_config`].
    ///
    /// ```
    /// use pinhold::{Pinning, TrustAnchors};
    ///
    /// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
    /// let pinning = Pinning::builder().build()?;
    /// let config = pinning.client_config(TrustAnchors::webpki_roots())?;
    /// assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    /// # }
    /// # Ok::<(), pinhold::BuildError>(())
    /// ```
    pub fn client_config(&self, anchors: TrustAnchors) -> Result<ClientConfig, BuildError> {
        PinningVerifier::builder(self.clone())
            .with_anchors(anchors)
            .client_config()
    }
}

impl PinningVerifier {
    /// Returns a builder without trust anchors, with the default crypto provider and without
    /// revocation lists.
    pub fn builder(pinning: Pinning) -> PinningVerifierBuilder {
        PinningVerifierBuilder::new(pinning)
    }
}

/// Builds a [`PinningVerifier`], or a TLS configuration with one. The methods for revocation have
/// the names of rustls's own builder.
///
/// ```
/// use pinhold::{BuildError, Pinning, PinningVerifier};
///
/// let pinning = Pinning::builder().build()?;
/// let built = PinningVerifier::builder(pinning).client_config();
/// assert!(built.is_err(), "no trust anchors");
/// # Ok::<(), BuildError>(())
/// ```
#[must_use]
#[derive(Debug)]
pub struct PinningVerifierBuilder {
    pinning: Pinning,
    anchors: Option<TrustAnchors>,
    inner: Option<Arc<dyn ServerCertVerifier>>,
    provider: Option<Arc<CryptoProvider>>,
    versions: &'static [&'static SupportedProtocolVersion],
    signature_cache: usize,
    crls: Vec<CertificateRevocationListDer<'static>>,
    parse_crls: Option<ParseLists>,
    choices: Vec<RevocationChoice>,
    resumption: SessionResumption,
}

/// Parses revocation lists. Only `with_crls` names the function, so a client without lists does not
/// contain the parser.
type ParseLists = fn(
    Vec<CertificateRevocationListDer<'static>>,
    &[RevocationChoice],
    Arc<RootCertStore>,
    Arc<CryptoProvider>,
) -> Result<Revocation, VerifierBuilderError>;

impl PinningVerifierBuilder {
    pub(crate) fn new(pinning: Pinning) -> Self {
        Self {
            pinning,
            anchors: None,
            inner: None,
            provider: None,
            versions: DEFAULT_VERSIONS,
            signature_cache: Self::SIGNATURE_CACHE_BYTES,
            crls: Vec::new(),
            parse_crls: None,
            choices: Vec::new(),
            resumption: SessionResumption::Checked,
        }
    }

    /// Validates chains to these anchors.
    pub fn with_anchors(mut self, anchors: TrustAnchors) -> Self {
        self.anchors = Some(anchors);
        self
    }

    /// Validates chains to Mozilla's roots.
    #[cfg(feature = "webpki-roots")]
    pub fn with_webpki_roots(self) -> Self {
        self.with_anchors(TrustAnchors::webpki_roots())
    }

    /// Uses this crypto provider. Default: the process default, else the one that the feature
    /// `aws-lc-rs` or `ring` enables. The process default is never set.
    pub fn with_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Lets another verifier decide which servers are trusted, and validates the path for the pins
    /// after it accepts. For the platform's verifier, such as that of `rustls-platform-verifier`,
    /// which knows the revocations and roots of the device but does not return the chain it built.
    ///
    /// 1. `inner` is called first. Its error is returned unchanged.
    /// 2. A path from the certificates that the server *sent* to the trust anchors is validated as
    ///    without `inner`: dates, names, constraints, revocation lists. Pins are checked on it.
    /// 3. Without such a path, a host whose pins are enforced is refused with an
    ///    [`UnverifiablePath`](crate::tls::UnverifiablePath), and so is every host if revocation
    ///    lists are configured, which could not be checked. For any other host the verdict of
    ///    `inner` applies, and no session is resumed. [`PinningConnector`](crate::PinningConnector)
    ///    and the clients of reqwest refuse a connection without a path for every host, also if its
    ///    pins are report-only: they could not check it again when pins change. Observers receive
    ///    each refusal, and each connection to a host whose pins are report-only
    ///    ([`Event::Unverifiable`](crate::Event::Unverifiable)), which counts as a failure in the
    ///    roll-out.
    /// 4. Both check the handshake signature, this crate by the leaf's certificate: a raw public
    ///    key is refused. The signature schemes that both support are offered.
    ///
    /// The validated path need not be the one that `inner` built: a certificate that only `inner`
    /// knows to be revoked may be on it. Configure your own revocation lists where that matters.
    ///
    /// The trust anchors should be those that `inner` trusts: `TrustAnchors::native` with the
    /// feature `native-certs`, or Mozilla's roots if only public servers are pinned. Paths that
    /// `rustls-platform-verifier` accepts and that can't be validated here:
    ///
    /// - Linux, BSD: none, given `TrustAnchors::native`, which reads the same roots.
    /// - macOS, iOS: a path through intermediates that the server did not send and the system
    ///   fetched or cached; a path to a root of Apple's that is not among the anchors.
    /// - Windows: the same; a root that Windows fetches at first use is in no store before.
    /// - Android: a path to a root of the device that is not among the anchors, since `native`
    ///   finds none there. User-added roots are trusted there, even if the network security
    ///   configuration of the application does not allow it.
    ///
    /// On Linux, macOS and Windows, `native` marks the roots that a user or administrator added, as
    /// far as these systems record it.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use pinhold::{Pinning, PinningVerifier, TrustAnchors};
    /// use rustls::ClientConfig;
    /// use rustls::client::danger::ServerCertVerifier;
    ///
    /// /// `platform` is, for example, `Arc::new(rustls_platform_verifier::Verifier::new(provider)?)`.
    /// fn config(
    ///     platform: Arc<dyn ServerCertVerifier>,
    ///     pinning: &Pinning,
    ///     anchors: TrustAnchors,
    /// ) -> Result<ClientConfig, pinhold::BuildError> {
    ///     PinningVerifier::builder(pinning.clone())
    ///         .with_anchors(anchors)
    ///         .with_inner_verifier(platform)
    ///         .client_config()
    /// }
    /// ```
    pub fn with_inner_verifier(mut self, inner: Arc<dyn ServerCertVerifier>) -> Self {
        self.inner = Some(inner);
        self
    }

    /// Offers these TLS versions. Default: TLS 1.2 and 1.3.
    pub fn with_protocol_versions(
        mut self,
        versions: &'static [&'static SupportedProtocolVersion],
    ) -> Self {
        self.versions = versions;
        self
    }

    /// Sets the approximate size, in bytes, of the cache of verified certificate signatures; zero
    /// disables it. With a cache, the chain of a host that was seen before, or of another host of
    /// the same CA, takes fewer signature checks. Default:
    /// [`SIGNATURE_CACHE_BYTES`](Self::SIGNATURE_CACHE_BYTES).
    ///
    /// Dates, names, constraints, revocation, the path and the pins are checked every time. The
    /// cache belongs to the verifier and so is shared by all clones of a configuration. The
    /// signature by which a server proves that it has its private key is never cached. With a cache
    /// the fingerprints of the keys of valid chains are kept, too, in addition to `bytes`: of at most
    /// 256 keys (256 KB), by all their bytes.
    pub fn signature_cache(mut self, bytes: usize) -> Self {
        self.signature_cache = bytes;
        self
    }

    /// Default size of the signature cache: 256 KiB, the chains of about a hundred hosts.
    pub const SIGNATURE_CACHE_BYTES: usize = 256 * 1024;

    /// Checks the whole chain against these revocation lists; a certificate of unknown status is
    /// refused. Further calls add further lists.
    pub fn with_crls(
        mut self,
        crls: impl IntoIterator<Item = CertificateRevocationListDer<'static>>,
    ) -> Self {
        self.crls.extend(crls);
        self.parse_crls = Some(Revocation::new);
        self
    }

    /// Checks the revocation of the leaf only.
    pub fn only_check_end_entity_revocation(mut self) -> Self {
        self.choices.push(RevocationChoice::EndEntityOnly);
        self
    }

    /// Accepts certificates whose status the lists don't contain.
    pub fn allow_unknown_revocation_status(mut self) -> Self {
        self.choices.push(RevocationChoice::AllowUnknown);
        self
    }

    /// Refuses every chain once a list is past its `nextUpdate`. A resumed session would not be
    /// checked against the lists again, so together with lists this disables resumption.
    pub fn enforce_revocation_expiration(mut self) -> Self {
        self.choices.push(RevocationChoice::EnforceExpiration);
        self
    }

    /// Disables the resumption of TLS sessions, so that every connection makes a full handshake.
    pub fn disable_resumption(mut self) -> Self {
        self.resumption = SessionResumption::Disabled;
        self
    }

    /// Returns the configuration for connections to pinned hosts; see [`Pinning::client_config`].
    ///
    /// # Errors
    ///
    /// [`BuildError::NoTrustAnchors`], [`BuildError::NoCryptoProvider`],
    /// [`BuildError::UndecidedCryptoProvider`], [`BuildError::RevocationList`], and
    /// [`BuildError::Tls`] for TLS versions that the provider lacks.
    pub fn client_config(self) -> Result<ClientConfig, BuildError> {
        let (config, _) = self.client_config_with(|_| (), |sessions| sessions)?;
        Ok(config)
    }

    /// As [`client_config`](Self::client_config), for a client of reqwest with these pins, and with
    /// the changes of `configure`.
    ///
    /// A client of reqwest can't repeat a handshake whose session is refused, so that its pins must
    /// be those of the resumption check.
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

    /// As [`client_config`](Self::client_config), with the changes of `configure`, and with the
    /// session store that `store` makes of the resumption check.
    fn client_config_with(
        mut self,
        configure: impl FnOnce(&mut ClientConfig),
        store: impl FnOnce(Arc<ResumptionCheck>) -> Arc<dyn ClientSessionStore>,
    ) -> Result<(ClientConfig, Arc<ResumptionCheck>), BuildError> {
        let provider = provider::choose(self.provider.take())?;
        let enforces = self.choices.contains(&RevocationChoice::EnforceExpiration);
        let resumption = if enforces && !self.crls.is_empty() {
            SessionResumption::Disabled
        } else {
            self.resumption
        };
        let versions = self.versions;
        let verifier = self.build(&provider)?;
        let settings = TlsSettings {
            provider,
            versions,
            resumption,
        };
        settings.client_config(verifier, configure, store)
    }

    /// Returns the verifier alone, for a configuration made elsewhere. Resumed sessions then bypass
    /// pins that were added after their handshake: set `Resumption::disabled()` and leave early
    /// data off in that configuration, or use [`client_config`](Self::client_config).
    ///
    /// # Errors
    ///
    /// As [`client_config`](Self::client_config).
    pub fn verifier_without_resumption_check(mut self) -> Result<PinningVerifier, BuildError> {
        let provider = provider::choose(self.provider.take())?;
        self.build(&provider)
    }

    fn build(self, provider: &Arc<CryptoProvider>) -> Result<PinningVerifier, BuildError> {
        let anchors = self.anchors.unwrap_or_default();
        #[cfg(pinhold_debug_overrides)]
        let anchors = self.pinning.overrides().apply(anchors);
        if anchors.iter().next().is_none() {
            return Err(BuildError::NoTrustAnchors);
        }
        let algorithms = provider.signature_verification_algorithms;
        let hash = KeyHash::of(provider);
        let revocation = match self.parse_crls {
            Some(parse) if !self.crls.is_empty() => {
                let roots = Arc::new(anchors.root_store());
                let parsed = parse(self.crls, &self.choices, roots, Arc::clone(provider));
                Some(parsed.map_err(BuildError::RevocationList)?)
            }
            _ => None,
        };
        Ok(PinningVerifier {
            pinning: self.pinning,
            paths: PathBuilder {
                anchors,
                algorithms: CachingAlgorithms::new(algorithms.all, self.signature_cache),
                fingerprints: FingerprintCache::new(hash, self.signature_cache > 0),
                revocation,
            },
            roots: OnceLock::new(),
            algorithms,
            inner: self.inner,
            sessions: None,
            #[cfg(feature = "self-test")]
            identity: None,
        })
    }
}
