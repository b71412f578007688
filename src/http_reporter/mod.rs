//! Sends reports over HTTP.

mod endpoint;
mod rate_limit;
mod reporter;
mod transport;

pub use crate::http_reporter::reporter::{HttpReporter, HttpReporterBuilder, ReportUriPolicy};
