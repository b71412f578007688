//! The records of other kinds than noted pins in a [`PinStore`].

#[cfg(feature = "bundles")]
use std::sync::Arc;

#[cfg(feature = "bundles")]
use crate::store::change::Change;
#[cfg(feature = "bundles")]
use crate::store::durable::DurableFuture;
#[cfg(feature = "bundles")]
use crate::store::other_records::OtherRecords;
use crate::store::pin_store::PinStore;
use crate::store::record::Record;

impl PinStore {
    /// Adds the records of other kinds to a store that has no other handle yet.
    #[cfg(feature = "bundles")]
    pub(crate) fn with_others(mut self, records: Vec<Record>) -> Self {
        if let Some(memory) = Arc::get_mut(&mut self.memory) {
            memory.others = OtherRecords::of_loaded(records);
        }
        self
    }

    #[cfg(not(feature = "bundles"))]
    pub(crate) fn with_others(self, records: Vec<Record>) -> Self {
        drop(records);
        self
    }

    /// Returns the records of other kinds, as they are durable.
    #[cfg(feature = "bundles")]
    pub(crate) fn others(&self) -> &OtherRecords {
        &self.memory.others
    }

    /// Stores changes of other records, in their order. They take effect in memory once they are
    /// durable; a store without a storage makes them at once.
    #[cfg(feature = "bundles")]
    pub(crate) fn store_others(&self, changes: Vec<Change>) -> DurableFuture {
        if let Some(writer) = &self.writer {
            return writer.record_others(changes);
        }
        self.memory.others.change(&changes);
        DurableFuture::ready()
    }
}
