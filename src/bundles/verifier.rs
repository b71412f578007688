//! [`Verifier`], which trusts a bundle by the signatures of a root or of its successors.

use std::fmt;

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::SignatureVerificationAlgorithm;

use crate::bundles::error::{BundleError, RootError};
use crate::bundles::note::SignedNote;
use crate::bundles::pin_bundle::{PinBundle, head, note_of};
use crate::bundles::root::PinRoot;

/// Returns the Ed25519 implementation of a crypto provider.
pub(crate) fn ed25519(
    provider: &CryptoProvider,
) -> Option<&'static dyn SignatureVerificationAlgorithm> {
    let schemes = provider.signature_verification_algorithms.mapping.iter();
    let mut found = schemes.filter(|(scheme, _)| *scheme == SignatureScheme::ED25519);
    found.find_map(|(_, algorithms)| algorithms.first().copied())
}

impl PinBundle {
    /// Verifies a bundle by a root, and reads it.
    ///
    /// # Errors
    ///
    /// A [`BundleError`] if the root and its successors in the bundle do not make the bundle
    /// trusted. [`BundleError::Signatures`] if the provider has no Ed25519, too.
    pub fn verify(
        bytes: &[u8],
        root: &PinRoot,
        provider: &CryptoProvider,
    ) -> Result<Self, BundleError> {
        let Some(algorithm) = ed25519(provider) else {
            let threshold = root.threshold();
            return Err(BundleError::Signatures {
                valid: 0,
                threshold,
            });
        };
        let verifier = Verifier::new(root.clone(), algorithm);
        verifier.verify(bytes, None).map(|verified| verified.bundle)
    }
}

/// The root that an application contains, and the implementation of the signatures.
pub(crate) struct Verifier {
    root: PinRoot,
    algorithm: &'static dyn SignatureVerificationAlgorithm,
}

impl Verifier {
    pub(crate) fn new(
        root: PinRoot,
        algorithm: &'static dyn SignatureVerificationAlgorithm,
    ) -> Self {
        Self { root, algorithm }
    }

    /// Returns the verifier of the root in a note that its own keys have signed. A root whose keys
    /// can't sign could never be replaced.
    pub(crate) fn of_note(
        note: &str,
        algorithm: &'static dyn SignatureVerificationAlgorithm,
    ) -> Result<Self, RootError> {
        let note = SignedNote::parse(note).map_err(RootError::Note)?;
        let root = PinRoot::from_note(&note)?;
        root.ensure_signed_root(&note, algorithm)?;
        Ok(Self::new(root, algorithm))
    }

    /// Verifies a bundle: its roots are a chain of successors of the known root, each signed by the
    /// thresholds of its predecessor and of itself, and the bundle is signed by the threshold of the
    /// last one. The known root is `newer` if that has a higher version than the root of the
    /// application. The chain leads from the root of the application to the last one then, too.
    pub(crate) fn verify(
        &self,
        bytes: &[u8],
        newer: Option<&PinRoot>,
    ) -> Result<Verified, BundleError> {
        let known = newer.filter(|newer| newer.version() > self.root.version());
        let known = known.unwrap_or(&self.root);
        let note = note_of(bytes)?;
        let head = head(&note)?;
        let successor = self.newest(known, &head.roots)?;
        let newest = successor.as_ref().unwrap_or(known);
        if head.root_version != newest.version() {
            return Err(BundleError::NotNewestRoot {
                root: head.root_version,
                newest: newest.version(),
            });
        }
        let valid = newest.count_signatures(&note, self.algorithm);
        let valid = valid.map_err(|error| match error {
            RootError::BadSignature { name } => BundleError::BadSignature { name },
            error => BundleError::Root { index: 0, error },
        })?;
        let threshold = newest.threshold();
        if valid < threshold {
            return Err(BundleError::Signatures { valid, threshold });
        }
        // A later run of the application knows its own root only, and has to find the same one.
        if known != &self.root {
            let found = self.newest(&self.root, &head.roots)?;
            if found.as_ref() != Some(newest) {
                return Err(BundleError::NotNewestRoot {
                    root: head.root_version,
                    newest: found.as_ref().unwrap_or(&self.root).version(),
                });
            }
        }
        let bundle = PinBundle::read(&note, head)?;
        Ok(Verified { bundle, successor })
    }

    /// Returns the last successor of the known root; `None` if there is none.
    fn newest(&self, known: &PinRoot, roots: &[String]) -> Result<Option<PinRoot>, BundleError> {
        let mut newest = None;
        for (index, text) in roots.iter().enumerate() {
            let failed = |error| BundleError::Root { index, error };
            let note = SignedNote::parse(text).map_err(|error| failed(RootError::Note(error)))?;
            let root = PinRoot::from_note(&note).map_err(failed)?;
            let known = newest.as_ref().unwrap_or(known);
            if root.version() <= known.version() {
                continue;
            }
            let expected = known.version().saturating_add(1);
            if root.version() != expected {
                let found = root.version();
                return Err(BundleError::RootGap { expected, found });
            }
            for signer in [known, &root] {
                let signed = signer.ensure_signed_root(&note, self.algorithm);
                signed.map_err(failed)?;
            }
            newest = Some(root);
        }
        Ok(newest)
    }
}

/// A bundle whose signatures are valid.
pub(crate) struct Verified {
    pub(crate) bundle: PinBundle,
    /// The root that has signed it, if it is a successor of the known one.
    pub(crate) successor: Option<PinRoot>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verifier").field(&self.root).finish()
    }
}
