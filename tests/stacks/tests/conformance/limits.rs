//! Limits of the stacks, and what they do by themselves, as the table in the README states.

use std::error::Error;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioExecutor;
use pinhold::header::{IgnoreReason, Noted};
use pinhold::{NotePinsLayer, PinViolation, Pinning, TrustAnchors};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::common::pki::Ca;
use crate::common::{Clock, header_value, policy_with, provider, unrelated_pin};
use crate::examples;
use crate::harness::built_in_anchors;
use crate::over_tcp::AllLoopback;
use crate::proxy::Proxy;
use crate::server::{Loopback, Names, Server, answer, full, server_config};

#[tokio::test]
async fn hyper_rustls_notes_no_pins_because_its_connections_do_not_expose_the_chain() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let value = header_value(leaf.pin(), "max-age=1000");
    let server = Server::start(&leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &server)]);
    let pinning = Pinning::builder().time_provider(Clock::new());
    let pinning = pinning.build().unwrap();
    let loopback = Loopback::new(&names);
    let connector =
        examples::hyper_rustls::connector(&pinning, built_in_anchors(&[&root]), loopback);
    let client = HyperClient::builder(TokioExecutor::new()).build(connector.unwrap());
    let client = NotePinsLayer::new(pinning.clone()).layer(client);
    let request = http::Request::get("https://example.com/");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = client.oneshot(request).await.unwrap();
    let noted = response.extensions().get::<Noted>();
    assert_eq!(noted, Some(&Noted::Ignored(IgnoreReason::NoConnectionData)));
    assert!(pinning.store().list().is_empty());
}

#[tokio::test]
async fn reqwest_0_12_checks_the_pins_of_the_host_that_a_redirect_leads_to() {
    let root = Ca::root("Root");
    let (first, second) = (root.leaf(&["a.example"]), root.leaf(&["b.example"]));
    let target = Server::start(&second, &[]).await;
    let location = format!("https://b.example:{}/", target.address.port());
    let config = server_config(&first, provider(), rustls::ALL_VERSIONS);
    let start = Server::with_config(config, move |_| {
        let response = http::Response::builder().status(302);
        let response = response.header("location", &location);
        response.body(full("")).unwrap()
    });
    let start = start.await;
    for (pin, is_pinned) in [(second.pin(), true), (unrelated_pin(), false)] {
        let pinning = Pinning::builder()
            .static_pins("b.example", policy_with(pin))
            .time_provider(Clock::new())
            .build()
            .unwrap();
        let builder =
            examples::reqwest_0_12::builder(&pinning, built_in_anchors(&[&root])).unwrap();
        let client = builder.dns_resolver(AllLoopback::new()).build().unwrap();
        let uri = format!("https://a.example:{}/", start.address.port());
        let outcome = client.get(uri).send().await;
        assert_eq!(outcome.is_ok(), is_pinned, "{outcome:?}");
        if let Err(error) = outcome {
            assert!(PinViolation::find(&error).is_some());
        }
    }
    assert_eq!((start.requests(), target.requests()), (2, 1));
}

#[tokio::test]
async fn reqwest_0_12_follows_no_redirect_to_plain_http() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["a.example"]);
    let plain = Server::plain(answer(&[])).await;
    let location = format!("http://b.example:{}/", plain.address.port());
    let config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
    let start = Server::with_config(config, move |_| {
        let response = http::Response::builder().status(302);
        let response = response.header("location", &location);
        response.body(full("")).unwrap()
    });
    let start = start.await;
    let pinning = Pinning::builder().time_provider(Clock::new());
    let pinning = pinning.build().unwrap();
    let builder = examples::reqwest_0_12::builder(&pinning, built_in_anchors(&[&root])).unwrap();
    let client = builder.dns_resolver(AllLoopback::new()).build().unwrap();
    let uri = format!("https://a.example:{}/", start.address.port());
    assert!(client.get(uri).send().await.is_err());
    assert_eq!((start.requests(), plain.requests()), (1, 0));
}

/// A server behind a proxy.
struct ServerBehindProxy {
    pinning: Pinning,
    anchors: TrustAnchors,
    server: Server,
    proxy: Proxy,
    /// Whether the chain contains the pinned key.
    passes: bool,
}

impl ServerBehindProxy {
    /// Starts the genuine server, and one with a mis-issued chain to which the genuine certificate
    /// is appended.
    async fn both() -> [Self; 2] {
        let (root, other) = (Ca::root("Root"), Ca::root("Other"));
        let genuine = root.leaf(&["example.com"]);
        let mis_issued = other.leaf(&["example.com"]);
        let mis_issued = mis_issued.with_appended(genuine.chain.clone());
        let policy = policy_with(genuine.pin());
        let builder = Pinning::builder().static_pins("example.com", policy);
        let pinning = builder.time_provider(Clock::new()).build().unwrap();
        let behind = async |leaf, passes| {
            let server = Server::start(leaf, &[]).await;
            Self {
                pinning: pinning.clone(),
                anchors: built_in_anchors(&[&root, &other]),
                proxy: Proxy::connect(server.address, None).await,
                server,
                passes,
            }
        };
        [
            behind(&genuine, true).await,
            behind(&mis_issued, false).await,
        ]
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
        let anchors = behind.anchors.clone();
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
        let anchors = behind.anchors.clone();
        let builder = examples::reqwest_0_12::builder(&behind.pinning, anchors).unwrap();
        let proxy = reqwest::Proxy::all(behind.uri()).unwrap();
        let client = builder.proxy(proxy).build().unwrap();
        behind.assert_outcome(client.get("https://example.com/").send().await);
    }
}
