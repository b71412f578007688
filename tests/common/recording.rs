//! Observers and reporters that record what they receive, and a server to trigger events.

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

/// A reporter that sends every report over a channel.
pub struct ChannelReporter(pub Sender<Report>);

impl Reporter for ChannelReporter {
    fn report(&self, report: Report) -> Result<(), DropReason> {
        // Fails if the test has ended and dropped the receiver.
        let _ = self.0.send(report);
        Ok(())
    }
}

/// The events and reports of a [`Pinning`] since the last call of each method.
pub struct Recorder {
    events: Receiver<Event>,
    reports: Receiver<Report>,
}

/// Builds a [`Pinning`] whose events and reports are recorded.
pub fn with_recorder(builder: PinningBuilder) -> (Pinning, Recorder) {
    let (events, recorded_events) = channel();
    let (reports, recorded_reports) = channel();
    let builder = builder.observer(move |event| drop(events.send(event.clone())));
    let pinning = builder
        .reporter(|_| Ok(ChannelReporter(reports)))
        .build()
        .unwrap();
    let recorder = Recorder {
        events: recorded_events,
        reports: recorded_reports,
    };
    (pinning, recorder)
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

    /// Asserts that there was no event and no report.
    #[track_caller]
    pub fn assert_no_event_or_report(&self, pinning: &Pinning) {
        let (events, reports) = (self.events(pinning), self.reports(pinning));
        assert!(events.is_empty() && reports.is_empty(), "{events:?}");
    }

    /// Returns the violation of the only event, which must be a report-only one.
    #[track_caller]
    pub fn would_be_violation(&self, pinning: &Pinning) -> PinViolation {
        match &self.events(pinning)[..] {
            [Event::WouldBeViolation(report)] => report.violation().clone(),
            events => panic!("expected one report-only violation: {events:?}"),
        }
    }

    /// Returns the violation of the only event, which must be a refusal.
    #[track_caller]
    pub fn violation(&self, pinning: &Pinning) -> PinViolation {
        match &self.events(pinning)[..] {
            [Event::Violation(report)] => report.violation().clone(),
            events => panic!("expected one refusal: {events:?}"),
        }
    }

    /// Returns the reason of the only event, which must be an ignored header.
    #[track_caller]
    pub fn ignore_reason(&self, pinning: &Pinning) -> IgnoreReason {
        match &self.events(pinning)[..] {
            [Event::HeaderIgnored { reason, .. }] => reason.clone(),
            events => panic!("expected one ignored header: {events:?}"),
        }
    }
}

/// A server for `example.com` and the CA that issued its certificate.
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

    /// As [`start`](Self::start), with these header fields in each response.
    pub async fn with_fields(fields: &[(&'static str, &str)]) -> Self {
        let fixture = Self::start().await;
        let server = Server::start(&fixture.leaf, fields).await;
        Self { server, ..fixture }
    }

    pub fn client(&self, pinning: &Pinning) -> NotePins<HyperClient> {
        let names = Names::new([("example.com", &self.server)]);
        client(pinning, built_in_anchors(&[&self.root]), &names)
    }

    /// Sends a request with a new client.
    pub async fn visit(&self, pinning: &Pinning) -> Visit {
        self.visit_at(&self.server, pinning).await
    }

    /// Sends a request with a new client that has these anchors.
    pub async fn visit_by(&self, pinning: &Pinning, anchors: TrustAnchors) -> Visit {
        let names = Names::new([("example.com", &self.server)]);
        let visit = get(&mut client(pinning, anchors, &names), URI).await;
        visit.map_err(|error| PinViolation::find(&error))
    }

    /// Sends a request with a new client to another server with the same root.
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

/// The response, or the violation that made the request fail, if one did.
pub type Visit = Result<Response<Bytes>, Option<PinViolation>>;

/// A builder with a test clock.
pub fn builder() -> PinningBuilder {
    Pinning::builder().time_provider(Clock::new())
}

/// Adds an observer that sends every event over a channel.
pub fn with_observer(builder: PinningBuilder) -> (PinningBuilder, Receiver<Event>) {
    let (sender, events) = channel();
    let builder = builder.observer(move |event| drop(sender.send(event.clone())));
    (builder, events)
}

/// A policy whose pins match no key.
pub fn failing_policy() -> PinPolicy {
    policy_with(unrelated_pin())
}

pub fn next_event(events: &Receiver<Event>) -> Event {
    events.recv_timeout(TIMEOUT).unwrap()
}

/// Blocks any number of observers until it is released.
#[derive(Clone, Default)]
pub struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    pub fn release(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn wait(&self) {
        let released = self.0.0.lock().unwrap();
        let waited = self
            .0
            .1
            .wait_timeout_while(released, TIMEOUT, |released| !*released);
        assert!(!waited.unwrap().1.timed_out());
    }
}

/// Releases the latch when dropped, so that a failed test does not block.
pub struct ReleaseOnDrop(pub Latch);

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        self.0.release();
    }
}
