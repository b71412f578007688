//! tonic over `PinningConnector`.

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use pinhold::{Pinning, TrustAnchors};
use pinhold_testing::TestServer;
use rustls::ServerConfig;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt;

use crate::examples::tonic::{call, endpoint, with_https_scheme};
use crate::harness::{Client, OpenConnection, Outcome, RunningServer, Stack};
use crate::over_tcp::{Pinned, connector, running_server};
use crate::server::{Names, Request, Server, full};

pub struct Tonic {
    connector: Pinned,
    names: Names,
}

impl Tonic {
    fn channel(&self, host: &str) -> Channel {
        let port = self.names.address(host).unwrap().port();
        let connector = self.connector.clone();
        endpoint(host, port)
            .unwrap()
            .connect_with_connector_lazy(connector.map_request(with_https_scheme))
    }

    async fn call(channel: &Channel) -> Outcome {
        let answer = call(channel.clone(), "/conformance/Call").await?;
        assert_eq!(answer, "ok");
        Ok(())
    }
}

/// A response with the gRPC message "ok" and the status in its trailers.
fn grpc() -> http::Response<BoxBody<Bytes, std::io::Error>> {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let trailers = async move { Some(Ok(trailers)) };
    let body = full("\0\0\0\0\x02ok").with_trailers(Box::pin(trailers));
    let response = http::Response::builder().header("content-type", "application/grpc");
    response.body(body.boxed()).unwrap()
}

impl Stack for Tonic {
    const OPEN_CONNECTION: OpenConnection = OpenConnection::ClosedWithText;

    async fn serve(config: ServerConfig) -> RunningServer {
        let answer = |request: &Request| {
            assert_eq!(request.uri().scheme(), Some(&http::uri::Scheme::HTTPS));
            grpc()
        };
        running_server(Server::with_config(config, answer).await)
    }

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self {
        Self {
            connector: connector(pinning, anchors, names),
            names: names.clone(),
        }
    }

    async fn request_on_new_connection(&self, host: &str) -> Outcome {
        Self::call(&self.channel(host)).await
    }

    async fn request_before_and_after(&self, host: &str, change: impl FnOnce() + Send) -> Outcome {
        let channel = self.channel(host);
        Self::call(&channel).await.unwrap();
        change();
        Self::call(&channel).await
    }
}

const HOST: &str = "example.com";

/// A server that the pins refuse, and its client.
async fn fixture() -> (TestServer, Client<Tonic>) {
    let server = TestServer::mis_issued(HOST).await.unwrap();
    let names = Names::default();
    names.point_to(HOST, server.addr());
    let pins = [(HOST, server.policy())];
    let client = Client::<Tonic>::new(pins, server.anchors(), &names);
    (server, client)
}

/// The error of a channel that connects at once has another type.
#[tokio::test]
async fn the_error_of_an_eager_connection_contains_the_violation_too() {
    let (server, mut client) = fixture().await;
    let connector = client
        .stack
        .connector
        .clone()
        .map_request(with_https_scheme);
    let endpoint = endpoint(HOST, server.addr().port()).unwrap();
    let connected = endpoint.connect_with_connector(connector).await;
    client.assert_refused(connected.map(drop).map_err(Into::into), HOST);
}

#[tokio::test]
async fn a_connector_without_the_https_mapping_refuses_to_connect() {
    let (server, mut client) = fixture().await;
    client.pinning.disable_all_static();
    let connector = client.stack.connector.clone();
    let endpoint = endpoint(HOST, server.addr().port()).unwrap();
    let connected = endpoint.connect_with_connector(connector).await;
    client.assert_failed_without_violation(connected.map(drop).map_err(Into::into));
    assert_eq!(server.requests(), 0);
}

/// With a feature `tls-*`, tonic makes TLS connections of its own for an `https` endpoint.
#[tokio::test]
async fn an_https_endpoint_fails_if_tonic_has_tls_of_its_own() {
    let (server, mut client) = fixture().await;
    client.pinning.disable_all_static();
    let connector = client.stack.connector.clone();
    let uri = format!("https://{HOST}:{}", server.addr().port());
    let endpoint = Endpoint::from_shared(uri).unwrap();
    let connected = endpoint.connect_with_connector(connector).await;
    client.assert_failed_without_violation(connected.map(drop).map_err(Into::into));
    assert_eq!(server.requests(), 0);
}
