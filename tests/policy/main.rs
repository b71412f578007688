//! Pins, hosts, header fields and policies.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "hyper")]
mod explained;
mod matching_model;
#[cfg(feature = "pin-file")]
mod pin_files;
#[cfg(feature = "pin-file")]
mod printed_pin_files;
#[cfg(all(feature = "pin-file", unix))]
mod reloaded;
mod rfc7469_directives;
#[cfg(feature = "hyper")]
mod rfc7469_matching;
mod rfc7469_syntax;
mod scopes;
mod static_policies;
#[cfg(feature = "pin-file")]
mod used_pin_files;
