//! [`HstsPreload`], a list of hosts that are known HSTS hosts before their first visit.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::policy::{Host, HostError, HostMatch};

/// A preload list (RFC 6797 section 12.3), read from the JSON text of Chromium's
/// `transport_security_state_static.json`. None is part of this crate. Cheap to clone.
///
/// ```
/// use pinhold::Host;
/// use pinhold::hsts::HstsPreload;
/// use pinhold::policy::HostMatch;
///
/// let list = HstsPreload::parse(
///     r#"{
///       // The names that are preloaded.
///       "entries": [
///         { "name": "example.com", "mode": "force-https", "include_subdomains": true }
///       ]
///     }"#,
/// )?;
/// assert_eq!(list.query(&Host::parse("www.example.com")?), Some(HostMatch::Superdomain));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HstsPreload {
    /// All names, sorted, without a separator.
    names: Arc<str>,
    /// Where each name ends, and whether it includes subdomains.
    ends: Arc<[(u32, bool)]>,
}

impl HstsPreload {
    /// Parses a list. Lines that begin with `//` are comments. Entries without the mode `force-https`
    /// are ignored, and so are unknown members.
    ///
    /// # Errors
    ///
    /// A text of more than 64 MiB, one that is not a list, or a name that is not a DNS name.
    pub fn parse(text: &str) -> Result<Self, HstsPreloadError> {
        if text.len() > MAX_TEXT {
            return Err(HstsPreloadError::TooLarge);
        }
        let lines = text.lines();
        let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
        let json = lines.flat_map(|line| [line, "\n"]).collect::<String>();
        let json = serde_json::from_str::<Value>(&json);
        let json = json.map_err(|error| HstsPreloadError::Json(Arc::new(error)))?;
        let entries = json.get("entries").and_then(Value::as_array);
        let mut hosts = BTreeMap::<Host, bool>::new();
        for entry in entries.ok_or(HstsPreloadError::NoEntries)? {
            if entry.get("mode").and_then(Value::as_str) != Some("force-https") {
                continue;
            }
            let name = entry.get("name").and_then(Value::as_str);
            let host = Host::parse(name.unwrap_or_default()).map_err(HstsPreloadError::Host)?;
            let subdomains = entry.get("include_subdomains").and_then(Value::as_bool);
            *hosts.entry(host).or_default() |= subdomains.unwrap_or_default();
        }
        let (mut names, mut ends) = (String::new(), Vec::with_capacity(hosts.len()));
        for (host, includes_subdomains) in hosts {
            names.push_str(host.as_str());
            let end = u32::try_from(names.len()).map_err(|_| HstsPreloadError::TooLarge)?;
            ends.push((end, includes_subdomains));
        }
        Ok(Self {
            names: names.into(),
            ends: ends.into(),
        })
    }

    /// Returns whether the list has the host itself, or a superdomain that includes it.
    #[must_use]
    pub fn query(&self, host: &Host) -> Option<HostMatch> {
        let mut matched = HostMatch::Congruent;
        for name in host.and_superdomains() {
            if let Some(includes_subdomains) = self.find(name)
                && (matched == HostMatch::Congruent || includes_subdomains)
            {
                return Some(matched);
            }
            matched = HostMatch::Superdomain;
        }
        None
    }

    /// Returns the number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether the list has no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns whether the entry of exactly this name includes subdomains.
    fn find(&self, name: &str) -> Option<bool> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            let (known, includes_subdomains) = self.at(middle)?;
            match known.cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(includes_subdomains),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn at(&self, index: usize) -> Option<(&str, bool)> {
        let before = index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        let begin = before.map_or(0, |(end, _)| *end);
        let (end, includes_subdomains) = *self.ends.get(index)?;
        let range = usize::try_from(begin).ok()?..usize::try_from(end).ok()?;
        Some((self.names.get(range)?, includes_subdomains))
    }
}

impl fmt::Debug for HstsPreload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HstsPreload")
            .field("names", &self.len())
            .finish_non_exhaustive()
    }
}

/// Why a preload list can't be read.
///
/// ```
/// use pinhold::hsts::{HstsPreload, HstsPreloadError};
///
/// let error = HstsPreload::parse("{}").unwrap_err();
/// assert!(matches!(error, HstsPreloadError::NoEntries));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HstsPreloadError {
    /// A name of the list is not a DNS name.
    Host(HostError),
    /// The text is not JSON with comment lines.
    Json(Arc<dyn Error + Send + Sync>),
    /// The text has no array `entries`.
    NoEntries,
    /// The text has more than 64 MiB.
    TooLarge,
}

impl fmt::Display for HstsPreloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host(_) => "the preload list has an invalid name",
            Self::Json(_) => "the preload list is not JSON with comment lines",
            Self::NoEntries => "the preload list has no array `entries`",
            Self::TooLarge => "the preload list has more than 64 MiB",
        })
    }
}

impl Error for HstsPreloadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Host(error) => Some(error),
            Self::Json(error) => Some(&**error),
            Self::NoEntries | Self::TooLarge => None,
        }
    }
}

/// In bytes: four times the length of Chromium's list.
const MAX_TEXT: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        Host::parse(name).unwrap()
    }

    #[test]
    fn the_host_and_the_subdomains_that_an_entry_includes_are_found() {
        let list = HstsPreload::parse(
            r#"// comment
            {"pinsets": [], "entries": [
              // another
              {"name": "b.example", "policy": "custom", "mode": "force-https"},
              {"name": "a.example", "mode": "force-https", "include_subdomains": true},
              {"name": "pinned.example", "pins": "x", "include_subdomains": true},
              {"name": "sub.b.example", "mode": "force-https", "include_subdomains": true}
            ]}"#,
        )
        .unwrap();
        assert_eq!(list.len(), 3);
        for (name, expected) in [
            ("a.example", Some(HostMatch::Congruent)),
            ("A.example.", Some(HostMatch::Congruent)),
            ("x.y.a.example", Some(HostMatch::Superdomain)),
            ("b.example", Some(HostMatch::Congruent)),
            ("x.b.example", None),
            ("x.sub.b.example", Some(HostMatch::Superdomain)),
            ("xa.example", None),
            ("example", None),
            ("pinned.example", None),
        ] {
            assert_eq!(list.query(&host(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_text_that_is_no_list_is_an_error() {
        let error = |text| HstsPreload::parse(text).unwrap_err();
        assert!(matches!(error("{"), HstsPreloadError::Json(_)));
        assert!(matches!(error("[]"), HstsPreloadError::NoEntries));
        let invalid = r#"{"entries": [{"name": "192.0.2.1", "mode": "force-https"}]}"#;
        assert!(matches!(error(invalid), HstsPreloadError::Host(_)));
        let unnamed = r#"{"entries": [{"mode": "force-https"}]}"#;
        assert!(matches!(error(unnamed), HstsPreloadError::Host(_)));
    }
}
