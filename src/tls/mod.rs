//! The certificate verifier for rustls, the client configuration, and the resumption check.
//!
//! Uses `pinning` for the evaluation and `chain` for path building. It opens no connections and
//! sends no requests.
//!
//! Offers [`PinningVerifier`] and `Pinning::client_config` for any stack that takes a
//! `rustls::ClientConfig`, [`VerifiedConnection`] as the facts of one connection, and the search
//! for a violation in the errors of other crates (`PinViolation::find`). A connector runs a
//! handshake in `connection::observe` to receive the verifier's result.

#[cfg(feature = "self-test")]
mod canary;
mod cause;
mod client_config;
pub(crate) mod connection;
#[cfg(feature = "direct-trust")]
mod direct_builder;
#[cfg(feature = "direct-trust")]
mod direct_verifier;
pub(crate) mod error;
#[cfg(feature = "reqwest")]
mod observed_config;
pub(crate) mod resumption;
#[cfg(feature = "self-test")]
mod self_test;
#[cfg(feature = "self-test")]
mod self_test_handshake;
#[cfg(feature = "self-test")]
mod self_test_material;
#[cfg(feature = "self-test")]
mod self_test_report;
mod verifier;
mod verifier_builder;

pub use crate::chain::{ChainKey, KeyRole};
pub use crate::tls::cause::cause;
#[cfg(feature = "hyper")]
pub use crate::tls::connection::VerifiedConnection;
#[cfg(feature = "direct-trust")]
pub use crate::tls::direct_builder::DirectTrustBuilder;
#[cfg(feature = "reqwest")]
pub(crate) use crate::tls::observed_config::ObservedConfig;
#[cfg(feature = "self-test")]
pub use crate::tls::self_test_report::{Attack, SelfTestError, SelfTestReport, TestedResumption};
pub use crate::tls::verifier::PinningVerifier;
pub use crate::tls::verifier_builder::PinningVerifierBuilder;
#[cfg(feature = "direct-trust")]
pub use crate::violation::UntrustedServer;
pub use crate::violation::{
    BuiltInRoot, CaEvidence, Cause, ClockEvidence, PathEvidence, UnverifiablePath, ValidityLimit,
};
