//! What a stack can't do, or does by itself, as the table says.

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioExecutor;
use pinhold::{IgnoreReason, NotePinsLayer, Noted, PinViolation, Pinning, SpkiFingerprint};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::common::pki::Ca;
use crate::common::{Clock, foreign_pin, header_value, pinned_to, provider};
use crate::examples;
use crate::over_tcp::AllLoopback;
use crate::proxy::Proxy;
use crate::scene::trusting;
use crate::server::{Loopback, Names, Server, answer, full, server_config};

#[tokio::test]
async fn hyper_rustls_notes_no_pins_as_its_connections_do_not_tell_their_chain() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let value = header_value(leaf.pin(), "max-age=1000");
    let server = Server::start(&leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &server)]);
    let pinning = Pinning::builder().time_provider(Clock::new());
    let pinning = pinning.build().unwrap();
    let loopback = Loopback::new(&names);
    let connector = examples::hyper_rustls::connector(&pinning, trusting(&[&root]), loopback);
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
async fn reqwest_0_12_judges_the_host_that_a_redirect_leads_to() {
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
    for (pin, is_pinned) in [(second.pin(), true), (foreign_pin(), false)] {
        let pinning = Pinning::builder()
            .static_pins("b.example", pinned_to(pin))
            .time_provider(Clock::new())
            .build()
            .unwrap();
        let builder = examples::reqwest_0_12::builder(&pinning, trusting(&[&root])).unwrap();
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
    let builder = examples::reqwest_0_12::builder(&pinning, trusting(&[&root])).unwrap();
    let client = builder.dns_resolver(AllLoopback::new()).build().unwrap();
    let uri = format!("https://a.example:{}/", start.address.port());
    assert!(client.get(uri).send().await.is_err());
    assert_eq!((start.requests(), plain.requests()), (1, 0));
}

/// A server behind a proxy: a pin, and whether it lets the server pass.
struct Behind {
    root: Ca,
    pins: [(SpkiFingerprint, bool); 2],
    server: Server,
    proxy: Proxy,
}

impl Behind {
    async fn new() -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let server = Server::start(&leaf, &[]).await;
        Self {
            root,
            pins: [(foreign_pin(), false), (leaf.pin(), true)],
            proxy: Proxy::connect(server.address, None).await,
            server,
        }
    }

    fn pinning(&self, pin: SpkiFingerprint) -> Pinning {
        let builder = Pinning::builder().static_pins("example.com", pinned_to(pin));
        builder.time_provider(Clock::new()).build().unwrap()
    }

    /// Both came by the proxy, and one request to the server.
    fn assert_asked(&self) {
        assert_eq!((self.proxy.tunnels(), self.server.requests()), (2, 1));
    }
}

#[tokio::test]
async fn hyper_rustls_enforces_pins_through_a_tunnel() {
    let behind = Behind::new().await;
    for (pin, passes) in behind.pins {
        let proxy = format!("http://{}", behind.proxy.address);
        let tunnel = Tunnel::new(proxy.parse().unwrap(), HttpConnector::new());
        let anchors = trusting(&[&behind.root]);
        let connector = examples::hyper_rustls::connector(&behind.pinning(pin), anchors, tunnel);
        let client = HyperClient::builder(TokioExecutor::new()).build(connector.unwrap());
        let uri = http::Uri::from_static("https://example.com/");
        let request = http::Request::get(uri).body(Empty::<Bytes>::new());
        let outcome = client.request(request.unwrap()).await;
        assert_eq!(outcome.is_ok(), passes, "{outcome:?}");
        if let Err(error) = outcome {
            assert!(PinViolation::find(&error).is_some());
        }
    }
    behind.assert_asked();
}

#[tokio::test]
async fn reqwest_0_12_enforces_pins_through_a_proxy() {
    let behind = Behind::new().await;
    for (pin, passes) in behind.pins {
        let anchors = trusting(&[&behind.root]);
        let builder = examples::reqwest_0_12::builder(&behind.pinning(pin), anchors).unwrap();
        let proxy = reqwest::Proxy::all(format!("http://{}", behind.proxy.address)).unwrap();
        let client = builder.proxy(proxy).build().unwrap();
        let outcome = client.get("https://example.com/").send().await;
        assert_eq!(outcome.is_ok(), passes, "{outcome:?}");
        if let Err(error) = outcome {
            assert!(PinViolation::find(&error).is_some());
        }
    }
    behind.assert_asked();
}
