//! Static pins replaced ten thousand times while connections and requests are in progress.
//!
//! Model: a thread replaces the pins repeatedly and publishes a sequence number that is odd
//! during a replacement and even after it, so that an even value identifies the pins in force. A
//! writer reads the number before and after each write. If the value is the same, those pins were
//! in force throughout the write, and the write must have failed if they refuse the chain.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::common::pki::{Ca, Leaf};
use crate::common::server::{HyperClient, Loopback, Names, Server, answer, server_config};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, TIMEOUT, policy_with, provider, unrelated_pin};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::rt::Write;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::layer::NotePins;
use pinhold::{
    NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningConnector, PinningVerifier,
    VerifiedConnection,
};
use tokio::task::JoinSet;
use tower::{Service, ServiceExt};
use tower_layer::Layer;

const CHANGES: u64 = 10_000;
/// With `tests/run.sh --full`; otherwise a hundredth.
const SOAK_CHANGES: u64 = 100_000;
const CALLERS: usize = 8;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
    let config = PinningVerifier::builder(pinning.clone()).with_anchors(built_in_anchors(&[&root]));
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

/// State shared by the threads.
#[derive(Default)]
struct Progress {
    /// Odd while the pins are being replaced; see the model above.
    sequence: AtomicU64,
    /// Connections, writes and responses so far.
    steps: AtomicU64,
    done: AtomicBool,
}

impl Progress {
    fn step(&self) {
        self.steps.fetch_add(1, Ordering::SeqCst);
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits until this number of further steps were made, or for a minute.
    fn wait_for(&self, steps: u64) {
        let goal = self.steps.load(Ordering::SeqCst) + steps;
        let begin = Instant::now();
        while self.steps.load(Ordering::SeqCst) < goal && begin.elapsed() < TIMEOUT {
            thread::yield_now();
        }
    }
}

/// How often pins are replaced.
struct Pace {
    changes: u64,
    /// The number of changes after which other threads have to make progress.
    interval: u64,
    /// The steps that they have to make.
    requests: u64,
}

impl Pace {
    /// Replaces the pins by the two policies in turn, and waits at times until other threads have
    /// made progress.
    fn replace(
        self,
        pinning: Pinning,
        policies: [PinPolicy; 2],
        progress: Arc<Progress>,
    ) -> JoinHandle<()> {
        thread::spawn(move || {
            for change in 0..self.changes {
                if progress.is_done() {
                    break;
                }
                if change.is_multiple_of(self.interval) {
                    progress.wait_for(self.requests);
                }
                let policy = policies[usize::try_from(change % 2).unwrap()].clone();
                progress.sequence.fetch_add(1, Ordering::SeqCst);
                pinning.replace_pins([("example.com", policy)]).unwrap();
                progress.sequence.fetch_add(1, Ordering::SeqCst);
            }
            progress.done.store(true, Ordering::SeqCst);
        })
    }
}

fn replace(pinning: Pinning, policies: [PinPolicy; 2], progress: Arc<Progress>) -> JoinHandle<()> {
    // The interval is odd, so that each policy is in force during some of the waits.
    let pace = Pace {
        changes: CHANGES,
        interval: 33,
        requests: 1,
    };
    pace.replace(pinning, policies, progress)
}

/// Returns whether the pins in force at this sequence number refuse the server: those of every
/// second replacement do.
fn refuses(sequence: u64) -> bool {
    sequence > 0 && sequence.is_multiple_of(4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_is_accepted_for_a_chain_that_fails_the_pins_in_force() {
    let fixture = fixture(b"http/1.1").await;
    let policies = [
        policy_with(fixture.leaf.pin()),
        policy_with(unrelated_pin()),
    ];
    let progress = Arc::new(Progress::default());
    let changes = replace(fixture.pinning.clone(), policies, progress.clone());
    let writers = (0..8).map(|_| {
        let writes = write_until_done(fixture.connector.clone(), progress.clone());
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

/// Writes until the changes are done. Returns the number of writes accepted.
async fn write_until_done(connector: PinningConnector<Loopback>, progress: Arc<Progress>) -> u64 {
    let mut accepted = 0;
    while !progress.is_done() {
        let uri = http::Uri::from_static("https://example.com/");
        let connected = connector.clone().oneshot(uri).await;
        progress.step();
        let Ok(mut stream) = connected else {
            continue;
        };
        // More bytes that the server does not read would fill the buffers.
        for _ in 0..64 {
            let before = progress.sequence.load(Ordering::SeqCst);
            let write = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, b"x")).await;
            let after = progress.sequence.load(Ordering::SeqCst);
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

/// The old and the new pins both match the server, so no request is affected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_satisfies_old_and_new_pins_loses_no_response() {
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let fixture = fixture(alpn).await;
        let policies = [
            policy_with(fixture.leaf.pin()),
            policy_with(fixture.root.pin()),
        ];
        let progress = Arc::new(Progress::default());
        let client = Client::builder(TokioExecutor::new()).build(fixture.connector.clone());
        let client = NotePinsLayer::new(fixture.pinning.clone()).layer(client);
        let changes = replace(fixture.pinning.clone(), policies, progress.clone());
        let callers =
            (0..CALLERS).map(|_| tokio::spawn(call_until_done(client.clone(), progress.clone())));
        let callers = callers.collect::<Vec<_>>();
        let mut responses = 0;
        for caller in callers {
            let answered = tokio::time::timeout(2 * TIMEOUT, caller).await;
            responses += answered.unwrap().unwrap();
        }
        changes.join().unwrap();
        assert_eq!(fixture.server.requests(), responses);
        if alpn == b"http/1.1" {
            // hyper-util's pool drops a connection that it has offered to a request which takes
            // another one at the same moment: seldom, and not once for each change.
            assert!(fixture.server.ended_in_use() <= CALLERS);
        } else {
            // Until there is a connection to share, each caller may open its own.
            assert!(fixture.server.connections() <= CALLERS);
        }
    }
}

/// Sends requests until the changes are done; none may fail, and pins may end no connection. Returns
/// the number of responses.
async fn call_until_done(mut client: NotePins<HyperClient>, progress: Arc<Progress>) -> usize {
    let (mut responses, mut last) = (0, None::<VerifiedConnection>);
    while !progress.is_done() || responses == 0 {
        let request = http::Request::get("https://example.com/");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = client.call(request).await.unwrap();
        let connection = response.extensions().get::<VerifiedConnection>().unwrap();
        for used in last.iter().chain([connection]) {
            assert!(used.ended_by().is_none());
        }
        last = Some(connection.clone());
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "ok");
        responses += 1;
        progress.step();
    }
    responses
}

/// hyper never answers a request that it receives at the moment in which the connection ends
/// (hyper#4122), so the pins must end no connection that the pool still gives to requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_hangs_while_pins_end_its_connections() {
    let divisor = if is_full() { 1 } else { 100 };
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let fixture = fixture(alpn).await;
        soak(&fixture, [SOAK_CHANGES / divisor, 2, 3]).await;
        let connections = fixture.server.connections();
        assert!(connections > CALLERS, "no connection was ended");
    }
}

/// A million requests while the pins change ten thousand times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pins_hold_and_memory_stays_bounded_under_many_requests() {
    let divisor = if is_full() { 1 } else { 100 };
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let fixture = fixture(alpn).await;
        // The first requests fill pools and buffers.
        soak(&fixture, [100, 2, 50]).await;
        let before = resident_bytes();
        let counts = soak(&fixture, [5_000 / divisor, 2, 200]).await;
        let grown = resident_bytes().saturating_sub(before);
        println!("{counts:?}, {grown} bytes more in memory");
        assert!(counts.values().sum::<u64>() >= 500_000 / divisor);
        assert!(grown < 32 << 20, "{grown} bytes more in memory");
    }
}

fn is_full() -> bool {
    std::env::var_os("PINHOLD_FULL").is_some()
}

/// The memory of this process, on Linux only.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1);
    pages.map_or(0, |pages| pages.parse::<usize>().unwrap() * 4096)
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ended {
    Answered,
    Refused,
    /// hyper-util gave it up, because it waited for the HTTP/2 connection of another request, and
    /// the pins refused or closed that one.
    GivenUp,
}

type Counts = HashMap<Ended, u64>;

/// Sends requests from several callers while the pins alternately match and refuse the server: so
/// many changes, with so many requests after each interval of changes. None may hang.
async fn soak(fixture: &Fixture, [changes, interval, requests]: [u64; 3]) -> Counts {
    let policies = [
        policy_with(fixture.leaf.pin()),
        policy_with(unrelated_pin()),
    ];
    let progress = Arc::new(Progress::default());
    let client = Client::builder(TokioExecutor::new()).build(fixture.connector.clone());
    let client = NotePinsLayer::new(fixture.pinning.clone()).layer(client);
    let pace = Pace {
        changes,
        interval,
        requests,
    };
    let changes = pace.replace(fixture.pinning.clone(), policies, progress.clone());
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, progress) = (client.clone(), progress.clone());
        callers.spawn(async move {
            let mut counts = Counts::new();
            while !progress.is_done() {
                *counts
                    .entry(call(client.clone(), &progress).await)
                    .or_default() += 1;
                progress.step();
            }
            counts
        });
    }
    let mut all = Counts::new();
    while let Some(caller) = callers.join_next().await {
        // The other threads end, too, if a caller has panicked.
        progress.done.store(true, Ordering::SeqCst);
        for (ended, count) in caller.unwrap() {
            *all.entry(ended).or_default() += count;
        }
    }
    changes.join().unwrap();
    let given_up = all.get(&Ended::GivenUp).copied().unwrap_or_default();
    assert!(given_up * 100 <= all.values().sum(), "{all:?}");
    all
}

/// Sends a request, which must end in bounded time: answered only if the pins allow it.
async fn call(mut client: NotePins<HyperClient>, progress: &Progress) -> Ended {
    let request = http::Request::get("https://example.com/");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let before = progress.sequence.load(Ordering::SeqCst);
    let exchange = async {
        let response = client.call(request).await.map_err(BoxError::from)?;
        response.into_body().collect().await.map_err(BoxError::from)
    };
    let outcome = tokio::time::timeout(TIMEOUT, exchange).await;
    let after = progress.sequence.load(Ordering::SeqCst);
    let Err(error) = outcome.expect("a request was never answered") else {
        assert!(before != after || !refuses(before), "{before}");
        return Ended::Answered;
    };
    let of_client = error.downcast_ref::<hyper_util::client::legacy::Error>();
    if PinViolation::find(&*error).is_some() {
        Ended::Refused
    } else if of_client.is_some_and(hyper_util::client::legacy::Error::is_connect) {
        Ended::GivenUp
    } else {
        // The body of an HTTP/2 response fails with text only.
        assert!(before != after, "{error:?}");
        Ended::Refused
    }
}
