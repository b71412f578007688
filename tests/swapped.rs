//! Pins replaced ten thousand times while requests run.
//!
//! The model: a thread replaces the static pins again and again and says, by a number, what it
//! does: odd while it replaces, even once it is done, so that the number tells which pins are in
//! force. A writer reads the number before and after each write. If it has not moved, the pins of
//! that number were in force throughout, and no byte may have been accepted that they refuse.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use common::pki::{Ca, Leaf};
use common::server::{Loopback, Names, Server, answer, server_config};
use common::validated::trusting;
use common::{Clock, PATIENCE, foreign_pin, pinned_to, provider};
use http_body_util::{BodyExt, Empty};
use hyper::rt::Write;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::{NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningConnector, PinningVerifier};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

const CHANGES: u64 = 10_000;

struct Scene {
    leaf: Leaf,
    root: Ca,
    server: Server,
    pinning: Pinning,
    connector: PinningConnector<Loopback>,
}

async fn scene(alpn: &[u8]) -> Scene {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let mut config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![alpn.to_vec()];
    let server = Server::with_config(config, answer(&[])).await;
    let pinning = Pinning::builder()
        .time_provider(Clock::new())
        .build()
        .unwrap();
    let names = Names::new([("example.com", &server)]);
    let config = PinningVerifier::builder(pinning.clone(), trusting(&[&root]));
    let config = config.with_provider(provider()).client_config().unwrap();
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    Scene {
        connector: connector.wrap_connector(Loopback::new(&names)).unwrap(),
        leaf,
        root,
        server,
        pinning,
    }
}

/// Replaces the pins by one policy and the other in turn; the number says what is in force.
fn replace(
    pinning: Pinning,
    policies: [PinPolicy; 2],
    number: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for change in 0..CHANGES {
            let policy = policies[usize::try_from(change % 2).unwrap()].clone();
            number.fetch_add(1, Ordering::SeqCst);
            pinning.replace_static([("example.com", policy)]).unwrap();
            number.fetch_add(1, Ordering::SeqCst);
            if change.is_multiple_of(16) {
                thread::yield_now();
            }
        }
        done.store(true, Ordering::SeqCst);
    })
}

/// Whether the pins of this number, once in force, refuse the server: each second change does.
fn refuses(number: u64) -> bool {
    number > 0 && number.is_multiple_of(4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_is_accepted_for_a_chain_that_fails_the_pins_in_force() {
    let scene = scene(b"http/1.1").await;
    let policies = [pinned_to(scene.leaf.pin()), pinned_to(foreign_pin())];
    let (number, done) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let changes = replace(
        scene.pinning.clone(),
        policies,
        number.clone(),
        done.clone(),
    );
    let writers = (0..8).map(|_| {
        let (connector, number, done) = (scene.connector.clone(), number.clone(), done.clone());
        tokio::spawn(async move {
            let mut accepted = 0_u64;
            while !done.load(Ordering::SeqCst) {
                let uri = http::Uri::from_static("https://example.com/");
                let Ok(mut stream) = connector.clone().oneshot(uri).await else {
                    continue;
                };
                loop {
                    let before = number.load(Ordering::SeqCst);
                    let write = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, b"x")).await;
                    let after = number.load(Ordering::SeqCst);
                    match write {
                        Ok(_) => assert!(before != after || !refuses(before), "{before}"),
                        Err(error) => {
                            assert!(PinViolation::find(&error).is_some(), "{error:?}");
                            break;
                        }
                    }
                    accepted += 1;
                    // What is not read by the server fills its buffers.
                    if accepted.is_multiple_of(64) || done.load(Ordering::SeqCst) {
                        break;
                    }
                }
            }
            accepted
        })
    });
    let writers = writers.collect::<Vec<_>>();
    let mut accepted = 0;
    for writer in writers {
        accepted += tokio::time::timeout(PATIENCE, writer)
            .await
            .unwrap()
            .unwrap();
    }
    changes.join().unwrap();
    assert!(accepted > 100, "{accepted} writes");
}

/// Old and new pins hold the server's keys: nobody notices anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_satisfies_old_and_new_pins_loses_no_response() {
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let scene = scene(alpn).await;
        let policies = [pinned_to(scene.leaf.pin()), pinned_to(scene.root.pin())];
        let done = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicU64::new(0));
        let client = Client::builder(TokioExecutor::new()).build(scene.connector.clone());
        let client = NotePinsLayer::new(scene.pinning.clone()).layer(client);
        let changes = replace(scene.pinning.clone(), policies, number, done.clone());
        let callers = (0..8).map(|_| {
            let (mut client, done) = (client.clone(), done.clone());
            tokio::spawn(async move {
                let mut responses = 0;
                while !done.load(Ordering::SeqCst) || responses == 0 {
                    let request = http::Request::get("https://example.com/");
                    let request = request.body(Empty::<Bytes>::new()).unwrap();
                    let response = client.call(request).await.unwrap();
                    let body = response.into_body().collect().await.unwrap();
                    assert_eq!(body.to_bytes(), "ok");
                    responses += 1;
                }
                responses
            })
        });
        let callers = callers.collect::<Vec<_>>();
        let mut responses = 0;
        for caller in callers {
            responses += tokio::time::timeout(PATIENCE, caller)
                .await
                .unwrap()
                .unwrap();
        }
        changes.join().unwrap();
        assert_eq!(scene.server.requests(), responses);
        // HTTP/1.1 takes a connection for each caller, and none is lost.
        assert!(
            scene.server.connections() <= 8 + 1,
            "{}",
            scene.server.connections()
        );
    }
}
