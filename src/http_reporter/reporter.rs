//! [`HttpReporter`], the reporter that sends over HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::http_reporter::endpoint::Endpoint;
use crate::http_reporter::queue::Queue;
use crate::http_reporter::rules::EndpointRules;
use crate::violation::{DropReason, Report, Reporter};

/// Sends reports over HTTP, outside of any handshake.
///
/// # Requests
///
/// Each report is sent by POST to each of its endpoints: those of the application, the
/// [`report_uri`](crate::PinPolicy::report_uri) of a static policy, and the `report-uri` of a
/// server if the application [allows](crate::report::HttpReporterBuilder::report_uri_policy) it.
/// Each request has a connection of its own, which is validated like any other and must satisfy the
/// pins of the endpoint's host (RFC 7469 section 2.1.4). Cookies are not sent, and redirects are
/// not followed.
///
/// A response with status 2xx means that the report is delivered. After 408, 429, 5xx, no response
/// or no connection it is sent again, with up to five attempts in all and a
/// [backoff](crate::report::HttpReporterBuilder::backoff) that doubles; after any other response it
/// is dropped. An endpoint recognises duplicates by the header `Idempotency-Key`, which contains
/// the [`Report::id`].
///
/// # Limits
///
/// Equal reports (one host, one set of pins, one chain of keys) are sent to an endpoint at most
/// once an hour. At most 50 reports are sent within an hour, at most 30 of them to one origin, and
/// for pins that servers set at most half of each number. Other reports are dropped, and observers
/// receive an [`Event::ReportDropped`](crate::Event::ReportDropped). The queue, in memory only, has
/// the same limits on reports that wait. After the application drops its last handle, each report
/// has one more attempt, without a wait; observers still receive its outcome.
///
/// Two URIs name one origin if scheme, host and port are equal: upper case, a dot at the end of the
/// host and the default port make no difference.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::report::HttpReporter;
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = Pinning::builder()
///     .reporter(|pinning| {
///         HttpReporter::builder(pinning)
///             .with_webpki_roots()
///             .endpoint("https://reports.example.com/pins")
///             .build()
///     })
///     .build()?;
/// // Before a mobile application is suspended:
/// pinning.flush_reports(std::time::Duration::from_secs(2));
/// # }
/// # Ok::<(), pinhold::BuildError>(())
/// ```
pub struct HttpReporter {
    pub(crate) rules: EndpointRules,
    pub(crate) queue: Arc<Queue>,
}

impl HttpReporter {
    fn enqueue(&self, report: &Report, endpoint: Endpoint) -> Result<(), DropReason> {
        let admitted = self.rules.admit(report, endpoint, self.queue.pinning());
        let endpoint = admitted.map_err(DropReason::Endpoint)?;
        self.queue.push(report.clone(), endpoint)
    }
}

impl Reporter for HttpReporter {
    fn report(&self, report: Report) -> Result<(), DropReason> {
        let endpoints = self.rules.endpoints_of(&report);
        if endpoints.is_empty() {
            return Err(DropReason::NoEndpoint);
        }
        for endpoint in endpoints {
            let uri = match &endpoint {
                Ok(endpoint) => endpoint.report_uri(),
                Err((uri, _)) => uri.clone(),
            };
            let enqueued = endpoint
                .map_err(|(_, error)| DropReason::Endpoint(error))
                .and_then(|endpoint| self.enqueue(&report, endpoint));
            if let Err(reason) = enqueued {
                let pinning = self.queue.pinning();
                pinning.emit_dropped(report.clone(), uri, reason);
            }
        }
        self.queue.start();
        Ok(())
    }

    fn flush(&self, within: Duration) -> bool {
        self.queue.flush(within)
    }
}

impl Drop for HttpReporter {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for HttpReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReporter")
            .field("endpoints", &self.rules.endpoints)
            .field("report_uri_policy", &self.rules.report_uri_policy)
            .finish_non_exhaustive()
    }
}
