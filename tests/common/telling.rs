//! An observer and a reporter that hand on what they are told.

use std::sync::mpsc::{Receiver, Sender, channel};

use pinhold::{
    DropReason, Event, IgnoreReason, PinViolation, Pinning, PinningBuilder, Report, Reporter,
};

use super::PATIENCE;

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
