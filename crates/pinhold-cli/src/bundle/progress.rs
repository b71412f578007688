//! [`Progress`]: which keys of a root have signed a note, and how many still have to.

use std::collections::HashSet;

use pinhold::bundle::{PinRoot, RootError, SignedNote, VerifierKey};
use serde_json::{Value, json};

use crate::network;
use crate::output::{counted, printable};

pub(super) struct Progress {
    root: u64,
    threshold: usize,
    /// The names of the keys that have signed, those of one public key once.
    pub(super) signers: Vec<String>,
    /// The names of the others.
    others: Vec<String>,
}

impl Progress {
    /// Fails for a wrong signature by a key of the root.
    pub(super) fn of(root: &PinRoot, note: &SignedNote) -> Result<Self, RootError> {
        let mut known = HashSet::new();
        let mut names = |keys: Vec<&VerifierKey>| {
            let new = keys
                .into_iter()
                .filter(|key| known.insert(*key.public_key()));
            new.map(|key| key.name().to_owned()).collect::<Vec<_>>()
        };
        let signers = names(root.signers(note, &network::provider())?);
        Ok(Self {
            root: root.version(),
            threshold: root.threshold(),
            signers,
            others: names(root.keys().iter().collect()),
        })
    }

    /// Returns how many keys still have to sign.
    pub(super) fn missing(&self) -> usize {
        self.threshold.saturating_sub(self.signers.len())
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing() == 0
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "root_version": self.root,
            "threshold": self.threshold,
            "signers": self.signers,
            "missing": self.missing(),
            "others": self.others,
        })
    }

    pub(super) fn text(&self) -> String {
        let list = |names: &[String]| {
            let names = names.iter().map(|name| printable(name));
            names.collect::<Vec<_>>().join(", ")
        };
        let Self {
            root, threshold, ..
        } = self;
        let signed = match self.signers.as_slice() {
            [] => "by no key".to_owned(),
            names => format!("by {}", list(names)),
        };
        let count = counted(*threshold, "key", "keys");
        let mut text = format!("signed {signed} of root {root}, which demands {count}");
        if !self.is_complete() {
            let missing = counted(self.missing(), "signature is", "signatures are");
            text += &format!("; {missing} missing, by: {}", list(&self.others));
        }
        text
    }
}

/// Returns whether all of these are complete.
pub(super) fn are_complete(all: &[Progress]) -> bool {
    all.iter().all(Progress::is_complete)
}

pub(super) fn json(all: &[Progress]) -> Value {
    all.iter().map(Progress::json).collect()
}

/// Returns a line for each of these.
pub(super) fn lines(all: &[Progress]) -> String {
    let lines = all.iter().map(|it| format!("  {}", it.text()));
    lines.collect::<Vec<_>>().join("\n")
}
