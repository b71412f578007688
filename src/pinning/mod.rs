//! The engine: the pins of an application, their evaluation on a chain, and the effect of a header.
//!
//! Uses `policy` for the verdicts, `store` for noted pins, `chain` and `violation` for the facts of
//! a connection and of a refusal. Has no code for TLS configurations, sockets or HTTP.
//!
//! Offers [`Pinning`], the handle with the methods `check` and `note`, and its builder. Offers to
//! the modules above the [`Evaluation`] of a connection and the emission of its events.

#[cfg(feature = "bundles")]
mod apply_bundle;
mod build_error;
mod builder;
#[cfg(feature = "bundles")]
mod bundle_engine;
#[cfg(feature = "bundles")]
mod bundle_records;
#[cfg(all(feature = "bundles", feature = "hyper"))]
mod bundle_recovery;
#[cfg(feature = "bundles")]
mod bundle_rules;
#[cfg(feature = "bundles")]
mod bundle_setup;
#[cfg(feature = "bundles")]
mod bundle_state;
#[cfg(feature = "bundles")]
mod bundle_status;
#[cfg(feature = "bundles")]
mod bundle_terms;
mod clock;
#[cfg(feature = "self-test")]
mod copy;
mod covering;
mod evaluation;
mod event;
mod event_trace;
mod explain;
mod explain_text;
#[cfg(feature = "first-use")]
mod first_use;
#[cfg(feature = "first-use")]
mod first_use_rules;
mod handle;
#[cfg(feature = "health")]
mod health;
#[cfg(feature = "health")]
mod health_export;
#[cfg(feature = "health")]
mod health_rules;
#[cfg(feature = "health")]
mod health_snapshot;
#[cfg(feature = "hsts")]
mod hsts;
mod lanes;
mod not_applied;
mod note;
mod noting;
mod observers;
pub(crate) mod provider;
mod rare_rules;
mod record;
#[cfg(feature = "health")]
mod record_health;
#[cfg(all(feature = "bundles", feature = "hyper"))]
mod recovery;
mod replace;
mod rollout;
mod start;
mod static_pins;
#[cfg(feature = "ct")]
mod transparency;
#[cfg(feature = "ct")]
mod transparency_check;

pub use crate::pinning::build_error::BuildError;
pub use crate::pinning::builder::PinningBuilder;
#[cfg(feature = "bundles")]
pub use crate::pinning::bundle_records::BundleCounts;
#[cfg(feature = "bundles")]
pub use crate::pinning::bundle_setup::PinBundles;
#[cfg(feature = "bundles")]
pub use crate::pinning::bundle_status::{BundleOutcome, BundleStatus};
pub use crate::pinning::evaluation::Decision;
pub(crate) use crate::pinning::evaluation::{Evaluation, Policies};
pub use crate::pinning::event::Event;
pub use crate::pinning::explain::{AnchorOutcomes, Explanation, OtherPolicy, StaticOrigin};
#[cfg(feature = "first-use")]
pub use crate::pinning::first_use::FirstUseHosts;
#[cfg(feature = "first-use")]
pub(crate) use crate::pinning::first_use::Remember;
#[cfg(feature = "first-use")]
pub use crate::pinning::first_use_rules::{Answer, FirstUse, KeyChoice, OnChange};
pub use crate::pinning::handle::Pinning;
#[cfg(feature = "health")]
pub use crate::pinning::health::{
    Health, HealthOptions, HostNames, PinHealth, PolicyHealth, VersionCounts,
};
pub use crate::pinning::not_applied::NotApplied;
pub use crate::pinning::noting::{HeaderEffect, IgnoreReason, Noted, RemovalReason};
#[cfg(all(feature = "bundles", feature = "hyper"))]
pub(crate) use crate::pinning::recovery::{Recovering, Recovery};
pub use crate::pinning::rollout::Rollout;
