//! [`Event`], everything that an application can observe.

use rustls_pki_types::UnixTime;

use crate::pinning::noting::{IgnoreReason, RemovalReason};
use crate::policy::{Host, ReportUri};
use crate::store::StorageError;
use crate::violation::{DropReason, Report, UnverifiablePath};

/// An event that an application receives by
/// [`PinningBuilder::observer`](crate::PinningBuilder::observer).
///
/// With the feature `tracing`, each event is also a `tracing` event of the target `pinhold`,
/// emitted at once by the thread in which it occurs:
///
/// | message | level | fields |
/// |---|---|---|
/// | `pin violation` | `WARN` | `host`, `port`, `noted_hostname` |
/// | `pins would have failed` | `WARN` | `host`, `port`, `noted_hostname` |
/// | `pins skipped` | `WARN` | `host` |
/// | `pins noted` | `INFO` | `host` |
/// | `pins removed` | `INFO` | `host`, `reason` |
/// | `pins were noted in the clock's future` | `WARN` | `hosts` |
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
    /// The clock shows a time of more than one day before pins of the store were noted: it was
    /// ahead then, or is behind now. Emitted when a [`Pinning`](crate::Pinning) is built.
    ///
    /// Such pins are enforced for at most their `max-age` of running time. What is stored is not
    /// changed, so that they have their full effect again once the clock is right.
    ClockBehind {
        /// The number of hosts with such pins.
        entries: usize,
        /// The time that the clock shows.
        now: UnixTime,
    },
    /// A `Public-Key-Pins` or `Public-Key-Pins-Report-Only` field was ignored.
    HeaderIgnored {
        /// The host that sent it; `None` if the host of the request is not a DNS name.
        host: Option<Host>,
        /// Why the field was ignored.
        reason: IgnoreReason,
    },
    /// Events were dropped, since they occurred faster than observers handled them.
    Lost {
        /// The number of dropped events.
        events: u64,
    },
    /// The pins of a host were noted, or replaced by others. Not emitted for a refresh, which
    /// changes only the expiry.
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
        /// The endpoint; `None` if no endpoint was chosen.
        endpoint: Option<ReportUri>,
        /// The rule or error that prevented it.
        reason: DropReason,
    },
    /// A connection is used although its chain contains no pinned key, because the chain ends in a
    /// user-added root.
    Skipped {
        /// The host.
        host: Host,
    },
    /// Noted pins are in memory, but could not be stored.
    StorageFailed(StorageError),
    /// The inner verifier accepted a server for which no path could be validated. The connection
    /// was refused, or would have been refused by report-only pins. See
    /// [`with_inner_verifier`](crate::tls::PinningVerifierBuilder::with_inner_verifier).
    Unverifiable(UnverifiablePath),
    /// The pins of a host refused or closed a connection.
    Violation(Report),
    /// Report-only pins (of a candidate, a policy or a header) would have refused a connection. The
    /// connection is used.
    WouldBeViolation(Report),
}

impl Event {
    /// Emits the event as a `tracing` event.
    pub(crate) fn trace(&self) {
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
