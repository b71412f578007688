//! [`PinningVerifierBuilder`] and [`Pinning::client_config`]: the TLS configuration with its
//! verifier and its resumption check.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, VerifierBuilderError};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{
    CertificateError, ClientConfig, DEFAULT_VERSIONS, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};

use crate::chain::{
    CachingAlgorithms, FingerprintCache, PathBuilder, Revocation, RevocationChoice,
};
use crate::pinning::{BuildError, Pinning, provider};
use crate::policy::KeyHash;
use crate::roots::TrustAnchors;
#[cfg(feature = "reqwest")]
use crate::tls::observed_config::{ObservedConfig, ObservedSessions};
use crate::tls::resumption::ResumptionCheck;
use crate::tls::verifier::PinningVerifier;
#[cfg(feature = "self-test")]
use {
    crate::tls::canary::{Identity, SessionUse},
    crate::tls::resumption::NoSessions,
    rustls::client::Tls12Resumption,
    std::sync::Weak,
};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionResumption {
    Checked,
    Disabled,
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
    ///
    /// The verifier, the resumption check and the clock are set after `configure`, so that it can't
    /// replace them: without any of them a connection could bypass the pins. Nor can it copy them:
    /// a clone that it keeps trusts no server. Early data is refused, since it is sent before pins
    /// are checked.
    fn client_config_with(
        mut self,
        configure: impl FnOnce(&mut ClientConfig),
        store: impl FnOnce(Arc<ResumptionCheck>) -> Arc<dyn ClientSessionStore>,
    ) -> Result<(ClientConfig, Arc<ResumptionCheck>), BuildError> {
        let provider = provider::choose(self.provider.take())?;
        let (clock, versions) = (Arc::clone(self.pinning.clock()), self.versions);
        let algorithms = provider.signature_verification_algorithms;
        let sessions = Arc::new(ResumptionCheck::new(self.pinning.clone()));
        let enforces = self.choices.contains(&RevocationChoice::EnforceExpiration);
        let lists_expire = enforces && !self.crls.is_empty();
        let resumes = !lists_expire && self.resumption == SessionResumption::Checked;
        let mut verifier = self.build(&provider)?;
        verifier.sessions = Some(Arc::clone(&sessions));
        let mut config = ClientConfig::builder_with_details(provider, Arc::clone(&clock))
            .with_protocol_versions(versions)
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
        let store = resumes.then(|| store(Arc::clone(&sessions)));
        set_verifier(&mut config, verifier, store);
        Ok((config, sessions))
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

/// Sets the verifier and the session store of a configuration; without a store, nothing is resumed.
#[cfg(not(feature = "self-test"))]
fn set_verifier(
    config: &mut ClientConfig,
    verifier: PinningVerifier,
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
fn set_verifier(
    config: &mut ClientConfig,
    mut verifier: PinningVerifier,
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
    let verifier = Arc::new_cyclic(|own: &Weak<PinningVerifier>| {
        verifier.identity = Some(Identity {
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
