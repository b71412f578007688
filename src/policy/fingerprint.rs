//! [`SpkiFingerprint`], the SHA-256 of a DER `SubjectPublicKeyInfo` ([RFC 7469 section 2.4]).
//!
//! A fingerprint identifies a key, so a certificate that is renewed with the same key keeps it.
//! RFC 7469 defines SHA-256 only, and no other algorithm is accepted.
//!
//! [RFC 7469 section 2.4]: https://www.rfc-editor.org/rfc/rfc7469#section-2.4

use std::fmt;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, TrustAnchor};
use spki::der::Decode;

use crate::policy::der;
use crate::policy::fingerprint_error::ParseFingerprintError;
use crate::policy::sha256::{KeyHash, sha256};

/// The SHA-256 of a DER `SubjectPublicKeyInfo`: 32 bytes that identify a public key.
///
/// `Display` prints `sha256/BASE64`, the spelling of OkHttp, TrustKit and Android. Parsing accepts
///
/// - that spelling, those of curl (`sha256//BASE64`) and RFC 7469 (`pin-sha256="BASE64"`), and
///   base64 alone;
/// - 64 hexadecimal digits, with or without colons, as certificate viewers show them;
/// - PEM text with exactly one certificate or public key.
///
/// ```
/// use pinhold::SpkiFingerprint;
///
/// let pin: SpkiFingerprint = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=".parse()?;
/// let same = "0b:9f:a5:a5:9e:ed:71:5c:26:c1:02:0c:71:1b:4f:6e:\
///             c4:2d:58:b0:01:5e:14:33:7a:39:da:d3:01:c5:af:c3";
/// assert_eq!(pin, same.parse()?);
/// assert_eq!(pin.to_string(), "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=");
/// # Ok::<(), pinhold::policy::ParseFingerprintError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpkiFingerprint([u8; 32]);

impl SpkiFingerprint {
    /// Wraps a SHA-256 digest that was computed elsewhere.
    #[must_use]
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns the fingerprint of a DER `SubjectPublicKeyInfo`, outer SEQUENCE included.
    ///
    /// # Errors
    ///
    /// [`ParseFingerprintError::PublicKey`] if the bytes are not a `SubjectPublicKeyInfo`: a hash
    /// of anything else is a pin that never matches.
    pub fn of_public_key(
        spki: &SubjectPublicKeyInfoDer<'_>,
    ) -> Result<Self, ParseFingerprintError> {
        match spki::SubjectPublicKeyInfoRef::from_der(spki) {
            Ok(_) => Ok(Self(sha256(&[spki]))),
            Err(_) => Err(ParseFingerprintError::PublicKey),
        }
    }

    /// Returns the fingerprint of a certificate's public key. The other fields of the certificate
    /// are not checked.
    ///
    /// # Errors
    ///
    /// [`ParseFingerprintError::Certificate`] if the bytes are not a DER certificate with a public
    /// key.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, ParseFingerprintError> {
        // Version 1 certificates have keys, too; webpki accepts them only as roots.
        let key = der::public_key(certificate).ok_or(ParseFingerprintError::Certificate)?;
        Self::of_public_key(&key.into()).map_err(|_| ParseFingerprintError::Certificate)
    }

    /// Returns the fingerprint of a trust anchor's public key.
    ///
    /// A [`TrustAnchor`] contains the `SubjectPublicKeyInfo` without its outer SEQUENCE. It is
    /// added before hashing, so that the result equals the fingerprint of the anchor's certificate.
    #[must_use]
    pub fn of_anchor(anchor: &TrustAnchor<'_>) -> Self {
        let contents = anchor.subject_public_key_info.as_ref();
        Self(sha256(&[&sequence_header(contents.len()), contents]))
    }

    /// Returns the fingerprint of a `SubjectPublicKeyInfo` taken from a parsed certificate.
    pub(crate) fn of_parsed_key(spki: &SubjectPublicKeyInfoDer<'_>, hash: KeyHash) -> Self {
        Self(hash.digest(spki))
    }

    /// Decodes the base64 of a digest: standard alphabet, padded.
    ///
    /// Non-zero trailing bits are accepted and cleared, because the test pins of Chromium and Gecko
    /// have them (RFC 4648 section 3.5 leaves the choice to the decoder).
    pub(crate) fn from_base64(text: &[u8]) -> Result<Self, ParseFingerprintError> {
        let bytes = decode_base64(text).ok_or(ParseFingerprintError::Base64)?;
        match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(digest) => Ok(Self(digest)),
            Err(_) => Err(ParseFingerprintError::Length { bytes: bytes.len() }),
        }
    }

    /// Returns the digest in padded base64 without a prefix, as header fields and reports contain
    /// it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.0)
    }

    /// Returns the directive of a `Public-Key-Pins` field that contains this pin.
    pub(crate) fn to_directive(self) -> String {
        format!("pin-sha256=\"{}\"", self.to_base64())
    }

    /// Returns the 32 bytes of the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SpkiFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", self.to_base64())
    }
}

impl fmt::Debug for SpkiFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the tag and the DER length of a SEQUENCE of `length` bytes.
fn sequence_header(length: usize) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let significant = bytes.iter().copied().skip_while(|byte| *byte == 0);
    let mut header = vec![0x30];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => header.push(short),
        _ => {
            let count = significant.clone().count();
            header.push(0x80 | u8::try_from(count).unwrap_or(u8::MAX));
            header.extend(significant);
        }
    }
    header
}

/// Decodes padded base64 of the standard alphabet.
pub(crate) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Encodes as padded base64 of the standard alphabet.
#[cfg(feature = "bundles")]
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bits_are_normalised() {
        // The pins of Chromium's and Gecko's own tests. 7469-2.4-b
        let nines: SpkiFingerprint = "9999999999999999999999999999999999999999999="
            .parse()
            .unwrap();
        assert!(nines.to_base64().ends_with("998="));
    }

    #[test]
    fn the_key_of_an_anchor_is_hashed_with_its_outer_sequence() {
        // 7469-2.4-a, the fingerprints published by the owners of the roots.
        let published = [
            (
                "ISRG Root X1",
                "C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
            ),
            (
                "ISRG Root X2",
                "diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
            ),
            (
                "GTS Root R1",
                "hxqRlPTu1bMS/0DITB1SSu0vd4u/8l8TjPgfaAp63Gc=",
            ),
            (
                "GTS Root R4",
                "mEflZT5enoR1FuXLgYYGqnVEoZvmf9c2bVBpiOjYQ0c=",
            ),
            (
                "Amazon Root CA 1",
                "++MBgDH5WGvL9Bcn5Be30cRcL0f5O+NyoXuWtQdX1aI=",
            ),
        ];
        for (name, expected) in published {
            let found = webpki_roots::TLS_SERVER_ROOTS.iter().find(|anchor| {
                let pin = SpkiFingerprint::of_anchor(anchor).to_base64();
                let subject = anchor.subject.as_ref();
                pin == expected
                    && subject
                        .windows(name.len())
                        .any(|part| part == name.as_bytes())
            });
            assert!(found.is_some(), "{name}");
        }
    }

    #[test]
    fn sequence_headers_are_der() {
        for (length, header) in [
            (0, &[0x30, 0][..]),
            (0x7f, &[0x30, 0x7f]),
            (0x80, &[0x30, 0x81, 0x80]),
            (0x126, &[0x30, 0x82, 0x01, 0x26]),
        ] {
            assert_eq!(sequence_header(length), header);
        }
    }
}
