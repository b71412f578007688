//! A reqwest request in, its response out, `Public-Key-Pins` of every hop noted: [`NotingClient`].

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, mem};

use ::reqwest::redirect::Policy;
use ::reqwest::{Client, ClientBuilder, Request, RequestBuilder, Response, Url};
use http::Uri;
use http::header::HeaderName;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tower_layer::Layer;
use tower_service::Service;

use crate::layer::{NotePins, NotePinsLayer};
use crate::pinning::{BuildError, Pinning};
use crate::policy::{Host, HostError};
use crate::reqwest::connection_map::{ConnectionMap, Unverified, admit};
use crate::reqwest::redirect::{CREDENTIALS, RedirectError, RedirectState, Referer};
use crate::roots::TrustAnchors;
use crate::tls::VerifiedConnection;

/// A [`reqwest::Client`](::reqwest::Client) with the pins enforced, that also notes
/// `Public-Key-Pins`.
///
/// Each response that came over a connection of a full handshake has a
/// [`VerifiedConnection`] in its extensions, and one whose header section had the field has the
/// outcome, a [`Noted`](crate::header::Noted). Redirects are followed as reqwest follows them, and pins are
/// noted on every hop. A cheap handle: clones share everything.
///
/// # Limits
///
/// - From a connection that resumed a TLS session nothing is noted, since reqwest does not tell
///   what it resumed ([`NoConnectionData`](crate::header::IgnoreReason::NoConnectionData)). To have each
///   connection note, set `Resumption::disabled()` in the configuration.
/// - The limits of [`Pinning::reqwest_client_builder`].
///
/// ```
/// use pinhold::{Pinning, TrustAnchors};
/// use pinhold::reqwest::NotingClient;
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = Pinning::builder().note_only(["example.com"]).build()?;
/// let client = NotingClient::builder(pinning, TrustAnchors::webpki_roots())
///     .configure(|builder| builder.user_agent("shop/1.0"))
///     .build()?;
/// let response = client.send(client.reqwest().get("https://example.com/"));
/// # drop(response);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct NotingClient {
    client: Client,
    connections: ConnectionMap,
    layer: NotePins<ReadyResponse>,
    pinning: Pinning,
    redirects: Redirects,
}

#[derive(Clone, Copy, Debug)]
enum Redirects {
    ByReqwest,
    Noted(Referer),
}

impl NotingClient {
    /// Starts with `https_only`, and with redirects of which every hop is noted.
    pub fn builder(pinning: Pinning, anchors: TrustAnchors) -> NotingClientBuilder {
        NotingClientBuilder {
            layer: NotePinsLayer::new(pinning.clone()),
            tls: Tls::Anchors(anchors),
            reqwest: Client::builder().redirect(policy(pinning.clone())),
            pinning,
            redirects: Redirects::Noted(Referer::Send),
            unverified: Unverified::Refuse,
        }
    }

    /// The client inside, to make requests with. What it sends itself, by `send()` or `execute()`,
    /// is held to the pins on TLS; but nothing is noted, and a redirect ends with its 3xx response.
    #[must_use]
    pub fn reqwest(&self) -> &Client {
        &self.client
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
    /// A timeout of the request is for all hops together, one of the client for each.
    ///
    /// # Errors
    ///
    /// Those of reqwest, a redirect that may not be followed, and, with
    /// [`https_or_http`](NotingClientBuilder::https_or_http), plain HTTP to a known pinned host.
    /// [`PinViolation::find`](crate::PinViolation::find) tells what the pins refused.
    pub async fn execute(&self, mut request: Request) -> Result<Response, RequestError> {
        let Redirects::Noted(referer) = self.redirects else {
            return self.hop(request).await;
        };
        let mut redirects = RedirectState::new(&request, referer);
        loop {
            let response = self.hop(request).await?;
            match redirects.next(response.status(), response.headers())? {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
    }

    /// Sends one request, and notes what its response says.
    async fn hop(&self, request: Request) -> Result<Response, RequestError> {
        admit_url(&self.pinning, request.url())?;
        let method = request.method().clone();
        let mut response = self.client.execute(request).await?;
        let connection = self.connections.of_response(response.extensions());
        if let Some(connection) = connection.filter(|known| is_of(known, response.url())) {
            response.extensions_mut().insert(connection);
        }
        let Ok(uri) = response.url().as_str().parse::<Uri>() else {
            return Ok(response);
        };
        // The layer looks at the head of a response that has come: asked for by its last URL.
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

/// The inner service of the layer: the response has come already.
#[derive(Clone, Copy, Debug)]
struct ReadyResponse;

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

/// Plain HTTP only where there are no pins that it would evade.
fn admit_url(pinning: &Pinning, url: &Url) -> Result<(), RequestError> {
    if url.scheme() != "http" {
        return Ok(());
    }
    // An address has no pins. Of what is no name it is not known whether it has.
    let Some(domain) = url.domain() else {
        return Ok(());
    };
    let host = Host::parse(domain).map_err(RequestError::Host)?;
    let enforces = |now| pinning.is_pinned(&host, now).0;
    // Without a clock it is not known which pins have ended.
    if pinning.clock().current_time().is_none_or(enforces) {
        Err(RequestError::PlainHttp { host })
    } else {
        Ok(())
    }
}

/// Whether a connection was verified for the host of this URL, not, say, for a proxy's name.
fn is_of(connection: &VerifiedConnection, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    // Plain HTTP may go through a proxy that speaks TLS and has the host's own name.
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

/// Makes a [`NotingClient`].
#[must_use]
pub struct NotingClientBuilder {
    pinning: Pinning,
    tls: Tls,
    layer: NotePinsLayer,
    reqwest: ClientBuilder,
    redirects: Redirects,
    unverified: Unverified,
}

enum Tls {
    Anchors(TrustAnchors),
    Config(Box<ClientConfig>),
}

impl NotingClientBuilder {
    /// Changes reqwest's own settings. What concerns TLS, redirects and `https_only` is decided
    /// here and set last; such a setting is refused by [`build`](Self::build) where it shows, and
    /// has no effect otherwise.
    ///
    /// Of headers that carry credentials none may be a default header: reqwest would add it on each
    /// hop, also for another host.
    pub fn configure(mut self, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        self.reqwest = change(self.reqwest);
        self
    }

    /// Takes a TLS configuration in place of the anchors; see
    /// [`Pinning::reqwest_client_builder_with`].
    pub fn with_tls_config(mut self, config: ClientConfig) -> Self {
        self.tls = Tls::Config(Box::new(config));
        self
    }

    /// Leaves redirects to reqwest and to the policy set in [`configure`](Self::configure): only
    /// the last response is noted.
    pub fn redirects_by_reqwest(mut self) -> Self {
        self.redirects = Redirects::ByReqwest;
        self
    }

    /// Sends no `Referer` when a redirect is followed; reqwest's own setting is not asked.
    pub fn without_referer(mut self) -> Self {
        if let Redirects::Noted(referer) = &mut self.redirects {
            *referer = Referer::Omit;
        }
        self
    }

    /// Allows `http://`, but to hosts whose pins are enforced. Nothing is noted over it, and no
    /// redirect leads to it from `https://`, unless a policy of one's own and
    /// [`redirects_by_reqwest`](Self::redirects_by_reqwest) let it.
    pub fn https_or_http(mut self) -> Self {
        self.unverified = Unverified::Allow;
        self
    }

    /// How long a response waits until what it changed is durable; see
    /// [`NotePinsLayer::storage_timeout`].
    pub fn storage_timeout(mut self, timeout: Duration) -> Self {
        self.layer = self.layer.storage_timeout(timeout);
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    ///
    /// See [`ClientBuildError`].
    pub fn build(self) -> Result<NotingClient, ClientBuildError> {
        let config = match self.tls {
            Tls::Anchors(anchors) => self.pinning.client_config(anchors)?,
            Tls::Config(config) => *config,
        };
        reject_unsupported(&self.reqwest, self.redirects)?;
        let https_only = self.unverified == Unverified::Refuse;
        let connections = ConnectionMap::new(self.pinning.clone(), self.unverified);
        let mut reqwest = connections.layer(self.reqwest.https_only(https_only), admit(config)?);
        if let Redirects::Noted(_) = self.redirects {
            reqwest = reqwest.redirect(Policy::none());
        }
        Ok(NotingClient {
            client: reqwest.build()?,
            connections,
            layer: self.layer.layer(ReadyResponse),
            pinning: self.pinning,
            redirects: self.redirects,
        })
    }
}

impl fmt::Debug for NotingClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotingClientBuilder")
            .field("pinning", &self.pinning)
            .field("redirects", &self.redirects)
            .finish_non_exhaustive()
    }
}

/// Refuses settings that would do harm, or nothing. reqwest shows them in its `Debug` only.
fn reject_unsupported(
    builder: &ClientBuilder,
    redirects: Redirects,
) -> Result<(), ClientBuildError> {
    let shown = format!("{builder:?}");
    for name in CREDENTIALS {
        let is_default = shown.contains(&format!("\"{name}\": "));
        if is_default && matches!(redirects, Redirects::Noted(_)) {
            return Err(ClientBuildError::DefaultCredentials { name });
        }
    }
    for (sign, setting) in IGNORED {
        if shown.contains(sign) {
            return Err(ClientBuildError::IgnoredSetting { setting });
        }
    }
    Ok(())
}

/// As reqwest shows a setting, and its name.
const IGNORED: [(&str, &str); 6] = [
    ("http1_only: true", "http1_only"),
    (
        "tls_danger_accept_invalid_certs: true",
        "tls_danger_accept_invalid_certs",
    ),
    (
        "tls_danger_accept_invalid_hostnames: true",
        "tls_danger_accept_invalid_hostnames",
    ),
    ("tls_sni: false", "tls_sni"),
    ("tls_version_max: ", "tls_version_max"),
    ("tls_version_min: ", "tls_version_min"),
];

/// What redirects reqwest follows by itself, unless the application has a policy of its own.
fn policy(pinning: Pinning) -> Policy {
    Policy::custom(move |attempt| {
        let url = attempt.url().clone();
        let was_secure = attempt
            .previous()
            .last()
            .is_some_and(|from| from.scheme() == "https");
        if was_secure && url.scheme() == "http" {
            return attempt.error(RedirectError::Insecure { url });
        }
        match admit_url(&pinning, &url) {
            Err(error) => attempt.error(error),
            Ok(()) => Policy::default().redirect(attempt),
        }
    })
}

/// Why [`NotingClientBuilder::build`] made no client.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientBuildError {
    /// A default header of reqwest's with credentials, which a redirect would carry to any host.
    /// Put it into requests, or use
    /// [`redirects_by_reqwest`](NotingClientBuilder::redirects_by_reqwest).
    DefaultCredentials {
        /// The header's name.
        name: HeaderName,
    },
    /// A setting of reqwest's that has no effect beside a TLS configuration made elsewhere. Say it
    /// by [`with_tls_config`](NotingClientBuilder::with_tls_config).
    IgnoredSetting {
        /// The method of `reqwest::ClientBuilder`.
        setting: &'static str,
    },
    /// No TLS configuration could be made, or not of this one.
    Pinning(BuildError),
    /// reqwest refused another setting.
    Reqwest(::reqwest::Error),
}

impl fmt::Display for ClientBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultCredentials { name } => write!(
                f,
                "{name} among the default headers, which would follow a redirect to any host; \
                 expected it in requests"
            ),
            Self::IgnoredSetting { setting } => write!(
                f,
                "{setting} has no effect on a client with pins, expected it in the TLS \
                 configuration (`with_tls_config`)"
            ),
            Self::Pinning(_) => f.write_str("no TLS configuration"),
            Self::Reqwest(_) => f.write_str("reqwest refused a setting"),
        }
    }
}

impl Error for ClientBuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Pinning(error) => Some(error),
            Self::Reqwest(error) => Some(error),
            Self::DefaultCredentials { .. } | Self::IgnoredSetting { .. } => None,
        }
    }
}

impl From<BuildError> for ClientBuildError {
    fn from(error: BuildError) -> Self {
        Self::Pinning(error)
    }
}

impl From<::reqwest::Error> for ClientBuildError {
    fn from(error: ::reqwest::Error) -> Self {
        Self::Reqwest(error)
    }
}

/// Why [`NotingClient`] has no response. `source()` leads on to the cause.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// Plain `http://` to a host whose name is none, so that its pins can't be looked up.
    Host(HostError),
    /// Plain `http://` to a known pinned host.
    PlainHttp {
        /// The pinned host.
        host: Host,
    },
    /// A redirect that may not be followed.
    Redirect(RedirectError),
    /// reqwest failed, say because the pins refused the connection.
    Reqwest(::reqwest::Error),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(_) => f.write_str("the URL names no host"),
            Self::PlainHttp { host } => write!(
                f,
                "http to the known pinned host {host}, where pins can't be checked; expected https"
            ),
            Self::Redirect(_) => f.write_str("a redirect was not followed"),
            Self::Reqwest(_) => f.write_str("the request failed"),
        }
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Host(error) => Some(error),
            Self::PlainHttp { .. } => None,
            Self::Redirect(error) => Some(error),
            Self::Reqwest(error) => Some(error),
        }
    }
}

impl From<RedirectError> for RequestError {
    fn from(error: RedirectError) -> Self {
        Self::Redirect(error)
    }
}

impl From<::reqwest::Error> for RequestError {
    fn from(error: ::reqwest::Error) -> Self {
        Self::Reqwest(error)
    }
}
