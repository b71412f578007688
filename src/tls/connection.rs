//! What is known of one TLS connection: [`VerifiedConnection`].
//!
//! The verifier is shared by all connections, so a connection learns its validated chain through
//! a slot that is open around its handshake only.

use std::sync::Arc;

use crate::chain::ValidatedChain;
use crate::tls::resumption::ResumptionCheck;
#[cfg(feature = "hyper")]
use {
    crate::pinning::Decision,
    crate::policy::AnchorOrigin,
    crate::policy::Host,
    crate::violation::PinViolation,
    rustls::HandshakeKind,
    rustls_pki_types::UnixTime,
    std::cell::RefCell,
    std::fmt,
    std::sync::OnceLock,
    std::sync::atomic::{AtomicBool, Ordering},
};

/// A TLS connection that [`PinningConnector`](crate::PinningConnector) made: found in the
/// extensions of every response that came over it. Cheap to clone.
///
/// Compare [`host`](Self::host) where a plain-HTTP response may have come through a TLS proxy.
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
    ended_by: OnceLock<PinViolation>,
    is_closed: AtomicBool,
}

#[cfg(feature = "hyper")]
impl VerifiedConnection {
    pub(crate) fn new(
        chain: ValidatedChain,
        decision: Decision,
        at: UnixTime,
        handshake: HandshakeKind,
    ) -> Self {
        Self(Arc::new(Facts {
            chain,
            decision,
            at,
            handshake,
            ended_by: OnceLock::new(),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// What the pins ended it by, if they did: also where HTTP/2 leaves nothing but text of it in the
    /// error of a body.
    #[must_use]
    pub fn ended_by(&self) -> Option<&PinViolation> {
        self.0.ended_by.get()
    }

    /// By the pins. The first violation is the one that is told.
    pub(crate) fn end(&self, by: PinViolation) {
        self.0.ended_by.get_or_init(|| by);
    }

    /// By whoever had it.
    pub(crate) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed.load(Ordering::Relaxed)
    }

    /// Whether this is a clone of `other`.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The chain that was validated in the handshake, or in that of the session it resumed.
    #[must_use]
    pub fn chain(&self) -> &ValidatedChain {
        &self.0.chain
    }

    /// What the pins said of it, [`Refuse`](Decision::Refuse) excepted.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.0.decision
    }

    /// Where the trust anchor came from.
    #[must_use]
    pub fn anchor_origin(&self) -> AnchorOrigin {
        self.0.chain.anchor_origin()
    }

    /// The host that the connection was verified for; `None` for an IP address.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.0.chain.host()
    }

    /// When the pins were checked.
    #[must_use]
    pub fn at(&self) -> UnixTime {
        self.0.at
    }

    /// Whether the handshake resumed an earlier session, whose chain was judged again.
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

/// What our verifier says of the handshake that it was asked in.
#[cfg_attr(not(feature = "hyper"), expect(dead_code, reason = "nobody observes"))]
pub(crate) struct Verified {
    pub(crate) chain: ValidatedChain,
    /// Where sessions that come of the handshake are kept; `None` without a gate.
    pub(crate) sessions: Option<Arc<ResumptionCheck>>,
}

#[cfg(feature = "hyper")]
tokio::task_local! {
    static SLOT: RefCell<Option<Verified>>;
}

/// Runs a handshake and returns, besides its outcome, what our verifier says of it: `None` if it
/// was not asked, as in a resumed session or under a foreign verifier.
#[cfg(feature = "hyper")]
pub(crate) async fn observe<F: Future>(handshake: F) -> (F::Output, Option<Verified>) {
    let observed = async {
        let outcome = handshake.await;
        (outcome, SLOT.with(RefCell::take))
    };
    SLOT.scope(RefCell::new(None), observed).await
}

/// Whether somebody observes this handshake.
pub(crate) fn is_observed() -> bool {
    #[cfg(feature = "hyper")]
    return SLOT.try_with(|_| ()).is_ok();
    #[cfg(not(feature = "hyper"))]
    return false;
}

/// Hands what was verified to whoever observes this handshake, if anybody does.
pub(crate) fn record(verified: impl FnOnce() -> Verified) {
    #[cfg(feature = "hyper")]
    let _ = SLOT.try_with(|slot| *slot.borrow_mut() = Some(verified()));
    #[cfg(not(feature = "hyper"))]
    let _ = verified;
}
