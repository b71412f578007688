//! [`Event`]: what an application can observe.

use crate::pinning::noting::{IgnoreReason, RemovalReason};
use crate::policy::{Host, ReportUri};
use crate::store::StorageError;
use crate::violation::{DropReason, Report, UnverifiablePath};

/// Something that an application can observe, see
/// [`PinningBuilder::observer`](crate::PinningBuilder::observer).
///
/// With the feature `tracing` each is also an event of the target `pinhold`, emitted immediately in
/// the thread where it occurs:
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
/// | `no valid path found` | `WARN` | `host`, `reason` |
/// | `events lost` | `WARN` | `events` |
/// | `noted pins can't be stored` | `WARN` | `error` |
///
/// ```
/// use pinhold::{Event, Pinning};
///
/// let pinning = Pinning::builder()
///     .observer(|event| {
///         if let Event::Violation(report) = event {
///             eprintln!("{}", report.violation());
///         }
///     })
///     .build()?;
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A `Public-Key-Pins` or `Public-Key-Pins-Report-Only` field was ignored.
    HeaderIgnored {
        /// The host that sent it; `None` if the response does not come from a DNS name.
        host: Option<Host>,
        /// The rule that it fails.
        reason: IgnoreReason,
    },
    /// Events were dropped, since they came faster than observers handled them.
    Lost {
        /// The number of dropped events.
        events: u64,
    },
    /// The pins of a host were noted, or replaced by others. Not emitted for a refresh, which
    /// changes the expiry alone.
    Noted {
        /// The host.
        host: Host,
    },
    /// A header removed the noted pins of its host.
    Removed {
        /// The host.
        host: Host,
        /// The directive that removed them.
        reason: RemovalReason,
    },
    /// A violation was not reported, or not to one of several endpoints.
    ReportDropped {
        /// The report.
        report: Report,
        /// The endpoint; `None` if none was chosen yet.
        endpoint: Option<ReportUri>,
        /// The rule or error that prevented it.
        reason: DropReason,
    },
    /// A connection is used although its chain holds no pinned key: it ends in a user-added root.
    Skipped {
        /// The host.
        host: Host,
    },
    /// Noted pins are in memory, but could not be stored.
    StorageFailed(StorageError),
    /// The inner verifier accepted a server for which no path could be validated. The connection
    /// was refused, or its host has report-only pins that would have refused it. See
    /// [`with_inner_verifier`](crate::tls::PinningVerifierBuilder::with_inner_verifier).
    Unverifiable(UnverifiablePath),
    /// The pins of a host refused or closed a connection.
    Violation(Report),
    /// Report-only pins (a candidate, a policy or a header) would have refused a connection, which
    /// is used.
    WouldBeViolation(Report),
}

impl Event {
    /// Emits the event to `tracing`.
    pub(crate) fn trace(&self) {
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
                event!(WARN, %host, %reason, "no valid path found");
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
            // The store has emitted its error already.
            _ => {}
        }
    }
}
