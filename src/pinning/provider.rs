//! Choice of the crypto provider: the caller's, the process default, or the one that a feature
//! enables.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::pinning::build_error::BuildError;

/// Returns the caller's provider, else the process default, else the only one that a feature
/// enables. rustls's own choice is not used: it panics if it can't decide, and installs its choice
/// as the process default.
pub(crate) fn choose(
    chosen: Option<Arc<CryptoProvider>>,
) -> Result<Arc<CryptoProvider>, BuildError> {
    match chosen.or_else(|| CryptoProvider::get_default().cloned()) {
        Some(provider) => Ok(provider),
        None => enabled_provider().map(Arc::new),
    }
}

#[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
fn enabled_provider() -> Result<CryptoProvider, BuildError> {
    Ok(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn enabled_provider() -> Result<CryptoProvider, BuildError> {
    Ok(rustls::crypto::ring::default_provider())
}

#[cfg(all(feature = "ring", feature = "aws-lc-rs"))]
fn enabled_provider() -> Result<CryptoProvider, BuildError> {
    Err(BuildError::UndecidedCryptoProvider)
}

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
fn enabled_provider() -> Result<CryptoProvider, BuildError> {
    Err(BuildError::NoCryptoProvider)
}
