//! [`Change`], by which a store asks a storage for an update, and the rules of the kinds by which one
//! of two writes is kept.

use std::borrow::Cow;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::policy::KnownPinnedHost;
#[cfg(feature = "bundles")]
use crate::policy::fingerprint::decode_base64;
#[cfg(feature = "bundles")]
use crate::store::bundle_floor;
#[cfg(feature = "health")]
use crate::store::health_history::History;
#[cfg(feature = "health")]
use crate::store::health_salt;
use crate::store::noted::{Effect, HostChange, MAX_TIME, NOTED_PINS, NotedChange};
use crate::store::record::{Record, Update};

/// An [`Update`] that a store wants to be made, with the condition under which it may be.
///
/// Where several processes share a storage, an update must not undo what another process has stored
/// since. [`resolve`](Self::resolve) decides that by the rules of the kind. A storage that no other
/// process changes makes every [`update`](Self::update).
///
/// ```
/// use pinhold::storage::{Change, Record, Update};
///
/// let now = std::time::SystemTime::now();
/// let newer = Record::new("an-unknown-kind", "key", "2", now)?;
/// let change = Change::put(newer.clone());
/// // Of a kind that this version does not know, the later commit is kept.
/// let older = Record::new("an-unknown-kind", "key", "1", now)?;
/// assert_eq!(change.resolve(Some(&older)), Some(Update::Put(newer)));
/// # Ok::<(), pinhold::storage::RecordError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub(crate) update: Update,
    /// The latest time of a stored record that the change affects.
    pub(crate) replaces: UnixTime,
    /// Whether the change has no effect if another process has removed the record.
    pub(crate) is_replacement: bool,
    /// The stored history that the change adds to.
    #[cfg(feature = "health")]
    base: Option<Box<History>>,
}

impl Change {
    /// Returns the change that stores a record, such as one of another storage: of noted pins, unless
    /// the stored ones were noted later.
    #[must_use]
    pub fn put(record: Record) -> Self {
        Self {
            replaces: record.time(),
            update: Update::Put(record),
            is_replacement: false,
            #[cfg(feature = "health")]
            base: None,
        }
    }

    /// Returns the change that adds to a stored history what this process has recorded since.
    #[cfg(feature = "health")]
    pub(crate) fn merge(record: Record, base: History) -> Self {
        Self {
            base: Some(Box::new(base)),
            ..Self::put(record)
        }
    }

    /// Returns the change that removes a record.
    #[cfg(any(
        feature = "bundles",
        feature = "first-use",
        feature = "health",
        feature = "hsts"
    ))]
    pub(crate) fn remove(kind: &'static str, key: &str) -> Self {
        Self {
            update: Update::Removed {
                kind: Cow::Borrowed(kind),
                key: key.into(),
            },
            replaces: MAX_TIME,
            is_replacement: false,
            #[cfg(feature = "health")]
            base: None,
        }
    }

    /// Returns the change that stores a record, unless another process has stored one of a later time
    /// than `replaces`.
    #[cfg(any(feature = "first-use", feature = "hsts"))]
    pub(crate) fn put_over(record: Record, replaces: UnixTime) -> Self {
        Self {
            replaces,
            ..Self::put(record)
        }
    }

    /// Returns the change that removes a record, unless another process has stored one of a later time
    /// than `replaces`.
    #[cfg(any(feature = "first-use", feature = "hsts"))]
    pub(crate) fn remove_until(kind: &'static str, key: &str, replaces: UnixTime) -> Self {
        Self {
            replaces,
            ..Self::remove(kind, key)
        }
    }

    /// Returns the change that removes the records of a kind whose time is this one or a later one.
    #[cfg(any(feature = "first-use", feature = "hsts"))]
    pub(crate) fn clear_since(kind: &'static str, time: UnixTime) -> Self {
        Self {
            update: Update::ClearedSince {
                kind: Cow::Borrowed(kind),
                time,
            },
            ..Self::remove(kind, "")
        }
    }

    /// Returns the update without its condition.
    #[must_use]
    pub fn update(&self) -> &Update {
        &self.update
    }

    /// Returns the update to make if the storage has this record under the kind and key of the
    /// change, or none; `None` if the stored record must stay. Call it while no other process can
    /// change the record. For [`Update::ClearedSince`], pass `None`.
    #[must_use]
    pub fn resolve(&self, stored: Option<&Record>) -> Option<Update> {
        match self.update.id() {
            // Pins that this version can't read stay where a header was not evaluated against them.
            Some((NOTED_PINS, _)) => resolve(self, stored),
            #[cfg(feature = "bundles")]
            Some((Record::BUNDLE_FLOOR, _)) => bundle_floor::resolve(&self.update, stored),
            // The first process chooses the number of the installation.
            #[cfg(feature = "bundles")]
            Some((Record::BUNDLE_STATE, "install")) if stored.is_some_and(is_install) => None,
            #[cfg(feature = "health")]
            Some((Record::HEALTH, key)) => Some(self.resolve_health(key, stored)),
            #[cfg(feature = "first-use")]
            Some((Record::FIRST_USE, _)) => self.resolve_by_time(stored),
            #[cfg(feature = "hsts")]
            Some((Record::HSTS, _)) => self.resolve_by_time(stored),
            _ => Some(self.update.clone()),
        }
    }

    /// Returns the update, unless another process has stored a record since that the change was not made
    /// for.
    #[cfg(any(feature = "first-use", feature = "hsts"))]
    fn resolve_by_time(&self, stored: Option<&Record>) -> Option<Update> {
        let is_kept = stored.is_some_and(|stored| stored.time() > self.replaces);
        (!is_kept).then(|| self.update.clone())
    }

    /// Returns the update of what is kept about connections: no process loses the counts of another
    /// one, and the first one chooses the salt.
    #[cfg(feature = "health")]
    fn resolve_health(&self, key: &str, stored: Option<&Record>) -> Update {
        let merged = |own: &Record, stored: &Record| {
            if health_salt::parse(stored.value()).is_some() {
                return Some(stored.clone());
            }
            let (base, stored) = (self.base.as_ref()?, History::of_value(stored.value())?);
            let merged = History::merged(base, &History::of_value(own.value())?, &stored);
            Record::new(Record::HEALTH, key, &merged.to_value(), own.time()).ok()
        };
        if let (Update::Put(own), Some(stored)) = (&self.update, stored)
            && let Some(merged) = merged(own, stored)
        {
            return Update::Put(merged);
        }
        self.update.clone()
    }
}

/// Returns whether a record has the number of an installation: 16 bytes in base64.
#[cfg(feature = "bundles")]
fn is_install(record: &Record) -> bool {
    let value = record.value().strip_prefix('"');
    let value = value.and_then(|value| value.strip_suffix('"'));
    let bytes = value.and_then(|value| decode_base64(value.as_bytes()));
    bytes.is_some_and(|bytes| bytes.len() == 16)
}

impl From<&NotedChange> for Change {
    fn from(change: &NotedChange) -> Self {
        let kind = Cow::Borrowed(NOTED_PINS);
        match change {
            NotedChange::ClearedSince(time) => Self {
                update: Update::ClearedSince { kind, time: *time },
                replaces: MAX_TIME,
                is_replacement: false,
                #[cfg(feature = "health")]
                base: None,
            },
            NotedChange::OfHost(host, change) => Self {
                update: match &change.entry {
                    Some(entry) => Update::Put(Record::from(&**entry)),
                    None => Update::Removed {
                        kind,
                        key: host.as_str().into(),
                    },
                },
                replaces: change.replaces,
                is_replacement: change.is_replacement,
                #[cfg(feature = "health")]
                base: None,
            },
        }
    }
}

/// [`Change::resolve`] for noted pins.
pub(crate) fn resolve(change: &Change, stored: Option<&Record>) -> Option<Update> {
    let replaces = change.replaces;
    let entry = match &change.update {
        Update::ClearedSince { .. } => return Some(change.update.clone()),
        Update::Removed { .. } => None,
        Update::Put(record) => Some(Arc::new(KnownPinnedHost::try_from(record).ok()?)),
    };
    // Stored pins that this version can't read stay, unless the user removes them.
    let known = match stored.map(KnownPinnedHost::try_from) {
        Some(Err(_)) if replaces < MAX_TIME => return None,
        Some(Err(_)) => return Some(change.update.clone()),
        known => known.and_then(Result::ok).map(Arc::new),
    };
    let noted = HostChange {
        entry,
        replaces,
        is_replacement: change.is_replacement,
    };
    match noted.effect(known.as_ref()) {
        Effect::Put(entry) => Some(Update::Put(Record::from(&*entry))),
        Effect::Remove => Some(change.update.clone()),
        Effect::Stay => None,
    }
}
