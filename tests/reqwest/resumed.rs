//! Pins are noted over resumed sessions, too, where it is certain with which chain they were made.

use std::sync::{Arc, Mutex};

use crate::common::pki::{Ca, Leaf};
use crate::common::reqwests::{NO_DATA, connection, fetch, noted, violation};
use crate::common::server::{Names, Server, answer, full};
use crate::common::tls_setup::{TlsSetup, builder, is_known, pinning_with, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, DAY, NOW, at, header_value, policy_with, unrelated_pin};
use pinhold::header::Noted;
use pinhold::reqwest::NotingClient;
use pinhold::{Pinning, TrustAnchors};
use reqwest::Response;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

const HOST: &str = "example.com";
const URL: &str = "https://example.com/";

/// A client that makes a connection for each request.
fn client(
    setup: &TlsSetup,
    pinning: &Pinning,
    anchors: &TrustAnchors,
    names: &Names,
) -> NotingClient {
    let client = setup.noting(pinning, anchors, names);
    let client = client.configure(|builder| builder.pool_max_idle_per_host(0));
    client.build().unwrap()
}

/// Sends a request and reads the whole body, after which the tickets of TLS 1.3 have arrived.
async fn visit(client: &NotingClient) -> Response {
    let mut response = fetch(client, URL).await.unwrap();
    while response.chunk().await.unwrap().is_some() {}
    response
}

fn is_resumed(response: &Response) -> bool {
    connection(response).unwrap().is_resumed()
}

/// A server whose `Public-Key-Pins` field the test changes.
async fn server_with_header(setup: &TlsSetup, leaf: &Leaf, value: &Arc<Mutex<String>>) -> Server {
    let value = Arc::clone(value);
    Server::with_config(setup.config(leaf), move |_| {
        let value = value.lock().unwrap().clone();
        let response = http::Response::builder().header("public-key-pins", value);
        response.body(full("ok")).unwrap()
    })
    .await
}

#[tokio::test]
async fn a_host_that_is_visited_over_resumed_sessions_stays_pinned() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&[HOST]);
        let value = header_value(leaf.pin(), "max-age=3000");
        let server = setup.serve(&leaf, &[("public-key-pins", &value)]).await;
        let clock = Clock::new();
        let pinning = Pinning::builder().time_provider(clock.clone());
        let pinning = pinning.build().unwrap();
        let names = Names::new([(HOST, &server)]);
        let client = client(&setup, &pinning, &built_in_anchors(&[&root]), &names);
        let host = HOST.try_into().unwrap();
        for minute in (0..=24 * 60).step_by(20) {
            let time = NOW + minute * 60;
            clock.set(time);
            let is_first = minute == 0;
            assert_eq!(pinning.store().query(&host, at(time)).is_none(), is_first);
            let response = visit(&client).await;
            assert_eq!(is_resumed(&response), !is_first, "after {minute} minutes");
            let expected = if is_first {
                Noted::Added
            } else {
                Noted::Refreshed
            };
            assert_eq!(noted(&response), Some(&expected));
        }
        let until = at(NOW + DAY + 3000);
        assert!(pinning.store().query(&host, until).is_some());
        assert_eq!(server.connections(), 73);
    }
}

#[tokio::test]
async fn a_key_roll_over_arrives_over_a_resumed_session() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let (old, new) = (root.leaf(&[HOST]), root.leaf(&[HOST]));
        let value = Arc::new(Mutex::new(header_value(old.pin(), "max-age=3000")));
        let server = server_with_header(&setup, &old, &value).await;
        let names = Names::new([(HOST, &server)]);
        let pinning = builder().build().unwrap();
        let client = client(&setup, &pinning, &built_in_anchors(&[&root]), &names);
        let first = visit(&client).await;
        assert_eq!(noted(&first), Some(&Noted::Added));

        let both = [&old, &new].map(|leaf| format!("pin-sha256=\"{}\"", leaf.pin().to_base64()));
        *value.lock().unwrap() = format!("{}; max-age=3000", both.join("; "));
        let announced = visit(&client).await;
        assert!(is_resumed(&announced));
        assert_eq!(noted(&announced), Some(&Noted::Refreshed));

        let replaced = setup.serve(&new, &[]).await;
        names.point(HOST, &replaced);
        let response = visit(&client).await;
        assert!(!is_resumed(&response));
        assert_eq!(replaced.requests(), 1);
    }
}

#[tokio::test]
async fn pins_are_removed_over_a_resumed_session() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&[HOST]);
        let value = Arc::new(Mutex::new(header_value(leaf.pin(), "max-age=3000")));
        let server = server_with_header(&setup, &leaf, &value).await;
        let names = Names::new([(HOST, &server)]);
        let pinning = builder().build().unwrap();
        let client = client(&setup, &pinning, &built_in_anchors(&[&root]), &names);
        visit(&client).await;
        assert!(is_known(&pinning, HOST));
        *value.lock().unwrap() = header_value(leaf.pin(), "max-age=0");
        let response = visit(&client).await;
        assert!(is_resumed(&response));
        assert!(matches!(noted(&response), Some(Noted::Removed(_))));
        assert!(!is_known(&pinning, HOST));
    }
}

#[tokio::test]
async fn the_leaf_decides_between_several_chains_of_a_name() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let pinning = builder().build().unwrap();
        let names = Names::default();
        let client = client(&setup, &pinning, &built_in_anchors(&[&root]), &names);
        for leaf in [root.leaf(&[HOST]), root.leaf(&[HOST])] {
            let server = setup.serve(&leaf, &[]).await;
            names.point(HOST, &server);
            for resumed in [false, true] {
                let response = visit(&client).await;
                assert_eq!(is_resumed(&response), resumed);
                let seen = connection(&response).unwrap();
                assert_eq!(seen.chain().served(), leaf.chain);
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_noted_if_the_chain_of_a_resumed_session_is_uncertain() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let mut leaf = root.leaf(&[HOST]);
        let value = header_value(leaf.pin(), "max-age=100");
        let pinning = builder().build().unwrap();
        let names = Names::default();
        let client = client(&setup, &pinning, &built_in_anchors(&[&root]), &names);
        for is_certain in [true, false] {
            let server = setup.serve(&leaf, &[("public-key-pins", &value)]).await;
            names.point(HOST, &server);
            assert!(!is_resumed(&visit(&client).await));
            let resumed = visit(&client).await;
            assert_eq!(connection(&resumed).is_some(), is_certain);
            assert_eq!(noted(&resumed) == Some(&NO_DATA), !is_certain);
            leaf = leaf.with_appended(Ca::root("Other").leaf(&[HOST]).chain);
        }
    }
}

/// A session cache of the server that runs a closure when a client resumes a session.
struct RunOnResumption {
    cache: Arc<dyn StoresServerSessions>,
    run: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for RunOnResumption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunOnResumption")
    }
}

impl StoresServerSessions for RunOnResumption {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.cache.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let session = self.cache.get(key)?;
        (self.run)();
        Some(session)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let session = self.cache.take(key)?;
        (self.run)();
        Some(session)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn pins_that_change_during_a_resumption_are_enforced() {
    for setup in tls_setups() {
        for is_certain in [true, false] {
            let root = Ca::root("Root");
            let mut leaf = root.leaf(&[HOST]);
            let pinning = pinning_with(policy_with(leaf.pin()));
            let names = Names::default();
            let client = client(&setup, &pinning, &built_in_anchors(&[&root]), &names);
            // With a second chain it is uncertain which one the session belongs to.
            if !is_certain {
                let other = setup.serve(&leaf, &[]).await;
                names.point(HOST, &other);
                visit(&client).await;
                leaf = leaf.with_appended(Ca::root("Other").leaf(&[HOST]).chain);
            }
            let changing = pinning.clone();
            let change = move || {
                let other = [(HOST, policy_with(unrelated_pin()))];
                changing.replace_pins(other).unwrap();
            };
            let mut config = setup.config(&leaf);
            config.session_storage = Arc::new(RunOnResumption {
                cache: ServerSessionMemoryCache::new(8),
                run: Box::new(change),
            });
            let server = Server::with_config(config, answer(&[])).await;
            names.point(HOST, &server);
            visit(&client).await;
            let error = fetch(&client, URL).await.unwrap_err();
            assert!(violation(&error).is_some());
            assert_eq!((server.connections(), server.requests()), (2, 1));
        }
    }
}
