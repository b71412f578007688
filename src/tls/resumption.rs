//! The resumption check: offers a TLS session only while the pins in force accept its chain.
//!
//! rustls does not call the verifier for a resumed session, and a session does not name the chain
//! that it was made with. So every chain that was verified for a name is recorded, and a session is
//! offered only while all of them would pass. A chain is recorded once the signature of its
//! handshake was verified, so that only the holder of a key changes the records. A record is never
//! evicted or narrowed: a ticket may arrive, or be renewed, long after the chain was verified.
//! Beyond the limits a name stays without resumption for the life of the configuration.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::chain::ValidatedChain;
use crate::pinning::{Evaluation, Pinning};
use crate::store::Validity;
#[cfg(feature = "self-test")]
use crate::tls::canary;

/// The sessions of one configuration, and the chains that its verifier has verified.
pub(crate) struct ResumptionCheck {
    pinning: Pinning,
    records: Mutex<Records>,
    /// Created for the first TLS 1.3 handshake or session: rustls creates one of its own for every configuration, and
    /// a second one is a fifth of the cost of building a client.
    sessions: OnceLock<ClientSessionMemoryCache>,
}

#[derive(Default)]
struct Records {
    /// The number of names is limited, so a fast hash is enough.
    of_names: HashMap<ServerName<'static>, Record, RandomState>,
    /// The total size of the recorded served certificates in bytes.
    size: usize,
    /// A chain could not be recorded, and it is unknown for which name: no session is resumed.
    is_incomplete: bool,
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

#[cfg(feature = "ct")]
impl Chains {
    /// Keeps the newest outcome of a chain: an OCSP response may bring SCTs that were missing before, and
    /// they are about the same certificate.
    fn update_scts(&mut self, chain: &ValidatedChain) {
        let mut known = self.each.iter_mut();
        if let Some(known) = known.find(|known| known.is_same(chain)) {
            known.clone_from(chain);
            self.all_pass.set(None);
        }
    }
}

impl Records {
    fn get<'a>(&'a self, name: &'a ServerName<'_>) -> Option<&'a Chains> {
        match self.of_names.get(name)? {
            Record::All(chains) if !self.is_incomplete => Some(chains),
            _ => None,
        }
    }

    fn add(&mut self, chain: &ValidatedChain) {
        let name = chain.server_name();
        let size = chain.served_len();
        let fits = size <= MAX_SERVED && self.size + size <= MAX_SIZE;
        let has_room = self.of_names.len() < MAX_NAMES;
        match self.of_names.get_mut(name) {
            None if has_room => {
                let record = if fits {
                    self.size += size;
                    Record::All(Chains {
                        each: vec![chain.clone()],
                        all_pass: Cell::default(),
                    })
                } else {
                    Record::Disabled
                };
                self.of_names.insert(name.clone(), record);
            }
            Some(Record::All(chains)) => {
                #[cfg(feature = "ct")]
                chains.update_scts(chain);
                let mut known = chains.each.iter();
                if known.clone().any(|known| known.is_same(chain)) {
                    return;
                }
                // If the same certificates were validated on two paths, a session does not show on
                // which of them it was made.
                let is_distinct = known.all(|known| known.served() != chain.served());
                if is_distinct && fits && chains.each.len() < MAX_CHAINS {
                    self.size += size;
                    chains.each.push(chain.clone());
                    chains.all_pass.set(None);
                } else {
                    self.disable(name.clone());
                }
            }
            // Beyond the limit there is no record of the name, which disables resumption, too.
            None | Some(Record::Disabled) => {}
        }
    }

    /// Disables resumption for a name.
    fn disable(&mut self, name: ServerName<'static>) {
        if self.of_names.len() < MAX_NAMES || self.of_names.contains_key(&name) {
            let replaced = self.of_names.insert(name, Record::Disabled);
            if let Some(Record::All(chains)) = replaced {
                let size: usize = chains.each.iter().map(ValidatedChain::served_len).sum();
                self.size = self.size.saturating_sub(size);
            }
        }
    }
}

/// What the verifier found in a handshake that it accepted.
pub(crate) enum Found {
    Chain(ValidatedChain),
    /// No valid path, but an inner verifier accepted the server.
    NoPath {
        name: ServerName<'static>,
        leaf: CertificateDer<'static>,
    },
}

impl Found {
    fn leaf(&self) -> Option<&CertificateDer<'static>> {
        match self {
            Self::Chain(chain) => chain.served().first(),
            Self::NoPath { leaf, .. } => Some(leaf),
        }
    }
}

/// What was found in a handshake whose signature is verified next.
pub(crate) struct Unsigned {
    /// Weak, since a handshake that fails in between must not keep pins and observers alive.
    sessions: Weak<ResumptionCheck>,
    found: Found,
    /// What is recorded once the signature is verified, if no connector observes the handshake.
    #[cfg(feature = "health")]
    evaluation: Option<Evaluation>,
}

impl Unsigned {
    /// Removes what the handshake of this thread left. Call it before its signature is verified.
    pub(crate) fn take() -> Option<Self> {
        UNSIGNED.take()
    }

    /// Adds what is recorded once the signature is verified.
    #[cfg(feature = "health")]
    pub(crate) fn await_record(evaluation: Evaluation) {
        if let Some(unsigned) = UNSIGNED.take() {
            UNSIGNED.set(Some(Self {
                evaluation: Some(evaluation),
                ..unsigned
            }));
        }
    }
}

thread_local! {
    static UNSIGNED: Cell<Option<Unsigned>> = const { Cell::new(None) };
}

impl ResumptionCheck {
    pub(crate) fn new(pinning: Pinning) -> Self {
        Self {
            pinning,
            records: Mutex::default(),
            sessions: OnceLock::new(),
        }
    }

    /// Keeps what `verify_server_cert` found until the signature of the same handshake is verified.
    /// rustls calls both in one step, so that no other handshake of this thread comes in between.
    pub(crate) fn await_signature(self: &Arc<Self>, found: Found) {
        UNSIGNED.set(Some(Unsigned {
            sessions: Arc::downgrade(self),
            found,
            #[cfg(feature = "health")]
            evaluation: None,
        }));
    }

    /// Records what was found in the handshake in which the server has just proved that it has the
    /// key of this certificate. A handshake yields no session before.
    pub(crate) fn on_signature(
        self: &Arc<Self>,
        unsigned: Option<Unsigned>,
        leaf: &CertificateDer<'_>,
    ) {
        let is_this = |known: &Unsigned| {
            let is_of_this = std::ptr::eq(known.sessions.as_ptr(), Arc::as_ptr(self));
            is_of_this && known.found.leaf().is_some_and(|known| known == leaf)
        };
        #[cfg_attr(
            not(feature = "health"),
            expect(unused_mut, reason = "a part is taken")
        )]
        let mut unsigned = unsigned.filter(is_this);
        #[cfg(feature = "health")]
        if let Some(evaluation) = unsigned.as_mut().and_then(|it| it.evaluation.take()) {
            self.pinning.record_health(&evaluation.after_handshake());
        }
        let mut records = self.records.lock();
        match unsigned.map(|known| known.found) {
            Some(Found::Chain(chain)) => records.add(&chain),
            Some(Found::NoPath { name, .. }) => records.disable(name),
            // The chain of the next session is unknown.
            None => records.is_incomplete = true,
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
        let records = self.records.lock();
        let mut chains = records.get(name)?.each.iter();
        let chain = chains.find(|chain| chain.served() == served)?.clone();
        drop(records);
        self.evaluate_chain(&chain, now)
    }

    /// Returns the chains of which one is that of the sessions of a name; none if no session of the
    /// name may be resumed.
    #[cfg(feature = "reqwest")]
    pub(crate) fn chains_of(&self, name: &ServerName<'_>) -> Vec<ValidatedChain> {
        let records = self.records.lock();
        let chains = records.get(name);
        chains.map_or_else(Vec::new, |chains| chains.each.clone())
    }

    /// Returns the chains that were accepted for a name, the oldest first. They explain a refusal and
    /// decide nothing, so that one which is missing does no harm.
    pub(crate) fn accepted(&self, name: &ServerName<'_>) -> Vec<ValidatedChain> {
        match self.records.lock().of_names.get(name) {
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
        if let Some(sessions) = self.sessions.get() {
            sessions.remove_tls12_session(name);
            while sessions.take_tls13_ticket(name).is_some() {}
        }
    }

    /// Returns the sessions, to add one.
    fn sessions(&self) -> &ClientSessionMemoryCache {
        self.sessions
            .get_or_init(|| ClientSessionMemoryCache::new(SESSIONS))
    }

    /// Returns whether sessions of this name are kept: one that is never offered takes no memory.
    fn is_recorded(&self, name: &ServerName<'_>) -> bool {
        self.records.lock().get(name).is_some()
    }

    fn may_resume(&self, name: &ServerName<'_>) -> bool {
        let Some(now) = self.pinning.clock().current_time() else {
            return false;
        };
        let generation = self.pinning.generation().number();
        let records = self.records.lock();
        let Some(chains) = records.get(name) else {
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
        #[cfg(feature = "ct")]
        if !self.pinning.may_resume_without_scts(chain, now) {
            return None;
        }
        let (evaluation, validity) = self.pinning.evaluate_connection(chain, now);
        let validity = validity.within(from, until);
        (!evaluation.is_refused()).then_some((evaluation, validity))
    }
}

impl ClientSessionStore for ResumptionCheck {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        #[cfg(feature = "self-test")]
        if canary::is_running() {
            return;
        }
        self.sessions().set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.sessions.get()?.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        if self.is_recorded(&server_name) {
            self.sessions().set_tls12_session(server_name, value);
        }
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        // The session is looked up before the pins are evaluated: rustls looks for one of TLS 1.2
        // and for one of TLS 1.3, and at most one of them exists.
        let session = self.sessions.get()?.tls12_session(server_name)?;
        self.may_resume(server_name).then_some(session)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        if let Some(sessions) = self.sessions.get() {
            sessions.remove_tls12_session(server_name);
        }
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        if self.is_recorded(&server_name) {
            self.sessions().insert_tls13_ticket(server_name, value);
        }
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        #[cfg(feature = "self-test")]
        canary::record_store(self);
        let ticket = self.sessions.get()?.take_tls13_ticket(server_name)?;
        self.may_resume(server_name).then_some(ticket)
    }
}

/// The session store of a configuration without resumption. rustls's own can't be distinguished from
/// one of another crate.
#[cfg(feature = "self-test")]
#[derive(Debug)]
pub(crate) struct NoSessions;

#[cfg(feature = "self-test")]
impl ClientSessionStore for NoSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        canary::record_store(self);
        None
    }
}

impl fmt::Debug for ResumptionCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumptionCheck")
            .field("names", &self.records.lock().of_names.len())
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
/// In bytes. An ordinary served chain has 2,000 to 6,000.
const MAX_SERVED: usize = 16 * 1024;
/// The served certificates of all names in bytes: four ordinary kilobytes for each name.
const MAX_SIZE: usize = 4 * 1024 * 1024;
