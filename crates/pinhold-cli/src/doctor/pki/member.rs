//! [`Member`], a JSON value with its place in the file, so that an error names what is wrong where.

use pinhold::SpkiFingerprint;
use rustls::pki_types::UnixTime;
use serde_json::{Map, Value};

use crate::output::{cut, printable};
use crate::rfc3339;

/// A value of the file.
pub(super) struct Member<'v> {
    value: &'v Value,
    place: String,
}

impl<'v> Member<'v> {
    /// The value of the whole file.
    pub(super) fn root(value: &'v Value) -> Self {
        Self {
            value,
            place: String::new(),
        }
    }

    /// Returns an error about this value.
    pub(super) fn error(&self, statement: &str) -> String {
        match self.place.as_str() {
            "" => statement.to_owned(),
            place => format!("{place}: {statement}"),
        }
    }

    fn expected<T>(&self, found: Option<T>, expected: &str) -> Result<T, String> {
        found.ok_or_else(|| self.error(&format!("expected {expected}, found {}", self.shown())))
    }

    /// Returns the value as an error shows it: escaped and cut, since the file may be anything.
    fn shown(&self) -> String {
        match self.value {
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            value => cut(&printable(&value.to_string()), MAX_SHOWN),
        }
    }

    /// Returns the members of an object.
    ///
    /// # Errors
    ///
    /// For a member that is not listed here, since one that is misspelt would silently remove a fact.
    pub(super) fn object(&self, names: &[&str]) -> Result<Object<'v>, String> {
        let members = self.expected(self.value.as_object(), "an object")?;
        let place = self.place.clone();
        let object = Object { members, place };
        match members.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(object),
            Some(name) => {
                let name = cut(&printable(name), MAX_SHOWN);
                let names = names.join(", ");
                Err(self.error(&format!("unknown member `{name}`, expected one of {names}")))
            }
        }
    }

    pub(super) fn list(&self) -> Result<impl Iterator<Item = Self> + use<'v>, String> {
        let list = self.expected(self.value.as_array(), "a list")?;
        let place = self.place.clone();
        let member = move |(index, value)| Self {
            value,
            place: format!("{place}[{index}]"),
        };
        Ok(list.iter().enumerate().map(member))
    }

    /// Returns a list of this many values.
    pub(super) fn tuple<const N: usize>(&self, expected: &str) -> Result<[Self; N], String> {
        let list = self.list()?.collect::<Vec<_>>();
        self.expected(list.try_into().ok(), expected)
    }

    /// Returns text that is not empty and has no control characters, which a terminal would obey.
    pub(super) fn text(&self) -> Result<&'v str, String> {
        let text = self.value.as_str();
        let text = text.filter(|text| !text.is_empty() && !text.chars().any(char::is_control));
        self.expected(text, "text")
    }

    /// Returns one of these words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, String> {
        let text = self.value.as_str();
        let found = words.iter().find(|(word, _)| Some(*word) == text);
        let expected = words.iter().map(|(word, _)| format!("`{word}`"));
        let expected = expected.collect::<Vec<_>>().join(" or ");
        self.expected(found.map(|(_, value)| *value), &expected)
    }

    pub(super) fn number(&self) -> Result<u64, String> {
        self.expected(self.value.as_u64(), "a whole number")
    }

    pub(super) fn date(&self) -> Result<UnixTime, String> {
        let text = self.value.as_str();
        let date = text.and_then(|text| rfc3339::parse_date(text).ok());
        let expected = "a date as in 2027-06-30, or a time as in 2027-06-30T23:59:59Z";
        self.expected(date, expected)
    }

    /// Returns the fingerprint of a key, written as base64 alone.
    pub(super) fn key(&self) -> Result<SpkiFingerprint, String> {
        let text = self.value.as_str();
        let key = text.and_then(|text| format!("sha256/{text}").parse::<SpkiFingerprint>().ok());
        let key = key.filter(|key| Some(key.to_base64().as_str()) == text);
        self.expected(key, "the SHA-256 digest of a public key in base64")
    }
}

/// The members of an object.
pub(super) struct Object<'v> {
    members: &'v Map<String, Value>,
    place: String,
}

impl<'v> Object<'v> {
    pub(super) fn optional(&self, name: &str) -> Option<Member<'v>> {
        let place = match self.place.as_str() {
            "" => name.to_owned(),
            place => format!("{place}.{name}"),
        };
        let value = self.members.get(name)?;
        Some(Member { value, place })
    }

    pub(super) fn get(&self, name: &str) -> Result<Member<'v>, String> {
        self.optional(name)
            .ok_or_else(|| match self.place.as_str() {
                "" => format!("expected the member `{name}`"),
                place => format!("{place}: expected the member `{name}`"),
            })
    }
}

/// The longest text of the file that an error shows, in characters.
const MAX_SHOWN: usize = 80;
