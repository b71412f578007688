//! The fuzz targets of pinhold. Each is a function of the input's bytes, which panics if the code
//! under test breaks a property that its module describes.
//!
//! `fuzz_targets` has a program for each, which `cargo fuzz` links with libFuzzer;
//! `tests/replay.rs` calls the functions on the files of `corpus` without it. Private parsers of the
//! library are compiled into this crate by their paths, so that the library exports nothing for it.

pub mod certificate;
pub mod fingerprint;
pub mod header;
pub mod host;
pub mod paths;
pub mod redirect;
pub mod report_endpoint;

mod certificates;
mod input;
mod policy;
mod valid_paths;
mod violation;

/// Every target by its name, which is also that of its program and of its corpus.
pub const TARGETS: [(&str, fn(&[u8])); 7] = [
    ("certificate", certificate::target),
    ("fingerprint", fingerprint::target),
    ("header", header::target),
    ("host", host::target),
    ("paths", paths::target),
    ("redirect", redirect::target),
    ("report_endpoint", report_endpoint::target),
];
