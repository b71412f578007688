//! Stacks of HTTP over TCP: hyper-util, hyper-rustls, reqwest 0.12.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use pinhold::{Pinning, PinningConnector, TrustAnchors};
use rustls::ServerConfig;

use crate::examples;
use crate::harness::{OpenConnection, Outcome, RunningServer, Stack};
use crate::server::{Loopback, Names, Server, answer};

async fn serve_http(config: ServerConfig) -> RunningServer {
    running_server(Server::with_config(config, answer(&[])).await)
}

pub fn running_server(server: Server) -> RunningServer {
    RunningServer {
        address: server.address,
        requests: Arc::clone(&server.requests),
        _running: Box::new(server),
    }
}

pub fn connector(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Pinned {
    PinningConnector::builder(pinning.clone())
        .with_anchors(anchors)
        .https_only()
        .wrap_connector(Loopback::new(names))
        .unwrap()
}

pub type Pinned = PinningConnector<Loopback>;

/// A client that keeps connections open, and one that does not.
struct Clients<C> {
    pooling: Client<C, Empty<Bytes>>,
    unpooled: Client<C, Empty<Bytes>>,
}

impl<C: Connect + Clone + Send + Sync + 'static> Clients<C> {
    fn new(connector: C) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        Self {
            pooling: builder.build(connector.clone()),
            unpooled: builder.pool_max_idle_per_host(0).build(connector),
        }
    }

    async fn get(client: &Client<C, Empty<Bytes>>, host: &str) -> Outcome {
        let response = client.get(format!("https://{host}/").parse()?).await?;
        assert_eq!(response.version(), http::Version::HTTP_2);
        response.into_body().collect().await?;
        Ok(())
    }

    async fn request_before_and_after(&self, host: &str, change: impl FnOnce()) -> Outcome {
        Self::get(&self.pooling, host).await.unwrap();
        change();
        Self::get(&self.pooling, host).await
    }
}

pub struct HyperUtil(Clients<Pinned>);

impl Stack for HyperUtil {
    const OPEN_CONNECTION: OpenConnection = OpenConnection::Closed;

    async fn serve(config: ServerConfig) -> RunningServer {
        serve_http(config).await
    }

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self {
        Self(Clients::new(connector(pinning, anchors, names)))
    }

    async fn request_on_new_connection(&self, host: &str) -> Outcome {
        Clients::get(&self.0.unpooled, host).await
    }

    async fn request_before_and_after(&self, host: &str, change: impl FnOnce() + Send) -> Outcome {
        self.0.request_before_and_after(host, change).await
    }
}

pub struct HyperRustls(Clients<HttpsConnector<Loopback>>);

impl Stack for HyperRustls {
    const OPEN_CONNECTION: OpenConnection = OpenConnection::StaysOpen;

    async fn serve(config: ServerConfig) -> RunningServer {
        serve_http(config).await
    }

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self {
        let loopback = Loopback::new(names);
        let connector = examples::hyper_rustls::connector(pinning, anchors, loopback);
        Self(Clients::new(connector.unwrap()))
    }

    async fn request_on_new_connection(&self, host: &str) -> Outcome {
        Clients::get(&self.0.unpooled, host).await
    }

    async fn request_before_and_after(&self, host: &str, change: impl FnOnce() + Send) -> Outcome {
        self.0.request_before_and_after(host, change).await
    }
}

pub struct Reqwest {
    pooling: reqwest::Client,
    unpooled: reqwest::Client,
    names: Names,
}

/// Resolves every name to the loopback address; the port is in the URL.
pub struct AllLoopback;

impl AllLoopback {
    pub fn new() -> Arc<Self> {
        Arc::new(Self)
    }
}

impl reqwest::dns::Resolve for AllLoopback {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let found: reqwest::dns::Addrs = Box::new(std::iter::once(address));
        Box::pin(std::future::ready(Ok(found)))
    }
}

impl Reqwest {
    async fn get(&self, client: &reqwest::Client, host: &str) -> Outcome {
        let port = self.names.address(host).unwrap().port();
        let response = client.get(format!("https://{host}:{port}/")).send().await?;
        assert_eq!(response.version(), http::Version::HTTP_2);
        response.bytes().await?;
        Ok(())
    }
}

impl Stack for Reqwest {
    const OPEN_CONNECTION: OpenConnection = OpenConnection::StaysOpen;

    async fn serve(config: ServerConfig) -> RunningServer {
        serve_http(config).await
    }

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self {
        let builder = || {
            let builder = examples::reqwest_0_12::builder(pinning, anchors.clone());
            builder.unwrap().dns_resolver(AllLoopback::new())
        };
        Self {
            pooling: builder().build().unwrap(),
            unpooled: builder().pool_max_idle_per_host(0).build().unwrap(),
            names: names.clone(),
        }
    }

    async fn request_on_new_connection(&self, host: &str) -> Outcome {
        self.get(&self.unpooled, host).await
    }

    async fn request_before_and_after(&self, host: &str, change: impl FnOnce() + Send) -> Outcome {
        self.get(&self.pooling, host).await.unwrap();
        change();
        self.get(&self.pooling, host).await
    }
}
