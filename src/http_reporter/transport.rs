//! A request to an endpoint in, the status of its answer out: the connections that reports go over.

use std::error::Error;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io, vec};

use http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use tower_service::Service;

use crate::connector::{ConnectError, PinningConnector, PlainHttp, tcp};
use crate::http_reporter::endpoint::{NamedBy, is_public};
use crate::pinning::{BuildError, Pinning};
use crate::roots::TrustAnchors;
use crate::tls::PinningVerifier;
use crate::violation::{DeliveryError, DropReason, EndpointError, PinViolation};

/// Where the application looks up names.
pub(crate) type Resolve = Arc<dyn Fn(String) -> Addresses + Send + Sync>;
pub(crate) type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

pub(crate) struct Transport {
    pinning: Pinning,
    config: ClientConfig,
    plain: PlainHttp,
    resolve: Option<Resolve>,
}

impl Transport {
    pub(crate) fn new(
        pinning: &Pinning,
        (anchors, provider): (TrustAnchors, Option<Arc<CryptoProvider>>),
        plain: PlainHttp,
        resolve: Option<Resolve>,
    ) -> Result<Self, BuildError> {
        let mut verifier = PinningVerifier::builder(pinning.clone()).with_anchors(anchors);
        if let Some(provider) = provider {
            verifier = verifier.with_provider(provider);
        }
        let mut config = verifier.client_config()?;
        // Each connector is new, and would make a second connection rather than resume a session
        // whose chain it does not know.
        config.resumption = Resumption::disabled();
        Ok(Self {
            pinning: pinning.clone(),
            config,
            plain,
            resolve,
        })
    }

    /// Sends a request over a connection of its own: reports are rare, and an idle connection costs
    /// a battery. An attempt that failed is `GaveUp`.
    pub(crate) async fn send(
        &self,
        named_by: NamedBy,
        request: Request<String>,
    ) -> Result<StatusCode, DropReason> {
        let connector = self.connector(named_by).map_err(|_| DropReason::Reporter)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        match client.request(request).await {
            Ok(answer) => Ok(answer.status()),
            Err(error) => Err(reason(&error)),
        }
    }

    fn connector(
        &self,
        named_by: NamedBy,
    ) -> Result<PinningConnector<HttpConnector<Resolver>>, BuildError> {
        let resolver = Resolver {
            named_by,
            resolve: self.resolve.clone(),
        };
        let http = tcp(HttpConnector::new_with_resolver(resolver));
        let connector =
            PinningConnector::builder(self.pinning.clone()).with_tls_config(self.config.clone());
        // The one exception: a report on a pinned host may go there over plain http.
        match self.plain {
            PlainHttp::Allow => connector.plain_http(PlainHttp::Allow),
            PlainHttp::Refuse => connector.https_only(),
        }
        .wrap_connector(http)
    }
}

/// What an attempt that got no answer means for the report.
fn reason(error: &(dyn Error + 'static)) -> DropReason {
    let of = |last| DropReason::GaveUp { attempts: 1, last };
    // 7469-2.1.4-f: nothing is sent without validation, now or later.
    if PinViolation::find(error).is_some() {
        return of(DeliveryError::Pins);
    }
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<NotPublic>() {
            return DropReason::Endpoint(EndpointError::PrivateAddress);
        }
        if let Some(ConnectError::Tls(_)) = error.downcast_ref() {
            return of(DeliveryError::Certificate);
        }
        next = error.source();
    }
    of(DeliveryError::Connection)
}

/// Looks up a name, and refuses addresses that are not public where the server named it. These very
/// addresses are connected to: a second lookup could find others.
#[derive(Clone)]
struct Resolver {
    named_by: NamedBy,
    resolve: Option<Resolve>,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { named_by, resolve } = self.clone();
        Box::pin(async move {
            let found = match resolve {
                Some(resolve) => resolve(name.as_str().to_owned()).await?,
                None => {
                    let found = GaiResolver::new().call(name).await?;
                    found.map(|address| address.ip()).collect()
                }
            };
            let is_named_by_server = named_by == NamedBy::Server;
            if is_named_by_server && !found.iter().all(|address| is_public(*address)) {
                return Err(NotPublic.into());
            }
            let found = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(found.collect::<Vec<_>>().into_iter())
        })
    }
}

/// A name that leads to an address that is not public.
#[derive(Debug)]
struct NotPublic;

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address of it is not public")
    }
}

impl Error for NotPublic {}
