//! A reqwest client builder in which the pins are enforced, and which validated chain belongs to
//! which of its connections: [`Pinning::reqwest_client_builder`].
//!
//! reqwest hands its connections to nobody. So a layer around its connector looks on while each is
//! made, and remembers it by its two addresses, which every response carries, too.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::reqwest::{Client, ClientBuilder};
use http::Extensions;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpInfo};
use parking_lot::Mutex;
use rustls::{ClientConfig, HandshakeKind};
use tower_layer::Layer;
use tower_service::Service;

use crate::connector::ConnectError;
use crate::pinning::{BuildError, Decision, Pinning};
use crate::roots::TrustAnchors;
use crate::tls::connection::{self, Verified};
use crate::tls::{VerifiedConnection, resumption};
use crate::violation::{PinViolation, UnverifiablePath};

impl Pinning {
    /// A builder of reqwest clients that validate chains to `anchors` and enforce the pins on every
    /// hop, over HTTP/1.1 and HTTP/2, also through proxies. Add the other settings to it. It is
    /// `https_only`, and offers HTTP/2.
    ///
    /// An error of such a client leads by `source()` to the [`PinViolation`]. To note
    /// `Public-Key-Pins`, use [`NotingClient`](crate::reqwest::NotingClient).
    ///
    /// # Limits
    ///
    /// - A connection that is open when pins change stays in use: reqwest's can't be wrapped. Use
    ///   `pool_max_idle_per_host(0)`, or make a new client after a change, or take hyper-util's
    ///   client with [`PinningConnector`](crate::PinningConnector).
    /// - A connection whose handshake was not ours is refused with [`ConnectError::NotVerified`]:
    ///   plain HTTP (so `https_only(false)` allows none), and TLS of another back end, if one was
    ///   set on the builder later.
    /// - reqwest ignores its own TLS settings beside a configuration made elsewhere:
    ///   `tls_certs_merge`, `tls_certs_only`, `tls_crls_only`, `identity`, `tls_version_min`,
    ///   `tls_version_max`, `tls_sni`, `tls_danger_accept_invalid_certs` and the like have no
    ///   effect. Use [`reqwest_client_builder_with`](Self::reqwest_client_builder_with).
    /// - HTTP/3 of reqwest (unstable) goes past its connectors: pins are enforced, but nothing is
    ///   noted.
    ///
    /// # Errors
    ///
    /// As [`client_config`](Self::client_config).
    ///
    /// ```
    /// use pinhold::{Pinning, TrustAnchors};
    ///
    /// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
    /// let pinning = Pinning::builder().build()?;
    /// let client = pinning
    ///     .reqwest_client_builder(TrustAnchors::webpki_roots())?
    ///     .user_agent("shop/1.0")
    ///     .build()?;
    /// # drop(client);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reqwest_client_builder(
        &self,
        anchors: TrustAnchors,
    ) -> Result<ClientBuilder, BuildError> {
        self.reqwest_client_builder_with(self.client_config(anchors)?)
    }

    /// The same with a TLS configuration, which must be one of
    /// [`client_config`](Self::client_config) or
    /// [`PinningVerifierBuilder::client_config`](crate::tls::PinningVerifierBuilder::client_config) with
    /// these pins: for a crypto provider, TLS versions, revocation lists, or a client certificate
    /// (`client_auth_cert_resolver`). ALPN is taken as it is.
    ///
    /// # Errors
    ///
    /// [`BuildError::EarlyData`].
    pub fn reqwest_client_builder_with(
        &self,
        config: ClientConfig,
    ) -> Result<ClientBuilder, BuildError> {
        let connections = ConnectionMap::new(self.clone(), Unverified::Refuse);
        let builder = Client::builder().https_only(true);
        Ok(connections.layer(builder, admit(config)?))
    }
}

/// A configuration that reqwest may have.
pub(crate) fn admit(config: ClientConfig) -> Result<ClientConfig, BuildError> {
    if config.enable_early_data {
        Err(BuildError::EarlyData)
    } else {
        Ok(config)
    }
}

/// What becomes of a connection that our verifier had no say in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// It may be plain HTTP.
    Allow,
    Refuse,
}

/// Which validated chain belongs to which connection of a client. Clones are one.
#[derive(Clone)]
pub(crate) struct ConnectionMap {
    pinning: Pinning,
    unverified: Unverified,
    open: Arc<Mutex<Table<VerifiedConnection>>>,
}

impl ConnectionMap {
    pub(crate) fn new(pinning: Pinning, unverified: Unverified) -> Self {
        Self {
            pinning,
            unverified,
            open: Arc::default(),
        }
    }

    /// Has the builder's client use this configuration, and learns of all its connections.
    pub(crate) fn layer(&self, builder: ClientBuilder, config: ClientConfig) -> ClientBuilder {
        builder
            .tls_backend_preconfigured(config)
            .connector_layer(TrackingLayer(self.clone()))
    }

    /// The connection that a response with these extensions came over.
    pub(crate) fn of_response(&self, extensions: &Extensions) -> Option<VerifiedConnection> {
        self.open.lock().get(Pair::of(extensions)?).cloned()
    }

    /// Ties a new connection to what our verifier said while it was made.
    fn associate(
        &self,
        connected: &Connected,
        verified: Option<Verified>,
        was_offered: bool,
    ) -> Result<(), BoxError> {
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        let pair = Pair::of(&extras);
        let verified = match verified {
            // The chain is a proxy's, which sends the request on in the clear.
            _ if self.unverified == Unverified::Refuse && connected.is_proxied() => {
                return Err(ConnectError::NotVerified.into());
            }
            Some(verified) => Some(self.judge(verified)?),
            // Resumed, or in the clear. A session of ours can't lead to a foreign verifier.
            None if was_offered || self.unverified == Unverified::Allow => None,
            None => return Err(ConnectError::NotVerified.into()),
        };
        if let Some(pair) = pair {
            // Nobody is to keep what it can't be asked for again.
            let gone = self.open.lock().set(pair, verified);
            gone.iter().for_each(VerifiedConnection::close);
        }
        Ok(())
    }

    /// Judges a chain whose handshake is done: pins may have changed while it was under way.
    fn judge(&self, verified: Verified) -> Result<VerifiedConnection, BoxError> {
        let now = self.pinning.clock().current_time();
        let now = now.ok_or(rustls::Error::FailedToGetCurrentTime)?;
        let (evaluation, _) = verified.after_handshake(&self.pinning, now);
        let decision = evaluation.decision();
        self.pinning.record_connection(&evaluation, &decision, None);
        match decision {
            Decision::Refuse(violation) => Err(violation.into()),
            decision => {
                let handshake = HandshakeKind::Full;
                Ok(VerifiedConnection::new(&evaluation, decision, handshake))
            }
        }
    }
}

/// What tells open connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair {
    local: SocketAddr,
    remote: SocketAddr,
}

impl Pair {
    /// That of a connection's extras or of a response; `None` if it is not TCP.
    fn of(extensions: &Extensions) -> Option<Self> {
        let info = extensions.get::<HttpInfo>()?;
        Some(Self {
            local: info.local_addr(),
            remote: info.remote_addr(),
        })
    }
}

/// The newest connections. Nobody tells when one ends; but every new one comes by here, so that
/// what is found under a pair is of the last connection with it.
struct Table<T> {
    known: HashMap<Pair, (u64, T)>,
    count: u64,
}

impl<T> Table<T> {
    fn get(&self, pair: Pair) -> Option<&T> {
        let (_, known) = self.known.get(&pair)?;
        Some(known)
    }

    /// In place of what was known of an earlier connection with this pair. Returns what is known no
    /// more.
    fn set(&mut self, pair: Pair, known: Option<T>) -> Vec<T> {
        let mut gone = Vec::from_iter(self.known.remove(&pair));
        if let Some(known) = known {
            if self.known.len() >= MAX_CONNECTIONS {
                let ages = self.known.iter().map(|(pair, (age, _))| (*age, *pair));
                let oldest = ages.min_by_key(|(age, _)| *age);
                gone.extend(oldest.and_then(|(_, pair)| self.known.remove(&pair)));
            }
            self.count += 1;
            self.known.insert(pair, (self.count, known));
        }
        gone.into_iter().map(|(_, known)| known).collect()
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            count: 0,
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

/// reqwest's connector, looked on.
#[derive(Clone)]
struct TrackingConnector<S> {
    inner: S,
    connections: ConnectionMap,
}

impl<S, R> Service<R> for TrackingConnector<S>
where
    S: Service<R, Error = BoxError, Future: Send + 'static>,
    S::Response: Connection,
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
            let observed = resumption::observe(connection::observe(connecting));
            let ((outcome, verified), was_offered) = observed.await;
            match outcome {
                Ok(connection) => {
                    connections.associate(&connection.connected(), verified, was_offered)?;
                    Ok(connection)
                }
                Err(error) => Err(match PinViolation::find(&*error) {
                    // As it is, so that `source()` leads to it and any downcast finds it.
                    Some(violation) => {
                        connections.pinning.emit_violation(&violation, None);
                        violation.into()
                    }
                    None => UnverifiablePath::find(&*error).map_or(error, Into::into),
                }),
            }
        })
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Connections of which is known what they were verified by, some 5 KB each: clients seldom have
/// more open. From one that is pushed out nothing is noted.
const MAX_CONNECTIONS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(port: u16) -> Pair {
        Pair {
            local: ([127, 0, 0, 1], port).into(),
            remote: ([127, 0, 0, 1], 443).into(),
        }
    }

    #[test]
    fn a_new_connection_takes_the_place_of_an_old_one() {
        let mut table = Table::default();
        table.set(pair(1), Some("old"));
        assert_eq!(table.set(pair(1), Some("new")), ["old"]);
        assert_eq!(table.get(pair(1)), Some(&"new"));
        assert_eq!(table.set(pair(1), None), ["new"]);
        assert_eq!(table.get(pair(1)), None, "resumed, or in the clear");
    }

    #[test]
    fn only_the_newest_connections_are_known() {
        let mut table = Table::default();
        let ports = 1..=u16::try_from(MAX_CONNECTIONS).unwrap();
        for port in ports.clone() {
            table.set(pair(port), Some(port));
        }
        // The first one is made anew, so the second one is the oldest.
        table.set(pair(1), Some(1));
        assert_eq!(table.set(pair(60_000), Some(60_000)), [2]);
        assert_eq!(table.known.len(), MAX_CONNECTIONS);
        let forgotten = ports.filter(|port| table.get(pair(*port)).is_none());
        assert_eq!(forgotten.collect::<Vec<_>>(), [2]);
    }
}
