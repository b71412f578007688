//! The store of noted pins: the known pinned hosts in memory, and their persistence.
//!
//! A [`PinStore`] is searched in memory ([`entries`]). Its changes are queued ([`pending`],
//! [`queue`]), and committed as [`record`]s by one thread ([`writer`]) to a [`Storage`]: a file
//! ([`FileStorage`]) or an implementation of the application. Its limits ([`eviction`]) count hosts by domains, which
//! [`PublicSuffixes`] distinguishes. [`Generation`] counts the changes, so that open connections are
//! checked again.
//!
//! Uses `policy` only.
//!
//! Offers [`PinStore`] and the trait [`Storage`] to applications, and [`Worker`] and [`contain`] to
//! the other background threads of the crate.

mod batch;
mod builder;
#[cfg(feature = "bundles")]
mod bundle_floor;
mod change;
mod compaction;
mod domains;
mod durable;
mod entries;
mod error;
mod eviction;
mod file;
mod file_lock;
#[cfg(feature = "first-use")]
mod first_use_entry;
mod format;
#[cfg_attr(
    not(feature = "hyper"),
    expect(dead_code, reason = "only connections of hyper watch it")
)]
mod generation;
#[cfg(feature = "health")]
mod health_book;
#[cfg(feature = "health")]
mod health_history;
#[cfg(feature = "health")]
mod health_key;
#[cfg(feature = "health")]
mod health_salt;
#[cfg(feature = "health")]
mod health_text;
#[cfg(feature = "health")]
mod health_warning;
#[cfg(any(feature = "first-use", feature = "hsts"))]
mod host_table;
#[cfg(feature = "hsts")]
#[cfg(test)]
mod host_table_tests;
#[cfg(any(feature = "first-use", feature = "hsts"))]
mod host_tables;
#[cfg(feature = "hsts")]
mod hsts;
#[cfg(feature = "hsts")]
mod hsts_entry;
mod journal;
mod line;
mod noted;
mod observed_clock;
#[cfg(feature = "bundles")]
mod other_changes;
#[cfg(feature = "bundles")]
mod other_records;
mod others;
mod pending;
mod pin_store;
mod public_suffixes;
mod queue;
mod record;
mod records;
mod repair;
mod storage;
mod update;
mod worker;
mod writer;

pub use crate::store::builder::PinStoreBuilder;
#[cfg(feature = "bundles")]
pub(crate) use crate::store::bundle_floor::BundleFloor;
pub use crate::store::change::Change;
pub use crate::store::durable::DurableFuture;
pub use crate::store::error::StorageError;
pub use crate::store::file::FileStorage;
pub use crate::store::format::Corruption;
#[cfg(feature = "hyper")]
pub(crate) use crate::store::generation::GenerationWatch;
pub(crate) use crate::store::generation::{Generation, Validity};
#[cfg(feature = "health")]
pub(crate) use crate::store::health_book::{DAY, Entry, Observation};
#[cfg(feature = "health")]
pub(crate) use crate::store::health_history::{History, OfVersion, Outcome, Sighting};
#[cfg(feature = "health")]
pub(crate) use crate::store::health_key::scope_name;
#[cfg(feature = "health")]
pub(crate) use crate::store::health_text::is_app_version;
#[cfg(feature = "health")]
pub use crate::store::health_warning::HealthWarning;
#[cfg(feature = "first-use")]
pub(crate) use crate::store::noted::{MAX_TIME as ANY_RECORD, MIN_TIME as FIRST_RECORD};
pub(crate) use crate::store::observed_clock::EARLIEST_TIME;
#[cfg(feature = "bundles")]
pub(crate) use crate::store::other_records::RecordListener;
pub use crate::store::pin_store::PinStore;
pub use crate::store::public_suffixes::{PublicSuffixes, PublicSuffixesError};
pub(crate) use crate::store::queue::StorageErrorListener;
#[cfg(feature = "first-use")]
pub(crate) use crate::store::queue::Urgency;
pub use crate::store::record::{Record, RecordError, Update};
#[cfg(feature = "bundles")]
pub(crate) use crate::store::records::Records;
pub use crate::store::storage::{Merged, Recovered, Storage, StorageWaker};
pub(crate) use crate::store::update::Inserted;
#[cfg(feature = "hyper")]
pub(crate) use crate::store::worker::MAX_WAIT;
pub(crate) use crate::store::worker::{Worker, contain, deadline};
