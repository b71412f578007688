//! [`Json`], the values of a JSON text in one list.
//!
//! serde's visitors are compiled again for each type that they return. Here, one visitor reads all
//! values, and `members` gives them their types.
//!
//! A value has no place in the text. For an error, the text is read a second time until the same
//! value, where the visitor fails: serde_json then adds line and column.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::pin_file::error::{PinFileError, PinFileProblem};

/// The values of a JSON text: each list and each object before its contents, each name before its
/// value. If the text is not JSON, those before its first error.
pub(crate) struct Json<'a> {
    text: &'a str,
    pub(crate) names: Names,
    pub(crate) values: Vec<Value<'a>>,
    is_complete: bool,
}

/// What happens to members that a reader does not know.
#[derive(Clone, Copy)]
pub(crate) enum Names {
    /// They are an error.
    All,
    /// They are ignored, for a text that programs of different versions read. These are the names
    /// that are known anywhere in it. The values of others are checked and not kept.
    #[cfg(feature = "bundles")]
    Known(&'static [&'static [&'static str]]),
}

pub(crate) enum Value<'a> {
    Bool(bool),
    Float(f64),
    Integer(i64),
    /// With the index after its last element; `None` if the text ends before.
    List(Option<usize>),
    Null,
    Number(u64),
    /// With the index after its last member; `None` if the text ends before.
    Object(Option<usize>),
    /// The value of a member that is ignored.
    Skipped,
    Text(Cow<'a, str>),
}

/// Where in a value a problem is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Before its first character.
    Before,
    /// After a text or a number, or after the first character of a list or an object.
    Start,
    /// After the last character of an object.
    End,
}

/// A problem of a value.
pub(crate) struct Fault {
    /// `None` for a value that the text lacks because it is not JSON.
    pub(crate) problem: Option<PinFileProblem>,
    pub(crate) index: usize,
    pub(crate) part: Part,
}

impl<'a> Json<'a> {
    pub(crate) fn read(text: &'a str, names: Names) -> Self {
        let (values, error) = Values::read(text, names, None);
        Self {
            text,
            names,
            values,
            is_complete: error.is_none(),
        }
    }

    /// Fails if the text is not JSON.
    pub(crate) fn ensure_complete(&self) -> Result<(), Box<Fault>> {
        if self.is_complete {
            return Ok(());
        }
        Err(Box::new(Fault {
            problem: None,
            index: self.values.len(),
            part: Part::Start,
        }))
    }

    /// Returns the error with the place of a problem.
    pub(crate) fn error(&self, fault: Fault) -> PinFileError {
        let stop = (fault.index, fault.part);
        let (_, error) = Values::read(self.text, self.names, Some(stop));
        let place = error.as_ref().map(|error| (error.line(), error.column()));
        let (line, column) = place.unwrap_or_default();
        let problem = fault.problem.unwrap_or_else(|| PinFileProblem::Json {
            message: error.as_ref().map(without_place).unwrap_or_default(),
        });
        PinFileError::new(problem, line, column)
    }
}

/// The values that were read so far.
struct Values<'a> {
    values: Vec<Value<'a>>,
    names: Names,
    /// The value in which reading fails.
    stop: Option<(usize, Part)>,
}

impl<'a> Values<'a> {
    fn read(
        text: &'a str,
        names: Names,
        stop: Option<(usize, Part)>,
    ) -> (Vec<Value<'a>>, Option<serde_json::Error>) {
        let mut all = Self {
            values: Vec::new(),
            names,
            stop,
        };
        let mut input = serde_json::Deserializer::from_str(text);
        let read = Reader(&mut all).deserialize(&mut input);
        let read = read.and_then(|()| input.end());
        (all.values, read.err())
    }

    fn fails_at<E: Error>(&self, index: usize, part: Part) -> Result<(), E> {
        if self.stop == Some((index, part)) {
            return Err(E::custom(""));
        }
        Ok(())
    }

    fn push<E: Error>(&mut self, value: Value<'a>) -> Result<(), E> {
        self.fails_at(self.values.len(), Part::Start)?;
        self.values.push(value);
        Ok(())
    }

    /// Returns whether the value of the last name is not kept.
    fn skips(&self) -> bool {
        let Some(Value::Text(name)) = self.values.last() else {
            return false;
        };
        match self.names {
            Names::All => name == COMMENT,
            #[cfg(feature = "bundles")]
            Names::Known(known) => {
                !known.iter().any(|names| names.contains(&&**name)) && name != NUMBER
            }
        }
    }
}

/// Reads the next value, or the next name of an object.
struct Reader<'r, 'a>(&'r mut Values<'a>);

impl<'de> DeserializeSeed<'de> for Reader<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        self.0.fails_at(self.0.values.len(), Part::Before)?;
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.push(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.push(Value::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.push(Value::Number(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.push(Value::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.push(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.0.push(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let start = self.0.values.len();
        self.0.push(Value::List(None))?;
        while list.next_element_seed(Reader(self.0))?.is_some() {}
        let end = Some(self.0.values.len());
        if let Some(value) = self.0.values.get_mut(start) {
            *value = Value::List(end);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.0.values.len();
        self.0.push(Value::Object(None))?;
        while map.next_key_seed(Reader(self.0))?.is_some() {
            if self.0.skips() {
                map.next_value::<IgnoredAny>()?;
                self.0.push(Value::Skipped)?;
            } else {
                map.next_value_seed(Reader(self.0))?;
            }
        }
        self.0.fails_at(start, Part::End)?;
        let end = Some(self.0.values.len());
        if let Some(value) = self.0.values.get_mut(start) {
            *value = Value::Object(end);
        }
        Ok(())
    }
}

/// Returns the text of an error of serde_json without line and column.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

/// The member that every object may have.
pub(crate) const COMMENT: &str = "comment";

/// The name of the only member of a number. It is an object if the application enables the feature
/// `arbitrary_precision` of serde_json.
pub(crate) const NUMBER: &str = "$serde_json::private::Number";
