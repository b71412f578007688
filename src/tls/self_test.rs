//! The self-test: attacks on a copy of the pins, and a canary handshake with the configuration of the
//! application. It uses no network.

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, Error, HandshakeKind, PeerIncompatible, ProtocolVersion,
    ServerConfig, SupportedProtocolVersion,
};
use rustls_pki_types::CertificateDer;

use crate::pinning::Pinning;
use crate::policy::{Host, PinPolicy, SpkiFingerprint};
use crate::roots::TrustAnchors;
use crate::tls::canary::{self, Identity, SessionUse, Sighting};
use crate::tls::self_test_handshake::{Failure, Side, connect};
use crate::tls::self_test_material::{ANCHOR, HOST, Material, RIGHT, WRONG};
use crate::tls::self_test_report::{Attack, SelfTestError, SelfTestReport, TestedResumption};
use crate::tls::verifier::PinningVerifier;
use crate::violation::PinViolation;

impl Pinning {
    /// Shows that connections with this configuration are refused where the pins are not satisfied.
    /// Call it at the start of the application, with the configuration that its clients use. Makes no
    /// connection and waits for nothing. Takes 4 ms in a release build (`benches/self_test.rs`); the
    /// first use of aws-lc-rs in a process takes 30 ms more, here or in the first connection.
    ///
    /// 1. *The configuration*: a handshake in memory, with a server whose name is below `.invalid`,
    ///    must be refused by the verifier of this `Pinning`, which is that of the configuration itself
    ///    and not inside another one. The resumption check must be queried for a session. Early data
    ///    must be off.
    /// 2. *The pins*: a copy of the pins in force, with one more host below `.invalid`, and a verifier
    ///    with the same crypto provider that trusts only an anchor of the self-test, refuse each
    ///    [`Attack`] with a server in memory, for the right reason. A right server passes, and its
    ///    session is resumed. All of that is done with each TLS version of the configuration
    ///    that has algorithms for a server with a key on P-256.
    ///
    /// It leaves nothing: no event, count, chain, session, noted pin or stored record, and no open
    /// connection is checked again because of it.
    ///
    /// What it tests, and what [`is_enforced`](Self::is_enforced) says about a host:
    ///
    /// | situation | `self_test` | `is_enforced(&host)` |
    /// |---|---|---|
    /// | enforced policy | succeeds | `true` |
    /// | only report-only policies, or none | succeeds: the machinery refuses | `false` |
    /// | expired policy | succeeds | as after its expiry: `true` if it then refuses |
    /// | kill switch of a bundle, or a stale bundle that only reports | succeeds | `false`, except for fixed policies and noted pins |
    /// | pins disabled by the user | succeeds | `false` unless noted pins apply |
    /// | verifier, session store or clock replaced | fails | `true`: it does not know the client |
    ///
    /// The anchor of the self-test also stands in for certificates and raw public keys that are trusted
    /// directly (feature `direct-trust`): the canary shows that such a configuration calls its verifier.
    ///
    /// The copy contains neither the [inner verifier](crate::tls::PinningVerifierBuilder::with_inner_verifier)
    /// nor the revocation lists of the configuration, which can only refuse more. A client of reqwest
    /// has no configuration to pass: its builder sets verifier and session store last, so that nothing
    /// can replace them, and a self-test of [`client_config`](Self::client_config) tests the rest.
    ///
    /// # Errors
    ///
    /// The [`SelfTestError`] of the first step that failed. The application should make no
    /// connection then.
    ///
    /// ```
    /// use pinhold::{Pinning, TrustAnchors};
    ///
    /// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
    /// let pinning = Pinning::builder().build()?;
    /// let config = pinning.client_config(TrustAnchors::webpki_roots())?;
    /// println!("{}", pinning.self_test(&config)?);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn self_test(&self, config: &ClientConfig) -> Result<SelfTestReport, SelfTestError> {
        if config.enable_early_data {
            return Err(SelfTestError::EarlyData);
        }
        let (own, clock) = (Arc::as_ptr(self.clock()), &config.time_provider);
        if !std::ptr::addr_eq(own, Arc::as_ptr(clock)) {
            return Err(SelfTestError::ChangedClock);
        }
        let shared = Arc::new(config.clone());
        let mut versions = Vec::new();
        let mut sessions = None;
        let mut unusable = Error::HandshakeNotComplete;
        for version in VERSIONS {
            let Attacks { refusal, side } = match Attacks::of(self, config, version)? {
                Ok(attacks) => attacks,
                Err(error) => {
                    unusable = error;
                    continue;
                }
            };
            match self.canary(config, &shared, &side, &refusal)? {
                Ok(used) => {
                    versions.push(version.own.version);
                    sessions = Some(used);
                }
                Err(error) => unusable = error,
            }
        }
        let resumption = match sessions.ok_or(SelfTestError::NoHandshake(unusable))? {
            SessionUse::Checked => TestedResumption::Checked,
            SessionUse::Disabled => TestedResumption::Disabled,
        };
        Ok(SelfTestReport {
            versions,
            refused: Attack::ALL.to_vec(),
            resumption,
        })
    }

    /// Makes the canary handshake, and returns what the configuration does with sessions; the inner
    /// error if it does not offer the version.
    fn canary(
        &self,
        config: &ClientConfig,
        shared: &Arc<ClientConfig>,
        side: &Side,
        refusal: &PinViolation,
    ) -> Result<Result<SessionUse, Error>, SelfTestError> {
        let server = side.server(&[RIGHT], RIGHT);
        let server = server.map_err(SelfTestError::NoHandshake)?;
        let error = refusal.clone().into_rustls();
        let (outcome, sighting) = canary::run(error, || connect(shared, &server));
        #[cfg(feature = "direct-trust")]
        let (outcome, sighting) = match &outcome {
            Err(Failure::Server(known)) if *known == raw_keys_expected() => {
                let server = side.server_with_raw_key(RIGHT);
                let server = server.map_err(SelfTestError::NoHandshake)?;
                let error = refusal.clone().into_rustls();
                canary::run(error, || connect(shared, &server))
            }
            _ => (outcome, sighting),
        };
        if let Err(Failure::Server(error)) = &outcome
            && is_version(error)
        {
            return Ok(Err(error.clone()));
        }
        let identity = self.identify(config, &sighting)?;
        let is_refused = outcome.is_err_and(|failure| is_same_refusal(&failure, refusal));
        if !is_refused {
            return Err(SelfTestError::RefusalIgnored);
        }
        let store = &identity.store;
        if !sighting.was_queried(store) || !canary::refers_to(&config.resumption, store) {
            return Err(SelfTestError::OtherSessionStore);
        }
        Ok(Ok(identity.sessions))
    }

    /// Returns the identity of the verifier that was called, if it is that of the configuration.
    fn identify(
        &self,
        config: &ClientConfig,
        sighting: &Sighting,
    ) -> Result<Identity, SelfTestError> {
        let Some((identity, pinning)) = sighting.verifiers.first() else {
            return Err(SelfTestError::OtherVerifier);
        };
        if !self.is_same(pinning) {
            return Err(SelfTestError::OtherPins);
        }
        let identity = identity.clone().ok_or(SelfTestError::NoResumptionCheck)?;
        if canary::refers_to(config, &identity.verifier) {
            Ok(identity)
        } else {
            Err(SelfTestError::WrappedVerifier)
        }
    }
}

/// Returns whether a server failed because the client does not offer its version.
fn is_version(error: &Error) -> bool {
    matches!(
        error,
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic
        )
    )
}

/// The error of a server with a certificate whose client takes raw public keys only.
#[cfg(feature = "direct-trust")]
fn raw_keys_expected() -> Error {
    PeerIncompatible::IncorrectCertificateTypeExtension.into()
}

/// Returns whether a handshake failed before any certificate was sent, for want of algorithms.
fn has_nothing_in_common(error: &Error) -> bool {
    matches!(
        error,
        Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NoSignatureSchemesInCommon
        )
    )
}

fn is_same_refusal(failure: &Failure, refusal: &PinViolation) -> bool {
    match failure {
        Failure::Client(error) => {
            PinViolation::find(error).is_some_and(|found| found.is_same(refusal))
        }
        Failure::Server(_) => false,
    }
}

/// A TLS version, in the forms that configurations take.
#[derive(Clone, Copy)]
struct Version {
    own: &'static SupportedProtocolVersion,
    alone: &'static [&'static SupportedProtocolVersion],
}

const VERSIONS: [Version; 2] = [
    Version {
        own: &TLS13,
        alone: &[&TLS13],
    },
    Version {
        own: &TLS12,
        alone: &[&TLS12],
    },
];

/// The result of the attacks with one version.
struct Attacks {
    /// One of the refusals, for the canary.
    refusal: PinViolation,
    side: Side,
}

impl Attacks {
    /// Makes all attacks on a copy of the pins. The inner error is that of a version that the provider
    /// lacks, or has only for other keys than those on P-256.
    fn of(
        pinning: &Pinning,
        config: &ClientConfig,
        version: Version,
    ) -> Result<Result<Self, Error>, SelfTestError> {
        let side = Side {
            provider: Arc::clone(config.crypto_provider()),
            clock: Arc::clone(pinning.clock()),
            versions: version.alone,
        };
        let right = match side.server(&[RIGHT], RIGHT) {
            Ok(right) => right,
            Err(error) => return Ok(Err(error)),
        };
        let host = Host::parse(HOST).map_err(|_| unusable_material())?;
        let copy = Copied {
            pinning: pinning.copy(&host),
            host,
            side,
            version: version.own.version,
        };
        let refusal = match copy.attack(&right) {
            Err(SelfTestError::Genuine {
                refusal: Some(error),
                ..
            }) if has_nothing_in_common(&error) => return Ok(Err(error)),
            attacked => attacked?,
        };
        copy.attack_resumption()?;
        Ok(Ok(Self {
            refusal,
            side: copy.side,
        }))
    }
}

/// A copy of the pins, in which the host of the self-test is pinned, too.
struct Copied {
    pinning: Pinning,
    host: Host,
    side: Side,
    version: ProtocolVersion,
}

impl Copied {
    /// Pins the host to the key of this certificate.
    fn pin_to(&self, material: Material) -> Result<(), SelfTestError> {
        let certificate = CertificateDer::from(material.certificate);
        let pins = [SpkiFingerprint::of_certificate(&certificate), Ok(BACKUP)];
        let pins = pins.into_iter().collect::<Result<Vec<_>, _>>();
        let policy = pins.ok().and_then(|pins| PinPolicy::new(pins).ok());
        let policy = policy.ok_or_else(unusable_material)?;
        let set = self.pinning.set_policy(&self.host, &policy);
        set.map_err(SelfTestError::Build)
    }

    /// Returns a configuration without sessions.
    fn client(&self) -> Result<Arc<ClientConfig>, SelfTestError> {
        let anchor = [CertificateDer::from(ANCHOR)];
        let anchors = TrustAnchors::new().with_built_in(anchor);
        let anchors = anchors.map_err(|_| unusable_material())?;
        let config = PinningVerifier::builder(self.pinning.clone())
            .with_anchors(anchors)
            .with_provider(Arc::clone(&self.side.provider))
            .with_protocol_versions(self.side.versions)
            .client_config();
        let config = config.map_err(SelfTestError::Build)?;
        Ok(Arc::new(config))
    }

    fn server(
        &self,
        certificates: &[Material],
        key: Material,
    ) -> Result<Arc<ServerConfig>, SelfTestError> {
        let server = self.side.server(certificates, key);
        server.map_err(SelfTestError::NoHandshake)
    }

    /// Makes the attacks with full handshakes, and returns the refusal of one.
    fn attack(&self, right: &Arc<ServerConfig>) -> Result<PinViolation, SelfTestError> {
        self.pin_to(RIGHT)?;
        let client = self.client()?;
        self.ensure_accepted(&client, right, HandshakeKind::Full)?;
        self.ensure_accepted(&client, right, HandshakeKind::Resumed)?;
        let client = self.client()?;
        let wrong = self.server(&[WRONG], WRONG)?;
        let refusal = self.ensure_violation(Attack::WrongKey, &client, &wrong)?;
        let appended = self.server(&[WRONG, RIGHT], WRONG)?;
        self.ensure_violation(Attack::AppendedCertificate, &client, &appended)?;
        let replay = self.server(&[RIGHT], WRONG)?;
        match connect(&client, &replay) {
            Err(Failure::Client(Error::InvalidCertificate(CertificateError::BadSignature))) => {
                Ok(refusal)
            }
            outcome => Err(self.not_refused(Attack::Replay, outcome)),
        }
    }

    /// Obtains a session while another key is pinned, and attempts to resume it afterwards.
    fn attack_resumption(&self) -> Result<(), SelfTestError> {
        self.pin_to(WRONG)?;
        let client = self.client()?;
        let wrong = self.server(&[WRONG], WRONG)?;
        self.ensure_accepted(&client, &wrong, HandshakeKind::Full)?;
        self.ensure_accepted(&client, &wrong, HandshakeKind::Resumed)?;
        self.pin_to(RIGHT)?;
        self.ensure_violation(Attack::WrongKeyResumed, &client, &wrong)?;
        Ok(())
    }

    fn ensure_accepted(
        &self,
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
        expected: HandshakeKind,
    ) -> Result<(), SelfTestError> {
        let refusal = match connect(client, server) {
            Ok(HandshakeKind::Resumed) if expected == HandshakeKind::Resumed => return Ok(()),
            Ok(_) if expected != HandshakeKind::Resumed => return Ok(()),
            Ok(_) => None,
            Err(failure) => Some(failure.into_error()),
        };
        Err(SelfTestError::Genuine {
            version: self.version,
            refusal,
        })
    }

    /// Makes a connection that the pins of the self-test must refuse.
    fn ensure_violation(
        &self,
        attack: Attack,
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
    ) -> Result<PinViolation, SelfTestError> {
        let outcome = connect(client, server);
        if let Err(Failure::Client(error)) = &outcome
            && let Some(violation) = PinViolation::find(error)
            && *violation.host() == self.host
            && violation.policy().pins.contains(&BACKUP)
        {
            return Ok(violation);
        }
        Err(self.not_refused(attack, outcome))
    }

    fn not_refused(
        &self,
        attack: Attack,
        outcome: Result<HandshakeKind, Failure>,
    ) -> SelfTestError {
        SelfTestError::Attack {
            attack,
            version: self.version,
            refusal: outcome.err().map(Failure::into_error),
        }
    }
}

/// The error of certificates and names of the self-test that can't be read.
fn unusable_material() -> SelfTestError {
    let text = "the certificates of the self-test can't be read";
    SelfTestError::NoHandshake(Error::General(text.to_owned()))
}

/// The backup pin of the self-test, which is that of no key.
const BACKUP: SpkiFingerprint = SpkiFingerprint::from_digest([0x5e; 32]);
