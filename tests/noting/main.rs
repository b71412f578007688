//! Noting of `Public-Key-Pins` from responses.
#![cfg(feature = "hyper")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod rfc7469_noting;
mod rfc7469_response;
mod unchanged;
