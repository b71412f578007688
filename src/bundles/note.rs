//! [`SignedNote`]: a text and signatures of it.

use std::fmt;

use crate::bundles::error::NoteError;
use crate::bundles::verifier_key::{VerifierKey, is_key_name};
use crate::policy::fingerprint::{decode_base64, encode_base64};
use crate::policy::sha256;

/// A text with the signatures of one or more keys, in the form of the [C2SP signed note].
///
/// Parsing verifies no signature.
///
/// ```
/// use pinhold::bundle::{SignedNote, VerifierKey};
///
/// let note = SignedNote::parse(
///     "This is an example message.\n\
///     \n\
///     — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXm\
///     RKuwHjG1Yu72IneyaQM=\n",
/// )?;
/// assert_eq!(note.text(), "This is an example message.\n");
/// assert_eq!(note.signatures()[0].name(), "example.com/foo");
/// # Ok::<(), pinhold::bundle::NoteError>(())
/// ```
///
/// [C2SP signed note]: https://c2sp.org/signed-note
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature of a note: of a key with a name, of any type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: [u8; 4],
    bytes: Vec<u8>,
}

impl SignedNote {
    /// The maximum number of signatures in a note. Verifiers have to accept 16.
    pub const MAX_SIGNATURES: usize = 64;

    /// Returns a note without signatures. A missing line feed at the end is added.
    ///
    /// # Errors
    ///
    /// [`NoteError::ControlCharacter`] if the text has a control character other than the line feed.
    pub fn new(text: impl Into<String>) -> Result<Self, NoteError> {
        let mut text = text.into();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        ensure_printable(&text)?;
        Ok(Self {
            text,
            signatures: Vec::new(),
        })
    }

    /// Parses a note with at least one signature.
    ///
    /// # Errors
    ///
    /// A [`NoteError`] names the rule of the format that the text does not follow.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        ensure_printable(note)?;
        // The text may contain empty lines.
        let blank = note.rfind("\n\n").ok_or(NoteError::NoSignatures)?;
        let (text, lines) = note
            .split_at_checked(blank + 1)
            .ok_or(NoteError::NoSignatures)?;
        let lines = lines.strip_prefix('\n').unwrap_or_default();
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
        let signatures = lines.split('\n').enumerate().map(|(index, line)| {
            let number = index + 1;
            if number > Self::MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            NoteSignature::parse(line).ok_or(NoteError::SignatureLine { number })
        });
        Ok(Self {
            signatures: signatures.collect::<Result<_, _>>()?,
            text: text.to_owned(),
        })
    }

    /// Returns the text that is signed, with its last line feed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the signatures, in the order of the note.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Returns the SHA-256 digest of the text, which does not depend on the signatures.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[self.text.as_bytes()])
    }

    /// Adds an Ed25519 signature (64 bytes) of [`text`](Self::text), in place of one of the same key.
    /// It is not verified.
    pub fn sign(&mut self, key: &VerifierKey, signature: &[u8; 64]) {
        let signature = NoteSignature {
            name: key.name().to_owned(),
            key_id: key.id(),
            bytes: signature.to_vec(),
        };
        self.signatures.retain(|known| !known.is_of(key));
        self.signatures.push(signature);
    }
}

/// Prints the note as [`SignedNote::parse`] reads it. Without signatures, that is the text and an
/// empty line.
impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let mut encoded = signature.key_id.to_vec();
            encoded.extend(&signature.bytes);
            writeln!(f, "{DASH}{} {}", signature.name, encode_base64(&encoded))?;
        }
        Ok(())
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        let decoded = decode_base64(encoded.as_bytes())?;
        // The decoder ignores the last bits: a note would have several spellings.
        let is_canonical = encode_base64(&decoded) == encoded;
        let (key_id, bytes) = decoded.split_first_chunk()?;
        (is_key_name(name) && is_canonical && !bytes.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_id: *key_id,
            bytes: bytes.to_vec(),
        })
    }

    /// Returns the name of the signer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the key ID.
    #[must_use]
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// Returns whether the signature has the name and the ID of this key. It may be wrong.
    #[must_use]
    pub fn is_of(&self, key: &VerifierKey) -> bool {
        self.name == key.name() && self.key_id == key.id()
    }

    /// Returns the signature without the key ID.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn ensure_printable(note: &str) -> Result<(), NoteError> {
    let is_excluded = |byte: &u8| *byte < b' ' && *byte != b'\n';
    match note.as_bytes().iter().position(is_excluded) {
        Some(offset) => Err(NoteError::ControlCharacter { offset }),
        None => Ok(()),
    }
}

/// The beginning of a line with a signature: an em dash and a space.
const DASH: &str = "\u{2014} ";
