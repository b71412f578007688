//! Several pooled connections of one host: the layer captures each of them eventually and poisons
//! it when the pins change, and no request fails because of it.

use std::sync::Arc;

use crate::common::pki::{Ca, Leaf};
use crate::common::server::{HyperClient, Loopback, Names, Server, full, server_config};
use crate::common::tls::SwappableCertificate;
use crate::common::validated::built_in_anchors;
use crate::common::{policy_with, provider};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::layer::NotePins;
use pinhold::{NotePinsLayer, Pinning, PinningConnector, PinningVerifier};
use tower::Service;
use tower_layer::Layer;

/// An HTTP/1.1 server whose certificate can be replaced, and a connector to it.
struct Fixture {
    root: Ca,
    swap: Arc<SwappableCertificate>,
    server: Server,
    pinning: Pinning,
    connector: PinningConnector<Loopback>,
}

async fn fixture() -> Fixture {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let swap = SwappableCertificate::new(&leaf, provider());
    let mut config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
    config.cert_resolver = swap.clone();
    // Larger than what hyper reads ahead, so that an unread response keeps its connection busy.
    let body: &'static str = "ok".repeat(1 << 15).leak();
    let server = Server::with_config(config, move |request| {
        let mut response = http::Response::new(full(body));
        if request.headers().contains_key("connection") {
            let close = http::HeaderValue::from_static("close");
            response.headers_mut().insert("connection", close);
        }
        response
    });
    let server = server.await;
    let pinning = Pinning::builder().build().unwrap();
    let names = Names::new([("example.com", &server)]);
    let config = PinningVerifier::builder(pinning.clone())
        .with_anchors(built_in_anchors(&[&root]))
        .with_provider(provider())
        .client_config()
        .unwrap();
    let connector = PinningConnector::builder(pinning.clone())
        .with_tls_config(config)
        .http1_only()
        .wrap_connector(Loopback::new(&names))
        .unwrap();
    Fixture {
        root,
        swap,
        server,
        pinning,
        connector,
    }
}

impl Fixture {
    fn client(&self, retries: Retries) -> NotePins<HyperClient> {
        let pool = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(matches!(retries, Retries::Some))
            .build(self.connector.clone());
        NotePinsLayer::new(self.pinning.clone()).layer(pool)
    }

    /// Gives the server a new key and pins that key.
    fn rotate(&self) -> Leaf {
        let leaf = self.root.leaf(&["example.com"]);
        self.swap.set(&leaf);
        let policy = policy_with(leaf.pin());
        self.pinning
            .replace_pins([("example.com", policy)])
            .unwrap();
        leaf
    }
}

#[derive(Clone, Copy)]
enum Retries {
    None,
    Some,
}

/// Sends a request. Its connection stays busy until the response is read.
async fn call(client: &mut NotePins<HyperClient>) -> http::Response<Incoming> {
    let request = http::Request::get("https://example.com/");
    let response = client.call(request.body(Empty::new()).unwrap()).await;
    response.unwrap()
}

/// Reads a response and lets its connection return to the pool.
async fn read(response: http::Response<Incoming>) {
    response.into_body().collect().await.unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// Sends two requests concurrently, so that both reach the pool before either connection has
/// noticed a change of pins.
async fn call_twice(client: &NotePins<HyperClient>) -> [http::Response<Incoming>; 2] {
    let (mut one, mut other) = (client.clone(), client.clone());
    tokio::join!(call(&mut one), call(&mut other)).into()
}

/// Otherwise a server could fill the client's memory by redirects to other spellings of its name.
#[tokio::test]
async fn all_spellings_of_a_host_share_one_entry() {
    let fixture = fixture().await;
    let mut client = fixture.client(Retries::Some);
    for host in ["example.com", "EXAMPLE.com", "eXample.cOm"] {
        let request = http::Request::get(format!("https://{host}/"));
        let request = request.body(Empty::new()).unwrap();
        read(client.call(request).await.unwrap()).await;
    }
    assert_eq!(fixture.server.connections(), 1);
    // Only the debug output shows the tracked connections.
    let tracked = format!("{client:?}").matches("TrackedConnection {").count();
    assert_eq!(tracked, 1);
}

#[tokio::test]
async fn a_second_connection_is_captured_and_poisoned_too() {
    let fixture = fixture().await;
    let mut client = fixture.client(Retries::None);
    for round in 1..=20 {
        fixture.rotate();
        // The first connection is captured and stays busy.
        let first = call(&mut client).await;
        // The second connection is captured by its second request at the latest.
        for _ in 0..2 {
            read(call(&mut client).await).await;
        }
        read(first).await;
        assert_eq!(fixture.server.connections(), 4 * round - 2);
        fixture.rotate();
        let [one, other] = call_twice(&client).await;
        read(one).await;
        read(other).await;
        assert_eq!(fixture.server.connections(), 4 * round);
    }
}

/// The second connection is never captured, yet no request fails.
#[tokio::test]
async fn requests_after_a_change_succeed_with_a_connection_that_is_not_captured() {
    let fixture = fixture().await;
    let mut client = fixture.client(Retries::Some);
    for _ in 0..200 {
        fixture.rotate();
        for response in call_twice(&client).await {
            read(response).await;
        }
        fixture.rotate();
        let first = call(&mut client).await;
        read(call(&mut client).await).await;
        read(first).await;
    }
    // Two new connections after each change, since every change replaces the server's key.
    assert!(fixture.server.connections() >= 800);
}

/// A connection that the server has closed does not count as one that the pool may reuse.
#[tokio::test]
async fn the_connection_after_a_closed_one_is_captured() {
    let fixture = fixture().await;
    let mut client = fixture.client(Retries::None);
    for round in 1..=20 {
        fixture.rotate();
        let request = http::Request::get("https://example.com/").header("connection", "close");
        let response = client.call(request.body(Empty::new()).unwrap()).await;
        read(response.unwrap()).await;
        read(call(&mut client).await).await;
        fixture.rotate();
        read(call(&mut client).await).await;
        assert_eq!(fixture.server.connections(), 3 * round);
    }
}
