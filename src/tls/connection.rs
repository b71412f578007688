//! The facts of one TLS connection: [`VerifiedConnection`].
//!
//! All connections share the verifier, so the code that runs a handshake receives the verifier's
//! result in a task-local slot, which is open only while that handshake runs.

use std::sync::Arc;

#[cfg(all(feature = "ct", feature = "hyper"))]
use crate::ct::CtOutcome;
use crate::pinning::{Evaluation, Pinning};
use crate::store::Validity;
use crate::tls::resumption::ResumptionCheck;
#[cfg(feature = "hyper")]
use {
    crate::chain::ValidatedChain,
    crate::pinning::{Decision, Event},
    crate::policy::{AnchorOrigin, Host},
    crate::violation::{PinViolation, UnpinnedHost},
    http::Extensions,
    hyper_util::client::legacy::connect::{CaptureConnection, Connected},
    parking_lot::Mutex,
    rustls::HandshakeKind,
    rustls_pki_types::UnixTime,
    std::cell::RefCell,
    std::fmt,
    std::sync::OnceLock,
    std::sync::atomic::{AtomicU8, Ordering},
};

/// A TLS connection of [`PinningConnector`](crate::PinningConnector), found in the extensions of
/// every response that was received over it. Cheap to clone.
///
/// A plain-HTTP response that came through an HTTPS proxy has the connection to the proxy: where
/// that is possible, compare [`host`](Self::host) with the host of the request.
///
/// ```
/// use pinhold::VerifiedConnection;
/// use pinhold::roots::AnchorOrigin;
///
/// fn was_inspected<B>(response: &http::Response<B>) -> bool {
///     let connection = response.extensions().get::<VerifiedConnection>();
///     connection.is_some_and(|known| known.anchor_origin() == AnchorOrigin::UserAdded)
/// }
/// # assert!(!was_inspected(&http::Response::new(())));
/// ```
#[cfg(feature = "hyper")]
#[derive(Clone)]
pub struct VerifiedConnection(Arc<Facts>);

#[cfg(feature = "hyper")]
struct Facts {
    chain: ValidatedChain,
    decision: Decision,
    at: UnixTime,
    handshake: HandshakeKind,
    ended_by: OnceLock<EndedBy>,
    /// What a request captured, by which the pool is made to discard the connection. Removed when
    /// the connection is closed, since it leads back to these facts.
    captured: Mutex<Option<CaptureConnection>>,
    /// [`OPEN`], [`CAPTURED`] or [`CLOSED`], which each request reads.
    state: AtomicU8,
}

/// Why current pins refuse an open connection.
#[cfg(feature = "hyper")]
#[derive(Clone, Debug)]
pub(crate) enum EndedBy {
    Pins(PinViolation),
    /// No enforced static policy covers the host any more.
    Unpinned(UnpinnedHost),
}

/// The connection is open, and no request has captured it.
#[cfg(feature = "hyper")]
const OPEN: u8 = 0;
/// The connection is open, and `captured` is set.
#[cfg(feature = "hyper")]
const CAPTURED: u8 = 1;
/// The connection is closed, or refused and poisoned if that could be done.
#[cfg(feature = "hyper")]
const CLOSED: u8 = 2;

#[cfg(feature = "hyper")]
impl VerifiedConnection {
    /// Returns the facts of a connection; `decision` must be that of the evaluation.
    pub(crate) fn new(
        evaluation: &Evaluation,
        decision: Decision,
        handshake: HandshakeKind,
    ) -> Self {
        Self(Arc::new(Facts {
            chain: evaluation.chain().clone(),
            decision,
            at: evaluation.at(),
            handshake,
            ended_by: OnceLock::new(),
            captured: Mutex::new(None),
            state: AtomicU8::new(OPEN),
        }))
    }

    /// Returns the violation that closed the connection; `None` if no violation has closed it.
    /// Needed for the body of an HTTP/2 response, whose error is only text.
    #[must_use]
    pub fn ended_by(&self) -> Option<&PinViolation> {
        match self.refused_by()? {
            EndedBy::Pins(violation) => Some(violation),
            EndedBy::Unpinned(_) => None,
        }
    }

    /// Returns why the connection was closed by a change of pins; `None` if it was not.
    pub(crate) fn refused_by(&self) -> Option<&EndedBy> {
        self.0.ended_by.get()
    }

    /// Records the refusal that closes the connection. The first one is kept.
    pub(crate) fn end(&self, by: EndedBy) {
        self.0.ended_by.get_or_init(|| by);
    }

    /// Records that the connection is closed.
    pub(crate) fn close(&self) {
        let mut captured = self.0.captured.lock();
        self.0.state.store(CLOSED, Ordering::SeqCst);
        let removed = captured.take();
        // Dropped without the lock, since that may drop these facts.
        drop(captured);
        drop(removed);
    }

    /// Returns whether the connection is closed, or was refused and passed to
    /// [`poison`](Self::poison).
    pub(crate) fn is_closed(&self) -> bool {
        self.0.state.load(Ordering::SeqCst) == CLOSED
    }

    /// Keeps what a request captured in the facts of its connection, unless current pins refuse the
    /// connection: then it ends at once, and the pool sends the request over another one. Returns
    /// whether the request has got a connection.
    pub(crate) fn capture(captured: &CaptureConnection, pinning: &Pinning) -> bool {
        let connected = captured.connection_metadata();
        let Some(connected) = &*connected else {
            return false;
        };
        let now = pinning.clock().current_time();
        if let (Some(connection), Some(now)) = (Self::of(connected), now)
            && !connection.is_captured()
        {
            let (evaluation, _) = pinning.evaluate_connection(connection.chain(), now);
            let mut kept = connection.0.captured.lock();
            let state = &connection.0.state;
            if !evaluation.is_refused()
                && state
                    .compare_exchange(OPEN, CAPTURED, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok()
            {
                let replaced = kept.replace(captured.clone());
                // Dropped without the lock, since it has extras of the application.
                drop(kept);
                drop(replaced);
            }
        }
        true
    }

    fn of(connected: &Connected) -> Option<Self> {
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        extras.remove()
    }

    pub(crate) fn is_captured(&self) -> bool {
        self.0.state.load(Ordering::SeqCst) == CAPTURED
    }

    /// Makes the pool discard the connection, which then counts as closed. Returns `false` if that
    /// can't be done: no request has captured it, or what was captured is of another connection now.
    pub(crate) fn poison(&self) -> bool {
        let captured = self.0.captured.lock().clone();
        let Some(captured) = captured else {
            return false;
        };
        let connected = captured.connection_metadata();
        // A request that hyper-util sends again captures its next connection in the same place.
        let is_this =
            |connected: &&Connected| Self::of(connected).is_some_and(|known| known.is_same(self));
        let of_this = connected.as_ref().filter(is_this);
        let is_poisoned = of_this.inspect(|connected| connected.poison()).is_some();
        self.0.state.store(CLOSED, Ordering::SeqCst);
        is_poisoned
    }

    /// Returns whether this is a clone of `other`.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the chain that was validated in the handshake, or in that of the session it resumed.
    #[must_use]
    pub fn chain(&self) -> &ValidatedChain {
        &self.0.chain
    }

    /// Returns what the pins decided about the chain; never [`Refuse`](Decision::Refuse).
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.0.decision
    }

    /// Returns the origin of the trust anchor at which the chain ends.
    #[must_use]
    pub fn anchor_origin(&self) -> AnchorOrigin {
        self.0.chain.anchor_origin()
    }

    /// Returns the host that the connection was verified for; `None` for an IP address.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.0.chain.host()
    }

    /// Returns the time at which the pins were checked, at the end of the handshake.
    #[must_use]
    pub fn at(&self) -> UnixTime {
        self.0.at
    }

    /// Returns what the SCTs of the handshake have shown, or those of the one whose session it resumed;
    /// `None` if they were not looked for.
    #[cfg(feature = "ct")]
    #[must_use]
    pub fn ct_outcome(&self) -> Option<&CtOutcome> {
        self.0.chain.ct_outcome()
    }

    /// Returns whether the handshake resumed an earlier session, whose chain was checked again.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.0.handshake == HandshakeKind::Resumed
    }
}

#[cfg(feature = "hyper")]
impl fmt::Debug for VerifiedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedConnection")
            .field("chain", &self.0.chain)
            .field("decision", &self.0.decision)
            .field("at", &self.0.at)
            .field("handshake", &self.0.handshake)
            .field("ended_by", &self.0.ended_by.get())
            .finish_non_exhaustive()
    }
}

/// The verifier's result of one handshake, or the resumption check's.
#[cfg_attr(
    not(feature = "hyper"),
    expect(dead_code, reason = "only connectors observe handshakes")
)]
pub(crate) struct Verified {
    pub(crate) evaluation: Evaluation,
    /// How long the evaluation is valid, with the pins of `pinning`.
    pub(crate) validity: Validity,
    pub(crate) pinning: Pinning,
    /// The resumption check that keeps the sessions of the handshake; `None` if there is none.
    pub(crate) sessions: Option<Arc<ResumptionCheck>>,
}

#[cfg(feature = "hyper")]
impl Verified {
    /// Returns the evaluation once the handshake is done. The chain is evaluated again if the
    /// evaluation is no longer valid, or if the TLS configuration belongs to other pins.
    pub(crate) fn after_handshake(
        self,
        pinning: &Pinning,
        now: UnixTime,
    ) -> (Evaluation, Validity) {
        let evaluation = self.evaluation.after_handshake();
        let generation = pinning.generation().number();
        if pinning.is_same(&self.pinning) && self.validity.holds_at(generation, now) {
            (evaluation, self.validity)
        } else {
            pinning.evaluate_connection(evaluation.chain(), now)
        }
    }
}

/// What the verifier or the session store of a configuration did last in an observed handshake.
#[cfg(feature = "hyper")]
#[cfg_attr(
    feature = "reqwest",
    expect(
        clippy::large_enum_variant,
        reason = "one for each handshake, most of them the largest"
    )
)]
pub(crate) enum HandshakeEvent {
    /// The session store offered a session of one of these chains, at least one: if it is resumed,
    /// the verifier is not called.
    #[cfg(feature = "reqwest")]
    SessionOffered(Vec<ValidatedChain>),
    /// The verifier accepted the server's chain.
    Verified(Verified),
}

/// The slot of the current handshake.
#[cfg(feature = "hyper")]
struct Slot {
    /// The configuration whose events count, identified by its resumption check. `None` if the
    /// observer can't know it, and compares the name of the chain.
    own: Option<Arc<ResumptionCheck>>,
    last: Option<HandshakeEvent>,
}

#[cfg(feature = "hyper")]
impl Slot {
    fn counts(&self, sessions: Option<&Arc<ResumptionCheck>>) -> bool {
        let own = self.own.as_ref();
        own.is_none_or(|own| sessions.is_some_and(|sessions| Arc::ptr_eq(own, sessions)))
    }
}

#[cfg(feature = "hyper")]
tokio::task_local! {
    static SLOT: RefCell<Slot>;
}

/// Runs a handshake, and returns with its output the verifier's result: `None` if the verifier of
/// this crate was not called, as when a session is resumed or another verifier is configured.
#[cfg(feature = "hyper")]
pub(crate) async fn observe<F: Future>(handshake: F) -> (F::Output, Option<Verified>) {
    let (outcome, last) = in_slot(None, handshake).await;
    match last {
        Some(HandshakeEvent::Verified(verified)) => (outcome, Some(verified)),
        _ => (outcome, None),
    }
}

/// Runs all that leads to a connection, and returns with its output the last event of the
/// configuration to which `own` belongs.
///
/// Other handshakes may be made in the meantime: with an HTTPS proxy first, with the same
/// configuration, and with the server of a resolver, with any other. The last event of the own
/// configuration is that of the connection itself.
#[cfg(feature = "reqwest")]
pub(crate) async fn observe_own<F: Future>(
    own: Arc<ResumptionCheck>,
    connecting: F,
) -> (F::Output, Option<HandshakeEvent>) {
    in_slot(Some(own), connecting).await
}

#[cfg(feature = "hyper")]
async fn in_slot<F: Future>(
    own: Option<Arc<ResumptionCheck>>,
    handshake: F,
) -> (F::Output, Option<HandshakeEvent>) {
    let observed = async {
        let outcome = handshake.await;
        (outcome, SLOT.with(|slot| slot.borrow_mut().last.take()))
    };
    let slot = Slot { own, last: None };
    SLOT.scope(RefCell::new(slot), observed).await
}

/// Returns whether the current handshake, of the configuration to which `sessions` belongs, is
/// observed.
#[cfg_attr(
    not(feature = "hyper"),
    expect(unused_variables, reason = "only connectors observe handshakes")
)]
pub(crate) fn is_observed(sessions: Option<&Arc<ResumptionCheck>>) -> bool {
    #[cfg(feature = "hyper")]
    return SLOT.try_with(|slot| slot.borrow().counts(sessions)) == Ok(true);
    #[cfg(not(feature = "hyper"))]
    return false;
}

/// Stores the verifier's result for the code that observes the current handshake.
pub(crate) fn record(verified: Verified) {
    #[cfg(feature = "hyper")]
    {
        let sessions = verified.sessions.clone();
        record_event(sessions.as_ref(), HandshakeEvent::Verified(verified));
    }
    #[cfg(not(feature = "hyper"))]
    drop(verified);
}

/// Stores that a session of one of these chains was offered, for the code that observes the current
/// handshake.
#[cfg(feature = "reqwest")]
pub(crate) fn record_offer(sessions: &Arc<ResumptionCheck>, chains: Vec<ValidatedChain>) {
    record_event(Some(sessions), HandshakeEvent::SessionOffered(chains));
}

/// Stores an event, unless it belongs to another configuration than the observed one: that of a
/// resolver must neither count for the connection nor replace its event.
#[cfg(feature = "hyper")]
fn record_event(sessions: Option<&Arc<ResumptionCheck>>, event: HandshakeEvent) {
    let replaced = SLOT.try_with(|slot| {
        let mut slot = slot.borrow_mut();
        slot.counts(sessions).then(|| slot.last.replace(event))
    });
    // That of an HTTPS proxy, whose connection is recorded nowhere else.
    if let Ok(Some(Some(HandshakeEvent::Verified(verified)))) = replaced
        && let Some(unpinned) = verified.evaluation.unpinned()
    {
        verified.pinning.emit(Event::Unpinned(unpinned.clone()));
    }
}
