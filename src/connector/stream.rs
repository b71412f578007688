//! One connection in, its bytes out for as long as the pins hold: [`PinnedStream`].

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::UnixTime;
use tokio_rustls::client::TlsStream;

use crate::connector::error::ConnectError;
use crate::pinning::{Decision, Pinning};
use crate::policy::Host;
use crate::store::{GenerationWatch, Validity};
use crate::tls::VerifiedConnection;

/// A connection of [`PinningConnector`](crate::PinningConnector): TLS, or plain where allowed.
///
/// Before each read and write the pins of the moment are asked, at the cost of a comparison while
/// they have not changed. Once they refuse the connection's chain, both fail with the
/// [`PinViolation`](crate::PinViolation): no byte is taken for a chain that fails the pins. A flush
/// or a shutdown takes none. A plain connection fails with
/// [`ConnectError::PlainHttp`](crate::connector::ConnectError::PlainHttp) once its host is pinned.
pub struct PinnedStream<T> {
    stream: Stream<T>,
    held: Option<Held>,
}

enum Stream<T> {
    Plain(T),
    Tls(Box<TokioIo<TlsStream<TokioIo<T>>>>),
}

/// What a connection was judged by.
struct Held {
    pinning: Pinning,
    subject: Subject,
    validity: Validity,
    watch: GenerationWatch,
}

/// What is judged.
enum Subject {
    /// Whether the host has pins: they can't be checked without TLS.
    Plain(Host),
    /// The chain; and which port it is told with.
    Tls(VerifiedConnection, u16),
}

/// A host without pins, and for how long it has none unless they change.
pub(crate) struct Plain {
    pub(crate) host: Host,
    pub(crate) validity: Validity,
}

impl Held {
    /// Fails once the pins refuse the connection: in this generation, at this time.
    #[inline]
    fn hold(&mut self) -> io::Result<()> {
        if self
            .validity
            .holds(self.watch.number(), self.pinning.clock())
        {
            Ok(())
        } else {
            self.judge()
        }
    }

    /// The same, but for what time alone may have changed.
    #[inline]
    fn hold_generation(&mut self) -> io::Result<()> {
        if self.validity.is_of(self.watch.number()) {
            Ok(())
        } else {
            self.judge()
        }
    }

    #[cold]
    fn judge(&mut self) -> io::Result<()> {
        let Some(now) = self.pinning.clock().current_time() else {
            return Err(io::Error::other(rustls::Error::FailedToGetCurrentTime));
        };
        let judged = match &self.subject {
            Subject::Plain(host) => self.judge_plain(host, now),
            Subject::Tls(verified, port) => self.judge_tls(verified, *port, now),
        };
        // Once refused for good, whatever the pins become.
        self.validity = *judged.as_ref().unwrap_or(&Validity::NEVER);
        judged.map(drop)
    }

    fn judge_plain(&self, host: &Host, now: UnixTime) -> io::Result<Validity> {
        match self.pinning.is_pinned(host, now) {
            (false, validity) => Ok(validity),
            (true, _) => Err(io::Error::other(ConnectError::PlainHttp {
                host: host.clone(),
            })),
        }
    }

    fn judge_tls(
        &self,
        verified: &VerifiedConnection,
        port: u16,
        now: UnixTime,
    ) -> io::Result<Validity> {
        if let Some(violation) = verified.ended_by() {
            return Err(io::Error::other(violation.clone()));
        }
        let (decision, validity) = self.pinning.check_for(verified.chain(), now);
        if let Decision::Refuse(violation) = decision {
            verified.end(violation.clone());
            self.pinning.emit_violation(&violation, Some(port));
            return Err(io::Error::other(violation));
        }
        Ok(validity)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Subject::Tls(verified, _) = &self.subject {
            verified.close();
        }
    }
}

impl<T> PinnedStream<T> {
    /// A plain one that pins can't end.
    pub(crate) fn unpinned(transport: T) -> Self {
        Self {
            stream: Stream::Plain(transport),
            held: None,
        }
    }

    /// A plain one for as long as its host has no pins.
    pub(crate) fn plain(transport: T, pinning: &Pinning, plain: Plain) -> Self {
        Self {
            stream: Stream::Plain(transport),
            held: Some(Held {
                watch: GenerationWatch::new(pinning.generation()),
                pinning: pinning.clone(),
                subject: Subject::Plain(plain.host),
                validity: plain.validity,
            }),
        }
    }

    /// A connection whose chain passes for as long as the judgement stands.
    pub(crate) fn tls(
        stream: TlsStream<TokioIo<T>>,
        pinning: Pinning,
        (verified, port): (VerifiedConnection, u16),
        validity: Validity,
    ) -> Self {
        Self {
            stream: Stream::Tls(Box::new(TokioIo::new(stream))),
            held: Some(Held {
                watch: GenerationWatch::new(pinning.generation()),
                pinning,
                subject: Subject::Tls(verified, port),
                validity,
            }),
        }
    }

    #[inline]
    fn hold(&mut self) -> io::Result<()> {
        match &mut self.held {
            Some(held) => held.hold(),
            None => Ok(()),
        }
    }

    /// What is known of the TLS connection; `None` for a plain one.
    #[must_use]
    pub fn verified(&self) -> Option<&VerifiedConnection> {
        match &self.held.as_ref()?.subject {
            Subject::Plain(_) => None,
            Subject::Tls(verified, _) => Some(verified),
        }
    }

    /// What the inner connector made, say to ask for the peer's address.
    #[must_use]
    pub fn transport(&self) -> &T {
        match &self.stream {
            Stream::Plain(transport) => transport,
            Stream::Tls(stream) => stream.inner().get_ref().0.inner(),
        }
    }
}

impl<T: Connection + Read + Write + Unpin> Connection for PinnedStream<T> {
    fn connected(&self) -> Connected {
        let (connected, h2) = match &self.stream {
            Stream::Plain(transport) => (transport.connected(), false),
            Stream::Tls(stream) => {
                let (transport, session) = stream.inner().get_ref();
                let h2 = session.alpn_protocol() == Some(b"h2");
                (transport.inner().connected(), h2)
            }
        };
        let connected = if h2 {
            connected.negotiated_h2()
        } else {
            connected
        };
        match self.verified() {
            // One, since the pool clones them for every response.
            Some(verified) => connected.extra(verified.clone()),
            None => connected,
        }
    }
}

impl<T: Read + Write + Unpin> Read for PinnedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(held) = &mut self.held {
            // An idle connection ends when the pins change, not when it is used next.
            held.watch.wake_me(cx);
            held.hold_generation()?;
        }
        ready!(match &mut self.stream {
            Stream::Plain(transport) => Pin::new(transport).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        // The clock is read for bytes, not for waiting.
        Poll::Ready(self.hold())
    }
}

impl<T: Read + Write + Unpin> Write for PinnedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.hold()?;
        match &mut self.stream {
            Stream::Plain(transport) => Pin::new(transport).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(transport) => Pin::new(transport).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(transport) => Pin::new(transport).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(transport) => transport.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.hold()?;
        match &mut self.stream {
            Stream::Plain(transport) => Pin::new(transport).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}

impl<T> fmt::Debug for PinnedStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedStream")
            .field("verified", &self.verified())
            .finish_non_exhaustive()
    }
}
