//! Pin bundles: which are accepted, what they change, and how they are kept.
#![cfg(feature = "bundles")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[cfg(feature = "hyper")]
mod app;
#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "hyper")]
mod effect;
#[cfg(feature = "hyper")]
mod refused;
#[cfg(feature = "hyper")]
mod staging;
#[cfg(feature = "hyper")]
mod storage;
mod texts;
mod trust;
mod vectors;
