//! Sending of reports over HTTP: which endpoints a report goes to, the limits on reports within an
//! hour, and a queue with a thread that sends them outside of any handshake.
//!
//! Depends on `connector` for connections, which enforce the pins of the endpoints themselves.

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
