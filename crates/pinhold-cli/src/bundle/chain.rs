//! The roots of a bundle: the one that clients contain, and its successors.

use clap::{Args, ValueHint};
use pinhold::bundle::{PinBundle, PinRoot};

use crate::bundle::error;
use crate::bundle::input::{self, Root};
use crate::bundle::progress::Progress;
use crate::failure::Failure;
use crate::network;

#[derive(Args)]
pub(super) struct RootOptions {
    /// Root that clients contain
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) root: Option<String>,
    /// Successor of the root, to be part of the bundle; can be repeated. Those of --previous are
    /// taken over
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) roots: Vec<String>,
    /// Bundle that was issued last, which --root must verify: the new one must have a higher
    /// version
    #[arg(long, value_name = "BUNDLE", value_hint = ValueHint::FilePath)]
    previous: Option<String>,
}

impl RootOptions {
    /// Opens `--root`.
    pub(super) fn open_root(&self) -> Result<Root, Failure> {
        let root = self.root.as_deref();
        let root = root.ok_or_else(|| {
            Failure::Usage("--root is missing, expected the root that clients contain".to_owned())
        })?;
        Root::open(root)
    }

    /// Reads `--previous`, which the root must verify: a forged one with the highest version there is
    /// would end all versions, and its roots would be taken over.
    pub(super) fn open_previous(&self, known: &PinRoot) -> Result<Option<PinBundle>, Failure> {
        let Some(name) = self.previous.as_deref() else {
            return Ok(None);
        };
        let bytes = input::read_binary(name)?;
        let bundle = PinBundle::verify(&bytes, known, &network::provider());
        bundle.map(Some).map_err(|error| {
            let reason = error::of_bundle(&error);
            let advice = "for a bundle of an older root: --root with that one, or --version";
            Failure::input(input::shown(name), format!("{reason}\n  {advice}"))
        })
    }

    /// Returns the chain with the successors of `--previous` and of `--roots`.
    pub(super) fn chain(
        &self,
        known: Root,
        previous: Option<&PinBundle>,
    ) -> Result<Chain, Failure> {
        let mut successors = previous.map(successors).transpose()?.unwrap_or_default();
        for name in &self.roots {
            successors.push(Root::open(name)?);
        }
        Chain::new(known, successors)
    }
}

/// A root that is complete, and its successors, each signed by its predecessor and by itself.
pub(super) struct Chain {
    /// The root that clients contain.
    pub(super) known: PinRoot,
    /// The newest root, which signs the bundle.
    pub(super) newest: PinRoot,
    /// The notes of all successors, in ascending order.
    pub(super) notes: Vec<String>,
}

impl Chain {
    pub(super) fn new(known: Root, mut successors: Vec<Root>) -> Result<Self, Failure> {
        ensure_signed(&known, &known.root)?;
        successors.sort_by_key(|it| it.root.version());
        let known = known.root;
        let mut newest = known.clone();
        let mut notes: Vec<String> = Vec::new();
        let mut last: Option<Root> = None;
        for successor in successors {
            let version = successor.root.version();
            if let Some(last) = last.as_ref().filter(|it| it.root.version() == version) {
                if last.note.text() == successor.note.text() {
                    continue;
                }
                let reason = format!("another root {version} than {}, expected one", last.name);
                return Err(Failure::input(&successor.name, reason));
            }
            // An older client needs those up to the known root, which this one does not verify.
            if version > newest.version() {
                let expected = newest.version().saturating_add(1);
                if version != expected {
                    let reason = format!("root {version}, expected root {expected} before it");
                    return Err(Failure::input(&successor.name, reason));
                }
                ensure_signed(&successor, &newest)?;
                ensure_signed(&successor, &successor.root)?;
                newest = successor.root.clone();
            }
            notes.push(successor.note.to_string());
            last = Some(successor);
        }
        Ok(Self {
            known,
            newest,
            notes,
        })
    }
}

/// Returns the roots in a bundle.
pub(super) fn successors(bundle: &PinBundle) -> Result<Vec<Root>, Failure> {
    let roots = bundle.roots().iter().enumerate();
    let roots = roots.map(|(index, text)| {
        let name = format!("root {index} of bundle {}", bundle.version());
        Root::of_text(name, text)
    });
    roots.collect()
}

/// Fails unless the threshold of `by` has signed a root.
pub(super) fn ensure_signed(root: &Root, by: &PinRoot) -> Result<(), Failure> {
    let progress = Progress::of(by, &root.note);
    let progress = progress.map_err(|error| Failure::input(&root.name, error))?;
    if progress.is_complete() {
        return Ok(());
    }
    let reason = format!(
        "an incomplete root: {}\n  what to do: `pinhold bundle sign` or `attach`, and for a \
         successor `roll-root`",
        progress.text()
    );
    Err(Failure::input(&root.name, reason))
}
