//! Certificate path building and the set of public keys that a validated path yields.
//!
//! Uses `policy` and `roots`. No other module calls webpki.
//!
//! Offers [`PathBuilder`] to the verifier and [`ValidatedChain`], the proof that a path is valid,
//! to all modules above.

mod certificate;
#[cfg(feature = "direct-trust")]
mod direct;
mod fingerprint_cache;
mod path_builder;
mod relations;
mod revocation;
mod signature_cache;
mod validated;

pub(crate) use crate::chain::certificate::{name_text, organisation, value_text};
#[cfg(feature = "direct-trust")]
pub(crate) use crate::chain::direct::{DirectTrust, OwnCertificate, OwnKey, Untrusted};
pub(crate) use crate::chain::fingerprint_cache::FingerprintCache;
pub(crate) use crate::chain::path_builder::{PathBuilder, Presented, ValidPath};
pub(crate) use crate::chain::relations::Relation;
pub(crate) use crate::chain::revocation::{Revocation, RevocationChoice};
pub(crate) use crate::chain::signature_cache::CachingAlgorithms;
pub use crate::chain::validated::{ChainKey, KeyRole, ValidatedChain};
