//! The door to rustls: [`PinningVerifier`], a `ServerCertVerifier`, and the `ClientConfig` that we
//! hand out.
//!
//! The verifier validates as `WebPkiServerVerifier` does, to the letter: where no path is valid,
//! rustls is asked for the error, and all that is not about the chain is delegated to its
//! functions. A wrapped verifier is asked before, and has to agree. Ours only reads state, as it runs
//! before the server has proved that it has the key.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    Resumption, VerifierBuilderError, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, DEFAULT_VERSIONS, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};

use crate::chain::{
    CachingAlgorithms, PathBuilder, Presented, Revocation, RevocationChoice, ValidPath,
};
use crate::pinning::{BuildError, Decision, Pinning};
use crate::policy::{AppliedPolicies, Host, KeyHash, PolicyState};
use crate::roots::TrustAnchors;
use crate::tls::connection::Verified;
use crate::tls::resumption::ResumptionCheck;
use crate::tls::{connection, provider};
use crate::violation::{PinViolation, UnverifiablePath};

impl Pinning {
    /// A TLS configuration that validates chains to `anchors` and enforces the pins, for any stack
    /// that takes one. ALPN offers HTTP/2 and HTTP/1.1.
    ///
    /// rustls asks no verifier about a resumed session. So sessions are kept behind a gate, which
    /// offers one only while every chain that this configuration verified for the name satisfies
    /// the pins of the moment and is within its dates. Replace neither `resumption` nor the
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
        PinningVerifier::builder(self.clone(), anchors).client_config()
    }
}

/// Validates a server's chain as `WebPkiServerVerifier` does, and then enforces the pins.
///
/// A refusal is `rustls::Error::InvalidCertificate(CertificateError::Other(_))` around a
/// [`PinViolation`]; [`PinViolation::find`] finds it. The server sees a `certificate_unknown`
/// alert. Any other error is the one that `WebPkiServerVerifier` gives for the same chain, unless
/// another verifier is [wrapped](PinningVerifierBuilder::with_inner_verifier).
pub struct PinningVerifier {
    pinning: Pinning,
    paths: PathBuilder,
    /// The anchors as rustls takes them, once a chain has failed: half of what a client takes to
    /// build.
    roots: OnceLock<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Decides trust; the path is proved after it.
    inner: Option<Arc<dyn ServerCertVerifier>>,
    /// The gate of the configuration that this verifier belongs to.
    sessions: Option<Arc<ResumptionCheck>>,
}

impl PinningVerifier {
    /// Starts with the default crypto provider and without revocation lists.
    pub fn builder(pinning: Pinning, anchors: TrustAnchors) -> PinningVerifierBuilder {
        PinningVerifierBuilder {
            pinning,
            anchors,
            inner: None,
            provider: None,
            versions: DEFAULT_VERSIONS,
            signature_cache: PinningVerifierBuilder::SIGNATURE_CACHE_BYTES,
            crls: Vec::new(),
            read_crls: None,
            choices: Vec::new(),
            resumption: SessionResumption::Enabled,
        }
    }

    /// Refuses a path that is valid but fails the pins; hands on any other.
    fn conclude(
        &self,
        path: ValidPath<'_>,
        policies: &AppliedPolicies,
        presented: Presented<'_>,
        host: Option<Host>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let is_observed = connection::is_observed();
        if self.sessions.is_none() && !is_observed && policies.is_empty() {
            return Ok(());
        }
        let judgement = path.judgement;
        let chain = path.into_chain(presented, host.clone());
        if let Some(host) = host {
            let decision = Decision::of(judgement, policies, |policy| {
                PinViolation::new(host.clone(), policy, chain.clone(), now)
            });
            // Where our connector observes, it tells: it knows the port, and when the server has
            // proved that it has the key.
            if !is_observed {
                self.pinning.record_connection(&chain, &decision, None, now);
            }
            if let Decision::Refuse(violation) = decision {
                return Err(violation.into_rustls());
            }
        }
        if let Some(sessions) = &self.sessions {
            sessions.remember(&chain);
        }
        let sessions = self.sessions.clone();
        connection::record(|| Verified { chain, sessions });
        Ok(())
    }

    /// As `WebPkiServerVerifier`, which is these calls.
    fn rustls_verdict(&self, presented: Presented<'_>, now: UnixTime) -> Result<(), Error> {
        let (leaf, intermediates, name) = (presented.leaf, presented.intermediates, presented.name);
        if let Some(revocation) = &self.paths.revocation {
            let reference = &revocation.reference;
            let verdict = reference.verify_server_cert(leaf, intermediates, name, &[], now);
            return verdict.map(drop);
        }
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            self.roots.get_or_init(|| self.paths.anchors.root_store()),
            intermediates,
            now,
            algorithms,
        )?;
        verify_server_name(&leaf, name)
    }

    /// An IP address has none.
    fn pins_of(&self, name: &ServerName<'_>, now: UnixTime) -> (Option<Host>, AppliedPolicies) {
        let ServerName::DnsName(name) = name else {
            return (None, AppliedPolicies::default());
        };
        let host = Host::from(name);
        let policies = self.pinning.query(&host, now);
        (Some(host), policies)
    }

    /// Without a wrapped verifier the error is rustls's own. With one, which accepted the server,
    /// it goes on where nothing is pinned, nobody wants a chain, and no revocation lists are to be
    /// checked.
    fn on_unverifiable_path(
        &self,
        presented: Presented<'_>,
        policies: &AppliedPolicies,
        reason: Error,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.inner.is_none() {
            return Err(reason);
        }
        let enforced = policies
            .iter()
            .find(|policy| policy.state != PolicyState::ReportOnly);
        // Who observes will judge the connection by its chain, for as long as it lives.
        let is_refused =
            enforced.is_some() || connection::is_observed() || self.paths.revocation.is_some();
        if is_refused || !policies.is_empty() {
            let served = std::iter::once(presented.leaf)
                .chain(presented.intermediates)
                .map(|certificate| certificate.clone().into_owned());
            let policy = enforced.or_else(|| policies.iter().next());
            let unverifiable =
                UnverifiablePath::new(presented.name, policy, served.collect(), reason);
            self.pinning.record_unverifiable(&unverifiable, now);
            if is_refused {
                return Err(unverifiable.into_rustls());
            }
        }
        if let Some(sessions) = &self.sessions {
            sessions.disable_resumption(presented.name);
        }
        event!(DEBUG, name = ?presented.name, "no path could be proved, none is needed");
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for PinningVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(inner) = &self.inner {
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        let presented = Presented {
            leaf: end_entity,
            intermediates,
            name: server_name,
        };
        let (host, policies) = self.pins_of(server_name, now);
        let Ok(path) = self.paths.validate(presented, &policies, now) else {
            // Never a pin violation: rustls says what is wrong with the chain or the name.
            return match self.rustls_verdict(presented, now) {
                Err(reason) => self.on_unverifiable_path(presented, &policies, reason, now),
                Ok(()) => Err(Error::General(
                    "pinhold found no path where rustls did".into(),
                )),
            };
        };
        self.conclude(path, &policies, presented, host, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if let Some(inner) = &self.inner {
            inner.verify_tls12_signature(message, cert, dss)?;
        }
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if let Some(inner) = &self.inner {
            inner.verify_tls13_signature(message, cert, dss)?;
        }
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        if let Some(inner) = &self.inner {
            let theirs = inner.supported_verify_schemes();
            schemes.retain(|scheme| theirs.contains(scheme));
        }
        schemes
    }

    fn requires_raw_public_keys(&self) -> bool {
        let inner = self.inner.as_ref();
        inner.is_some_and(|inner| inner.requires_raw_public_keys())
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.as_ref()?.root_hint_subjects()
    }
}

impl fmt::Debug for PinningVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinningVerifier")
            .field("pinning", &self.pinning)
            .field("anchors", &self.paths.anchors)
            .field("wraps", &self.inner)
            .finish_non_exhaustive()
    }
}

/// Chooses how chains are validated; the words for revocation are those of rustls's own builder.
///
/// ```
/// use pinhold::{BuildError, Pinning, PinningVerifier, TrustAnchors};
///
/// let pinning = Pinning::builder().build()?;
/// let built = PinningVerifier::builder(pinning, TrustAnchors::new()).client_config();
/// assert!(built.is_err());
/// # Ok::<(), BuildError>(())
/// ```
#[must_use]
#[derive(Debug)]
pub struct PinningVerifierBuilder {
    pinning: Pinning,
    anchors: TrustAnchors,
    inner: Option<Arc<dyn ServerCertVerifier>>,
    provider: Option<Arc<CryptoProvider>>,
    versions: &'static [&'static SupportedProtocolVersion],
    signature_cache: usize,
    crls: Vec<CertificateRevocationListDer<'static>>,
    read_crls: Option<ReadLists>,
    choices: Vec<RevocationChoice>,
    resumption: SessionResumption,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionResumption {
    Disabled,
    Enabled,
}

/// Named only where lists are handed in: a client without them does not carry their parser.
type ReadLists = fn(
    Vec<CertificateRevocationListDer<'static>>,
    &[RevocationChoice],
    Arc<RootCertStore>,
    Arc<CryptoProvider>,
) -> Result<Revocation, VerifierBuilderError>;

impl PinningVerifierBuilder {
    /// Uses this crypto provider. Unless said: the process default, else the one that the feature
    /// `aws-lc-rs` or `ring` enables. The process default is never set.
    pub fn with_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Lets another verifier decide whom to trust, and proves the path for the pins after it: for
    /// the platform's own, such as that of `rustls-platform-verifier`, which knows the revocations
    /// and roots of the device but tells nobody which chain it took.
    ///
    /// 1. `inner` is asked first. Its error is returned as it is.
    /// 2. A path from the certificates that the server *sent* to the anchors handed in is proved,
    ///    as without `inner`: dates, names, constraints, revocation lists. Pins are tried on it.
    /// 3. Without such a path a host whose pins are enforced is refused with an [`UnverifiablePath`],
    ///    and so is every host where revocation lists are handed in, which could not be checked. On
    ///    any other host the verdict of `inner` stands, and no session of it is resumed; but
    ///    [`PinningConnector`](crate::PinningConnector) and the clients of reqwest make no
    ///    connection without a path, whatever the host, even where pins only report: they could
    ///    not judge it when pins change. Observers are told of each refusal, and of hosts whose
    ///    pins only report ([`Event::Unverifiable`](crate::Event::Unverifiable)); pins on trial count it
    ///    as a failure.
    /// 4. Both check the handshake signature, ours by the leaf's certificate: a raw public key is
    ///    refused. Offered are the schemes that both know.
    ///
    /// The path that is proved need not be the one that `inner` took: what only `inner` knows to be
    /// revoked may stand on it. Hand in your own lists where that matters.
    ///
    /// So hand in what `inner` trusts: [`TrustAnchors::native`] with the feature `native-certs`, or
    /// Mozilla's roots where only public servers are pinned. What `rustls-platform-verifier` takes
    /// and we can't prove:
    ///
    /// - Linux, BSD: nothing, given `TrustAnchors::native`, which reads the same roots.
    /// - macOS, iOS: a path through intermediates that the server did not send and the system
    ///   fetched or remembered; one to a root of Apple's that is not handed in.
    /// - Windows: the same; roots that it fetches when first needed are in no store before.
    /// - Android: a path to a root of the device that is not handed in, since `native` finds none
    ///   there. User-added roots it trusts, whatever the network security configuration says.
    ///
    /// Who added a root `native` can tell of Linux, macOS and Windows, as far as they know.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use pinhold::{Pinning, PinningVerifier, TrustAnchors};
    /// use rustls::ClientConfig;
    /// use rustls::client::danger::ServerCertVerifier;
    ///
    /// /// Say `Arc::new(rustls_platform_verifier::Verifier::new(provider)?)`.
    /// fn over(
    ///     platform: Arc<dyn ServerCertVerifier>,
    ///     pinning: &Pinning,
    ///     anchors: TrustAnchors,
    /// ) -> Result<ClientConfig, pinhold::BuildError> {
    ///     let verifier = PinningVerifier::builder(pinning.clone(), anchors);
    ///     verifier.with_inner_verifier(platform).client_config()
    /// }
    /// ```
    pub fn with_inner_verifier(mut self, inner: Arc<dyn ServerCertVerifier>) -> Self {
        self.inner = Some(inner);
        self
    }

    /// Offers these TLS versions. Unless said, 1.2 and 1.3.
    pub fn with_protocol_versions(
        mut self,
        versions: &'static [&'static SupportedProtocolVersion],
    ) -> Self {
        self.versions = versions;
        self
    }

    /// Remembers signatures that were found right in about so many bytes, so that the chain of a
    /// host seen before, or of another host of the same CA, is not calculated again; zero
    /// remembers none. Unless said, [`SIGNATURE_CACHE_BYTES`](Self::SIGNATURE_CACHE_BYTES).
    ///
    /// Dates, names, constraints, revocation, the path and the pins are checked every time. The
    /// memory lives with the verifier, and so is shared by all clones of a configuration; the
    /// signature by which a server proves that it has its key is never remembered.
    pub fn signature_cache(mut self, bytes: usize) -> Self {
        self.signature_cache = bytes;
        self
    }

    /// Bytes of remembered signatures unless said otherwise: 256 KiB, the chains of about a
    /// hundred hosts.
    pub const SIGNATURE_CACHE_BYTES: usize = 256 * 1024;

    /// Checks the whole chain against these revocation lists; a certificate of unknown status is
    /// refused. More calls add more lists.
    pub fn with_crls(
        mut self,
        crls: impl IntoIterator<Item = CertificateRevocationListDer<'static>>,
    ) -> Self {
        self.crls.extend(crls);
        self.read_crls = Some(Revocation::new);
        self
    }

    /// Checks the revocation of the leaf only.
    pub fn only_check_end_entity_revocation(mut self) -> Self {
        self.choices.push(RevocationChoice::EndEntityOnly);
        self
    }

    /// Accepts certificates on whose status the lists say nothing.
    pub fn allow_unknown_revocation_status(mut self) -> Self {
        self.choices.push(RevocationChoice::AllowUnknown);
        self
    }

    /// Refuses when a list is past its `nextUpdate`. A resumed session would not ask the lists
    /// again, so together with lists this leaves a configuration without resumption.
    pub fn enforce_revocation_expiration(mut self) -> Self {
        self.choices.push(RevocationChoice::EnforceExpiration);
        self
    }

    /// Disables TLS session resumption, so that every connection makes a full handshake.
    pub fn disable_resumption(mut self) -> Self {
        self.resumption = SessionResumption::Disabled;
        self
    }

    /// The configuration for connections to pinned hosts; see [`Pinning::client_config`].
    ///
    /// # Errors
    ///
    /// [`BuildError::NoTrustAnchors`], [`BuildError::NoCryptoProvider`],
    /// [`BuildError::UndecidedCryptoProvider`], [`BuildError::RevocationList`], and
    /// [`BuildError::Tls`] for TLS versions that the provider lacks.
    pub fn client_config(self) -> Result<ClientConfig, BuildError> {
        self.client_config_with(|_| ())
    }

    /// As [`client_config`](Self::client_config), with the changes that `configure` makes.
    ///
    /// The verifier, the resumption check and the clock are set after `configure`, so that it can't
    /// replace them: without any of them a connection could bypass the pins. Early data is refused,
    /// because it is sent before pins are checked.
    pub(crate) fn client_config_with(
        self,
        configure: impl FnOnce(&mut ClientConfig),
    ) -> Result<ClientConfig, BuildError> {
        let provider = provider::choose(self.provider.clone())?;
        let (clock, versions) = (Arc::clone(self.pinning.clock()), self.versions);
        let sessions = Arc::new(ResumptionCheck::new(self.pinning.clone()));
        let enforces = self.choices.contains(&RevocationChoice::EnforceExpiration);
        let lists_expire = enforces && !self.crls.is_empty();
        let is_resumption_disabled = lists_expire || self.resumption == SessionResumption::Disabled;
        let mut verifier = self.with_provider(Arc::clone(&provider)).build()?;
        verifier.sessions = Some(Arc::clone(&sessions));
        let verifier = Arc::new(verifier);
        let mut config = ClientConfig::builder_with_details(provider, Arc::clone(&clock))
            .with_protocol_versions(versions)
            .map_err(BuildError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        configure(&mut config);
        if config.enable_early_data {
            return Err(BuildError::EarlyData);
        }
        config.dangerous().set_certificate_verifier(verifier);
        config.time_provider = clock;
        config.resumption = if is_resumption_disabled {
            Resumption::disabled()
        } else {
            Resumption::store(sessions)
        };
        Ok(config)
    }

    /// The verifier alone, for a configuration made elsewhere. Nothing then keeps a resumed
    /// session from bypassing pins that came after it: set `Resumption::disabled()` and leave
    /// early data off in that configuration, or use [`client_config`](Self::client_config).
    ///
    /// # Errors
    ///
    /// As [`client_config`](Self::client_config).
    pub fn verifier_without_resumption_check(self) -> Result<PinningVerifier, BuildError> {
        let provider = provider::choose(self.provider.clone())?;
        self.with_provider(provider).build()
    }

    /// With the provider chosen.
    fn build(self) -> Result<PinningVerifier, BuildError> {
        let provider = self.provider.ok_or(BuildError::NoCryptoProvider)?;
        let anchors = self.anchors;
        #[cfg(pinhold_debug_overrides)]
        let anchors = self.pinning.overrides().apply(anchors);
        if anchors.iter().next().is_none() {
            return Err(BuildError::NoTrustAnchors);
        }
        let algorithms = provider.signature_verification_algorithms;
        let hash = KeyHash::of(&provider);
        let revocation = match self.read_crls {
            Some(read) if !self.crls.is_empty() => {
                let roots = Arc::new(anchors.root_store());
                let read = read(self.crls, &self.choices, roots, provider);
                Some(read.map_err(BuildError::RevocationList)?)
            }
            _ => None,
        };
        Ok(PinningVerifier {
            pinning: self.pinning,
            paths: PathBuilder {
                anchors,
                algorithms: CachingAlgorithms::new(algorithms.all, self.signature_cache),
                hash,
                revocation,
            },
            roots: OnceLock::new(),
            algorithms,
            inner: self.inner,
            sessions: None,
        })
    }
}
