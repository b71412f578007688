//! Sending of reports over HTTP: the endpoints of a report, the limits on reports within an hour,
//! and a queue whose thread sends them outside of any handshake.
//!
//! Uses the connector, so that connections to endpoints enforce the endpoints' own pins, and the
//! JSON encoding of reports.
//!
//! Offers [`HttpReporter`], a [`Reporter`](crate::report::Reporter), and its builder.

mod builder;
mod endpoint;
mod queue;
mod rate_limit;
mod reporter;
mod rules;
mod transport;

pub use crate::http_reporter::builder::HttpReporterBuilder;
pub use crate::http_reporter::reporter::HttpReporter;
pub use crate::http_reporter::rules::ReportUriPolicy;
