//! Events, reports and roll-out.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "hyper")]
mod floods;
#[cfg(all(feature = "hyper", feature = "reports"))]
mod http_reporter;
#[cfg(feature = "hyper")]
mod last_drop;
#[cfg(feature = "hyper")]
mod observer_thread;
#[cfg(all(feature = "hyper", feature = "reports"))]
mod observers;
#[cfg(all(feature = "hyper", feature = "reports"))]
mod refused_keys;
#[cfg(all(feature = "hyper", feature = "reports"))]
mod report;
#[cfg(all(feature = "hyper", feature = "reports"))]
mod report_endpoints;
#[cfg(feature = "hyper")]
mod report_only;
#[cfg(feature = "hyper")]
mod rollout;
