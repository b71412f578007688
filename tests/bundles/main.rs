//! Pin bundles: which are accepted, what they change, and how they are kept.
#![cfg(feature = "bundles")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "hyper")]
mod effect;
#[cfg(feature = "hyper")]
mod hostile_servers;
#[cfg(feature = "reqwest")]
mod noting_client;
#[cfg(feature = "hyper")]
mod real_servers;
#[cfg(feature = "hyper")]
mod updater;
#[cfg(feature = "hyper")]
mod world;
