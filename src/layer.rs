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

use crate::connection::VerifiedConnection;
use crate::header::PinHeader;
use crate::heard::Heard;
use crate::host::Host;
use crate::noting::{IgnoreReason, Noted};
use crate::pinning::{Decision, Pinning};
use crate::retiring::Retiring;
use crate::writer::Durable;

/// Wraps an HTTP client so that `Public-Key-Pins` fields of its responses are noted.
///
/// Put it directly around the client and below anything that follows redirects, so that it sees
/// every hop: redirects and errors may pin, too. A response whose header section had the field
/// carries the outcome, a [`Noted`], in its extensions. One that added, changed or removed an entry
/// waits until that is durable ([`durable_within`](Self::durable_within)), and so does one that
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
    patience: Duration,
}

impl NotePinsLayer {
    /// Notes into this [`Pinning`], which should be the one of the client's connector.
    #[must_use]
    pub fn new(pinning: Pinning) -> Self {
        Self {
            pinning,
            patience: Self::DURABLE_WITHIN,
        }
    }

    /// How long a response waits, unless said otherwise: 2 s, a thousand times what a disk that
    /// works takes.
    pub const DURABLE_WITHIN: Duration = Duration::from_secs(2);

    /// Lets a response that added, changed or removed an entry wait for at most this time until the
    /// change is durable; then, or when it can't be stored, it is handed on all the same. Zero
    /// waits for nothing.
    #[must_use]
    pub fn durable_within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl<S> Layer<S> for NotePinsLayer {
    type Service = NotePins<S>;

    fn layer(&self, inner: S) -> Self::Service {
        NotePins {
            inner,
            layer: self.clone(),
            retiring: Retiring::default(),
        }
    }
}

/// The client that [`NotePinsLayer`] makes.
#[derive(Clone, Debug)]
pub struct NotePins<S> {
    inner: S,
    layer: NotePinsLayer,
    retiring: Retiring,
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
        let asked = Asked::by(&request);
        let captures = self
            .retiring
            .is_to_capture(&self.layer.pinning, &asked.authority);
        ResponseFuture {
            captured: captures.then(|| capture_connection(&mut request)),
            asked,
            layer: self.layer.clone(),
            retiring: self.retiring.clone(),
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
        retiring: Retiring,
        asked: Asked,
        // Seldom there, and a small future is cheap to move.
        storing: Option<Box<Storing<B>>>,
    }
}

/// A response that waits until what it changed is durable.
#[derive(Debug)]
struct Storing<B> {
    response: Response<B>,
    durable: Durable,
    patience: Option<Delay>,
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
            let noted = this.asked.note(pinning, this.retiring, captured, &response);
            this.asked.evaluate(pinning, this.retiring, &response);
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
                patience: None,
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
        let patience = layer.patience.min(LONGEST_PATIENCE);
        let delay = self.patience.get_or_insert_with(|| Delay::new(patience));
        ready!(Pin::new(delay).poll(cx));
        event!(
            WARN,
            ?patience,
            "a response goes on before its pins are stored"
        );
        // Who wants no wait does not want to hear of it either.
        if !patience.is_zero() {
            layer.pinning.store().tell_slow(patience);
        }
        Poll::Ready(())
    }
}

/// What of a request tells whose its answer is.
#[derive(Debug)]
struct Asked {
    authority: Option<Authority>,
    speaker: Speaker,
}

/// Who answers a request.
#[derive(Clone, Copy, Debug)]
enum Speaker {
    Anybody,
    Host,
    Proxy,
}

impl Asked {
    fn by<A>(request: &Request<A>) -> Self {
        let speaker = match request.uri().scheme() {
            // D-14: the answer to CONNECT is the proxy's, not the host's.
            _ if request.method() == Method::CONNECT => Speaker::Proxy,
            Some(scheme) if *scheme == Scheme::HTTPS => Speaker::Host,
            // 7469-2.2.2-a
            _ => Speaker::Anybody,
        };
        Self {
            authority: request.uri().authority().cloned(),
            speaker,
        }
    }

    /// Who speaks, if it is a host at all.
    fn host(&self) -> Result<Host, IgnoreReason> {
        match self.speaker {
            Speaker::Proxy => return Err(IgnoreReason::ConnectResponse),
            Speaker::Anybody => return Err(IgnoreReason::InsecureTransport),
            Speaker::Host => {}
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
        retiring: &Retiring,
        captured: Option<&CaptureConnection>,
        response: &Response<B>,
    ) -> Option<(Noted, Option<Durable>)> {
        let connection = response.extensions().get::<VerifiedConnection>();
        let last = connection.and_then(|connection| {
            retiring.answered(pinning, &self.authority, captured, connection)
        });
        // D-15: not a 1xx, and a 101 does arrive here.
        if response.status().is_informational() {
            return None;
        }
        // 7469-2.3.1-e: the first field, and if that is malformed, no other one.
        let value = response.headers().get(PUBLIC_KEY_PINS)?.as_bytes();
        let noted = || {
            let (mut heard, connection) = match (last, connection) {
                (Some(last), Some(connection)) if self.speaks_again(&last, value) => {
                    (last, connection)
                }
                _ => {
                    let host = self.host()?;
                    let connection = connection.ok_or(IgnoreReason::NoConnectionData)?;
                    let heard = Heard::parse(value, host, pinning.header_syntax());
                    (heard.map_err(IgnoreReason::Header)?, connection)
                }
            };
            let now = pinning.clock().current_time().ok_or(IgnoreReason::NoTime)?;
            if heard.stands(pinning, now) {
                return Ok((Noted::Refreshed, pinning.store().urgent()));
            }
            let outcome = heard.note(pinning, connection.chain(), now);
            retiring.remember(&self.authority, connection, heard);
            Ok(outcome)
        };
        Some(noted().unwrap_or_else(|reason| {
            let noted = Noted::Ignored(reason);
            pinning.tell_noted(self.host().ok().as_ref(), &noted);
            (noted, None)
        }))
    }

    /// Judges the connection by the response's report-only field, if it has one, and tells. Once is
    /// enough: the chain does not change, and such pins are not kept.
    fn evaluate<B>(&self, pinning: &Pinning, retiring: &Retiring, response: &Response<B>) {
        let Some(value) = response.headers().get(PUBLIC_KEY_PINS_REPORT_ONLY) else {
            return;
        };
        let (value, extensions) = (value.as_bytes(), response.extensions());
        let connection = extensions.get::<VerifiedConnection>();
        let is_news = |known| retiring.is_news(&self.authority, known, value);
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
                pinning.tell_would_be(&violation, port.unwrap_or(443));
            }
            Ok(_) => {}
            Err(reason) => {
                let host = self.host().ok();
                pinning.tell_noted(host.as_ref(), &Noted::Ignored(reason));
            }
        }
    }

    /// Whether the host says what it said before, over the same connection.
    fn speaks_again(&self, last: &Heard, value: &[u8]) -> bool {
        matches!(self.speaker, Speaker::Host) && last.is(value)
    }
}

/// A timer can't count up to `Duration::MAX`.
const LONGEST_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
