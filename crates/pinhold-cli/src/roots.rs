//! Which option a trust anchor came from, as messages name it.

use pinhold::roots::AnchorOrigin;

/// The options that decide where a trust anchor of a given origin came from.
#[derive(Clone, Copy)]
pub(crate) enum Roots {
    /// Mozilla's roots, which the program contains.
    Bundled,
    /// The `--ca` files, which replace the bundled roots.
    Files,
}

impl Roots {
    /// Returns the source of an anchor in one word. The program marks no other anchors as built-in
    /// or user-added.
    pub(crate) fn source(self, origin: AnchorOrigin) -> &'static str {
        match (origin, self) {
            (AnchorOrigin::BuiltIn, Self::Bundled) => "bundled",
            (AnchorOrigin::BuiltIn, Self::Files) => "--ca",
            (AnchorOrigin::UserAdded, _) => "--user-ca",
            _ => "unknown",
        }
    }

    /// Returns an anchor with its source, as part of a sentence.
    pub(crate) fn root(self, origin: AnchorOrigin) -> &'static str {
        match self.source(origin) {
            "bundled" => "a bundled root",
            "--ca" => "a root from --ca",
            "--user-ca" => "a root from --user-ca",
            _ => "a root of unknown origin",
        }
    }
}
