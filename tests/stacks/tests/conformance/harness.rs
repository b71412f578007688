//! The interface of a network stack to the test cases, and the client and the server of a case.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pinhold::{Event, PinPolicy, PinViolation, Pinning, TrustAnchors};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::common::pki::{Ca, Leaf};
use crate::common::tls;
use crate::common::{Clock, TIMEOUT, provider};
use crate::server::{Names, server_config};

pub type BoxError = Box<dyn Error + Send + Sync>;
pub type Outcome = Result<(), BoxError>;
pub type Versions = &'static [&'static SupportedProtocolVersion];

/// A client of a network stack, and a server that speaks its protocol.
pub trait Stack: Sized + Send + Sync + 'static {
    const VERSIONS: &'static [Versions] = &tls::VERSIONS;
    const REFUSAL: Refusal = Refusal::InTheError;
    const OPEN_CONNECTION: OpenConnection;

    fn serve(config: ServerConfig) -> impl Future<Output = RunningServer> + Send;

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self;

    /// Sends a request over a new connection, which may resume the session of an earlier one.
    fn request_on_new_connection(&self, host: &str) -> impl Future<Output = Outcome> + Send;

    /// Sends a request, makes the change, and sends another request by a client that keeps its
    /// connection open. The first request must succeed.
    fn request_before_and_after(
        &self,
        host: &str,
        change: impl FnOnce() + Send,
    ) -> impl Future<Output = Outcome> + Send;
}

/// Where an application finds a violation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    /// By `PinViolation::find` in the error, and in the events of an observer.
    InTheError,
    /// Only in the events of an observer, because the stack turns errors into text.
    InEventsOnly,
}

/// What happens to an open connection when new pins reject its chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OpenConnection {
    /// It is closed, or not used again, and the next request fails with the violation.
    Closed,
    /// It is closed. A request in progress may fail with the text that HTTP/2 makes of the
    /// violation; a later request fails because the new connection is refused.
    ClosedWithText,
    StaysOpen,
}

/// A running server.
pub struct RunningServer {
    pub address: SocketAddr,
    /// The number of valid requests.
    pub requests: Arc<AtomicUsize>,
    /// Stops the server when it is dropped.
    pub _running: Box<dyn Send + Sync>,
}

impl RunningServer {
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A task that is aborted at the end of the test.
pub struct AbortOnDrop(pub tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A client with its pins and the events that its observer received.
pub struct Client<S> {
    pub stack: Arc<S>,
    pub pinning: Pinning,
    receiver: UnboundedReceiver<Event>,
}

impl<S: Stack> Client<S> {
    pub fn new<'a>(
        pins: impl IntoIterator<Item = (&'a str, PinPolicy)>,
        anchors: TrustAnchors,
        names: &Names,
    ) -> Self {
        let (sender, receiver) = unbounded_channel();
        let mut builder = Pinning::builder().time_provider(Clock::new());
        for (host, policy) in pins {
            builder = builder.static_pins(host, policy);
        }
        let builder = builder.observer(move |event| {
            let _ = sender.send(event.clone());
        });
        let pinning = builder.build().unwrap();
        Self {
            stack: Arc::new(S::new(&pinning, anchors, names)),
            pinning,
            receiver,
        }
    }

    pub fn pin(&self, host: &str, policy: PinPolicy) {
        self.pinning.replace_pins([(host, policy)]).unwrap();
    }

    /// Returns the events since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        assert!(self.pinning.flush_reports(TIMEOUT));
        std::iter::from_fn(|| self.receiver.try_recv().ok()).collect()
    }

    /// Returns the violations among the events since the last call.
    pub fn violations(&mut self) -> Vec<PinViolation> {
        let events = self.events().into_iter();
        let violations = events.filter_map(|event| match event {
            Event::Violation(report) => Some(report.violation().clone()),
            _ => None,
        });
        violations.collect()
    }

    /// Checks that the pins of `host` refused, and that the violation is found where `S::REFUSAL`
    /// states.
    #[track_caller]
    pub fn assert_refused(&mut self, outcome: Outcome, host: &str) {
        let error = outcome.unwrap_err();
        let found = PinViolation::find(&*error);
        let is_found = found.is_some_and(|violation| violation.host().as_str() == host);
        assert_eq!(is_found, S::REFUSAL == Refusal::InTheError, "{error:?}");
        self.assert_violation_event(host);
    }

    /// Checks that an observer received a violation of `host`.
    #[track_caller]
    pub fn assert_violation_event(&mut self, host: &str) {
        let violations = self.violations();
        let mut hosts = violations.iter().map(PinViolation::host);
        assert!(hosts.any(|violated| violated.as_str() == host));
    }

    /// Checks that the request failed for another reason than pins.
    #[track_caller]
    pub fn assert_failed_without_violation(&mut self, outcome: Outcome) {
        let error = outcome.unwrap_err();
        assert!(PinViolation::find(&*error).is_none(), "{error:?}");
        assert!(self.violations().is_empty());
    }
}

/// Runs a case with a time limit.
pub async fn bounded(case: impl Future<Output = ()>) {
    tokio::time::timeout(TIMEOUT, case).await.unwrap();
}

/// Returns these roots as built-in anchors.
pub fn built_in_anchors(roots: &[&Ca]) -> TrustAnchors {
    let roots = roots.iter().map(|root| root.certificate());
    TrustAnchors::new().with_built_in(roots).unwrap()
}

pub fn config(leaf: &Leaf, versions: Versions) -> ServerConfig {
    server_config(leaf, provider(), versions)
}

/// Resolves each host to its server.
pub fn names_of<'a>(hosts: impl IntoIterator<Item = (&'a str, &'a RunningServer)>) -> Names {
    let names = Names::default();
    for (host, server) in hosts {
        names.point_to(host, server.address);
    }
    names
}

/// A server's session cache that counts resumed sessions.
#[derive(Debug)]
pub struct Resumptions {
    cache: Arc<ServerSessionMemoryCache>,
    count: AtomicUsize,
}

impl Resumptions {
    /// Makes the server use such a cache.
    pub fn install(config: &mut ServerConfig) -> Arc<Self> {
        let this = Arc::new(Self {
            cache: ServerSessionMemoryCache::new(64),
            count: AtomicUsize::new(0),
        });
        config.session_storage = this.clone();
        this
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn count_resumed(&self, session: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if session.is_some() {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        session
    }
}

impl StoresServerSessions for Resumptions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.cache.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.count_resumed(self.cache.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.count_resumed(self.cache.take(key))
    }

    fn can_cache(&self) -> bool {
        true
    }
}
