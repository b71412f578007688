//! The PEM encoding of the certificates in reports ([RFC 7468 section 2]).
//!
//! [RFC 7468 section 2]: https://www.rfc-editor.org/rfc/rfc7468#section-2

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

/// Returns the certificate as PEM. Each line ends in LF, including the last one.
pub(crate) fn encode(certificate: &CertificateDer<'_>) -> String {
    let base64 = STANDARD.encode(certificate);
    let lines = base64.len() / LINE_LENGTH + 1;
    let mut pem = String::with_capacity(BEGIN.len() + base64.len() + lines + END.len());
    pem.push_str(BEGIN);
    for (index, char) in base64.chars().enumerate() {
        if index % LINE_LENGTH == 0 {
            pem.push('\n');
        }
        pem.push(char);
    }
    pem.push_str(END);
    pem
}

/// RFC 7468 section 2: generators wrap the text so that each line but the last has exactly 64
/// characters.
const LINE_LENGTH: usize = 64;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "\n-----END CERTIFICATE-----\n";

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn lines_have_64_characters_and_the_certificate_is_read_back() {
        // Around the 48 bytes of a full line, and with each number of padding characters.
        for length in 0..200 {
            let bytes = (0..length).collect::<Vec<u8>>();
            let certificate = CertificateDer::from(bytes);
            let pem = encode(&certificate);
            let lines = pem.lines().collect::<Vec<_>>();
            let [begin, body @ .., end] = &*lines else {
                panic!("{pem}");
            };
            assert_eq!(*begin, "-----BEGIN CERTIFICATE-----");
            assert_eq!(*end, "-----END CERTIFICATE-----");
            if let [full @ .., last] = body {
                assert!(full.iter().all(|line| line.len() == 64), "{pem}");
                assert!((1..=64).contains(&last.len()), "{pem}");
            }
            let read = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            assert_eq!(read, certificate);
        }
    }
}
