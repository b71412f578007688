//! HTTP Strict Transport Security (RFC 6797), over real connections.
#![cfg(all(feature = "hsts", feature = "hyper"))]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod connections;
#[cfg(feature = "reqwest")]
mod noting_client;
mod real_servers;
mod roots;
mod several_processes;
