//! [`HealthBook`], the histories of all pin sets in memory, and the changes by which they are stored.

use std::collections::HashMap;
use std::mem;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rustls_pki_types::UnixTime;

use crate::policy::timestamp::at;
use crate::policy::{AppliedPolicy, Host, Scope, SpkiFingerprint};
use crate::store::change::Change;
use crate::store::health_history::{EMITTED_DAYS, History, Outcome, insert};
use crate::store::health_key::{self, SALT};
use crate::store::health_salt::Salt;
use crate::store::health_warning::HealthWarning;
use crate::store::record::{Record, Update};
use crate::store::storage::Merged;

/// The histories of all pin sets, shared by all handles of a store. The lock is held for a few
/// comparisons.
#[derive(Default)]
pub(crate) struct HealthBook(Mutex<Book>);

#[derive(Default)]
struct Book {
    of_hosts: HashMap<Host, Vec<Entry>, RandomState>,
    /// The number of entries.
    len: usize,
    /// The keys of records to remove.
    removed: Vec<Box<str>>,
    salt: Salt,
    /// Whether the writer thread was asked to store what has changed.
    is_requested: bool,
}

/// The history of one pin set of a policy.
pub(crate) struct Entry {
    key: Box<str>,
    pub(crate) scope: Scope,
    /// The policy as it was applied last in this process.
    pub(crate) policy: Option<AppliedPolicy>,
    /// The generation of the pins when they were used last in this process.
    generation: u64,
    /// As it is stored.
    base: History,
    pub(crate) history: History,
    /// As it was passed to the storage; `None` if no commit has been tried since it was stored.
    sent: Option<History>,
    /// Whether the storage has lost it: what is stored is then replaced, since it may be a part of this.
    is_lost: bool,
    /// The day for which the warnings were determined.
    judged_on: Option<u64>,
    /// Whether the pins were those of a candidate when they were used last.
    pub(crate) is_candidate: bool,
}

/// What one connection shows.
#[derive(Clone, Copy)]
pub(crate) struct Observation<'a> {
    pub(crate) app_version: &'a str,
    /// `None` if the connection is not counted.
    pub(crate) outcome: Option<Outcome>,
    /// The keys of the validated chain, if the server has proved that it has the leaf's key and the
    /// pins were not skipped.
    pub(crate) keys: Option<&'a [SpkiFingerprint]>,
    /// What the connection shows whatever was seen before.
    pub(crate) warnings: &'a [HealthWarning],
    /// That of the pins.
    pub(crate) generation: u64,
    pub(crate) now: UnixTime,
}

/// The rules by which a history leads to warnings on a day.
pub(crate) type Rules = fn(&AppliedPolicy, &History, u64, &mut Vec<HealthWarning>);

/// What recording has led to.
#[derive(Default)]
pub(crate) struct Recorded {
    /// The warnings to emit, and the history that they are from.
    pub(crate) warnings: Option<(Vec<HealthWarning>, History)>,
    /// When to store the change; `None` if that was requested already.
    pub(crate) request: Option<Request>,
}

/// How soon a change is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Counts have changed.
    Later,
    /// A day, a pin or a warning is new: a warning must not be emitted again after a crash.
    Now,
}

impl HealthBook {
    /// Adds the records of a storage. Those that can't be read are ignored, and stay stored.
    pub(crate) fn load(&self, records: &[Record]) {
        let mut book = self.0.lock();
        let mut read = Vec::new();
        for record in records.iter().filter(|it| it.kind() == Record::HEALTH) {
            if record.key() == SALT {
                book.salt.take(record);
            } else if let Some(history) = History::of_value(record.value()) {
                read.push((record.key(), history));
            }
        }
        read.sort_by_key(|(_, history)| std::cmp::Reverse(history.last_day()));
        for (key, history) in read.into_iter().take(MAX_ENTRIES) {
            book.put(key, history, Source::Other);
        }
    }

    /// Records a connection under this policy.
    pub(crate) fn record(
        &self,
        policy: &AppliedPolicy,
        observation: Observation<'_>,
        rules: Rules,
    ) -> Recorded {
        let day = observation.now.as_secs() / DAY;
        let mut book = self.0.lock();
        let Some((entries, index)) = book.entry(policy, observation.generation) else {
            return Recorded::default();
        };
        let Some(entry) = entries.get_mut(index) else {
            return Recorded::default();
        };
        let is_new = entry.record(observation, day);
        let mut warnings = observation.warnings.to_vec();
        if observation.keys.is_some() && (is_new || entry.judged_on != Some(day)) {
            entry.judged_on = Some(day);
            rules(policy, &entry.history, day, &mut warnings);
        }
        if !warnings.is_empty() {
            let is_due = |warning: &HealthWarning| {
                let mut of_host = entries.iter_mut();
                of_host.all(|entry| is_due(entry.history.emitted(*warning), *warning, day))
            };
            warnings.retain(is_due);
        }
        let mut to_emit = None;
        if let Some(entry) = entries.get_mut(index)
            && !warnings.is_empty()
        {
            for warning in &warnings {
                insert(entry.history.emitted(*warning), day, EMITTED_DAYS);
            }
            to_emit = Some((warnings, entry.history.clone()));
        }
        let is_urgent = is_new || to_emit.is_some();
        let was_requested = mem::replace(&mut book.is_requested, true);
        let request = match (is_urgent, was_requested) {
            (true, _) => Some(Request::Now),
            (false, false) => Some(Request::Later),
            (false, true) => None,
        };
        Recorded {
            warnings: to_emit,
            request,
        }
    }

    /// Calls `visit` with each history, and with whether its pins are in effect: those of its scope
    /// that connections have used since the pins of the application last changed.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&Host, &Entry, bool)) {
        let book = self.0.lock();
        for (host, entries) in &book.of_hosts {
            for entry in entries {
                visit(host, entry, entry.is_in_effect(entries));
            }
        }
    }

    /// Returns the history of the set of pins of this policy.
    pub(crate) fn history(&self, policy: &AppliedPolicy) -> Option<History> {
        let book = self.0.lock();
        let entries = book.of_hosts.get(&policy.noted_hostname)?;
        let key = health_key::key(policy);
        let entry = entries.iter().find(|entry| entry.key == key)?;
        Some(entry.history.clone())
    }

    /// Returns the salt of exported digests. The first process that uses a storage chooses it.
    pub(crate) fn salt(&self) -> [u8; 16] {
        self.0.lock().salt.get()
    }
}

/// Storing. Each method is called by the writer thread, in this order: `changes`, then `merge`
/// once they are stored.
impl HealthBook {
    /// Returns the changes that store what was recorded.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut book = self.0.lock();
        book.is_requested = false;
        let removed = mem::take(&mut book.removed);
        let removed = removed
            .iter()
            .map(|key| Change::remove(Record::HEALTH, key));
        let mut changes = removed.collect::<Vec<_>>();
        changes.extend(book.salt.record_to_store().map(Change::put));
        let mut dirty = Vec::new();
        for entry in book.of_hosts.values_mut().flatten() {
            if entry.is_lost || entry.history != entry.base {
                entry.sent = Some(entry.history.clone());
                let base = (!entry.is_lost).then(|| entry.base.clone());
                dirty.push((entry.key.clone(), base, entry.history.clone()));
            }
        }
        drop(book);
        // Without the lock, which handshakes wait for.
        let puts = dirty.into_iter().filter_map(|(key, base, history)| {
            let time = at(history.last);
            let record = Record::new(Record::HEALTH, &key, &history.to_value(), time);
            Some(match base {
                Some(base) => Change::merge(record.ok()?, base),
                None => Change::put(record.ok()?),
            })
        });
        changes.extend(puts);
        changes
    }

    /// Takes over the outcome of a commit of the changes, or of a pull.
    pub(crate) fn merge(&self, merged: &Merged, source: Source) {
        let mut book = self.0.lock();
        if source == Source::Commit && matches!(merged, Merged::Nothing) {
            for entry in book.of_hosts.values_mut().flatten() {
                if let Some(sent) = entry.sent.take() {
                    (entry.base, entry.is_lost) = (sent, false);
                }
            }
            book.salt.on_stored();
        }
        match merged {
            Merged::Nothing | Merged::Lost => {}
            Merged::Updates(updates) => {
                // Only the last update of a record counts: that of a commit is its last one.
                let mut seen = Vec::new();
                for update in updates.iter().rev() {
                    if let Some((Record::HEALTH, key)) = update.id()
                        && !seen.contains(&key)
                    {
                        seen.push(key);
                        book.update(update, source);
                    }
                }
            }
            Merged::All(records) => {
                for record in records.iter().filter(|it| it.kind() == Record::HEALTH) {
                    book.update(&Update::Put(record.clone()), source);
                }
            }
        }
    }

    /// Lets the next changes store everything, since the storage has lost it.
    pub(crate) fn store_again(&self) {
        let mut book = self.0.lock();
        book.salt.store_again();
        for entry in book.of_hosts.values_mut().flatten() {
            (entry.is_lost, entry.sent) = (true, None);
        }
    }
}

/// Where a stored history comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A commit: what this process has passed to the storage is a part of it.
    Commit,
    /// A pull, or the start: another process, or an earlier one.
    Other,
}

impl Book {
    /// Returns the entries of the policy's host, and the index of that of its pins. Returns `None` if
    /// there is no room for it.
    fn entry(
        &mut self,
        policy: &AppliedPolicy,
        generation: u64,
    ) -> Option<(&mut Vec<Entry>, usize)> {
        let host = &policy.noted_hostname;
        let known = self.of_hosts.get(host).map_or(&[][..], Vec::as_slice);
        if let Some(index) = known.iter().position(|entry| entry.is_of(policy)) {
            return Some((self.of_hosts.get_mut(host)?, index));
        }
        let key = health_key::key(policy);
        if !known.iter().any(|entry| entry.key == key) {
            let entry = Entry::new(key.clone(), policy, known);
            if self.len >= MAX_ENTRIES && !self.evict(policy, generation) {
                return None;
            }
            self.len += 1;
            // A commit has one change of a key.
            self.removed.retain(|removed| *removed != key);
            self.of_hosts.entry(host.clone()).or_default().push(entry);
        }
        let entries = self.of_hosts.get_mut(host)?;
        let index = entries.iter().position(|entry| entry.key == key)?;
        entries.get_mut(index)?.policy = Some(policy.clone());
        Some((entries, index))
    }

    /// Removes the history that was not used for longest, of those that this process has not used or
    /// whose pins this policy or an earlier one has replaced. Returns whether there was one.
    fn evict(&mut self, policy: &AppliedPolicy, generation: u64) -> bool {
        let mut unused = Vec::new();
        for (host, entries) in &self.of_hosts {
            let is_own = *host == policy.noted_hostname;
            let is_replaced = |entry: &Entry| {
                is_own && entry.scope == policy.scope && entry.generation < generation
            };
            let is_unused = |entry: &&Entry| !entry.is_in_effect(entries) || is_replaced(entry);
            unused.extend(entries.iter().filter(is_unused));
        }
        let rank = |entry: &&Entry| (entry.policy.is_some(), entry.history.last_day());
        let Some(oldest) = unused.into_iter().min_by_key(rank) else {
            return false;
        };
        let is_stored = oldest.sent.is_some() || oldest.base != History::default();
        let key = oldest.key.clone();
        self.remove(&key);
        self.removed.extend(is_stored.then_some(key));
        true
    }

    fn remove(&mut self, key: &str) {
        for entries in self.of_hosts.values_mut() {
            let before = entries.len();
            entries.retain(|entry| *entry.key != *key);
            self.len -= before - entries.len();
        }
        self.of_hosts.retain(|_, entries| !entries.is_empty());
    }

    fn update(&mut self, update: &Update, source: Source) {
        match update {
            Update::Put(record) if record.key() == SALT => self.salt.take(record),
            Update::Put(record) => {
                if let Some(history) = History::of_value(record.value()) {
                    self.put(record.key(), history, source);
                }
            }
            // Another process needed the room. What this process uses is stored anew.
            Update::Removed { key, .. } => {
                let mut entries = self.of_hosts.values_mut().flatten();
                match entries.find(|entry| entry.key == *key) {
                    Some(entry) if entry.policy.is_some() => entry.base = History::default(),
                    _ => self.remove(key),
                }
            }
            Update::ClearedSince { .. } => {}
        }
    }

    /// Takes over a history as it is stored.
    fn put(&mut self, key: &str, stored: History, source: Source) {
        let Some((host, scope)) = health_key::parse(key) else {
            return;
        };
        let entries = self.of_hosts.entry(host).or_default();
        if let Some(entry) = entries.iter_mut().find(|entry| *entry.key == *key) {
            let sent = match source {
                Source::Commit => entry.sent.take(),
                Source::Other => None,
            };
            let base = sent.as_ref().unwrap_or(&entry.base);
            entry.history = History::merged(base, &entry.history, &stored);
            (entry.base, entry.is_lost) = (stored, false);
            return;
        }
        if self.len < MAX_ENTRIES {
            self.len += 1;
            entries.push(Entry {
                key: key.into(),
                scope,
                policy: None,
                generation: 0,
                base: stored.clone(),
                history: stored,
                sent: None,
                is_lost: false,
                judged_on: None,
                is_candidate: false,
            });
        }
    }
}

impl Entry {
    /// Creates the entry of a set of pins that takes the place of others of its host: a pin that is in
    /// both keeps its history.
    fn new(key: Box<str>, policy: &AppliedPolicy, of_host: &[Self]) -> Self {
        let mut history = History::default();
        let of_scope = of_host.iter().filter(|entry| entry.scope == policy.scope);
        if let Some(entry) = of_scope.max_by_key(|entry| entry.history.last_day()) {
            let known = &entry.history;
            (history.days, history.recent) = (known.days, known.recent.clone());
            let pins = known.pins.iter();
            let pins = pins.filter(|seen| policy.pins.contains(&seen.pin));
            history.pins = pins.cloned().collect();
        }
        Self {
            key,
            scope: policy.scope,
            policy: None,
            generation: 0,
            base: History::default(),
            history,
            sent: None,
            is_lost: false,
            judged_on: None,
            is_candidate: false,
        }
    }

    /// Returns whether this process has used the pins, and no later ones of their scope.
    fn is_in_effect(&self, of_host: &[Self]) -> bool {
        let is_later = |other: &Self| {
            other.scope == self.scope
                && other.is_candidate == self.is_candidate
                && other.policy.is_some()
                && other.generation > self.generation
        };
        self.policy.is_some() && !of_host.iter().any(is_later)
    }

    fn is_of(&self, policy: &AppliedPolicy) -> bool {
        self.scope == policy.scope
            && self.policy.as_ref().is_some_and(|known| {
                known.pins == policy.pins
                    && known.groups == policy.groups
                    && known.expires_at == policy.expires_at
                    && known.state == policy.state
            })
    }

    /// Returns whether the connection shows a day or a pin that is new.
    fn record(&mut self, observation: Observation<'_>, day: u64) -> bool {
        let history = &mut self.history;
        self.generation = observation.generation;
        let mut is_new = false;
        if let (Some(keys), Some(policy)) = (observation.keys, &self.policy) {
            is_new = history.begin_day(day);
            for pin in policy.pins.iter().filter(|pin| keys.contains(pin)) {
                is_new |= history.see(pin, day);
            }
        }
        if let Some(outcome) = observation.outcome {
            let now = observation.now.as_secs();
            history.count(observation.app_version, outcome, day);
            history.last = history.last.max(now);
            self.is_candidate = matches!(
                outcome,
                Outcome::CandidatePassed | Outcome::CandidateWouldBeRefused
            );
            if matches!(
                outcome,
                Outcome::WouldBeRefused | Outcome::CandidateWouldBeRefused
            ) {
                history.last_failure = history.last_failure.max(now);
            }
        }
        is_new
    }
}

/// Returns whether a warning may be emitted on this day, after these days: once on each, and
/// [`HealthWarning::BackupNeverSeen`], which is true for as long as a backup is not used, once in 30
/// days. Days of a clock that was ahead delay none.
fn is_due(emitted: &[u64], warning: HealthWarning, day: u64) -> bool {
    let interval = match warning {
        HealthWarning::BackupNeverSeen => REMINDER_INTERVAL,
        _ => 1,
    };
    emitted
        .iter()
        .all(|emitted| emitted.abs_diff(day) >= interval)
}

/// One day in seconds.
pub(crate) const DAY: u64 = 24 * 60 * 60;
/// How often the same hint is emitted, in days: a backup is proved by work at the server, which takes
/// weeks to plan.
const REMINDER_INTERVAL: u64 = 30;
/// The limit of pin sets that are kept: applications pin a few hosts. A record has a kilobyte.
const MAX_ENTRIES: usize = 256;
