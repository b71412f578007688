//! A URI in, a connection whose pins hold out: [`PinningConnector`] for hyper-util's clients.

use std::future::{Future, poll_fn};
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::{fmt, io};

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::chain::ValidatedChain;
use crate::connector::error::{BoxError, ConnectError};
use crate::connector::stream::{PinnedStream, Plain};
use crate::pinning::{BuildError, Decision, Pinning};
use crate::policy::{Host, HostError};
use crate::roots::TrustAnchors;
use crate::tls::{PinningVerifier, ResumptionCheck, Verified, VerifiedConnection, connection};
use crate::violation::PinViolation;

/// What becomes of `http://` to a host whose pins are enforced: they can't be checked there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PlainHttp {
    /// The connection is made, without any protection.
    Allow,
    /// The connection is refused with [`ConnectError::PlainHttp`].
    #[default]
    Refuse,
}

/// Makes TLS connections over any inner connector and enforces the pins in the handshake.
///
/// The inner connector may be TCP, a CONNECT tunnel or SOCKS: the TLS name is that of the URI.
/// Every response that comes over a TLS connection of this connector has a [`VerifiedConnection`]
/// in its extensions.
///
/// ```
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use pinhold::{Pinning, PinningConnector, TrustAnchors};
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = Pinning::builder().build()?;
/// let connector = PinningConnector::builder(pinning)
///     .with_webpki_roots()
///     .https_only()
///     .enable_http1()
///     .enable_http2()
///     .build()?;
/// let client = Client::builder(TokioExecutor::new()).build::<_, String>(connector);
/// # drop(client);
/// # }
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone)]
pub struct PinningConnector<H> {
    inner: H,
    /// One, since hyper-util clones its connector for every request.
    handshaker: Arc<Handshaker>,
    schemes: Schemes,
}

#[derive(Clone, Copy, Debug)]
enum Schemes {
    HttpsOnly,
    HttpsOrHttp(PlainHttp),
}

impl PinningConnector<HttpConnector> {
    /// Starts with `https_or_http`, [`PlainHttp::Refuse`], and all HTTP versions.
    pub fn builder(pinning: Pinning) -> PinningConnectorBuilder {
        PinningConnectorBuilder {
            pinning,
            anchors: TrustAnchors::new(),
            provider: None,
            config: None,
            schemes: Schemes::HttpsOrHttp(PlainHttp::Refuse),
            alpn: Vec::new(),
        }
    }
}

impl<H> PinningConnector<H> {
    /// Whether, and how, a URI may be connected to.
    fn admit(&self, uri: &Uri) -> Result<Admitted, ConnectError> {
        let host = uri.host().unwrap_or_default();
        // Some resolvers take `[example.com]` for the name in it: what is in brackets is an address
        // or nothing.
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if bracketed.is_some_and(|host| host.parse::<Ipv6Addr>().is_err()) {
            return Err(ConnectError::Host(HostError::Invalid {
                name: host.to_owned(),
            }));
        }
        let bare = bracketed.unwrap_or(host);
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => match ServerName::try_from(bare) {
                Ok(name) => Ok(Admitted::Tls(name.to_owned())),
                Err(_) => Err(ConnectError::Host(HostError::Invalid {
                    name: host.to_owned(),
                })),
            },
            Some(scheme) if *scheme == Scheme::HTTP => Ok(Admitted::Plain(self.admit_plain(bare)?)),
            _ => Err(ConnectError::Scheme { uri: uri.clone() }),
        }
    }

    /// For how long; `None` where pins don't matter.
    fn admit_plain(&self, host: &str) -> Result<Option<Plain>, ConnectError> {
        let Schemes::HttpsOrHttp(plain) = self.schemes else {
            return Err(ConnectError::HttpsOnly {
                host: host.to_owned(),
            });
        };
        let host = match Host::parse(host) {
            Ok(host) => host,
            Err(HostError::IpAddress { .. }) => return Ok(None),
            Err(error) => return Err(ConnectError::Host(error)),
        };
        let Handshaker { pinning, .. } = &*self.handshaker;
        let (is_pinned, validity) = pinning.is_pinned(&host, self.handshaker.now()?);
        match plain {
            PlainHttp::Refuse if is_pinned => Err(ConnectError::PlainHttp { host }),
            PlainHttp::Refuse => Ok(Some(Plain { host, validity })),
            PlainHttp::Allow => Ok(None),
        }
    }
}

/// How a URI is connected to.
enum Admitted {
    Plain(Option<Plain>),
    Tls(ServerName<'static>),
}

/// Makes TLS connections of transports.
struct Handshaker {
    pinning: Pinning,
    tls: TlsConnector,
    /// The same without resumption.
    without_resumption: TlsConnector,
    /// Those of the configuration's verifier, known since its first full handshake here.
    sessions: OnceLock<Arc<ResumptionCheck>>,
}

/// What a handshake came to.
enum Secured<T> {
    Connected(PinnedStream<T>),
    /// A session was resumed that the pins of today don't allow, or that nothing is known of.
    StaleSession,
}

impl Handshaker {
    fn now(&self) -> Result<UnixTime, ConnectError> {
        let now = self.pinning.clock().current_time();
        now.ok_or(ConnectError::Tls(rustls::Error::FailedToGetCurrentTime))
    }

    async fn secure<T: Read + Write + Unpin>(
        &self,
        tls: &TlsConnector,
        (name, port): (&ServerName<'static>, u16),
        transport: T,
    ) -> Result<Secured<T>, ConnectError> {
        let handshake = tls.connect(name.clone(), TokioIo::new(transport));
        let (stream, verified) = connection::observe(handshake).await;
        let stream = stream.map_err(handshake_error);
        if let Err(ConnectError::Pins(violation)) = &stream {
            self.pinning.emit_violation(violation, Some(port));
        }
        let stream = stream?;
        let now = self.now()?;
        let session = stream.get_ref().1;
        let handshake = session.handshake_kind().unwrap_or(HandshakeKind::Full);
        let is_resumed = verified.is_none() && handshake == HandshakeKind::Resumed;
        let chain = match verified {
            None if is_resumed => {
                match self.resumed(name, session.peer_certificates().unwrap_or_default(), now) {
                    Some(chain) => chain,
                    None => return Ok(self.stale_session(name)),
                }
            }
            // No chain, or one for another name: the verifier is not ours.
            verified => {
                let verified = verified.filter(|known| known.chain.server_name() == name);
                let Verified { chain, sessions } = verified.ok_or(ConnectError::NotVerified)?;
                if let Some(sessions) = sessions {
                    self.sessions.get_or_init(|| sessions);
                }
                chain
            }
        };
        let chain = chain.proved();
        // Judged again: pins may have changed while the handshake was under way.
        let (decision, validity) = self.pinning.check_for(&chain, now);
        if is_resumed && matches!(decision, Decision::Refuse(_)) {
            return Ok(self.stale_session(name));
        }
        self.pinning
            .record_connection(&chain, &decision, Some(port), now);
        if let Decision::Refuse(violation) = decision {
            return Err(ConnectError::Pins(violation));
        }
        let verified = VerifiedConnection::new(chain, decision, now, handshake);
        let stream = PinnedStream::tls(stream, self.pinning.clone(), (verified, port), validity);
        Ok(Secured::Connected(stream))
    }

    /// The chain of a resumed session; `None` where that is not certain, or not valid today.
    fn resumed(
        &self,
        name: &ServerName<'static>,
        served: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<ValidatedChain> {
        self.sessions.get()?.chain_of(name, served, now)
    }

    /// Forgets what could be resumed: a full handshake follows.
    fn stale_session<T>(&self, name: &ServerName<'static>) -> Secured<T> {
        event!(
            DEBUG,
            ?name,
            "a resumed session is outdated: one full handshake"
        );
        if let Some(sessions) = self.sessions.get() {
            sessions.forget(name);
        }
        Secured::StaleSession
    }
}

impl<H> Service<Uri> for PinningConnector<H>
where
    H: Service<Uri, Error: Into<BoxError>, Future: Send + 'static>,
    H: Clone + Send + 'static,
    H::Response: Read + Write + Connection + Unpin + Send + 'static,
{
    type Response = PinnedStream<H::Response>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(transport_error)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let admitted = match self.admit(&uri) {
            Ok(admitted) => admitted,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let port = uri.port_u16().unwrap_or(443);
        let mut inner = self.inner.clone();
        let connecting = self.inner.call(uri.clone());
        let handshaker = Arc::clone(&self.handshaker);
        Box::pin(async move {
            let mut transport = connecting.await.map_err(transport_error)?;
            let name = match admitted {
                Admitted::Plain(Some(plain)) => {
                    return Ok(PinnedStream::plain(transport, &handshaker.pinning, plain));
                }
                Admitted::Plain(None) => return Ok(PinnedStream::unpinned(transport)),
                Admitted::Tls(name) => name,
            };
            // D-12: a server that rotated its key must not be locked out by what we remember.
            let mut then = Some(&handshaker.without_resumption);
            let mut tls = &handshaker.tls;
            loop {
                let secured = handshaker.secure(tls, (&name, port), transport).await?;
                if let Secured::Connected(stream) = secured {
                    return Ok(stream);
                }
                tls = then.take().ok_or(ConnectError::NotVerified)?;
                poll_fn(|cx| inner.poll_ready(cx))
                    .await
                    .map_err(transport_error)?;
                let connecting = inner.call(uri.clone());
                transport = connecting.await.map_err(transport_error)?;
            }
        })
    }
}

impl<H: fmt::Debug> fmt::Debug for PinningConnector<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinningConnector")
            .field("inner", &self.inner)
            .field("pinning", &self.handshaker.pinning)
            .field("schemes", &self.schemes)
            .finish_non_exhaustive()
    }
}

/// Builds a [`PinningConnector`]; the words are those of `hyper_rustls::HttpsConnectorBuilder`.
///
/// There is no way to override the server name: two names would then have to satisfy their pins.
#[must_use]
#[derive(Debug)]
pub struct PinningConnectorBuilder {
    pinning: Pinning,
    anchors: TrustAnchors,
    provider: Option<Arc<CryptoProvider>>,
    config: Option<Box<ClientConfig>>,
    schemes: Schemes,
    alpn: Vec<Vec<u8>>,
}

impl PinningConnectorBuilder {
    /// Validates chains to Mozilla's roots.
    #[cfg(feature = "webpki-roots")]
    pub fn with_webpki_roots(self) -> Self {
        self.with_anchors(TrustAnchors::webpki_roots())
    }

    /// Validates chains to these anchors.
    pub fn with_anchors(mut self, anchors: TrustAnchors) -> Self {
        self.anchors = anchors;
        self
    }

    /// Uses this crypto provider; see
    /// [`PinningVerifierBuilder::with_provider`](crate::tls::PinningVerifierBuilder::with_provider).
    pub fn with_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Uses a configuration made by [`Pinning::client_config`] or
    /// [`PinningVerifierBuilder`](crate::tls::PinningVerifierBuilder) and then changed, say for a
    /// client certificate. Anchors, provider and the memory of sessions are those of the
    /// configuration; its ALPN protocols are replaced. With a verifier that is not ours every
    /// connection fails with [`ConnectError::NotVerified`].
    pub fn with_tls_config(mut self, config: ClientConfig) -> Self {
        self.config = Some(Box::new(config));
        self
    }

    /// Refuses every `http://` URI.
    pub fn https_only(mut self) -> Self {
        self.schemes = Schemes::HttpsOnly;
        self
    }

    /// Lets `http://` pass, but not to known pinned hosts.
    pub fn https_or_http(mut self) -> Self {
        self.schemes = Schemes::HttpsOrHttp(PlainHttp::Refuse);
        self
    }

    /// Says what becomes of `http://` to known pinned hosts. Changes nothing under `https_only`.
    pub fn plain_http(mut self, plain: PlainHttp) -> Self {
        if let Schemes::HttpsOrHttp(choice) = &mut self.schemes {
            *choice = plain;
        }
        self
    }

    /// Offers HTTP/1.1. Without a word about versions, 2 and 1.1 are offered.
    pub fn enable_http1(mut self) -> Self {
        self.alpn.retain(|known| known != b"http/1.1");
        self.alpn.push(b"http/1.1".to_vec());
        self
    }

    /// Offers HTTP/2, before HTTP/1.1.
    pub fn enable_http2(mut self) -> Self {
        self.alpn.retain(|known| known != b"h2");
        self.alpn.insert(0, b"h2".to_vec());
        self
    }

    /// Offers HTTP/2 and HTTP/1.1.
    pub fn enable_all_versions(self) -> Self {
        self.enable_http1().enable_http2()
    }

    /// A connector over TCP, with `TCP_NODELAY`: without it, a server that sends no session tickets
    /// costs each new connection 40 ms of waiting for a delayed acknowledgement.
    ///
    /// # Errors
    ///
    /// [`BuildError::EarlyData`], and those of
    /// [`PinningVerifierBuilder::client_config`](crate::tls::PinningVerifierBuilder::client_config).
    pub fn build(self) -> Result<PinningConnector<HttpConnector>, BuildError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        self.wrap_connector(http)
    }

    /// A connector over another one, which must let `https://` URIs pass and should set
    /// `TCP_NODELAY` (see [`build`](Self::build)).
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn wrap_connector<H>(self, inner: H) -> Result<PinningConnector<H>, BuildError> {
        let mut config = match self.config {
            Some(config) => *config,
            None => {
                let mut verifier = PinningVerifier::builder(self.pinning.clone(), self.anchors);
                if let Some(provider) = self.provider {
                    verifier = verifier.with_provider(provider);
                }
                verifier.client_config()?
            }
        };
        if config.enable_early_data {
            return Err(BuildError::EarlyData);
        }
        config.alpn_protocols = if self.alpn.is_empty() {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            self.alpn
        };
        let mut without_resumption = config.clone();
        without_resumption.resumption = Resumption::disabled();
        Ok(PinningConnector {
            inner,
            handshaker: Arc::new(Handshaker {
                pinning: self.pinning,
                tls: TlsConnector::from(Arc::new(config)),
                without_resumption: TlsConnector::from(Arc::new(without_resumption)),
                sessions: OnceLock::new(),
            }),
            schemes: self.schemes,
        })
    }
}

fn handshake_error(error: io::Error) -> ConnectError {
    if let Some(violation) = PinViolation::find(&error) {
        return ConnectError::Pins(violation);
    }
    match error.downcast::<rustls::Error>() {
        Ok(tls) => ConnectError::Tls(tls),
        Err(error) => ConnectError::Io(error),
    }
}

fn transport_error(error: impl Into<BoxError>) -> ConnectError {
    ConnectError::Transport(error.into())
}
