//! What is known of one TLS connection: [`VerifiedConnection`].
//!
//! The verifier is shared by all connections, so a connection learns its validated chain through
//! a slot that is open around its handshake only.

use std::sync::Arc;

use crate::chain::ValidatedChain;
use crate::sessions::Sessions;
#[cfg(feature = "hyper")]
use {
    crate::anchors::AnchorOrigin, crate::host::Host, crate::pinning::Decision,
    crate::violation::Ended, rustls::HandshakeKind, rustls_pki_types::UnixTime, std::cell::RefCell,
};

/// A TLS connection that [`PinningConnector`](crate::PinningConnector) made: found in the
/// extensions of every response that came over it.
///
/// Compare [`host`](Self::host) where a plain-HTTP response may have come through a TLS proxy.
///
/// ```
/// use pinhold::{AnchorOrigin, VerifiedConnection};
///
/// fn was_inspected<B>(response: &http::Response<B>) -> bool {
///     let connection = response.extensions().get::<VerifiedConnection>();
///     connection.is_some_and(|known| known.anchor_origin() == AnchorOrigin::UserAdded)
/// }
/// # assert!(!was_inspected(&http::Response::new(())));
/// ```
#[cfg(feature = "hyper")]
#[derive(Clone, Debug)]
pub struct VerifiedConnection {
    chain: ValidatedChain,
    decision: Decision,
    at: UnixTime,
    handshake: HandshakeKind,
    ended: Ended,
}

#[cfg(feature = "hyper")]
impl VerifiedConnection {
    pub(crate) fn new(
        chain: ValidatedChain,
        decision: Decision,
        at: UnixTime,
        handshake: HandshakeKind,
    ) -> Self {
        Self {
            chain,
            decision,
            at,
            handshake,
            ended: Ended::default(),
        }
    }

    /// Whether, and by what, the connection was ended. The same for all clones.
    pub(crate) fn ended(&self) -> &Ended {
        &self.ended
    }

    /// The chain that was validated in the handshake, or in that of the session it resumed.
    #[must_use]
    pub fn chain(&self) -> &ValidatedChain {
        &self.chain
    }

    /// What the pins said of it, [`Refuse`](Decision::Refuse) excepted.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Where the trust anchor came from.
    #[must_use]
    pub fn anchor_origin(&self) -> AnchorOrigin {
        self.chain.anchor_origin()
    }

    /// The host that the connection was verified for; `None` for an IP address.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.chain.host()
    }

    /// When the pins were checked.
    #[must_use]
    pub fn at(&self) -> UnixTime {
        self.at
    }

    /// Whether the handshake resumed an earlier session, whose chain was judged again.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.handshake == HandshakeKind::Resumed
    }
}

/// What our verifier says of the handshake that it was asked in.
#[cfg_attr(not(feature = "hyper"), expect(dead_code, reason = "nobody observes"))]
pub(crate) struct Verified {
    pub(crate) chain: ValidatedChain,
    /// Where sessions that come of the handshake are kept; `None` without a gate.
    pub(crate) sessions: Option<Arc<Sessions>>,
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
