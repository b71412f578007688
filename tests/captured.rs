//! Several connections of one host in the pool: each of them is captured sooner or later and
//! poisoned when the pins change, and none of them costs a request.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;

use common::pki::{Ca, Leaf};
use common::server::{HyperClient, Loopback, Names, Server, full, server_config};
use common::tls::SwappableCertificate;
use common::validated::built_in_anchors;
use common::{policy_with, provider};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::layer::NotePins;
use pinhold::{NotePinsLayer, Pinning, PinningConnector, PinningVerifier};
use tower::Service;
use tower_layer::Layer;

/// A server with HTTP/1.1 whose certificate can be swapped.
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
    // More than hyper reads ahead.
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
    let config = PinningVerifier::builder(pinning.clone(), built_in_anchors(&[&root]))
        .with_provider(provider())
        .client_config()
        .unwrap();
    let connector = PinningConnector::builder(pinning.clone())
        .with_tls_config(config)
        .enable_http1()
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

    /// The server has another key from now on, and it is the one that is pinned.
    fn turn(&self) -> Leaf {
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

/// The connection is in use for as long as the response is not read.
async fn call(client: &mut NotePins<HyperClient>) -> http::Response<Incoming> {
    let request = http::Request::get("https://example.com/");
    let response = client.call(request.body(Empty::new()).unwrap()).await;
    response.unwrap()
}

/// Reads it, and lets the pool have its connection back.
async fn read(response: http::Response<Incoming>) {
    response.into_body().collect().await.unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// Both at once, so that neither connection has seen a change before both requests are handed to
/// the pool.
async fn call_twice(client: &NotePins<HyperClient>) -> [http::Response<Incoming>; 2] {
    let (mut one, mut other) = (client.clone(), client.clone());
    tokio::join!(call(&mut one), call(&mut other)).into()
}

/// Else a server could fill our memory by redirects to ever other spellings of its name.
#[tokio::test]
async fn a_host_that_is_spelled_otherwise_is_not_kept_twice() {
    let fixture = fixture().await;
    let mut client = fixture.client(Retries::Some);
    for host in ["example.com", "EXAMPLE.com", "eXample.cOm"] {
        let request = http::Request::get(format!("https://{host}/"));
        let request = request.body(Empty::new()).unwrap();
        read(client.call(request).await.unwrap()).await;
    }
    assert_eq!(fixture.server.connections(), 1);
    // What it keeps of open connections can be seen there alone.
    let kept = format!("{client:?}").matches("Seen {").count();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn the_second_connection_is_captured_and_poisoned_too() {
    let fixture = fixture().await;
    let mut client = fixture.client(Retries::None);
    for round in 1..=20 {
        fixture.turn();
        // The first connection is captured, and busy.
        let first = call(&mut client).await;
        // The second one is not captured before its second request.
        for _ in 0..2 {
            read(call(&mut client).await).await;
        }
        read(first).await;
        assert_eq!(fixture.server.connections(), 4 * round - 2);
        fixture.turn();
        let [one, other] = call_twice(&client).await;
        read(one).await;
        read(other).await;
        assert_eq!(fixture.server.connections(), 4 * round);
    }
}

/// The second connection is never captured, and costs no request all the same.
#[tokio::test]
async fn requests_after_a_change_succeed_with_a_connection_that_is_not_captured() {
    let fixture = fixture().await;
    let mut client = fixture.client(Retries::Some);
    for _ in 0..200 {
        fixture.turn();
        for response in call_twice(&client).await {
            read(response).await;
        }
        fixture.turn();
        let first = call(&mut client).await;
        read(call(&mut client).await).await;
        read(first).await;
    }
    // Two after each change; a server's new key needs a new one.
    assert!(fixture.server.connections() >= 800);
}

/// What the server has closed is not taken for one that may be handed out.
#[tokio::test]
async fn the_connection_after_a_closed_one_is_captured() {
    let fixture = fixture().await;
    let mut client = fixture.client(Retries::None);
    for round in 1..=20 {
        fixture.turn();
        let request = http::Request::get("https://example.com/").header("connection", "close");
        let response = client.call(request.body(Empty::new()).unwrap()).await;
        read(response.unwrap()).await;
        read(call(&mut client).await).await;
        fixture.turn();
        read(call(&mut client).await).await;
        assert_eq!(fixture.server.connections(), 3 * round);
    }
}
