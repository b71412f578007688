//! The pinned names to judge, from pin files, bundles and options, and the chains of `--chain`.

use std::path::PathBuf;

use rustls::pki_types::CertificateDer;

use crate::doctor::Arguments;
use crate::doctor::observation::Observations;
use crate::doctor::subject::Subject;
use crate::failure::Failure;

/// A chain of a file, with the name of the file.
pub(super) struct GivenChain {
    pub(super) file: String,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

pub(super) fn subjects(_arguments: &Arguments) -> Result<Vec<Subject>, Failure> {
    Ok(Vec::new())
}

pub(super) fn chains(_files: &[PathBuf]) -> Result<Vec<GivenChain>, Failure> {
    Ok(Vec::new())
}

/// Returns the observations of a subject for which only these chains are given.
pub(super) fn given(_chains: &[GivenChain]) -> Observations {
    Observations::default()
}
