//! Attack 5: pooled connections that are used after pins have changed, over HTTP/1.1 and HTTP/2.
//! The noting layer poisons them; without the layer, the stream itself closes them.

mod grace;
mod stream;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crate::common::pki::{Ca, Leaf};
use crate::common::server::{
    HyperClient, Loopback, Names, NeverRespond, Server, full, server_config,
};
use crate::common::tls::SwappableCertificate;
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{Clock, NOW, at, header_value, policy_with, provider, unrelated_pin};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::connector::{ConnectError, PinnedStream};
use pinhold::header::{HeaderSyntax, Noted, PinHeader};
use pinhold::layer::{NotePins, PinRetryLayer};
use pinhold::{
    Enforcement, Host, NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningConnector,
    PinningVerifier, VerifiedConnection,
};
use tokio::sync::Notify;
use tower::{Service, ServiceExt};
use tower_layer::Layer;

/// A server whose certificate can be swapped, and a connector for one version of HTTP.
struct Fixture {
    root: Ca,
    leaf: Leaf,
    swap: Arc<SwappableCertificate>,
    server: Server,
    clock: Arc<Clock>,
    pinning: Pinning,
    connector: PinningConnector<Loopback>,
    /// Lets a response body of `/slow` end after its first part.
    finish_body: Arc<Notify>,
    /// Notified when the first request for `/never`, which gets no response, has arrived.
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
    let finish_body = Arc::new(Notify::new());
    let wait = Arc::clone(&finish_body);
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
    let config = PinningVerifier::builder(pinning.clone())
        .with_anchors(built_in_anchors(&[&root]))
        .with_provider(provider())
        .client_config()
        .unwrap();
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    let connector = match http {
        Http::V1 => connector.http1_only(),
        Http::V2 => connector.http2_only(),
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
        finish_body,
        arrived,
    }
}

/// Returns a body of two parts, of which the second one is sent after the notification.
fn slow(finish: Arc<Notify>) -> http_body_util::combinators::BoxBody<Bytes, io::Error> {
    use hyper::body::Frame;
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    tokio::spawn(async move {
        let _ = sender.send(Bytes::from("ok")).await;
        finish.notified().await;
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
async fn attack_5_the_layer_retires_an_idle_connection_that_fails_new_pins() {
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
            "a request used the old connection"
        );
        // After the server's new key is pinned, the next request succeeds.
        let new = fixture.root.leaf(&["example.com"]);
        fixture.swap.set(&new);
        fixture.pin_to(policy_with(new.pin()));
        fetch(&mut client).await.unwrap();
    }
}

/// Without TLS there is no chain to check, so the connection is closed.
#[tokio::test]
async fn attack_5_a_plain_connection_is_closed_when_its_host_is_pinned() {
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

/// A header that arrived before the host's pins expired can be noted after a connection was checked
/// without them. The pins then apply to this connection, too.
#[tokio::test]
async fn pins_refreshed_by_a_late_header_close_a_connection_that_was_checked_without_them() {
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
async fn attack_5_the_stream_closes_an_idle_connection_that_fails_new_pins() {
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
            "a request used the old connection"
        );
    }
}

#[tokio::test]
async fn each_request_after_a_change_of_pins_uses_a_new_connection() {
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

/// On one thread no connection notices the change before the next request, and the pool repeats no
/// request here, so only poisoning has an effect.
#[tokio::test]
async fn the_layer_alone_keeps_the_next_request_off_the_old_connection() {
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
        fixture.finish_body.notify_one();
        // hyper's HTTP/2 turns the error of a body into text. The connection has the violation.
        let found = PinViolation::find(&error).is_some();
        assert_eq!(found, http == Http::V1, "{error:?}");
        let expected = unrelated_pin();
        let violation = connection.ended_by().unwrap();
        assert!(violation.policy().pins.iter().any(|pin| *pin == expected));
    }
}

/// Makes a request whose first attempt gets no response.
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

/// The server has received the request and has not responded. The retry layer repeats it if its
/// method is idempotent.
#[tokio::test]
async fn a_request_in_flight_fails_with_the_violation_or_is_repeated() {
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
                if repeats {
                    request_of(&mut repeating, method).await
                } else {
                    request_of(&mut plain, method).await
                }
            };
            let new = fixture.root.leaf(&["example.com"]);
            let change = async {
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

/// Only a connection that was in use when pins changed is a reason to repeat a request.
#[tokio::test]
async fn a_request_whose_handshake_is_refused_is_not_repeated() {
    let fixture = fixture(Http::V1).await;
    fixture.pin_to(policy_with(unrelated_pin()));
    let mut client = PinRetryLayer::new().layer(fixture.noting());
    assert!(is_violation(fetch(&mut client).await));
    assert_eq!(fixture.server.connections(), 1);
}
