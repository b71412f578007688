//! [`VerifierKey`], the public key of a signer of notes.

use std::fmt;
use std::str::FromStr;

use crate::bundles::error::RootError;
use crate::policy::fingerprint::{decode_base64, encode_base64};
use crate::policy::sha256;
use crate::policy::text::hex;

/// The public Ed25519 key of a signer, with its name, as the [C2SP signed note] defines it
/// ("vkey"): `NAME+KEYID+BASE64`.
///
/// ```
/// use pinhold::bundle::VerifierKey;
///
/// let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
/// let key = text.parse::<VerifierKey>()?;
/// assert_eq!(key.name(), "example.com/foo");
/// assert_eq!(key.to_string(), text);
/// # Ok::<(), pinhold::bundle::RootError>(())
/// ```
///
/// [C2SP signed note]: https://c2sp.org/signed-note
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

impl VerifierKey {
    /// Returns the key of a signer. `public` is the public key in the encoding of RFC 8032.
    ///
    /// # Errors
    ///
    /// [`RootError::KeyName`] if the name is empty or has a space, a plus or a control character.
    pub fn new(name: impl Into<String>, public: [u8; 32]) -> Result<Self, RootError> {
        let name = name.into();
        if is_key_name(&name) {
            Ok(Self { name, public })
        } else {
            Err(RootError::KeyName { name })
        }
    }

    /// Returns the name of the signer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the public key in the encoding of RFC 8032.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// Returns the key ID: the first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key).
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let digest = sha256(&[self.name.as_bytes(), b"\n", &[ED25519], &self.public]);
        digest.first_chunk().copied().unwrap_or_default()
    }

    /// Parses a key; `None` if it is well-formed and of another signature type.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, RootError> {
        let malformed = || RootError::Key {
            text: text.to_owned(),
        };
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let encoded = decode_base64(encoded.as_bytes()).ok_or_else(malformed)?;
        let is_id = id.len() == 8
            && id
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !is_key_name(name) || !is_id {
            return Err(malformed());
        }
        match encoded.split_first() {
            Some((&ED25519, public)) => {
                let public = public.try_into().map_err(|_| malformed())?;
                let key = Self::new(name, public)?;
                if hex(&key.id()) == id {
                    Ok(Some(key))
                } else {
                    Err(malformed())
                }
            }
            Some(_) => Ok(None),
            None => Err(malformed()),
        }
    }
}

impl FromStr for VerifierKey {
    type Err = RootError;

    /// Parses the text form.
    ///
    /// # Errors
    ///
    /// [`RootError::Key`] if it has another form, or a key ID of another key, or is of another
    /// signature type than Ed25519.
    fn from_str(text: &str) -> Result<Self, RootError> {
        let text = text.trim();
        Self::parse(text)?.ok_or_else(|| RootError::Key {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut encoded = vec![ED25519];
        encoded.extend(self.public);
        write!(
            f,
            "{}+{}+{}",
            self.name,
            hex(&self.id()),
            encode_base64(&encoded)
        )
    }
}

/// Returns whether a note may have this text as the name of a key.
pub(crate) fn is_key_name(name: &str) -> bool {
    let is_excluded = |next: char| next.is_whitespace() || next.is_control() || next == '+';
    !name.is_empty() && !name.contains(is_excluded)
}

/// The type of the signatures: plain Ed25519.
const ED25519: u8 = 0x01;
