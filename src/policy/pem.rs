//! Keys in PEM text (RFC 7468): the sections `CERTIFICATE` and `PUBLIC KEY`.
//!
//! Every client with static pins contains the parser of pins, and with it this reader. The PEM
//! reader of rustls-pki-types would add 11 KB (`tests/stacks/size.sh`); this one uses the base64
//! decoder of pins.

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

use crate::policy::fingerprint::{SpkiFingerprint, decode_base64};
use crate::policy::fingerprint_error::ParseFingerprintError;

impl SpkiFingerprint {
    /// Returns the fingerprint of the first `CERTIFICATE` or `PUBLIC KEY` section of a PEM text.
    ///
    /// # Errors
    ///
    /// [`ParseFingerprintError::Pem`] if the text is not PEM or has no such section,
    /// [`PemLabel`](ParseFingerprintError::PemLabel) if another section with a certificate or
    /// public key, such as OpenSSL's `TRUSTED CERTIFICATE`, comes before it, and the errors of [`of_certificate`](Self::of_certificate) and [`of_public_key`](Self::of_public_key).
    ///
    /// ```
    /// use pinhold::SpkiFingerprint;
    ///
    /// let pem = "-----BEGIN PUBLIC KEY-----\n\
    ///     MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    ///     -----END PUBLIC KEY-----\n";
    /// let pin = SpkiFingerprint::of_pem(pem.as_bytes())?;
    /// assert_eq!(pin.to_string(), "sha256/oekVYFTgT6yJmunydRMs3Ael28TqLCrTof/G4NJTaB8=");
    /// # Ok::<(), pinhold::policy::ParseFingerprintError>(())
    /// ```
    pub fn of_pem(pem: &[u8]) -> Result<Self, ParseFingerprintError> {
        let first = PemKeys::new(pem).next();
        first.unwrap_or(Err(ParseFingerprintError::Pem))
    }
}

/// The sections of a PEM text that contain a certificate or public key; those in a form that is not
/// read are errors. Text between sections is skipped, as are sections of other kinds.
pub(crate) struct PemKeys<'a> {
    rest: &'a [u8],
}

impl<'a> PemKeys<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// Returns the label and the contents of the next section; `None` if it has no end.
    fn section(&mut self, begin: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (label, rest) = split_once(begin, DASHES)?;
        let (contents, rest) = split_once(rest, END)?;
        self.rest = rest.strip_prefix(label)?.strip_prefix(DASHES)?;
        Some((label, contents))
    }
}

impl Iterator for PemKeys<'_> {
    type Item = Result<SpkiFingerprint, ParseFingerprintError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (_, begin) = split_once(self.rest, BEGIN)?;
            // After an error it is uncertain where the next section begins, so reading ends.
            self.rest = b"";
            let Some((label, contents)) = self.section(begin) else {
                return Some(Err(ParseFingerprintError::Pem));
            };
            let is_certificate = label == b"CERTIFICATE";
            if is_unread_certificate(label) || label.ends_with(b" PUBLIC KEY") {
                let label = std::str::from_utf8(label).unwrap_or_default().to_owned();
                return Some(Err(ParseFingerprintError::PemLabel { label }));
            }
            if !is_certificate && label != b"PUBLIC KEY" {
                continue;
            }
            let mut base64 = contents.to_vec();
            base64.retain(|byte| !byte.is_ascii_whitespace());
            let Some(der) = decode_base64(&base64) else {
                return Some(Err(ParseFingerprintError::Pem));
            };
            return Some(if is_certificate {
                SpkiFingerprint::of_certificate(&CertificateDer::from(der))
            } else {
                SpkiFingerprint::of_public_key(&SubjectPublicKeyInfoDer::from(der))
            });
        }
    }
}

/// Returns the labels of all sections, wherever in a line they begin.
#[cfg(feature = "native-certs")]
pub(crate) fn labels(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, begin) = split_once(rest, BEGIN)?;
        let (label, _) = split_once(begin, DASHES)?;
        rest = begin;
        Some(label)
    })
}

/// Returns whether sections with this label have certificates in a form that is not read: OpenSSL's
/// `TRUSTED CERTIFICATE`, which appends the trusted uses, its old `X509 CERTIFICATE`, and PKCS #7.
pub(crate) fn is_unread_certificate(label: &[u8]) -> bool {
    label.ends_with(b" CERTIFICATE") || label == b"PKCS7" || label == b"CMS"
}

/// Returns whether the text of a pin is PEM. No other spelling contains several hyphens in a row.
pub(crate) fn is_pem(text: &str) -> bool {
    split_once(text.as_bytes(), DASHES).is_some()
}

/// As [`str::split_once`], whose search would add three kilobytes to a binary.
fn split_once<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut windows = text.windows(separator.len());
    let position = windows.position(|window| window == separator)?;
    let (before, rest) = text.split_at(position);
    Some((before, rest.strip_prefix(separator)?))
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::{PemObject, SectionKind};

    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    /// Compares with the reader of rustls-pki-types.
    #[test]
    fn sections_are_those_that_another_reader_finds() {
        let own_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let crlf = KEY.replace('\n', "\r\n");
        for text in [
            String::new(),
            "no section".to_owned(),
            KEY.to_owned(),
            format!("subject=CN\n{KEY}text between\n{crlf}"),
            format!("{own_key}{KEY}"),
            KEY.trim_end().to_owned(),
        ] {
            let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
            let expected = sections.filter_map(|section| match section.unwrap() {
                (SectionKind::PublicKey, der) => Some(SpkiFingerprint::of_public_key(&der.into())),
                _ => None,
            });
            assert!(PemKeys::new(text.as_bytes()).eq(expected), "{text}");
        }
    }

    /// Otherwise another key than that of the first section would be pinned.
    #[test]
    fn sections_in_forms_that_are_not_read_are_named() {
        for label in [
            "TRUSTED CERTIFICATE",
            "X509 CERTIFICATE",
            "PKCS7",
            "RSA PUBLIC KEY",
        ] {
            let other = KEY.replace("PUBLIC KEY", label);
            let keys = PemKeys::new(other.as_bytes()).collect::<Vec<_>>();
            let label = label.to_owned();
            let error = Err(ParseFingerprintError::PemLabel { label });
            assert_eq!(keys, std::slice::from_ref(&error));
            assert_eq!(SpkiFingerprint::of_pem((other + KEY).as_bytes()), error);
        }
    }

    #[test]
    fn a_damaged_section_is_an_error_and_the_last() {
        for text in [
            KEY.replace("-----END PUBLIC KEY-----", ""),
            KEY.replace("-----END PUBLIC KEY-----", "-----END CERTIFICATE-----"),
            KEY.replace("MCow", "MC*w"),
            KEY.replace("uE=", "uE"),
            "-----BEGIN ".to_owned(),
            "-----BEGIN PUBLIC KEY-----".to_owned(),
        ] {
            let keys = PemKeys::new(text.as_bytes()).collect::<Vec<_>>();
            assert_eq!(keys, [Err(ParseFingerprintError::Pem)], "{text}");
        }
    }
}
