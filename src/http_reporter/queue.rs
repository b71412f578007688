//! The queue of reports, and the thread that sends them. The thread ends when the queue is empty.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::http_reporter::endpoint::Endpoint;
use crate::http_reporter::rate_limit::{RateLimit, Share};
use crate::http_reporter::transport::{Failure, Transport};
use crate::pinning::Pinning;
use crate::policy::sha256;
use crate::store::{Worker, deadline};
use crate::violation::{DeliveryError, DropReason, EndpointError, Report, ReportForm};

/// Reports that are queued or being sent.
pub(crate) struct Queue {
    pinning: Pinning,
    delivery: Delivery,
    transport: Transport,
    state: Mutex<State>,
    /// Wakes callers of `flush` when a report is finished.
    finished: Condvar,
    /// Wakes the thread when a report is queued or finished.
    changed: Notify,
    /// Ends all current backoffs.
    skip_backoff: Notify,
}

/// What requests contain, and how long they take.
pub(crate) struct Delivery {
    pub(crate) form: ReportForm,
    pub(crate) media_type: HeaderValue,
    pub(crate) timeout: Duration,
    pub(crate) backoff: Duration,
}

struct State {
    rate_limit: RateLimit,
    queued: VecDeque<Job>,
    /// Of each report that is queued or being sent, including those in a backoff. Backoffs may be
    /// longer than the hour of the rate limit, so the shares in the queue are limited as well.
    shares: Vec<Share>,
    /// The number of reports that are being sent, including those in a backoff.
    in_flight: usize,
    worker: Worker,
    /// The number of calls of `flush`.
    flushes: u64,
    is_closed: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.queued.is_empty()
    }

    /// Removes the share of a report that was sent or dropped.
    fn remove_share(&mut self, share: &Share) {
        if let Some(index) = self.shares.iter().position(|known| known == share) {
            self.shares.swap_remove(index);
        }
    }
}

/// One report for one endpoint.
struct Job {
    report: Report,
    endpoint: Endpoint,
    key: [u8; 32],
    share: Share,
}

impl Queue {
    pub(crate) fn new(pinning: Pinning, delivery: Delivery, transport: Transport) -> Self {
        Self {
            pinning,
            delivery,
            transport,
            state: Mutex::new(State {
                rate_limit: RateLimit::default(),
                queued: VecDeque::new(),
                shares: Vec::new(),
                in_flight: 0,
                worker: Worker::new("pinhold-reports"),
                flushes: 0,
                is_closed: false,
            }),
            finished: Condvar::new(),
            changed: Notify::new(),
            skip_backoff: Notify::new(),
        }
    }

    pub(crate) fn pinning(&self) -> &Pinning {
        &self.pinning
    }

    /// Adds a report for an endpoint. [`start`](Self::start) must follow.
    pub(crate) fn push(&self, report: Report, endpoint: Endpoint) -> Result<(), DropReason> {
        let key = sha256(&[&report.key(), endpoint.id().as_bytes()]);
        let violation = report.violation();
        let share = Share {
            origin: endpoint.origin(),
            source: violation.policy().source,
        };
        let mut state = self.state.lock();
        state.rate_limit.admit(key, &share, violation.at())?;
        if share.exceeds_limit(state.shares.iter()) {
            state.rate_limit.allow_again(key);
            return Err(DropReason::QueueFull);
        }
        state.shares.push(share.clone());
        state.queued.push_back(Job {
            report,
            endpoint,
            key,
            share,
        });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Starts the thread, unless it runs or the queue is empty.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if !state.queued.is_empty() {
            let queue = Arc::clone(self);
            // If no thread can be started now, the next report tries again.
            let _ = state.worker.start(move || queue.run());
        }
    }

    /// Waits until no report is left, for at most this time, and returns whether none is left.
    pub(crate) fn flush(self: &Arc<Self>, within: Duration) -> bool {
        let until = deadline(within);
        // An earlier attempt to start the thread may have failed.
        self.start();
        self.state.lock().flushes += 1;
        self.skip_backoff.notify_waiters();
        let mut state = self.state.lock();
        while !state.is_idle() && state.worker.is_running() {
            if self.finished.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.is_idle()
    }

    /// Limits each report that is left to one more attempt.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
        self.skip_backoff.notify_waiters();
    }

    fn run(self: Arc<Self>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            runtime.block_on(Arc::clone(&self).send_all());
        } else {
            let mut state = self.state.lock();
            state.worker.stopped();
            let queued = std::mem::take(&mut state.queued);
            state.shares.clear();
            drop(state);
            for job in queued {
                self.drop_report(&job, DropReason::Reporter);
            }
        }
        self.finished.notify_all();
    }

    /// Sends reports until none is left. Each is sent in a task of its own, so that an endpoint
    /// that does not respond delays no other one.
    async fn send_all(self: Arc<Self>) {
        while let Some(jobs) = self.take_queued() {
            for job in jobs {
                tokio::spawn(Arc::clone(&self).send(job));
            }
            self.changed.notified().await;
        }
    }

    /// Returns the queued reports. When no report is left, returns `None` and marks the thread as
    /// stopped.
    fn take_queued(&self) -> Option<VecDeque<Job>> {
        let mut state = self.state.lock();
        let jobs = std::mem::take(&mut state.queued);
        state.in_flight += jobs.len();
        if state.in_flight == 0 {
            state.worker.stopped();
            return None;
        }
        Some(jobs)
    }

    async fn send(self: Arc<Self>, job: Job) {
        let job = Arc::new(job);
        // In a task of its own, because the application's resolver may panic.
        let delivery = tokio::spawn(Arc::clone(&self).deliver(Arc::clone(&job))).await;
        if let Err(reason) = delivery.unwrap_or(Err(DropReason::Reporter)) {
            self.drop_report(&job, reason);
        }
        let mut state = self.state.lock();
        state.in_flight -= 1;
        state.remove_share(&job.share);
        drop(state);
        self.finished.notify_all();
        self.changed.notify_one();
    }

    /// Emits the event of a report that is not sent, and lets an equal report be sent.
    fn drop_report(&self, job: &Job, reason: DropReason) {
        self.state.lock().rate_limit.allow_again(job.key);
        let uri = job.endpoint.report_uri();
        self.pinning.emit_dropped(job.report.clone(), uri, reason);
    }

    async fn deliver(self: Arc<Self>, job: Arc<Job>) -> Result<(), DropReason> {
        let body = job.report.to_json(&self.delivery.form);
        let (mut backoff, mut attempts) = (self.delivery.backoff, 0);
        loop {
            attempts += 1;
            let flushes = self.state.lock().flushes;
            let last = match self.attempt(&job, &body).await {
                Ok(()) => return Ok(()),
                Err(Failure::Permanent(reason)) => return Err(reason),
                Err(Failure::Attempt(error)) => error,
            };
            let may_retry = attempts < MAX_ATTEMPTS && last.is_temporary();
            if !may_retry || self.state.lock().is_closed {
                return Err(DropReason::GaveUp { attempts, last });
            }
            self.back_off(backoff, flushes).await;
            backoff = backoff.saturating_mul(2).min(MAX_BACKOFF);
        }
    }

    /// Waits until the next attempt is due. Ends at once if there was a flush since the last attempt
    /// began, when `flushes` was counted, or if the application has dropped its last handle.
    async fn back_off(&self, backoff: Duration, flushes: u64) {
        // Enabled before the state is read, so that a flush or close in between is not missed.
        let mut skipped = pin!(self.skip_backoff.notified());
        skipped.as_mut().enable();
        let is_skipped = {
            let state = self.state.lock();
            // Each flush skips one backoff and no more: otherwise all attempts would be used up
            // while an endpoint is down for a second.
            state.is_closed || state.flushes != flushes
        };
        if !is_skipped {
            let _ = tokio::time::timeout(backoff, skipped).await;
        }
    }

    async fn attempt(&self, job: &Job, body: &str) -> Result<(), Failure> {
        let id = format!("\"{}\"", job.report.id());
        let request = Request::post(job.endpoint.uri().clone())
            .header(CONTENT_TYPE, self.delivery.media_type.clone())
            .header(USER_AGENT, concat!("pinhold/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", id)
            .body(body.to_owned());
        let uri = DropReason::Endpoint(EndpointError::Uri);
        let request = request.map_err(|_| Failure::Permanent(uri))?;
        let response = self.transport.send(job.endpoint.named_by(), request);
        let status = tokio::time::timeout(self.delivery.timeout, response)
            .await
            .map_err(|_| Failure::Attempt(DeliveryError::Timeout))??;
        if !status.is_success() {
            let error = DeliveryError::Status(status.as_u16());
            return Err(Failure::Attempt(error));
        }
        Ok(())
    }
}

/// With a first backoff of one second, the four backoffs take 15 seconds together.
const MAX_ATTEMPTS: u32 = 5;
const MAX_BACKOFF: Duration = Duration::from_secs(60 * 60);
