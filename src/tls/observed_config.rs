//! The TLS configuration of one client of reqwest: [`ObservedConfig`].
//!
//! reqwest does not say by which configuration a connection was made. So each client has a verifier
//! and a session store that no other configuration has, and what these did proves it.

use std::fmt;
use std::sync::Arc;

use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::{ClientConfig, NamedGroup};
use rustls_pki_types::ServerName;

#[cfg(feature = "self-test")]
use crate::tls::canary;
use crate::tls::connection;
use crate::tls::resumption::ResumptionCheck;

/// A configuration, and the resumption check that identifies its verifier and its session store,
/// also if no session is ever resumed.
#[derive(Clone)]
pub(crate) struct ObservedConfig {
    pub(crate) config: ClientConfig,
    pub(crate) sessions: Arc<ResumptionCheck>,
}

/// A session store that reports each session it offers to the code that observes the handshake.
pub(crate) struct ObservedSessions(pub(crate) Arc<ResumptionCheck>);

impl ObservedSessions {
    /// Records the offer, and returns whether the session may still be offered.
    fn record_offer(&self, name: &ServerName<'_>) -> bool {
        // A chain that is recorded from now on is not that of the session, which exists already.
        let chains = self.0.chains_of(name);
        let may_resume = !chains.is_empty();
        if may_resume {
            connection::record_offer(&self.0, chains);
        }
        may_resume
    }
}

impl ClientSessionStore for ObservedSessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let session = self.0.tls12_session(server_name)?;
        self.record_offer(server_name).then_some(session)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.0.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.0.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        #[cfg(feature = "self-test")]
        canary::record_store(self);
        let ticket = self.0.take_tls13_ticket(server_name)?;
        self.record_offer(server_name).then_some(ticket)
    }
}

impl fmt::Debug for ObservedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObservedSessions").field(&self.0).finish()
    }
}
