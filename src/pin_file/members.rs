//! The types of the values of a JSON text, with errors that have a type and a place.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use serde::de::{Error, Unexpected};

use crate::pin_file::error::{PinFileError, PinFileProblem};
use crate::pin_file::json::{COMMENT, Fault, Json, NUMBER, Names, Part, Value, without_place};
use crate::pin_file::words::Words;
use crate::policy::{Host, Scope};

/// Reads a JSON text by a function.
pub(crate) fn read<T>(
    text: &str,
    names: Names,
    convert: fn(Node<'_>) -> Result<T, Box<Fault>>,
) -> Result<T, PinFileError> {
    let json = Json::read(text, names);
    let node = Node {
        json: &json,
        index: 0,
    };
    let value = convert(node).map_err(|fault| json.error(*fault))?;
    // Last, since it may be after another problem.
    match json.ensure_complete() {
        Ok(()) => Ok(value),
        Err(fault) => Err(json.error(*fault)),
    }
}

/// One kind of object.
pub(crate) struct Kind {
    /// Its name, for messages.
    pub(crate) name: &'static str,
    /// The names of its members, 32 at most.
    pub(crate) members: &'static [&'static str],
}

impl Kind {
    /// Returns the problem of an object that lacks a member.
    pub(crate) fn missing(&self, name: &'static str) -> PinFileProblem {
        let of = self.name;
        PinFileProblem::MissingMember { name, of }
    }
}

/// A value of a text.
#[derive(Clone, Copy)]
pub(crate) struct Node<'t> {
    json: &'t Json<'t>,
    index: usize,
}

impl<'t> Node<'t> {
    pub(crate) fn text(self) -> Result<&'t str, Box<Fault>> {
        match self.value()? {
            Value::Text(text) => Ok(text),
            other => Err(self.other_type(other, "a string")),
        }
    }

    pub(crate) fn bool(self) -> Result<bool, Box<Fault>> {
        match self.value()? {
            Value::Bool(value) => Ok(*value),
            other => Err(self.other_type(other, "a boolean")),
        }
    }

    /// Returns a number. The text is what is expected, for the error.
    pub(crate) fn number(self, expected: &str) -> Result<u64, Box<Fault>> {
        let value = self.value()?;
        match value {
            Value::Number(number) => return Ok(*number),
            Value::Object(_) => {
                let name = self.json.values.get(self.index + 1);
                let digits = self.json.values.get(self.index + 2);
                if let (Some(Value::Text(name)), Some(Value::Text(digits))) = (name, digits)
                    && name == NUMBER
                    && let Ok(number) = digits.parse()
                {
                    return Ok(number);
                }
            }
            _ => {}
        }
        Err(self.other_type(value, expected))
    }

    #[cfg(feature = "bundles")]
    pub(crate) fn whole_number(self) -> Result<u64, Box<Fault>> {
        self.number("a whole number")
    }

    /// Returns one of several words.
    pub(crate) fn word<T: Words>(self, member: &'static str) -> Result<T, Box<Fault>> {
        let index = self.word_index(member, T::WORDS)?;
        T::VALUES.get(index).copied().ok_or_else(|| self.absent())
    }

    fn word_index(
        self,
        member: &'static str,
        expected: &'static [&'static str],
    ) -> Result<usize, Box<Fault>> {
        let text = self.text()?;
        let index = expected.iter().position(|word| *word == text);
        index.ok_or_else(|| {
            self.fault(PinFileProblem::UnknownValue {
                member,
                value: text.to_owned(),
                expected,
            })
        })
    }

    pub(crate) fn list(self) -> Result<List<'t>, Box<Fault>> {
        match self.value()? {
            Value::List(end) => Ok(List(self.contents(*end))),
            other => Err(self.other_type(other, "a list")),
        }
    }

    /// Reads the elements of a list of texts.
    pub(crate) fn texts(
        self,
        mut read: impl FnMut(&'t str) -> Result<(), PinFileProblem>,
    ) -> Result<(), Box<Fault>> {
        let mut list = self.list()?;
        while let Some(node) = list.next()? {
            read(node.text()?).map_err(|problem| node.fault(problem))?;
        }
        Ok(())
    }

    /// Returns a list of texts.
    #[cfg(feature = "bundles")]
    pub(crate) fn owned_texts(self) -> Result<Vec<String>, Box<Fault>> {
        let mut texts = Vec::new();
        self.texts(|text| {
            texts.push(text.to_owned());
            Ok(())
        })?;
        Ok(texts)
    }

    pub(crate) fn object(self, kind: &'static Kind) -> Result<Members<'t>, Box<Fault>> {
        match self.value()? {
            Value::Object(end) => Ok(Members {
                object: self,
                contents: self.contents(*end),
                kind,
                known: 0,
            }),
            other => Err(self.other_type(other, &format!("a {} as an object", kind.name))),
        }
    }

    pub(crate) fn is_text(self) -> bool {
        matches!(self.json.values.get(self.index), Some(Value::Text(_)))
    }

    pub(crate) fn is_object(self) -> bool {
        matches!(self.json.values.get(self.index), Some(Value::Object(_)))
    }

    /// Returns the error with a problem of this value.
    pub(crate) fn fault(self, problem: PinFileProblem) -> Box<Fault> {
        self.fault_in(Part::Start, Some(problem))
    }

    /// Returns the error of a value that has another type than is expected.
    pub(crate) fn other_than(self, expected: &str) -> Box<Fault> {
        match self.value() {
            Ok(value) => self.fault_in(Part::Start, Some(other_type(value, expected))),
            Err(fault) => fault,
        }
    }

    fn other_type(self, value: &Value<'_>, expected: &str) -> Box<Fault> {
        let part = match value {
            Value::List(_) | Value::Object(_) if self.index > 0 => Part::Before,
            _ => Part::Start,
        };
        self.fault_in(part, Some(other_type(value, expected)))
    }

    /// Returns the error of a value that the text lacks.
    fn absent(self) -> Box<Fault> {
        self.fault_in(Part::Start, None)
    }

    fn fault_in(self, part: Part, problem: Option<PinFileProblem>) -> Box<Fault> {
        let index = self.index;
        Box::new(Fault {
            problem,
            index,
            part,
        })
    }

    fn value(self) -> Result<&'t Value<'t>, Box<Fault>> {
        self.json
            .values
            .get(self.index)
            .ok_or_else(|| self.absent())
    }

    fn contents(self, end: Option<usize>) -> Contents<'t> {
        Contents {
            next: Node {
                json: self.json,
                index: self.index + 1,
            },
            end,
        }
    }
}

/// The values in a list or an object that are not read yet.
struct Contents<'t> {
    next: Node<'t>,
    /// The index after the last one; `None` if the text ends before.
    end: Option<usize>,
}

impl<'t> Contents<'t> {
    fn next(&mut self) -> Result<Option<Node<'t>>, Box<Fault>> {
        let node = self.next;
        if self.end.is_some_and(|end| node.index >= end) {
            return Ok(None);
        }
        self.next.index = match node.value()? {
            Value::List(Some(end)) | Value::Object(Some(end)) => *end,
            // The text ends in this value: there is no next one.
            Value::List(None) | Value::Object(None) => node.json.values.len(),
            _ => node.index + 1,
        };
        Ok(Some(node))
    }
}

/// The elements of a list that are not read yet.
pub(crate) struct List<'t>(Contents<'t>);

impl<'t> List<'t> {
    pub(crate) fn next(&mut self) -> Result<Option<Node<'t>>, Box<Fault>> {
        self.0.next()
    }
}

/// The members of an object that are not read yet.
pub(crate) struct Members<'t> {
    object: Node<'t>,
    contents: Contents<'t>,
    kind: &'static Kind,
    /// A bit for each name that was read.
    known: u32,
}

impl<'t> Members<'t> {
    /// Returns the next member with a name of this kind of object.
    pub(crate) fn next(&mut self) -> Result<Option<(&'static str, Node<'t>)>, Box<Fault>> {
        while let Some(node) = self.contents.next()? {
            let name = node.text()?;
            let names = self.kind.members;
            let known = names.iter().enumerate().find(|(_, known)| **known == name);
            if let Some((index, name)) = known {
                let bit = 1 << index;
                if self.known & bit != 0 {
                    return Err(node.fault(PinFileProblem::DuplicateMember { name }));
                }
                self.known |= bit;
                let value = self.contents.next;
                self.contents.next()?;
                return Ok(Some((name, value)));
            }
            if name != COMMENT && matches!(self.object.json.names, Names::All) {
                return Err(node.fault(PinFileProblem::UnknownMember {
                    name: name.to_owned(),
                    of: self.kind.name,
                    expected: names,
                }));
            }
            self.contents.next()?;
        }
        Ok(None)
    }

    /// Returns the value of a member, unless it is absent.
    pub(crate) fn required<T>(
        &self,
        value: Option<T>,
        name: &'static str,
    ) -> Result<T, Box<Fault>> {
        value.ok_or_else(|| self.fault(self.kind.missing(name)))
    }

    /// Returns the error with the problem that only all members have together.
    pub(crate) fn fault(&self, problem: PinFileProblem) -> Box<Fault> {
        self.object.fault_in(Part::End, Some(problem))
    }
}

/// The policies of a text, which have to differ in host or scope.
#[derive(Default)]
pub(crate) struct Distinct {
    /// The hosts with a policy, for each scope.
    hosts: [HashSet<Host, RandomState>; Scope::VALUES.len()],
}

impl Distinct {
    /// Fails if the host has a policy with this scope already.
    pub(crate) fn ensure_first(&mut self, host: &Host, scope: Scope) -> Result<(), PinFileProblem> {
        let mut scopes = Scope::VALUES.iter().zip(&mut self.hosts);
        let hosts = scopes.find_map(|(of, hosts)| (*of == scope).then_some(hosts));
        if hosts.is_none_or(|hosts| hosts.insert(host.clone())) {
            return Ok(());
        }
        let host = host.clone();
        Err(PinFileProblem::DuplicateHost { host, scope })
    }
}

/// Returns the problem of a value that has another type than is expected, as serde_json states it.
fn other_type(value: &Value<'_>, expected: &str) -> PinFileProblem {
    let found = match value {
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Float(value) => Unexpected::Float(*value),
        Value::Integer(value) => Unexpected::Signed(*value),
        Value::List(_) => Unexpected::Seq,
        Value::Null | Value::Skipped => Unexpected::Unit,
        Value::Number(value) => Unexpected::Unsigned(*value),
        Value::Object(_) => Unexpected::Map,
        Value::Text(text) => Unexpected::Str(text),
    };
    let error = serde_json::Error::invalid_type(found, &expected);
    let message = without_place(&error);
    PinFileProblem::Json { message }
}
