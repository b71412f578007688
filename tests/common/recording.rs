//! An observer and a reporter that hand on what they are told.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use http::Response;
use pinhold::header::IgnoreReason;
use pinhold::layer::NotePins;
use pinhold::report::{DropReason, Report, Reporter};
use pinhold::{Event, PinPolicy, PinViolation, Pinning, PinningBuilder, TrustAnchors};

use super::pki::{Ca, Leaf};
use super::server::{HyperClient, Names, Server, client, get};
use super::validated::built_in_anchors;
use super::{Clock, TIMEOUT, policy_with, unrelated_pin};

pub const URI: &str = "https://example.com:8443/";

/// Hands every report on.
pub struct ChannelReporter(pub Sender<Report>);

impl Reporter for ChannelReporter {
    fn report(&self, report: Report) -> Result<(), DropReason> {
        // The test may have ended.
        let _ = self.0.send(report);
        Ok(())
    }
}

/// What was told of a [`Pinning`], since it was asked last.
pub struct Recorder {
    events: Receiver<Event>,
    reports: Receiver<Report>,
}

/// The pins, with an observer and a reporter.
pub fn with_recorder(builder: PinningBuilder) -> (Pinning, Recorder) {
    let (events, told) = channel();
    let (reports, reported) = channel();
    let builder = builder.observer(move |event| drop(events.send(event.clone())));
    let pinning = builder
        .reporter(|_| Ok(ChannelReporter(reports)))
        .build()
        .unwrap();
    let told = Recorder {
        events: told,
        reports: reported,
    };
    (pinning, told)
}

impl Recorder {
    pub fn events(&self, pinning: &Pinning) -> Vec<Event> {
        assert!(pinning.flush_reports(TIMEOUT));
        self.events.try_iter().collect()
    }

    pub fn reports(&self, pinning: &Pinning) -> Vec<Report> {
        assert!(pinning.flush_reports(TIMEOUT));
        self.reports.try_iter().collect()
    }

    /// Drains both: nothing was told, nothing reported.
    #[track_caller]
    pub fn assert_nothing(&self, pinning: &Pinning) {
        let (events, reports) = (self.events(pinning), self.reports(pinning));
        assert!(events.is_empty() && reports.is_empty(), "{events:?}");
    }

    /// The one event there is, which tells what would have been refused.
    #[track_caller]
    pub fn would_be_violation(&self, pinning: &Pinning) -> PinViolation {
        match &self.events(pinning)[..] {
            [Event::WouldBeViolation(report)] => report.violation().clone(),
            events => panic!("{events:?}"),
        }
    }

    /// The one event there is, which tells of a refusal.
    #[track_caller]
    pub fn violation(&self, pinning: &Pinning) -> PinViolation {
        match &self.events(pinning)[..] {
            [Event::Violation(report)] => report.violation().clone(),
            events => panic!("{events:?}"),
        }
    }

    /// Why a header was ignored, which is the one event there is.
    #[track_caller]
    pub fn ignore_reason(&self, pinning: &Pinning) -> IgnoreReason {
        match &self.events(pinning)[..] {
            [Event::HeaderIgnored { reason, .. }] => reason.clone(),
            events => panic!("{events:?}"),
        }
    }
}

/// A server, to be visited by clients with pins.
pub struct Fixture {
    pub root: Ca,
    pub leaf: Leaf,
    pub server: Server,
}

impl Fixture {
    pub async fn start() -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let server = Server::start(&leaf, &[]).await;
        Self { root, leaf, server }
    }

    /// As [`start`](Self::start), and its answers have these fields.
    pub async fn with_fields(fields: &[(&'static str, &str)]) -> Self {
        let fixture = Self::start().await;
        let server = Server::start(&fixture.leaf, fields).await;
        Self { server, ..fixture }
    }

    pub fn client(&self, pinning: &Pinning) -> NotePins<HyperClient> {
        let names = Names::new([("example.com", &self.server)]);
        client(pinning, built_in_anchors(&[&self.root]), &names)
    }

    /// By a client of its own.
    pub async fn visit(&self, pinning: &Pinning) -> Visit {
        self.visit_at(&self.server, pinning).await
    }

    pub async fn visit_by(&self, pinning: &Pinning, anchors: TrustAnchors) -> Visit {
        let names = Names::new([("example.com", &self.server)]);
        let visit = get(&mut client(pinning, anchors, &names), URI).await;
        visit.map_err(|error| PinViolation::find(&error))
    }

    /// At another server with the same root.
    pub async fn visit_at(&self, server: &Server, pinning: &Pinning) -> Visit {
        let names = Names::new([("example.com", server)]);
        let visit = get(
            &mut client(pinning, built_in_anchors(&[&self.root]), &names),
            URI,
        )
        .await;
        visit.map_err(|error| PinViolation::find(&error))
    }
}

pub type Visit = Result<Response<Bytes>, Option<PinViolation>>;

pub fn builder() -> PinningBuilder {
    Pinning::builder().time_provider(Clock::new())
}

/// The builder, and what an observer is told.
pub fn with_observer(builder: PinningBuilder) -> (PinningBuilder, Receiver<Event>) {
    let (sender, events) = channel();
    let builder = builder.observer(move |event| drop(sender.send(event.clone())));
    (builder, events)
}

pub fn failing_policy() -> PinPolicy {
    policy_with(unrelated_pin())
}

pub fn next_event(events: &Receiver<Event>) -> Event {
    events.recv_timeout(TIMEOUT).unwrap()
}

/// What any number of observers wait for.
#[derive(Clone, Default)]
pub struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    pub fn release(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(closed, TIMEOUT, |open| !*open);
        assert!(!waited.unwrap().1.timed_out());
    }
}

/// Releases the latch when dropped, so that a test that failed ends.
pub struct ReleaseOnDrop(pub Latch);

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        self.0.release();
    }
}
