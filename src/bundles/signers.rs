//! Which keys of a root have signed a note, for tools that collect signatures.

use rustls::crypto::CryptoProvider;

use crate::bundles::error::RootError;
use crate::bundles::note::SignedNote;
use crate::bundles::root::PinRoot;
use crate::bundles::verifier::ed25519;
use crate::bundles::verifier_key::VerifierKey;

impl PinRoot {
    /// Returns the keys of this root with a valid signature of the note; none if the provider has no
    /// Ed25519. A threshold counts their distinct public keys.
    ///
    /// # Errors
    ///
    /// [`RootError::BadSignature`] for a wrong signature by a key of this root.
    ///
    /// ```
    /// use std::collections::BTreeSet;
    ///
    /// use pinhold::bundle::{PinRoot, RootError, SignedNote, VerifierKey};
    /// use rustls::crypto::CryptoProvider;
    ///
    /// /// Returns how many keys still have to sign.
    /// fn missing(
    ///     root: &PinRoot,
    ///     note: &SignedNote,
    ///     provider: &CryptoProvider,
    /// ) -> Result<usize, RootError> {
    ///     let signers = root.signers(note, provider)?.into_iter();
    ///     let distinct = signers.map(VerifierKey::public_key).collect::<BTreeSet<_>>();
    ///     Ok(root.threshold().saturating_sub(distinct.len()))
    /// }
    /// # let _ = missing;
    /// ```
    pub fn signers(
        &self,
        note: &SignedNote,
        provider: &CryptoProvider,
    ) -> Result<Vec<&VerifierKey>, RootError> {
        match ed25519(provider) {
            Some(algorithm) => self.valid_signers(note, algorithm),
            None => Ok(Vec::new()),
        }
    }
}
