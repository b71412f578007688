//! The stream of a pooled connection by itself, without a client and the layer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::rt::{Read, ReadBuf, Write};
use hyper_util::rt::TokioIo;
use pinhold::connector::{ConnectError, PinnedStream};
use pinhold::policy::AfterExpiry;
use pinhold::{PinPolicy, PinViolation, PinningConnector};
use tower::ServiceExt;

use super::{Http, fixture};
use crate::common::server::{Loopback, Names, Server, full};
use crate::common::validated::built_in_anchors;
use crate::common::{NOW, TIMEOUT, at, policy_with, provider, unrelated_pin};

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
    // The connection stays closed if the pins match again, or are removed.
    fixture.pin_to(policy_with(fixture.leaf.pin()));
    assert!(PinViolation::find(&write(b"HTTP").await.unwrap_err()).is_some());
    let none = std::iter::empty::<(&str, PinPolicy)>();
    fixture.pinning.replace_pins(none).unwrap();
    assert!(PinViolation::find(&write(b"HTTP").await.unwrap_err()).is_some());
    // A flush succeeds: it sends bytes that were accepted while the pins matched.
    let flush = std::future::poll_fn(|cx| std::pin::Pin::new(&mut stream).poll_flush(cx)).await;
    flush.unwrap();
    let bufs = [io::IoSlice::new(b"HTTP")];
    let vectored =
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut stream).poll_write_vectored(cx, &bufs));
    assert!(PinViolation::find(&vectored.await.unwrap_err()).is_some());
}

/// Bytes that the server sent while the host was pinned would otherwise be read later.
#[tokio::test]
async fn a_refused_plain_connection_stays_refused_once_its_host_is_unpinned() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let fixture = fixture(Http::V1).await;
    let plain = Server::plain(|_| http::Response::new(full("ok"))).await;
    let names = Names::new([("example.com", &plain)]);
    let connector = PinningConnector::builder(fixture.pinning.clone())
        .with_anchors(built_in_anchors(&[&fixture.root]))
        .with_provider(provider());
    let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
    let uri = http::Uri::from_static("http://example.com/");
    let mut stream = TokioIo::new(connector.oneshot(uri).await.unwrap());
    let request = b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n";
    stream.write_all(request).await.unwrap();
    stream.read_u8().await.unwrap();
    fixture.pin_to(policy_with(unrelated_pin()));
    let is_refusal = |error: io::Error| {
        let error = error.get_ref().and_then(|error| error.downcast_ref());
        matches!(error, Some(ConnectError::PlainHttp { host }) if host.as_str() == "example.com")
    };
    assert!(is_refusal(stream.write_all(request).await.unwrap_err()));
    let none = std::iter::empty::<(&str, PinPolicy)>();
    fixture.pinning.replace_pins(none).unwrap();
    for _ in 0..2 {
        assert!(is_refusal(stream.write_all(request).await.unwrap_err()));
        assert!(is_refusal(stream.read_u8().await.unwrap_err()));
    }
    assert_eq!(plain.requests(), 1);
}

/// The connection is not used; the change of pins itself wakes the task that waits for a byte.
#[tokio::test]
async fn an_idle_read_fails_when_the_pins_change() {
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
    // A change that the chain satisfies wakes the task, which then continues to wait.
    fixture.pin_to(policy_with(fixture.leaf.pin()));
    fixture.pin_to(policy_with(unrelated_pin()));
    let reading = tokio::time::timeout(TIMEOUT, reading).await;
    let error = reading.unwrap().unwrap().unwrap_err();
    assert!(PinViolation::find(&error).is_some(), "{error:?}");
}

/// A panic in the waker of one task must not keep other connections open.
#[tokio::test]
async fn a_waker_that_panics_does_not_keep_others_from_being_woken() {
    struct PanickingWaker;
    impl Wake for PanickingWaker {
        fn wake(self: Arc<Self>) {
            panic!("expected by the test");
        }
    }
    let fixture = fixture(Http::V1).await;
    let panicking = Waker::from(Arc::new(PanickingWaker));
    let counter = Arc::new(CountingWaker::default());
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(fixture.connect().await);
    }
    // Nothing is awaited from here on, so that no other event wakes the tasks.
    for (number, stream) in streams.iter_mut().enumerate() {
        let waker = match number % 2 {
            0 => panicking.clone(),
            _ => Waker::from(Arc::clone(&counter)),
        };
        let (mut bytes, mut cx) = ([0; 1], Context::from_waker(&waker));
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = std::pin::Pin::new(stream).poll_read(&mut cx, buffer.unfilled());
        assert!(read.is_pending());
    }
    fixture.pin_to(policy_with(unrelated_pin()));
    assert_eq!(counter.0.load(Ordering::SeqCst), 4);
}

#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A static policy with `AfterExpiry::Refuse` becomes stricter when it expires. A policy with
/// `AfterExpiry::Unpin` becomes stricter when the clock is set back to before its expiry.
#[tokio::test]
async fn a_connection_is_closed_when_time_makes_its_policy_stricter() {
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

    let unrelated = policy_with(unrelated_pin()).expires(at(NOW + 10), AfterExpiry::Unpin);
    fixture.pin_to(unrelated);
    let mut stream = fixture.connect().await;
    write(&mut stream).await.unwrap();
    fixture.clock.set(NOW + 10);
    assert!(PinViolation::find(&write(&mut stream).await.unwrap_err()).is_some());
}

#[tokio::test]
async fn nothing_is_read_after_the_pins_have_expired() {
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
