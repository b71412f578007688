//! A request that the pins ended in, once more over a new connection out: [`PinRetryLayer`].

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Method, Request};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::tls::error;

/// Repeats a request whose connection was ended by a change of pins, once.
///
/// A request that a connection had already taken when the pins turned against it fails with the
/// [`PinViolation`](crate::PinViolation). Around the client, or around
/// [`NotePinsLayer`](crate::NotePinsLayer), this layer sends it again over a new connection, whose
/// chain must satisfy the new pins. The server may have seen the first one, so only methods that
/// are idempotent (RFC 9110 section 9.2.2) are repeated, and only bodies that can be cloned.
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
    /// A layer without options.
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

/// The client that [`PinRetryLayer`] makes.
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
            spare: is_idempotent.then(|| (self.inner.clone(), request.clone())),
            state: State::Waiting {
                response: self.inner.call(request),
            },
        }
    }
}

pin_project! {
    /// The response, perhaps to the second request.
    #[derive(Debug)]
    pub struct PinRetryFuture<S, A, F> {
        spare: Option<(S, Request<A>)>,
        #[pin]
        state: State<S, A, F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<S, A, F> {
        Waiting { #[pin] response: F },
        Repeating { client: S, request: Option<Request<A>> },
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
                    let ended = outcome
                        .as_ref()
                        .is_err_and(|error| error::is_closed_by_pins(error));
                    let Some((client, request)) = this.spare.take().filter(|_| ended) else {
                        return Poll::Ready(outcome);
                    };
                    let _host = request.uri().host();
                    event!(DEBUG, host = ?_host, "a request ended by the pins is repeated");
                    let request = Some(request);
                    this.state.set(State::Repeating { client, request });
                }
                StateProjection::Repeating { client, request } => {
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
