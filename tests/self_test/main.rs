//! The self-test: what it refuses, what it accepts, and that it leaves nothing.
#![cfg(all(feature = "hyper", feature = "self-test"))]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod configurations;
mod effects;
mod in_memory;
mod material;
