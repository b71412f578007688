//! The spellings of SPKI fingerprints, and PEM text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pinhold::SpkiFingerprint;
use ring::digest;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

/// The input is parsed as the text of a pin, as PEM text, and as a DER public key.
///
/// # Panics
///
/// If an accepted pin has another value after it was printed, the two readers of PEM text disagree,
/// or an accepted key has another hash than ring computes.
pub fn target(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        check_text(text);
    }
    let _ = SpkiFingerprint::of_pem(data).map(check_printed);

    let spki = SubjectPublicKeyInfoDer::from(data);
    let of_key = SpkiFingerprint::of_public_key(&spki);
    if let Ok(pin) = of_key {
        let expected = digest::digest(&digest::SHA256, data);
        assert_eq!(pin.as_bytes().as_slice(), expected.as_ref());
    }
    let pem = pem("PUBLIC KEY", data);
    assert_eq!(SpkiFingerprint::of_pem(pem.as_bytes()), of_key);
    assert_eq!(pem.parse::<SpkiFingerprint>(), of_key);

    let of_certificate = SpkiFingerprint::of_certificate(&CertificateDer::from(data));
    let pem = self::pem("CERTIFICATE", data);
    assert_eq!(SpkiFingerprint::of_pem(pem.as_bytes()), of_certificate);
}

fn check_text(text: &str) {
    match text.parse::<SpkiFingerprint>() {
        Ok(pin) => {
            check_printed(pin);
            if text.contains("-----") {
                // Text with one key has it as its first, too.
                assert_eq!(SpkiFingerprint::of_pem(text.as_bytes()), Ok(pin));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_printed(pin: SpkiFingerprint) {
    let hex = pin.as_bytes().map(|byte| format!("{byte:02x}"));
    for printed in [
        pin.to_string(),
        pin.to_base64(),
        format!("sha256//{}", pin.to_base64()),
        format!("pin-sha256=\"{}\"", pin.to_base64()),
        hex.concat(),
        hex.join(":").to_uppercase(),
    ] {
        // One digest in 2^36 looks like a pin with a prefix when it is written without one. It is
        // refused, as a pin that was cut off is.
        let prefix = printed.get(..7).unwrap_or_default();
        if printed.len() == 44 && prefix.eq_ignore_ascii_case("sha256/") {
            assert!(printed.parse::<SpkiFingerprint>().is_err(), "{printed}");
        } else {
            assert_eq!(printed.parse(), Ok(pin), "{printed}");
        }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}
