//! Reports in, HTTP requests to their endpoints out: [`HttpReporter`].
//!
//! Asked by the thread of the observers, it only decides and queues; a thread of its own sends, over
//! connections that are themselves pinned, and ends when there is nothing left to send.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request};
use parking_lot::{Condvar, Mutex};
use rustls::crypto::CryptoProvider;
use tokio::sync::Notify;

use crate::connector::PlainHttp;
use crate::http_reporter::endpoint::{Endpoint, NamedBy};
use crate::http_reporter::rate_limit::RateLimit;
use crate::http_reporter::transport::{Resolve, Transport};
use crate::pinning::{BuildError, Pinning};
use crate::policy::{Host, PinSource, ReportUri, ReportUriError, sha256};
use crate::roots::TrustAnchors;
use crate::violation::{DeliveryError, DropReason, EndpointError, Report, ReportForm, Reporter};

/// Sends reports over HTTP, outside of any handshake.
///
/// Each report is a POST to each of its endpoints: those of the application, a static policy's
/// [`report_uri`](crate::PinPolicy::report_uri), and, where the application
/// [follows](HttpReporterBuilder::report_uri_policy) it, the `report-uri` of a server. It goes over a
/// connection of its own, that validates as all do and obeys the pins of the endpoint's host (RFC
/// 7469 section 2.1.4); without cookies, and redirects are not followed. 2xx means delivered; 408,
/// 429, 5xx, no answer and no connection are tried again, five times in all, after pauses that
/// double; anything else is given up. An endpoint can tell a repetition by the `Idempotency-Key`,
/// which is [`Report::id`].
///
/// What is reported once goes to the same endpoint again after an hour at the earliest (for one
/// host, one set of pins and one chain of keys), at most 50 reports are sent in an hour, and at most
/// 30 to one origin, of both at most half on pins that servers set: the rest is dropped, and
/// observers are told. Nothing is kept beyond the process. When the last handle of the
/// application is dropped, what is waiting is tried once more, and no longer.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::report::HttpReporter;
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = Pinning::builder()
///     .reporter(|pinning| {
///         HttpReporter::builder(pinning)
///             .with_webpki_roots()
///             .endpoint("https://reports.example.com/pins")
///             .build()
///     })
///     .build()?;
/// // Before a mobile application goes to sleep:
/// pinning.flush_reports(std::time::Duration::from_secs(2));
/// # }
/// # Ok::<(), pinhold::BuildError>(())
/// ```
pub struct HttpReporter(Arc<Shared>);

/// Which `report-uri` of a server is followed. It is a server's word, and may lead anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportUriPolicy {
    /// Any that leads to a host of the public network.
    Any,
    /// None.
    #[default]
    Ignore,
    /// One of the very host that the violation was seen on (RFC 7469 section 5). Over TLS it would
    /// fail by the same pins and is not sent, so only plain http is left, where that is allowed.
    SameHost,
}

impl HttpReporter {
    /// Starts without trust anchors and endpoints; `pinning` is what
    /// [`PinningBuilder::reporter`](crate::PinningBuilder::reporter) hands out.
    pub fn builder(pinning: Pinning) -> HttpReporterBuilder {
        HttpReporterBuilder {
            pinning,
            endpoints: Vec::new(),
            anchors: TrustAnchors::new(),
            provider: None,
            choices: Choices {
                endpoints: Vec::new(),
                follow: ReportUriPolicy::default(),
                plain: PlainHttp::default(),
                form: ReportForm::new(),
                media_type: HeaderValue::from_static("application/json; charset=utf-8"),
                timeout: Duration::from_secs(10),
                backoff: Duration::from_secs(1),
                is_hsts: Arc::new(|_| false),
            },
            resolve: None,
            error: None,
        }
    }
}

/// What the application chose.
struct Choices {
    endpoints: Vec<Endpoint>,
    follow: ReportUriPolicy,
    plain: PlainHttp,
    form: ReportForm,
    media_type: HeaderValue,
    timeout: Duration,
    backoff: Duration,
    is_hsts: Arc<dyn Fn(&Host) -> bool + Send + Sync>,
}

impl Choices {
    /// An endpoint of the application's that reports can be sent to.
    fn may_send_to(&self, uri: &ReportUri) -> Result<Endpoint, EndpointError> {
        let endpoint = Endpoint::new(uri, NamedBy::Application)?;
        let upgraded = endpoint.clone().upgraded(&*self.is_hsts);
        if upgraded.is_barred(self.plain) {
            Err(EndpointError::PlainHttp)
        } else {
            Ok(endpoint)
        }
    }
}

struct Shared {
    pinning: Pinning,
    choices: Choices,
    transport: Transport,
    state: Mutex<State>,
    /// Tells who flushes that all is sent.
    settled: Condvar,
    /// Tells the thread of work.
    arrived: Notify,
    /// Ends the pauses.
    skip_backoff: Notify,
}

#[derive(Default)]
struct State {
    sent: RateLimit,
    waiting: VecDeque<Job>,
    /// How many are being sent, pauses included.
    under_way: usize,
    thread: Option<ThreadId>,
    /// How often somebody could not wait.
    flushes: u64,
    is_closed: bool,
}

/// One report for one endpoint.
struct Job {
    report: Report,
    endpoint: Endpoint,
    key: [u8; 32],
}

impl Reporter for HttpReporter {
    fn report(&self, report: Report) -> Result<(), DropReason> {
        let endpoints = self.0.endpoints(&report);
        if endpoints.is_empty() {
            return Err(DropReason::NoEndpoint);
        }
        for endpoint in endpoints {
            let uri = match &endpoint {
                Ok(endpoint) => endpoint.report_uri(),
                Err(_) => report.violation().policy().report_uri.clone(),
            };
            let queued = endpoint.and_then(|endpoint| self.0.queue(&report, endpoint));
            if let Err(reason) = queued {
                self.0.pinning.emit_dropped(report.clone(), uri, reason);
            }
        }
        self.0.start();
        Ok(())
    }

    fn flush(&self, within: Duration) -> bool {
        let until = Instant::now() + within.min(LONGEST);
        // Unless it could not be started before.
        self.0.start();
        let mut state = self.0.state.lock();
        state.flushes += 1;
        self.0.skip_backoff.notify_waiters();
        while state.under_way > 0 || !state.waiting.is_empty() {
            let is_running = state.thread.is_some();
            if !is_running || self.0.settled.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.under_way == 0 && state.waiting.is_empty()
    }
}

/// What is waiting is still tried, once.
impl Drop for HttpReporter {
    fn drop(&mut self) {
        self.0.state.lock().is_closed = true;
        self.0.arrived.notify_one();
        self.0.skip_backoff.notify_waiters();
    }
}

impl Shared {
    /// Where this report is to go, each URI once.
    fn endpoints(&self, report: &Report) -> Vec<Result<Endpoint, DropReason>> {
        let choices = &self.choices;
        let mut endpoints = choices
            .endpoints
            .iter()
            .cloned()
            .map(Ok)
            .collect::<Vec<_>>();
        let policy = report.violation().policy();
        if let Some(uri) = &policy.report_uri {
            let named = match (policy.source, choices.follow) {
                (PinSource::Static, _) => Some(Endpoint::new(uri, NamedBy::Application)),
                (PinSource::Noted, ReportUriPolicy::Ignore) => None,
                (PinSource::Noted, ReportUriPolicy::Any) => {
                    Some(Endpoint::new(uri, NamedBy::Server))
                }
                (PinSource::Noted, ReportUriPolicy::SameHost) => {
                    let endpoint = Endpoint::new(uri, NamedBy::Server);
                    Some(endpoint.and_then(|endpoint| {
                        if endpoint.is_of(report.violation().host()) {
                            Ok(endpoint)
                        } else {
                            Err(EndpointError::OtherHost)
                        }
                    }))
                }
            };
            let is_new = |endpoint: &Result<Endpoint, _>| {
                let known = choices.endpoints.iter().map(Endpoint::uri);
                !endpoint
                    .as_ref()
                    .is_ok_and(|new| known.clone().any(|uri| uri == new.uri()))
            };
            endpoints.extend(
                named
                    .filter(is_new)
                    .map(|endpoint: Result<_, _>| endpoint.map_err(DropReason::Endpoint)),
            );
        }
        endpoints
    }

    fn queue(&self, report: &Report, endpoint: Endpoint) -> Result<(), DropReason> {
        let endpoint = endpoint.upgraded(&*self.choices.is_hsts);
        let admitted = endpoint.admits(report, self.choices.plain);
        admitted.map_err(DropReason::Endpoint)?;
        let (violation, at) = (report.violation(), report.violation().at());
        // Of the pinned hosts only the one that failed is told in the clear.
        let others = endpoint.exposed_host();
        let mut others = others.into_iter().filter(|host| *host != violation.host());
        if others.any(|host| self.pinning.is_pinned(host, at).0) {
            return Err(DropReason::Endpoint(EndpointError::PlainHttp));
        }
        let key = sha256(&[&report.key(), endpoint.uri().to_string().as_bytes()]);
        let mut state = self.state.lock();
        let source = violation.policy().source;
        state.sent.admit(key, endpoint.origin(), source, at)?;
        if state.waiting.len() + state.under_way >= MAX_WAITING {
            state.sent.forget(key);
            return Err(DropReason::QueueFull);
        }
        state.waiting.push_back(Job {
            report: report.clone(),
            endpoint,
            key,
        });
        self.arrived.notify_one();
        Ok(())
    }

    /// Starts the thread, unless it runs or there is nothing to do.
    fn start(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.thread.is_some() || state.waiting.is_empty() {
            return;
        }
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name("pinhold-reports".to_owned());
        // Without a thread now, the next report tries again.
        let thread = thread.spawn(move || shared.run());
        state.thread = thread.ok().map(|thread| thread.thread().id());
    }

    fn run(self: Arc<Self>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(Arc::clone(&self).send_all()),
            Err(_) => {
                let waiting = {
                    let mut state = self.state.lock();
                    state.thread = None;
                    std::mem::take(&mut state.waiting)
                };
                for Job {
                    report,
                    endpoint,
                    key,
                } in waiting
                {
                    self.state.lock().sent.forget(key);
                    let uri = endpoint.report_uri();
                    self.pinning.emit_dropped(report, uri, DropReason::Reporter);
                }
            }
        }
        self.settled.notify_all();
    }

    /// Sends until there is nothing left, each report in a task of its own: an endpoint that hangs
    /// delays no other.
    async fn send_all(self: Arc<Self>) {
        loop {
            let (jobs, is_last) = {
                let mut state = self.state.lock();
                let jobs = std::mem::take(&mut state.waiting);
                state.under_way += jobs.len();
                let is_last = state.under_way == 0;
                if is_last {
                    state.thread = None;
                }
                (jobs, is_last)
            };
            if is_last {
                return;
            }
            for job in jobs {
                tokio::spawn(Arc::clone(&self).send(job));
            }
            self.arrived.notified().await;
        }
    }

    async fn send(self: Arc<Self>, job: Job) {
        let (key, report, uri) = (job.key, job.report.clone(), job.endpoint.report_uri());
        // A task of its own, since the application's resolver may panic.
        let delivery = tokio::spawn(Arc::clone(&self).deliver(job)).await;
        if let Err(reason) = delivery.unwrap_or(Err(DropReason::Reporter)) {
            self.state.lock().sent.forget(key);
            self.pinning.emit_dropped(report, uri, reason);
        }
        self.state.lock().under_way -= 1;
        self.settled.notify_all();
        self.arrived.notify_one();
    }

    async fn deliver(self: Arc<Self>, job: Job) -> Result<(), DropReason> {
        let body = job.report.to_json(&self.choices.form);
        let (mut backoff, mut attempts) = (self.choices.backoff, 0);
        loop {
            attempts += 1;
            let flushes = self.state.lock().flushes;
            let last = match self.attempt(&job, &body).await {
                Ok(()) => return Ok(()),
                Err(Failed::For(reason)) => return Err(reason),
                Err(Failed::Now(last)) => last,
            };
            if attempts == ATTEMPTS || !last.is_temporary() || self.state.lock().is_closed {
                return Err(DropReason::GaveUp { attempts, last });
            }
            // Each flush spares one pause, and no more: an endpoint that is down for a second would
            // have been tried in vain.
            let mut skipped = std::pin::pin!(self.skip_backoff.notified());
            skipped.as_mut().enable();
            if self.state.lock().flushes == flushes {
                let _ = tokio::time::timeout(backoff, skipped).await;
            }
            backoff = backoff.saturating_mul(2).min(MAX_BACKOFF);
        }
    }

    async fn attempt(&self, job: &Job, body: &str) -> Result<(), Failed> {
        let id = format!("\"{}\"", job.report.id());
        let request = Request::post(job.endpoint.uri().clone())
            .header(CONTENT_TYPE, self.choices.media_type.clone())
            .header(USER_AGENT, concat!("pinhold/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", id)
            .body(body.to_owned());
        let uri = DropReason::Endpoint(EndpointError::Uri);
        let request = request.map_err(|_| Failed::For(uri))?;
        let answer = self.transport.send(job.endpoint.named_by(), request);
        match tokio::time::timeout(self.choices.timeout, answer).await {
            Err(_) => Err(Failed::Now(DeliveryError::Timeout)),
            Ok(Err(DropReason::GaveUp { last, .. })) => Err(Failed::Now(last)),
            Ok(Err(reason)) => Err(Failed::For(reason)),
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(Failed::Now(DeliveryError::Status(status.as_u16()))),
        }
    }
}

/// Why an attempt did not deliver.
enum Failed {
    /// It would never.
    For(DropReason),
    Now(DeliveryError),
}

/// Collects what makes an [`HttpReporter`]. What is wrong is said by [`build`](Self::build).
#[must_use]
pub struct HttpReporterBuilder {
    pinning: Pinning,
    endpoints: Vec<ReportUri>,
    anchors: TrustAnchors,
    provider: Option<Arc<CryptoProvider>>,
    choices: Choices,
    resolve: Option<Resolve>,
    error: Option<BuildError>,
}

impl HttpReporterBuilder {
    /// Validates the chains of endpoints to Mozilla's roots.
    #[cfg(feature = "webpki-roots")]
    pub fn with_webpki_roots(self) -> Self {
        self.with_anchors(TrustAnchors::webpki_roots())
    }

    /// Validates the chains of endpoints to these anchors.
    pub fn with_anchors(mut self, anchors: TrustAnchors) -> Self {
        self.anchors = anchors;
        self
    }

    /// Uses this crypto provider; see
    /// [`PinningVerifierBuilder::with_provider`](crate::tls::PinningVerifierBuilder::with_provider).
    pub fn with_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// An endpoint of the application's own: it gets every report, whatever its address. More
    /// calls add more. Over plain http only with [`plain_http`](Self::plain_http).
    pub fn endpoint<U>(mut self, uri: U) -> Self
    where
        U: TryInto<ReportUri, Error: Into<ReportUriError>>,
    {
        match uri.try_into() {
            Ok(uri) => self.endpoints.push(uri),
            Err(error) => drop(
                self.error
                    .get_or_insert(BuildError::ReportUri(error.into())),
            ),
        }
        self
    }

    /// Follows the `report-uri` of servers: never to an address or a single-label host, nor to a
    /// name that leads to an address that is not public. Unless said, none.
    pub fn report_uri_policy(mut self, uris: ReportUriPolicy) -> Self {
        self.choices.follow = uris;
        self
    }

    /// Whether reports may go over plain http, where anybody on the way reads them; also to the
    /// very host that failed, as an exception to its pins. Unless said, they may not.
    pub fn plain_http(mut self, plain: PlainHttp) -> Self {
        self.choices.plain = plain;
        self
    }

    /// What reports look like. Unless said, all that RFC 7469 asks for.
    pub fn form(mut self, form: ReportForm) -> Self {
        self.choices.form = form;
        self
    }

    /// The `Content-Type`. RFC 7469 names none; unless said, what Chrome sent:
    /// `application/json; charset=utf-8`.
    pub fn media_type(mut self, media_type: HeaderValue) -> Self {
        self.choices.media_type = media_type;
        self
    }

    /// How long one attempt may take, the connection included. Unless said, 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.choices.timeout = timeout;
        self
    }

    /// How long to wait after the first attempt that failed; doubles with each one, up to an hour.
    /// Unless said, 1 second.
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.choices.backoff = backoff;
        self
    }

    /// Says which hosts are known HSTS hosts: an `http` URI of one is taken for `https` (RFC 7469
    /// section 2.1.4, RFC 6797 section 8.3).
    pub fn known_hsts_host(
        mut self,
        is_known: impl Fn(&Host) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.choices.is_hsts = Arc::new(is_known);
        self
    }

    /// Finds the addresses of endpoints, in place of the system's resolver.
    pub fn resolve_with<F>(mut self, resolve: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = std::io::Result<Vec<std::net::IpAddr>>> + Send + 'static,
    {
        self.resolve = Some(Arc::new(move |name| Box::pin(resolve(name))));
        self
    }

    /// Puts it all together.
    ///
    /// # Errors
    ///
    /// [`BuildError::ReportUri`] and [`BuildError::ReportEndpoint`] for an endpoint, and those of
    /// [`PinningVerifierBuilder::client_config`](crate::tls::PinningVerifierBuilder::client_config).
    pub fn build(mut self) -> Result<HttpReporter, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        for uri in self.endpoints {
            match self.choices.may_send_to(&uri) {
                Ok(endpoint) => self.choices.endpoints.push(endpoint),
                Err(problem) => return Err(BuildError::ReportEndpoint { uri, problem }),
            }
        }
        let transport = Transport::new(
            &self.pinning,
            (self.anchors, self.provider),
            self.choices.plain,
            self.resolve,
        )?;
        Ok(HttpReporter(Arc::new(Shared {
            pinning: self.pinning,
            choices: self.choices,
            transport,
            state: Mutex::default(),
            settled: Condvar::new(),
            arrived: Notify::new(),
            skip_backoff: Notify::new(),
        })))
    }
}

impl fmt::Debug for HttpReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReporter")
            .field("endpoints", &self.0.choices.endpoints)
            .field("follow", &self.0.choices.follow)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpReporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReporterBuilder")
            .field("endpoints", &self.endpoints)
            .field("follow", &self.choices.follow)
            .finish_non_exhaustive()
    }
}

/// Reports that wait or are being sent.
const MAX_WAITING: usize = 50;
/// With a first pause of a second: half a minute.
const ATTEMPTS: u32 = 5;
const MAX_BACKOFF: Duration = Duration::from_secs(60 * 60);
/// An instant can't count up to `Duration::MAX`.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
