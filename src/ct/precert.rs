//! The bytes that a log signs: the entry of a certificate, and that of its precertificate.

use crate::ct::sct::{EMBEDDED, Sct, is_extensions, is_of_kind};
use crate::policy::der::{tbs_fields, values};

/// What a log has signed (RFC 6962 section 3.2).
pub(crate) enum Entry {
    /// The certificate, for an SCT that is delivered beside it.
    Certificate(Vec<u8>),
    /// The certificate without its SCTs, for an embedded SCT, after the SHA-256 digest of its issuer's
    /// key.
    Precertificate([u8; 32], Vec<u8>),
}

impl Entry {
    /// Returns the signed bytes; `None` if a part is longer than the encoding allows.
    pub(crate) fn signed_bytes(&self, sct: &Sct<'_>) -> Option<Vec<u8>> {
        let contents = match self {
            Self::Certificate(der) | Self::Precertificate(_, der) => der,
        };
        let length = u32::try_from(contents.len()).ok()?.to_be_bytes();
        let [0, length @ ..] = length else {
            return None;
        };
        // The version and the kind of signature, which is that of a timestamp.
        let mut bytes = vec![0, 0];
        bytes.extend(sct.timestamp().to_be_bytes());
        match self {
            Self::Certificate(_) => bytes.extend([0, 0]),
            Self::Precertificate(issuer, _) => {
                bytes.extend([0, 1]);
                bytes.extend(issuer);
            }
        }
        bytes.extend(length);
        bytes.extend(contents);
        let extensions = u16::try_from(sct.extensions().len()).ok()?;
        bytes.extend(extensions.to_be_bytes());
        bytes.extend(sct.extensions());
        Some(bytes)
    }
}

/// Returns the `TBSCertificate` without the extensions that have SCTs. Where a certificate has several,
/// or can't be read to its end, the result is not what a log has signed.
pub(crate) fn without_scts(certificate: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Vec::new();
    for field in tbs_fields(certificate)? {
        if !is_extensions(&field) {
            fields.extend(field.der);
            continue;
        }
        let extensions = values(field.contents()).next()?;
        let tag = *extensions.der.first()?;
        let extensions = values(extensions.contents());
        let kept = extensions.filter(|extension| !is_of_kind(extension, EMBEDDED));
        let kept = kept.flat_map(|extension| extension.der).copied();
        let kept = kept.collect::<Vec<_>>();
        fields.extend(encode(0xa3, &encode(tag, &kept)?)?);
    }
    encode(0x30, &fields)
}

/// Returns the DER of a value.
fn encode(tag: u8, contents: &[u8]) -> Option<Vec<u8>> {
    let mut der = vec![tag];
    let length = u32::try_from(contents.len()).ok()?.to_be_bytes();
    match length {
        [0, 0, 0, short @ ..0x80] => der.push(short),
        [0, 0, 0, one] => der.extend([0x81, one]),
        [0, 0, length @ ..] => {
            der.push(0x82);
            der.extend(length);
        }
        [0, length @ ..] => {
            der.push(0x83);
            der.extend(length);
        }
        _ => return None,
    }
    der.extend(contents);
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_their_shortest_form() {
        for (length, expected) in [
            (0, &[4, 0][..]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
            (65_536, &[4, 0x83, 1, 0, 0]),
        ] {
            let der = encode(4, &vec![0; length]).unwrap();
            assert!(der.starts_with(expected), "{length}");
            assert_eq!(values(&der).next().unwrap().contents().len(), length);
        }
    }
}
