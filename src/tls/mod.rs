//! rustls: the certificate verifier, the client configuration, and the resumption check.

pub(crate) mod connection;
pub(crate) mod error;
mod provider;
pub(crate) mod resumption;
mod verifier;

pub use crate::chain::{ChainKey, KeyRole};
#[cfg(feature = "hyper")]
pub(crate) use crate::tls::connection::Verified;
#[cfg(feature = "hyper")]
pub use crate::tls::connection::VerifiedConnection;
#[cfg(feature = "hyper")]
pub(crate) use crate::tls::resumption::ResumptionCheck;
pub use crate::tls::verifier::{PinningVerifier, PinningVerifierBuilder};
pub use crate::violation::UnverifiablePath;
