//! Health: what real connections show about pins, its events, its records and its exports.
#![cfg(all(feature = "health", feature = "hyper"))]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[cfg(feature = "bundles")]
mod bundles;
#[path = "../common/mod.rs"]
mod common;
mod daily;
mod expiry;
mod export;
#[cfg(feature = "tracing")]
mod log;
mod rollout;
mod shared;
mod stacks;
mod storage;
mod stuck;
mod warnings;
mod world;
