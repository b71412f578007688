//! The recording of connections: their events, which a [`Pinning`] emits to observers, and counts.
//!
//! Code that only evaluates emits nothing. The connector emits after the handshake, when the port
//! is known and the server has proved that it has its key. The verifier emits if no connector of
//! this crate observes the handshake.

use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::pinning::evaluation::{Decision, Evaluation, Policies};
use crate::pinning::event::Event;
use crate::pinning::handle::Pinning;
use crate::pinning::noting::Noted;
use crate::pinning::observers::Observers;
#[cfg(all(feature = "hyper", feature = "reports"))]
use crate::policy::ReportUri;
use crate::policy::{Host, PolicyState};
#[cfg(all(feature = "hyper", feature = "reports"))]
use crate::violation::DropReason;
use crate::violation::{PinViolation, Report, UnverifiablePath};

impl Pinning {
    /// Records a connection: counts it unless it is refused, and emits its events. `decision` is
    /// that of the evaluation.
    pub(crate) fn record_connection(
        &self,
        evaluation: &Evaluation,
        decision: &Decision,
        port: Option<u16>,
    ) {
        #[cfg(feature = "bundles")]
        {
            self.report_stale_bundle();
            self.report_fixed_without_backup(evaluation);
        }
        #[cfg(feature = "health")]
        self.record_health(evaluation);
        if let Some(unpinned) = evaluation.unpinned() {
            self.emit(Event::Unpinned(unpinned.clone()));
            if unpinned.is_refused() {
                return;
            }
        }
        #[cfg(feature = "ct")]
        self.report_missing_scts(evaluation);
        match decision {
            Decision::NotPinned => return,
            Decision::Refuse(violation) => return self.emit_violation(violation, port),
            Decision::Pass | Decision::ReportOnly(_) => {}
            Decision::Skipped => {
                if let Some(host) = evaluation.host().cloned() {
                    self.emit(Event::Skipped { host });
                }
            }
        }
        // Where an enforced policy was skipped, a report-only one may still have failed.
        if let Some(violation) = evaluation.would_be_violation() {
            for violation in violation.each() {
                self.emit(Event::WouldBeViolation(report(violation, port)));
            }
        }
        evaluation.count();
    }

    /// Records a server for which no path could be validated. It is counted as a failure of pins
    /// that are rolled out, since these would have refused it.
    pub(crate) fn record_unverifiable(
        &self,
        unverifiable: &UnverifiablePath,
        policies: &Policies,
        now: UnixTime,
    ) {
        let policy = unverifiable.policy();
        let is_report_only = policy.is_some_and(|policy| policy.state == PolicyState::ReportOnly);
        if is_report_only && let Some(tally) = &policies.tally {
            tally.count(&[], false, now);
        }
        #[cfg(feature = "health")]
        self.count_unverifiable(policies, now);
        self.emit(Event::Unverifiable(unverifiable.clone()));
    }

    /// Emits a violation for each policy by which a connection was refused or closed.
    pub(crate) fn emit_violation(&self, violation: &PinViolation, port: Option<u16>) {
        #[cfg(all(feature = "bundles", feature = "hyper"))]
        self.start_recovery(violation);
        #[cfg(feature = "health")]
        self.count_refused(violation);
        for violation in violation.each() {
            self.emit(Event::Violation(report(violation, port)));
        }
    }

    /// Emits a would-be violation of the pins of a report-only header.
    #[cfg(feature = "hyper")]
    pub(crate) fn emit_would_be_violation(&self, violation: &PinViolation, port: u16) {
        let report = report(violation.clone(), Some(port));
        self.emit(Event::WouldBeViolation(report));
    }

    /// Emits that a violation is not reported.
    #[cfg(all(feature = "hyper", feature = "reports"))]
    pub(crate) fn emit_dropped(
        &self,
        report: Report,
        endpoint: Option<ReportUri>,
        reason: DropReason,
    ) {
        self.emit(Event::ReportDropped {
            report,
            endpoint,
            reason,
        });
    }

    /// Emits the outcome of a header.
    pub(crate) fn emit_noted(&self, host: Option<&Host>, noted: &Noted) {
        let event = match (noted, host.cloned()) {
            (Noted::Ignored(reason), host) => Event::HeaderIgnored {
                host,
                reason: reason.clone(),
                headers: 1,
            },
            (Noted::Removed(reason), Some(host)) => Event::Removed {
                host,
                reason: *reason,
            },
            (_, Some(host)) => Event::Noted { host },
            (_, None) => return,
        };
        self.emit(event);
    }

    /// Emits that entries of the store were noted in the future of the clock, if there are any.
    pub(crate) fn emit_clock_behind(&self) {
        if let Some(now) = self.clock().current_time() {
            let entries = self.store().noted_after(now);
            if entries > 0 {
                self.emit(Event::ClockBehind { entries, now });
            }
        }
    }

    /// Emits an event. Must not be called while a lock is held: a `tracing` subscriber is code of
    /// the application.
    pub(crate) fn emit(&self, event: Event) {
        self.observers.emit(event);
    }

    /// Waits until observers have received every event and the reporter has sent its reports, for
    /// at most `within`. Returns whether all of that was done. A mobile application calls it before
    /// it is suspended.
    ///
    /// Blocks the thread. If an observer calls it, it returns `false` at once.
    pub fn flush_reports(&self, within: Duration) -> bool {
        match &self.observers {
            Observers::All(observers) => observers.flush(within),
            _ => true,
        }
    }
}

fn report(violation: PinViolation, port: Option<u16>) -> Report {
    let report = Report::new(violation);
    match port {
        Some(port) => report.with_port(port),
        None => report,
    }
}
