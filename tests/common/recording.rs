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
use super::validated::trusting;
use super::{Clock, PATIENCE, foreign_pin, pinned_to};

pub const URI: &str = "https://example.com:8443/";

/// Hands every report on.
pub struct Forward(pub Sender<Report>);

impl Reporter for Forward {
    fn report(&self, report: Report) -> Result<(), DropReason> {
        // The test may have ended.
        let _ = self.0.send(report);
        Ok(())
    }
}

/// What was told of a [`Pinning`], since it was asked last.
pub struct Told {
    events: Receiver<Event>,
    reports: Receiver<Report>,
}

/// The pins, with an observer and a reporter.
pub fn told_by(builder: PinningBuilder) -> (Pinning, Told) {
    let (events, told) = channel();
    let (reports, reported) = channel();
    let builder = builder.observer(move |event| drop(events.send(event.clone())));
    let pinning = builder.reporter(|_| Ok(Forward(reports))).build().unwrap();
    let told = Told {
        events: told,
        reports: reported,
    };
    (pinning, told)
}

impl Told {
    pub fn events(&self, pinning: &Pinning) -> Vec<Event> {
        assert!(pinning.flush_reports(PATIENCE));
        self.events.try_iter().collect()
    }

    pub fn reports(&self, pinning: &Pinning) -> Vec<Report> {
        assert!(pinning.flush_reports(PATIENCE));
        self.reports.try_iter().collect()
    }

    /// Drains both: nothing was told, nothing reported.
    #[track_caller]
    pub fn nothing(&self, pinning: &Pinning) {
        let (events, reports) = (self.events(pinning), self.reports(pinning));
        assert!(events.is_empty() && reports.is_empty(), "{events:?}");
    }

    /// The one event there is, which tells what would have been refused.
    #[track_caller]
    pub fn would_be(&self, pinning: &Pinning) -> PinViolation {
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
    pub fn ignored(&self, pinning: &Pinning) -> IgnoreReason {
        match &self.events(pinning)[..] {
            [Event::HeaderIgnored { reason, .. }] => reason.clone(),
            events => panic!("{events:?}"),
        }
    }
}

/// A server, to be visited by clients with pins.
pub struct Scene {
    pub root: Ca,
    pub leaf: Leaf,
    pub server: Server,
}

impl Scene {
    pub async fn start() -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let server = Server::start(&leaf, &[]).await;
        Self { root, leaf, server }
    }

    /// As [`start`](Self::start), and its answers have these fields.
    pub async fn answering(fields: &[(&'static str, &str)]) -> Self {
        let scene = Self::start().await;
        let server = Server::start(&scene.leaf, fields).await;
        Self { server, ..scene }
    }

    pub fn client(&self, pinning: &Pinning) -> NotePins<HyperClient> {
        let names = Names::new([("example.com", &self.server)]);
        client(pinning, trusting(&[&self.root]), &names)
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
        let visit = get(&mut client(pinning, trusting(&[&self.root]), &names), URI).await;
        visit.map_err(|error| PinViolation::find(&error))
    }
}

pub type Visit = Result<Response<Bytes>, Option<PinViolation>>;

pub fn builder() -> PinningBuilder {
    Pinning::builder().time_provider(Clock::new())
}

/// The builder, and what an observer is told.
pub fn observed(builder: PinningBuilder) -> (PinningBuilder, Receiver<Event>) {
    let (sender, events) = channel();
    let builder = builder.observer(move |event| drop(sender.send(event.clone())));
    (builder, events)
}

pub fn failing() -> PinPolicy {
    pinned_to(foreign_pin())
}

pub fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(PATIENCE).unwrap()
}

/// What any number of observers wait for.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(closed, PATIENCE, |open| !*open);
        assert!(!waited.unwrap().1.timed_out());
    }
}

/// Opens the gate when dropped, so that a test that failed ends.
pub struct Opens(pub Gate);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}
