//! Pin bundles: which are accepted, what they change, and how they are kept.
#![cfg(feature = "bundles")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

#[cfg(feature = "hyper")]
mod app;
#[path = "../common/mod.rs"]
mod common;
#[cfg(all(unix, feature = "hyper"))]
mod crash;
#[cfg(feature = "hyper")]
mod effect;
#[cfg(feature = "hyper")]
mod hostile_servers;
#[cfg(feature = "reqwest")]
mod noting_client;
#[cfg(feature = "hyper")]
mod real_servers;
#[cfg(feature = "hyper")]
mod refused;
#[cfg(feature = "hyper")]
mod staging;
#[cfg(feature = "hyper")]
mod storage;
mod texts;
mod trust;
#[cfg(feature = "hyper")]
mod updater;
mod vectors;
#[cfg(feature = "hyper")]
mod world;
