//! Rules that the files of the repository keep.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod advisories;
mod architecture;
mod conformance;
mod language;
mod security;
