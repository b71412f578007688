//! The records of other kinds than noted pins in a [`PinStore`].

#[cfg(any(feature = "bundles", feature = "first-use"))]
use std::sync::Arc;
#[cfg(feature = "health")]
use std::time::Duration;

#[cfg(feature = "first-use")]
use rustls_pki_types::UnixTime;

#[cfg(feature = "first-use")]
use crate::known_keys::KnownKeys;
#[cfg(feature = "health")]
use crate::policy::AppliedPolicy;
#[cfg(feature = "first-use")]
use crate::policy::Host;
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
#[cfg(feature = "hsts")]
use crate::store::host_tables::HostTables;
#[cfg(feature = "first-use")]
use crate::store::noted::MAX_TIME;
#[cfg(feature = "bundles")]
use crate::store::other_records::OtherRecords;
use crate::store::pin_store::PinStore;
#[cfg(any(feature = "first-use", feature = "hsts"))]
use crate::store::queue::Urgency;
use crate::store::record::Record;

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
    #[cfg(feature = "hsts")]
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

/// Keys that are remembered from the first connection to a host.
#[cfg(feature = "first-use")]
impl PinStore {
    /// Returns the hosts of which keys are remembered, sorted by name.
    ///
    /// ```
    /// let store = pinhold::PinStore::in_memory();
    /// for known in store.first_use_hosts() {
    ///     println!("{known}");
    /// }
    /// ```
    #[must_use]
    pub fn first_use_hosts(&self) -> Vec<Arc<KnownKeys>> {
        self.memory.tables.first_use.list()
    }

    /// Returns the keys that are remembered of exactly this host.
    #[must_use]
    pub fn remembered_keys(&self, host: &Host) -> Option<Arc<KnownKeys>> {
        self.memory.tables.first_use.get(host)
    }

    /// Removes the keys that are remembered of exactly this host, and returns them. The next
    /// connection is the first one again.
    pub fn forget_remembered_keys(&self, host: &Host) -> Option<Arc<KnownKeys>> {
        let table = &self.memory.tables.first_use;
        let removed = table.remove(host, MAX_TIME, self.is_stored());
        self.store_tables(Urgency::Now);
        removed
    }

    pub(crate) fn put_remembered_keys(
        &self,
        keys: KnownKeys,
        replaces: UnixTime,
        urgency: Urgency,
    ) {
        let table = &self.memory.tables.first_use;
        table.put(keys, replaces, self.is_stored());
        self.store_tables(urgency);
    }

    pub(crate) fn forget_remembered_since(&self, time: UnixTime) {
        let table = &self.memory.tables.first_use;
        table.clear_since(time, self.is_stored());
        self.store_tables(Urgency::Now);
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
