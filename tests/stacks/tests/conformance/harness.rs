//! What a stack has to offer to the cases, and the two ends of each case.

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

    fn serve(config: ServerConfig) -> impl Future<Output = Serving> + Send;

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self;

    /// A request over a connection of its own, with the session that is remembered.
    fn visit(&self, host: &str) -> impl Future<Output = Outcome> + Send;

    /// A request, the change, and one more request by a client that keeps its connection. The
    /// first one must succeed.
    fn stay(
        &self,
        host: &str,
        change: impl FnOnce() + Send,
    ) -> impl Future<Output = Outcome> + Send;
}

/// Where an application finds the violation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    /// By `PinViolation::find`, and by an observer.
    InTheError,
    /// By an observer only: the stack turns errors into text.
    ToldToObservers,
}

/// What becomes of a connection when the pins turn against it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OpenConnection {
    /// And the request that finds it so fails with the violation.
    Ends,
    /// And the request that was under way may fail with the text that HTTP/2 makes of the
    /// violation; one that comes later meets the refusal of a new connection.
    EndsInText,
    GoesOn,
}

/// A server that runs.
pub struct Serving {
    pub address: SocketAddr,
    /// Requests that were understood.
    pub requests: Arc<AtomicUsize>,
    /// What runs it, for as long as it is held.
    pub _running: Box<dyn Send + Sync>,
}

impl Serving {
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A task that ends with the test.
pub struct Running(pub tokio::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A client under its pins, with what it tells.
pub struct Client<S> {
    pub stack: Arc<S>,
    pub pinning: Pinning,
    events: UnboundedReceiver<Event>,
}

impl<S: Stack> Client<S> {
    pub fn new<'a>(
        pins: impl IntoIterator<Item = (&'a str, PinPolicy)>,
        anchors: TrustAnchors,
        names: &Names,
    ) -> Self {
        let (sender, events) = unbounded_channel();
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
            events,
        }
    }

    pub fn pin(&self, host: &str, policy: PinPolicy) {
        self.pinning.replace_pins([(host, policy)]).unwrap();
    }

    /// All that was told since the last call.
    pub fn told(&mut self) -> Vec<Event> {
        assert!(self.pinning.flush_reports(TIMEOUT));
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    /// The violations that were told since the last call.
    pub fn violations(&mut self) -> Vec<PinViolation> {
        let told = self.told().into_iter();
        let violations = told.filter_map(|event| match event {
            Event::Violation(report) => Some(report.violation().clone()),
            _ => None,
        });
        violations.collect()
    }

    /// Checks that the pins of `host` refused, and that this is found where the table says.
    #[track_caller]
    pub fn assert_refused(&mut self, outcome: Outcome, host: &str) {
        let error = outcome.unwrap_err();
        let found = PinViolation::find(&*error);
        let is_found = found.is_some_and(|violation| violation.host().as_str() == host);
        assert_eq!(is_found, S::REFUSAL == Refusal::InTheError, "{error:?}");
        self.assert_told(host);
    }

    /// Checks that observers heard of a violation at `host`.
    #[track_caller]
    pub fn assert_told(&mut self, host: &str) {
        let told = self.violations();
        assert!(told.iter().any(|told| told.host().as_str() == host));
    }

    /// Checks that it failed for another reason than its pins.
    #[track_caller]
    pub fn assert_failed(&mut self, outcome: Outcome) {
        let error = outcome.unwrap_err();
        assert!(PinViolation::find(&*error).is_none(), "{error:?}");
        assert!(self.violations().is_empty());
    }
}

/// A case, which takes no longer than what must happen may take.
pub async fn bounded(case: impl Future<Output = ()>) {
    tokio::time::timeout(TIMEOUT, case).await.unwrap();
}

/// These roots as built-in anchors.
pub fn built_in_anchors(roots: &[&Ca]) -> TrustAnchors {
    let roots = roots.iter().map(|root| root.certificate());
    TrustAnchors::new().with_built_in(roots).unwrap()
}

pub fn config(leaf: &Leaf, versions: Versions) -> ServerConfig {
    server_config(leaf, provider(), versions)
}

/// `host` at this server.
pub fn leading<'a>(hosts: impl IntoIterator<Item = (&'a str, &'a Serving)>) -> Names {
    let names = Names::default();
    for (host, serving) in hosts {
        names.point_to(host, serving.address);
    }
    names
}

/// A server's memory of sessions that counts those which are resumed.
#[derive(Debug)]
pub struct Resumptions {
    kept: Arc<ServerSessionMemoryCache>,
    count: AtomicUsize,
}

impl Resumptions {
    pub fn of(config: &mut ServerConfig) -> Arc<Self> {
        let this = Arc::new(Self {
            kept: ServerSessionMemoryCache::new(64),
            count: AtomicUsize::new(0),
        });
        config.session_storage = this.clone();
        this
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn counted(&self, session: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if session.is_some() {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        session
    }
}

impl StoresServerSessions for Resumptions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.kept.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.counted(self.kept.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.counted(self.kept.take(key))
    }

    fn can_cache(&self) -> bool {
        true
    }
}
