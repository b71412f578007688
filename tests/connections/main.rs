//! `PinningConnector`: handshakes, resumed sessions, pooled connections, changes of pins.
#![cfg(feature = "hyper")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod connector;
mod pooled;
#[cfg(feature = "pin-file")]
mod refused_keys;
mod replaced_pins;
mod resumed_peers;
mod resumption;
mod rfc7469_sessions;
#[cfg(feature = "pin-file")]
mod unpinned;
