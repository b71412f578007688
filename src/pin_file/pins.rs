//! The lists of pins in a pin file.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::pin_file::error::PinFileProblem;
use crate::pin_file::members::{List, Members, Object, Problems, Text, missing};
use crate::policy::{PinGroup, PinRole, PinSet, SpkiFingerprint};

/// The pins of a policy, of a candidate or of a group.
#[derive(Default)]
pub(crate) struct Pins {
    any: Option<Vec<SpkiFingerprint>>,
    ca: Option<Vec<SpkiFingerprint>>,
    leaf: Option<Vec<SpkiFingerprint>>,
    all_of: Option<Vec<PinGroup>>,
}

impl Pins {
    pub(crate) fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error> {
        let pins = List(|| Pin(problems));
        match name {
            "pins" => problems.read(&mut self.any, name, pins, map),
            "ca_pins" => problems.read(&mut self.ca, name, pins, map),
            "leaf_pins" => problems.read(&mut self.leaf, name, pins, map),
            _ => {
                let group = || Object::<Group>::new(problems);
                problems.read(&mut self.all_of, name, List(group), map)
            }
        }
    }

    /// Returns the single group; `None` if there is no list of pins.
    fn group(&self) -> Result<Option<PinGroup>, PinFileProblem> {
        let mut joined = None;
        for (role, pins) in [
            (PinRole::Any, &self.any),
            (PinRole::Ca, &self.ca),
            (PinRole::Leaf, &self.leaf),
        ] {
            if let Some(pins) = pins {
                let pins = PinSet::of(pins).map_err(PinFileProblem::Policy)?;
                let group = PinGroup::of_set(role, pins);
                joined = Some(match joined {
                    None => group,
                    Some(joined) => group.or(joined),
                });
            }
        }
        Ok(joined)
    }

    /// Returns the groups that must all hold.
    pub(crate) fn groups(&self, of: &'static str) -> Result<Vec<PinGroup>, PinFileProblem> {
        match (self.group()?, &self.all_of) {
            (Some(_), Some(_)) => Err(PinFileProblem::ConflictingMembers {
                one: match self {
                    Self { any: Some(_), .. } => "pins",
                    Self { ca: Some(_), .. } => "ca_pins",
                    _ => "leaf_pins",
                },
                other: "all_of",
            }),
            (Some(group), None) => Ok(vec![group]),
            (None, Some(groups)) => Ok(groups.clone()),
            (None, None) => Err(PinFileProblem::MissingMember { name: "pins", of }),
        }
    }
}

#[derive(Default)]
pub(crate) struct Candidate(Pins);

impl Members for Candidate {
    type Value = Vec<PinGroup>;
    const KIND: &'static str = "candidate";
    const NAMES: &'static [&'static str] = &["all_of", "ca_pins", "leaf_pins", "pins"];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error> {
        self.0.read(name, map, problems)
    }

    fn finish(self, _: &Problems) -> Result<Self::Value, PinFileProblem> {
        self.0.groups(Self::KIND)
    }
}

#[derive(Default)]
struct Group(Pins);

impl Members for Group {
    type Value = PinGroup;
    const KIND: &'static str = "group";
    const NAMES: &'static [&'static str] = &["ca_pins", "leaf_pins", "pins"];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error> {
        self.0.read(name, map, problems)
    }

    fn finish(self, _: &Problems) -> Result<PinGroup, PinFileProblem> {
        self.0.group()?.ok_or_else(|| missing::<Self>("pins"))
    }
}

/// Reads a pin: a text, or an object with the member `pin`.
#[derive(Clone, Copy)]
pub(crate) struct Pin<'p>(pub(crate) &'p Problems);

impl<'de> DeserializeSeed<'de> for Pin<'_> {
    type Value = SpkiFingerprint;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pin<'_> {
    type Value = SpkiFingerprint;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pin as a string, or an object with the member `pin`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let pin = text.parse().map_err(PinFileProblem::Pin);
        pin.map_err(|problem| self.0.fail(problem))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Object::<PinObject>::new(self.0).visit_map(map)
    }
}

#[derive(Default)]
struct PinObject(Option<SpkiFingerprint>);

impl Members for PinObject {
    type Value = SpkiFingerprint;
    const KIND: &'static str = "pin";
    const NAMES: &'static [&'static str] = &["pin"];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error> {
        let parse = |text: &str| text.parse().map_err(PinFileProblem::Pin);
        problems.read(&mut self.0, name, Text(parse, problems), map)
    }

    fn finish(self, _: &Problems) -> Result<Self::Value, PinFileProblem> {
        self.0.ok_or_else(|| missing::<Self>("pin"))
    }
}
