//! Noted pins: entries in memory, the storage seam, the file, and the writer thread.

mod entries;
mod file;
mod format;
#[cfg_attr(
    not(feature = "hyper"),
    expect(dead_code, reason = "only connections of hyper watch it")
)]
mod generation;
mod pin_store;
mod storage;
mod worker;
mod writer;

pub use crate::store::file::FileStorage;
pub use crate::store::format::{Corruption, EntryError};
#[cfg(feature = "hyper")]
pub(crate) use crate::store::generation::GenerationWatch;
pub(crate) use crate::store::generation::{Generation, Validity};
pub(crate) use crate::store::pin_store::Inserted;
pub use crate::store::pin_store::PinStore;
pub use crate::store::storage::{Batch, Change, Recovered, Storage, StorageError};
pub(crate) use crate::store::worker::{Worker, contain, deadline};
pub use crate::store::writer::DurableFuture;
pub(crate) use crate::store::writer::StorageErrorListener;
