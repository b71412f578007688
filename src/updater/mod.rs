//! The updater of pin bundles: when a bundle is fetched, from where, and over which connection.
//!
//! Uses the connector for the connection, without any pins, and passes what it receives to
//! `Pinning::apply_bundle`, which trusts signatures alone. So a bundle whose pins are wrong can always
//! be replaced by another one.
//!
//! Offers [`PinUpdater`] to applications, and recovery from violations to the layers, by a trait of
//! `pinning`.

mod builder;
mod error;
mod fetch;
mod pin_updater;
mod schedule;

pub use crate::updater::builder::PinUpdaterBuilder;
pub use crate::updater::error::{FetchError, UpdateError, UpdateFailure};
pub use crate::updater::pin_updater::{PinUpdater, UpdateOutcome};
