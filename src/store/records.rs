//! The records of a storage, as the updates in a file leave them: [`Records`]; and what others have
//! changed of them: [`Unreported`].

use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use foldhash::fast::RandomState;

use crate::store::change::Change;
use crate::store::line;
use crate::store::noted::MIN_TIME;
use crate::store::record::{Record, Update};
use crate::store::storage::Merged;

/// The records, at most one for each kind and key.
#[derive(Debug, Default)]
pub(crate) struct Records(HashSet<ByKey, RandomState>);

/// A record that is hashed and compared by its kind and key.
#[derive(Debug)]
struct ByKey(Record);

impl Records {
    pub(crate) fn apply(&mut self, update: Update) {
        match update {
            Update::Put(record) => drop(self.0.replace(ByKey(record))),
            Update::Removed { kind, key } => {
                self.0.remove(&ByKey::new(&kind, &key));
            }
            Update::ClearedSince { kind, time } => self
                .0
                .retain(|ByKey(record)| record.kind() != kind || record.time() < time),
        }
    }

    pub(crate) fn get(&self, kind: &str, key: &str) -> Option<&Record> {
        self.0.get(&ByKey::new(kind, key)).map(|found| &found.0)
    }

    #[cfg(feature = "bundles")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().map(|ByKey(record)| record)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_vec(self) -> Vec<Record> {
        self.0.into_iter().map(|ByKey(record)| record).collect()
    }

    /// Returns about how many bytes the lines of these records have.
    pub(crate) fn typical_len(&self) -> u64 {
        let lens = self
            .0
            .iter()
            .map(|ByKey(record)| record.key().len() + record.value().len() + line::OVERHEAD);
        u64::try_from(lens.sum::<usize>()).unwrap_or(u64::MAX)
    }

    /// Returns the lines of a file that has these records only.
    pub(crate) fn to_lines(&self) -> String {
        let mut lines = String::with_capacity(self.len() * line::TYPICAL_LINE);
        for ByKey(record) in &self.0 {
            line::write_put(&mut lines, record);
        }
        lines
    }
}

impl ByKey {
    fn new(kind: &str, key: &str) -> Self {
        Self(Record::of_parts(kind, key, "", MIN_TIME))
    }

    fn id(&self) -> (&str, &str) {
        (self.0.kind(), self.0.key())
    }
}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Few kinds have the same keys.
        self.0.key().hash(state);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for ByKey {}

/// What other processes have written and was not returned to the store yet.
#[derive(Debug, Default)]
pub(crate) struct Unreported {
    /// All records, if the file was read as a whole.
    pub(crate) all: Option<Records>,
    updates: Vec<Update>,
}

impl Unreported {
    /// Adds updates that others have made after those so far.
    pub(crate) fn extend(&mut self, updates: Vec<Update>) {
        match &mut self.all {
            Some(all) => updates.into_iter().for_each(|update| all.apply(update)),
            None => self.updates.extend(updates),
        }
    }

    /// Returns what a change of a batch does to what is stored now; `None` if it has no effect.
    pub(crate) fn resolve(&self, change: &Change, batch: &[Change]) -> Option<Update> {
        let Some((kind, key)) = change.update().id() else {
            return change.resolve(None);
        };
        // What the batch clears, or what others have cleared since, is not stored.
        let mut cleared = batch
            .iter()
            // They come first, and a batch may have a million other changes.
            .take_while(|change| change.update().id().is_none())
            .find_map(|change| change.update().cleared(kind));
        if let Some(all) = &self.all {
            let stored = all.get(kind, key);
            let stored = stored.filter(|record| cleared.is_none_or(|time| record.time() < time));
            return change.resolve(stored);
        }
        for update in self.updates.iter().rev() {
            if let Some(time) = update.cleared(kind) {
                cleared = Some(cleared.map_or(time, |known| known.min(time)));
            }
            if update.id() != Some((kind, key)) {
                continue;
            }
            return match update {
                Update::Put(record) if cleared.is_none_or(|time| record.time() < time) => {
                    change.resolve(Some(record))
                }
                _ => change.resolve(None),
            };
        }
        let is_put = matches!(change.update(), Update::Put(_));
        if is_put && cleared.is_some_and(|time| change.replaces >= time) {
            return change.resolve(None);
        }
        // What is stored is what the change was made for.
        Some(change.update().clone())
    }

    /// Returns the number of updates by others, unless all records were read.
    pub(crate) fn len(&self) -> usize {
        self.updates.len()
    }

    /// Returns what others have written, with the updates that this storage has made since.
    pub(crate) fn take(&mut self, made: Vec<Update>) -> Merged {
        let Self { all, mut updates } = std::mem::take(self);
        if let Some(mut all) = all {
            made.into_iter().for_each(|update| all.apply(update));
            return Merged::All(all.into_vec());
        }
        if updates.is_empty() {
            return Merged::Nothing;
        }
        updates.extend(made);
        Merged::Updates(updates)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::policy::timestamp::at;

    #[test]
    fn an_update_affects_records_of_its_kind_only() {
        let put = |kind, key| Update::Put(Record::of_parts(kind, key, "1", at(2)));
        let kind = Cow::Borrowed("other");
        let removed = Update::Removed {
            kind: kind.clone(),
            key: "a".into(),
        };
        let cleared = Update::ClearedSince { kind, time: at(2) };
        for (update, left) in [(removed, 3), (cleared, 2)] {
            let mut records = Records::default();
            for kind in [Record::NOTED_PINS, "other"] {
                records.apply(put(kind, "a"));
                records.apply(put(kind, "b"));
            }
            records.apply(update);
            assert_eq!(records.len(), left);
            for key in ["a", "b"] {
                assert!(records.get(Record::NOTED_PINS, key).is_some());
            }
        }
    }
}
