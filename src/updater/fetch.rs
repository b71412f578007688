//! One request for a pin bundle over a connection without pins.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_timer::Delay;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH};
use http::{HeaderValue, Request, StatusCode, Uri};
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connection;
use hyper_util::rt::TokioExecutor;
use tower_service::Service;

use crate::bundles::PinBundle;
use crate::connector::{BoxError, PinningConnector};
use crate::updater::error::FetchError;

/// Makes requests for bundles. It is a trait, so that the updater has no type parameter for the
/// transport.
pub(crate) trait Fetch: Send + Sync {
    fn fetch(&self, url: Uri, known: Option<HeaderValue>) -> Fetching;
}

pub(crate) type Fetching = Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send>>;

/// What a server returned.
pub(crate) enum Fetched {
    /// The bytes, and their entity tag.
    Bundle(Vec<u8>, Option<HeaderValue>),
    /// The bytes are those with the known entity tag.
    NotModified,
}

/// A client over a connector.
pub(crate) struct HttpFetch<H>(Client<PinningConnector<H>, String>);

impl<H> HttpFetch<H>
where
    H: Service<Uri, Error: Into<BoxError>, Future: Send + 'static>,
    H: Clone + Send + Sync + 'static,
    H::Response: Read + Write + Connection + Unpin + Send + 'static,
{
    pub(crate) fn new(connector: PinningConnector<H>) -> Self {
        // A connection of its own each time: bundles are fetched a few times a day.
        let mut client = Client::builder(TokioExecutor::new());
        Self(client.pool_max_idle_per_host(0).build(connector))
    }
}

impl<H> Fetch for HttpFetch<H>
where
    H: Service<Uri, Error: Into<BoxError>, Future: Send + 'static>,
    H: Clone + Send + Sync + 'static,
    H::Response: Read + Write + Connection + Unpin + Send + 'static,
{
    fn fetch(&self, url: Uri, known: Option<HeaderValue>) -> Fetching {
        let mut request = Request::new(String::new());
        *request.uri_mut() = url;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let has_tag = known.is_some();
        if let Some(known) = known {
            headers.insert(IF_NONE_MATCH, known);
        }
        let response = self.0.request(request);
        Box::pin(async move {
            let response = response.await.map_err(connection_error)?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_MODIFIED if has_tag => return Ok(Fetched::NotModified),
                status => return Err(FetchError::Status(status)),
            }
            let tag = response.headers().get(ETAG).cloned();
            let bytes = read(response.into_body()).await?;
            Ok(Fetched::Bundle(bytes, tag))
        })
    }
}

/// Reads a body up to the limit of a bundle.
async fn read(mut body: Incoming) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else {
            return Ok(bytes);
        };
        let frame = frame.map_err(connection_error)?;
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > PinBundle::MAX_SIZE {
            return Err(FetchError::TooLarge);
        }
    }
}

fn connection_error(error: impl Into<BoxError>) -> FetchError {
    FetchError::Connection(error.into().into())
}

/// Awaits a future for at most this time; `None` if it is not complete then. Works on every runtime.
pub(crate) async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut delay = Delay::new(time);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        Pin::new(&mut delay).poll(cx).map(|()| None)
    })
    .await
}
