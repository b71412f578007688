//! [`PinUpdater`], which fetches pin bundles and applies them.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderValue, Uri};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::pinning::{BundleOutcome, Pinning, Recovering, Recovery};
use crate::updater::error::{FetchError, UpdateError, UpdateFailure};
use crate::updater::fetch::{Fetch, Fetched, within};
use crate::updater::schedule;
use crate::violation::PinViolation;

/// What a successful update brought.
///
/// ```
/// use pinhold::bundle::UpdateOutcome;
///
/// fn is_new(outcome: &UpdateOutcome) -> bool {
///     matches!(outcome, UpdateOutcome::Updated(_))
/// }
/// # let _ = is_new;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateOutcome {
    /// Every URL that responded has the newest bundle that is known.
    Unchanged,
    /// A new bundle was applied, or stored as a staged one.
    Updated(BundleOutcome),
}

/// Fetches pin bundles over HTTPS and applies them. Cheap to clone.
///
/// The connection is validated as by WebPKI, but pins, refused keys and the rule for unpinned hosts do
/// not apply to it: a bundle is trusted by its signatures alone, and wrong pins must not keep the
/// next bundle away. A server of bundles needs no other protection; it can only withhold them.
/// Redirects are not followed.
///
/// Run it in one of three ways:
///
/// - Spawn [`run`](Self::run) on a Tokio runtime.
/// - Await [`run_once`](Self::run_once) where the system schedules background work (WorkManager,
///   BGTask).
/// - Fetch bundles by other means, and call [`Pinning::apply_bundle`].
///
/// # Recovery
///
/// While an updater exists, a connection that the pins refuse starts a fetch: one for all hosts, at
/// once after the first violation, then after a minute that doubles with each attempt in vain, up to an
/// hour, also across restarts. A staged bundle that accepts the chain takes effect then, whatever its
/// percentage. The refused request fails, and the next one succeeds, unless the client repeats it:
/// [`PinRetryLayer::recover`](crate::layer::PinRetryLayer::recover) does so in hyper, and
/// `NotingClient` in reqwest. Both wait for at most 5 seconds.
///
/// The fetch runs on the Tokio runtime in which the violation occurs; where it occurs in none, in
/// [`run`](Self::run).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(feature = "webpki-roots")] {
/// use pinhold::Pinning;
/// use pinhold::bundle::PinUpdater;
///
/// # let pinning = Pinning::builder().build()?;
/// let updater = PinUpdater::builder(&pinning)
///     .url("https://pins.example.com/pins.bundle")
///     .url("https://pins.example.net/pins.bundle")
///     .build()?;
/// tokio::spawn(updater.run());
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PinUpdater {
    inner: Arc<Inner>,
}

/// Where bundles are fetched from, and the recovery that is under way.
pub(crate) struct Inner {
    pub(crate) this: Weak<Self>,
    pub(crate) pinning: Pinning,
    pub(crate) sources: Vec<Source>,
    pub(crate) fetch: Box<dyn Fetch>,
    pub(crate) timeout: Duration,
    pub(crate) interval: Duration,
    pub(crate) flight: Mutex<Flight>,
    /// The number of recoveries that have ended.
    pub(crate) ended: watch::Sender<u64>,
    /// Wakes `run` for a recovery that no runtime was at hand for.
    pub(crate) wanted: Notify,
}

pub(crate) struct Source {
    url: Uri,
    /// The entity tag of the last bundle from this URL that is known here.
    tag: Mutex<Option<HeaderValue>>,
}

impl Source {
    pub(crate) fn new(url: Uri) -> Self {
        Self {
            url,
            tag: Mutex::default(),
        }
    }
}

/// Whether a server may respond that a bundle is known already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tags {
    /// Not after a violation: nginx's tag of a file is its size and the second of its change, so a
    /// bundle that is replaced twice in a second keeps its tag.
    Omit,
    Send,
}

/// The recovery that is under way, for all hosts.
#[derive(Default)]
pub(crate) struct Flight {
    is_running: bool,
    /// A violation of each host that was refused since it began.
    violations: Vec<PinViolation>,
}

impl PinUpdater {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        let recovery: Weak<Inner> = Arc::downgrade(&inner);
        inner.pinning.set_recovery(recovery);
        Self { inner }
    }

    /// Fetches a bundle from each URL in turn, until one is new, and applies it. Needs a Tokio runtime.
    /// Dropping the future stops the fetch and never leaves a bundle applied in part.
    ///
    /// # Errors
    ///
    /// An [`UpdateError`] if no URL yielded a bundle that is new or known.
    pub fn run_once(
        &self,
    ) -> impl Future<Output = Result<UpdateOutcome, UpdateError>> + Send + use<> {
        let inner = Arc::clone(&self.inner);
        async move { inner.update(Tags::Send).await }
    }

    /// Returns a future that fetches a bundle now and then after each interval, and never ends. Spawn
    /// it on a Tokio runtime; dropping it stops that.
    pub fn run(&self) -> impl Future<Output = ()> + Send + use<> {
        let inner = Arc::clone(&self.inner);
        async move { inner.run().await }
    }
}

impl Inner {
    async fn run(&self) {
        let mut failures = 0_u32;
        loop {
            failures = match self.update(Tags::Send).await {
                Ok(_) => 0,
                Err(_error) => {
                    event!(WARN, error = %_error, "no pin bundle received");
                    failures.saturating_add(1)
                }
            };
            let delay = schedule::delay(self.interval, failures, schedule::random());
            if within(delay, self.wanted.notified()).await.is_some()
                && let Some(flight) = self.begin_flight()
            {
                flight.0.recover_all().await;
            }
        }
    }

    /// Fetches from each source until a bundle is new.
    async fn update(&self, tags: Tags) -> Result<UpdateOutcome, UpdateError> {
        let mut failures = Vec::new();
        let mut is_known = false;
        for source in &self.sources {
            let fetched = within(self.timeout, self.update_from(source, tags)).await;
            match fetched.unwrap_or(Err(FetchError::TimedOut(self.timeout))) {
                Ok(UpdateOutcome::Unchanged) => is_known = true,
                Ok(updated) => {
                    self.pinning.end_backoff();
                    return Ok(updated);
                }
                Err(error) => failures.push(UpdateFailure {
                    url: source.url.clone(),
                    error,
                }),
            }
        }
        if is_known {
            Ok(UpdateOutcome::Unchanged)
        } else {
            Err(UpdateError(failures))
        }
    }

    async fn update_from(&self, source: &Source, tags: Tags) -> Result<UpdateOutcome, FetchError> {
        let known = source.tag.lock().clone().filter(|_| tags == Tags::Send);
        let (bytes, tag) = match self.fetch.fetch(source.url.clone(), known).await? {
            Fetched::Bundle(bytes, tag) => (bytes, tag),
            Fetched::NotModified => {
                // Sent once only: a hostile server may have sent the known bundle with the tag of the
                // next one, which would then never be fetched.
                *source.tag.lock() = None;
                return Ok(UpdateOutcome::Unchanged);
            }
        };
        let pinning = self.pinning.clone();
        // Waits for the storage, which would block other tasks of this thread.
        let applied = tokio::task::spawn_blocking(move || pinning.apply_bundle(&bytes));
        let applied = applied
            .await
            .map_err(|error| FetchError::Connection(Arc::new(error)))?;
        // A refused bundle has no tag, so that it is fetched again.
        *source.tag.lock() = tag.filter(|_| applied.is_ok());
        match applied {
            Ok(BundleOutcome::Unchanged(_)) => Ok(UpdateOutcome::Unchanged),
            Ok(outcome) => Ok(UpdateOutcome::Updated(outcome)),
            Err(error) => Err(FetchError::Bundle(error)),
        }
    }

    /// Tries to make the pins accept the chains of all violations so far.
    async fn recover_all(&self) {
        self.adopt_staged().await;
        if !self.all_accepted() && self.pinning.is_fetch_due() {
            self.pinning.begin_fetch();
            if let Err(_error) = self.update(Tags::Omit).await {
                event!(WARN, error = %_error, "no pin bundle received");
            }
            self.adopt_staged().await;
        }
        let violations = std::mem::take(&mut self.flight.lock().violations);
        for violation in violations {
            if self.pinning.accepts(&violation) {
                self.pinning.record_recovery(violation.host());
            }
        }
    }

    /// Begins a recovery, unless one is under way.
    fn begin_flight(&self) -> Option<RunningFlight> {
        let this = self.this.upgrade()?;
        let was_running = std::mem::replace(&mut self.flight.lock().is_running, true);
        (!was_running).then(|| RunningFlight(this))
    }

    /// Lets a staged bundle take effect if it accepts a chain that the pins refuse.
    async fn adopt_staged(&self) {
        let violations = self.flight.lock().violations.clone();
        let mut helped = violations.iter().filter(|it| self.is_helped_by_staged(it));
        if helped.next().is_some() {
            let pinning = self.pinning.clone();
            let _ = tokio::task::spawn_blocking(move || pinning.adopt_staged()).await;
        }
    }

    fn is_helped_by_staged(&self, violation: &PinViolation) -> bool {
        !self.pinning.accepts(violation) && self.pinning.is_accepted_by_staged(violation)
    }

    fn all_accepted(&self) -> bool {
        let violations = self.flight.lock().violations.clone();
        violations.iter().all(|it| self.pinning.accepts(it))
    }
}

impl Recovery for Inner {
    fn on_violation(&self, violation: &PinViolation) {
        let may_help = self.is_helped_by_staged(violation) || self.pinning.is_fetch_due();
        let mut flight = self.flight.lock();
        if !flight.is_running && !may_help {
            return;
        }
        let mut known = flight.violations.iter();
        let is_known = known.any(|known| known.host() == violation.host());
        if !is_known && flight.violations.len() < MAX_VIOLATIONS {
            flight.violations.push(violation.clone());
        }
        drop(flight);
        let Ok(runtime) = Handle::try_current() else {
            self.wanted.notify_one();
            return;
        };
        if let Some(flight) = self.begin_flight() {
            runtime.spawn(async move { flight.0.recover_all().await });
        }
    }

    fn recover(&self, violation: PinViolation) -> Recovering {
        if self.pinning.accepts(&violation) {
            return Box::pin(std::future::ready(true));
        }
        let mut ended = self.ended.subscribe();
        self.on_violation(&violation);
        let is_running = self.flight.lock().is_running;
        let pinning = self.pinning.clone();
        Box::pin(async move {
            if is_running {
                let _ = within(MAX_WAIT, ended.changed()).await;
            }
            pinning.accepts(&violation)
        })
    }
}

/// A recovery that is under way. Dropping it ends it, also if its runtime is shut down before its
/// task has begun.
struct RunningFlight(Arc<Inner>);

impl Drop for RunningFlight {
    fn drop(&mut self) {
        let mut flight = self.0.flight.lock();
        flight.is_running = false;
        flight.violations.clear();
        drop(flight);
        self.0
            .ended
            .send_modify(|ended| *ended = ended.wrapping_add(1));
    }
}

impl fmt::Debug for PinUpdater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls = self.inner.sources.iter().map(|source| &source.url);
        f.debug_struct("PinUpdater")
            .field("urls", &urls.collect::<Vec<_>>())
            .field("interval", &self.inner.interval)
            .finish_non_exhaustive()
    }
}

/// How long a refused request waits for a recovery.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// The number of hosts whose recovery is observed at once.
const MAX_VIOLATIONS: usize = 64;
