//! Nine incidents in which pinning refused genuine servers, or in which it is needed, replayed with
//! real handshakes: what the client sees before, the cause that a refusal states, and how the client
//! recovers. What `pinhold doctor` foresees of the same incidents is tested in `crates/pinhold-cli`.
#![cfg(all(feature = "bundles", feature = "health", feature = "hyper"))]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

mod app;
#[path = "../common/mod.rs"]
mod common;
mod replays;
