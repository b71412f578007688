//! The store of noted pins, and its file.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
#[cfg(all(unix, feature = "hyper"))]
mod crash;
#[cfg(feature = "hyper")]
mod durability;
#[cfg(feature = "hyper")]
mod file;
#[cfg(feature = "hyper")]
mod model;
mod public_suffixes;
#[cfg(feature = "hyper")]
mod rfc7469_storage;
