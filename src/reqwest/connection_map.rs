//! The map from the open connections of a reqwest client to the certificate chains that were
//! validated for them: [`ConnectionMap`].
//!
//! reqwest does not expose its connections. A layer around its connector observes each handshake
//! and records the validated chain under the two socket addresses of the connection, which every
//! response carries, too.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::reqwest::ClientBuilder;
use ::reqwest::tls::TlsInfo;
use http::Extensions;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpInfo};
use parking_lot::Mutex;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::UnixTime;
use tower_layer::Layer;
use tower_service::Service;

use crate::chain::ValidatedChain;
use crate::connector::ConnectError;
#[cfg(feature = "ct")]
use crate::ct::CtViolation;
#[cfg(feature = "first-use")]
use crate::pinning::Remember;
use crate::pinning::{Decision, Evaluation, Event, Pinning};
use crate::reqwest::known_chains::KnownChains;
use crate::tls::VerifiedConnection;
use crate::tls::connection::{self, HandshakeEvent, Verified};
use crate::tls::resumption::ResumptionCheck;
use crate::violation::{PinViolation, UnpinnedHost, UnverifiablePath};

/// Whether a connection that the pinning verifier did not check may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// Allowed, because it may be plain HTTP.
    Allow,
    Refuse,
}

/// Maps the connections of one client to their validated chains. Clones share the map.
#[derive(Clone)]
pub(crate) struct ConnectionMap {
    pinning: Pinning,
    unverified: Unverified,
    /// Identifies the verifier and the session store of the client.
    sessions: Arc<ResumptionCheck>,
    chains: Option<Arc<KnownChains>>,
    connections: Arc<Connections>,
}

impl ConnectionMap {
    /// Returns an empty map for the client whose TLS configuration `sessions` belongs to.
    pub(crate) fn new(
        pinning: Pinning,
        unverified: Unverified,
        sessions: Arc<ResumptionCheck>,
    ) -> Self {
        Self {
            pinning,
            unverified,
            sessions,
            chains: None,
            connections: Arc::default(),
        }
    }

    /// Also records the chains of all connections.
    pub(crate) fn with_known_chains(mut self, chains: Arc<KnownChains>) -> Self {
        self.chains = Some(chains);
        self
    }

    /// Makes the builder's client use this TLS configuration, which no other client may have, and
    /// records all its connections.
    pub(crate) fn install(&self, builder: ClientBuilder, config: ClientConfig) -> ClientBuilder {
        builder
            .tls_backend_preconfigured(config)
            .tls_info(true)
            .connector_layer(TrackingLayer(self.clone()))
    }

    /// Returns the connection over which a response with these extensions was received.
    pub(crate) fn of_response(&self, extensions: &Extensions) -> Option<VerifiedConnection> {
        let addresses = AddressPair::of(extensions)?;
        self.connections.0.lock().get(addresses).cloned()
    }

    /// Associates a new connection with the chain that was validated in its handshake.
    ///
    /// # Errors
    ///
    /// A pin violation; [`ConnectError::NotVerified`] if the connection was not checked, though it
    /// had to be.
    fn associate(
        &self,
        connected: &Connected,
        last: Option<HandshakeEvent>,
    ) -> Result<(), BoxError> {
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        let verified = match last {
            // The chain, if any, is that of a proxy that forwards the request without TLS.
            _ if self.unverified == Unverified::Refuse && connected.is_proxied() => {
                return Err(ConnectError::NotVerified.into());
            }
            Some(HandshakeEvent::Verified(verified)) => {
                let chain = verified.evaluation.chain();
                ensure_same_leaf(chain, &extras)?;
                self.record_chain(chain);
                Some(self.check_pins(verified)?)
            }
            // The own session store offered a session, and the own verifier was not called after
            // that, so that the session was resumed.
            Some(HandshakeEvent::SessionOffered(chains)) => self.check_resumed(chains, &extras)?,
            None if self.unverified == Unverified::Allow => None,
            None => return Err(ConnectError::NotVerified.into()),
        };
        if let Some(addresses) = AddressPair::of(&extras) {
            let removed = self.connections.0.lock().replace(addresses, verified);
            // The noting layer keeps data about each connection until it is marked as closed, and
            // a removed one is never returned for a response again.
            removed.iter().for_each(VerifiedConnection::close);
        }
        Ok(())
    }

    /// Checks the pins again after the handshake, because they may have changed during it.
    fn check_pins(&self, verified: Verified) -> Result<VerifiedConnection, BoxError> {
        let (evaluation, _) = verified.after_handshake(&self.pinning, self.now()?);
        self.conclude(&evaluation, HandshakeKind::Full)
    }

    /// Checks the pins on the chain of a resumed session, which is one of `chains`. Returns `None`
    /// if it is not certain which one, and all of them pass.
    fn check_resumed(
        &self,
        mut chains: Vec<ValidatedChain>,
        extras: &Extensions,
    ) -> Result<Option<VerifiedConnection>, BoxError> {
        chains.retain(|chain| ensure_same_leaf(chain, extras).is_ok());
        chains.iter().for_each(|chain| self.record_chain(chain));
        let now = self.now()?;
        let evaluations = chains.iter().map(|chain| {
            let (evaluation, _) = self.pinning.evaluate_connection(chain, now);
            evaluation.after_handshake()
        });
        let evaluations = Vec::from_iter(evaluations);
        let refused = evaluations
            .iter()
            .find(|evaluation| evaluation.is_refused());
        match (refused, &*evaluations) {
            (Some(evaluation), _) | (None, [evaluation]) => {
                self.conclude(evaluation, HandshakeKind::Resumed).map(Some)
            }
            (None, []) => Err(ConnectError::NotVerified.into()),
            (None, _) => Ok(None),
        }
    }

    /// Records the connection, and refuses it if its pins fail.
    fn conclude(
        &self,
        evaluation: &Evaluation,
        handshake: HandshakeKind,
    ) -> Result<VerifiedConnection, BoxError> {
        let decision = evaluation.decision();
        self.pinning.record_connection(evaluation, &decision, None);
        if let Some(unpinned) = evaluation.refused_as_unpinned() {
            return Err(unpinned.clone().into());
        }
        match decision {
            Decision::Refuse(violation) => Err(violation.into()),
            decision => Ok(VerifiedConnection::new(evaluation, decision, handshake)),
        }
    }

    /// Returns a refusal that is not one of pins without its wrappers, and emits its event.
    fn without_wrappers(&self, error: BoxError) -> BoxError {
        if let Some(unpinned) = UnpinnedHost::find(&*error) {
            self.pinning.emit(Event::Unpinned(unpinned.clone()));
            return unpinned.into();
        }
        #[cfg(feature = "ct")]
        if let Some(violation) = CtViolation::find(&*error) {
            self.pinning.emit(Event::CtViolation(violation.clone()));
            return violation.into();
        }
        UnverifiablePath::find(&*error).map_or(error, Into::into)
    }

    fn record_chain(&self, chain: &ValidatedChain) {
        if let Some(chains) = &self.chains {
            chains.record(&self.pinning, chain);
        }
    }

    fn now(&self) -> Result<UnixTime, rustls::Error> {
        let now = self.pinning.clock().current_time();
        now.ok_or(rustls::Error::FailedToGetCurrentTime)
    }
}

/// Returns the chains of a connection, of which it is one if it resumed a session.
#[cfg(feature = "first-use")]
fn first_use_chains(last: Option<&HandshakeEvent>) -> (Vec<ValidatedChain>, Remember) {
    match last {
        Some(HandshakeEvent::Verified(verified)) => {
            let chain = verified.evaluation.chain().clone();
            (vec![chain], Remember::AfterFullHandshake)
        }
        Some(HandshakeEvent::SessionOffered(chains)) => (chains.clone(), Remember::Never),
        None => (Vec::new(), Remember::Never),
    }
}

/// Refuses a connection that reqwest says was made with another certificate than the chain's.
///
/// Only a second check: reqwest has no such information for tunnels through proxies, and an equal
/// certificate does not prove that it was verified.
fn ensure_same_leaf(chain: &ValidatedChain, extras: &Extensions) -> Result<(), ConnectError> {
    let leaf = chain.served().first().map(|leaf| &**leaf);
    match extras.get::<TlsInfo>() {
        Some(info) if info.peer_certificate() != leaf => Err(ConnectError::NotVerified),
        _ => Ok(()),
    }
}

/// The two addresses of a TCP connection. No two open connections have both in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct AddressPair {
    local: SocketAddr,
    remote: SocketAddr,
}

impl AddressPair {
    /// Returns the addresses in the extras of a connection or in the extensions of a response;
    /// `None` if the connection is not TCP.
    fn of(extensions: &Extensions) -> Option<Self> {
        let info = extensions.get::<HttpInfo>()?;
        Some(Self {
            local: info.local_addr(),
            remote: info.remote_addr(),
        })
    }
}

/// The connections of one client.
#[derive(Default)]
struct Connections(Mutex<RecentConnections<VerifiedConnection>>);

impl Drop for Connections {
    fn drop(&mut self) {
        // The client has ended, and its connections with it.
        let tracked = self.0.get_mut().tracked.values();
        tracked.for_each(|known| known.data.close());
    }
}

/// The newest connections by their addresses, at most [`MAX_CONNECTIONS`].
///
/// The end of a connection can't be observed. But every new connection is recorded before it is
/// used, so that an entry always belongs to the last connection with its addresses.
struct RecentConnections<T> {
    tracked: HashMap<AddressPair, TrackedConnection<T>>,
    recorded: u64,
}

struct TrackedConnection<T> {
    /// Its position in the order in which connections were recorded.
    number: u64,
    data: T,
}

impl<T> RecentConnections<T> {
    fn get(&self, addresses: AddressPair) -> Option<&T> {
        Some(&self.tracked.get(&addresses)?.data)
    }

    /// Replaces the entry of an earlier connection with these addresses, or removes it if nothing
    /// is known of the new one. Returns the data of the entries that were removed.
    fn replace(&mut self, addresses: AddressPair, data: Option<T>) -> Vec<T> {
        let mut removed = Vec::from_iter(self.tracked.remove(&addresses));
        if let Some(data) = data {
            if self.tracked.len() >= MAX_CONNECTIONS {
                let numbers = self.tracked.iter().map(|(key, known)| (known.number, *key));
                let oldest = numbers.min_by_key(|(number, _)| *number);
                removed.extend(oldest.and_then(|(_, key)| self.tracked.remove(&key)));
            }
            self.recorded += 1;
            let number = self.recorded;
            self.tracked
                .insert(addresses, TrackedConnection { number, data });
        }
        removed.into_iter().map(|removed| removed.data).collect()
    }
}

impl<T> Default for RecentConnections<T> {
    fn default() -> Self {
        Self {
            tracked: HashMap::new(),
            recorded: 0,
        }
    }
}

#[derive(Clone)]
struct TrackingLayer(ConnectionMap);

impl<S> Layer<S> for TrackingLayer {
    type Service = TrackingConnector<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TrackingConnector {
            inner,
            connections: self.0.clone(),
        }
    }
}

/// reqwest's connector, whose connections are recorded in the map.
#[derive(Clone)]
struct TrackingConnector<S> {
    inner: S,
    connections: ConnectionMap,
}

impl<S, R> Service<R> for TrackingConnector<S>
where
    S: Service<R, Error = BoxError, Future: Send + 'static>,
    S::Response: Connection + Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.inner.call(request);
        let connections = self.connections.clone();
        Box::pin(async move {
            let own = Arc::clone(&connections.sessions);
            let (outcome, last) = connection::observe_own(own, connecting).await;
            match outcome {
                Ok(connection) => {
                    #[cfg(feature = "first-use")]
                    let (chains, remember) = first_use_chains(last.as_ref());
                    connections.associate(&connection.connected(), last)?;
                    #[cfg(feature = "first-use")]
                    for chain in chains {
                        let now = connections.now()?;
                        let pinning = &connections.pinning;
                        pinning.check_first_use(&chain, remember, now).await?;
                    }
                    Ok(connection)
                }
                Err(error) => Err(match PinViolation::find(&*error) {
                    // Returned without its wrappers, so that `source()` leads to it.
                    Some(violation) => {
                        connections.pinning.emit_violation(&violation, None);
                        violation.into()
                    }
                    None => connections.without_wrappers(error),
                }),
            }
        })
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Connections whose chains are kept, about 5 KB each. Few clients have more of them open; nothing
/// is noted from a connection whose entry was removed for a newer one.
const MAX_CONNECTIONS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(port: u16) -> AddressPair {
        AddressPair {
            local: ([127, 0, 0, 1], port).into(),
            remote: ([127, 0, 0, 1], 443).into(),
        }
    }

    #[test]
    fn a_new_connection_replaces_the_entry_of_an_old_one() {
        let mut table = RecentConnections::default();
        table.replace(addresses(1), Some("old"));
        assert_eq!(table.replace(addresses(1), Some("new")), ["old"]);
        assert_eq!(table.get(addresses(1)), Some(&"new"));
        assert_eq!(table.replace(addresses(1), None), ["new"]);
        assert_eq!(table.get(addresses(1)), None, "resumed, or plain HTTP");
    }

    #[test]
    fn only_the_newest_connections_are_kept() {
        let mut table = RecentConnections::default();
        let ports = 1..=u16::try_from(MAX_CONNECTIONS).unwrap();
        for port in ports.clone() {
            table.replace(addresses(port), Some(port));
        }
        // The first one is recorded again, so the second one is the oldest.
        table.replace(addresses(1), Some(1));
        assert_eq!(table.replace(addresses(60_000), Some(60_000)), [2]);
        assert_eq!(table.tracked.len(), MAX_CONNECTIONS);
        let removed = ports.filter(|port| table.get(addresses(*port)).is_none());
        assert_eq!(removed.collect::<Vec<_>>(), [2]);
    }
}
