//! tonic, over our connector.

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use pinhold::{Pinning, TrustAnchors};
use rustls::ServerConfig;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt;

use crate::common::pki::Ca;
use crate::common::{policy_with, unrelated_pin};
use crate::examples::tonic::{call, endpoint, secured};
use crate::harness::{
    Client, OpenConnection, Outcome, Serving, Stack, built_in_anchors, config, leading,
};
use crate::over_tcp::{Pinned, connector, serving};
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
            .connect_with_connector_lazy(connector.map_request(secured))
    }

    async fn call(channel: &Channel) -> Outcome {
        let answer = call(channel.clone(), "/conformance/Ask").await?;
        assert_eq!(answer, "ok");
        Ok(())
    }
}

/// A gRPC message of two letters, and the status that follows.
fn grpc() -> http::Response<BoxBody<Bytes, std::io::Error>> {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let trailers = async move { Some(Ok(trailers)) };
    let body = full("\0\0\0\0\x02ok").with_trailers(Box::pin(trailers));
    let response = http::Response::builder().header("content-type", "application/grpc");
    response.body(body.boxed()).unwrap()
}

impl Stack for Tonic {
    const OPEN_CONNECTION: OpenConnection = OpenConnection::EndsInText;

    async fn serve(config: ServerConfig) -> Serving {
        let answer = |request: &Request| {
            assert_eq!(request.uri().scheme(), Some(&http::uri::Scheme::HTTPS));
            grpc()
        };
        serving(Server::with_config(config, answer).await)
    }

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self {
        Self {
            connector: connector(pinning, anchors, names),
            names: names.clone(),
        }
    }

    async fn visit(&self, host: &str) -> Outcome {
        Self::call(&self.channel(host)).await
    }

    async fn stay(&self, host: &str, change: impl FnOnce() + Send) -> Outcome {
        let channel = self.channel(host);
        Self::call(&channel).await.unwrap();
        change();
        Self::call(&channel).await
    }
}

const HOST: &str = "example.com";

/// A server whose key is not pinned, and a client.
async fn fixture() -> (Serving, Client<Tonic>) {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let serving = Tonic::serve(config(&leaf, rustls::ALL_VERSIONS)).await;
    let names = leading([(HOST, &serving)]);
    let pins = [(HOST, policy_with(unrelated_pin()))];
    let client = Client::<Tonic>::new(pins, built_in_anchors(&[&root]), &names);
    (serving, client)
}

/// The eager way to connect, whose error is of another type.
#[tokio::test]
async fn an_eager_connection_tells_the_violation_too() {
    let (serving, mut client) = fixture().await;
    let connector = client.stack.connector.clone().map_request(secured);
    let endpoint = endpoint(HOST, serving.address.port()).unwrap();
    let connected = endpoint.connect_with_connector(connector).await;
    client.assert_refused(connected.map(drop).map_err(Into::into), HOST);
}

#[tokio::test]
async fn a_connector_that_nobody_secured_connects_to_nothing() {
    let (serving, mut client) = fixture().await;
    client.pinning.disable_all_static();
    let connector = client.stack.connector.clone();
    let endpoint = endpoint(HOST, serving.address.port()).unwrap();
    let connected = endpoint.connect_with_connector(connector).await;
    client.assert_failed(connected.map(drop).map_err(Into::into));
    assert_eq!(serving.requests(), 0);
}

/// tonic's TLS, which a feature enables and the endpoint's `https` asks for, is not ours.
#[tokio::test]
async fn an_https_endpoint_fails_where_tonic_has_tls_of_its_own() {
    let (serving, mut client) = fixture().await;
    client.pinning.disable_all_static();
    let connector = client.stack.connector.clone();
    let uri = format!("https://{HOST}:{}", serving.address.port());
    let endpoint = Endpoint::from_shared(uri).unwrap();
    let connected = endpoint.connect_with_connector(connector).await;
    client.assert_failed(connected.map(drop).map_err(Into::into));
    assert_eq!(serving.requests(), 0);
}
