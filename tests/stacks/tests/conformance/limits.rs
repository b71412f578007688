//! Limits of the stacks, and what they do by themselves, as the table in the guide states.

use std::error::Error;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioExecutor;
use pinhold::header::{IgnoreReason, Noted};
use pinhold::{NotePinsLayer, PinViolation, Pinning};
use pinhold_testing::{TestCa, TestServer};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::common::header_value;
use crate::examples;
use crate::over_tcp::AllLoopback;
use crate::proxy::Proxy;
use crate::server::{Server, answer};

#[tokio::test]
async fn hyper_rustls_notes_no_pins_because_its_connections_do_not_expose_the_chain() {
    let ca = TestCa::new().unwrap();
    let [live, _] = ca.pins("example.com").unwrap();
    let response = http::Response::builder();
    let response = response.header("public-key-pins", header_value(live, "max-age=1000"));
    let server = TestServer::builder("example.com")
        .with_ca(&ca)
        .with_response(response.body("").unwrap());
    let server = server.good().await.unwrap();
    let pinning = Pinning::builder().build().unwrap();
    let connector =
        examples::hyper_rustls::connector(&pinning, server.anchors(), server.connector());
    let client = HyperClient::builder(TokioExecutor::new()).build(connector.unwrap());
    let client = NotePinsLayer::new(pinning.clone()).layer(client);
    let request = http::Request::get("https://example.com/");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = client.oneshot(request).await.unwrap();
    let noted = response.extensions().get::<Noted>();
    assert_eq!(noted, Some(&Noted::Ignored(IgnoreReason::NoConnectionData)));
    assert!(pinning.store().list().is_empty());
}

/// Starts the genuine server of `a.example`, which redirects to this URL.
async fn redirecting_server(ca: &TestCa, location: String) -> TestServer {
    let response = http::Response::builder().status(302);
    let response = response.header("location", location).body("").unwrap();
    let server = TestServer::builder("a.example").with_ca(ca);
    server.with_response(response).good().await.unwrap()
}

/// Requests the server by reqwest 0.12, which follows redirects to names on loopback.
async fn get_by_reqwest_0_12(
    pinning: &Pinning,
    server: &TestServer,
) -> Result<reqwest::Response, reqwest::Error> {
    let builder = examples::reqwest_0_12::builder(pinning, server.anchors()).unwrap();
    let client = builder.dns_resolver(AllLoopback::new()).build().unwrap();
    client.get(server.url()).send().await
}

#[tokio::test]
async fn reqwest_0_12_checks_the_pins_of_the_host_that_a_redirect_leads_to() {
    let ca = TestCa::new().unwrap();
    let target = || TestServer::builder("b.example").with_ca(&ca);
    let good = target().good().await.unwrap();
    let mis_issued = target().mis_issued().await.unwrap();
    let builder = Pinning::builder().static_pins("b.example", good.policy());
    let pinning = builder.build().unwrap();

    let start = redirecting_server(&ca, good.url()).await;
    get_by_reqwest_0_12(&pinning, &start).await.unwrap();
    assert_eq!((start.requests(), good.requests()), (1, 1));

    let start = redirecting_server(&ca, mis_issued.url()).await;
    let error = get_by_reqwest_0_12(&pinning, &start).await.unwrap_err();
    assert!(PinViolation::find(&error).is_some());
    assert_eq!((start.requests(), mis_issued.requests()), (1, 0));
}

#[tokio::test]
async fn reqwest_0_12_follows_no_redirect_to_plain_http() {
    let plain = Server::plain(answer(&[])).await;
    let location = format!("http://b.example:{}/", plain.address.port());
    let start = redirecting_server(&TestCa::new().unwrap(), location).await;
    let pinning = Pinning::builder().build().unwrap();
    assert!(get_by_reqwest_0_12(&pinning, &start).await.is_err());
    assert_eq!((start.requests(), plain.requests()), (1, 0));
}

/// A server behind a proxy.
struct ServerBehindProxy {
    pinning: Pinning,
    server: TestServer,
    proxy: Proxy,
    /// Whether the chain contains the pinned key.
    passes: bool,
}

impl ServerBehindProxy {
    /// Starts the genuine server, and one with a mis-issued chain.
    async fn both() -> [Self; 2] {
        let behind = async |server: TestServer, passes| {
            let builder = Pinning::builder().static_pins("example.com", server.policy());
            Self {
                pinning: builder.build().unwrap(),
                proxy: Proxy::connect(server.addr(), None).await,
                server,
                passes,
            }
        };
        let good = TestServer::good("example.com").await.unwrap();
        let mis_issued = TestServer::mis_issued("example.com").await.unwrap();
        [behind(good, true).await, behind(mis_issued, false).await]
    }

    fn uri(&self) -> String {
        format!("http://{}", self.proxy.address)
    }

    /// Checks that the proxy was used, and that the request succeeded or the violation is found.
    fn assert_outcome<T>(&self, outcome: Result<T, impl Error + 'static>) {
        let refused = outcome
            .err()
            .map(|error| PinViolation::find(&error).is_some());
        assert_eq!(refused, (!self.passes).then_some(true));
        let counts = (self.proxy.tunnels(), self.server.requests());
        assert_eq!(counts, (1, usize::from(self.passes)));
    }
}

#[tokio::test]
async fn hyper_rustls_enforces_pins_through_a_tunnel() {
    for behind in ServerBehindProxy::both().await {
        let tunnel = Tunnel::new(behind.uri().parse().unwrap(), HttpConnector::new());
        let anchors = behind.server.anchors();
        let connector = examples::hyper_rustls::connector(&behind.pinning, anchors, tunnel);
        let client = HyperClient::builder(TokioExecutor::new()).build(connector.unwrap());
        let uri = http::Uri::from_static("https://example.com/");
        let request = http::Request::get(uri).body(Empty::<Bytes>::new());
        behind.assert_outcome(client.request(request.unwrap()).await);
    }
}

#[tokio::test]
async fn reqwest_0_12_enforces_pins_through_a_proxy() {
    for behind in ServerBehindProxy::both().await {
        let anchors = behind.server.anchors();
        let builder = examples::reqwest_0_12::builder(&behind.pinning, anchors).unwrap();
        let proxy = reqwest::Proxy::all(behind.uri()).unwrap();
        let client = builder.proxy(proxy).build().unwrap();
        behind.assert_outcome(client.get("https://example.com/").send().await);
    }
}
