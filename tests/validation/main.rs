//! Which chains are valid, and what the pins say about them.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[cfg(feature = "hyper")]
mod captured;
#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "hyper")]
mod errors;
#[cfg(feature = "hyper")]
mod inner_verifier;
mod limbo;
#[cfg(all(feature = "hyper", feature = "native-certs"))]
mod native_roots;
#[cfg(feature = "hyper")]
mod own_ca;
#[cfg(feature = "hyper")]
mod paths;
#[cfg(feature = "hyper")]
mod pin_groups;
#[cfg(feature = "hyper")]
mod refused_keys;
#[cfg(feature = "hyper")]
mod rfc7469_validation;
#[cfg(all(feature = "hyper", feature = "native-certs"))]
mod root_files;
mod signatures;
mod verifier;
