//! [`PinRoot`], the keys whose signatures count.

use rustls_pki_types::SignatureVerificationAlgorithm;

use crate::bundles::error::{NoteError, RootError};
use crate::bundles::note::SignedNote;
use crate::bundles::verifier_key::VerifierKey;
use crate::pin_file::{COMMENT, Fault, Kind, Names, Node, Words, read};
use crate::policy::{PinSet, SpkiFingerprint};

/// A root of trust for pins: the keys whose signatures count, and how many of them have to sign.
///
/// A root never expires. It is replaced by one with the next version, which both the keys of the old
/// root and its own have signed. The format is specified at [`PinBundle`](crate::bundle::PinBundle).
///
/// ```
/// use pinhold::bundle::{PinRoot, VerifierKey};
///
/// let key = VerifierKey::new("example.com/pins/1", [7; 32])?;
/// let root = PinRoot::new(1, 1, [key])?;
/// assert!(root.to_text().contains(r#""threshold": 1"#));
/// # Ok::<(), pinhold::bundle::RootError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRoot {
    version: u64,
    threshold: usize,
    keys: Vec<VerifierKey>,
}

impl PinRoot {
    /// Returns a root with these keys, of which `threshold` must sign.
    ///
    /// # Errors
    ///
    /// [`RootError::Threshold`] if it is zero or above the number of distinct keys.
    pub fn new(
        version: u64,
        threshold: u64,
        keys: impl IntoIterator<Item = VerifierKey>,
    ) -> Result<Self, RootError> {
        let keys = keys.into_iter().collect::<Vec<_>>();
        // Counted as fingerprints, which have the same length: sets of them are in every client.
        let distinct = keys.iter().map(VerifierKey::public_key);
        let distinct = distinct.copied().map(SpkiFingerprint::from_digest);
        let distinct = PinSet::new(distinct).map_or(0, |keys| keys.len());
        let usable = usize::try_from(threshold).ok();
        let usable = usable.filter(|threshold| (1..=distinct).contains(threshold));
        Ok(Self {
            version,
            threshold: usable.ok_or(RootError::Threshold {
                threshold,
                keys: distinct,
            })?,
            keys,
        })
    }

    /// Reads the root in a signed note. Keys of other types than Ed25519 are ignored, and so are
    /// members that this version does not know. No signature is verified.
    ///
    /// # Errors
    ///
    /// [`RootError::Body`], [`RootError::Critical`], [`RootError::Key`], [`RootError::KeyName`] and
    /// [`RootError::Threshold`].
    pub fn from_note(note: &SignedNote) -> Result<Self, RootError> {
        let body = read(note.text(), Names::Known(&[ROOT.members]), body);
        let body = body.map_err(RootError::Body)?;
        let mut critical = body.critical.into_iter();
        let known = |name: &String| ROOT.members.contains(&&**name) || name == COMMENT;
        if let Some(member) = critical.find(|name| !known(name)) {
            return Err(RootError::Critical { member });
        }
        let keys = body.keys.iter().map(|key| VerifierKey::parse(key));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        Self::new(body.version, body.threshold, keys.into_iter().flatten())
    }

    /// Parses a signed note with a root. No signature is verified.
    ///
    /// # Errors
    ///
    /// Those of [`from_note`](Self::from_note), and [`RootError::Note`].
    pub fn parse(note: &str) -> Result<Self, RootError> {
        Self::from_note(&SignedNote::parse(note).map_err(RootError::Note)?)
    }

    /// Returns the version, from 1.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns how many distinct keys have to sign a bundle, or the next root.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Returns the keys.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// Returns the text that is to be signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let keys = self.keys.iter().map(|key| format!("    \"{key}\""));
        let keys = keys.collect::<Vec<_>>().join(",\n");
        format!(
            "{{\n  \"type\": \"pin-root\",\n  \"version\": {},\n  \"threshold\": {},\n  \"keys\": \
             [\n{keys}\n  ]\n}}\n",
            self.version, self.threshold
        )
    }

    /// Counts the distinct keys of this root with a valid signature of the note.
    ///
    /// # Errors
    ///
    /// [`RootError::BadSignature`] for a wrong signature by a key of this root.
    pub(crate) fn count_signatures(
        &self,
        note: &SignedNote,
        algorithm: &dyn SignatureVerificationAlgorithm,
    ) -> Result<usize, RootError> {
        // By key, not by name: one key under two names must not count twice.
        let signers = self.valid_signers(note, algorithm)?.into_iter();
        let mut distinct = Vec::new();
        for key in signers.map(VerifierKey::public_key) {
            if !distinct.contains(&key) {
                distinct.push(key);
            }
        }
        Ok(distinct.len())
    }

    /// Returns the keys of this root with a valid signature of the note.
    ///
    /// # Errors
    ///
    /// As of [`count_signatures`](Self::count_signatures).
    pub(crate) fn valid_signers(
        &self,
        note: &SignedNote,
        algorithm: &dyn SignatureVerificationAlgorithm,
    ) -> Result<Vec<&VerifierKey>, RootError> {
        let mut valid = Vec::new();
        for key in &self.keys {
            for signature in note.signatures() {
                if !signature.is_of(key) {
                    continue;
                }
                let (message, signature) = (note.text().as_bytes(), signature.as_bytes());
                let verified = algorithm.verify_signature(key.public_key(), message, signature);
                if verified.is_err() {
                    let name = key.name().to_owned();
                    return Err(RootError::BadSignature { name });
                }
                if valid.last() != Some(&key) {
                    valid.push(key);
                }
            }
        }
        Ok(valid)
    }

    /// Fails unless enough keys of this root have signed the note of a root.
    pub(crate) fn ensure_signed_root(
        &self,
        note: &SignedNote,
        algorithm: &dyn SignatureVerificationAlgorithm,
    ) -> Result<(), RootError> {
        let valid = self.count_signatures(note, algorithm)?;
        if valid >= self.threshold {
            return Ok(());
        }
        Err(RootError::Signatures {
            by: self.version,
            valid,
            threshold: self.threshold,
        })
    }
}

/// Returns the note of a text in bytes.
pub(crate) fn note_of(bytes: &[u8]) -> Result<SignedNote, NoteError> {
    SignedNote::parse(str::from_utf8(bytes).map_err(|_| NoteError::Utf8)?)
}

/// The only value of `type` of one kind of text: a signature must not count for another kind.
#[derive(Clone, Copy)]
enum Type {
    Root,
}

impl Words for Type {
    const VALUES: &'static [Self] = &[Self::Root];
    const WORDS: &'static [&'static str] = &["pin-root"];

    fn word(self) -> &'static str {
        "pin-root"
    }
}

struct Body {
    version: u64,
    threshold: u64,
    keys: Vec<String>,
    critical: Vec<String>,
}

fn body(node: Node<'_>) -> Result<Body, Box<Fault>> {
    let mut members = node.object(&ROOT)?;
    let (mut of_type, mut version, mut threshold) = (None, None, None);
    let (mut keys, mut critical) = (None, Vec::new());
    while let Some((name, node)) = members.next()? {
        match name {
            "type" => of_type = Some(node.word::<Type>(name)?),
            "version" => version = Some(node.whole_number()?),
            "threshold" => threshold = Some(node.whole_number()?),
            "keys" => keys = Some(node.owned_texts()?),
            _ => critical = node.owned_texts()?,
        }
    }
    members.required(of_type, "type")?;
    Ok(Body {
        version: members.required(version, "version")?,
        threshold: members.required(threshold, "threshold")?,
        keys: members.required(keys, "keys")?,
        critical,
    })
}

const ROOT: Kind = Kind {
    name: "root",
    members: &["critical", "keys", "threshold", "type", "version"],
};
