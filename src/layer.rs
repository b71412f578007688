//! A response in, its `Public-Key-Pins` noted: [`NotePinsLayer`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::PUBLIC_KEY_PINS;
use http::uri::Scheme;
use http::{Method, Request, Response, Uri};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::connection::VerifiedConnection;
use crate::header::PinHeader;
use crate::host::Host;
use crate::noting::{IgnoreReason, Noted};
use crate::pinning::Pinning;

/// Wraps an HTTP client so that `Public-Key-Pins` fields of its responses are noted.
///
/// Put it directly around the client and below anything that follows redirects, so that it sees
/// every hop: redirects and errors may pin, too. A response whose header section had the field
/// carries the outcome, a [`Noted`], in its extensions. Trailers and interim (1xx) responses are
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
}

impl NotePinsLayer {
    /// Notes into this [`Pinning`], which should be the one of the client's connector.
    #[must_use]
    pub fn new(pinning: Pinning) -> Self {
        Self { pinning }
    }
}

impl<S> Layer<S> for NotePinsLayer {
    type Service = NotePins<S>;

    fn layer(&self, inner: S) -> Self::Service {
        NotePins {
            inner,
            pinning: self.pinning.clone(),
        }
    }
}

/// The client that [`NotePinsLayer`] makes.
#[derive(Clone, Debug)]
pub struct NotePins<S> {
    inner: S,
    pinning: Pinning,
}

impl<S, A, B> Service<Request<A>> for NotePins<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        ResponseFuture {
            speaker: speaker(request.method(), request.uri()),
            pinning: self.pinning.clone(),
            inner: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The response, once its pins are noted.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        pinning: Pinning,
        speaker: Result<Host, IgnoreReason>,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Poll::Ready(result) = this.inner.poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(result.map(|mut response| {
            if let Some(noted) = note(this.pinning, this.speaker, &response) {
                event!(DEBUG, host = ?this.speaker, ?noted, "Public-Key-Pins received");
                response.extensions_mut().insert(noted);
            }
            response
        }))
    }
}

/// Who answers such a request, if it can speak for a host at all.
fn speaker(method: &Method, uri: &Uri) -> Result<Host, IgnoreReason> {
    // D-14: the answer to CONNECT is the proxy's, not the host's.
    if method == Method::CONNECT {
        return Err(IgnoreReason::ConnectResponse);
    }
    // 7469-2.2.2-a
    if uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(IgnoreReason::InsecureTransport);
    }
    // 7469-2.3.3-d
    uri.host()
        .and_then(|host| Host::parse(host).ok())
        .ok_or(IgnoreReason::NoHost)
}

/// What became of the response's field; `None` if it has none.
fn note<B>(
    pinning: &Pinning,
    speaker: &Result<Host, IgnoreReason>,
    response: &Response<B>,
) -> Option<Noted> {
    // D-15: not a 1xx, and a 101 does arrive here.
    if response.status().is_informational() {
        return None;
    }
    // 7469-2.3.1-e: the first field, and if that is malformed, no other one.
    let value = response.headers().get(PUBLIC_KEY_PINS)?;
    let noted = || {
        let host = speaker.as_ref().map_err(Clone::clone)?;
        let connection = response.extensions().get::<VerifiedConnection>();
        let connection = connection.ok_or(IgnoreReason::NoConnectionData)?;
        let header = PinHeader::parse(value.as_bytes(), pinning.header_syntax())
            .map_err(IgnoreReason::Header)?;
        let now = pinning.clock().current_time().ok_or(IgnoreReason::NoTime)?;
        Ok(pinning.note(host, &header, connection.chain(), now))
    };
    Some(noted().unwrap_or_else(Noted::Ignored))
}
