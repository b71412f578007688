//! [`ParseFingerprintError`], the error of reading a fingerprint from text or a key from DER or
//! PEM.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;

use crate::policy::text::write_with_causes;

/// Why a text or a DER value yields no [`SpkiFingerprint`](crate::SpkiFingerprint).
///
/// ```
/// use pinhold::SpkiFingerprint;
/// use pinhold::policy::ParseFingerprintError;
///
/// let error = "sha256/AAAA".parse::<SpkiFingerprint>().unwrap_err();
/// assert_eq!(error, ParseFingerprintError::Length { bytes: 3 });
/// assert_eq!(error.to_string(), "pin decodes to 3 bytes, expected the 32 of a SHA-256");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseFingerprintError {
    /// The hash algorithm is not SHA-256, the only one that RFC 7469 defines.
    Algorithm {
        /// The name of the algorithm as it was written.
        name: String,
    },
    /// The text is neither padded standard base64 nor 64 hexadecimal digits.
    Base64,
    /// The bytes are not a DER X.509 certificate.
    Certificate,
    /// The digest is the SHA-256 of no bytes at all: what was hashed was empty.
    EmptyInput,
    /// The text is base64, but not of 32 bytes: 20 bytes are a SHA-1, 16 an MD5.
    Length {
        /// The number of bytes that it decodes to.
        bytes: usize,
    },
    /// The text is not PEM, or PEM without a `CERTIFICATE` or `PUBLIC KEY` section.
    Pem,
    /// The text is PEM with a certificate or public key in a section that is not read, such as
    /// OpenSSL's `TRUSTED CERTIFICATE` or `RSA PUBLIC KEY`.
    PemLabel {
        /// The label of the section.
        label: String,
    },
    /// The text is PEM with several certificates or public keys, any of which could be meant.
    PemSections {
        /// The number of certificates and public keys.
        found: usize,
    },
    /// All bytes of the digest are equal: a placeholder, which no key matches.
    Placeholder,
    /// The bytes are not a DER `SubjectPublicKeyInfo`.
    PublicKey,
}

impl fmt::Display for ParseFingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm { name } => {
                write!(
                    f,
                    "pin algorithm {name:?} is not supported, expected sha256"
                )
            }
            Self::Base64 => f.write_str(
                "pin is neither padded base64 nor 64 hex digits, expected sha256/BASE64 \
                 of 44 characters",
            ),
            Self::Certificate => f.write_str("not a DER X.509 certificate"),
            Self::EmptyInput => f.write_str(
                "pin is the SHA-256 of an empty input, expected that of a public key: the command \
                 that computed it read nothing",
            ),
            Self::Length { bytes: 16 } => f.write_str(
                "pin decodes to 16 bytes, the length of an MD5, expected the 32 of a SHA-256",
            ),
            Self::Length { bytes: 20 } => f.write_str(
                "pin decodes to 20 bytes, the length of a SHA-1, expected the 32 of a SHA-256",
            ),
            Self::Length { bytes: 1 } => {
                f.write_str("pin decodes to 1 byte, expected the 32 of a SHA-256")
            }
            Self::Length { bytes } => {
                write!(
                    f,
                    "pin decodes to {bytes} bytes, expected the 32 of a SHA-256"
                )
            }
            Self::Pem => f.write_str("not PEM with a CERTIFICATE or PUBLIC KEY section"),
            Self::PemLabel { label } => write!(
                f,
                "PEM section {label:?} is not supported, expected CERTIFICATE or PUBLIC KEY"
            ),
            Self::PemSections { found } => write!(
                f,
                "PEM text has {found} certificates or public keys, expected exactly 1"
            ),
            Self::Placeholder => f.write_str(
                "all bytes of the pin are equal: it is a placeholder, expected the SHA-256 of a \
                 public key",
            ),
            Self::PublicKey => f.write_str("not a DER SubjectPublicKeyInfo"),
        }
    }
}

/// Prints the text of `Display`, since `main` prints an error that it returns by `Debug`.
impl fmt::Debug for ParseFingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for ParseFingerprintError {}

impl From<Infallible> for ParseFingerprintError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
