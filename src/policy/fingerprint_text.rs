//! Parsing of the textual spellings of an [`SpkiFingerprint`].

use std::str::FromStr;

use crate::policy::fingerprint::SpkiFingerprint;
use crate::policy::fingerprint_error::ParseFingerprintError;
use crate::policy::pem::{PemKeys, is_pem};
use crate::policy::sha256::sha256;

impl FromStr for SpkiFingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_pem(text) {
            return only_key_in_pem(text);
        }
        ensure_of_a_key(parse_digest(text)?)
    }
}

impl TryFrom<&str> for SpkiFingerprint {
    type Error = ParseFingerprintError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<&&str> for SpkiFingerprint {
    type Error = ParseFingerprintError;

    fn try_from(text: &&str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for SpkiFingerprint {
    type Error = ParseFingerprintError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<&String> for SpkiFingerprint {
    type Error = ParseFingerprintError;

    fn try_from(text: &String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<&Self> for SpkiFingerprint {
    fn from(pin: &Self) -> Self {
        *pin
    }
}

/// Parses a digest in any spelling.
fn parse_digest(text: &str) -> Result<SpkiFingerprint, ParseFingerprintError> {
    if let Some(value) = strip_prefix_ignoring_case(text, "pin-sha256=\"") {
        return match value.strip_suffix('"') {
            Some(base64) => SpkiFingerprint::from_base64(base64.as_bytes()),
            None => Err(ParseFingerprintError::Base64),
        };
    }
    if let Some(rest) = strip_prefix_ignoring_case(text, "sha256/") {
        // curl writes a second slash. The base64 of a digest may begin with a slash, too, but
        // then has its full length including that slash.
        let base64 = match rest.strip_prefix('/') {
            Some(base64) if rest.len() != BASE64_LENGTH => base64,
            _ => rest,
        };
        return SpkiFingerprint::from_base64(base64.as_bytes());
    }
    if let Some(name) = other_algorithm(text) {
        let name = name.to_owned();
        return Err(ParseFingerprintError::Algorithm { name });
    }
    // The length of a digest by another algorithm is named, also in hexadecimal.
    let digits = text.bytes().filter(|byte| *byte != b':').count();
    if matches!(digits, 32 | 40) && text.bytes().all(|it| it == b':' || it.is_ascii_hexdigit()) {
        return Err(ParseFingerprintError::Length { bytes: digits / 2 });
    }
    match from_hex(text) {
        Some(digest) => Ok(SpkiFingerprint::from_digest(digest)),
        None => SpkiFingerprint::from_base64(text.as_bytes()),
    }
}

/// Refuses digests that are no key's, but placeholders or the result of hashing no input.
fn ensure_of_a_key(pin: SpkiFingerprint) -> Result<SpkiFingerprint, ParseFingerprintError> {
    let digest = pin.as_bytes();
    let is_placeholder = digest.iter().all(|byte| digest.first() == Some(byte));
    if is_placeholder {
        return Err(ParseFingerprintError::Placeholder);
    }
    if *digest == sha256(&[]) {
        return Err(ParseFingerprintError::EmptyInput);
    }
    Ok(pin)
}

/// Returns the fingerprint of the only certificate or public key in the text. Several are an error:
/// the first would be an arbitrary choice, as a bundle may begin with the leaf or with the root.
fn only_key_in_pem(text: &str) -> Result<SpkiFingerprint, ParseFingerprintError> {
    let mut keys = PemKeys::new(text.as_bytes());
    let key = keys.next().ok_or(ParseFingerprintError::Pem)??;
    let mut found = 1;
    for other in keys {
        other?;
        found += 1;
    }
    if found == 1 {
        Ok(key)
    } else {
        Err(ParseFingerprintError::PemSections { found })
    }
}

/// Returns the name of the algorithm if the pin names one of the SHA or MD5 families other than
/// SHA-256.
fn other_algorithm(text: &str) -> Option<&str> {
    let unprefixed = text.strip_prefix("pin-").unwrap_or(text);
    let (algorithm, _) = unprefixed.split_once(['/', '=', ':'])?;
    let mut families = ["sha", "md5"].into_iter();
    let is_known = families.any(|family| strip_prefix_ignoring_case(algorithm, family).is_some());
    let is_other = is_known && !algorithm.eq_ignore_ascii_case("sha256");
    // Base64 without a prefix may begin with the letters of an algorithm and a slash.
    (is_other && text.len() != BASE64_LENGTH).then_some(algorithm)
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

/// Decodes 64 hexadecimal digits, with a colon between every two bytes or with no colon.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    let group = match text.len() {
        64 => 2,
        95 => 3,
        _ => return None,
    };
    let mut digest = [0; 32];
    for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(group)) {
        let ([high, low] | [high, low, b':']) = digits else {
            return None;
        };
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(*high)? * 16 + value(*low)?).ok()?;
    }
    Some(digest)
}

/// The number of characters of padded base64 for 32 bytes.
const BASE64_LENGTH: usize = 44;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ISRG Root X1, as published by its owner.
    const ISRG_X1: &str = "C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";

    const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn parses_every_spelling() {
        let expected = SpkiFingerprint::from_base64(ISRG_X1.as_bytes()).unwrap();
        let hex = expected.as_bytes().map(|byte| format!("{byte:02x}"));
        for text in [
            ISRG_X1.to_owned(),
            format!("sha256/{ISRG_X1}"),
            format!("sha256//{ISRG_X1}"),
            format!("SHA256/{ISRG_X1}"),
            format!("pin-sha256=\"{ISRG_X1}\""),
            format!("Pin-SHA256=\"{ISRG_X1}\""),
            hex.concat(),
            hex.concat().to_uppercase(),
            hex.join(":"),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn base64_may_begin_with_a_slash() {
        let mut digest = [0xff; 32];
        digest[31] = 0;
        let slash = SpkiFingerprint::from_digest(digest);
        assert!(slash.to_base64().starts_with('/'));
        assert_eq!(slash.to_string().parse(), Ok(slash));
        assert_eq!(format!("sha256//{}", slash.to_base64()).parse(), Ok(slash));
        assert_eq!(slash.to_base64().parse(), Ok(slash));
    }

    #[test]
    fn refuses_what_can_never_match() {
        use ParseFingerprintError as E;
        let hex = "0b".repeat(32);
        let sha1 = E::Algorithm {
            name: "sha1".to_owned(),
        };
        for (text, expected) in [
            ("", E::Length { bytes: 0 }),
            ("sha256/", E::Length { bytes: 0 }),
            ("sha1/C5+lpZ7tcVwmwQIMcRtPbsQtWLA=", sha1.clone()),
            ("pin-sha1=\"C5+lpZ7tcVwmwQIMcRtPbsQtWLA=\"", sha1),
            ("pin-sha256=AAAA", E::Base64),
            ("sha256:AAAA", E::Base64),
            (
                "SHA1/C5+lpZ7tcVwmwQIMcRtPbsQtWLA=",
                E::Algorithm {
                    name: "SHA1".to_owned(),
                },
            ),
            ("sha256/AAAA", E::Length { bytes: 3 }),
            (&ISRG_X1[..43], E::Base64),
            (&ISRG_X1.replace('+', "-"), E::Base64),
            (&format!(" {ISRG_X1}"), E::Base64),
            (&format!("pin-sha256=\"{ISRG_X1}"), E::Base64),
            (&hex[..63], E::Base64),
            (&hex.replacen("0b", "+b", 1), E::Length { bytes: 48 }),
            (&hex.replacen("0b", "0g", 1), E::Length { bytes: 48 }),
            ("0b0:b", E::Base64),
            ("MDAwMDAwMDAwMDAwMDAwMA==", E::Length { bytes: 16 }),
            (
                "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLA=",
                E::Length { bytes: 20 },
            ),
            (&"0b".repeat(20), E::Length { bytes: 20 }),
            (&["0B"; 20].join(":"), E::Length { bytes: 20 }),
            (&"0b".repeat(16), E::Length { bytes: 16 }),
            (&hex, E::Placeholder),
            (&format!("sha256/{}=", "A".repeat(43)), E::Placeholder),
            (
                "pin-sha256=\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"",
                E::EmptyInput,
            ),
        ] {
            assert_eq!(text.parse::<SpkiFingerprint>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn pem_text_has_exactly_one_key() {
        use ParseFingerprintError as E;
        let key = SpkiFingerprint::of_pem(PUBLIC_KEY.as_bytes()).unwrap();
        let certificate = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
        let of_certificate = SpkiFingerprint::of_certificate(certificate.cert.der()).unwrap();
        let (certificate, secret) = (
            certificate.cert.pem(),
            certificate.signing_key.serialize_pem(),
        );
        let broken = PUBLIC_KEY.replace("MCow", "MCo?");
        let no_key = PUBLIC_KEY.replace("MCow", "MCox");
        for (text, expected) in [
            (PUBLIC_KEY.to_owned(), Ok(key)),
            (certificate.replace('\n', "\r\n"), Ok(of_certificate)),
            (
                format!("subject=CN = ca\n{certificate}"),
                Ok(of_certificate),
            ),
            (format!("{secret}{certificate}"), Ok(of_certificate)),
            (secret, Err(E::Pem)),
            (
                format!("{certificate}{PUBLIC_KEY}"),
                Err(E::PemSections { found: 2 }),
            ),
            (PUBLIC_KEY.repeat(3), Err(E::PemSections { found: 3 })),
            (format!("{certificate}{broken}"), Err(E::Pem)),
            (broken, Err(E::Pem)),
            (no_key, Err(E::PublicKey)),
            ("-----BEGIN PUBLIC KEY-----\n".to_owned(), Err(E::Pem)),
            ("-----BEGIN".to_owned(), Err(E::Pem)),
        ] {
            assert_eq!(text.parse::<SpkiFingerprint>(), expected, "{text}");
        }
    }

    #[test]
    fn debug_prints_the_text_of_display() {
        let error = "sha1/AAAA".parse::<SpkiFingerprint>().unwrap_err();
        assert_eq!(
            format!("{error:?}"),
            "pin algorithm \"sha1\" is not supported, expected sha256"
        );
    }

    proptest! {
        #[test]
        fn print_then_parse_is_the_same(digest: [u8; 32]) {
            let pin = SpkiFingerprint::from_digest(digest);
            prop_assert_eq!(pin.to_string().parse(), Ok(pin));
            prop_assert_eq!(pin.to_base64().parse(), Ok(pin));
            let hex = digest.map(|byte| format!("{byte:02X}")).join(":");
            prop_assert_eq!(hex.parse(), Ok(pin));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            if let Ok(pin) = text.parse::<SpkiFingerprint>() {
                prop_assert_eq!(pin.to_string().parse(), Ok(pin));
            }
        }

        #[test]
        fn parsing_of_pem_never_panics(
            at in 0..PUBLIC_KEY.len(),
            junk in "[-A-Z \n=]{0,12}|\\PC{0,6}",
        ) {
            let (head, tail) = PUBLIC_KEY.split_at(at);
            drop(format!("{head}{junk}{tail}").parse::<SpkiFingerprint>());
        }
    }
}
