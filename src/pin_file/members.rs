//! Reading of JSON objects, lists and texts with errors that have a type and a place.
//!
//! serde's errors are texts. A seed therefore leaves the typed problem in a [`Problems`] and fails
//! with any error, to which serde_json adds line and column.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use foldhash::fast::RandomState;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::pin_file::error::PinFileProblem;
use crate::pin_file::words::Words;
use crate::policy::{Host, Scope};

/// The first problem of a file, and what has to be distinct in it.
#[derive(Default)]
pub(crate) struct Problems {
    first: Cell<Option<PinFileProblem>>,
    /// Whether members that this version does not know are ignored.
    #[cfg(feature = "bundles")]
    ignores_unknown: bool,
    policies: RefCell<HashSet<(Host, Scope), RandomState>>,
}

impl Problems {
    /// Returns the problems of a text that programs of different versions read: what a newer
    /// version defines is ignored.
    #[cfg(feature = "bundles")]
    pub(crate) fn ignoring_unknown_members() -> Self {
        Self {
            ignores_unknown: true,
            ..Self::default()
        }
    }

    fn ignores_unknown(&self) -> bool {
        #[cfg(feature = "bundles")]
        return self.ignores_unknown;
        #[cfg(not(feature = "bundles"))]
        false
    }

    /// Keeps the problem, and returns the error to fail with.
    pub(crate) fn fail<E: Error>(&self, problem: PinFileProblem) -> E {
        self.first.set(Some(problem));
        E::custom("")
    }

    pub(crate) fn take(&self) -> Option<PinFileProblem> {
        self.first.take()
    }

    /// Fails if the host has a policy with this scope already.
    pub(crate) fn ensure_first(&self, host: &Host, scope: Scope) -> Result<(), PinFileProblem> {
        let mut policies = self.policies.borrow_mut();
        if policies.insert((host.clone(), scope)) {
            return Ok(());
        }
        let host = host.clone();
        Err(PinFileProblem::DuplicateHost { host, scope })
    }

    /// Reads the value of a member by this seed into its place.
    pub(crate) fn read<'de, A: MapAccess<'de>, S: DeserializeSeed<'de>>(
        &self,
        place: &mut Option<S::Value>,
        name: &'static str,
        seed: S,
        map: &mut A,
    ) -> Result<(), A::Error> {
        if place.is_some() {
            return Err(self.fail(PinFileProblem::DuplicateMember { name }));
        }
        *place = Some(map.next_value_seed(seed)?);
        Ok(())
    }
}

/// The members of one kind of object.
pub(crate) trait Members: Default {
    /// The result of the whole object.
    type Value;
    /// The kind of the object, for messages.
    const KIND: &'static str;
    const NAMES: &'static [&'static str];

    /// Reads the value of the member with this name, which is one of `NAMES`.
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error>;

    /// Returns the result once all members were read.
    fn finish(self, problems: &Problems) -> Result<Self::Value, PinFileProblem>;
}

/// Returns the problem of an object that lacks a member.
pub(crate) fn missing<M: Members>(name: &'static str) -> PinFileProblem {
    let of = M::KIND;
    PinFileProblem::MissingMember { name, of }
}

/// Reads an object with these members.
pub(crate) struct Object<'p, M>(M, &'p Problems);

impl<'p, M: Members> Object<'p, M> {
    pub(crate) fn new(problems: &'p Problems) -> Self {
        Self(M::default(), problems)
    }
}

impl<'de, M: Members> DeserializeSeed<'de> for Object<'_, M> {
    type Value = M::Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<M::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de, M: Members> Visitor<'de> for Object<'_, M> {
    type Value = M::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} as an object", M::KIND)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<M::Value, A::Error> {
        let problems = self.1;
        let known = |name: &str| {
            let mut names = M::NAMES.iter();
            match names.find(|known| **known == name) {
                Some(known) => Ok(Some(*known)),
                None if name == "comment" || problems.ignores_unknown() => Ok(None),
                None => Err(PinFileProblem::UnknownMember {
                    name: name.to_owned(),
                    of: M::KIND,
                    expected: M::NAMES,
                }),
            }
        };
        while let Some(name) = map.next_key_seed(Text(known, problems))? {
            match name {
                Some(name) => self.0.read(name, &mut map, problems)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        self.0
            .finish(problems)
            .map_err(|problem| problems.fail(problem))
    }
}

/// Reads a text by a function.
#[derive(Clone, Copy)]
pub(crate) struct Text<'p, F>(pub(crate) F, pub(crate) &'p Problems);

impl<'de, T, F: FnOnce(&str) -> Result<T, PinFileProblem>> DeserializeSeed<'de> for Text<'_, F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<T, D::Error> {
        input.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> Result<T, PinFileProblem>> Visitor<'_> for Text<'_, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(|problem| self.1.fail(problem))
    }
}

/// Reads a list whose elements this function reads, each by a seed of its own.
pub(crate) struct List<F>(pub(crate) F);

impl<'de, S: DeserializeSeed<'de>, F: FnMut() -> S> DeserializeSeed<'de> for List<F> {
    type Value = Vec<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de>, F: FnMut() -> S> Visitor<'de> for List<F> {
    type Value = Vec<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed((self.0)())? {
            values.push(value);
        }
        Ok(values)
    }
}

/// Reads one of several words.
pub(crate) struct Word<'p, T> {
    member: &'static str,
    problems: &'p Problems,
    value: PhantomData<T>,
}

impl<'p, T> Word<'p, T> {
    pub(crate) fn new(member: &'static str, problems: &'p Problems) -> Self {
        Self {
            member,
            problems,
            value: PhantomData,
        }
    }
}

impl<'de, T: Words> DeserializeSeed<'de> for Word<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<T, D::Error> {
        let member = self.member;
        let parse = move |text: &str| {
            let mut values = T::VALUES.iter();
            let known = values.find(|value| value.word() == text);
            known.copied().ok_or_else(|| PinFileProblem::UnknownValue {
                member,
                value: text.to_owned(),
                expected: T::WORDS,
            })
        };
        Text(parse, self.problems).deserialize(input)
    }
}

/// Reads a number.
#[cfg(feature = "bundles")]
pub(crate) struct Number;

#[cfg(feature = "bundles")]
impl<'de> DeserializeSeed<'de> for Number {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<u64, D::Error> {
        input.deserialize_u64(self)
    }
}

#[cfg(feature = "bundles")]
impl Visitor<'_> for Number {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: Error>(self, found: u64) -> Result<u64, E> {
        Ok(found)
    }
}
