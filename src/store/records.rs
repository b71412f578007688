//! The records of a storage, as the updates in a file leave them: [`Records`]; and what others have
//! changed of them: [`Unreported`].

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::store::change::Change;
use crate::store::line::{self, Content, Line};
use crate::store::record::{Record, Update};
use crate::store::storage::Merged;

/// The records by kind and key.
#[derive(Debug, Default)]
pub(crate) struct Records(HashMap<Cow<'static, str>, Keyed, RandomState>);

type Keyed = HashMap<Box<str>, (UnixTime, Box<str>), RandomState>;

impl Records {
    pub(crate) fn apply_line(&mut self, line: Line<'_>) {
        match line.content {
            // Without a lookup of the kind by a new string for every line.
            Content::Put { key, time, value } if self.0.contains_key(line.kind) => {
                if let Some(keyed) = self.0.get_mut(line.kind) {
                    keyed.insert(key.into(), (time, value.into()));
                }
            }
            _ => self.apply(line.update()),
        }
    }

    pub(crate) fn apply(&mut self, update: Update) {
        match update {
            Update::Put(record) => {
                let (kind, key, value, time) = record.into_parts();
                self.0.entry(kind).or_default().insert(key, (time, value));
            }
            Update::Removed { kind, key } => {
                if let Some(keyed) = self.0.get_mut(&kind) {
                    keyed.remove(&key);
                }
            }
            Update::ClearedSince { kind, time } => {
                if let Some(keyed) = self.0.get_mut(&kind) {
                    keyed.retain(|_, (stored, _)| *stored < time);
                }
            }
        }
    }

    pub(crate) fn get(&self, kind: &str, key: &str) -> Option<Record> {
        let (time, value) = self.0.get(kind)?.get(key)?;
        Some(Record::of_parts(kind, key, value, *time))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }

    pub(crate) fn into_vec(self) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.len());
        for (kind, keyed) in self.0 {
            let of_kind = keyed.into_iter();
            records
                .extend(of_kind.map(|(key, (time, value))| {
                    Record::from_parts(kind.clone(), key, value, time)
                }));
        }
        records
    }

    /// Returns about how many bytes the lines of these records have.
    pub(crate) fn typical_len(&self) -> u64 {
        let all = self.0.values().flatten();
        let lens = all.map(|(key, (_, value))| key.len() + value.len() + line::OVERHEAD);
        u64::try_from(lens.sum::<usize>()).unwrap_or(u64::MAX)
    }

    /// Returns the lines of a file that has these records only.
    pub(crate) fn to_lines(&self) -> String {
        let mut lines = String::with_capacity(self.len() * line::TYPICAL_LINE);
        for (kind, keyed) in &self.0 {
            for (key, (time, value)) in keyed {
                line::write_put(&mut lines, kind, key, value, *time);
            }
        }
        lines
    }
}

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
            .find_map(|change| change.update().cleared(kind));
        if let Some(all) = &self.all {
            let stored = all.get(kind, key);
            let stored = stored.filter(|record| cleared.is_none_or(|time| record.time() < time));
            return change.resolve(stored.as_ref());
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
