//! The connector below TLS: applies `--resolve`, and connects directly or through a proxy.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use pinhold::Host;
use tower_service::Service;

use crate::peer::Target;
use crate::proxy::Proxy;

/// The value of one `--resolve` option.
#[derive(Clone)]
pub(crate) struct AddressOverride {
    host: String,
    port: u16,
    address: IpAddr,
}

impl FromStr for AddressOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |part: &str| format!("invalid {part}, expected HOST:PORT:ADDR");
        let mut parts = text.splitn(3, ':');
        let (Some(host), Some(port), Some(address)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("expected HOST:PORT:ADDR".to_owned());
        };
        let host = Host::parse(host).map_err(|error| error.to_string())?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_string(),
            port: port.parse().map_err(|_| invalid("port"))?,
            address: address.parse().map_err(|_| invalid("IP address"))?,
        })
    }
}

/// The `--resolve` options.
#[derive(Clone)]
pub(crate) struct Overrides(Arc<HashMap<(String, u16), IpAddr>>);

impl Overrides {
    pub(crate) fn new(options: &[AddressOverride]) -> Self {
        let entries = options.iter().cloned();
        let entries = entries.map(|entry| ((entry.host, entry.port), entry.address));
        Self(Arc::new(entries.collect()))
    }

    /// Returns the address that some option gives for a name, whatever its port.
    pub(crate) fn address_of(&self, name: &str) -> Option<IpAddr> {
        let name = Host::parse(name).ok()?;
        let mut overrides = self.0.iter();
        let found = overrides.find(|((host, _), _)| *host == name.as_str());
        found.map(|(_, address)| *address)
    }

    /// Returns the address that an option gives for a host and its port.
    pub(crate) fn address(&self, target: &Target) -> Option<SocketAddr> {
        let host = Host::parse(&target.host).ok()?;
        let address = self.0.get(&(host.to_string(), target.port))?;
        Some(SocketAddr::new(*address, target.port))
    }
}

/// Connector over TCP. The TLS server name remains that of the URL.
#[derive(Clone)]
pub(crate) struct Transport {
    overrides: Overrides,
    proxy: Option<Proxy>,
    tcp: HttpConnector,
}

impl Transport {
    pub(crate) fn new(overrides: Overrides, proxy: Option<Proxy>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self {
            overrides,
            proxy,
            tcp,
        }
    }
}

impl Service<Uri> for Transport {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Always ready, as `HttpConnector` is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let target = Target::of(&uri);
        let address = self.overrides.address(&target);
        let authority = address.map_or_else(|| target.to_string(), |it| it.to_string());
        // The port is always explicit, because a tunnel to a URL without one leads to 443.
        let destination = format!("http://{authority}/").parse().unwrap_or(uri);
        let via = match (&self.proxy, address) {
            (Some(proxy), _) => Via::Proxy(proxy.to_string()),
            (None, Some(address)) => Via::Address(address.ip()),
            (None, None) => Via::Dns,
        };
        let failed = |source| TransportError {
            target,
            via,
            source,
        };
        match &self.proxy {
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri.clone(), self.tcp.clone());
                if let Some(login) = &proxy.login {
                    tunnel = tunnel.with_auth(login.clone());
                }
                let connecting = tunnel.call(destination);
                Box::pin(async move { connecting.await.map_err(|it| failed(it.into())) })
            }
            None => {
                let connecting = self.tcp.call(destination);
                Box::pin(async move { connecting.await.map_err(|it| failed(it.into())) })
            }
        }
    }
}

/// The reason why there is no connection to a server.
#[derive(Debug)]
pub(crate) struct TransportError {
    target: Target,
    pub(crate) via: Via,
    source: Box<dyn Error + Send + Sync>,
}

/// How a server is reached.
#[derive(Debug)]
pub(crate) enum Via {
    /// By the address of a `--resolve` option.
    Address(IpAddr),
    Dns,
    /// Through this proxy.
    Proxy(String),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        match &self.via {
            Via::Address(address) => {
                write!(f, "can't connect to {target} at {address} (--resolve)")
            }
            Via::Dns => write!(f, "can't connect to {target}"),
            Via::Proxy(proxy) => write!(f, "can't connect to {target} through {proxy}"),
        }
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
