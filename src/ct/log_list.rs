//! [`LogList`], the logs that an application accepts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;
use serde_json::Value;

use crate::ct::list_error::LogListError;
use crate::ct::log::{Log, LogKey, LogState, expected};
use crate::policy::fingerprint::decode_base64;
use crate::policy::timestamp;

/// The logs that an application accepts, with their keys, operators and states. Cheap to clone.
///
/// The format is JSON of version 3 of the schema in which log operators and browsers publish their
/// logs: `operators`, each with `name`, `logs` and `tiled_logs`. Members that are not needed are
/// ignored. So is `temporal_interval`, which binds the log and not the client, as in Chrome.
///
/// Google's own list is not offered to other programs: an application ships a list that it may use,
/// and renews it at least every [70 days](crate::ct::CtPolicy::max_list_age).
///
/// ```
/// use pinhold::ct::LogList;
///
/// let list = LogList::parse(
///     r#"{
///       "version": "1.0",
///       "log_list_timestamp": "2026-11-30T12:00:00Z",
///       "operators": [{
///         "name": "Example",
///         "logs": [],
///         "tiled_logs": [{
///           "description": "Example 'Elm2027h1'",
///           "log_id": "KXm+8J45OSHwVnOfY6V35b5XfZxgCvj5TV0mXCVdx4Q=",
///           "key": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeIPc6fGmuBg6AJkv/z7NFckmHvf/OqmjchZJ6wm2qN200keRDg352dWpi7CHnSV51BpQYAj1CQY5JuRAwrrDwg==",
///           "state": { "usable": { "timestamp": "2026-05-01T00:00:00Z" } }
///         }]
///       }]
///     }"#,
/// )?;
/// assert_eq!(list.logs().count(), 1);
/// # Ok::<(), pinhold::ct::LogListError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct LogList(Arc<Contents>);

#[derive(PartialEq, Eq)]
struct Contents {
    timestamp: UnixTime,
    logs: BTreeMap<[u8; 32], Log>,
}

impl LogList {
    /// The largest text of a list in bytes, 4 MiB.
    pub const MAX_SIZE: usize = 4 << 20;

    /// The largest number of logs.
    pub const MAX_LOGS: usize = 1024;

    /// Reads a list.
    ///
    /// # Errors
    ///
    /// A [`LogListError`] that names the place of the problem.
    pub fn parse(text: &str) -> Result<Self, LogListError> {
        let size = text.len();
        if size > Self::MAX_SIZE {
            return Err(LogListError::TooLarge { size });
        }
        let json = serde_json::from_str::<Value>(text);
        let json = json.map_err(|error| LogListError::Json {
            line: error.line(),
            column: error.column(),
        })?;
        let timestamp = time(&json, "log_list_timestamp", "log_list_timestamp")?;
        let mut logs = BTreeMap::new();
        for operator in list(&json, "operators") {
            let name = text_of(operator, "name", "the name of an operator")?;
            let each = list(operator, "logs").iter();
            for log in each.chain(list(operator, "tiled_logs")) {
                add(&mut logs, name, log)?;
            }
        }
        if !logs.values().any(|log| log.state.is_current()) {
            return Err(LogListError::NoLogs);
        }
        Ok(Self(Arc::new(Contents { timestamp, logs })))
    }

    /// Returns the time of the list.
    #[must_use]
    pub fn timestamp(&self) -> UnixTime {
        self.0.timestamp
    }

    /// Returns all logs, in the order of their IDs.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        self.0.logs.values()
    }

    /// Returns whether the list is more than a day ahead of the clock: one of the two is wrong.
    pub(crate) fn is_from_future(&self, now: UnixTime) -> bool {
        self.0.timestamp.as_secs().saturating_sub(now.as_secs()) > MAX_AHEAD
    }

    pub(crate) fn get(&self, id: &[u8; 32]) -> Option<&Log> {
        self.0.logs.get(id)
    }
}

impl fmt::Debug for LogList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogList")
            .field("timestamp", &self.0.timestamp)
            .field("logs", &self.0.logs.len())
            .finish()
    }
}

fn add(
    logs: &mut BTreeMap<[u8; 32], Log>,
    operator: &str,
    log: &Value,
) -> Result<(), LogListError> {
    let key = text_of(log, "key", "the key of a log")?;
    let description = log.get("description").and_then(Value::as_str);
    let description = description.unwrap_or(key).to_owned();
    let key = decode_base64(key.as_bytes());
    let key = key.as_deref().and_then(LogKey::parse);
    let place = format!("the key of {description:?}");
    let (id, key) = key.ok_or_else(|| expected(&place, "a public key in base64"))?;
    let known = text_of(log, "log_id", &format!("the log_id of {description:?}"))?;
    if decode_base64(known.as_bytes()).as_deref() != Some(&id) {
        return Err(LogListError::LogId { log: description });
    }
    let log = Log {
        id,
        operator: operator.to_owned(),
        previous: previous(log, &description)?,
        state: state(log, &description)?,
        key,
        description: description.clone(),
    };
    if logs.len() >= LogList::MAX_LOGS {
        return Err(LogListError::TooManyLogs);
    }
    match logs.insert(id, log) {
        Some(_) => Err(LogListError::Duplicate { log: description }),
        None => Ok(()),
    }
}

fn state(log: &Value, description: &str) -> Result<LogState, LogListError> {
    let state = log.get("state").and_then(Value::as_object);
    let Some((word, value)) = state.and_then(|state| state.iter().next()) else {
        return Ok(LogState::Pending);
    };
    Ok(match word.as_str() {
        "pending" => LogState::Pending,
        "qualified" => LogState::Qualified,
        "usable" => LogState::Usable,
        "readonly" => LogState::ReadOnly,
        "retired" => LogState::Retired {
            since: time(value, "timestamp", &format!("the state of {description:?}"))?,
        },
        _ => LogState::Rejected,
    })
}

/// Returns the earlier operators with their ends, in ascending order.
fn previous(log: &Value, description: &str) -> Result<Vec<(u64, String)>, LogListError> {
    let place = format!("previous_operators of {description:?}");
    let each = list(log, "previous_operators").iter().map(|operator| {
        let end = time(operator, "end_time", &place)?.as_secs();
        Ok((end, text_of(operator, "name", &place)?.to_owned()))
    });
    let mut all = each.collect::<Result<Vec<_>, _>>()?;
    all.sort();
    Ok(all)
}

/// Returns the elements of a list; none if the member is missing.
fn list<'a>(object: &'a Value, member: &str) -> &'a [Value] {
    let list = object.get(member).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

fn text_of<'a>(object: &'a Value, member: &str, place: &str) -> Result<&'a str, LogListError> {
    let text = object.get(member).and_then(Value::as_str);
    text.ok_or_else(|| expected(place, "a text"))
}

fn time(object: &Value, member: &str, place: &str) -> Result<UnixTime, LogListError> {
    let time = object.get(member).and_then(Value::as_str);
    let time = time.and_then(timestamp::parse);
    time.ok_or_else(|| expected(place, "a time such as 2026-11-30T12:00:00Z"))
}

/// How far ahead of the clock a list may be, in seconds: one day.
const MAX_AHEAD: u64 = 24 * 60 * 60;
