//! Delivery of events to observers and to the reporter, by a thread of its own.
//!
//! Events are added to bounded lanes: no handshake waits for an observer or for a report.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::pinning::event::Event;
use crate::pinning::lanes::Lanes;
use crate::policy::AnchorOrigin;
use crate::store::{StorageError, StorageErrorListener, Worker, contain, deadline};
use crate::violation::{DropReason, Reporter};

/// The receivers of the events of a [`Pinning`](crate::Pinning).
#[derive(Clone)]
pub(crate) enum Observers {
    All(Arc<dyn EventSink>),
    None,
    /// No event is emitted, not even to `tracing`: that of a copy of the pins.
    #[cfg(feature = "self-test")]
    Silent,
    /// Those of the handle that the reporter has, which receive the outcome of reports only. A
    /// report about a connection of the reporter would cause another such connection, without end.
    /// They exist as long as the reporter sends, after the application's last handle is dropped.
    ReportsOnly(Arc<dyn EventSink>),
}

/// A receiver of events. It is a trait, so that a client without observers does not contain
/// [`EventQueue`] and its thread.
pub(crate) trait EventSink: Send + Sync {
    fn emit(&self, event: Event);

    /// Waits until every event is delivered and reported. Returns whether that was done in time.
    fn flush(&self, within: Duration) -> bool;
}

impl Observers {
    /// Returns whether the handle is that of a reporter.
    pub(crate) fn are_of_reporter(&self) -> bool {
        matches!(self, Self::ReportsOnly(_))
    }

    /// Returns the receiver of all events.
    #[cfg(feature = "bundles")]
    pub(crate) fn sink(&self) -> Option<Weak<dyn EventSink>> {
        match self {
            Self::All(sink) => Some(Arc::downgrade(sink)),
            _ => None,
        }
    }

    pub(crate) fn emit(&self, event: Event) {
        #[cfg(feature = "self-test")]
        if matches!(self, Self::Silent) {
            return;
        }
        event.trace();
        match self {
            Self::All(observers) => observers.emit(event),
            Self::ReportsOnly(observers) if matches!(event, Event::ReportDropped { .. }) => {
                observers.emit(event);
            }
            _ => {}
        }
    }
}

pub(crate) type Callback = Box<dyn Fn(&Event) + Send + Sync>;

/// Handle to the queue and its thread, with the reporter. Dropping it delivers the remaining events
/// and drops the reporter.
pub(crate) struct EventQueue {
    shared: Arc<SharedQueue>,
    /// See [`set_reporter`](Self::set_reporter).
    on_drop: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// The queue without the reporter's fate: events of the reporter and of the store are delivered
/// after the [`EventQueue`] is dropped, too.
pub(crate) struct SharedQueue {
    /// This queue itself, for its thread.
    this: Weak<Self>,
    state: Mutex<State>,
    /// Signals the thread that events arrived.
    arrived: Condvar,
    /// Signals the threads that wait in `flush` that the queue is empty.
    delivered: Condvar,
    callbacks: Vec<Callback>,
}

struct State {
    lanes: Lanes,
    /// Taken once the queue is closed: the reporter may own a handle to this queue.
    reporter: Option<Arc<dyn Reporter>>,
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
            lanes: Lanes::default(),
            reporter: None,
            worker: Worker::new("pinhold-events"),
            phase: Phase::default(),
            flushing: 0,
            is_closed: false,
        };
        let shared = Arc::new_cyclic(|this| SharedQueue {
            this: Weak::clone(this),
            state: Mutex::new(state),
            arrived: Condvar::new(),
            delivered: Condvar::new(),
            callbacks,
        });
        Self {
            shared,
            on_drop: OnceLock::new(),
        }
    }

    /// Returns the queue, for receivers of events that may outlive this handle.
    pub(crate) fn shared(&self) -> &Arc<SharedQueue> {
        &self.shared
    }

    /// Sets the reporter, once. Its threads own a handle to the pins, which therefore outlives the
    /// last handle of the application. `on_drop` is called when that one is dropped.
    pub(crate) fn set_reporter(
        &self,
        reporter: Arc<dyn Reporter>,
        on_drop: impl Fn() + Send + Sync + 'static,
    ) {
        self.shared.state.lock().reporter.get_or_insert(reporter);
        self.on_drop.get_or_init(|| Box::new(on_drop));
    }
}

impl EventSink for EventQueue {
    fn emit(&self, event: Event) {
        self.shared.push(event);
    }

    fn flush(&self, within: Duration) -> bool {
        let until = deadline(within);
        let reporter = self.shared.state.lock().reporter.clone();
        let flush_reporter = || {
            let rest = until.saturating_duration_since(Instant::now());
            reporter.is_none_or(|reporter| reporter.flush(rest))
        };
        // The reporter emits an event for each report that it drops, which is delivered last.
        self.shared.wait_until_delivered(until)
            && contain(flush_reporter).unwrap_or(false)
            && self.shared.wait_until_delivered(until)
    }
}

impl EventSink for SharedQueue {
    fn emit(&self, event: Event) {
        self.push(event);
    }

    fn flush(&self, within: Duration) -> bool {
        self.wait_until_delivered(deadline(within))
    }
}

impl StorageErrorListener for SharedQueue {
    fn on_storage_error(&self, error: &StorageError) {
        self.push(Event::StorageFailed(error.clone()));
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.get() {
            on_drop();
        }
        self.shared.close();
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.lanes.is_empty() && self.phase != Phase::Delivering
    }

    fn is_urgent(&self) -> bool {
        self.is_closed || self.flushing > 0 || self.lanes.is_half_full()
    }
}

impl SharedQueue {
    fn push(&self, event: Event) {
        let mut state = self.state.lock();
        state.lanes.push(event);
        self.start(&mut state);
        let is_half_full = state.lanes.is_half_full();
        if state.phase == Phase::Idle || (state.phase == Phase::Gathering && is_half_full) {
            state.phase = Phase::Delivering;
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Starts the thread, unless it runs.
    fn start(&self, state: &mut State) {
        if let (false, Some(shared)) = (state.worker.is_running(), self.this.upgrade()) {
            // If no thread can be started now, the next event tries again.
            let _ = state.worker.start(move || shared.run());
        }
    }

    /// Lets the thread deliver the remaining events, drop the reporter, and end.
    fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        // The thread drops the reporter, which may own the last handle of a store: dropping that
        // waits for the disk, as the application's thread has just done.
        if state.reporter.is_some() || !state.lanes.is_empty() {
            self.start(&mut state);
        }
        let has_thread = state.worker.is_running();
        let reporter = if has_thread {
            None
        } else {
            state.reporter.take()
        };
        drop(state);
        self.arrived.notify_one();
        contain(|| drop(reporter));
    }

    fn wait_until_delivered(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        // An observer that flushes would wait for itself.
        if state.worker.is_current_thread() {
            return false;
        }
        state.flushing += 1;
        self.arrived.notify_one();
        while state.worker.is_running() && !state.is_done() {
            let waited = self.delivered.wait_until(&mut state, until);
            if waited.timed_out() {
                break;
            }
        }
        state.flushing -= 1;
        state.is_done()
    }

    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            state.phase = Phase::Delivering;
            while let Some(event) = state.lanes.pop() {
                drop(state);
                self.deliver(event);
                state = self.state.lock();
            }
            state.phase = Phase::Idle;
            self.delivered.notify_all();
            if state.is_closed
                && let Some(reporter) = state.reporter.take()
            {
                drop(state);
                contain(|| drop(reporter));
                state = self.state.lock();
                continue;
            }
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
        let Some(reporter) = self.state.lock().reporter.clone() else {
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
            .field("reports", &self.shared.state.lock().reporter.is_some())
            .finish_non_exhaustive()
    }
}

/// How long events are gathered before they are delivered. No user notices the delay, and many
/// connections wake the thread at most fifty times a second, not once each.
const GATHERING: Duration = Duration::from_millis(20);
/// How long the thread waits for more events before it ends.
const IDLE: Duration = Duration::from_secs(10);
