//! `NotingClient` uses no connection that was opened before the pins turned against its chain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::pki::{Ca, Leaf};
use crate::common::reqwests::{connection, fetch, violation};
use crate::common::server::{Names, NeverRespond, Server, answer, full};
use crate::common::tls_setup::{TlsSetup, pinning_with, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, NOW, TIMEOUT, at, policy_with, unrelated_pin};
use hyper_util::client::legacy::connect::HttpInfo;
use pinhold::policy::AfterExpiry;
use pinhold::reqwest::{ClientBuildError, NotingClient, NotingClientBuilder, RequestError};
use pinhold::{PinPolicy, Pinning};
use reqwest::cookie::Jar;
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};
use rustls::ServerConfig;
use tokio::sync::Notify;

const HOST: &str = "example.com";
const URL: &str = "https://example.com/";

/// Two certificates of one root, for one host.
struct Fixture {
    root: Ca,
    old: Leaf,
    new: Leaf,
    names: Names,
    pinning: Pinning,
}

impl Fixture {
    fn new() -> Self {
        let root = Ca::root("Root");
        let (old, new) = (root.leaf(&[HOST]), root.leaf(&[HOST]));
        Self {
            pinning: pinning_with(policy_with(old.pin())),
            names: Names::default(),
            root,
            old,
            new,
        }
    }

    fn builder(&self, setup: &TlsSetup) -> NotingClientBuilder {
        let anchors = built_in_anchors(&[&self.root]);
        setup.noting(&self.pinning, &anchors, &self.names)
    }

    fn replace_pins(&self, policy: PinPolicy) {
        self.pinning.replace_pins([(HOST, policy)]).unwrap();
    }
}

/// Every combination of TLS version, crypto provider and HTTP version.
fn setups() -> impl Iterator<Item = (TlsSetup, &'static str)> {
    let both = |setup: TlsSetup| ["h2", "http/1.1"].map(|alpn| (setup.clone(), alpn));
    tls_setups().into_iter().flat_map(both)
}

fn config(setup: &TlsSetup, leaf: &Leaf, alpn: &str) -> ServerConfig {
    let mut config = setup.config(leaf);
    config.alpn_protocols = vec![alpn.into()];
    config
}

/// Sends a request and reads the whole body. Returns the client's address, by which a connection is
/// recognised: the pool may open one more than it uses.
async fn visit_url(client: &NotingClient, url: &str) -> Result<SocketAddr, RequestError> {
    let response = fetch(client, url).await?;
    let address = response
        .extensions()
        .get::<HttpInfo>()
        .unwrap()
        .local_addr();
    assert_eq!(response.bytes().await.unwrap(), "ok");
    Ok(address)
}

async fn visit(client: &NotingClient) -> Result<SocketAddr, RequestError> {
    visit_url(client, URL).await
}

#[tokio::test]
async fn no_request_uses_a_connection_whose_chain_is_refused_since() {
    for (setup, alpn) in setups() {
        let fixture = Fixture::new();
        let old = config(&setup, &fixture.old, alpn);
        let old = Server::with_config(old, answer(&[])).await;
        fixture.names.point(HOST, &old);
        let client = fixture.builder(&setup).build().unwrap();
        let first = visit(&client).await.unwrap();
        assert_eq!(visit(&client).await.unwrap(), first, "{alpn}");
        assert_eq!(old.requests(), 2);

        fixture.replace_pins(policy_with(fixture.new.pin()));
        let clone = client.clone();
        for client in [&client, &clone] {
            let error = visit(client).await.unwrap_err();
            assert!(violation(&error).is_some(), "{error:?}");
        }
        assert_eq!(old.requests(), 2);

        let new = config(&setup, &fixture.new, alpn);
        let new = Server::with_config(new, answer(&[])).await;
        fixture.names.point(HOST, &new);
        let first = visit(&client).await.unwrap();
        assert_eq!(visit(&client).await.unwrap(), first, "{alpn}");
        assert_eq!(new.requests(), 2);
    }
}

#[tokio::test]
async fn a_change_that_does_not_concern_the_chain_keeps_the_connection() {
    for (setup, alpn) in setups() {
        let fixture = Fixture::new();
        let server = config(&setup, &fixture.old, alpn);
        let server = Server::with_config(server, answer(&[])).await;
        fixture.names.point(HOST, &server);
        let client = fixture.builder(&setup).build().unwrap();
        let first = visit(&client).await.unwrap();
        let policy = PinPolicy::new([fixture.old.pin(), fixture.new.pin()]).unwrap();
        let other = ("example.net", policy_with(unrelated_pin()));
        fixture
            .pinning
            .replace_pins([(HOST, policy), other])
            .unwrap();
        assert_eq!(visit(&client).await.unwrap(), first, "{alpn}");
    }
}

/// A connection of HTTP/2 is in the pool while a response is awaited, or before one ever came.
#[tokio::test]
async fn a_connection_without_a_response_is_not_used_either() {
    for setup in tls_setups() {
        let fixture = Fixture::new();
        let received = Arc::new(Notify::new());
        let notify = Arc::clone(&received);
        let server = Server::with_config(config(&setup, &fixture.old, "h2"), move |_| {
            notify.notify_one();
            let response = http::Response::builder().extension(NeverRespond);
            response.body(full("")).unwrap()
        })
        .await;
        fixture.names.point(HOST, &server);
        let client = fixture.builder(&setup).build().unwrap();
        let waiting = client.clone();
        let waiting = tokio::spawn(async move { fetch(&waiting, URL).await.map(drop) });
        let wait = tokio::time::timeout(TIMEOUT, received.notified());
        wait.await.expect("a request within the time limit");
        fixture.replace_pins(policy_with(unrelated_pin()));
        // Over the open connection no response would ever come.
        let visit = tokio::time::timeout(TIMEOUT, visit(&client)).await;
        let error = visit.expect("an end within the time limit").unwrap_err();
        assert!(violation(&error).is_some(), "{error:?}");
        assert_eq!(server.requests(), 1);
        waiting.abort();
    }
}

#[tokio::test]
async fn a_connection_over_a_resumed_session_is_not_used_either() {
    for (setup, alpn) in setups() {
        let fixture = Fixture::new();
        let server = config(&setup, &fixture.old, alpn);
        let server = Server::with_config(server, answer(&[])).await;
        fixture.names.point(HOST, &server);
        let client = fixture.builder(&setup).build().unwrap();
        visit(&client).await.unwrap();
        // Replaces the clients. The sessions remain.
        fixture.replace_pins(policy_with(unrelated_pin()));
        assert!(visit(&client).await.is_err());
        fixture.replace_pins(policy_with(fixture.old.pin()));
        let response = fetch(&client, URL).await.unwrap();
        assert!(connection(&response).unwrap().is_resumed());
        response.bytes().await.unwrap();
        fixture.replace_pins(policy_with(unrelated_pin()));
        let error = visit(&client).await.unwrap_err();
        assert!(violation(&error).is_some(), "{error:?}");
        assert_eq!(server.requests(), 2);
    }
}

/// The pins do not change, but what they decide does.
#[tokio::test]
async fn no_request_uses_a_connection_after_a_policy_has_expired() {
    let setup = &tls_setups()[0];
    let fixture = Fixture::new();
    let server = setup.serve(&fixture.old, &[]).await;
    fixture.names.point(HOST, &server);
    let clock = Clock::new();
    let policy = policy_with(fixture.old.pin()).expires(at(NOW + 10), AfterExpiry::Refuse);
    let pinning = Pinning::builder().time_provider(clock.clone());
    let pinning = pinning.static_pins(HOST, policy).build().unwrap();
    let anchors = built_in_anchors(&[&fixture.root]);
    let client = setup.noting(&pinning, &anchors, &fixture.names);
    let client = client.build().unwrap();
    for _ in 0..2 {
        visit(&client).await.unwrap();
        clock.set(NOW + 10);
    }
    clock.set(NOW + 11);
    let error = visit(&client).await.unwrap_err();
    assert!(violation(&error).is_some(), "{error:?}");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn cookies_of_a_cookie_provider_survive() {
    let setup = &tls_setups()[0];
    let fixture = Fixture::new();
    let server = |leaf: &Leaf| {
        Server::with_config(setup.config(leaf), |request| {
            let cookie = request.headers().get(COOKIE).cloned();
            let response = http::Response::builder().header("set-cookie", "a=b; Secure");
            let response = match cookie {
                Some(cookie) => response.header("received", cookie),
                None => response,
            };
            response.body(full("ok")).unwrap()
        })
    };
    let (old, new) = (server(&fixture.old).await, server(&fixture.new).await);
    fixture.names.point(HOST, &old);
    let jar = Arc::new(Jar::default());
    let client = fixture.builder(setup);
    let client = client.configure(move |builder| builder.cookie_provider(Arc::clone(&jar)));
    let client = client.build().unwrap();
    visit(&client).await.unwrap();
    fixture.replace_pins(policy_with(fixture.new.pin()));
    fixture.names.point(HOST, &new);
    let response = fetch(&client, URL).await.unwrap();
    assert_eq!(response.headers()["received"], "a=b");
    assert_eq!((old.requests(), new.requests()), (1, 1));
}

#[tokio::test]
async fn no_request_is_sent_if_the_clients_can_not_be_replaced() {
    let setup = &tls_setups()[0];
    let fixture = Fixture::new();
    let server = setup.serve(&fixture.old, &[]).await;
    fixture.names.point(HOST, &server);
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&is_broken);
    let client = fixture.builder(setup).configure(move |builder| {
        let mut headers = HeaderMap::new();
        if broken.load(Ordering::SeqCst) {
            headers.insert(AUTHORIZATION, HeaderValue::from_static("secret"));
        }
        builder.default_headers(headers)
    });
    let client = client.build().unwrap();
    visit(&client).await.unwrap();
    is_broken.store(true, Ordering::SeqCst);
    visit(&client).await.unwrap();
    fixture.replace_pins(policy_with(unrelated_pin()));
    for _ in 0..2 {
        let error = visit(&client).await.unwrap_err();
        let RequestError::Rebuild(ClientBuildError::DefaultCredentials { .. }) = error else {
            panic!("{error:?}");
        };
    }
    is_broken.store(false, Ordering::SeqCst);
    let error = visit(&client).await.unwrap_err();
    assert!(violation(&error).is_some(), "{error:?}");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn the_client_for_plain_http_is_replaced_together_with_the_other() {
    let setup = &tls_setups()[0];
    let fixture = Fixture::new();
    let plain = Server::plain(answer(&[])).await;
    let server = setup.serve(&fixture.old, &[]).await;
    fixture.names.point(HOST, &server);
    fixture.names.point("plain.example", &plain);
    let client = fixture.builder(setup).https_or_http().build().unwrap();
    let visit_plain = || async {
        let response = fetch(&client, "http://plain.example/").await.unwrap();
        response.bytes().await.unwrap();
    };
    visit(&client).await.unwrap();
    visit_plain().await;
    fixture.replace_pins(policy_with(unrelated_pin()));
    assert!(visit(&client).await.is_err());
    visit_plain().await;
    assert_eq!((server.requests(), plain.requests()), (1, 2));
}

/// More chains than are kept: those without room can't be evaluated again.
#[tokio::test]
async fn a_client_with_very_many_chains_is_replaced_at_every_change() {
    const LAST: &str = "last.example.com";
    let setup = &tls_setups()[0];
    let fixture = Fixture::new();
    let leaf = fixture.root.leaf(&["*.example.com"]);
    let config = config(setup, &leaf, "http/1.1");
    let server = Server::with_config(config, |request| {
        let is_last = request.headers()["host"] == LAST;
        let connection = if is_last { "keep-alive" } else { "close" };
        let response = http::Response::builder().header("connection", connection);
        response.body(full("ok")).unwrap()
    })
    .await;
    let pins = || [(HOST, policy_with(leaf.pin()).include_subdomains())];
    fixture.pinning.replace_pins(pins()).unwrap();
    let client = fixture.builder(setup).build().unwrap();
    let visit = async |host: &str| {
        fixture.names.point(host, &server);
        visit_url(&client, &format!("https://{host}/")).await
    };
    for number in 1..=256 {
        visit(&format!("h{number}.example.com")).await.unwrap();
    }
    let first = visit(LAST).await.unwrap();
    assert_eq!(visit(LAST).await.unwrap(), first);
    let [pins, other] = [pins(), [("example.net", policy_with(unrelated_pin()))]];
    let pins = pins.into_iter().chain(other);
    fixture.pinning.replace_pins(pins).unwrap();
    let second = visit(LAST).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(visit(LAST).await.unwrap(), second);
    fixture.replace_pins(policy_with(unrelated_pin()).include_subdomains());
    let error = visit(LAST).await.unwrap_err();
    assert!(violation(&error).is_some(), "{error:?}");
}
