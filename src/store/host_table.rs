//! [`HostTable`], what is kept of hosts in one kind of records, in memory and as changes of a storage.
//!
//! A change takes effect in memory at once. The writer thread commits it; a failed commit is repeated
//! with the next one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use rustls_pki_types::UnixTime;

use crate::policy::Host;
use crate::store::change::Change;
use crate::store::noted::MAX_TIME;
use crate::store::record::{Record, Update};
use crate::store::storage::Merged;

/// What is kept of one host.
pub(crate) trait HostEntry: PartialEq + Sized {
    /// The kind of its records. The key is the host.
    const KIND: &'static str;

    /// Parses the value of a record.
    fn parse(host: Host, value: &str, time: UnixTime) -> Option<Self>;

    fn host(&self) -> &Host;

    /// Returns the time of the record: that of the latest observation.
    fn time(&self) -> UnixTime;

    /// Returns the value of the record, a JSON text without line breaks.
    fn to_value(&self) -> String;
}

/// The entries of one kind.
pub(crate) struct HostTable<E>(RwLock<Table<E>>);

struct Table<E> {
    entries: HashMap<Host, Arc<E>, RandomState>,
    /// What is not stored yet. Empty without a storage.
    unstored: HashMap<Host, Unstored, RandomState>,
    /// Since when the records of the storage are to be removed, and whether the commit that is running
    /// has it.
    cleared_since: Option<(UnixTime, bool)>,
}

/// A change that is not stored yet.
#[derive(Clone, Copy)]
struct Unstored {
    /// The latest time of a stored record that the change affects.
    replaces: UnixTime,
    /// Whether the commit that is running has it.
    is_sent: bool,
    /// What to replace once the commit that is running has stored an earlier change.
    after_commit: Option<UnixTime>,
}

impl<E> Default for HostTable<E> {
    fn default() -> Self {
        Self(RwLock::new(Table {
            entries: HashMap::default(),
            unstored: HashMap::default(),
            cleared_since: None,
        }))
    }
}

impl<E: HostEntry> HostTable<E> {
    /// Adds the records of a storage. Those that can't be read are ignored, and stay stored.
    pub(crate) fn load(&self, records: &[Record]) {
        let mut table = self.0.write();
        let read = records.iter().filter_map(read::<E>);
        let read = read.map(|entry| (entry.host().clone(), Arc::new(entry)));
        table.entries.extend(read);
    }

    /// Returns the entry of exactly this host.
    pub(crate) fn get(&self, host: &Host) -> Option<Arc<E>> {
        self.0.read().entries.get(host).cloned()
    }

    /// Returns the first of the entries of the host and of its superdomains, the nearest first, that
    /// `applies`.
    #[cfg(feature = "hsts")]
    pub(crate) fn find(&self, host: &Host, applies: impl Fn(&E) -> bool) -> Option<Arc<E>> {
        let table = self.0.read();
        if table.entries.is_empty() {
            return None;
        }
        let mut entries = host.and_superdomains();
        entries.find_map(|name| {
            table
                .entries
                .get(name)
                .filter(|entry| applies(entry))
                .cloned()
        })
    }

    /// Returns all entries, sorted by host.
    pub(crate) fn list(&self) -> Vec<Arc<E>> {
        let mut list = self.0.read().entries.values().cloned().collect::<Vec<_>>();
        list.sort_by(|one, other| one.host().as_str().cmp(other.host().as_str()));
        list
    }

    /// Adds an entry, or replaces the one of the host. What another process has stored after
    /// `replaces` is kept.
    pub(crate) fn put(&self, entry: E, replaces: UnixTime, is_stored: bool) {
        let host = entry.host().clone();
        let mut table = self.0.write();
        let replaced = table.entries.insert(host.clone(), Arc::new(entry));
        if is_stored {
            table.change(host, replaces);
        }
        drop(table);
        drop(replaced);
    }

    /// Removes the entry of exactly this host, also from the storage, unless another process has
    /// stored it after `replaces`.
    pub(crate) fn remove(
        &self,
        host: &Host,
        replaces: UnixTime,
        is_stored: bool,
    ) -> Option<Arc<E>> {
        let mut table = self.0.write();
        // Recorded even if nothing was removed: another process may have stored an entry.
        if is_stored {
            table.change(host.clone(), replaces);
        }
        table.entries.remove(host)
    }

    /// Removes all entries whose time is this one or a later one. Returns whether there were any.
    pub(crate) fn clear_since(&self, time: UnixTime, is_stored: bool) -> bool {
        let mut table = self.0.write();
        let mut cleared = Vec::new();
        table.entries.retain(|host, entry| {
            let is_kept = entry.time() < time;
            if !is_kept {
                cleared.push(host.clone());
            }
            is_kept
        });
        let is_changed = !cleared.is_empty();
        if !is_stored {
            return is_changed;
        }
        // What is stored of them may be older.
        for host in cleared {
            table.change(host, MAX_TIME);
        }
        // Recorded even if nothing was removed: another process may have stored such entries.
        let earliest = table
            .cleared_since
            .map_or(time, |(known, _)| known.min(time));
        table.cleared_since = Some((earliest, false));
        is_changed
    }
}

/// Storing. Each method is called by the writer thread, in this order: `changes`, then `merge` once they
/// are stored.
impl<E: HostEntry> HostTable<E> {
    /// Appends the changes that are not stored yet.
    pub(crate) fn append_changes(&self, changes: &mut Vec<Change>) {
        let table = self.0.read();
        if table.unstored.is_empty() && table.cleared_since.is_none() {
            return;
        }
        drop(table);
        let mut table = self.0.write();
        let Table {
            entries,
            unstored,
            cleared_since,
        } = &mut *table;
        if let Some((time, is_sent)) = cleared_since {
            *is_sent = true;
            changes.push(Change::clear_since(E::KIND, *time));
        }
        for (host, change) in unstored.iter_mut() {
            change.is_sent = true;
            changes.push(match entries.get(host) {
                Some(entry) => Change::put_over(record(&**entry), change.replaces),
                None => Change::remove_until(E::KIND, host.as_str(), change.replaces),
            });
        }
    }

    /// Takes over the outcome of a commit of the changes (`is_committed`), or of a pull. Returns whether
    /// an entry changed.
    pub(crate) fn merge(&self, merged: &Merged, is_committed: bool) -> bool {
        let mut table = self.0.write();
        if is_committed && !matches!(merged, Merged::Lost) {
            table.unstored.retain(|host, change| {
                let after_commit = change.after_commit.take();
                change.replaces = after_commit.unwrap_or(change.replaces);
                // Otherwise it would replace an entry that it was not made for.
                let is_founded = after_commit.is_none_or(|time| {
                    stored_time::<E>(merged, host).is_none_or(|stored| stored == time)
                });
                !change.is_sent && is_founded
            });
            table.cleared_since.take_if(|(_, is_sent)| *is_sent);
        }
        match merged {
            Merged::Nothing | Merged::Lost => false,
            Merged::Updates(updates) => {
                let mut is_changed = false;
                for update in updates {
                    is_changed |= table.apply(update);
                }
                is_changed
            }
            Merged::All(records) => {
                let Table {
                    entries, unstored, ..
                } = &mut *table;
                let len = entries.len();
                let stored = records.iter().filter(|record| record.kind() == E::KIND);
                let stored = stored.map(Record::key).collect::<HashSet<_>>();
                entries.retain(|host, _| {
                    stored.contains(host.as_str()) || unstored.contains_key(host)
                });
                let mut is_changed = entries.len() != len;
                for record in records {
                    is_changed |= table.apply(&Update::Put(record.clone()));
                }
                is_changed
            }
        }
    }

    /// Lets the next changes store everything, since the storage has lost it.
    pub(crate) fn store_again(&self) {
        let mut table = self.0.write();
        let hosts = table.entries.keys().cloned().collect::<Vec<_>>();
        for host in hosts {
            let replaces = table.entries.get(&host).map(|entry| entry.time());
            if !table.unstored.contains_key(&host) {
                table.change(host, replaces.unwrap_or(MAX_TIME));
            }
        }
    }
}

impl<E: HostEntry> Table<E> {
    /// Records that what is kept of a host is to be stored.
    fn change(&mut self, host: Host, replaces: UnixTime) {
        // What an earlier change was made for that is not stored yet still counts.
        let earlier = self.unstored.get(&host).filter(|_| replaces < MAX_TIME);
        let change = Unstored {
            replaces: earlier.map_or(replaces, |earlier| earlier.replaces),
            is_sent: false,
            after_commit: earlier.and_then(|earlier| {
                if earlier.is_sent {
                    Some(replaces)
                } else {
                    earlier.after_commit
                }
            }),
        };
        self.unstored.insert(host, change);
    }

    /// Makes an update of the storage, except where a change is not stored yet. Returns whether an entry
    /// changed.
    fn apply(&mut self, update: &Update) -> bool {
        match update {
            Update::Put(record) => {
                let Some(entry) = read::<E>(record) else {
                    return false;
                };
                let host = entry.host().clone();
                let is_cleared = self
                    .cleared_since
                    .is_some_and(|(time, _)| entry.time() >= time);
                if is_cleared || self.unstored.contains_key(&host) {
                    return false;
                }
                let is_same = self
                    .entries
                    .get(&host)
                    .is_some_and(|known| **known == entry);
                if !is_same {
                    self.entries.insert(host, Arc::new(entry));
                }
                !is_same
            }
            Update::Removed { kind, key } if kind == E::KIND => {
                let host = Host::parse(key).ok();
                let host = host.filter(|host| !self.unstored.contains_key(host));
                host.is_some_and(|host| self.entries.remove(&host).is_some())
            }
            Update::ClearedSince { kind, time } if kind == E::KIND => {
                let (len, unstored) = (self.entries.len(), &self.unstored);
                self.entries
                    .retain(|host, entry| entry.time() < *time || unstored.contains_key(host));
                self.entries.len() != len
            }
            Update::Removed { .. } | Update::ClearedSince { .. } => false,
        }
    }
}

fn read<E: HostEntry>(record: &Record) -> Option<E> {
    let of_kind = (record.kind() == E::KIND).then_some(record)?;
    let host = Host::parse(of_kind.key()).ok()?;
    E::parse(host, of_kind.value(), of_kind.time())
}

pub(super) fn record<E: HostEntry>(entry: &E) -> Record {
    Record::of_parts(
        E::KIND,
        entry.host().as_str(),
        &entry.to_value(),
        entry.time(),
    )
}

/// Returns the time of a host's record, if the outcome of a commit has it.
fn stored_time<E: HostEntry>(merged: &Merged, host: &Host) -> Option<UnixTime> {
    let id = (E::KIND, host.as_str());
    match merged {
        Merged::Nothing | Merged::Lost => None,
        Merged::Updates(updates) => match updates.iter().rfind(|it| it.id() == Some(id))? {
            Update::Put(record) => Some(record.time()),
            Update::Removed { .. } | Update::ClearedSince { .. } => None,
        },
        Merged::All(records) => {
            let stored = records.iter().find(|it| (it.kind(), it.key()) == id);
            stored.map(Record::time)
        }
    }
}
