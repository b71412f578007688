//! Pin bundles: static pins that an application takes from its operator at run time, trusted by
//! signatures alone.
//!
//! A bundle is a [signed note](SignedNote) around a JSON text. The application ships a [`PinRoot`],
//! the keys whose signatures count, and a first bundle; later bundles may come over any channel.
//! The format is specified in `format.md`, which is shown at [`PinBundle`].
//!
//! Uses `policy` and `pin_file`. Has no state, no storage and no network; the signatures are
//! verified by the crypto provider of the client.
//!
//! Offers parsed notes, roots and bundles to tools, and [`Verifier`] to the pinning engine.

mod body;
mod error;
mod note;
mod pin_bundle;
mod root;
mod signers;
mod staging;
mod verifier;
mod verifier_key;

pub use crate::bundles::body::WhenStale;
pub use crate::bundles::error::{BundleError, NoteError, RootError};
pub use crate::bundles::note::{NoteSignature, SignedNote};
pub use crate::bundles::pin_bundle::PinBundle;
pub use crate::bundles::root::PinRoot;
pub use crate::bundles::staging::{InstallId, Staging};
pub(crate) use crate::bundles::verifier::{Verified, Verifier, ed25519};
pub use crate::bundles::verifier_key::VerifierKey;
