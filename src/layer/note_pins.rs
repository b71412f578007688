//! [`NotePinsLayer`], the middleware that notes `Public-Key-Pins` fields of responses.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_timer::Delay;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::layer::open_connections::OpenConnections;
use crate::layer::request_context::RequestContext;
use crate::pinning::Pinning;
use crate::store::{DurableFuture, MAX_WAIT};

/// Wraps an HTTP client so that the `Public-Key-Pins` fields of its responses are noted.
///
/// Place it directly around the client, below anything that follows redirects, so that it sees
/// every response: redirects and errors may set pins, too. If a response has the field, the result
/// is a [`Noted`](crate::header::Noted) in its extensions. Only the first of several fields counts
/// (RFC 7469 section 2.3.1); trailers and interim (1xx) responses are ignored.
///
/// A response that added, changed or removed an entry is returned after the change has been made
/// durable, or after [`storage_timeout`](Self::storage_timeout). So is a response with the field
/// that arrives while such a change is being stored.
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
    storage_timeout: Duration,
}

impl NotePinsLayer {
    /// Returns a layer that notes into `pinning`, which should be that of the client's connector.
    #[must_use]
    pub fn new(pinning: Pinning) -> Self {
        Self {
            pinning,
            storage_timeout: Self::STORAGE_TIMEOUT,
        }
    }

    /// The default of [`storage_timeout`](Self::storage_timeout): 2 seconds, a thousand times what
    /// a working disk takes.
    pub const STORAGE_TIMEOUT: Duration = Duration::from_secs(2);

    /// Sets how long a response waits at most until the change that it made is durable. After this
    /// time, or if the change can't be stored, the response is returned nevertheless. With zero it
    /// does not wait. Default: [`STORAGE_TIMEOUT`](Self::STORAGE_TIMEOUT); at most 24 hours.
    #[must_use]
    pub fn storage_timeout(mut self, timeout: Duration) -> Self {
        self.storage_timeout = timeout.min(MAX_WAIT);
        self
    }
}

impl<S> Layer<S> for NotePinsLayer {
    type Service = NotePins<S>;

    fn layer(&self, inner: S) -> Self::Service {
        NotePins {
            inner,
            open_connections: Arc::new(OpenConnections::new(self.pinning.clone())),
            storage_timeout: self.storage_timeout,
        }
    }
}

/// A client wrapped by [`NotePinsLayer`].
///
/// ```
/// use hyper_util::client::legacy::Client;
/// use pinhold::PinningConnector;
/// use pinhold::layer::NotePins;
/// # use hyper_util::client::legacy::connect::HttpConnector;
///
/// type PinnedClient = NotePins<Client<PinningConnector<HttpConnector>, String>>;
/// # let _: Option<PinnedClient> = None;
/// ```
#[derive(Clone, Debug)]
pub struct NotePins<S> {
    inner: S,
    open_connections: Arc<OpenConnections>,
    storage_timeout: Duration,
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
        #[cfg(feature = "hsts")]
        if let Some(uri) = self.open_connections.pinning().upgraded(request.uri()) {
            *request.uri_mut() = uri;
        }
        ResponseFuture {
            context: RequestContext::new(&mut request, &self.open_connections),
            inner: self.inner.call(request),
            storage_timeout: self.storage_timeout,
            waiting: None,
        }
    }
}

pin_project! {
    /// Resolves to the response after its pins are noted and durable.
    ///
    /// ```
    /// use pinhold::layer::{NotePins, ResponseFuture};
    /// use tower_service::Service;
    ///
    /// fn send<S, A, B>(
    ///     client: &mut NotePins<S>,
    ///     request: http::Request<A>,
    /// ) -> ResponseFuture<S::Future, B>
    /// where
    ///     S: Service<http::Request<A>, Response = http::Response<B>>,
    /// {
    ///     client.call(request)
    /// }
    /// ```
    #[derive(Debug)]
    pub struct ResponseFuture<F, B> {
        #[pin]
        inner: F,
        context: RequestContext,
        storage_timeout: Duration,
        // Boxed: few responses change an entry, and a small future is cheap to move.
        waiting: Option<Box<WaitingResponse<B>>>,
    }
}

/// A response whose change is not durable yet.
#[derive(Debug)]
struct WaitingResponse<B> {
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
        if this.waiting.is_none() {
            let mut polled = this.inner.poll(cx);
            this.context.capture();
            // The response is not moved, which costs as much as looking for its pin fields.
            let response = match &mut polled {
                Poll::Ready(Ok(response)) => response,
                Poll::Ready(Err(_)) => return polled,
                // Not `polled`, whose copy has the size of a response.
                Poll::Pending => return Poll::Pending,
            };
            let Some(durable) = this.context.process(response) else {
                return polled;
            };
            let response = ready!(polled)?;
            *this.waiting = Some(Box::new(WaitingResponse {
                response,
                durable,
                timeout: None,
            }));
        }
        if let Some(waiting) = this.waiting {
            let pinning = this.context.pinning();
            ready!(waiting.poll_stored(pinning, *this.storage_timeout, cx));
        }
        match this.waiting.take() {
            Some(waiting) => Poll::Ready(Ok(waiting.response)),
            // Reached only if the future is polled again after it was ready.
            None => Poll::Pending,
        }
    }
}

impl<B> WaitingResponse<B> {
    /// Ready when the change is durable, can't be stored, or after the timeout.
    fn poll_stored(
        &mut self,
        pinning: &Pinning,
        timeout: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if let Poll::Ready(stored) = Pin::new(&mut self.durable).poll(cx) {
            if let Err(_error) = stored {
                event!(
                    WARN,
                    error = %_error,
                    "response returned, although its pins can't be stored"
                );
            }
            return Poll::Ready(());
        }
        let delay = self.timeout.get_or_insert_with(|| Delay::new(timeout));
        ready!(Pin::new(delay).poll(cx));
        event!(
            WARN,
            ?timeout,
            "response returned before its pins are stored"
        );
        // With a timeout of zero the application has chosen not to wait, so this is no failure.
        if !timeout.is_zero() {
            pinning.store().emit_slow(timeout);
        }
        Poll::Ready(())
    }
}
