//! Servers that are trusted by their own certificate or raw public key (RFC 7250).
#![cfg(all(feature = "direct-trust", feature = "hyper"))]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod peers;
mod pins;
mod raw_keys;
#[cfg(feature = "reqwest")]
mod reqwest_clients;
#[cfg(feature = "self-test")]
mod self_test;
mod sessions;
mod world;
