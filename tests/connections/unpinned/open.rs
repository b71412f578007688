//! Open connections whose host is no longer pinned: TLS and plain text, pooled and idle.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pinhold::connector::{ConnectError, PinnedStream, PlainHttp};
use pinhold::policy::AfterExpiry;
use pinhold::{
    Enforcement, NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningConnector, UnpinnedHost,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

use super::{assert_one_refusal, connector, names};
use crate::common::pki::{Ca, Leaf};
use crate::common::recording::{Recorder, with_recorder};
use crate::common::rules::{counting, refusing_unpinned, remove_pins, strict};
use crate::common::server::{HyperClient, Loopback, Server, answer, get, server_config};
use crate::common::tls_setup::builder;
use crate::common::{Clock, NOW, at, policy_with, provider};

const HOST: &str = "example.com";
const HTTPS: &str = "https://example.com/";
const HTTP: &str = "http://example.com/";

struct Fixture {
    leaf: Leaf,
    server: Server,
    clock: Arc<Clock>,
    pinning: Pinning,
    recorder: Recorder,
    connector: PinningConnector<Loopback>,
}

/// A server for one version of HTTP, or for plain HTTP without one, whose host is pinned at first.
async fn fixture(alpn: Option<&str>) -> Fixture {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let server = match alpn {
        Some(alpn) => {
            let mut config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
            config.alpn_protocols = vec![alpn.into()];
            Server::with_config(config, answer(&[])).await
        }
        None => Server::plain(answer(&[])).await,
    };
    let names = names(&server, &[HOST, "127.0.0.1"]);
    let clock = Clock::new();
    let (pinning, recorder) = with_recorder(strict().time_provider(clock.clone()));
    let connector = connector(&pinning, &root).plain_http(PlainHttp::Allow);
    let fixture = Fixture {
        connector: connector.wrap_connector(Loopback::new(&names)).unwrap(),
        leaf,
        server,
        clock,
        pinning,
        recorder,
    };
    fixture.pin_to(fixture.policy());
    fixture
}

impl Fixture {
    fn policy(&self) -> PinPolicy {
        policy_with(self.leaf.pin())
    }

    fn pin_to(&self, policy: PinPolicy) {
        self.pinning.replace_pins([(HOST, policy)]).unwrap();
    }

    fn pool(&self) -> HyperClient {
        Client::builder(TokioExecutor::new()).build(self.connector.clone())
    }

    async fn connect(&self, uri: &'static str) -> TokioIo<PinnedStream<Inner>> {
        let uri = http::Uri::from_static(uri);
        let connected = self.connector.clone().oneshot(uri).await;
        TokioIo::new(connected.unwrap())
    }
}

type Inner = <Loopback as Service<http::Uri>>::Response;

async fn fetch(
    pool: &mut HyperClient,
    uri: &str,
) -> Result<Bytes, hyper_util::client::legacy::Error> {
    let request = http::Request::get(uri).body(Empty::new()).unwrap();
    let body = pool.call(request).await?.into_body();
    Ok(body.collect().await.unwrap().to_bytes())
}

#[track_caller]
fn assert_unpinned(error: &(dyn std::error::Error + 'static)) {
    let unpinned = UnpinnedHost::find(error).unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(unpinned.server_name().to_str(), HOST);
    assert!(PinViolation::find(error).is_none());
}

/// With the layer, and without it.
#[tokio::test]
async fn a_pooled_connection_is_not_used_once_its_host_is_unpinned() {
    for (alpn, uri) in [(Some("http/1.1"), HTTPS), (Some("h2"), HTTPS), (None, HTTP)] {
        let fixture = fixture(alpn).await;
        let mut noting = NotePinsLayer::new(fixture.pinning.clone()).layer(fixture.pool());
        let mut pool = fixture.pool();
        for _ in 0..2 {
            get(&mut noting, uri).await.unwrap();
            fetch(&mut pool, uri).await.unwrap();
        }
        assert_eq!(fixture.server.connections(), 2);
        let policy = fixture.policy();
        fixture.pin_to(policy.enforcement(Enforcement::ReportOnly));
        assert_unpinned(&get(&mut noting, uri).await.unwrap_err());
        assert_unpinned(&fetch(&mut pool, uri).await.unwrap_err());
        fixture.pin_to(fixture.policy());
        get(&mut noting, uri).await.unwrap();
        fetch(&mut pool, uri).await.unwrap();
        remove_pins(&fixture.pinning);
        assert_unpinned(&get(&mut noting, uri).await.unwrap_err());
        assert_unpinned(&fetch(&mut pool, uri).await.unwrap_err());
        assert_eq!(fixture.server.requests(), 6, "{alpn:?}");
    }
}

/// HTTP/2 turns the error of a connection into text.
#[tokio::test]
async fn a_request_in_flight_fails_with_the_unpinned_host() {
    for alpn in ["http/1.1", "h2"] {
        let root = Ca::root("Root");
        let leaf = root.leaf(&[HOST]);
        let mut config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
        config.alpn_protocols = vec![alpn.into()];
        let arrived = Arc::new(tokio::sync::Notify::new());
        let notify = Arc::clone(&arrived);
        let server = Server::with_config(config, move |_| {
            notify.notify_one();
            let response = http::Response::builder();
            let response = response.extension(crate::common::server::NeverRespond);
            response.body(crate::common::server::full("")).unwrap()
        })
        .await;
        let names = names(&server, &[HOST]);
        let pinning = strict().build().unwrap();
        let pins = || [(HOST, policy_with(leaf.pin()))];
        pinning.replace_pins(pins()).unwrap();
        let connector = connector(&pinning, &root).wrap_connector(Loopback::new(&names));
        let mut pool: HyperClient = Client::builder(TokioExecutor::new()).build(connector.unwrap());
        let waiting = tokio::spawn(async move { fetch(&mut pool, HTTPS).await });
        arrived.notified().await;
        remove_pins(&pinning);
        let error = tokio::time::timeout(crate::common::TIMEOUT, waiting).await;
        assert_unpinned(&error.unwrap().unwrap().unwrap_err());
    }
}

#[tokio::test]
async fn an_open_connection_fails_for_good_and_with_one_event_once_its_host_is_unpinned() {
    for (alpn, uri) in [(Some("http/1.1"), HTTPS), (None, HTTP)] {
        let fixture = fixture(alpn).await;
        let mut stream = fixture.connect(uri).await;
        let request = b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream.read_u8().await.unwrap();
        fixture.recorder.assert_no_event_or_report(&fixture.pinning);
        remove_pins(&fixture.pinning);
        assert_unpinned(&stream.read_u8().await.unwrap_err());
        // The bytes that the server has sent must not be read later.
        fixture.pin_to(fixture.policy());
        for _ in 0..2 {
            assert_unpinned(&stream.write_all(request).await.unwrap_err());
            assert_unpinned(&stream.read_u8().await.unwrap_err());
        }
        assert_one_refusal(&fixture.recorder, &fixture.pinning, HOST);
    }
}

#[tokio::test]
async fn an_open_connection_ends_when_the_policy_of_its_host_expires() {
    for (alpn, uri) in [(Some("http/1.1"), HTTPS), (None, HTTP)] {
        let fixture = fixture(alpn).await;
        for then in [
            AfterExpiry::Unpin,
            AfterExpiry::ReportOnly,
            AfterExpiry::Refuse,
        ] {
            fixture.clock.set(NOW);
            fixture.pin_to(fixture.policy().expires(at(NOW + 10), then));
            let mut stream = fixture.connect(uri).await;
            fixture.clock.set(NOW + 10);
            stream.write_all(b"GET ").await.unwrap();
            fixture.clock.set(NOW + 11);
            let written = stream.write_all(b"/").await;
            match (then, alpn) {
                (AfterExpiry::Refuse, Some(_)) => {
                    assert!(PinViolation::find(&written.unwrap_err()).is_some());
                }
                // The connector allows plain HTTP to pinned hosts, but this policy refuses everything.
                (AfterExpiry::Refuse, None) => {
                    let error = written.unwrap_err();
                    let error = error.get_ref().and_then(|error| error.downcast_ref());
                    assert!(matches!(error, Some(ConnectError::PlainHttp { .. })));
                }
                _ => assert_unpinned(&written.unwrap_err()),
            }
        }
    }
}

/// Connections to hosts without pins, also to addresses, were made before the rule came.
#[tokio::test]
async fn open_connections_end_when_a_pin_file_refuses_unpinned_hosts() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST, "127.0.0.1"]);
    let tls = Server::start(&leaf, &[]).await;
    let plain = Server::plain(answer(&[])).await;
    for (server, uri, host) in [
        (&tls, HTTPS, HOST),
        (&tls, "https://127.0.0.1/", "127.0.0.1"),
        (&plain, HTTP, HOST),
        (&plain, "http://127.0.0.1/", "127.0.0.1"),
    ] {
        for is_allowed in [false, true] {
            let builder = builder();
            let allowed = is_allowed.then_some([HOST, "127.0.0.1"]);
            let builder = builder.allow_unpinned(allowed.into_iter().flatten());
            let pinning = builder.build().unwrap();
            let names = names(server, &[HOST, "127.0.0.1"]);
            let (inner, calls) = counting(&names);
            let connector = connector(&pinning, &root).wrap_connector(inner).unwrap();
            let stream = connector.oneshot(http::Uri::from_static(uri)).await;
            let mut stream = TokioIo::new(stream.unwrap());
            stream.write_all(b"GET ").await.unwrap();
            pinning.replace_pins(refusing_unpinned()).unwrap();
            let written = stream.write_all(b"/").await;
            assert_eq!(written.is_ok(), is_allowed, "{uri}");
            if let Err(error) = written {
                let unpinned = UnpinnedHost::find(&error).unwrap();
                assert_eq!(unpinned.server_name().to_str(), host);
            }
            assert_eq!(calls.load(Ordering::SeqCst), 1);
        }
    }
}

/// The change itself wakes the task that waits for a byte.
#[tokio::test]
async fn an_idle_read_fails_when_the_host_is_unpinned() {
    for (alpn, uri) in [(Some("http/1.1"), HTTPS), (None, HTTP)] {
        let fixture = fixture(alpn).await;
        let mut stream = fixture.connect(uri).await;
        let (is_waiting, waits) = tokio::sync::oneshot::channel();
        let reading = tokio::spawn(async move {
            let read = stream.read_u8();
            tokio::pin!(read);
            assert!(futures_poll_once(read.as_mut()).await.is_none());
            is_waiting.send(()).unwrap();
            read.await
        });
        waits.await.unwrap();
        remove_pins(&fixture.pinning);
        let read = tokio::time::timeout(crate::common::TIMEOUT, reading).await;
        let error = read.unwrap().unwrap().unwrap_err();
        let wrapped = error.get_ref().and_then(|error| error.downcast_ref());
        assert!(matches!(wrapped, Some(ConnectError::Unpinned(_))));
    }
}

/// Polls a future once.
async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
