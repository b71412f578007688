//! Certificate path building and the set of public keys that a validated path yields.

mod certificate;
mod revocation;
mod signature_cache;
mod validated;

pub(crate) use crate::chain::revocation::{Revocation, RevocationChoice};
pub(crate) use crate::chain::signature_cache::CachingAlgorithms;
pub use crate::chain::validated::{ChainKey, KeyRole, ValidatedChain};
pub(crate) use crate::chain::validated::{PathBuilder, Presented, ValidPath};
