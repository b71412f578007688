//! Attacks by servers on a client, and other implementations as servers.
#![cfg(feature = "hyper")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod causes;
#[path = "../common/mod.rs"]
mod common;
mod real_servers;
mod servers;
