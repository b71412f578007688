//! reqwest 0.13 with pinhold's feature `reqwest`: a plain client, and one that notes pins.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pinhold::reqwest::NotingClient;
use pinhold::{Pinning, TrustAnchors};
use reqwest_0_13::dns::{Addrs, Name, Resolve, Resolving};
use reqwest_0_13::{Client, ClientBuilder};
use rustls::ServerConfig;

use crate::harness::{OpenConnection, Outcome, RunningServer, Stack};
use crate::over_tcp::running_server;
use crate::server::{Names, Server, answer};

/// Resolves every name to the loopback address; the port is in the URL.
struct AllLoopback;

impl Resolve for AllLoopback {
    fn resolve(&self, _: Name) -> Resolving {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let found: Addrs = Box::new(std::iter::once(address));
        Box::pin(std::future::ready(Ok(found)))
    }
}

/// A client that keeps connections open, and one that does not.
pub struct Clients<C> {
    pooling: C,
    unpooled: C,
    names: Names,
}

pub type Plain = Clients<Client>;
pub type Noting = Clients<NotingClient>;

pub trait Get: Sized + Send + Sync + 'static {
    const OPEN_CONNECTION: OpenConnection;

    fn build(
        pinning: &Pinning,
        anchors: TrustAnchors,
        configure: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self;

    fn get(&self, url: String) -> impl Future<Output = Outcome> + Send;
}

impl Get for Client {
    const OPEN_CONNECTION: OpenConnection = OpenConnection::StaysOpen;

    fn build(
        pinning: &Pinning,
        anchors: TrustAnchors,
        configure: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let builder = pinning.reqwest_client_builder(anchors).unwrap();
        configure(builder).build().unwrap()
    }

    async fn get(&self, url: String) -> Outcome {
        let response = Client::get(self, url).send().await?;
        assert_eq!(response.version(), http::Version::HTTP_2);
        response.bytes().await?;
        Ok(())
    }
}

impl Get for NotingClient {
    const OPEN_CONNECTION: OpenConnection = OpenConnection::Closed;

    fn build(
        pinning: &Pinning,
        anchors: TrustAnchors,
        configure: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let builder = Self::builder(pinning.clone()).with_anchors(anchors);
        builder.configure(configure).build().unwrap()
    }

    async fn get(&self, url: String) -> Outcome {
        let response = self.send(self.reqwest().get(url)).await?;
        assert_eq!(response.version(), http::Version::HTTP_2);
        response.bytes().await?;
        Ok(())
    }
}

impl<C: Get> Clients<C> {
    fn url(&self, host: &str) -> String {
        let port = self.names.address(host).unwrap().port();
        format!("https://{host}:{port}/")
    }
}

impl<C: Get> Stack for Clients<C> {
    const OPEN_CONNECTION: OpenConnection = C::OPEN_CONNECTION;

    async fn serve(config: ServerConfig) -> RunningServer {
        running_server(Server::with_config(config, answer(&[])).await)
    }

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self {
        let local = |builder: ClientBuilder| builder.no_proxy().dns_resolver(Arc::new(AllLoopback));
        Self {
            pooling: C::build(pinning, anchors.clone(), local),
            unpooled: C::build(pinning, anchors, move |builder| {
                local(builder).pool_max_idle_per_host(0)
            }),
            names: names.clone(),
        }
    }

    async fn request_on_new_connection(&self, host: &str) -> Outcome {
        self.unpooled.get(self.url(host)).await
    }

    async fn request_before_and_after(&self, host: &str, change: impl FnOnce() + Send) -> Outcome {
        self.pooling.get(self.url(host)).await.unwrap();
        change();
        self.pooling.get(self.url(host)).await
    }
}
