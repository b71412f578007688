//! The lists of pins in a pin file.

use crate::pin_file::error::PinFileProblem;
use crate::pin_file::json::Fault;
use crate::pin_file::members::{Kind, Members, Node};
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
    /// Reads the value of a member.
    pub(crate) fn read(&mut self, name: &str, node: Node<'_>) -> Result<(), Box<Fault>> {
        match name {
            "pins" => self.any = Some(pins(node)?),
            "ca_pins" => self.ca = Some(pins(node)?),
            "leaf_pins" => self.leaf = Some(pins(node)?),
            _ => {
                let mut list = node.list()?;
                let groups = self.all_of.insert(Vec::new());
                while let Some(node) = list.next()? {
                    groups.push(group(node)?);
                }
            }
        }
        Ok(())
    }

    fn read_all(&mut self, members: &mut Members<'_>) -> Result<(), Box<Fault>> {
        while let Some((name, node)) = members.next()? {
            self.read(name, node)?;
        }
        Ok(())
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
    pub(crate) fn groups(mut self, of: &Kind) -> Result<Vec<PinGroup>, PinFileProblem> {
        match (self.group()?, self.all_of.take()) {
            (Some(_), Some(_)) => Err(PinFileProblem::ConflictingMembers {
                one: match self {
                    Self { any: Some(_), .. } => "pins",
                    Self { ca: Some(_), .. } => "ca_pins",
                    _ => "leaf_pins",
                },
                other: "all_of",
            }),
            (Some(group), None) => Ok(vec![group]),
            (None, Some(groups)) => Ok(groups),
            (None, None) => Err(of.missing("pins")),
        }
    }
}

/// Reads the groups of a candidate.
pub(crate) fn candidate(node: Node<'_>) -> Result<Vec<PinGroup>, Box<Fault>> {
    let mut members = node.object(&CANDIDATE)?;
    let mut pins = Pins::default();
    pins.read_all(&mut members)?;
    let groups = pins.groups(&CANDIDATE);
    groups.map_err(|problem| members.fault(problem))
}

fn group(node: Node<'_>) -> Result<PinGroup, Box<Fault>> {
    let mut members = node.object(&GROUP)?;
    let mut pins = Pins::default();
    pins.read_all(&mut members)?;
    let group = pins.group().map_err(|problem| members.fault(problem))?;
    members.required(group, "pins")
}

/// Reads a list of pins.
pub(crate) fn pins(node: Node<'_>) -> Result<Vec<SpkiFingerprint>, Box<Fault>> {
    let mut list = node.list()?;
    let mut pins = Vec::new();
    while let Some(node) = list.next()? {
        pins.push(pin(node)?);
    }
    Ok(pins)
}

/// Reads a pin: a text, or an object with the member `pin`.
fn pin(node: Node<'_>) -> Result<SpkiFingerprint, Box<Fault>> {
    if node.is_object() {
        let mut members = node.object(&PIN)?;
        let mut pin = None;
        while let Some((_, node)) = members.next()? {
            pin = Some(fingerprint(node)?);
        }
        return members.required(pin, "pin");
    }
    if !node.is_text() {
        let expected = "a pin as a string, or an object with the member `pin`";
        return Err(node.other_than(expected));
    }
    fingerprint(node)
}

fn fingerprint(node: Node<'_>) -> Result<SpkiFingerprint, Box<Fault>> {
    let pin = node.text()?.parse().map_err(PinFileProblem::Pin);
    pin.map_err(|problem| node.fault(problem))
}

pub(crate) const CANDIDATE: Kind = Kind {
    name: "candidate",
    members: &["all_of", "ca_pins", "leaf_pins", "pins"],
};

const GROUP: Kind = Kind {
    name: "group",
    members: &["ca_pins", "leaf_pins", "pins"],
};

pub(crate) const PIN: Kind = Kind {
    name: "pin",
    members: &["pin"],
};
