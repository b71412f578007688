//! A reqwest client that enforces pins and notes `Public-Key-Pins` on every redirect:
//! [`NotingClient`].

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, mem};

use ::reqwest::{Client, Request, RequestBuilder, Response, Url};
use http::Uri;
use rustls_pki_types::ServerName;
use tower_service::Service;

use crate::layer::NotePins;
use crate::pinning::Pinning;
#[cfg(feature = "hsts")]
use crate::policy::Host;
use crate::policy::uri::without_brackets;
use crate::reqwest::error::RequestError;
use crate::reqwest::inner_clients::{CurrentClients, ensure_allowed, report_unpinned};
use crate::reqwest::redirect::{RedirectState, Redirects};
use crate::tls::VerifiedConnection;
#[cfg(feature = "bundles")]
use crate::violation::PinViolation;

/// A [`reqwest::Client`](::reqwest::Client) that enforces pins and notes `Public-Key-Pins`.
///
/// Each response over `https` has a [`VerifiedConnection`] in its extensions. A response with a
/// `Public-Key-Pins` field also has a [`Noted`](crate::header::Noted) there, the outcome of noting
/// it. Redirects are followed by the rules of reqwest, and pins are noted on every hop. Clones are
/// cheap and share everything.
///
/// No request uses a connection that was opened before and whose chain the pins refuse when the
/// request begins. The client can't close a connection of reqwest. So it replaces its inner client,
/// with all connections, once current pins refuse one of the chains that it connected with. Other
/// changes of pins keep the connections. Cookies remain if they are in a shared `cookie_provider`
/// ([`configure`](crate::reqwest::NotingClientBuilder::configure)).
///
/// If the pins refuse the connection of a request, and a pin bundle that a `PinUpdater` (feature
/// `bundles`) fetches because of that accepts it, the request is sent again, once, unless its body is a
/// stream. It waits for that for at most 5 seconds.
///
/// # Limits
///
/// - HTTP/3 of reqwest (unstable), and hops after the first one where reqwest follows redirects, go
///   on using open connections.
/// - If a connection resumed a TLS session and it is uncertain which chain that session has, there
///   is no connection data, and nothing is noted
///   ([`NoConnectionData`](crate::header::IgnoreReason::NoConnectionData)). That is the case if the
///   server sent the same leaf with different intermediates, or, through a proxy, several leaves.
///   To note from every connection, disable resumption
///   ([`disable_resumption`](crate::tls::PinningVerifierBuilder::disable_resumption)).
/// - A request that began before the pins changed ends on its connection, and so do connections
///   of a client that [`reqwest`](Self::reqwest) returned before.
/// - The limits of [`Pinning::reqwest_client_builder`] other than that on open connections.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::reqwest::NotingClient;
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = Pinning::builder().note_only(["example.com"]).build()?;
/// let client = NotingClient::builder(pinning)
///     .with_webpki_roots()
///     .configure(|builder| builder.user_agent("shop/1.0"))
///     .build()?;
/// let response = client.send(client.reqwest().get("https://example.com/"));
/// # drop(response);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct NotingClient {
    pub(crate) clients: Arc<CurrentClients>,
    pub(crate) layer: NotePins<ReadyResponse>,
    pub(crate) pinning: Pinning,
    pub(crate) redirects: Redirects,
}

impl NotingClient {
    /// Returns the inner client for `https`, to make requests with. Cheap.
    ///
    /// Do not keep it, because it is replaced when pins change. If it sends a request itself, by its
    /// `execute()` or the request's `send()`, pins are enforced; but nothing is noted, a redirect is
    /// not followed, and `http://` is refused. Connections that a kept one has open stay in use when
    /// pins change, and so do those of the returned one if no new client can be built
    /// ([`Rebuild`](RequestError::Rebuild)).
    #[must_use]
    pub fn reqwest(&self) -> Client {
        let clients = self.clients.get();
        let clients = clients.unwrap_or_else(|_| self.clients.get_unchecked());
        clients.https.reqwest.clone()
    }

    /// Builds the request, sends it, follows redirects, and notes pins.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, RequestError> {
        self.execute(request.build()?).await
    }

    /// Sends the request, follows redirects, and notes pins.
    ///
    /// A timeout that is set on the request covers all hops together; one that is set on the client
    /// applies to each hop.
    ///
    /// # Errors
    ///
    /// Errors of reqwest; a redirect that must not be followed; and, with
    /// [`https_or_http`](crate::reqwest::NotingClientBuilder::https_or_http), plain HTTP to a known
    /// pinned host. [`PinViolation::find`](crate::PinViolation::find) returns the violation if the
    /// pins refused a connection.
    pub async fn execute(&self, mut request: Request) -> Result<Response, RequestError> {
        self.upgrade(request.url_mut());
        let Redirects::Noted(referer) = self.redirects else {
            return self.execute_recovering(request).await;
        };
        let mut redirects = RedirectState::new(&request, referer);
        loop {
            let response = self.execute_recovering(request).await?;
            match redirects.next(response.status(), response.headers(), |url| {
                self.upgrade(url)
            })? {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
    }

    /// Replaces `http` by `https` for a known HSTS host.
    #[cfg(feature = "hsts")]
    fn upgrade(&self, url: &mut Url) {
        let host = url.domain().filter(|_| url.scheme() == "http");
        let host = host.and_then(|name| Host::parse(name).ok());
        // 6797-8.3-b: `Url` has no port 80 of `http`, so that the port becomes 443.
        if host.is_some_and(|host| self.pinning.is_hsts_now(&host)) {
            // Fails only for a URL without a host.
            let _ = url.set_scheme("https");
        }
    }

    #[cfg(not(feature = "hsts"))]
    fn upgrade(&self, _: &mut Url) {}

    /// Sends one request. If the pins refuse its connection and a pin bundle that is fetched because
    /// of that accepts it, sends it again.
    #[cfg(feature = "bundles")]
    async fn execute_recovering(&self, request: Request) -> Result<Response, RequestError> {
        // Where reqwest follows redirects, the server of an earlier hop may have received it.
        let is_unsent = matches!(self.redirects, Redirects::Noted(_));
        let is_safe = is_unsent || request.method().is_idempotent();
        let Some(recovery) = self.pinning.recovery().filter(|_| is_safe) else {
            return self.execute_once(request).await;
        };
        let again = request.try_clone();
        let refused = match self.execute_once(request).await {
            Err(refused) => refused,
            response => return response,
        };
        match (PinViolation::find(&refused), again) {
            (Some(violation), Some(again)) => {
                let is_accepted = recovery.recover(violation).await;
                if is_accepted {
                    self.execute_once(again).await
                } else {
                    Err(refused)
                }
            }
            _ => Err(refused),
        }
    }

    #[cfg(not(feature = "bundles"))]
    async fn execute_recovering(&self, request: Request) -> Result<Response, RequestError> {
        self.execute_once(request).await
    }

    /// Sends one request and notes the pins of its response.
    async fn execute_once(&self, request: Request) -> Result<Response, RequestError> {
        ensure_allowed(&self.pinning, request.url())?;
        let method = request.method().clone();
        let clients = self.clients.get().map_err(RequestError::Rebuild)?;
        let client = match &clients.http {
            Some(http) if request.url().scheme() == "http" => {
                report_unpinned(&self.pinning, request.url());
                http
            }
            _ => &clients.https,
        };
        let mut response = client.reqwest.execute(request).await?;
        let connection = client.connections.of_response(response.extensions());
        if let Some(connection) = connection.filter(|known| is_verified_for(known, response.url()))
        {
            response.extensions_mut().insert(connection);
        }
        let Ok(uri) = response.url().as_str().parse::<Uri>() else {
            return Ok(response);
        };
        // The noting layer takes types of `http`. It gets the head of the response, and the last
        // URL, which is another than the request's if reqwest followed redirects.
        let mut head = http::Response::new(());
        *head.status_mut() = response.status();
        mem::swap(head.headers_mut(), response.headers_mut());
        mem::swap(head.extensions_mut(), response.extensions_mut());
        let mut context = http::Request::new(head);
        *context.method_mut() = method;
        *context.uri_mut() = uri;
        let Ok(mut head) = self.layer.clone().call(context).await;
        mem::swap(head.headers_mut(), response.headers_mut());
        mem::swap(head.extensions_mut(), response.extensions_mut());
        Ok(response)
    }
}

/// The inner service of the noting layer: returns the response that the request contains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadyResponse;

impl Service<http::Request<http::Response<()>>> for ReadyResponse {
    type Response = http::Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, context: http::Request<http::Response<()>>) -> Self::Future {
        ready(Ok(context.into_body()))
    }
}

/// Returns whether a connection was verified for the host of this URL, and not for a proxy's name.
fn is_verified_for(connection: &VerifiedConnection, url: &Url) -> bool {
    let Ok(host) = without_brackets(url.host_str().unwrap_or_default()) else {
        return false;
    };
    // Plain HTTP may be sent through an HTTPS proxy that has the same name as the host.
    let is_secure = url.scheme() == "https";
    let verified = connection.chain().server_name();
    is_secure && ServerName::try_from(host).is_ok_and(|name| name == *verified)
}

impl Service<Request> for NotingClient {
    type Response = Response;
    type Error = RequestError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, RequestError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.execute(request).await })
    }
}

impl fmt::Debug for NotingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotingClient")
            .field("pinning", &self.pinning)
            .field("redirects", &self.redirects)
            .finish_non_exhaustive()
    }
}
