//! [`PinRetryLayer`], the middleware that repeats a request whose connection was closed because of
//! its pins.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Method, Request};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::layer::recovery::{Recovering, Recovery};
#[cfg(feature = "bundles")]
use crate::pinning::Pinning;
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
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PinRetryLayer {
    recovery: Recovery,
}

impl PinRetryLayer {
    /// Returns a layer that repeats requests whose connection was closed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Repeats a request, once, also if the pins refused its connection in the handshake and a pin
    /// bundle that is fetched because of that accepts it. The request waits for that for at most 5
    /// seconds. With hyper-util's client, which shows that the request was not sent, requests of any
    /// method are repeated, with other clients idempotent ones.
    ///
    /// Has an effect while a [`PinUpdater`](crate::bundle::PinUpdater) of the same pins exists.
    #[cfg(feature = "bundles")]
    #[must_use]
    pub fn recover(mut self, pinning: Pinning) -> Self {
        self.recovery.pinning = Some(pinning);
        self
    }
}

impl<S> Layer<S> for PinRetryLayer {
    type Service = PinRetry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PinRetry {
            inner,
            recovery: self.recovery.clone(),
        }
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
    recovery: Recovery,
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
        let is_kept = is_idempotent || self.recovery.is_wanted();
        PinRetryFuture {
            retry: is_kept.then(|| (self.inner.clone(), request.clone())),
            is_idempotent,
            was_repeated: false,
            recovery: self.recovery.clone(),
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
    pub struct PinRetryFuture<S, A, F>
    where
        F: Future,
    {
        retry: Option<(S, Request<A>)>,
        is_idempotent: bool,
        // Whether the request was repeated because its connection was closed.
        was_repeated: bool,
        recovery: Recovery,
        #[pin]
        state: State<S, A, F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, A, F>
    where
        F: Future,
    {
        Waiting { #[pin] response: F },
        Recovering { recovery: Recovering, refused: Option<F::Output> },
        Retrying { client: S, request: Option<Request<A>> },
    }
}

impl<S, A, F: Future> fmt::Debug for PinRetryFuture<S, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinRetryFuture").finish_non_exhaustive()
    }
}

impl<S, A> Future for PinRetryFuture<S, A, S::Future>
where
    S: Service<Request<A>, Error: Error + 'static> + Clone,
    A: Clone,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Waiting { response } => {
                    let outcome = ready!(response.poll(cx));
                    let Err(error) = &outcome else {
                        return Poll::Ready(outcome);
                    };
                    let may_repeat = *this.is_idempotent && !*this.was_repeated;
                    if may_repeat && error::is_closed_by_pins(error) {
                        *this.was_repeated = true;
                        let Some((client, request)) = this.retry.clone() else {
                            return Poll::Ready(outcome);
                        };
                        trace(&request, "changed pins closed its connection");
                        let request = Some(request);
                        this.state.set(State::Retrying { client, request });
                        continue;
                    }
                    let Some(recovery) = this.recovery.begin(error, *this.is_idempotent) else {
                        return Poll::Ready(outcome);
                    };
                    let refused = Some(outcome);
                    this.state.set(State::Recovering { recovery, refused });
                }
                StateProjection::Recovering { recovery, refused } => {
                    let is_accepted = ready!(Pin::new(recovery).poll(cx));
                    let retry = this.retry.take().filter(|_| is_accepted);
                    let Some((client, request)) = retry else {
                        return refused.take().map_or(Poll::Pending, Poll::Ready);
                    };
                    trace(&request, "a pin bundle accepts its server");
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

fn trace<A>(_request: &Request<A>, _reason: &str) {
    event!(
        DEBUG,
        host = ?_request.uri().host(),
        reason = _reason,
        "request repeated"
    );
}
