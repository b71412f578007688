//! Events as `tracing` events.

use crate::pinning::event::Event;

impl Event {
    #[cfg(all(feature = "bundles", feature = "tracing"))]
    fn trace_bundle(&self) {
        match self {
            Self::BundleApplied { version } => event!(INFO, %version, "pin bundle applied"),
            Self::BundleKilled { version, .. } => {
                event!(WARN, %version, "kill switch of a pin bundle");
            }
            Self::BundleRecovered { host, version } => {
                event!(WARN, %host, %version, "pins recovered by a pin bundle");
            }
            Self::BundleRefused(error) => event!(WARN, %error, "pin bundle refused"),
            Self::FixedWithoutBackup { host } => event!(WARN, %host, "fixed pins without a backup"),
            Self::BundleStaged { version, percent } => {
                event!(INFO, %version, percent, "pin bundle staged");
            }
            Self::BundleStale { version, .. } => event!(WARN, %version, "pin bundle is stale"),
            Self::BundleUnreadable { version, in_effect } => {
                event!(WARN, %version, %in_effect, "stored pin bundle is unreadable");
            }
            _ => {}
        }
    }

    #[cfg(all(feature = "health", feature = "tracing"))]
    fn trace_health(&self) {
        match self {
            Self::BackupNeverSeen { host } => event!(INFO, %host, "backup pin was never seen"),
            Self::BypassActive { host } => event!(WARN, %host, "pins are bypassed"),
            Self::ExpiresSoon { host, .. } => event!(WARN, %host, "pins expire soon"),
            Self::LastPin { host, pin } => event!(WARN, %host, %pin, "last pin"),
            Self::OnlyBackupMatches { host, pin } => {
                event!(WARN, %host, %pin, "only the backup pin matches");
            }
            Self::Stale { host, .. } => event!(WARN, %host, "pins are stale"),
            _ => {}
        }
    }

    /// Emits the event as a `tracing` event.
    pub(crate) fn trace(&self) {
        #[cfg(all(feature = "health", feature = "tracing"))]
        self.trace_health();
        #[cfg(all(feature = "bundles", feature = "tracing"))]
        self.trace_bundle();
        #[cfg(all(feature = "first-use", feature = "tracing"))]
        self.trace_first_use();
        #[cfg(all(feature = "ct", feature = "tracing"))]
        self.trace_ct();
        self.trace_pins();
    }

    #[cfg(all(feature = "first-use", feature = "tracing"))]
    fn trace_first_use(&self) {
        match self {
            Self::FirstUseChanged(change) => event!(WARN, host = %change.host(), "keys changed"),
            Self::FirstUseNew { host } => event!(INFO, %host, "keys remembered"),
            _ => {}
        }
    }

    #[cfg(all(feature = "ct", feature = "tracing"))]
    fn trace_ct(&self) {
        match self {
            Self::CtListStale { timestamp } => {
                event!(WARN, timestamp = timestamp.as_secs(), "log list is stale");
            }
            Self::CtViolation(violation) => {
                let host = violation.server_name().to_str();
                let refused = violation.is_refused();
                event!(WARN, %host, refused, "certificate is not logged as expected");
            }
            Self::ExpectCt { host, .. } => event!(WARN, %host, "host requests a CT report"),
            _ => {}
        }
    }

    fn trace_pins(&self) {
        match self {
            #[cfg(feature = "tracing")]
            Self::ClockBehind { entries, .. } => {
                event!(
                    WARN,
                    hosts = entries,
                    "pins were noted in the clock's future"
                );
            }
            #[cfg(feature = "tracing")]
            Self::HeaderIgnored { host, reason, .. } => {
                let host = host.as_ref().map(tracing::field::display);
                event!(DEBUG, host, %reason, "pin header ignored");
            }
            #[cfg(feature = "tracing")]
            Self::Lost { events, violations } => {
                event!(WARN, events, violations, "events lost");
            }
            #[cfg(feature = "tracing")]
            Self::Noted { host } => event!(INFO, %host, "pins noted"),
            #[cfg(feature = "tracing")]
            Self::Removed { host, reason } => event!(INFO, %host, %reason, "pins removed"),
            #[cfg(feature = "tracing")]
            Self::ReportDropped { report, reason, .. } => {
                event!(WARN, host = %report.violation().host(), %reason, "report dropped");
            }
            #[cfg(feature = "tracing")]
            Self::Skipped { host } => event!(WARN, %host, "pins skipped"),
            #[cfg(feature = "tracing")]
            Self::Unpinned(unpinned) => {
                let host = unpinned.server_name().to_str();
                event!(WARN, %host, refused = unpinned.is_refused(), "host is not pinned");
            }
            #[cfg(feature = "tracing")]
            Self::Unverifiable(unverifiable) => {
                let host = unverifiable.server_name().to_str();
                event!(WARN, %host, reason = %unverifiable.reason(), "no valid path found");
            }
            #[cfg(feature = "tracing")]
            Self::Violation(report) => {
                let (host, noted_hostname, port) = report.names();
                event!(WARN, %host, port, %noted_hostname, "pin violation");
            }
            #[cfg(feature = "tracing")]
            Self::WouldBeViolation(report) => {
                let (host, noted_hostname, port) = report.names();
                event!(WARN, %host, port, %noted_hostname, "pins would have failed");
            }
            // The store has emitted its error already.
            _ => {}
        }
    }
}
