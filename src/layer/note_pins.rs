//! A response in, its `Public-Key-Pins` noted: [`NotePinsLayer`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_timer::Delay;
use http::header::{PUBLIC_KEY_PINS, PUBLIC_KEY_PINS_REPORT_ONLY};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::layer::cached_header::CachedHeader;
use crate::layer::open_connections::OpenConnections;
use crate::pinning::{Decision, IgnoreReason, Noted, Pinning};
use crate::policy::{Host, PinHeader};
use crate::store::DurableFuture;
use crate::tls::VerifiedConnection;

/// Wraps an HTTP client so that `Public-Key-Pins` fields of its responses are noted.
///
/// Put it directly around the client and below anything that follows redirects, so that it sees
/// every hop: redirects and errors may pin, too. A response whose header section had the field
/// carries the outcome, a [`Noted`], in its extensions. One that added, changed or removed an entry
/// waits until that is durable ([`storage_timeout`](Self::storage_timeout)), and so does one that
/// comes while such a change is being stored. Trailers and interim (1xx) responses are
/// not looked at, and of several fields only the first (RFC 7469 section 2.3.1).
///
/// ```
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use pinhold::{NotePinsLayer, Pinning, PinningConnector};
/// use tower_layer::Layer;
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = Pinning::builder().note_only(["example.com"]).build()?;
/// let connector = PinningConnector::builder(pinning.clone()).with_webpki_roots().build()?;
/// let client = Client::builder(TokioExecutor::new()).build::<_, String>(connector);
/// let client = NotePinsLayer::new(pinning).layer(client);
/// # drop(client);
/// # }
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct NotePinsLayer {
    pinning: Pinning,
    timeout: Duration,
}

impl NotePinsLayer {
    /// Notes into this [`Pinning`], which should be the one of the client's connector.
    #[must_use]
    pub fn new(pinning: Pinning) -> Self {
        Self {
            pinning,
            timeout: Self::STORAGE_TIMEOUT,
        }
    }

    /// How long a response waits, unless said otherwise: 2 s, a thousand times what a disk that
    /// works takes.
    pub const STORAGE_TIMEOUT: Duration = Duration::from_secs(2);

    /// Lets a response that added, changed or removed an entry wait for at most this time until the
    /// change is durable; then, or when it can't be stored, it is handed on all the same. Zero
    /// waits for nothing.
    #[must_use]
    pub fn storage_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl<S> Layer<S> for NotePinsLayer {
    type Service = NotePins<S>;

    fn layer(&self, inner: S) -> Self::Service {
        NotePins {
            inner,
            layer: self.clone(),
            open_connections: OpenConnections::default(),
        }
    }
}

/// The client that [`NotePinsLayer`] makes.
#[derive(Clone, Debug)]
pub struct NotePins<S> {
    inner: S,
    layer: NotePinsLayer,
    open_connections: OpenConnections,
}

impl<S, A, B> Service<Request<A>> for NotePins<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let context = RequestContext::by(&request);
        let captures = self
            .open_connections
            .should_capture(&self.layer.pinning, &context.authority);
        ResponseFuture {
            captured: captures.then(|| capture_connection(&mut request)),
            context,
            layer: self.layer.clone(),
            open_connections: self.open_connections.clone(),
            inner: self.inner.call(request),
            storing: None,
        }
    }
}

pin_project! {
    /// The response, once its pins are noted and durable.
    #[derive(Debug)]
    pub struct ResponseFuture<F, B> {
        #[pin]
        inner: F,
        layer: NotePinsLayer,
        captured: Option<CaptureConnection>,
        open_connections: OpenConnections,
        context: RequestContext,
        // Seldom there, and a small future is cheap to move.
        storing: Option<Box<Storing<B>>>,
    }
}

/// A response that waits until what it changed is durable.
#[derive(Debug)]
struct Storing<B> {
    response: Response<B>,
    durable: DurableFuture,
    timeout: Option<Delay>,
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.storing.is_none() {
            let mut response = match ready!(this.inner.poll(cx)) {
                Ok(response) => response,
                Err(error) => return Poll::Ready(Err(error)),
            };
            let pinning = &this.layer.pinning;
            let captured = this.captured.as_ref();
            let noted = this
                .context
                .note(pinning, this.open_connections, captured, &response);
            this.context
                .evaluate(pinning, this.open_connections, &response);
            let Some((noted, durable)) = noted else {
                return Poll::Ready(Ok(response));
            };
            response.extensions_mut().insert(noted);
            let Some(durable) = durable else {
                return Poll::Ready(Ok(response));
            };
            *this.storing = Some(Box::new(Storing {
                response,
                durable,
                timeout: None,
            }));
        }
        if let Some(storing) = this.storing {
            ready!(storing.poll(this.layer, cx));
        }
        match this.storing.take() {
            Some(storing) => Poll::Ready(Ok(storing.response)),
            // Only if polled again after it was ready.
            None => Poll::Pending,
        }
    }
}

impl<B> Storing<B> {
    /// Ready once the change is durable, can't be stored, or took too long.
    fn poll(&mut self, layer: &NotePinsLayer, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(stored) = Pin::new(&mut self.durable).poll(cx) {
            if let Err(_error) = stored {
                event!(WARN, error = %_error, "a response goes on whose pins are in memory only");
            }
            return Poll::Ready(());
        }
        let timeout = layer.timeout.min(MAX_TIMEOUT);
        let delay = self.timeout.get_or_insert_with(|| Delay::new(timeout));
        ready!(Pin::new(delay).poll(cx));
        event!(
            WARN,
            ?timeout,
            "a response goes on before its pins are stored"
        );
        // Who wants no wait does not want to hear of it either.
        if !timeout.is_zero() {
            layer.pinning.store().emit_slow(timeout);
        }
        Poll::Ready(())
    }
}

/// What of a request tells whose its answer is.
#[derive(Debug)]
struct RequestContext {
    authority: Option<Authority>,
    source: ResponseSource,
}

/// Who answers a request.
#[derive(Clone, Copy, Debug)]
enum ResponseSource {
    Anybody,
    Host,
    Proxy,
}

impl RequestContext {
    fn by<A>(request: &Request<A>) -> Self {
        let source = match request.uri().scheme() {
            // D-14: the answer to CONNECT is the proxy's, not the host's.
            _ if request.method() == Method::CONNECT => ResponseSource::Proxy,
            Some(scheme) if *scheme == Scheme::HTTPS => ResponseSource::Host,
            // 7469-2.2.2-a
            _ => ResponseSource::Anybody,
        };
        Self {
            authority: request.uri().authority().cloned(),
            source,
        }
    }

    /// Who speaks, if it is a host at all.
    fn host(&self) -> Result<Host, IgnoreReason> {
        match self.source {
            ResponseSource::Proxy => return Err(IgnoreReason::ConnectResponse),
            ResponseSource::Anybody => return Err(IgnoreReason::InsecureTransport),
            ResponseSource::Host => {}
        }
        // 7469-2.3.3-d
        let host = self
            .authority
            .as_ref()
            .map(|known| Host::parse(known.host()));
        host.and_then(Result::ok).ok_or(IgnoreReason::NoHost)
    }

    /// What became of the response's field, and what to wait for; `None` if it has none.
    fn note<B>(
        &self,
        pinning: &Pinning,
        open_connections: &OpenConnections,
        captured: Option<&CaptureConnection>,
        response: &Response<B>,
    ) -> Option<(Noted, Option<DurableFuture>)> {
        let connection = response.extensions().get::<VerifiedConnection>();
        let last = connection.and_then(|connection| {
            open_connections.answered(pinning, &self.authority, captured, connection)
        });
        // D-15: not a 1xx, and a 101 does arrive here.
        if response.status().is_informational() {
            return None;
        }
        // 7469-2.3.1-e: the first field, and if that is malformed, no other one.
        let value = response.headers().get(PUBLIC_KEY_PINS)?.as_bytes();
        let noted = || {
            let (mut cached, connection) = match (last, connection) {
                (Some(last), Some(connection)) if self.speaks_again(&last, value) => {
                    (last, connection)
                }
                _ => {
                    let host = self.host()?;
                    let connection = connection.ok_or(IgnoreReason::NoConnectionData)?;
                    let cached = CachedHeader::parse(value, host, pinning.header_syntax());
                    (cached.map_err(IgnoreReason::Header)?, connection)
                }
            };
            let now = pinning.clock().current_time().ok_or(IgnoreReason::NoTime)?;
            if cached.stands(pinning, now) {
                return Ok((Noted::Refreshed, pinning.store().urgent()));
            }
            let outcome = cached.note(pinning, connection.chain(), now);
            open_connections.remember(&self.authority, connection, cached);
            Ok(outcome)
        };
        Some(noted().unwrap_or_else(|reason| {
            let noted = Noted::Ignored(reason);
            pinning.emit_noted(self.host().ok().as_ref(), &noted);
            (noted, None)
        }))
    }

    /// Judges the connection by the response's report-only field, if it has one, and tells. Once is
    /// enough: the chain does not change, and such pins are not kept.
    fn evaluate<B>(
        &self,
        pinning: &Pinning,
        open_connections: &OpenConnections,
        response: &Response<B>,
    ) {
        let Some(value) = response.headers().get(PUBLIC_KEY_PINS_REPORT_ONLY) else {
            return;
        };
        let (value, extensions) = (value.as_bytes(), response.extensions());
        let connection = extensions.get::<VerifiedConnection>();
        let is_news = |known| open_connections.is_news(&self.authority, known, value);
        if response.status().is_informational() || !connection.is_none_or(is_news) {
            return;
        }
        let judged = || {
            let host = self.host()?;
            let connection = connection.ok_or(IgnoreReason::NoConnectionData)?;
            let header = PinHeader::parse_report_only(value, pinning.header_syntax());
            let header = header.map_err(IgnoreReason::Header)?;
            let now = pinning.clock().current_time().ok_or(IgnoreReason::NoTime)?;
            pinning.evaluate(&host, &header, connection.chain(), now)
        };
        match judged() {
            Ok(Decision::ReportOnly(violation)) => {
                let port = self.authority.as_ref().and_then(Authority::port_u16);
                pinning.emit_would_be_violation(&violation, port.unwrap_or(443));
            }
            Ok(_) => {}
            Err(reason) => {
                let host = self.host().ok();
                pinning.emit_noted(host.as_ref(), &Noted::Ignored(reason));
            }
        }
    }

    /// Whether the host says what it said before, over the same connection.
    fn speaks_again(&self, last: &CachedHeader, value: &[u8]) -> bool {
        matches!(self.source, ResponseSource::Host) && last.is(value)
    }
}

/// A timer can't count up to `Duration::MAX`.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
