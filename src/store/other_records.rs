//! Records of other kinds than noted pins, as they are stored: [`OtherRecords`].

use std::sync::Weak;

use parking_lot::Mutex;

use crate::store::change::Change;
use crate::store::other_changes::OtherChanges;
use crate::store::record::{Record, Update};
use crate::store::records::Records;
use crate::store::storage::Merged;

/// The records about pin bundles, as they are durable in the storage.
#[derive(Default)]
pub(crate) struct OtherRecords {
    records: Mutex<Records>,
    /// One for each set of pins with this store.
    listeners: Mutex<Vec<Weak<dyn RecordListener>>>,
}

/// Is notified of records that were stored, by this process or another one.
pub(crate) trait RecordListener: Send + Sync {
    fn on_records_changed(&self);
}

impl OtherRecords {
    /// Returns the records about pin bundles among those of a storage.
    pub(crate) fn of_loaded(loaded: Vec<Record>) -> Self {
        let mut records = Records::default();
        for record in loaded.into_iter().filter(|record| is_kept(record.kind())) {
            records.apply(Update::Put(record));
        }
        Self {
            records: Mutex::new(records),
            listeners: Mutex::default(),
        }
    }

    /// Adds a listener.
    pub(crate) fn watch(&self, listener: Weak<dyn RecordListener>) {
        let mut listeners = self.listeners.lock();
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(listener);
    }

    /// Returns what `read` returns of the records. It must not wait.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Records) -> T) -> T {
        read(&self.records.lock())
    }

    /// Makes the changes, which no storage has to keep.
    pub(crate) fn change(&self, changes: &[Change]) {
        self.merge(changes, &Merged::Nothing);
    }

    /// Takes over the outcome of a commit of these changes, or of a pull.
    pub(crate) fn merge(&self, committed: &[Change], merged: &Merged) {
        let mut records = self.records.lock();
        let is_changed = match merged {
            Merged::Nothing => {
                let stored = |change: &Change| {
                    let (kind, key) = change.update().id()?;
                    records.get(kind, key).cloned()
                };
                let made = committed.iter().filter_map(|change| {
                    let stored = stored(change);
                    change.resolve(stored.as_ref())
                });
                let made = made.collect::<Vec<_>>();
                let is_changed = !made.is_empty();
                made.into_iter().for_each(|update| records.apply(update));
                is_changed
            }
            Merged::Updates(updates) => {
                let updates = updates.iter().filter(|update| is_kept(kind(update)));
                updates.fold(false, |_, update| {
                    records.apply(update.clone());
                    true
                })
            }
            Merged::All(all) => {
                let all = all.iter().filter(|record| is_kept(record.kind()));
                *records = Records::default();
                all.for_each(|record| records.apply(Update::Put(record.clone())));
                true
            }
            Merged::Lost => false,
        };
        drop(records);
        if !is_changed {
            return;
        }
        let listeners = self.listeners.lock();
        let live = listeners.iter().filter_map(Weak::upgrade);
        let live = live.collect::<Vec<_>>();
        // A listener may store other records, whose listeners are then notified.
        drop(listeners);
        for listener in live {
            listener.on_records_changed();
        }
    }

    /// Drops the changes that have no effect on what was stored since they were made.
    pub(crate) fn drop_unfounded(&self, changes: &mut OtherChanges) {
        let records = self.records.lock();
        changes.0.retain(|change| {
            let id = change.update().id();
            let stored = id.and_then(|(kind, key)| records.get(kind, key));
            change.resolve(stored).is_some()
        });
    }

    /// Returns changes that store all records again.
    pub(crate) fn to_changes(&self) -> Vec<Change> {
        let records = self.records.lock();
        let all = records.iter().cloned().map(Change::put);
        let mut all = all.collect::<Vec<_>>();
        // A version is stored after the text that it is of: a crash may store the first ones only.
        all.sort_by_key(|change| matches!(change.update().id(), Some((Record::BUNDLE_FLOOR, _))));
        all
    }
}

fn kind(update: &Update) -> &str {
    match update {
        Update::Put(record) => record.kind(),
        Update::Removed { kind, .. } | Update::ClearedSince { kind, .. } => kind,
    }
}

/// Returns whether records of this kind are kept in memory.
fn is_kept(kind: &str) -> bool {
    matches!(
        kind,
        Record::BUNDLE_FLOOR | Record::BUNDLE_STATE | Record::BUNDLE_TEXT
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::policy::timestamp::at;
    use crate::store::{PinStore, Storage, StorageError};

    /// A storage that commits when the test lets it.
    struct Blocked(Receiver<()>);

    impl Storage for Blocked {
        fn load(&mut self) -> Result<Vec<Record>, StorageError> {
            Ok(Vec::new())
        }

        fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
            self.0.recv().unwrap();
            Ok(Merged::Nothing)
        }
    }

    struct Owner(Mutex<Option<PinStore>>);

    impl RecordListener for Owner {
        fn on_records_changed(&self) {
            drop(self.0.lock().take());
        }
    }

    #[test]
    fn a_listener_that_drops_the_last_handle_does_not_wait_for_its_own_thread() {
        let (release, released) = channel();
        let (sender, errors) = channel();
        let builder = PinStore::builder().on_error(move |error| drop(sender.send(error.clone())));
        let store = builder.open(Blocked(released)).unwrap();
        let owner = Arc::new(Owner(Mutex::new(Some(store.clone()))));
        let listener: Arc<dyn RecordListener> = owner.clone();
        store.others().watch(Arc::downgrade(&listener));
        let record = Record::of_parts(Record::BUNDLE_STATE, "counts", "[1]", at(1));
        let stored = store.store_others(vec![Change::put(record)]);
        drop(store);
        release.send(()).unwrap();
        stored.wait().unwrap();
        assert!(owner.0.lock().is_none());
        // Ends with the writer thread.
        let errors = errors.iter().collect::<Vec<_>>();
        assert!(errors.is_empty(), "{errors:?}");
    }
}
