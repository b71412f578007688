//! TLS sessions in, those out that the pins of today allow: the gate of resumption.
//!
//! rustls asks no verifier about a resumed session, and a session does not say which chain it was
//! made with. So every chain that was verified for a name is remembered, and a session is offered
//! only while all of them would pass. What is remembered is never evicted or narrowed: a ticket may
//! arrive, or be renewed, long after the chain was verified. Beyond the bounds a name stays without
//! resumption for as long as the configuration lives.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
#[cfg(feature = "hyper")]
use rustls_pki_types::CertificateDer;
use rustls_pki_types::{ServerName, UnixTime};

use crate::chain::ValidatedChain;
use crate::pinning::{Decision, Pinning};
use crate::store::Validity;

/// The sessions of one configuration, and the chains that its verifier has verified.
pub(crate) struct ResumptionCheck {
    pinning: Pinning,
    /// The application chooses the names, and the table is bounded: a fast hash does.
    verified: Mutex<HashMap<ServerName<'static>, Verified, RandomState>>,
    kept: ClientSessionMemoryCache,
}

enum Verified {
    All(Chains),
    /// Or one that is not known.
    TooMany,
}

/// What was verified for one name.
struct Chains {
    /// Each chain once; at least one.
    each: Vec<ValidatedChain>,
    /// For how long all of them pass, as far as they were asked since the last one came.
    all_pass: Cell<Option<Validity>>,
}

impl ResumptionCheck {
    pub(crate) fn new(pinning: Pinning) -> Self {
        Self {
            pinning,
            verified: Mutex::default(),
            kept: ClientSessionMemoryCache::new(SESSIONS),
        }
    }

    /// Remembers a chain, before a session can come of its handshake.
    pub(crate) fn remember(&self, chain: &ValidatedChain) {
        let mut verified = self.verified.lock();
        let has_room = verified.len() < MAX_NAMES;
        let name = chain.server_name();
        let Some(known) = verified.get_mut(name) else {
            if has_room {
                let first = if chain.served_len() > MAX_SERVED {
                    Verified::TooMany
                } else {
                    Verified::All(Chains {
                        each: vec![chain.clone()],
                        all_pass: Cell::default(),
                    })
                };
                verified.insert(name.clone(), first);
            }
            return;
        };
        if let Verified::All(chains) = known
            && !chains.each.iter().any(|known| known.is_same(chain))
        {
            chains.all_pass.set(None);
            // Of the same certificates on two paths a session does not say which one was taken.
            let is_told_apart = chains
                .each
                .iter()
                .all(|known| known.served() != chain.served());
            let has_room = chains.each.len() < MAX_CHAINS && chain.served_len() <= MAX_SERVED;
            if is_told_apart && has_room {
                chains.each.push(chain.clone())
            } else {
                *known = Verified::TooMany
            }
        }
    }

    /// Leaves a name without resumption: it was reached without a chain that could be remembered.
    pub(crate) fn disable_resumption(&self, name: &ServerName<'_>) {
        let mut verified = self.verified.lock();
        let name = name.to_owned();
        // Beyond the bound nothing is known of the name, which comes to the same.
        if verified.len() < MAX_NAMES || verified.contains_key(&name) {
            verified.insert(name, Verified::TooMany);
        }
    }

    /// The chain that a resumed session was made with, if it is certain which one and it passes
    /// today.
    #[cfg(feature = "hyper")]
    pub(crate) fn chain_of(
        &self,
        name: &ServerName<'_>,
        served: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<ValidatedChain> {
        let chains = match self.verified.lock().get(name)? {
            Verified::All(chains) => chains.each.clone(),
            Verified::TooMany => return None,
        };
        let mut chains = chains.into_iter();
        let chain = chains.find(|chain| chain.served() == served)?;
        self.passes(&chain, now).is_some().then_some(chain)
    }

    /// Drops the sessions of a name.
    #[cfg(feature = "hyper")]
    pub(crate) fn forget(&self, name: &ServerName<'static>) {
        self.kept.remove_tls12_session(name);
        while self.kept.take_tls13_ticket(name).is_some() {}
    }

    /// Whether a session of this name is offered in the handshake under way.
    fn offer(&self, name: &ServerName<'_>) -> bool {
        let offered = self.may_resume(name);
        #[cfg(feature = "reqwest")]
        if offered {
            let _ = OFFERED.try_with(|known| known.set(true));
        }
        offered
    }

    fn may_resume(&self, name: &ServerName<'_>) -> bool {
        let Some(now) = self.pinning.clock().current_time() else {
            return false;
        };
        let generation = self.pinning.generation().number();
        let verified = self.verified.lock();
        let Some(Verified::All(chains)) = verified.get(name) else {
            return false;
        };
        let known = chains.all_pass.get();
        if known.is_some_and(|validity| validity.holds_at(generation, now)) {
            return true;
        }
        // Under the lock: a chain that is remembered meanwhile is not passed over.
        let each = chains.each.iter().map(|chain| self.passes(chain, now));
        let each = each.collect::<Option<Vec<_>>>();
        let all = each.and_then(|each| each.into_iter().reduce(Validity::and));
        chains.all_pass.set(all);
        all.is_some()
    }

    /// As a new handshake would have it, but for what can't have changed; and for how long.
    fn passes(&self, chain: &ValidatedChain, now: UnixTime) -> Option<Validity> {
        let (from, until) = chain.dates()?;
        if !(from..=until).contains(&now.as_secs()) {
            return None;
        }
        match self.pinning.check_for(chain, now) {
            (Decision::Refuse(_), _) => None,
            (_, validity) => Some(validity.within(from, until)),
        }
    }
}

impl ClientSessionStore for ResumptionCheck {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.kept.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        // Looked for before the pins are asked: rustls asks for both kinds, and has one at most.
        let session = self.kept.tls12_session(server_name)?;
        self.offer(server_name).then_some(session)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.kept.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.kept.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        let ticket = self.kept.take_tls13_ticket(server_name)?;
        self.offer(server_name).then_some(ticket)
    }
}

#[cfg(feature = "reqwest")]
tokio::task_local! {
    static OFFERED: Cell<bool>;
}

/// Runs handshakes and says, besides their outcome, whether a session of ours was offered in one:
/// only then our verifier may not have been asked.
#[cfg(feature = "reqwest")]
pub(crate) async fn observe<F: Future>(handshakes: F) -> (F::Output, bool) {
    let observed = async {
        let outcome = handshakes.await;
        (outcome, OFFERED.with(Cell::get))
    };
    OFFERED.scope(Cell::new(false), observed).await
}

impl fmt::Debug for ResumptionCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("names", &self.verified.lock().len())
            .finish_non_exhaustive()
    }
}

/// As rustls keeps by itself.
const SESSIONS: usize = 256;
/// Names with resumption, four times as many as rustls keeps sessions for.
const MAX_NAMES: usize = 1024;
/// Chains of one name: several servers of one name seldom have more than two, and a certificate
/// that is renewed makes one more.
const MAX_CHAINS: usize = 8;
/// Bytes of one served chain, of which ordinary ones have 2,000 to 6,000: so no server makes us
/// remember more than 128 KB for a name, nor all of them more than 128 MB.
const MAX_SERVED: usize = 16 * 1024;
