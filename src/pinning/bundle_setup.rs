//! [`PinBundles`], what an application contains to take pin bundles.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::bundles::{Verifier, ed25519};
use crate::pinning::build_error::BuildError;
use crate::pinning::bundle_state::Bundles;
use crate::pinning::provider;
use crate::policy::StaticRules;

/// The root of trust for pins and the first bundle, which an application contains.
///
/// Both are files that `pinhold bundle` makes. The bundle is the lowest version that the application
/// ever accepts, also after its storage was lost: ship each release with the newest one.
///
/// ```no_run
/// # const ROOT: &str = "";
/// # const BUNDLE: &[u8] = b"";
/// use pinhold::bundle::PinBundles;
/// use pinhold::{FileStorage, PinStore, Pinning};
///
/// // ROOT: include_str!("pins.root"), BUNDLE: include_bytes!("pins.bundle")
/// let (store, error) = PinStore::open_or_recover(FileStorage::new("pins.jsonl"));
/// let pinning = Pinning::builder()
///     .bundles(PinBundles::new(ROOT, BUNDLE))
///     .store(store)
///     .build()?;
/// # drop(error);
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone)]
pub struct PinBundles {
    root: String,
    bundle: Vec<u8>,
    provider: Option<Arc<CryptoProvider>>,
}

impl PinBundles {
    /// Takes the note of a root, which its own keys have signed, and the bytes of a bundle.
    pub fn new(root: impl Into<String>, bundle: impl Into<Vec<u8>>) -> Self {
        Self {
            root: root.into(),
            bundle: bundle.into(),
            provider: None,
        }
    }

    /// Sets the crypto provider that verifies the signatures. Default: as for a client
    /// ([`PinningVerifierBuilder::with_provider`](crate::tls::PinningVerifierBuilder::with_provider)).
    #[must_use]
    pub fn with_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Verifies the root and the bundle.
    pub(crate) fn open(self, base: StaticRules) -> Result<Bundles, BuildError> {
        let provider = provider::choose(self.provider)?;
        let algorithm = ed25519(&provider).ok_or(BuildError::NoEd25519)?;
        let verifier = Verifier::of_note(&self.root, algorithm).map_err(BuildError::PinRoot)?;
        let bundle = verifier.verify(&self.bundle, None);
        let bundle = bundle.map_err(BuildError::Bundle)?;
        Ok(Bundles::new(verifier, bundle, base, provider))
    }
}

impl std::fmt::Debug for PinBundles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PinBundles")
            .field("bundle_size", &self.bundle.len())
            .finish_non_exhaustive()
    }
}
