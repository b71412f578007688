//! The keys of signers: private and public ones in PEM files, and verifier keys as text.
//!
//! The buffers of this module that had a private key are overwritten after use; those of the PEM
//! parser and of the crypto provider are not.

use std::path::Path;

use pinhold::bundle::{SignedNote, VerifierKey};
#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::Signer;
use rustls::{SignatureAlgorithm, SignatureScheme};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::network;
use crate::output::cut;
use crate::refusal::shell_word;

/// What the options say about a KEY.
pub(super) const KEY: &str = "NAME=FILE with a private or public key in PEM, or \
                              NAME+KEYID+BASE64, or a file with that";

/// The Ed25519 key in a file.
pub(super) struct KeyFile {
    path: String,
    public: [u8; 32],
    /// The name, if the file has a verifier key.
    name: Option<String>,
    /// `None` if the file has no private key.
    signer: Option<Box<dyn Signer>>,
}

/// A KEY of the command line.
pub(super) struct NamedKey {
    pub(super) key: VerifierKey,
    /// The file with its private key.
    pub(super) private: Option<KeyFile>,
}

impl NamedKey {
    pub(super) fn open(text: &str) -> Result<Self, Failure> {
        let error = match text.parse::<VerifierKey>() {
            Ok(key) => return Ok(Self { key, private: None }),
            Err(error) => error,
        };
        if let Some((name, path)) = text.split_once('=') {
            let file = KeyFile::open(path)?;
            let key = VerifierKey::new(name, file.public);
            let key = key.map_err(|error| Failure::Usage(error.to_string()))?;
            if let Some(other) = file.name.as_ref().filter(|other| *other != name) {
                let reason = format!("has the key of {other:?}, expected that of {name:?}");
                return Err(Failure::input(path, reason));
            }
            let private = file.signer.is_some().then_some(file);
            return Ok(Self { key, private });
        }
        if text.matches('+').count() > 1 && !Path::new(text).exists() {
            return Err(Failure::Usage(error.to_string()));
        }
        let file = KeyFile::open(text)?;
        match file.name {
            Some(name) => {
                let key = VerifierKey::new(name, file.public);
                let key = key.map_err(|error| Failure::input(text, error))?;
                Ok(Self { key, private: None })
            }
            None => Err(Failure::input(
                text,
                format!("a key without a name, expected {KEY}"),
            )),
        }
    }

    pub(super) fn open_all(texts: &[String]) -> Result<Vec<Self>, Failure> {
        texts.iter().map(|text| Self::open(text)).collect()
    }
}

impl KeyFile {
    pub(super) fn open(path: &str) -> Result<Self, Failure> {
        let bytes = Zeroizing::new(network::read(Path::new(path))?);
        let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        if let Ok(key) = text.parse::<VerifierKey>() {
            return Ok(Self {
                path: path.to_owned(),
                public: *key.public_key(),
                name: Some(key.name().to_owned()),
                signer: None,
            });
        }
        ensure_readable(path, &text)?;
        let mut found = None;
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
            let (kind, der) = section.map_err(|_| not_a_key(path))?;
            let der = Zeroizing::new(der);
            let key = match kind {
                SectionKind::PrivateKey => private(path, &der)?,
                SectionKind::PublicKey => (public(&der).ok_or_else(|| not_a_key(path))?, None),
                _ => continue,
            };
            if found.replace(key).is_some() {
                return Err(Failure::input(path, "several keys, expected one"));
            }
        }
        let (public, signer) = found.ok_or_else(|| not_a_key(path))?;
        Ok(Self {
            path: path.to_owned(),
            public,
            name: None,
            signer,
        })
    }

    /// Signs the note under each name that the key has among these. Returns the names.
    pub(super) fn sign(
        &self,
        note: &mut SignedNote,
        keys: &[&VerifierKey],
    ) -> Result<Vec<String>, Failure> {
        let signer = self.signer.as_ref().ok_or_else(|| {
            Failure::input(
                &self.path,
                "a public key, expected the private one\n  what to do: sign the output of \
                 `pinhold bundle tbs` elsewhere, and add the signature by `pinhold bundle attach`",
            )
        })?;
        let own = keys.iter().filter(|key| *key.public_key() == self.public);
        let own = own.copied().collect::<Vec<_>>();
        if own.is_empty() {
            let names = keys.iter().map(|key| format!("{:?}", key.name()));
            let names = names.collect::<Vec<_>>().join(", ");
            let reason = format!("none of the keys of the root, expected that of one of: {names}");
            return Err(Failure::input(&self.path, reason));
        }
        let signature = signer.sign(note.text().as_bytes()).ok();
        let signature = signature.and_then(|signature| <[u8; 64]>::try_from(signature).ok());
        let signature = signature.ok_or_else(|| not_a_key(&self.path))?;
        let mut names = Vec::new();
        for key in own {
            note.sign(key, &signature);
            names.push(key.name().to_owned());
        }
        Ok(names)
    }
}

fn ensure_readable(path: &str, text: &str) -> Result<(), Failure> {
    let mut labels = network::labels(text);
    if labels.any(|label| label == "ENCRYPTED PRIVATE KEY") {
        let file = shell_word(Path::new(path));
        return Err(Failure::input(
            path,
            format!(
                "the private key is encrypted, and this program reads no passphrases\n  \
                 what to do:\n    \
                 pinhold bundle tbs PINS_FILE --root ROOT --output TEXT [...]\n    \
                 openssl pkeyutl -sign -rawin -inkey {file} -in TEXT -out SIGNATURE\n    \
                 pinhold bundle attach TEXT --key NAME=PUBLIC --signature SIGNATURE"
            ),
        ));
    }
    let mut labels = network::labels(text);
    match labels.find(|label| !["PRIVATE KEY", "PUBLIC KEY"].contains(label)) {
        Some(label) => Err(Failure::input(
            path,
            format!(
                "a PEM section {:?}, expected PRIVATE KEY or PUBLIC KEY",
                cut(label, 80)
            ),
        )),
        None => Ok(()),
    }
}

type Loaded = ([u8; 32], Option<Box<dyn Signer>>);

/// Reads a private key in PKCS#8 (RFC 5958).
fn private(path: &str, der: &[u8]) -> Result<Loaded, Failure> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(der));
    let key = any_supported_type(&key).map_err(|_| not_a_key(path))?;
    if key.algorithm() != SignatureAlgorithm::ED25519 {
        return Err(not_a_key(path));
    }
    let spki = key.public_key();
    let public = spki.and_then(|spki| public(&spki));
    let signer = key.choose_scheme(&[SignatureScheme::ED25519]);
    let (Some(public), Some(signer)) = (public, signer) else {
        return Err(not_a_key(path));
    };
    Ok((public, Some(signer)))
}

/// Returns the public key in a `SubjectPublicKeyInfo` for Ed25519 (RFC 8410 section 4).
fn public(spki: &[u8]) -> Option<[u8; 32]> {
    spki.strip_prefix(&SPKI_OF_ED25519)?.try_into().ok()
}

fn not_a_key(path: &str) -> Failure {
    Failure::input(
        path,
        "not an Ed25519 key, expected one in PEM as openssl genpkey -algorithm ed25519 or openssl \
         pkey -pubout write it",
    )
}

/// What precedes the 32 bytes of the key.
const SPKI_OF_ED25519: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
