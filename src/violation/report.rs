//! The report of one violation, and the [`Reporter`] trait, through which an application chooses
//! where reports go ([RFC 7469 section 3]).
//!
//! [RFC 7469 section 3]: https://www.rfc-editor.org/rfc/rfc7469#section-3

use std::time::Duration;

#[cfg(feature = "tracing")]
use crate::policy::Host;
#[cfg(feature = "reports")]
use crate::policy::{SpkiFingerprint, sha256, text};
use crate::violation::pin_violation::PinViolation;
use crate::violation::report_error::DropReason;

/// A pin violation and the port of the connection, for the operator of the host.
///
/// With the feature `reports` it is encoded as RFC 7469 describes, by `Report::to_json`.
///
/// ```
/// use pinhold::PinViolation;
/// use pinhold::report::Report;
///
/// fn describe(violation: PinViolation) -> String {
///     let report = Report::new(violation).with_port(8443);
///     format!("{}:{}", report.violation().host(), report.port())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Report {
    violation: PinViolation,
    port: Option<u16>,
}

impl Report {
    /// Creates a report of a violation on a connection to port 443.
    #[must_use]
    pub fn new(violation: PinViolation) -> Self {
        Self {
            violation,
            port: None,
        }
    }

    /// Sets the port of the original request.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Returns the violation.
    #[must_use]
    pub fn violation(&self) -> &PinViolation {
        &self.violation
    }

    /// Returns the port of the original request. It is 443 where the port is not known, as in a
    /// client that uses only the TLS configuration.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(443)
    }

    /// Returns the requested host and the host whose policy failed.
    #[cfg(feature = "tracing")]
    pub(crate) fn names(&self) -> (&Host, &Host, u16) {
        let policy = self.violation.policy();
        (self.violation.host(), &policy.noted_hostname, self.port())
    }

    /// Returns an identifier of 32 hexadecimal digits. It does not depend on the form and is the
    /// same for each attempt to send the report, so that an endpoint can recognise duplicates.
    ///
    /// ```
    /// use pinhold::report::Report;
    ///
    /// fn idempotency_key(report: &Report) -> String {
    ///     format!("\"{}\"", report.id())
    /// }
    /// ```
    #[cfg(feature = "reports")]
    #[must_use]
    pub fn id(&self) -> String {
        let seconds = self.violation.at().as_secs().to_be_bytes();
        let digest = sha256(&[&self.key(), &seconds]);
        text::hex(digest.get(..16).unwrap_or_default())
    }

    /// Returns a hash that is equal for reports that differ only in their times. It covers the
    /// host, the port, the policy's name and state, the pins, and the keys of the chain.
    #[cfg(feature = "reports")]
    pub(crate) fn key(&self) -> [u8; 32] {
        let (violation, policy) = (&self.violation, self.violation.policy());
        let hosts = format!(
            "{}:{} {} {:?}",
            violation.host(),
            self.port(),
            policy.noted_hostname,
            policy.state
        );
        let pins = policy.pins.iter().map(SpkiFingerprint::as_bytes);
        let keys = violation.chain().fingerprints().iter();
        let keys = keys.map(SpkiFingerprint::as_bytes);
        // Each part is hashed on its own, so that no bytes can move from one part to the next.
        let parts = [
            sha256(&[hosts.as_bytes()]),
            sha256(&pins.map(<[u8; 32]>::as_slice).collect::<Vec<_>>()),
            sha256(&keys.map(<[u8; 32]>::as_slice).collect::<Vec<_>>()),
        ];
        sha256(&parts.each_ref().map(<[u8; 32]>::as_slice))
    }
}

/// Sends reports, or stores them: `HttpReporter` (features `hyper` and `reports`), or a type of the
/// application.
///
/// Its methods are called on the observer thread, one report at a time, and never during a
/// handshake. A panic in them is contained.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::report::{DropReason, Report, Reporter};
///
/// struct Printer;
///
/// impl Reporter for Printer {
///     fn report(&self, report: Report) -> Result<(), DropReason> {
///         eprintln!("{}", report.violation());
///         Ok(())
///     }
/// }
///
/// let pinning = Pinning::builder().reporter(|_| Ok(Printer)).build()?;
/// # Ok::<(), pinhold::BuildError>(())
/// ```
pub trait Reporter: Send + Sync + 'static {
    /// Accepts a report. It may queue the report and send it later, but should not block, because
    /// other events wait for its return.
    ///
    /// # Errors
    ///
    /// A [`DropReason`] if the report is not accepted. Observers receive it as
    /// [`Event::ReportDropped`](crate::Event::ReportDropped).
    fn report(&self, report: Report) -> Result<(), DropReason>;

    /// Sends queued reports for at most this time, and returns whether the queue is empty.
    /// Applications call it through [`Pinning::flush_reports`](crate::Pinning::flush_reports). The
    /// default implementation is that of a reporter without a queue.
    fn flush(&self, within: Duration) -> bool {
        let _ = within;
        true
    }
}
