//! TLS handshakes over a transport, and what the pins decide about their chains.

use std::io;
use std::sync::{Arc, OnceLock};

use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::connector::error::ConnectError;
use crate::connector::stream::PinnedStream;
#[cfg(feature = "ct")]
use crate::ct::CtViolation;
#[cfg(feature = "first-use")]
use crate::pinning::Remember;
use crate::pinning::{Decision, Evaluation, Event, Pinning};
use crate::store::Validity;
use crate::tls::VerifiedConnection;
use crate::tls::connection::{self, Verified};
use crate::tls::resumption::ResumptionCheck;
#[cfg(feature = "self-test")]
use crate::tls::{SelfTestError, SelfTestReport};
use crate::violation::{PinViolation, UnpinnedHost};

/// The server of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: ServerName<'static>,
    /// The port for events and reports.
    pub(crate) port: u16,
}

/// Makes TLS connections over transports.
pub(crate) struct Handshaker {
    pub(crate) pinning: Pinning,
    tls: TlsConnector,
    without_resumption: OnceLock<TlsConnector>,
    /// The resumption check of the configuration, known after the first full handshake.
    sessions: OnceLock<Arc<ResumptionCheck>>,
}

/// Whether a handshake may resume a session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt {
    First,
    WithoutResumption,
}

/// The result of a handshake.
pub(crate) enum Handshake<T> {
    Connected(PinnedStream<T>),
    /// The pins in force refuse the chain of the resumed session, or the chain is unknown.
    StaleSession,
}

impl Handshaker {
    pub(crate) fn new(pinning: Pinning, config: ClientConfig) -> Self {
        Self {
            pinning,
            tls: TlsConnector::from(Arc::new(config)),
            without_resumption: OnceLock::new(),
            sessions: OnceLock::new(),
        }
    }

    #[cfg(feature = "self-test")]
    pub(crate) fn self_test(&self) -> Result<SelfTestReport, SelfTestError> {
        self.pinning.self_test(self.tls.config())
    }

    pub(crate) fn now(&self) -> Result<UnixTime, ConnectError> {
        let now = self.pinning.clock().current_time();
        now.ok_or(ConnectError::Tls(rustls::Error::FailedToGetCurrentTime))
    }

    fn without_resumption(&self) -> &TlsConnector {
        self.without_resumption.get_or_init(|| {
            let mut config = ClientConfig::clone(self.tls.config());
            config.resumption = Resumption::disabled();
            TlsConnector::from(Arc::new(config))
        })
    }

    /// Runs one handshake.
    pub(crate) async fn connect<T: Read + Write + Unpin>(
        &self,
        attempt: Attempt,
        target: &Target,
        transport: T,
    ) -> Result<Handshake<T>, ConnectError> {
        let tls = match attempt {
            Attempt::First => &self.tls,
            Attempt::WithoutResumption => self.without_resumption(),
        };
        let handshake = tls.connect(target.name.clone(), TokioIo::new(transport));
        let (stream, verified) = connection::observe(handshake).await;
        let stream = stream.map_err(|error| self.handshake_error(error, target))?;
        let now = self.now()?;
        let session = stream.get_ref().1;
        let handshake = session.handshake_kind().unwrap_or(HandshakeKind::Full);
        if verified.is_none() && handshake == HandshakeKind::Resumed {
            let served = session.peer_certificates().unwrap_or_default();
            let evaluated = self.evaluate_resumed(target, served, now);
            #[cfg(feature = "first-use")]
            let evaluated = evaluated
                .filter(|(evaluation, _)| !self.pinning.has_other_keys(evaluation.chain(), now));
            return match evaluated {
                Some(evaluated) => self.conclude(stream, target, evaluated, handshake),
                None => Ok(self.drop_stale_session(target)),
            };
        }
        // If there is no chain, or one for another name, another verifier was called.
        let verified =
            verified.filter(|known| *known.evaluation.chain().server_name() == target.name);
        let verified = verified.ok_or(ConnectError::NotVerified)?;
        if let Some(sessions) = &verified.sessions {
            self.sessions.get_or_init(|| Arc::clone(sessions));
        }
        let evaluated = verified.after_handshake(&self.pinning, now);
        #[cfg(feature = "first-use")]
        if !evaluated.0.is_refused() {
            let chain = evaluated.0.chain();
            let remember = Remember::AfterFullHandshake;
            let checked = self.pinning.check_first_use(chain, remember, now).await;
            checked.map_err(ConnectError::KeysChanged)?;
        }
        self.conclude(stream, target, evaluated, handshake)
    }

    /// Records the connection, and refuses it if its pins fail.
    fn conclude<T: Read + Write + Unpin>(
        &self,
        stream: TlsStream<TokioIo<T>>,
        target: &Target,
        (evaluation, validity): (Evaluation, Validity),
        handshake: HandshakeKind,
    ) -> Result<Handshake<T>, ConnectError> {
        let decision = evaluation.decision();
        let port = Some(target.port);
        self.pinning.record_connection(&evaluation, &decision, port);
        if let Some(unpinned) = evaluation.refused_as_unpinned() {
            return Err(ConnectError::Unpinned(unpinned.clone()));
        }
        if let Decision::Refuse(violation) = decision {
            return Err(ConnectError::Pins(violation));
        }
        let verified = VerifiedConnection::new(&evaluation, decision, handshake);
        let pinning = self.pinning.clone();
        let stream = PinnedStream::tls(stream, pinning, verified, target.port, validity);
        Ok(Handshake::Connected(stream))
    }

    /// Evaluates the pins on the chain of a resumed session. Returns `None` if it is not certain
    /// which chain that is, or if the chain fails now.
    fn evaluate_resumed(
        &self,
        target: &Target,
        served: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<(Evaluation, Validity)> {
        let sessions = self.sessions.get()?;
        let (evaluation, validity) = sessions.evaluate(&target.name, served, now)?;
        let verified = Verified {
            evaluation,
            validity,
            pinning: sessions.pinning().clone(),
            sessions: None,
        };
        let (evaluation, validity) = verified.after_handshake(&self.pinning, now);
        (!evaluation.is_refused()).then_some((evaluation, validity))
    }

    /// Drops the sessions of a server, so that a full handshake follows.
    fn drop_stale_session<T>(&self, target: &Target) -> Handshake<T> {
        event!(
            DEBUG,
            name = ?target.name,
            "a resumed session is stale: one full handshake follows"
        );
        if let Some(sessions) = self.sessions.get() {
            sessions.drop_sessions(&target.name);
        }
        Handshake::StaleSession
    }

    /// Converts the error of a handshake, and emits the violation if the pins caused it.
    fn handshake_error(&self, error: io::Error, target: &Target) -> ConnectError {
        if let Some(violation) = PinViolation::find(&error) {
            self.pinning.emit_violation(&violation, Some(target.port));
            return ConnectError::Pins(violation);
        }
        if let Some(unpinned) = UnpinnedHost::find(&error) {
            self.pinning.emit(Event::Unpinned(unpinned.clone()));
            return ConnectError::Unpinned(unpinned);
        }
        #[cfg(feature = "ct")]
        if let Some(violation) = CtViolation::find(&error) {
            self.pinning.emit(Event::CtViolation(violation.clone()));
            return ConnectError::Ct(violation);
        }
        match error.downcast::<rustls::Error>() {
            Ok(tls) => ConnectError::Tls(tls),
            Err(error) => ConnectError::Io(error),
        }
    }
}
