//! Certificate Transparency: SCTs in real handshakes, log lists, and attacks on both.
#![cfg(all(feature = "ct", feature = "hyper"))]
#![allow(
    clippy::exhaustive_structs,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod attacks;
#[cfg(feature = "bundles")]
mod bundles;
mod clients;
mod headers;
mod hostile;
mod lists;
mod log;
mod policy;
mod real;
mod resumption;
mod world;
