//! [`PinningConnector`]: the connector service for hyper-util's clients.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::Connection;
use rustls_pki_types::ServerName;
use tower_service::Service;

use crate::connector::error::{BoxError, ConnectError};
use crate::connector::handshake::{Attempt, Handshake, Handshaker, Target};
use crate::connector::schemes::Schemes;
use crate::connector::stream::{PinnedStream, PlainTarget};
use crate::pinning::Event;
use crate::policy::uri::without_brackets;
use crate::policy::{Host, HostError};
use crate::store::Validity;
#[cfg(feature = "self-test")]
use crate::tls::{SelfTestError, SelfTestReport};
use crate::violation::UnpinnedHost;

/// Makes TLS connections over any inner connector, and enforces the pins in the handshake and for
/// as long as the connection is open.
///
/// The inner connector may be TCP, a CONNECT tunnel or SOCKS: the TLS name is that of the URI.
/// Every response that is received over a TLS connection of this connector has a
/// [`VerifiedConnection`](crate::VerifiedConnection) in its extensions.
///
/// ```
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use pinhold::{Pinning, PinningConnector};
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = Pinning::builder().build()?;
/// let connector = PinningConnector::builder(pinning)
///     .with_webpki_roots()
///     .https_only()
///     .build()?;
/// let client = Client::builder(TokioExecutor::new()).build::<_, String>(connector);
/// # drop(client);
/// # }
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone)]
pub struct PinningConnector<H> {
    inner: H,
    /// One allocation, since hyper-util clones its connector for every request.
    handshaker: Arc<Handshaker>,
    schemes: Schemes,
}

impl<H> PinningConnector<H> {
    pub(crate) fn new(inner: H, handshaker: Handshaker, schemes: Schemes) -> Self {
        Self {
            inner,
            handshaker: Arc::new(handshaker),
            schemes,
        }
    }

    /// Runs [`Pinning::self_test`](crate::Pinning::self_test) with the pins and the TLS configuration of
    /// this connector.
    ///
    /// # Errors
    ///
    /// As of [`Pinning::self_test`](crate::Pinning::self_test). A configuration of another `Pinning` is
    /// refused, although the connector evaluates its own pins, too: sessions are then resumed by the
    /// pins of the other one.
    ///
    /// ```
    /// use pinhold::{Pinning, PinningConnector};
    ///
    /// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
    /// let pinning = Pinning::builder().build()?;
    /// let connector = PinningConnector::builder(pinning).with_webpki_roots().build()?;
    /// connector.self_test()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "self-test")]
    pub fn self_test(&self) -> Result<SelfTestReport, SelfTestError> {
        self.handshaker.self_test()
    }

    /// Decides whether, and how, a URI may be connected to.
    fn admit(&self, uri: &Uri) -> Result<Admitted, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let bare = without_brackets(host).map_err(ConnectError::Host)?;
        ensure_port(uri)?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => match ServerName::try_from(bare) {
                Ok(name) => {
                    self.ensure_may_be_unpinned(&name)?;
                    Ok(Admitted::Tls(Target {
                        name: name.to_owned(),
                        port: uri.port_u16().unwrap_or(443),
                    }))
                }
                Err(_) => Err(ConnectError::Host(HostError::Invalid {
                    name: host.to_owned(),
                })),
            },
            Some(scheme) if *scheme == Scheme::HTTP => self.admit_plain(bare),
            _ => Err(ConnectError::Scheme { uri: uri.clone() }),
        }
    }

    /// Fails for a host that is refused because it is unpinned: before its name is resolved.
    fn ensure_may_be_unpinned(&self, name: &ServerName<'_>) -> Result<(), ConnectError> {
        let Handshaker { pinning, .. } = &*self.handshaker;
        if !pinning.refuses_unpinned_hosts() {
            return Ok(());
        }
        match pinning.refused_as_unpinned(name, self.handshaker.now()?) {
            Some(unpinned) => Err(ConnectError::Unpinned(unpinned)),
            None => Ok(()),
        }
    }

    fn admit_plain(&self, bare: &str) -> Result<Admitted, ConnectError> {
        let Schemes::HttpsOrHttp(default) = self.schemes else {
            return Err(ConnectError::HttpsOnly {
                host: bare.to_owned(),
            });
        };
        let host = match Host::parse(bare) {
            Ok(host) => Some(host),
            Err(HostError::IpAddress { .. }) => None,
            Err(error) => return Err(ConnectError::Host(error)),
        };
        let Handshaker { pinning, .. } = &*self.handshaker;
        // Resolvers read some numbers as an IP address. They are no names, and no rule finds them.
        let name = ServerName::try_from(bare).map_err(|_| {
            ConnectError::Host(HostError::Invalid {
                name: bare.to_owned(),
            })
        })?;
        let target = PlainTarget {
            name: name.to_owned(),
            host,
            default,
        };
        let (unpinned, validity) = target.admit(pinning, self.handshaker.now()?)?;
        Ok(Admitted::Plain {
            target,
            validity,
            unpinned,
        })
    }
}

/// Fails for a port that no connection can have. `Uri::port_u16` returns `None` for it, as without a
/// port, so that the inner connector would connect to the default one.
fn ensure_port(uri: &Uri) -> Result<(), ConnectError> {
    let authority = uri.authority().map_or("", Authority::as_str);
    let (_, authority) = authority.rsplit_once('@').unwrap_or(("", authority));
    let after_host = authority.strip_prefix(uri.host().unwrap_or_default());
    match after_host.and_then(|rest| rest.strip_prefix(':')) {
        Some(port) if !port.is_empty() && uri.port_u16().is_none() => Err(ConnectError::Port {
            port: port.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// How the connection to a URI is made.
enum Admitted {
    /// Without TLS.
    Plain {
        target: PlainTarget,
        validity: Validity,
        /// The host, if it is unpinned and that is to be reported.
        unpinned: Option<UnpinnedHost>,
    },
    Tls(Target),
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
        let uri = self.schemes.apply(uri);
        #[cfg(feature = "hsts")]
        let uri = self.handshaker.pinning.upgraded(&uri).unwrap_or(uri);
        let admitted = match self.admit(&uri) {
            Ok(admitted) => admitted,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let mut inner = self.inner.clone();
        let connecting = self.inner.call(uri.clone());
        let handshaker = Arc::clone(&self.handshaker);
        Box::pin(async move {
            let mut transport = connecting.await.map_err(transport_error)?;
            let target = match admitted {
                Admitted::Plain {
                    target,
                    validity,
                    unpinned,
                } => {
                    let pinning = &handshaker.pinning;
                    unpinned
                        .into_iter()
                        .for_each(|it| pinning.emit(Event::Unpinned(it)));
                    return Ok(PinnedStream::plain(transport, pinning, target, validity));
                }
                Admitted::Tls(target) => target,
            };
            // D-12: a server that rotated its key must not be locked out by a recorded session. A
            // loop, not a second call: the program then contains one copy of the handshake.
            let mut attempt = Attempt::First;
            loop {
                let handshake = handshaker.connect(attempt, &target, transport).await?;
                match (handshake, attempt) {
                    (Handshake::Connected(stream), _) => return Ok(stream),
                    (Handshake::StaleSession, Attempt::First) => {
                        attempt = Attempt::WithoutResumption;
                    }
                    (Handshake::StaleSession, Attempt::WithoutResumption) => {
                        return Err(ConnectError::NotVerified);
                    }
                }
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

fn transport_error(error: impl Into<BoxError>) -> ConnectError {
    ConnectError::Transport(error.into())
}
