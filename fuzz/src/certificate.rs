//! Reading of certificates, compared with webpki.

use pinhold::{SpkiFingerprint, TrustAnchors};
use ring::digest;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::policy::der;

#[path = "../../src/chain/certificate.rs"]
mod library;

/// The input is a DER certificate.
///
/// # Panics
///
/// If webpki reads another issuer or key, or the text of a name contains a control character or is
/// much longer than the name.
pub fn target(data: &[u8]) {
    let certificate = CertificateDer::from(data);
    let of_certificate = SpkiFingerprint::of_certificate(&certificate);
    let issuer = library::issuer(data);
    let validity = library::validity(data);
    check_text(data);
    if let Some(issuer) = issuer {
        check_text(issuer);
    }
    if let Ok(parsed) = EndEntityCert::try_from(&certificate) {
        // An anchor is selected by the issuer that this crate reads.
        assert_eq!(issuer, Some(parsed.issuer()));
        check_text(parsed.subject());
        let key = parsed.subject_public_key_info();
        assert_eq!(der::public_key(data), Some(key.as_ref()));
        assert_eq!(
            of_certificate.clone().ok(),
            SpkiFingerprint::of_public_key(&key).ok()
        );
        if let Ok(pin) = of_certificate {
            let expected = digest::digest(&digest::SHA256, &key);
            assert_eq!(pin.as_bytes().as_slice(), expected.as_ref());
        }
        // Dates before 1970 or after 9999 can't be read; that disables resumption.
        if let Some((not_before, not_after)) = validity {
            assert!(not_before.max(not_after) <= LAST_SECOND);
        }
    }
    let Ok(anchors) = TrustAnchors::new().with_built_in([certificate]) else {
        return;
    };
    for (_, anchor) in anchors.iter() {
        check_text(&anchor.subject);
        if let Ok(pin) = SpkiFingerprint::of_certificate(&CertificateDer::from(data)) {
            assert_eq!(SpkiFingerprint::of_anchor(anchor), pin);
        }
    }
}

/// Checks the text of a distinguished name, given by its DER contents, and that of its organisation.
fn check_text(name: &[u8]) {
    check_printable(&library::name_text(name), name);
    if let Some(organisation) = library::organisation(name) {
        assert!(organisation.len() <= name.len());
        check_printable(&library::value_text(organisation), organisation);
    }
}

fn check_printable(text: &str, bytes: &[u8]) {
    let is_hidden = |char| matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
    assert!(
        !text
            .chars()
            .any(|char| char.is_control() || is_hidden(char))
    );
    // An escaped character is at most 8 times as long as its bytes.
    assert!(text.len() <= 16 * bytes.len(), "{text}");
}

/// 9999-12-31, the last date of a certificate (RFC 5280 section 4.1.2.5).
const LAST_SECOND: u64 = 253_402_300_799;
