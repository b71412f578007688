//! A connection that the pins refuse and that its pool has discarded stays open for a moment, in
//! which it transfers nothing: a request may be on its way to it, and hyper never answers one that
//! reaches a connection at the moment in which it ends (hyper#4122).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioExecutor;
use pinhold::connector::PinnedStream;
use pinhold::{NotePinsLayer, PinViolation, PinningConnector};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tower::Service;
use tower_layer::Layer;

use super::{BOTH, fetch, fixture};
use crate::common::server::Loopback;
use crate::common::{TIMEOUT, policy_with, unrelated_pin};

/// What a call of a stream returned.
#[derive(Debug)]
enum Outcome {
    Waits,
    /// Bytes were read, or accepted for writing.
    Transfers,
    Fails(io::Error),
}

impl Outcome {
    fn of<T>(result: Poll<io::Result<T>>) -> (Self, Poll<io::Result<T>>) {
        match result {
            Poll::Pending => (Self::Waits, Poll::Pending),
            Poll::Ready(Ok(value)) => (Self::Transfers, Poll::Ready(Ok(value))),
            Poll::Ready(Err(error)) => {
                let violation = PinViolation::find(&error);
                let copy = violation.map_or_else(|| io::Error::other("other"), io::Error::other);
                (Self::Fails(copy), Poll::Ready(Err(error)))
            }
        }
    }
}

/// A connection that sends the outcome of each read and write over a channel.
struct Watched {
    stream: PinnedStream<<Loopback as Service<http::Uri>>::Response>,
    outcomes: UnboundedSender<Outcome>,
}

impl Watched {
    fn watch<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let (outcome, result) = Outcome::of(result);
        let _ = self.outcomes.send(outcome);
        result
    }
}

impl Connection for Watched {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watch(read)
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[derive(Clone)]
struct Watching {
    connector: PinningConnector<Loopback>,
    outcomes: UnboundedSender<Outcome>,
}

impl Service<http::Uri> for Watching {
    type Response = Watched;
    type Error = <PinningConnector<Loopback> as Service<http::Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Watched, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let connecting = self.connector.call(uri);
        let outcomes = self.outcomes.clone();
        Box::pin(async move {
            let stream = connecting.await?;
            Ok(Watched { stream, outcomes })
        })
    }
}

async fn next(outcomes: &mut UnboundedReceiver<Outcome>) -> Outcome {
    let next = tokio::time::timeout(TIMEOUT, outcomes.recv()).await;
    next.unwrap().unwrap()
}

#[tokio::test]
async fn a_refused_connection_waits_without_a_transfer_and_then_fails() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let (sender, mut outcomes) = unbounded_channel();
        let pool = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(Watching {
            connector: fixture.connector.clone(),
            outcomes: sender,
        });
        let mut client = NotePinsLayer::new(fixture.pinning.clone()).layer(pool);
        fetch(&mut client).await.unwrap();
        // The connection becomes idle on this thread, which runs its task, too.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        while outcomes.try_recv().is_ok() {}

        fixture.pin_to(policy_with(unrelated_pin()));
        assert!(
            matches!(next(&mut outcomes).await, Outcome::Waits),
            "{http:?}"
        );
        let error = loop {
            match next(&mut outcomes).await {
                Outcome::Waits => {}
                Outcome::Transfers => panic!("{http:?}: bytes were transferred"),
                Outcome::Fails(error) => break error,
            }
        };
        assert!(PinViolation::find(&error).is_some(), "{http:?}: {error:?}");
        assert_eq!(fixture.server.requests(), 1, "{http:?}");
    }
}
