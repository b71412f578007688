//! [`PinRetryLayer`], the middleware that repeats a request whose connection was closed because of
//! its pins.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Method, Request};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::tls::error;

/// Repeats a request, once, if its connection was closed because pins changed.
///
/// A connection is closed as soon as current pins reject its chain. A request that it is serving
/// then fails with the [`PinViolation`](crate::PinViolation). Placed around the client, or around
/// [`NotePinsLayer`](crate::NotePinsLayer), this layer sends the request again over a new
/// connection, whose chain must satisfy the new pins. The server may have received the first
/// request, so only idempotent methods (RFC 9110 section 9.2.2) are repeated; bodies must be
/// `Clone`.
///
/// ```
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use pinhold::{NotePinsLayer, Pinning, PinningConnector};
/// use pinhold::layer::PinRetryLayer;
/// use tower_layer::Layer;
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = Pinning::builder().build()?;
/// let connector = PinningConnector::builder(pinning.clone()).with_webpki_roots().build()?;
/// let client = Client::builder(TokioExecutor::new()).build::<_, String>(connector);
/// let client = PinRetryLayer::new().layer(NotePinsLayer::new(pinning).layer(client));
/// # drop(client);
/// # }
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PinRetryLayer;

impl PinRetryLayer {
    /// Returns a layer; it has no options.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for PinRetryLayer {
    type Service = PinRetry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PinRetry { inner }
    }
}

/// A client wrapped by [`PinRetryLayer`].
///
/// ```
/// use hyper_util::client::legacy::Client;
/// use pinhold::PinningConnector;
/// use pinhold::layer::PinRetry;
/// # use hyper_util::client::legacy::connect::HttpConnector;
///
/// type RetryingClient = PinRetry<Client<PinningConnector<HttpConnector>, String>>;
/// # let _: Option<RetryingClient> = None;
/// ```
#[derive(Clone, Debug)]
pub struct PinRetry<S> {
    inner: S,
}

impl<S, A> Service<Request<A>> for PinRetry<S>
where
    S: Service<Request<A>, Error: Error + 'static> + Clone,
    A: Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = PinRetryFuture<S, A, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let is_idempotent = request.method().is_idempotent() && request.method() != Method::CONNECT;
        PinRetryFuture {
            retry: is_idempotent.then(|| (self.inner.clone(), request.clone())),
            state: State::Waiting {
                response: self.inner.call(request),
            },
        }
    }
}

pin_project! {
    /// Resolves to the response to the request, or to the response to its repetition.
    ///
    /// ```
    /// use pinhold::layer::{PinRetry, PinRetryFuture};
    /// use tower_service::Service;
    ///
    /// fn send<S, A>(
    ///     client: &mut PinRetry<S>,
    ///     request: http::Request<A>,
    /// ) -> PinRetryFuture<S, A, S::Future>
    /// where
    ///     S: Service<http::Request<A>, Error: std::error::Error + 'static> + Clone,
    ///     A: Clone,
    /// {
    ///     client.call(request)
    /// }
    /// ```
    #[derive(Debug)]
    pub struct PinRetryFuture<S, A, F> {
        retry: Option<(S, Request<A>)>,
        #[pin]
        state: State<S, A, F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<S, A, F> {
        Waiting { #[pin] response: F },
        Retrying { client: S, request: Option<Request<A>> },
    }
}

impl<S, A> Future for PinRetryFuture<S, A, S::Future>
where
    S: Service<Request<A>, Error: Error + 'static>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Waiting { response } => {
                    let outcome = ready!(response.poll(cx));
                    let was_closed = outcome
                        .as_ref()
                        .is_err_and(|error| error::is_closed_by_pins(error));
                    let Some((client, request)) = this.retry.take().filter(|_| was_closed) else {
                        return Poll::Ready(outcome);
                    };
                    let _host = request.uri().host();
                    event!(
                        DEBUG,
                        host = ?_host,
                        "request repeated: changed pins closed its connection"
                    );
                    let request = Some(request);
                    this.state.set(State::Retrying { client, request });
                }
                StateProjection::Retrying { client, request } => {
                    ready!(client.poll_ready(cx))?;
                    let Some(request) = request.take() else {
                        return Poll::Pending;
                    };
                    let response = client.call(request);
                    this.state.set(State::Waiting { response });
                }
            }
        }
    }
}
