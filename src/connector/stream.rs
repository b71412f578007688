//! [`PinnedStream`]: one connection, which transfers no bytes once current pins reject its chain.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_timer::Delay;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{ServerName, UnixTime};
use tokio_rustls::client::TlsStream;

use crate::connector::error::ConnectError;
use crate::pinning::{Decision, Event, Pinning};
use crate::policy::{Host, PlainHttp};
use crate::store::{GenerationWatch, Validity, contain};
use crate::tls::VerifiedConnection;
use crate::tls::connection::EndedBy;
use crate::violation::UnpinnedHost;

/// A connection of [`PinningConnector`](crate::PinningConnector): TLS, or plain text where allowed.
///
/// Before each read and write the current pins are checked, which costs one comparison while they
/// have not changed. Once they reject the connection's chain, both fail with the
/// [`PinViolation`](crate::PinViolation): no byte is accepted for a chain that fails the pins.
/// Flush and shutdown accept none. If [`NotePins`](crate::layer::NotePins) has made the pool of a
/// hyper-util client discard the connection, they fail 250 ms later. A plain connection fails with
/// [`ConnectError::PlainHttp`](crate::connector::ConnectError::PlainHttp) once its host is pinned.
/// Where unpinned hosts are refused, a connection fails with
/// [`ConnectError::Unpinned`](crate::connector::ConnectError::Unpinned) once its host is unpinned. A
/// connection that failed so stays closed, even if the pins change again.
///
/// ```
/// use pinhold::connector::PinnedStream;
///
/// fn is_resumed<T>(stream: &PinnedStream<T>) -> bool {
///     stream.verified().is_some_and(|connection| connection.is_resumed())
/// }
/// # let _ = is_resumed::<()>;
/// ```
pub struct PinnedStream<T> {
    stream: Stream<T>,
    check: Option<PinCheck>,
}

enum Stream<T> {
    Plain(T),
    Tls(Box<TokioIo<TlsStream<TokioIo<T>>>>),
}

/// The pins that a connection depends on, and how long its last check is valid.
struct PinCheck {
    pinning: Pinning,
    subject: Subject,
    validity: Validity,
    watch: GenerationWatch,
    /// Set once the pins reject a connection that its pool has discarded.
    grace: Option<Grace>,
}

/// The time that a refused connection stays open, for the task that reads and the one that writes.
struct Grace {
    reading: Delay,
    writing: Delay,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// What is checked. A refusal is final, even if the pins change again.
enum Subject {
    /// A plain connection: whether its host is pinned, since pins can't be checked without TLS, or
    /// refused because it is unpinned.
    Plain(PlainTarget),
    /// A plain connection that was refused.
    RefusedPlain(PlainRefusal),
    /// The chain of a TLS connection, and the port for events.
    Tls(VerifiedConnection, u16),
}

/// The server of a plain connection.
#[derive(Clone)]
pub(crate) struct PlainTarget {
    pub(crate) name: ServerName<'static>,
    /// `None` for an IP address.
    pub(crate) host: Option<Host>,
    /// For policies without a setting of their own.
    pub(crate) default: PlainHttp,
}

/// Why a plain connection is refused.
#[derive(Clone)]
pub(crate) enum PlainRefusal {
    #[cfg(feature = "hsts")]
    Hsts(Host),
    Pinned(Host),
    Unpinned(UnpinnedHost),
}

impl PlainTarget {
    /// Returns whether plain connections are allowed now, and for how long that is valid; with the
    /// host, if it is unpinned and that is to be reported.
    pub(crate) fn admit(
        &self,
        pinning: &Pinning,
        now: UnixTime,
    ) -> Result<(Option<UnpinnedHost>, Validity), PlainRefusal> {
        let host = self.host.as_ref();
        let validity = pinning.validity(host, now);
        // 6797-8.3-a: also a connection that is open when the host becomes known.
        #[cfg(feature = "hsts")]
        if let Some(host) = host.filter(|host| pinning.is_hsts_host(host, now)) {
            return Err(PlainRefusal::Hsts(host.clone()));
        }
        let policies = pinning.lookup_name(&self.name, host, now);
        if let Some(unpinned) = policies.refused_as_unpinned() {
            pinning.emit(Event::Unpinned(unpinned.clone()));
            return Err(PlainRefusal::Unpinned(unpinned.clone()));
        }
        match host {
            Some(host) if policies.refuses_plain_http(self.default) => {
                Err(PlainRefusal::Pinned(host.clone()))
            }
            _ => Ok((policies.unpinned, validity)),
        }
    }
}

impl From<PlainRefusal> for ConnectError {
    fn from(refusal: PlainRefusal) -> Self {
        match refusal {
            #[cfg(feature = "hsts")]
            PlainRefusal::Hsts(host) => Self::HstsHost { host },
            PlainRefusal::Pinned(host) => Self::PlainHttp { host },
            PlainRefusal::Unpinned(unpinned) => Self::Unpinned(unpinned),
        }
    }
}

impl PinCheck {
    fn new(pinning: Pinning, subject: Subject, validity: Validity) -> Self {
        Self {
            watch: GenerationWatch::new(pinning.generation()),
            pinning,
            subject,
            validity,
            grace: None,
        }
    }

    /// Returns whether the last evaluation is valid at the current time.
    #[inline]
    fn is_valid(&self) -> bool {
        let generation = self.watch.number();
        self.validity.holds(generation, self.pinning.clock())
    }

    /// Fails if the current pins reject the connection, once a pool does not use it any more.
    #[cold]
    fn poll_evaluated(
        &mut self,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let result = self.evaluate();
        self.validity = *result.as_ref().unwrap_or(&Validity::NEVER);
        match result {
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) => self.poll_refused(error, direction, cx).map(Err),
        }
    }

    /// Waits, after a refusal, until no request can be on its way from the pool to the connection:
    /// hyper never answers a request that it receives at the moment in which the connection ends
    /// (hyper#4122). Where the pool can't be made to discard it, the connection ends at once.
    fn poll_refused(
        &mut self,
        error: io::Error,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Error> {
        // Only a refusal is final. A clock that is unknown for a moment must not lose bytes.
        if let Subject::Tls(verified, _) = &self.subject
            && verified.refused_by().is_some()
            && (self.grace.is_some() || verified.poison())
        {
            let grace = self.grace.get_or_insert_with(|| Grace {
                reading: Delay::new(GRACE),
                writing: Delay::new(GRACE),
            });
            let delay = match direction {
                Direction::Read => &mut grace.reading,
                Direction::Write => &mut grace.writing,
            };
            // It panics where no thread can be started for timers.
            ready!(contain(|| Pin::new(delay).poll(cx)).unwrap_or(Poll::Ready(())));
        }
        Poll::Ready(error)
    }

    fn evaluate(&mut self) -> io::Result<Validity> {
        let Some(now) = self.pinning.clock().current_time() else {
            return Err(io::Error::other(rustls::Error::FailedToGetCurrentTime));
        };
        let refusal = match &self.subject {
            Subject::Plain(target) => match target.admit(&self.pinning, now) {
                Ok((_, validity)) => return Ok(validity),
                Err(refusal) => refusal,
            },
            Subject::RefusedPlain(refusal) => refusal.clone(),
            Subject::Tls(verified, port) => return self.evaluate_tls(verified, *port, now),
        };
        self.subject = Subject::RefusedPlain(refusal.clone());
        Err(io::Error::other(ConnectError::from(refusal)))
    }

    fn evaluate_tls(
        &self,
        verified: &VerifiedConnection,
        port: u16,
        now: UnixTime,
    ) -> io::Result<Validity> {
        if let Some(refusal) = verified.refused_by() {
            return Err(error_of(refusal.clone()));
        }
        let (evaluation, validity) = self.pinning.evaluate_connection(verified.chain(), now);
        let refusal = if let Some(unpinned) = evaluation.refused_as_unpinned() {
            self.pinning.emit(Event::Unpinned(unpinned.clone()));
            EndedBy::Unpinned(unpinned.clone())
        } else if let Decision::Refuse(violation) = evaluation.decision() {
            self.pinning.emit_violation(&violation, Some(port));
            EndedBy::Pins(violation)
        } else {
            return Ok(validity);
        };
        verified.end(refusal.clone());
        Err(error_of(refusal))
    }
}

fn error_of(refusal: EndedBy) -> io::Error {
    match refusal {
        EndedBy::Pins(violation) => io::Error::other(violation),
        EndedBy::Unpinned(unpinned) => io::Error::other(ConnectError::Unpinned(unpinned)),
    }
}

impl Drop for PinCheck {
    fn drop(&mut self) {
        if let Subject::Tls(verified, _) = &self.subject {
            verified.close();
        }
    }
}

impl<T> PinnedStream<T> {
    /// Returns a plain connection that is closed once it is no longer allowed.
    pub(crate) fn plain(
        transport: T,
        pinning: &Pinning,
        to: PlainTarget,
        validity: Validity,
    ) -> Self {
        Self {
            stream: Stream::Plain(transport),
            check: Some(PinCheck::new(pinning.clone(), Subject::Plain(to), validity)),
        }
    }

    /// Returns a TLS connection, whose evaluation is valid as long as `validity` says.
    pub(crate) fn tls(
        stream: TlsStream<TokioIo<T>>,
        pinning: Pinning,
        verified: VerifiedConnection,
        port: u16,
        validity: Validity,
    ) -> Self {
        Self {
            stream: Stream::Tls(Box::new(TokioIo::new(stream))),
            check: Some(PinCheck::new(
                pinning,
                Subject::Tls(verified, port),
                validity,
            )),
        }
    }

    /// Fails if the pins reject the connection, once a pool does not use it any more.
    #[inline]
    fn poll_valid(&mut self, direction: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.check {
            Some(check) if !check.is_valid() => check.poll_evaluated(direction, cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Returns the facts of the TLS connection; `None` for a plain one.
    #[must_use]
    pub fn verified(&self) -> Option<&VerifiedConnection> {
        match &self.check.as_ref()?.subject {
            Subject::Plain(_) | Subject::RefusedPlain(_) => None,
            Subject::Tls(verified, _) => Some(verified),
        }
    }

    /// Returns the stream of the inner connector, for example to read the peer's address.
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
            // One value, since the pool clones the extras for every response.
            Some(verified) => connected.extra(verified.clone()),
            None => connected,
        }
    }
}

impl<T: Read + Write + Unpin> Read for PinnedStream<T> {
    // Otherwise each read makes two more calls than with hyper-rustls.
    #[inline(always)]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(check) = &mut self.check {
            // An idle connection is closed by the next change of pins, not when it is used next.
            check.watch.register(cx);
            // Whether time has passed is checked after the read, which may wait.
            if !check.validity.is_of(check.watch.number()) {
                ready!(check.poll_evaluated(Direction::Read, cx))?;
            }
        }
        ready!(match &mut self.stream {
            Stream::Plain(transport) => Pin::new(transport).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        // The clock is read after bytes have arrived, not while waiting for them.
        self.poll_valid(Direction::Read, cx)
    }
}

impl<T: Read + Write + Unpin> Write for PinnedStream<T> {
    #[inline]
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_valid(Direction::Write, cx))?;
        match &mut self.stream {
            Stream::Plain(transport) => Pin::new(transport).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(transport) => Pin::new(transport).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    #[inline]
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(transport) => Pin::new(transport).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(transport) => transport.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_valid(Direction::Write, cx))?;
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

/// How long a refused connection stays open after its pool has discarded it. A request that the pool
/// gave it before reaches it without waiting for anything, so that only a thread that the system
/// stops in between delays it: for a few scheduler periods, of 3 to 20 ms each.
const GRACE: Duration = Duration::from_millis(250);
