//! The inputs of the commands: bundles and roots, signed or not, and pin files.

use std::fs::File;
use std::io;

use pinhold::bundle::{PinBundle, PinRoot, SignedNote};
use serde_json::Value;

use crate::bundle::error;
use crate::failure::Failure;
use crate::network;

/// A file, or standard input, by its contents.
pub(super) enum Input {
    /// A bundle or a root.
    Document(Document),
    /// Anything else, which may be a pin file.
    Pins { name: String, bytes: Vec<u8> },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bundle,
    Root,
}

/// A text that is signed, or to be signed.
pub(super) struct Document {
    /// The name for messages.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Without signatures if the input is a text.
    pub(super) note: SignedNote,
}

/// A root and the note that it was read from.
pub(super) struct Root {
    pub(super) name: String,
    pub(super) note: SignedNote,
    pub(super) root: PinRoot,
}

/// Reads a file, or standard input for `-`, without a byte order mark.
fn read(name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = read_binary(name)?;
    network::remove_byte_order_mark(&mut bytes);
    Ok(bytes)
}

/// Reads a file, or standard input for `-`.
pub(super) fn read_binary(name: &str) -> Result<Vec<u8>, Failure> {
    let bytes = if name == "-" {
        network::whole(io::stdin().lock())
    } else {
        File::open(name).and_then(network::whole)
    };
    bytes.map_err(|error| Failure::input(shown(name), error))
}

impl Input {
    pub(super) fn open(name: &str) -> Result<Self, Failure> {
        Self::of(shown(name), read(name)?)
    }

    pub(super) fn of(name: &str, bytes: Vec<u8>) -> Result<Self, Failure> {
        let name = name.to_owned();
        let Ok(text) = str::from_utf8(&bytes) else {
            return Ok(Self::Pins { name, bytes });
        };
        // Only a note has such a line: line breaks of texts in JSON are escaped.
        let is_signed = text.contains(SIGNATURES);
        let json = text.split(SIGNATURES).next().unwrap_or_default();
        let Some(kind) = kind(json) else {
            return Ok(Self::Pins { name, bytes });
        };
        let note = if is_signed {
            SignedNote::parse(text)
        } else {
            SignedNote::new(text)
        };
        let note = note.map_err(|error| Failure::input(&name, error))?;
        Ok(Self::Document(Document { name, kind, note }))
    }
}

impl Document {
    pub(super) fn open(name: &str) -> Result<Self, Failure> {
        match Input::open(name)? {
            Input::Document(document) => Ok(document),
            Input::Pins { name, .. } => Err(Failure::input(&name, NEITHER)),
        }
    }

    /// Opens a bundle, signed or not.
    pub(super) fn open_bundle(name: &str) -> Result<(Self, PinBundle), Failure> {
        let document = Self::open(name)?;
        let bundle = document.bundle()?;
        Ok((document, bundle))
    }

    /// Reads the bundle. Verifies no signature.
    pub(super) fn bundle(&self) -> Result<PinBundle, Failure> {
        if self.kind != Kind::Bundle {
            return Err(Failure::input(&self.name, "a root, expected a bundle"));
        }
        let bundle = if self.note.signatures().is_empty() {
            PinBundle::parse_text(self.note.text())
        } else {
            PinBundle::parse_unverified(self.note.to_string().as_bytes())
        };
        bundle.map_err(|error| Failure::input(&self.name, error::of_bundle(&error)))
    }

    /// Reads the root. Verifies no signature.
    pub(super) fn root(self) -> Result<Root, Failure> {
        if self.kind != Kind::Root {
            return Err(Failure::input(&self.name, "a bundle, expected a root"));
        }
        let root = PinRoot::from_note(&self.note);
        let root = root.map_err(|error| Failure::input(&self.name, error))?;
        Ok(Root {
            name: self.name,
            note: self.note,
            root,
        })
    }
}

impl Root {
    pub(super) fn open(name: &str) -> Result<Self, Failure> {
        Document::open(name)?.root()
    }

    /// Reads a root that a bundle contains.
    pub(super) fn of_text(name: String, text: &str) -> Result<Self, Failure> {
        match Input::of(&name, text.as_bytes().to_vec())? {
            Input::Document(document) => document.root(),
            Input::Pins { .. } => Err(Failure::input(&name, NEITHER)),
        }
    }
}

/// Returns the name of an input for messages.
pub(super) fn shown(name: &str) -> &str {
    if name == "-" { "standard input" } else { name }
}

fn kind(json: &str) -> Option<Kind> {
    let value = serde_json::from_str::<Value>(json).ok()?;
    match value.get("type")?.as_str()? {
        "pin-bundle" => Some(Kind::Bundle),
        "pin-root" => Some(Kind::Root),
        _ => None,
    }
}

/// What separates a text from its signatures.
const SIGNATURES: &str = "\n\n\u{2014} ";

const NEITHER: &str = "not a bundle or root, expected a text with the member `type`, `pin-bundle` \
                       or `pin-root`, and the signatures below it";
