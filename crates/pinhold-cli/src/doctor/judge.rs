//! Judges pinned names: their valid paths, the future of each pin, and the findings of all rules.

use rustls::pki_types::UnixTime;

use crate::doctor::forecast::Report;
use crate::doctor::observation::Observations;
use crate::doctor::pki::PkiData;
use crate::doctor::subject::Subject;
use crate::failure::Failure;
use crate::network::NetworkOptions;

/// The lists of roots with which paths are built.
pub(super) struct Roots;

impl Roots {
    pub(super) fn load(_network: &NetworkOptions) -> Result<Self, Failure> {
        Ok(Self)
    }
}

/// Judges each name as of `at`.
pub(super) fn report(
    _judged: Vec<(Subject, Observations)>,
    data: &PkiData,
    _roots: &Roots,
    at: UnixTime,
    fail_before: UnixTime,
) -> Report {
    Report {
        at,
        fail_before,
        data: data.age(at),
        general: Vec::new(),
        hosts: Vec::new(),
    }
}
