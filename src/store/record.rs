//! What a storage keeps: [`Record`], and the [`Change`]s by which a store asks it to.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use rustls_pki_types::UnixTime;

use crate::policy::text::write_with_causes;
use crate::policy::{IntoUnixTime, KnownPinnedHost};
use crate::store::noted::{self, NOTED_PINS};

/// A value under a key of its kind, such as the noted pins of a host.
///
/// A [`Storage`](crate::storage::Storage) keeps records without interpreting them. Those of a kind
/// that this version of pinhold does not know were stored by a newer one, and are kept, too.
///
/// ```
/// use pinhold::policy::KnownPinnedHost;
/// use pinhold::storage::Record;
///
/// let value = r#"{"pins":["sha256/AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="],
///     "include_subdomains":true,"report_uri":null,"expires_at":"2027-01-22T04:16:53Z"}"#;
/// let value = value.replace("\n    ", "");
/// let record = Record::new(Record::NOTED_PINS, "a.example", &value, std::time::SystemTime::now())?;
/// let known = KnownPinnedHost::try_from(&record)?;
/// assert!(known.includes_subdomains);
/// assert_eq!(Record::from(&known), record);
/// # Ok::<(), pinhold::storage::RecordError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    kind: Cow<'static, str>,
    key: Box<str>,
    value: Box<str>,
    time: UnixTime,
}

impl Record {
    /// The kind of noted pins. The key is the host name, the time that of the last header.
    pub const NOTED_PINS: &str = NOTED_PINS;

    /// The maximum length of a value: 64 KiB. A header has 8 KiB at most.
    pub const MAX_VALUE_LEN: usize = 64 * 1024;

    /// Returns a record that was stored earlier, from its parts.
    ///
    /// `kind` has up to 64 lower-case letters, digits and hyphens; `key` up to 1024 printable ASCII
    /// characters without quotation marks and backslashes. `value` is a JSON text of one line, up to
    /// [`MAX_VALUE_LEN`](Self::MAX_VALUE_LEN). The caller ensures that it is JSON.
    ///
    /// # Errors
    ///
    /// [`RecordError`] names the part that has another form.
    pub fn new(
        kind: &str,
        key: &str,
        value: &str,
        time: impl IntoUnixTime,
    ) -> Result<Self, RecordError> {
        let is_in_kind =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_in_key = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if !matches!(kind.len(), 1..=64) || !kind.bytes().all(is_in_kind) {
            return Err(RecordError::Kind);
        }
        if !matches!(key.len(), 1..=1024) || !key.bytes().all(is_in_key) {
            return Err(RecordError::Key);
        }
        let has_len = matches!(value.len(), 1..=Self::MAX_VALUE_LEN);
        if !has_len || value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(RecordError::Value);
        }
        Ok(Self::of_parts(kind, key, value, time.into_unix_time()))
    }

    /// Returns a record of parts that have the form of [`new`](Self::new).
    pub(crate) fn of_parts(kind: &str, key: &str, value: &str, time: UnixTime) -> Self {
        let kind = if kind == NOTED_PINS {
            Cow::Borrowed(NOTED_PINS)
        } else {
            Cow::Owned(kind.to_owned())
        };
        Self {
            kind,
            key: key.into(),
            value: value.into(),
            time,
        }
    }

    pub(crate) fn from_parts(
        kind: Cow<'static, str>,
        key: Box<str>,
        value: Box<str>,
        time: UnixTime,
    ) -> Self {
        Self {
            kind,
            key,
            value,
            time,
        }
    }

    pub(crate) fn into_parts(self) -> (Cow<'static, str>, Box<str>, Box<str>, UnixTime) {
        (self.kind, self.key, self.value, self.time)
    }

    /// Returns the kind, such as [`NOTED_PINS`](Self::NOTED_PINS).
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the key, which one record of the kind has.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the value, a JSON text without line breaks.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns when the value came into being. For noted pins, when the last header was received.
    #[must_use]
    pub fn time(&self) -> UnixTime {
        self.time
    }
}

/// The part of a [`Record`] that has another form than expected.
///
/// ```
/// use pinhold::storage::{Record, RecordError};
///
/// let error = Record::new("noted-pins", "a\n", "{}", std::time::SystemTime::now());
/// assert_eq!(error, Err(RecordError::Key));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// The kind is empty, too long, or has other characters than lower-case letters, digits and `-`.
    Kind,
    /// The key is empty, too long, not printable, or not the name of a host where one is expected.
    Key,
    /// The value is empty, too long, has a line break, or is not what records of this kind have.
    Value,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "the kind of the record is not a short name of lower-case letters",
            Self::Key => "the key of the record is not a name as pinhold stores it",
            Self::Value => "the value of the record is not the JSON text that its kind has",
        })
    }
}

impl fmt::Debug for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for RecordError {}

/// What happens to the records of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a storage that misses an update loses pins"
)]
pub enum Update {
    /// The record is stored, in place of the one of the same kind and key.
    Put(Record),
    /// The record of this kind and key is removed.
    Removed {
        /// The kind.
        kind: Cow<'static, str>,
        /// The key.
        key: Box<str>,
    },
    /// All records of this kind are removed whose time is this one or a later one.
    ClearedSince {
        /// The kind.
        kind: Cow<'static, str>,
        /// The earliest time of a removed record.
        time: UnixTime,
    },
}

impl Update {
    /// Returns the kind and the key of the record that is put or removed.
    pub(crate) fn id(&self) -> Option<(&str, &str)> {
        match self {
            Self::Put(record) => Some((&record.kind, &record.key)),
            Self::Removed { kind, key } => Some((kind, key)),
            Self::ClearedSince { .. } => None,
        }
    }
}

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
}

impl Change {
    /// Returns the change that stores a record, such as one of another storage: of noted pins, unless
    /// the stored ones were noted later.
    #[must_use]
    pub fn put(record: Record) -> Self {
        Self {
            replaces: record.time,
            update: Update::Put(record),
            is_replacement: false,
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
        if self.update.id().is_some_and(|(kind, _)| kind == NOTED_PINS) {
            // Pins that this version can't read stay where a header was not evaluated against them.
            noted::resolve(self, stored)
        } else {
            Some(self.update.clone())
        }
    }
}

impl From<&KnownPinnedHost> for Record {
    fn from(known: &KnownPinnedHost) -> Self {
        let value = noted::write_value(known);
        Self::of_parts(NOTED_PINS, known.host.as_str(), &value, known.noted_at)
    }
}

impl TryFrom<&Record> for KnownPinnedHost {
    type Error = RecordError;

    /// Reads noted pins.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if the record has another kind or was not written by pinhold.
    fn try_from(record: &Record) -> Result<Self, RecordError> {
        if record.kind != NOTED_PINS {
            return Err(RecordError::Kind);
        }
        noted::read_value(&record.key, &record.value, record.time)
    }
}
