//! Delivery of events to observers and to the reporter, by a thread of its own.
//!
//! Events are added to a bounded queue: no handshake waits for an observer or for a report.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::pinning::event::Event;
use crate::policy::AnchorOrigin;
use crate::store::{StorageError, StorageErrorListener, Worker, contain, deadline};
use crate::violation::{DropReason, Reporter};

/// The receivers of the events of a [`Pinning`](crate::Pinning).
#[derive(Clone)]
pub(crate) enum Observers {
    All(Arc<dyn EventSink>),
    None,
    /// Those of the handle that the reporter has, which receive the outcome of reports only. A
    /// report about a connection of the reporter would cause another such connection, without end.
    ReportsOnly(Weak<dyn EventSink>),
}

/// A receiver of events. It is a trait, so that a client without observers does not contain
/// [`EventQueue`] and its thread.
pub(crate) trait EventSink: Send + Sync {
    fn emit(&self, event: Event);

    /// Waits until every event is delivered and reported. Returns whether that was done in time.
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

/// Handle to the queue and its thread. Dropping it delivers the remaining events.
pub(crate) struct EventQueue {
    shared: Arc<Shared>,
    /// See [`set_reporter`](Self::set_reporter).
    on_drop: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct Shared {
    state: Mutex<State>,
    /// Signals the thread that events arrived.
    arrived: Condvar,
    /// Signals the threads that wait in `flush` that the queue is empty.
    delivered: Condvar,
    callbacks: Vec<Callback>,
    reporter: OnceLock<Arc<dyn Reporter>>,
}

struct State {
    queue: VecDeque<Event>,
    lost: u64,
    worker: Worker,
    phase: Phase,
    /// The number of threads that wait in `flush`.
    flushing: usize,
    is_closed: bool,
}

/// The current activity of the thread.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    Delivering,
    /// Lets more events arrive, since each wake-up costs the emitting thread a system call.
    Gathering,
    /// Waits for an event.
    #[default]
    Idle,
}

impl EventQueue {
    pub(crate) fn new(callbacks: Vec<Callback>) -> Self {
        let state = State {
            queue: VecDeque::new(),
            lost: 0,
            worker: Worker::new("pinhold-events"),
            phase: Phase::default(),
            flushing: 0,
            is_closed: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            delivered: Condvar::new(),
            callbacks,
            reporter: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
            on_drop: OnceLock::new(),
        }
    }

    /// Sets the reporter, once. Its threads own a handle to the pins, which therefore outlives the
    /// last handle of the application. `on_drop` is called when that one is dropped.
    pub(crate) fn set_reporter(
        &self,
        reporter: Arc<dyn Reporter>,
        on_drop: impl Fn() + Send + Sync + 'static,
    ) {
        self.shared.reporter.get_or_init(|| reporter);
        self.on_drop.get_or_init(|| Box::new(on_drop));
    }

    fn wait_until_delivered(&self, until: Instant) -> bool {
        let mut state = self.shared.state.lock();
        // An observer that flushes would wait for itself.
        if state.worker.is_current_thread() {
            return false;
        }
        state.flushing += 1;
        self.shared.arrived.notify_one();
        while state.worker.is_running() && !state.is_done() {
            let waited = self.shared.delivered.wait_until(&mut state, until);
            if waited.timed_out() {
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
            state.queue.push_back(event);
        } else {
            state.lost += 1;
        }
        if !state.worker.is_running() {
            let shared = Arc::clone(&self.shared);
            // If no thread can be started now, the next event tries again.
            let _ = state.worker.start(move || shared.run());
        }
        let is_half_full = state.queue.len() >= CAPACITY / 2;
        if state.phase == Phase::Idle || (state.phase == Phase::Gathering && is_half_full) {
            state.phase = Phase::Delivering;
            drop(state);
            self.shared.arrived.notify_one();
        }
    }

    fn flush(&self, within: Duration) -> bool {
        let until = deadline(within);
        let flush_reporter = || {
            let rest = until.saturating_duration_since(Instant::now());
            let reporter = self.shared.reporter.get();
            reporter.is_none_or(|reporter| reporter.flush(rest))
        };
        // The reporter emits an event for each report that it drops, which is delivered last.
        self.wait_until_delivered(until)
            && contain(flush_reporter).unwrap_or(false)
            && self.wait_until_delivered(until)
    }
}

impl StorageErrorListener for EventQueue {
    fn on_storage_error(&self, error: &StorageError) {
        self.emit(Event::StorageFailed(error.clone()));
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.get() {
            on_drop();
        }
        self.shared.state.lock().is_closed = true;
        self.shared.arrived.notify_one();
    }
}

impl State {
    fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.queue.pop_front() {
            return Some(event);
        }
        let events = std::mem::take(&mut self.lost);
        (events > 0).then_some(Event::Lost { events })
    }

    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.lost == 0 && self.phase != Phase::Delivering
    }

    fn is_urgent(&self) -> bool {
        self.is_closed || self.flushing > 0 || self.queue.len() >= CAPACITY / 2
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            state.phase = Phase::Delivering;
            while let Some(event) = state.next() {
                drop(state);
                self.deliver(event);
                state = self.state.lock();
            }
            state.phase = Phase::Idle;
            self.delivered.notify_all();
            if state.is_closed || self.arrived.wait_for(&mut state, IDLE).timed_out() {
                state.phase = Phase::Idle;
                if state.is_done() {
                    state.worker.stopped();
                    return;
                }
            }
            if !state.is_urgent() {
                state.phase = Phase::Gathering;
                self.arrived.wait_for(&mut state, GATHERING);
            }
        }
    }

    fn deliver(&self, event: Event) {
        if matches!(event, Event::Lost { .. }) {
            event.trace();
        }
        self.call_observers(&event);
        let (Event::Violation(report) | Event::WouldBeViolation(report)) = event else {
            return;
        };
        let Some(reporter) = self.reporter.get() else {
            return;
        };
        // 7469-2.6-j. A root of unknown origin may be the network's own, and a report would show
        // who intercepts the user's traffic.
        if report.violation().chain().anchor_origin() != AnchorOrigin::BuiltIn {
            return;
        }
        let accepted = contain(|| reporter.report(report.clone()));
        if let Err(reason) = accepted.unwrap_or(Err(DropReason::Reporter)) {
            let event = Event::ReportDropped {
                report,
                endpoint: None,
                reason,
            };
            event.trace();
            self.call_observers(&event);
        }
    }

    fn call_observers(&self, event: &Event) {
        for callback in &self.callbacks {
            contain(|| callback(event));
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

/// The limit of events that wait for observers. Each may contain a served chain, which takes a few
/// kilobytes, or 64 KB from a hostile server: at most 16 MB in total.
const CAPACITY: usize = 256;
/// How long events are gathered before they are delivered. No user notices the delay, and many
/// connections wake the thread at most fifty times a second, not once each.
const GATHERING: Duration = Duration::from_millis(20);
/// How long the thread waits for more events before it ends.
const IDLE: Duration = Duration::from_secs(10);
