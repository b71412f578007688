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
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::Bytes;
use common::pki::{Ca, Leaf};
use common::server::{HyperClient, Loopback, Names, Server, answer, server_config};
use common::validated::built_in_anchors;
use common::{Clock, TIMEOUT, policy_with, provider, unrelated_pin};
use http_body_util::{BodyExt, Empty};
use hyper::rt::Write;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::layer::NotePins;
use pinhold::{NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningConnector, PinningVerifier};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

const CHANGES: u64 = 10_000;
const CALLERS: usize = 8;

struct Fixture {
    leaf: Leaf,
    root: Ca,
    server: Server,
    pinning: Pinning,
    connector: PinningConnector<Loopback>,
}

async fn fixture(alpn: &[u8]) -> Fixture {
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
    let config = PinningVerifier::builder(pinning.clone(), built_in_anchors(&[&root]));
    let config = config.with_provider(provider()).client_config().unwrap();
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    Fixture {
        connector: connector.wrap_connector(Loopback::new(&names)).unwrap(),
        leaf,
        root,
        server,
        pinning,
    }
}

/// What the threads tell each other.
#[derive(Default)]
struct Course {
    /// Odd while the pins are being replaced; see the model above.
    number: AtomicU64,
    /// Connections, writes and responses so far.
    steps: AtomicU64,
    done: AtomicBool,
}

impl Course {
    fn step(&self) {
        self.steps.fetch_add(1, Ordering::SeqCst);
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }
}

/// Replaces the pins by one policy and the other in turn, and now and then waits for the others to
/// get on.
fn replace(pinning: Pinning, policies: [PinPolicy; 2], course: Arc<Course>) -> JoinHandle<()> {
    thread::spawn(move || {
        for change in 0..CHANGES {
            // Odd, so that one policy and the other is in force meanwhile.
            if change.is_multiple_of(33) {
                let (steps, begin) = (course.steps.load(Ordering::SeqCst), Instant::now());
                while course.steps.load(Ordering::SeqCst) == steps && begin.elapsed() < TIMEOUT {
                    thread::yield_now();
                }
            }
            let policy = policies[usize::try_from(change % 2).unwrap()].clone();
            course.number.fetch_add(1, Ordering::SeqCst);
            pinning.replace_pins([("example.com", policy)]).unwrap();
            course.number.fetch_add(1, Ordering::SeqCst);
        }
        course.done.store(true, Ordering::SeqCst);
    })
}

/// Whether the pins of this number, once in force, refuse the server: each second change does.
fn refuses(number: u64) -> bool {
    number > 0 && number.is_multiple_of(4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_is_accepted_for_a_chain_that_fails_the_pins_in_force() {
    let fixture = fixture(b"http/1.1").await;
    let policies = [
        policy_with(fixture.leaf.pin()),
        policy_with(unrelated_pin()),
    ];
    let course = Arc::new(Course::default());
    let changes = replace(fixture.pinning.clone(), policies, course.clone());
    let writers = (0..8).map(|_| {
        let writes = write_again_and_again(fixture.connector.clone(), course.clone());
        tokio::spawn(writes)
    });
    let writers = writers.collect::<Vec<_>>();
    let mut accepted = 0;
    for writer in writers {
        let writes = tokio::time::timeout(2 * TIMEOUT, writer).await;
        accepted += writes.unwrap().unwrap();
    }
    changes.join().unwrap();
    assert!(accepted > 100, "{accepted} writes");
}

/// Returns how many writes were accepted.
async fn write_again_and_again(connector: PinningConnector<Loopback>, course: Arc<Course>) -> u64 {
    let mut accepted = 0;
    while !course.is_done() {
        let uri = http::Uri::from_static("https://example.com/");
        let connected = connector.clone().oneshot(uri).await;
        course.step();
        let Ok(mut stream) = connected else {
            continue;
        };
        // What the server does not read would fill its buffers.
        for _ in 0..64 {
            let before = course.number.load(Ordering::SeqCst);
            let write = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, b"x")).await;
            let after = course.number.load(Ordering::SeqCst);
            if let Err(error) = write {
                assert!(PinViolation::find(&error).is_some(), "{error:?}");
                break;
            }
            assert!(before != after || !refuses(before), "{before}");
            accepted += 1;
        }
    }
    accepted
}

/// Old and new pins hold the server's keys: nobody notices anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_satisfies_old_and_new_pins_loses_no_response() {
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let fixture = fixture(alpn).await;
        let policies = [
            policy_with(fixture.leaf.pin()),
            policy_with(fixture.root.pin()),
        ];
        let course = Arc::new(Course::default());
        let client = Client::builder(TokioExecutor::new()).build(fixture.connector.clone());
        let client = NotePinsLayer::new(fixture.pinning.clone()).layer(client);
        let changes = replace(fixture.pinning.clone(), policies, course.clone());
        let callers = (0..CALLERS)
            .map(|_| tokio::spawn(call_again_and_again(client.clone(), course.clone())));
        let callers = callers.collect::<Vec<_>>();
        let mut responses = 0;
        for caller in callers {
            let answered = tokio::time::timeout(2 * TIMEOUT, caller).await;
            responses += answered.unwrap().unwrap();
        }
        changes.join().unwrap();
        assert_eq!(fixture.server.requests(), responses);
        match alpn {
            // A pool begins connections that it then does not need, so their number says nothing;
            // but one that has carried a request is kept.
            b"http/1.1" => assert_eq!(fixture.server.ended_in_use(), 0),
            // Before there was one to share, each caller may have begun one of its own.
            _ => assert!(fixture.server.connections() <= CALLERS),
        }
    }
}

/// Returns how many responses came; none may fail.
async fn call_again_and_again(mut client: NotePins<HyperClient>, course: Arc<Course>) -> usize {
    let mut responses = 0;
    while !course.is_done() || responses == 0 {
        let request = http::Request::get("https://example.com/");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = client.call(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "ok");
        responses += 1;
        course.step();
    }
    responses
}
