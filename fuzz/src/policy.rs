//! What the private files of the library import from its module `policy`.

pub(crate) use pinhold::policy::{Host, HostError, ReportUri};

#[path = "../../src/policy/der.rs"]
pub(crate) mod der;

/// Imported by `policy/uri.rs`.
pub(crate) mod host {
    pub(crate) use pinhold::policy::HostError;
}

#[path = "../../src/policy/uri.rs"]
pub(crate) mod uri;
