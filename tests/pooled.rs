//! Attack 5: connections of a pool that are used after the pins changed, HTTP/1.1 and HTTP/2; with
//! the noting layer, which poisons them, and without, where the stream stands alone.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use common::pki::{Ca, Leaf};
use common::server::{HyperClient, Loopback, Names, NeverRespond, Server, full, server_config};
use common::tls::SwappableCertificate;
use common::validated::{built_in_anchors, verified_chain};
use common::{Clock, NOW, TIMEOUT, at, header_value, policy_with, provider, unrelated_pin};
use http_body_util::{BodyExt, Empty};
use hyper::rt::{Read, ReadBuf, Write};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pinhold::connector::{ConnectError, PinnedStream};
use pinhold::header::{HeaderSyntax, Noted, PinHeader};
use pinhold::layer::{NotePins, PinRetryLayer};
use pinhold::policy::AfterExpiry;
use pinhold::{
    Enforcement, Host, NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningConnector,
    PinningVerifier, VerifiedConnection,
};
use tokio::sync::Notify;
use tower::{Service, ServiceExt};
use tower_layer::Layer;

/// A server whose certificate can be swapped, and a client that speaks one version of HTTP.
struct Fixture {
    root: Ca,
    leaf: Leaf,
    swap: Arc<SwappableCertificate>,
    server: Server,
    clock: Arc<Clock>,
    pinning: Pinning,
    connector: PinningConnector<Loopback>,
    /// Bodies of `/slow` begin, and end once this is notified.
    go_on: Arc<Notify>,
    /// The first request for `/never`, which gets no answer, has arrived.
    arrived: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Http {
    V1,
    V2,
}

async fn fixture(http: Http) -> Fixture {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let swap = SwappableCertificate::new(&leaf, provider());
    let mut config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
    config.cert_resolver = swap.clone();
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let arrived = Arc::new(Notify::new());
    let (has_arrived, is_first) = (Arc::clone(&arrived), AtomicBool::new(true));
    let server = Server::with_config(config, move |request| {
        let mut response = http::Response::new(match request.uri().path() {
            "/slow" => slow(Arc::clone(&wait)),
            _ => full("ok"),
        });
        if request.uri().path() == "/never" && is_first.swap(false, Ordering::SeqCst) {
            has_arrived.notify_one();
            response.extensions_mut().insert(NeverRespond);
        }
        response
    });
    let server = server.await;
    let clock = Clock::new();
    let pinning = Pinning::builder().time_provider(clock.clone());
    let pinning = pinning.build().unwrap();
    let names = Names::new([("example.com", &server)]);
    let config = PinningVerifier::builder(pinning.clone(), built_in_anchors(&[&root]))
        .with_provider(provider())
        .client_config()
        .unwrap();
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    let connector = match http {
        Http::V1 => connector.enable_http1(),
        Http::V2 => connector.enable_http2(),
    };
    let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
    Fixture {
        root,
        leaf,
        swap,
        server,
        clock,
        pinning,
        connector,
        go_on,
        arrived,
    }
}

/// Two letters now, two more once told.
fn slow(go_on: Arc<Notify>) -> http_body_util::combinators::BoxBody<Bytes, io::Error> {
    use hyper::body::Frame;
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    tokio::spawn(async move {
        let _ = sender.send(Bytes::from("ok")).await;
        go_on.notified().await;
        let _ = sender.send(Bytes::from("ok")).await;
    });
    let mut receiver = receiver;
    let frames = std::future::poll_fn(move |cx| receiver.poll_recv(cx));
    BodyExt::boxed(Frames(Box::pin(frames), Frame::data))
}

struct Frames<F>(F, fn(Bytes) -> hyper::body::Frame<Bytes>);

impl<F: Future<Output = Option<Bytes>> + Unpin> hyper::body::Body for Frames<F> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, io::Error>>> {
        let make = self.1;
        let frame = std::pin::Pin::new(&mut self.0).poll(cx);
        frame.map(|bytes| bytes.map(|bytes| Ok(make(bytes))))
    }
}

impl Fixture {
    fn pool(&self) -> HyperClient {
        Client::builder(TokioExecutor::new()).build(self.connector.clone())
    }

    fn noting(&self) -> NotePins<HyperClient> {
        NotePinsLayer::new(self.pinning.clone()).layer(self.pool())
    }

    fn pin_to(&self, policy: PinPolicy) {
        self.pinning
            .replace_pins([("example.com", policy)])
            .unwrap();
    }

    async fn connect(&self) -> PinnedStream<<Loopback as Service<http::Uri>>::Response> {
        let uri = http::Uri::from_static("https://example.com/");
        self.connector.clone().oneshot(uri).await.unwrap()
    }
}

type Error = hyper_util::client::legacy::Error;

async fn fetch<S>(client: &mut S) -> Result<(), Error>
where
    S: Service<
            http::Request<Empty<Bytes>>,
            Response = http::Response<hyper::body::Incoming>,
            Error = Error,
        >,
{
    let request = http::Request::get("https://example.com/")
        .body(Empty::new())
        .unwrap();
    let response = client.call(request).await?;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "ok");
    Ok(())
}

fn is_violation<T>(outcome: Result<T, Error>) -> bool {
    PinViolation::find(&outcome.err().unwrap()).is_some()
}

const BOTH: [Http; 2] = [Http::V1, Http::V2];

#[tokio::test]
async fn attack_5_an_idle_connection_with_the_layer() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let mut client = fixture.noting();
        fetch(&mut client).await.unwrap();
        fetch(&mut client).await.unwrap();
        assert_eq!(fixture.server.connections(), 1, "{http:?}");
        fixture.pin_to(policy_with(unrelated_pin()));
        assert!(is_violation(fetch(&mut client).await));
        assert_eq!(
            fixture.server.requests(),
            2,
            "nothing went over the old one"
        );
        // The counter-case: the server's new key is pinned, and the next request succeeds.
        let new = fixture.root.leaf(&["example.com"]);
        fixture.swap.set(&new);
        fixture.pin_to(policy_with(new.pin()));
        fetch(&mut client).await.unwrap();
    }
}

/// Without TLS there is no chain to judge, so such a connection ends once its host is pinned.
#[tokio::test]
async fn attack_5_a_plain_connection_to_a_host_that_is_pinned_later() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let plain = Server::plain(|_| http::Response::new(full("ok"))).await;
        let names = Names::new([("example.com", &plain)]);
        let connector = PinningConnector::builder(fixture.pinning.clone())
            .with_anchors(built_in_anchors(&[&fixture.root]))
            .with_provider(provider());
        let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
        let client = Client::builder(TokioExecutor::new())
            .http2_only(http == Http::V2)
            .build::<_, Empty<Bytes>>(connector);
        let visit = async || {
            let visit = client.get(http::Uri::from_static("http://example.com/"));
            let body = visit.await?.into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes(), "ok");
            Ok::<_, Error>(())
        };
        visit().await.unwrap();
        visit().await.unwrap();
        fixture.pin_to(policy_with(unrelated_pin()).enforcement(Enforcement::ReportOnly));
        visit().await.unwrap();
        assert_eq!(plain.connections(), 1, "{http:?}");
        fixture.pin_to(policy_with(unrelated_pin()));
        let refused = std::error::Error::source(&visit().await.unwrap_err())
            .and_then(|source| source.downcast_ref::<ConnectError>())
            .is_some_and(|error| matches!(error, ConnectError::PlainHttp { .. }));
        assert!(refused, "{http:?}");
        assert_eq!((plain.connections(), plain.requests()), (1, 3), "{http:?}");
    }
}

/// A header that came before the end of its host's pins, and is noted after a connection was
/// judged without them: pins that live again end it.
#[tokio::test]
async fn pins_that_are_refreshed_by_a_late_header_end_what_was_judged_without_them() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let host = Host::parse("example.com").unwrap();
        let genuine = verified_chain(
            &fixture.leaf,
            "example.com",
            &built_in_anchors(&[&fixture.root]),
        )
        .await;
        let header = header_value(fixture.leaf.pin(), "max-age=10");
        let header = PinHeader::parse(header.as_bytes(), HeaderSyntax::Rfc7469).unwrap();
        let note = |now| fixture.pinning.note(&host, &header, &genuine, at(now));
        assert_eq!(note(NOW), Noted::Added);
        fixture.clock.set(NOW + 11);
        fixture.swap.set(&fixture.root.leaf(&["example.com"]));
        let mut client = fixture.pool();
        fetch(&mut client).await.unwrap();
        assert_eq!(note(NOW + 10), Noted::Refreshed);
        assert!(is_violation(fetch(&mut client).await), "{http:?}");
        assert_eq!(fixture.server.requests(), 1, "{http:?}");
    }
}

#[tokio::test]
async fn attack_5_an_idle_connection_without_the_layer() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let mut client = fixture.pool();
        fetch(&mut client).await.unwrap();
        fetch(&mut client).await.unwrap();
        assert_eq!(fixture.server.connections(), 1, "{http:?}");
        fixture.pin_to(policy_with(unrelated_pin()));
        assert!(is_violation(fetch(&mut client).await));
        assert_eq!(
            fixture.server.requests(),
            2,
            "nothing went over the old one"
        );
    }
}

/// With the layer: it is a new connection that carries the next request, every time.
#[tokio::test]
async fn the_request_after_a_change_succeeds_every_time() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let mut client = fixture.noting();
        let mut leaf = fixture.root.leaf(&["example.com"]);
        for round in 0..200 {
            fixture.swap.set(&leaf);
            fixture.pin_to(policy_with(leaf.pin()));
            fetch(&mut client)
                .await
                .unwrap_or_else(|error| panic!("{round}: {error:?}"));
            fetch(&mut client).await.unwrap();
            leaf = fixture.root.leaf(&["example.com"]);
        }
        assert_eq!(fixture.server.connections(), 200);
    }
}

/// The poison by itself: on one thread no connection sees the change before the next request, and
/// the pool repeats nothing.
#[tokio::test]
async fn the_layer_keeps_the_next_request_from_the_old_connection() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let pool = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .build(fixture.connector.clone());
        let mut client = NotePinsLayer::new(fixture.pinning.clone()).layer(pool);
        for _ in 0..20 {
            fetch(&mut client).await.unwrap();
            let new = fixture.root.leaf(&["example.com"]);
            fixture.swap.set(&new);
            fixture.pin_to(policy_with(new.pin()));
            fetch(&mut client).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_connection_that_satisfies_the_new_pins_is_kept() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let mut client = fixture.noting();
        fetch(&mut client).await.unwrap();
        for pin in [fixture.leaf.pin(), fixture.root.pin()] {
            fixture.pin_to(policy_with(pin));
            fetch(&mut client).await.unwrap();
        }
        assert_eq!(fixture.server.connections(), 1, "{http:?}");
    }
}

#[tokio::test]
async fn a_response_in_flight_fails_with_the_violation() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let mut client = fixture.noting();
        let request = http::Request::get("https://example.com/slow")
            .body(Empty::new())
            .unwrap();
        let (parts, mut body) = client.call(request).await.unwrap().into_parts();
        let connection = parts.extensions.get::<VerifiedConnection>().unwrap();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "ok"
        );
        fixture.pin_to(policy_with(unrelated_pin()));
        let error = loop {
            match body.frame().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        fixture.go_on.notify_one();
        // HTTP/2 flattens it to text, and a body knows no connection: the response does.
        let found = PinViolation::find(&error).is_some();
        assert_eq!(found, http == Http::V1, "{error:?}");
        let expected = unrelated_pin();
        let violation = connection.ended_by().unwrap();
        assert!(violation.policy().pins.iter().any(|pin| *pin == expected));
    }
}

/// A request whose first response never comes.
async fn request_of<S>(client: &mut S, method: http::Method) -> Result<Bytes, BoxError>
where
    S: Service<
            http::Request<Empty<Bytes>>,
            Response = http::Response<hyper::body::Incoming>,
            Error = Error,
        >,
{
    let request = http::Request::builder()
        .method(method)
        .uri("https://example.com/never");
    let response = client.call(request.body(Empty::new()).unwrap()).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The server has the request and has not answered. It fails, and is repeated by the layer for
/// that, unless its method is not idempotent.
#[tokio::test]
async fn a_request_under_way_fails_with_the_violation_or_is_repeated() {
    for http in BOTH {
        for (repeats, method, succeeds) in [
            (false, http::Method::GET, false),
            (true, http::Method::POST, false),
            (true, http::Method::GET, true),
        ] {
            let fixture = fixture(http).await;
            let (mut plain, noting) = (fixture.noting(), fixture.noting());
            let mut repeating = PinRetryLayer::new().layer(noting);
            let request = async {
                match repeats {
                    true => request_of(&mut repeating, method).await,
                    false => request_of(&mut plain, method).await,
                }
            };
            let new = fixture.root.leaf(&["example.com"]);
            let change = async {
                // The server has it.
                fixture.arrived.notified().await;
                fixture.swap.set(&new);
                fixture.pin_to(policy_with(new.pin()));
            };
            let (outcome, ()) = tokio::join!(request, change);
            match outcome {
                Ok(body) => assert!(succeeds && body == "ok", "{http:?}"),
                Err(error) => {
                    assert!(!succeeds, "{http:?}: {error:?}");
                    assert!(PinViolation::find(&*error).is_some(), "{http:?}: {error:?}");
                }
            }
        }
    }
}

/// A refused handshake is no matter of an old connection.
#[tokio::test]
async fn a_request_that_a_new_connection_refuses_is_not_repeated() {
    let fixture = fixture(Http::V1).await;
    fixture.pin_to(policy_with(unrelated_pin()));
    let mut client = PinRetryLayer::new().layer(fixture.noting());
    assert!(is_violation(fetch(&mut client).await));
    assert_eq!(fixture.server.connections(), 1);
}

// The stream by itself.

#[tokio::test]
async fn no_byte_is_accepted_once_the_pins_fail() {
    let fixture = fixture(Http::V1).await;
    let mut stream = fixture.connect().await;
    let mut write = async |bytes: &[u8]| {
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut stream).poll_write(cx, bytes)).await
    };
    assert_eq!(write(b"GET").await.unwrap(), 3);
    fixture.pin_to(policy_with(fixture.leaf.pin()));
    assert_eq!(write(b" / ").await.unwrap(), 3);
    fixture.pin_to(policy_with(unrelated_pin()));
    for _ in 0..3 {
        let error = write(b"HTTP").await.unwrap_err();
        assert!(PinViolation::find(&error).is_some(), "{error:?}");
    }
    // It has ended for good.
    fixture.pin_to(policy_with(fixture.leaf.pin()));
    write(b"HTTP").await.unwrap_err();
    // A flush takes nothing: it is for bytes that were taken while the pins held.
    let flush = std::future::poll_fn(|cx| std::pin::Pin::new(&mut stream).poll_flush(cx)).await;
    flush.unwrap();
    let bufs = [io::IoSlice::new(b"HTTP")];
    let vectored =
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut stream).poll_write_vectored(cx, &bufs));
    assert!(PinViolation::find(&vectored.await.unwrap_err()).is_some());
}

/// Nobody touches the connection; the change itself wakes the task that waits for a byte.
#[tokio::test]
async fn an_idle_read_ends_when_the_pins_change() {
    let fixture = fixture(Http::V1).await;
    let mut stream = fixture.connect().await;
    let (waiting, waits) = tokio::sync::oneshot::channel();
    let mut waiting = Some(waiting);
    let reading = tokio::spawn(async move {
        let mut bytes = [0; 1];
        std::future::poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = std::pin::Pin::new(&mut stream).poll_read(cx, buffer.unfilled());
            if let (Poll::Pending, Some(waiting)) = (&read, waiting.take()) {
                waiting.send(()).unwrap();
            }
            read
        })
        .await
    });
    waits.await.unwrap();
    // A change that the chain satisfies wakes it, and it goes on waiting.
    fixture.pin_to(policy_with(fixture.leaf.pin()));
    fixture.pin_to(policy_with(unrelated_pin()));
    let reading = tokio::time::timeout(TIMEOUT, reading).await;
    let error = reading.unwrap().unwrap().unwrap_err();
    assert!(PinViolation::find(&error).is_some(), "{error:?}");
}

/// One task that is gone in a bad way keeps no other connection from its end.
#[tokio::test]
async fn a_waker_that_panics_does_not_keep_the_others_asleep() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("as the test wants");
        }
    }
    let fixture = fixture(Http::V1).await;
    let panics = Waker::from(Arc::new(Panics));
    let counts = Arc::new(Counts::default());
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(fixture.connect().await);
    }
    // Nothing is awaited from here on, so that no other event wakes them.
    for (number, stream) in streams.iter_mut().enumerate() {
        let waker = match number % 2 {
            0 => panics.clone(),
            _ => Waker::from(Arc::clone(&counts)),
        };
        let (mut bytes, mut cx) = ([0; 1], Context::from_waker(&waker));
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = std::pin::Pin::new(stream).poll_read(&mut cx, buffer.unfilled());
        assert!(read.is_pending());
    }
    fixture.pin_to(policy_with(unrelated_pin()));
    assert_eq!(counts.0.load(Ordering::SeqCst), 4);
}

#[derive(Default)]
struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A static policy that expires with "refuse": time alone makes it stricter. So does a clock that
/// goes back before the end of one.
#[tokio::test]
async fn time_alone_can_end_a_connection() {
    let fixture = fixture(Http::V1).await;
    let policy = || policy_with(fixture.leaf.pin());
    let refuses = policy().expires(at(NOW + 10), AfterExpiry::Refuse);
    fixture.pin_to(refuses);
    let write = async |stream: &mut PinnedStream<_>| {
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut *stream).poll_write(cx, b"GET")).await
    };
    let mut stream = fixture.connect().await;
    fixture.clock.set(NOW + 10);
    write(&mut stream).await.unwrap();
    fixture.clock.set(NOW + 11);
    assert!(PinViolation::find(&write(&mut stream).await.unwrap_err()).is_some());
    fixture.clock.set(NOW + 10);
    write(&mut stream).await.unwrap_err();
    fixture.clock.set(NOW + 11);

    let foreign = policy_with(unrelated_pin()).expires(at(NOW + 10), AfterExpiry::Unpin);
    fixture.pin_to(foreign);
    let mut stream = fixture.connect().await;
    write(&mut stream).await.unwrap();
    fixture.clock.set(NOW + 10);
    assert!(PinViolation::find(&write(&mut stream).await.unwrap_err()).is_some());
}

#[tokio::test]
async fn time_alone_keeps_bytes_from_being_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let fixture = fixture(Http::V1).await;
    let policy = policy_with(fixture.leaf.pin()).expires(at(NOW + 10), AfterExpiry::Refuse);
    fixture.pin_to(policy);
    let mut stream = TokioIo::new(fixture.connect().await);
    let request = b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n";
    stream.write_all(request).await.unwrap();
    fixture.clock.set(NOW + 11);
    let error = stream.read_u8().await.unwrap_err();
    assert!(PinViolation::find(&error).is_some(), "{error:?}");
}
