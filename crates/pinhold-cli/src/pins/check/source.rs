//! The places of hosts and pins in the text of a pin file, which its parser does not keep.

use std::collections::HashMap;

use pinhold::SpkiFingerprint;
use serde_json::value::RawValue;

/// Where a value ends, as in errors of reading.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// From 1.
    pub(crate) line: usize,
    /// In bytes, from 1.
    pub(crate) column: usize,
}

/// The offset of the byte after a value.
#[derive(Clone, Copy)]
pub(crate) struct End(usize);

/// The values of a pin file that findings refer to, in the order of the text.
pub(crate) struct Source {
    pub(crate) policies: Vec<PolicySource>,
    pub(crate) refused_keys: PinList,
    pub(crate) allow_unpinned: Vec<End>,
    /// The offsets of the beginnings of all lines.
    lines: Vec<usize>,
}

pub(crate) struct PolicySource {
    /// The hosts as they are written.
    pub(crate) hosts: Vec<(String, End)>,
    pub(crate) lists: Vec<PinList>,
}

/// A list of pins, without those that can't be parsed.
#[derive(Default)]
pub(crate) struct PinList(pub(crate) Vec<(SpkiFingerprint, End)>);

type Members<'t> = HashMap<String, &'t RawValue>;

impl Source {
    /// Returns `None` for text that is not a JSON object.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let file = members(text)?;
        let policies = elements(file.get("policies"));
        let refused_keys = pin_list(file.get("refused_keys"), text);
        let allowed = elements(file.get("allow_unpinned"));
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Some(Self {
            policies: policies.iter().filter_map(|it| policy(it, text)).collect(),
            refused_keys,
            allow_unpinned: allowed.iter().map(|value| end(value, text)).collect(),
            lines: std::iter::once(0).chain(newlines).collect(),
        })
    }

    pub(crate) fn place(&self, end: End) -> Place {
        let last = end.0.saturating_sub(1);
        let line = self.lines.partition_point(|begin| *begin <= last);
        let begin = line.checked_sub(1).and_then(|index| self.lines.get(index));
        Place {
            line,
            column: end.0 - begin.copied().unwrap_or_default(),
        }
    }
}

fn policy(value: &RawValue, text: &str) -> Option<PolicySource> {
    let policy = members(value.get())?;
    let hosts = elements(policy.get("hosts"));
    let candidate = policy.get("candidate");
    let candidate = candidate.and_then(|value| members(value.get()));
    let mut lists = pin_lists(&policy, text);
    lists.extend(candidate.iter().flat_map(|it| pin_lists(it, text)));
    Some(PolicySource {
        hosts: hosts.iter().filter_map(|it| host(it, text)).collect(),
        lists,
    })
}

fn host(value: &RawValue, text: &str) -> Option<(String, End)> {
    let name = serde_json::from_str(value.get()).ok()?;
    Some((name, end(value, text)))
}

/// Returns the lists of a policy, of a candidate or of a group, and those of its groups.
fn pin_lists(object: &Members<'_>, text: &str) -> Vec<PinList> {
    let names = ["pins", "leaf_pins", "ca_pins"];
    let own = names.iter().filter_map(|name| object.get(*name));
    let mut lists = own
        .map(|list| pin_list(Some(list), text))
        .collect::<Vec<_>>();
    for group in elements(object.get("all_of")) {
        let group = members(group.get()).unwrap_or_default();
        lists.extend(pin_lists(&group, text));
    }
    lists
}

fn pin_list(list: Option<&&RawValue>, text: &str) -> PinList {
    let elements = elements(list).into_iter();
    PinList(elements.filter_map(|value| pin(value, text)).collect())
}

/// Returns a pin, which is a text or an object with the member `pin`.
fn pin(value: &RawValue, text: &str) -> Option<(SpkiFingerprint, End)> {
    let value = match members(value.get()) {
        Some(object) => *object.get("pin")?,
        None => value,
    };
    let pin = serde_json::from_str::<String>(value.get()).ok()?;
    Some((pin.parse().ok()?, end(value, text)))
}

fn members(text: &str) -> Option<Members<'_>> {
    serde_json::from_str(text).ok()
}

fn elements<'t>(list: Option<&&'t RawValue>) -> Vec<&'t RawValue> {
    let list = list.map(|list| serde_json::from_str(list.get()));
    list.and_then(Result::ok).unwrap_or_default()
}

/// Returns the end of a value that is a part of this text.
fn end(value: &RawValue, text: &str) -> End {
    let value = value.get();
    let begin = value.as_ptr().addr() - text.as_ptr().addr();
    End(begin + value.len())
}
