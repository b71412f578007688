//! CAA records (RFC 8659) of the pinned names, queried by a resolver.

use clap::Args;

use crate::doctor::observation::Observations;
use crate::doctor::subject::Subject;
use crate::failure::Failure;

#[derive(Args)]
pub(super) struct Options {
    /// DNS server to query, as ADDR or ADDR:PORT [default: those of the system]
    #[arg(long, value_name = "ADDR")]
    resolver: Vec<String>,
    /// Query no CAA records
    #[arg(long)]
    no_dns: bool,
}

/// Adds the CAA records of each subject to its observations.
pub(super) async fn add(
    _subjects: &[Subject],
    _observations: &mut [Observations],
    _options: &Options,
) -> Result<(), Failure> {
    Ok(())
}
