//! The engine: pins of an application, what they decide about a chain, and what a header changes.

mod build_error;
mod builder;
mod handle;
mod noting;
mod observers;
mod rollout;
mod static_pins;

pub use crate::pinning::build_error::BuildError;
pub use crate::pinning::builder::PinningBuilder;
pub use crate::pinning::handle::{Decision, Pinning};
pub use crate::pinning::noting::{HeaderEffect, IgnoreReason, Noted, RemovalReason};
pub use crate::pinning::observers::Event;
pub use crate::pinning::rollout::Rollout;
