//! The obsolete `Expect-CT` field of a response, which requests reports.

use http::{HeaderMap, HeaderValue};

use crate::ct::{CtOutcome, ExpectCt};
use crate::pinning::{Event, Pinning};
use crate::policy::Host;
use crate::tls::VerifiedConnection;

/// Emits that the host requests a report, if the connection of its response does not comply. A
/// malformed field is ignored, and only the first one counts.
pub(crate) fn observe(
    pinning: &Pinning,
    host: Option<Host>,
    headers: &HeaderMap,
    connection: &VerifiedConnection,
) {
    // An HTTPS proxy has a connection of its own.
    let Some(host) = host.filter(|host| connection.host() == Some(host)) else {
        return;
    };
    if connection.ct_outcome().is_none_or(CtOutcome::complies) {
        return;
    }
    let field = headers.get("expect-ct").map(HeaderValue::as_bytes);
    let field = field.and_then(|value| ExpectCt::parse(value).ok());
    if let Some(field) = field.filter(|field| field.max_age > 0) {
        let report_uri = field.report_uri;
        pinning.emit(Event::ExpectCt { host, report_uri });
    }
}
