//! The connections that reports are sent over, and the addresses that they may use.

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
use tower_service::Service;

use crate::connector::{ConnectError, PinningConnector, tcp};
use crate::http_reporter::endpoint::{NamedBy, is_public};
use crate::pinning::{BuildError, Pinning};
use crate::policy::PlainHttp;
use crate::violation::{DeliveryError, DropReason, EndpointError, PinViolation};

/// The application's own resolution of host names.
pub(crate) type Resolve = Arc<dyn Fn(String) -> Addresses + Send + Sync>;
pub(crate) type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

pub(crate) struct Transport {
    pinning: Pinning,
    config: ClientConfig,
    plain_http: PlainHttp,
    resolve: Option<Resolve>,
}

impl Transport {
    pub(crate) fn new(
        pinning: Pinning,
        mut config: ClientConfig,
        plain_http: PlainHttp,
        resolve: Option<Resolve>,
    ) -> Self {
        // Each request has its own connector, which does not know the chain of an earlier session:
        // it would discard a resumed session and make a second connection.
        config.resumption = Resumption::disabled();
        Self {
            pinning,
            config,
            plain_http,
            resolve,
        }
    }

    /// Sends a request over a connection of its own: reports are rare, and idle connections use up
    /// the battery of a mobile device.
    pub(crate) async fn send(
        &self,
        named_by: NamedBy,
        request: Request<String>,
    ) -> Result<StatusCode, Failure> {
        let connector = self.connector(named_by);
        let connector = connector.map_err(|_| Failure::Permanent(DropReason::Reporter))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        let response = client.request(request).await;
        Ok(response.map_err(|error| failure(&error))?.status())
    }

    fn connector(
        &self,
        named_by: NamedBy,
    ) -> Result<PinningConnector<HttpConnector<Resolver>>, BuildError> {
        let resolver = Resolver {
            named_by,
            resolve: self.resolve.clone(),
        };
        let builder =
            PinningConnector::builder(self.pinning.clone()).with_tls_config(self.config.clone());
        // `EndpointRules` decides about plain HTTP: the connector would refuse it to the host that
        // failed its pins, which is allowed.
        let builder = match self.plain_http {
            PlainHttp::Allow => builder.plain_http(PlainHttp::Allow),
            PlainHttp::Refuse => builder.https_only(),
        };
        builder.wrap_connector(tcp(HttpConnector::new_with_resolver(resolver)))
    }
}

/// The reason why a report was not delivered.
pub(crate) enum Failure {
    /// Another attempt may succeed, if the error is temporary.
    Attempt(DeliveryError),
    /// No attempt can succeed.
    Permanent(DropReason),
}

fn failure(error: &(dyn Error + 'static)) -> Failure {
    // 7469-2.1.4-f: nothing is sent to an endpoint that fails validation, now or later.
    if PinViolation::find(error).is_some() {
        return Failure::Attempt(DeliveryError::Pins);
    }
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<NotPublic>() {
            let reason = DropReason::Endpoint(EndpointError::PrivateAddress);
            return Failure::Permanent(reason);
        }
        if let Some(ConnectError::Tls(_)) = error.downcast_ref() {
            return Failure::Attempt(DeliveryError::Certificate);
        }
        next = error.source();
    }
    Failure::Attempt(DeliveryError::Connection)
}

/// Resolves a host name, and refuses addresses that are not public if a server named the host. The
/// connection uses the addresses that were checked: a second look-up could return others.
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
            let mut checked = found.iter();
            if named_by == NamedBy::Server && !checked.all(|address| is_public(*address)) {
                return Err(NotPublic.into());
            }
            let found = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(found.collect::<Vec<_>>().into_iter())
        })
    }
}

/// A host name has an address that is not public.
#[derive(Debug)]
struct NotPublic;

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host name has an address that is not public")
    }
}

impl Error for NotPublic {}
