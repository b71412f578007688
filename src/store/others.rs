//! The records of other kinds than noted pins in a [`PinStore`].

#[cfg(feature = "bundles")]
use std::sync::Arc;
#[cfg(feature = "health")]
use std::time::Duration;

#[cfg(feature = "health")]
use crate::policy::AppliedPolicy;
#[cfg(feature = "bundles")]
use crate::store::change::Change;
#[cfg(feature = "bundles")]
use crate::store::durable::DurableFuture;
#[cfg(feature = "health")]
use crate::store::health_book::{HealthBook, Observation, Request, Rules};
#[cfg(feature = "health")]
use crate::store::health_history::History;
#[cfg(feature = "health")]
use crate::store::health_warning::HealthWarning;
#[cfg(any(feature = "first-use", feature = "hsts"))]
use crate::store::host_tables::HostTables;
#[cfg(feature = "bundles")]
use crate::store::other_records::OtherRecords;
use crate::store::pin_store::PinStore;
use crate::store::record::Record;
#[cfg(any(feature = "first-use", feature = "hsts"))]
use crate::store::writer::Urgency;

impl PinStore {
    /// Adds the records of other kinds to a store that has no other handle yet.
    pub(crate) fn with_others(self, records: Vec<Record>) -> Self {
        #[cfg(feature = "health")]
        self.memory.health.load(&records);
        #[cfg(any(feature = "first-use", feature = "hsts"))]
        self.memory.tables.load(&records);
        self.with_bundles(records)
    }

    #[cfg(feature = "bundles")]
    fn with_bundles(mut self, records: Vec<Record>) -> Self {
        if let Some(memory) = Arc::get_mut(&mut self.memory) {
            memory.others = OtherRecords::of_loaded(records);
        }
        self
    }

    #[cfg(not(feature = "bundles"))]
    fn with_bundles(self, records: Vec<Record>) -> Self {
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

    /// Returns what the connections of the application have shown.
    #[cfg(feature = "health")]
    pub(crate) fn health(&self) -> &HealthBook {
        &self.memory.health
    }

    /// Records a connection, and returns the warnings to emit, with the history that they are from.
    /// The writer thread stores it later.
    #[cfg(feature = "health")]
    pub(crate) fn record_health(
        &self,
        policy: &AppliedPolicy,
        observation: Observation<'_>,
        rules: Rules,
    ) -> Option<(Vec<HealthWarning>, History)> {
        let recorded = self.memory.health.record(policy, observation, rules);
        let delay = match recorded.request {
            Some(Request::Now) => Some(Duration::ZERO),
            Some(Request::Later) => Some(COUNTS_DELAY),
            None => None,
        };
        if let Some((writer, delay)) = self.writer.as_ref().zip(delay) {
            writer.request_commit(delay);
        }
        recorded.warnings
    }

    /// Returns the tables of what is kept by host beside noted pins.
    #[cfg(any(feature = "first-use", feature = "hsts"))]
    pub(crate) fn tables(&self) -> &HostTables {
        &self.memory.tables
    }

    /// Returns whether changes are to be stored.
    #[cfg(any(feature = "first-use", feature = "hsts"))]
    pub(crate) fn is_stored(&self) -> bool {
        self.writer.is_some()
    }

    /// Lets the writer thread store what a table has recorded.
    #[cfg(any(feature = "first-use", feature = "hsts"))]
    pub(crate) fn store_tables(&self, urgency: Urgency) {
        if let Some(writer) = &self.writer {
            writer.request_table(urgency);
        }
    }
}

/// How long counts may wait until they are written: a crash loses at most those of a minute, and a busy
/// client writes once a minute.
#[cfg(feature = "health")]
const COUNTS_DELAY: Duration = Duration::from_secs(60);

#[cfg(feature = "health")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::timestamp::at;
    use crate::store::health_book::Source;
    use crate::store::record::Update;
    use crate::store::storage::Merged;

    #[test]
    fn an_unused_history_that_another_process_removes_is_not_stored_again() {
        let key = "example.com host 0011223344556677";
        let mut history = History::default();
        history.begin_day(10);
        let record = Record::new(Record::HEALTH, key, &history.to_value(), at(0)).unwrap();
        let book = HealthBook::default();
        book.load(&[record]);
        let removed = Update::Removed {
            kind: Record::HEALTH.into(),
            key: key.into(),
        };
        book.merge(&Merged::Updates(vec![removed]), Source::Other);
        assert!(book.changes().is_empty());
    }
}
