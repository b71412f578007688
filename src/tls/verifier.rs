//! [`PinningVerifier`]: a rustls `ServerCertVerifier` that enforces the pins on the validated path.
//!
//! Validates exactly as `WebPkiServerVerifier` does: if no path is valid, rustls's own functions
//! return the error, and all that does not concern the chain is delegated to them. An inner
//! verifier is called first, and has to accept, too. The verifier changes no pins, because it runs
//! before the server has proved that it has the private key.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::chain::{PathBuilder, Presented, ValidPath, ValidatedChain};
use crate::pinning::{Decision, Event, Pinning, Policies};
use crate::policy::{Host, PolicyState};
use crate::store::Validity;
#[cfg(feature = "self-test")]
use crate::tls::canary::{self, Identity};
use crate::tls::connection::{self, Verified};
use crate::tls::resumption::{Found, ResumptionCheck, Unsigned};
use crate::violation::UnverifiablePath;

/// Validates a server's chain as `WebPkiServerVerifier` does, and then enforces the pins.
///
/// A refusal is `rustls::Error::InvalidCertificate(CertificateError::Other(_))` around a
/// [`PinViolation`](crate::PinViolation), which [`PinViolation::find`](crate::PinViolation::find)
/// finds. The server receives a `certificate_unknown` alert. Any other error is the one that
/// `WebPkiServerVerifier` returns for the same chain, unless there is an
/// [inner verifier](crate::tls::PinningVerifierBuilder::with_inner_verifier).
///
/// ```
/// use pinhold::{Pinning, PinningVerifier};
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = Pinning::builder()
///     .static_pins("example.com", pinhold::PinPolicy::new([
///         "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///         "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
///     ])?)
///     .build()?;
/// let config = PinningVerifier::builder(pinning).with_webpki_roots().client_config()?;
/// # drop(config);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PinningVerifier {
    pub(crate) pinning: Pinning,
    pub(crate) paths: PathBuilder,
    /// The anchors in the type that rustls takes. They are converted when the first chain fails,
    /// because that is half of the cost of building a client.
    pub(crate) roots: OnceLock<RootCertStore>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
    /// Called first; the path is validated after it accepts.
    pub(crate) inner: Option<Arc<dyn ServerCertVerifier>>,
    /// The resumption check of the configuration that this verifier belongs to.
    pub(crate) sessions: Option<Arc<ResumptionCheck>>,
    /// What the configuration that this verifier belongs to was built with.
    #[cfg(feature = "self-test")]
    pub(crate) identity: Option<Identity>,
}

/// The host of a handshake (`None` for an IP address), its policies, and how long they are valid
/// (`None` if nothing observes the handshake).
pub(crate) struct Lookup {
    pub(crate) host: Option<Host>,
    policies: Policies,
    validity: Option<Validity>,
}

impl PinningVerifier {
    /// Looks up the policies of a name, and refuses it if it is not pinned and has to be.
    pub(crate) fn begin(&self, name: &ServerName<'_>, now: UnixTime) -> Result<Lookup, Error> {
        #[cfg(feature = "self-test")]
        if let Some(refusal) = canary::refuse(self.identity.as_ref(), &self.pinning) {
            return Err(refusal);
        }
        let lookup = self.lookup(name, now);
        if let Some(unpinned) = lookup.policies.refused_as_unpinned() {
            // A connector that observes the handshake emits the event.
            if lookup.validity.is_none() {
                self.pinning.emit(Event::Unpinned(unpinned.clone()));
            }
            return Err(unpinned.clone().into_rustls());
        }
        Ok(lookup)
    }

    /// Looks up the policies of a name, once for each handshake.
    fn lookup(&self, name: &ServerName<'_>, now: UnixTime) -> Lookup {
        let host = match name {
            ServerName::DnsName(name) => Some(Host::from(name)),
            // An IP address has no pins.
            _ => None,
        };
        // Read before the policies: a change in between starts a new generation, for which this
        // validity does not hold.
        let is_observed = connection::is_observed(self.sessions.as_ref());
        let validity = is_observed.then(|| self.pinning.validity(host.as_ref(), now));
        Lookup {
            policies: self.pinning.lookup_name(name, host.as_ref(), now),
            host,
            validity,
        }
    }

    /// Refuses a path that is valid but fails the pins; records any other.
    fn conclude(
        &self,
        path: ValidPath,
        lookup: Lookup,
        presented: Presented<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let policies = &lookup.policies;
        let is_free = policies.applied.is_empty() && policies.unpinned.is_none();
        #[cfg(feature = "ct")]
        let is_free = is_free && !self.pinning.looks_for_scts(lookup.host.as_ref());
        if self.sessions.is_none() && lookup.validity.is_none() && is_free {
            return Ok(());
        }
        #[cfg(feature = "ct")]
        let is_refused = path.is_refused();
        let chain = path.into_chain(&self.paths, presented, lookup.host.clone(), now);
        #[cfg(feature = "ct")]
        let chain = if is_refused {
            chain
        } else {
            self.check_scts(chain, presented, lookup.validity.is_some(), now)?
        };
        self.conclude_chain(chain, lookup, presented.name, now)
    }

    /// Refuses a chain that is valid but fails the pins; records any other.
    pub(crate) fn conclude_chain(
        &self,
        chain: ValidatedChain,
        lookup: Lookup,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Lookup {
            host,
            policies,
            validity,
        } = lookup;
        let evaluation = policies.evaluate(host, chain, now);
        if let Some(sessions) = &self.sessions
            && !evaluation.is_refused()
        {
            sessions.await_signature(Found::Chain(evaluation.chain().clone()));
        }
        let decision = self.with_accepted(evaluation.decision(), name);
        let Some(validity) = validity else {
            self.pinning.record_connection(&evaluation, &decision, None);
            if let Decision::Refuse(violation) = decision {
                return Err(violation.into_rustls());
            }
            #[cfg(feature = "health")]
            if self.sessions.is_some() {
                Unsigned::await_record(evaluation);
            }
            return Ok(());
        };
        // The connector that observes the handshake emits the event: it knows the port, and
        // whether the server has proved that it has the private key.
        if let Decision::Refuse(violation) = decision {
            return Err(violation.into_rustls());
        }
        connection::record(Verified {
            evaluation,
            validity,
            pinning: self.pinning.clone(),
            sessions: self.sessions.clone(),
        });
        Ok(())
    }

    /// Refuses a chain that is not logged as the application expects.
    #[cfg(feature = "ct")]
    fn check_scts(
        &self,
        chain: ValidatedChain,
        presented: Presented<'_>,
        is_observed: bool,
        now: UnixTime,
    ) -> Result<ValidatedChain, Error> {
        let checked = self.pinning.check_scts(chain, presented.ocsp_response, now);
        checked.map_err(|violation| {
            // A connector that observes the handshake emits the event.
            if !is_observed {
                self.pinning.emit(Event::CtViolation(violation.clone()));
            }
            violation.into_rustls()
        })
    }

    /// Adds to a refusal the chains of the name that were accepted before, which may show its cause.
    fn with_accepted(&self, decision: Decision, name: &ServerName<'_>) -> Decision {
        match (decision, &self.sessions) {
            (Decision::Refuse(violation), Some(sessions)) => {
                Decision::Refuse(violation.with_accepted(sessions.accepted(name)))
            }
            (decision, _) => decision,
        }
    }

    /// Records the chain of a handshake in which the server has proved its key.
    pub(crate) fn on_signature(&self, unsigned: Option<Unsigned>, leaf: &CertificateDer<'_>) {
        if let Some(sessions) = &self.sessions {
            sessions.on_signature(unsigned, leaf);
        }
    }

    /// Makes the calls that `WebPkiServerVerifier` consists of.
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

    /// Concludes a handshake without a valid path. Without an inner verifier the error is rustls's.
    /// With one, which accepted the server, the handshake continues if no pins are enforced, no
    /// connector observes the handshake, and there are no revocation lists to check.
    fn on_unverifiable_path(
        &self,
        presented: Presented<'_>,
        lookup: &Lookup,
        reason: Error,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.inner.is_none() {
            return Err(reason);
        }
        let policies = &lookup.policies.applied;
        let enforced = policies
            .iter()
            .find(|policy| policy.state != PolicyState::ReportOnly);
        // An observer checks the chain of the connection again, for as long as it is open.
        let is_refused = enforced.is_some()
            || policies.refused_keys.is_some()
            || lookup.validity.is_some()
            || self.paths.revocation.is_some();
        if is_refused || !policies.is_empty() {
            let served = std::iter::once(presented.leaf)
                .chain(presented.intermediates)
                .map(|certificate| certificate.clone().into_owned());
            let policy = enforced.or_else(|| policies.iter().next());
            let path = UnverifiablePath::new(presented.name, policy, served.collect(), reason);
            self.pinning
                .record_unverifiable(&path, &lookup.policies, now);
            if is_refused {
                return Err(path.into_rustls());
            }
        }
        if let Some(unpinned) = &lookup.policies.unpinned {
            self.pinning.emit(Event::Unpinned(unpinned.clone()));
        }
        if let Some(sessions) = &self.sessions {
            sessions.await_signature(Found::NoPath {
                name: presented.name.to_owned(),
                leaf: presented.leaf.clone().into_owned(),
            });
        }
        event!(DEBUG, name = ?presented.name, "no valid path found, and none required");
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
        let lookup = self.begin(server_name, now)?;
        if let Some(inner) = &self.inner {
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        let presented = Presented {
            leaf: end_entity,
            intermediates,
            name: server_name,
            #[cfg(feature = "ct")]
            ocsp_response,
        };
        let policies = &lookup.policies.applied;
        let path = self.paths.validate(presented, policies, now);
        #[cfg(feature = "bundles")]
        let added = lookup.policies.intermediates.clone();
        #[cfg(feature = "bundles")]
        if let Some(all) = with_added(added.as_deref(), intermediates, path.as_ref().ok()) {
            // Used only if it leads to a path that passes: otherwise an error or a report would show
            // certificates that the server did not send.
            let presented = Presented {
                intermediates: &all,
                ..presented
            };
            let path = self.paths.validate(presented, policies, now).ok();
            if let Some(path) = path.filter(|path| !path.is_refused()) {
                self.conclude(path, lookup, presented, now)?;
                return Ok(ServerCertVerified::assertion());
            }
        }
        let Ok(path) = path else {
            // This is never a pin violation: rustls returns what is wrong with chain or name.
            return match self.rustls_verdict(presented, now) {
                Err(reason) => self.on_unverifiable_path(presented, &lookup, reason, now),
                Ok(()) => Err(Error::General(
                    "pinhold found no valid path, but rustls did".into(),
                )),
            };
        };
        self.conclude(path, lookup, presented, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Before a chain is recorded.
        #[cfg(feature = "self-test")]
        if let Some(refusal) = canary::refusal() {
            return Err(refusal);
        }
        let unsigned = Unsigned::take();
        if let Some(inner) = &self.inner {
            inner.verify_tls12_signature(message, cert, dss)?;
        }
        let valid = verify_tls12_signature(message, cert, dss, &self.algorithms)?;
        self.on_signature(unsigned, cert);
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Before a chain is recorded.
        #[cfg(feature = "self-test")]
        if let Some(refusal) = canary::refusal() {
            return Err(refusal);
        }
        let unsigned = Unsigned::take();
        if let Some(inner) = &self.inner {
            inner.verify_tls13_signature(message, cert, dss)?;
        }
        let valid = verify_tls13_signature(message, cert, dss, &self.algorithms)?;
        self.on_signature(unsigned, cert);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        if let Some(inner) = &self.inner {
            let of_inner = inner.supported_verify_schemes();
            schemes.retain(|scheme| of_inner.contains(scheme));
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

/// Returns the served certificates with those of a pin bundle, if there are any and the path through
/// the served ones can't be used.
#[cfg(feature = "bundles")]
fn with_added<'a>(
    added: Option<&'a [CertificateDer<'static>]>,
    served: &'a [CertificateDer<'a>],
    path: Option<&ValidPath>,
) -> Option<Vec<CertificateDer<'a>>> {
    let added = added?;
    if path.is_some_and(|path| !path.is_refused()) {
        return None;
    }
    let added = added.iter().map(|der| CertificateDer::from(der.as_ref()));
    Some(served.iter().cloned().chain(added).collect())
}

impl fmt::Debug for PinningVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinningVerifier")
            .field("pinning", &self.pinning)
            .field("anchors", &self.paths.anchors)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
