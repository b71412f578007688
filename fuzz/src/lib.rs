//! The fuzz targets of pinhold. Each is a function of the input's bytes, which panics if the code
//! under test breaks a property that its module describes.
//!
//! `fuzz_targets` has a program for each, which `cargo fuzz` links with libFuzzer;
//! `tests/replay.rs` calls the functions on the files of `corpus` without it. Private parsers of
//! the library are compiled into this crate by their paths, so that it exports nothing for it.

pub mod bundle_body;
pub mod bundle_note;
pub mod certificate;
pub mod expect_ct;
pub mod fingerprint;
pub mod header;
pub mod host;
pub mod hsts_preload;
pub mod log_list;
pub mod paths;
pub mod pin_file;
pub mod pin_formats;
pub mod redirect;
pub mod report_endpoint;
pub mod sct_list;
pub mod store_file;
pub mod sts_header;

mod certificates;
mod input;
mod pins;
mod policy;
mod valid_paths;
mod violation;

/// A target and its name, which is also that of its program and of its corpus.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// The function, which panics if a property does not hold for the input.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "bundle_body",
        run: bundle_body::target,
    },
    Target {
        name: "bundle_note",
        run: bundle_note::target,
    },
    Target {
        name: "certificate",
        run: certificate::target,
    },
    Target {
        name: "expect_ct",
        run: expect_ct::target,
    },
    Target {
        name: "fingerprint",
        run: fingerprint::target,
    },
    Target {
        name: "header",
        run: header::target,
    },
    Target {
        name: "host",
        run: host::target,
    },
    Target {
        name: "hsts_preload",
        run: hsts_preload::target,
    },
    Target {
        name: "log_list",
        run: log_list::target,
    },
    Target {
        name: "paths",
        run: paths::target,
    },
    Target {
        name: "pin_file",
        run: pin_file::target,
    },
    Target {
        name: "pin_formats",
        run: pin_formats::target,
    },
    Target {
        name: "redirect",
        run: redirect::target,
    },
    Target {
        name: "report_endpoint",
        run: report_endpoint::target,
    },
    Target {
        name: "sct_list",
        run: sct_list::target,
    },
    Target {
        name: "store_file",
        run: store_file::target,
    },
    Target {
        name: "sts_header",
        run: sts_header::target,
    },
];

/// What the files of `pinhold-cli` import from its module `output`.
mod output {
    pub(crate) fn printable(text: &str) -> String {
        text.to_owned()
    }
}

#[path = "../../crates/pinhold-cli/src/rfc3339.rs"]
#[expect(dead_code, reason = "the formats use a part of it")]
mod rfc3339;
