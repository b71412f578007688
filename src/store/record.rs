//! What a storage keeps: [`Record`], and the [`Update`]s of it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use rustls_pki_types::UnixTime;

use crate::policy::IntoUnixTime;
use crate::policy::text::write_with_causes;

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
    pub const NOTED_PINS: &str = "noted-pins";

    /// The kind of the versions of pin bundles that were accepted. The keys are `full`, `staged`, and
    /// `recovered` for a staged bundle by which a host was reached again.
    #[cfg(feature = "bundles")]
    pub const BUNDLE_FLOOR: &str = "bundle-floor";

    /// The kind of the parts of stored pin bundles. The key is the digest of the bundle's text, a
    /// full stop and the number of the part.
    #[cfg(feature = "bundles")]
    pub const BUNDLE_TEXT: &str = "bundle-text";

    /// The kind of what else is kept about pin bundles: the key `counts`, `install` for the random
    /// number of the installation, and `fetch` for the attempts to fetch a bundle.
    #[cfg(feature = "bundles")]
    pub const BUNDLE_STATE: &str = "bundle-state";

    /// The kind of what is kept of an application's connections, see
    /// [`PinningBuilder::health`](crate::PinningBuilder::health). The key is the host of a policy, its
    /// scope and a digest of its pins, or `salt`.
    #[cfg(feature = "health")]
    pub const HEALTH: &str = "health";

    /// The kind of keys that are remembered from the first connection to a host. The key is the host
    /// name, the time that of the latest connection.
    #[cfg(feature = "first-use")]
    pub const FIRST_USE: &str = "first-use";

    /// The kind of known HSTS hosts. The key is the host name, the time that of the last header.
    #[cfg(feature = "hsts")]
    pub const HSTS: &str = "hsts";

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

    /// Returns the kind, without an allocation if it is that of noted pins.
    pub(crate) fn shared_kind(kind: &str) -> Cow<'static, str> {
        match kind {
            Self::NOTED_PINS => Cow::Borrowed(Self::NOTED_PINS),
            other => Cow::Owned(other.to_owned()),
        }
    }

    /// Returns a record of parts that have the form of [`new`](Self::new).
    pub(crate) fn of_parts(kind: &str, key: &str, value: &str, time: UnixTime) -> Self {
        Self {
            kind: Self::shared_kind(kind),
            key: key.into(),
            value: value.into(),
            time,
        }
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

    /// Returns since when this clears the records of a kind.
    pub(crate) fn cleared(&self, of: &str) -> Option<UnixTime> {
        match self {
            Self::ClearedSince { kind, time } if kind == of => Some(*time),
            _ => None,
        }
    }
}
