//! [`Sections`], the certificates in a file of roots. What looks like a certificate and can't be read
//! is an error: the administrator expects every one to be read.

use std::error::Error;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::policy::pem;

/// The certificates of a file in PEM or DER, and the errors of others. A file without certificates,
/// such as a README, is not an error.
#[derive(Default)]
pub(crate) struct Sections {
    pub(crate) found: Vec<CertificateDer<'static>>,
    pub(crate) errors: Vec<Box<dyn Error + Send + Sync>>,
}

impl Sections {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut sections = Self::default();
        // Text editors on Windows write a byte order mark, which would hide the first section.
        let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
        if UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
            let reason = "text in UTF-16, expected UTF-8";
            sections.errors.push(reason.into());
            return sections;
        }
        // DER begins with the tag of a SEQUENCE, which is the character `0`. No PEM begins with it.
        if bytes.first() == Some(&0x30) {
            let certificate = CertificateDer::from(bytes.to_vec());
            sections.found.push(certificate);
            return sections;
        }
        sections.add_unread(bytes);
        let mut read = 0;
        for section in CertificateDer::pem_slice_iter(bytes) {
            read += 1;
            match section {
                Ok(certificate) => sections.found.push(certificate),
                // The sections after a malformed one are still read.
                Err(error) => sections.errors.push(error.into()),
            }
        }
        let begun = pem::labels(bytes).filter(|label| *label == b"CERTIFICATE");
        if begun.count() > read {
            let reason = "a certificate that does not begin at the start of a line";
            sections.errors.push(reason.into());
        }
        sections
    }

    /// Adds an error for the first section in a form that the PEM parser skips.
    fn add_unread(&mut self, bytes: &[u8]) {
        let mut labels = pem::labels(bytes);
        if let Some(label) = labels.find(|label| pem::is_unread_certificate(label)) {
            let label = String::from_utf8_lossy(label);
            let reason = format!("a section {label:?}, expected CERTIFICATE");
            self.errors.push(reason.into());
        }
    }
}

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
