//! What happens in, told to the application out: [`Event`], from a thread of its own.
//!
//! Whoever has something to tell puts it into a bounded queue and goes on: no handshake waits for
//! an observer, or for a report to be made.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::pinning::noting::{IgnoreReason, RemovalReason};
use crate::policy::{AnchorOrigin, Host, ReportUri};
use crate::store::{StorageError, StorageErrorListener};
use crate::violation::{DropReason, Report, Reporter, UnverifiablePath};

/// What an application may want to know, see
/// [`PinningBuilder::observer`](crate::PinningBuilder::observer).
///
/// With the feature `tracing` each is also an event of the target `pinhold`, at once and in the
/// thread where it happened:
///
/// | message | level | fields |
/// |---|---|---|
/// | `pin violation` | `WARN` | `host`, `port`, `noted_hostname` |
/// | `pins would have failed` | `WARN` | `host`, `port`, `noted_hostname` |
/// | `pins skipped` | `WARN` | `host` |
/// | `pins noted` | `INFO` | `host` |
/// | `pins removed` | `INFO` | `host`, `reason` |
/// | `pin header ignored` | `DEBUG` | `host`, `reason` |
/// | `report dropped` | `WARN` | `host`, `reason` |
/// | `no path could be proved` | `WARN` | `host`, `reason` |
/// | `events lost` | `WARN` | `events` |
/// | `noted pins can't be stored` | `WARN` | `error` |
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A `Public-Key-Pins` field, or its report-only sister, was ignored.
    HeaderIgnored {
        /// Who sent it; `None` where that is no host.
        host: Option<Host>,
        /// Why.
        reason: IgnoreReason,
    },
    /// Events came faster than observers took them.
    Lost {
        /// How many were not told.
        events: u64,
    },
    /// A host's pins were noted, or replaced by others. A mere refresh is not told.
    Noted {
        /// The host.
        host: Host,
    },
    /// A host had its noted pins removed by a header.
    Removed {
        /// The host.
        host: Host,
        /// How it asked for that.
        reason: RemovalReason,
    },
    /// A violation was not reported, or not to one of several endpoints.
    ReportDropped {
        /// The report.
        report: Report,
        /// Where it was to go; `None` where that was not known yet.
        endpoint: Option<ReportUri>,
        /// Why.
        reason: DropReason,
    },
    /// A connection went on although its chain holds no pinned key: it ends in a user-added root.
    Skipped {
        /// The host.
        host: Host,
    },
    /// Noted pins are in memory, but could not be stored.
    StorageFailed(StorageError),
    /// A wrapped verifier accepted a server, but no path could be proved: refused, or a connection
    /// to a host whose pins only report, which then would have been refused. See
    /// [`PinningVerifierBuilder::with_inner_verifier`](crate::tls::PinningVerifierBuilder::with_inner_verifier).
    Unverifiable(UnverifiablePath),
    /// A connection was refused, or ended, by the pins of its host.
    Violation(Report),
    /// A connection goes on that pins under trial would have refused: a candidate, a policy or a
    /// header that only reports.
    WouldBeViolation(Report),
}

impl Event {
    /// As a `tracing` event.
    fn trace(&self) {
        match self {
            #[cfg(feature = "tracing")]
            Self::HeaderIgnored { host, reason } => {
                let host = host.as_ref().map(tracing::field::display);
                event!(DEBUG, host, %reason, "pin header ignored");
            }
            #[cfg(feature = "tracing")]
            Self::Lost { events } => event!(WARN, events, "events lost"),
            #[cfg(feature = "tracing")]
            Self::Noted { host } => event!(INFO, %host, "pins noted"),
            #[cfg(feature = "tracing")]
            Self::Removed { host, reason } => event!(INFO, %host, %reason, "pins removed"),
            #[cfg(feature = "tracing")]
            Self::ReportDropped { report, reason, .. } => {
                let host = report.violation().host();
                event!(WARN, %host, %reason, "report dropped");
            }
            #[cfg(feature = "tracing")]
            Self::Skipped { host } => event!(WARN, %host, "pins skipped"),
            #[cfg(feature = "tracing")]
            Self::Unverifiable(unverifiable) => {
                let host = unverifiable.server_name().to_str();
                let reason = unverifiable.reason();
                event!(WARN, %host, %reason, "no path could be proved");
            }
            #[cfg(feature = "tracing")]
            Self::Violation(report) => {
                let (host, noted_hostname) = report.names();
                event!(WARN, %host, port = report.port(), %noted_hostname, "pin violation");
            }
            #[cfg(feature = "tracing")]
            Self::WouldBeViolation(report) => {
                let (host, noted_hostname) = report.names();
                let port = report.port();
                event!(WARN, %host, port, %noted_hostname, "pins would have failed");
            }
            // The store has told where it happened.
            _ => {}
        }
    }
}

/// Who is told.
#[derive(Clone)]
pub(crate) enum Observers {
    All(Arc<dyn EventSink>),
    None,
    /// Those who are told what becomes of reports, by the reporter. Its own connections are not
    /// told of: a report on a report would have no end.
    ReportsOnly(Weak<dyn EventSink>),
}

/// Where events go. A client without observers does not carry [`Observers`] and their thread.
pub(crate) trait EventSink: Send + Sync {
    fn emit(&self, event: Event);

    /// Waits until everything is told and reported; whether that was so in time.
    fn flush(&self, within: Duration) -> bool;
}

impl Observers {
    pub(crate) fn emit(&self, event: Event) {
        event.trace();
        match self {
            Self::All(observers) => observers.emit(event),
            Self::ReportsOnly(observers) if matches!(event, Event::ReportDropped { .. }) => {
                if let Some(observers) = observers.upgrade() {
                    observers.emit(event);
                }
            }
            Self::None | Self::ReportsOnly(_) => {}
        }
    }
}

pub(crate) type Callback = Box<dyn Fn(&Event) + Send + Sync>;

/// The hands of the thread that tells; when dropped, what is left is told.
pub(crate) struct EventQueue {
    shared: Arc<Shared>,
    /// See [`set_reporter`](Self::set_reporter).
    closing: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct Shared {
    state: Mutex<State>,
    /// Tells the thread of events.
    arrived: Condvar,
    /// Tells others that all have been told.
    emitted: Condvar,
    callbacks: Vec<Callback>,
    reporter: OnceLock<Arc<dyn Reporter>>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Event>,
    lost: u64,
    /// While it runs.
    thread: Option<ThreadId>,
    phase: Phase,
    /// How many wait until all is told.
    flushing: usize,
    is_closed: bool,
}

/// What the thread does.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// It lets events come together, since each waking costs whoever tells a system call.
    Gathering,
    /// Until something is told.
    #[default]
    Idle,
    Telling,
}

impl EventQueue {
    pub(crate) fn new(callbacks: Vec<Callback>) -> Self {
        let shared = Shared {
            state: Mutex::default(),
            arrived: Condvar::new(),
            emitted: Condvar::new(),
            callbacks,
            reporter: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
            closing: OnceLock::new(),
        }
    }

    /// Once. A reporter has a handle of the pins, and lives on in threads: so what the last handle
    /// of the application does in the end is told with it.
    pub(crate) fn set_reporter(
        &self,
        reporter: Arc<dyn Reporter>,
        closing: impl Fn() + Send + Sync + 'static,
    ) {
        self.shared.reporter.get_or_init(|| reporter);
        self.closing.get_or_init(|| Box::new(closing));
    }

    fn wait_until_told(&self, until: Instant) -> bool {
        let mut state = self.shared.state.lock();
        // An observer can't wait for itself.
        if state.thread == Some(thread::current().id()) {
            return false;
        }
        state.flushing += 1;
        self.shared.arrived.notify_one();
        while state.thread.is_some() && !state.is_done() {
            if self
                .shared
                .emitted
                .wait_until(&mut state, until)
                .timed_out()
            {
                break;
            }
        }
        state.flushing -= 1;
        state.is_done()
    }
}

impl EventSink for EventQueue {
    fn emit(&self, event: Event) {
        let mut state = self.shared.state.lock();
        if state.queue.len() < CAPACITY {
            state.queue.push_back(event)
        } else {
            state.lost += 1
        }
        if state.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("pinhold-events".to_owned());
            // Without a thread now, the next event tries again.
            let thread = thread.spawn(move || shared.run());
            state.thread = thread.ok().map(|thread| thread.thread().id());
        }
        let is_half_full = state.queue.len() >= CAPACITY / 2;
        if state.phase == Phase::Idle || (state.phase == Phase::Gathering && is_half_full) {
            state.phase = Phase::Telling;
            drop(state);
            self.shared.arrived.notify_one();
        }
    }

    fn flush(&self, within: Duration) -> bool {
        let until = Instant::now() + within.min(LONGEST);
        let flushed = || {
            let rest = until.saturating_duration_since(Instant::now());
            self.shared
                .reporter
                .get()
                .is_none_or(|known| known.flush(rest))
        };
        // What the reporter gave up is told last.
        self.wait_until_told(until)
            && catch_unwind(AssertUnwindSafe(flushed)).unwrap_or(false)
            && self.wait_until_told(until)
    }
}

impl StorageErrorListener for EventQueue {
    fn on_storage_error(&self, error: &StorageError) {
        self.emit(Event::StorageFailed(error.clone()));
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        if let Some(closing) = self.closing.get() {
            closing();
        }
        self.shared.state.lock().is_closed = true;
        self.shared.arrived.notify_one();
    }
}

impl State {
    fn next(&mut self) -> Option<Event> {
        let lost = std::mem::take(&mut self.lost);
        match self.queue.pop_front() {
            Some(event) => {
                self.lost = lost;
                Some(event)
            }
            None => (lost > 0).then_some(Event::Lost { events: lost }),
        }
    }

    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.lost == 0 && self.phase != Phase::Telling
    }

    fn is_pressed(&self) -> bool {
        self.is_closed || self.flushing > 0 || self.queue.len() >= CAPACITY / 2
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            state.phase = Phase::Telling;
            while let Some(event) = state.next() {
                drop(state);
                self.handle(event);
                state = self.state.lock();
            }
            state.phase = Phase::Idle;
            self.emitted.notify_all();
            if state.is_closed || self.arrived.wait_for(&mut state, IDLE).timed_out() {
                state.phase = Phase::Idle;
                if state.is_done() {
                    state.thread = None;
                    return;
                }
            }
            if !state.is_pressed() {
                state.phase = Phase::Gathering;
                self.arrived.wait_for(&mut state, GATHERING);
            }
        }
    }

    fn handle(&self, event: Event) {
        if matches!(event, Event::Lost { .. }) {
            event.trace();
        }
        self.call(&event);
        let (Event::Violation(report) | Event::WouldBeViolation(report)) = event else {
            return;
        };
        let Some(reporter) = self.reporter.get() else {
            return;
        };
        // 7469-2.6-j, and what ends in a root of unknown origin is the network's own affair.
        if report.violation().chain().anchor_origin() != AnchorOrigin::BuiltIn {
            return;
        }
        let taken = catch_unwind(AssertUnwindSafe(|| reporter.report(report.clone())));
        if let Err(reason) = taken.unwrap_or(Err(DropReason::Reporter)) {
            let event = Event::ReportDropped {
                report,
                endpoint: None,
                reason,
            };
            event.trace();
            self.call(&event);
        }
    }

    fn call(&self, event: &Event) {
        for callback in &self.callbacks {
            // Ours to survive, theirs to mend: the panic hook has told.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(event)));
        }
    }
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventQueue")
            .field("callbacks", &self.shared.callbacks.len())
            .field("reports", &self.shared.reporter.get().is_some())
            .finish_non_exhaustive()
    }
}

/// Events that wait for observers. Each may hold a served chain, of some kilobytes, and of 64 KB if a
/// hostile server makes it: 16 MB at most.
const CAPACITY: usize = 256;
/// How long events come together before they are told: nobody sees the delay, and a flood of
/// connections wakes the thread fifty times a second, not each time.
const GATHERING: Duration = Duration::from_millis(20);
/// How long the thread stays for more.
const IDLE: Duration = Duration::from_secs(10);
/// An instant can't count up to `Duration::MAX`.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
