//! The resumption check: offers a TLS session only while the pins in force accept its chain.
//!
//! rustls does not call the verifier for a resumed session, and a session does not name the chain
//! that it was made with. So every chain that was verified for a name is recorded, and a session is
//! offered only while all of them would pass. A record is never evicted or narrowed: a ticket may
//! arrive, or be renewed, long after the chain was verified. Beyond the limits a name stays without
//! resumption for the life of the configuration.

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
use crate::pinning::{Evaluation, Pinning};
use crate::store::Validity;

/// The sessions of one configuration, and the chains that its verifier has verified.
pub(crate) struct ResumptionCheck {
    pinning: Pinning,
    /// The application chooses the names, and their number is limited, so a fast hash is enough.
    verified: Mutex<HashMap<ServerName<'static>, Record, RandomState>>,
    sessions: ClientSessionMemoryCache,
}

/// The chains that were verified for one name.
enum Record {
    All(Chains),
    /// No session is resumed: there were more chains than the limits allow, or one is unknown.
    Disabled,
}

struct Chains {
    /// Each chain once; at least one.
    each: Vec<ValidatedChain>,
    /// How long all of them pass; `None` until they are evaluated, and after a new chain.
    all_pass: Cell<Option<Validity>>,
}

impl ResumptionCheck {
    pub(crate) fn new(pinning: Pinning) -> Self {
        Self {
            pinning,
            verified: Mutex::default(),
            sessions: ClientSessionMemoryCache::new(SESSIONS),
        }
    }

    /// Records a chain, before its handshake can yield a session.
    pub(crate) fn record(&self, chain: &ValidatedChain) {
        let mut verified = self.verified.lock();
        let has_room = verified.len() < MAX_NAMES;
        let name = chain.server_name();
        let Some(known) = verified.get_mut(name) else {
            if has_room {
                let first = if chain.served_len() > MAX_SERVED {
                    Record::Disabled
                } else {
                    Record::All(Chains {
                        each: vec![chain.clone()],
                        all_pass: Cell::default(),
                    })
                };
                verified.insert(name.clone(), first);
            }
            return;
        };
        if let Record::All(chains) = known
            && !chains.each.iter().any(|known| known.is_same(chain))
        {
            chains.all_pass.set(None);
            // If the same certificates were validated on two paths, a session does not show on
            // which of them it was made.
            let is_distinct = chains
                .each
                .iter()
                .all(|known| known.served() != chain.served());
            let has_room = chains.each.len() < MAX_CHAINS && chain.served_len() <= MAX_SERVED;
            if is_distinct && has_room {
                chains.each.push(chain.clone());
            } else {
                *known = Record::Disabled;
            }
        }
    }

    /// Disables resumption for a name, because a handshake yielded no chain that can be recorded.
    pub(crate) fn disable_resumption(&self, name: &ServerName<'_>) {
        let mut verified = self.verified.lock();
        let name = name.to_owned();
        // Beyond the limit there is no record of the name, which disables resumption, too.
        if verified.len() < MAX_NAMES || verified.contains_key(&name) {
            verified.insert(name, Record::Disabled);
        }
    }

    /// Evaluates the pins on the chain that a resumed session was made with. Returns `None` if it
    /// is not certain which chain that is, or if the chain does not pass now.
    #[cfg(feature = "hyper")]
    pub(crate) fn evaluate(
        &self,
        name: &ServerName<'_>,
        served: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<(Evaluation, Validity)> {
        let chains = match self.verified.lock().get(name)? {
            Record::All(chains) => chains.each.clone(),
            Record::Disabled => return None,
        };
        let mut chains = chains.into_iter();
        let chain = chains.find(|chain| chain.served() == served)?;
        self.evaluate_chain(&chain, now)
    }

    /// Returns the chains of which one is that of the sessions of a name; none if no session of the
    /// name may be resumed.
    #[cfg(feature = "reqwest")]
    pub(crate) fn chains_of(&self, name: &ServerName<'_>) -> Vec<ValidatedChain> {
        match self.verified.lock().get(name) {
            Some(Record::All(chains)) => chains.each.clone(),
            Some(Record::Disabled) | None => Vec::new(),
        }
    }

    /// Returns the pins by which sessions are checked.
    #[cfg(feature = "hyper")]
    pub(crate) fn pinning(&self) -> &Pinning {
        &self.pinning
    }

    /// Drops the sessions of a name.
    #[cfg(feature = "hyper")]
    pub(crate) fn drop_sessions(&self, name: &ServerName<'static>) {
        self.sessions.remove_tls12_session(name);
        while self.sessions.take_tls13_ticket(name).is_some() {}
    }

    fn may_resume(&self, name: &ServerName<'_>) -> bool {
        let Some(now) = self.pinning.clock().current_time() else {
            return false;
        };
        let generation = self.pinning.generation().number();
        let verified = self.verified.lock();
        let Some(Record::All(chains)) = verified.get(name) else {
            return false;
        };
        let known = chains.all_pass.get();
        if known.is_some_and(|validity| validity.holds_at(generation, now)) {
            return true;
        }
        // The lock stays held, so that no chain is recorded in the meantime and missed.
        let each = chains.each.iter().map(|chain| {
            let (_, validity) = self.evaluate_chain(chain, now)?;
            Some(validity)
        });
        let each = each.collect::<Option<Vec<_>>>();
        let all = each.and_then(|each| each.into_iter().reduce(Validity::and));
        chains.all_pass.set(all);
        all.is_some()
    }

    /// Evaluates what can have changed since the handshake: pins and dates. Returns `None` if the
    /// chain does not pass now.
    fn evaluate_chain(
        &self,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Option<(Evaluation, Validity)> {
        let (from, until) = chain.dates()?;
        if !(from..=until).contains(&now.as_secs()) {
            return None;
        }
        let (evaluation, validity) = self.pinning.evaluate_connection(chain, now);
        let validity = validity.within(from, until);
        (!evaluation.is_refused()).then_some((evaluation, validity))
    }
}

impl ClientSessionStore for ResumptionCheck {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.sessions.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.sessions.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.sessions.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        // The session is looked up before the pins are evaluated: rustls looks for one of TLS 1.2
        // and for one of TLS 1.3, and at most one of them exists.
        let session = self.sessions.tls12_session(server_name)?;
        self.may_resume(server_name).then_some(session)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.sessions.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.sessions.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        let ticket = self.sessions.take_tls13_ticket(server_name)?;
        self.may_resume(server_name).then_some(ticket)
    }
}

impl fmt::Debug for ResumptionCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumptionCheck")
            .field("names", &self.verified.lock().len())
            .finish_non_exhaustive()
    }
}

/// The number of sessions that are kept: rustls's own default.
const SESSIONS: usize = 256;
/// The number of names with resumption: four times as many as there are sessions.
const MAX_NAMES: usize = 1024;
/// The number of chains of one name: the servers of a name seldom have more than two, and a renewed
/// certificate adds one.
const MAX_CHAINS: usize = 8;
/// In bytes. An ordinary served chain has 2,000 to 6,000. With this limit at most 128 KiB are
/// recorded for a name, and at most 128 MiB for all names.
const MAX_SERVED: usize = 16 * 1024;
