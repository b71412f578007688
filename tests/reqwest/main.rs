//! The feature `reqwest`.
#![cfg(feature = "reqwest")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod binding;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod events;
mod proxies;
mod redirects;
mod replaced;
mod resumed;
mod settings;
#[cfg(feature = "pin-file")]
mod unpinned;
