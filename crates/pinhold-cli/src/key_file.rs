//! The keys in a file: of certificates, certificate requests, public keys and private keys.
//!
//! Of a private key only the public key is kept. The buffers of this module are overwritten after
//! use; those of the PEM parser are not.

use std::io;
use std::path::Path;

#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_cert::der::asn1::{AnyRef, OctetStringRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::request::CertReq;
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use crate::certificate::name_text;
use crate::failure::Failure;
use crate::fingerprint::Key;
use crate::network;
use crate::output::cut;
use crate::refusal::shell_word;

/// The argument that stands for standard input.
pub(crate) const STANDARD_INPUT: &str = "-";

/// Returns the keys of a file, or of standard input, each entry once.
pub(crate) fn keys_in_file(name: &str) -> Result<Vec<Key>, Failure> {
    let file = File::read(name)?;
    file.refuse_unread()?;
    let mut keys: Vec<Key> = Vec::new();
    let mut sections = 0;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&file.bytes) {
        let (kind, der) = section.map_err(|_| file.unreadable())?;
        let der = Zeroizing::new(der);
        if let Some(key) = file.key_of_section(kind, &der) {
            sections += 1;
            let key = key?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    let begun = LABELS.map(|label| network::begun(&file.bytes, label));
    if sections < begun.iter().sum::<usize>() {
        return Err(network::not_at_start(file.path()));
    }
    if keys.is_empty() {
        keys.push(file.key_of_der()?);
    }
    Ok(keys.into_iter().map(Key::with_advice).collect())
}

/// The contents of a file, and its name for messages.
struct File<'a> {
    name: &'a str,
    bytes: Zeroizing<Vec<u8>>,
}

impl<'a> File<'a> {
    fn read(name: &'a str) -> Result<Self, Failure> {
        let (name, bytes) = if name == STANDARD_INPUT {
            let name = "standard input";
            let bytes = network::whole(io::stdin().lock());
            let mut bytes = bytes.map_err(|error| Failure::input(name, error))?;
            network::remove_byte_order_mark(&mut bytes);
            (name, bytes)
        } else {
            (name, network::read(Path::new(name))?)
        };
        let bytes = with_present_label(&Zeroizing::new(bytes));
        Ok(Self { name, bytes })
    }

    fn path(&self) -> &Path {
        Path::new(self.name)
    }

    /// Refuses sections that the parser skips, and private keys that are encrypted.
    fn refuse_unread(&self) -> Result<(), Failure> {
        let text = Zeroizing::new(String::from_utf8_lossy(&self.bytes).into_owned());
        let is_encrypted = text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || text.contains("Proc-Type: 4,ENCRYPTED")
            || is_encrypted_key(&self.bytes);
        if is_encrypted {
            let reason = "the private key is encrypted, and this program reads no passphrases";
            return Err(self.unread_private_key(reason));
        }
        let mut labels = network::labels(&text);
        let unread = labels.find(|it| it.ends_with(" PRIVATE KEY") && !LABELS.contains(it));
        match unread {
            Some(label) => Err(self.unread_private_key(&format!(
                "a PEM section {:?} is not supported, expected PRIVATE KEY, EC PRIVATE KEY or RSA \
                 PRIVATE KEY",
                cut(label, 80)
            ))),
            None => network::refuse_unread(self.path(), &text),
        }
    }

    /// Returns `None` for a section that has no key.
    fn key_of_section(&self, kind: SectionKind, der: &[u8]) -> Option<Result<Key, Failure>> {
        let private = |key| of_private_key(key).ok_or_else(|| self.unsupported_private_key());
        let public = |key: Option<Key>| key.ok_or_else(|| self.unreadable());
        Some(match kind {
            SectionKind::Certificate => public(Key::of_certificate(&der.into(), None)),
            SectionKind::Csr => public(of_request(der)),
            SectionKind::EcPrivateKey => private(&PrivateSec1KeyDer::from(der).into()),
            SectionKind::PrivateKey => private(&PrivatePkcs8KeyDer::from(der).into()),
            SectionKind::PublicKey => public(Key::of_public_key(&der.into(), "key")),
            SectionKind::RsaPrivateKey => private(&PrivatePkcs1KeyDer::from(der).into()),
            _ => return None,
        })
    }

    fn key_of_der(&self) -> Result<Key, Failure> {
        let der = self.bytes.as_slice();
        let public = Key::of_certificate(&der.into(), None)
            .or_else(|| Key::of_public_key(&der.into(), "key"))
            .or_else(|| of_request(der));
        match (public, PrivateKeyDer::try_from(der)) {
            (Some(key), _) => Ok(key),
            (None, Ok(key)) => of_private_key(&key).ok_or_else(|| self.unsupported_private_key()),
            (None, Err(_)) => Err(self.unreadable()),
        }
    }

    fn unreadable(&self) -> Failure {
        let reason = "not a certificate, certificate request or key that can be read, expected one \
                      or more in PEM, or one in DER";
        Failure::input(self.name, reason)
    }

    fn unsupported_private_key(&self) -> Failure {
        self.unread_private_key(&format!(
            "a private key that can't be read, expected {PRIVATE_KEYS}"
        ))
    }

    /// Returns the failure with the command that extracts the public key.
    fn unread_private_key(&self, reason: &str) -> Failure {
        let file = if self.path().exists() {
            shell_word(self.path())
        } else {
            "FILE".to_owned()
        };
        Failure::input(
            self.name,
            format!(
                "{reason}\n  what to do: openssl pkey -in {file} -pubout | pinhold fingerprint -"
            ),
        )
    }
}

/// Replaces the label that old versions of OpenSSL and Windows write, which the parser would skip.
fn with_present_label(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let old = b"NEW CERTIFICATE REQUEST-----";
    let mut present = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut rest = bytes;
    let next = |rest: &[u8]| rest.windows(old.len()).position(|window| window == old);
    while let Some((before, label)) = next(rest).and_then(|at| rest.split_at_checked(at)) {
        present.extend_from_slice(before);
        rest = label.get(b"NEW ".len()..).unwrap_or_default();
    }
    present.extend_from_slice(rest);
    present
}

fn of_request(der: &[u8]) -> Option<Key> {
    let request = CertReq::from_der(der).ok()?;
    let key = request.info.public_key.to_der().ok()?;
    let key = Key::of_public_key(&key.into(), "csr")?;
    Some(key.with_subject(name_text(&request.info.subject)))
}

fn of_private_key(key: &PrivateKeyDer<'_>) -> Option<Key> {
    let signer = any_supported_type(key).ok()?;
    Key::of_public_key(&signer.public_key()?, "private-key")
}

/// Returns whether the bytes are an `EncryptedPrivateKeyInfo` (RFC 5208 section 6).
fn is_encrypted_key(der: &[u8]) -> bool {
    let outer = AnyRef::from_der(der).ok();
    let fields = outer.and_then(|outer| SliceReader::new(outer.value()).ok());
    fields.is_some_and(|mut fields| {
        AlgorithmIdentifierRef::decode(&mut fields).is_ok()
            && <&OctetStringRef>::decode(&mut fields).is_ok()
            && fields.is_finished()
    })
}

/// The sections of which keys are read.
const LABELS: [&str; 6] = [
    "CERTIFICATE",
    "CERTIFICATE REQUEST",
    "EC PRIVATE KEY",
    "PRIVATE KEY",
    "PUBLIC KEY",
    "RSA PRIVATE KEY",
];

/// The private keys that the crypto provider reads.
const PRIVATE_KEYS: &str = if cfg!(feature = "aws-lc-rs") {
    "RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519"
} else {
    "RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519"
};

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::growth::assert_linear;

    #[test]
    fn old_labels_are_replaced_in_linear_time() {
        let labels = |count| "NEW CERTIFICATE REQUEST-----\n".repeat(count).into_bytes();
        assert_linear(20_000, labels, |bytes| drop(with_present_label(bytes)));
    }
}
