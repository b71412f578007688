//! Tests that run the program `pinhold` and check its output, exit code and files.
//!
//! They are one crate, so that the servers and certificates shared with the library's tests are
//! compiled and linked once.
#![allow(
    clippy::exhaustive_structs,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_debug_implementations,
    unreachable_pub,
    reason = "tests"
)]

mod bundle;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../../../../tests/common/collector.rs"]
mod collector;
#[path = "../../../../tests/common/mod.rs"]
mod common;
mod doctor_offline;
mod doctor_page;
mod doctor_servers;
mod errors;
mod explain;
mod fingerprint;
mod get;
mod header;
mod invalid_chains;
mod key;
mod key_file;
mod kit;
mod manual;
mod noted;
mod pin_format;
mod pins;
mod pins_check;
mod pins_option;
mod program;
mod proxies;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../../../../tests/common/proxy.rs"]
mod proxy;
mod report;
mod self_test;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../../../../tests/common/server.rs"]
mod server;
mod store;
mod store_files;
mod store_hsts;
#[cfg(unix)]
mod terminal;
mod usage;

use std::sync::Arc;

use common::{TIMEOUT, peers, pki};
use rustls::crypto::CryptoProvider;

/// The crypto provider of the shared servers. `common::provider` chooses by features of the
/// library, which this package does not have.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
