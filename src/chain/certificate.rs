//! Reading of the parts of a certificate that webpki does not expose: its validity period, its
//! issuer, and distinguished names as text.
//!
//! The fields are found by `policy::der`, without a library for all of X.509.

use std::fmt::Write;

use spki::ObjectIdentifier;
use spki::der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use spki::der::{Tag, Tagged};

use crate::policy::der::{Value, fields, values};

/// Returns the DER contents of the issuer's name; `None` if it can't be read. This takes a tenth of
/// the time of parsing the whole certificate.
pub(crate) fn issuer(certificate: &[u8]) -> Option<&[u8]> {
    Some(fields(certificate)?.nth(2)?.contents())
}

/// Returns the first and the last second of the validity period, since 1970; `None` if it can't be
/// read.
pub(crate) fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    let validity = fields(certificate)?.nth(3)?;
    let mut times = values(validity.contents()).map(|value| unix_seconds(value.any));
    Some((times.next()??, times.next()??))
}

fn unix_seconds(time: AnyRef<'_>) -> Option<u64> {
    let since_1970 = match time.tag() {
        Tag::UtcTime => time.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        _ => time.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
    };
    Some(since_1970.as_secs())
}

/// Returns the text of a distinguished name (RFC 4514), given by its DER contents, as far as it can
/// be read. Characters that could control a terminal are escaped, because a server chooses them.
pub(crate) fn name_text(contents: &[u8]) -> String {
    let mut text = String::new();
    let parts = values(contents).collect::<Vec<_>>();
    for (index, part) in parts.iter().rev().enumerate() {
        for (position, attribute) in values(part.contents()).enumerate() {
            match (index, position) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            // `None` for a malformed attribute, which is omitted.
            let _ = push_attribute(&attribute, &mut text);
        }
    }
    text
}

/// Returns the value of the first organisation attribute of a distinguished name, given by its DER
/// contents.
pub(crate) fn organisation(contents: &[u8]) -> Option<&[u8]> {
    let sets = values(contents).map(|set| set.contents());
    let attributes = sets.flat_map(|set| values(set).map(|attribute| attribute.contents()));
    let mut found = attributes.filter_map(|attribute| {
        let mut parts = values(attribute);
        let kind = parts.next()?;
        (kind.contents() == ORGANISATION).then(|| parts.next())?
    });
    Some(found.next()?.contents())
}

/// Returns the text of an attribute value, escaped as in [`name_text`].
pub(crate) fn value_text(value: &[u8]) -> String {
    let mut text = String::new();
    push_escaped(&String::from_utf8_lossy(value), &mut text);
    text
}

/// The attribute type `id-at-organizationName` (RFC 5280 appendix A.1).
const ORGANISATION: &[u8] = b"\x55\x04\x0a";

fn push_attribute(attribute: &Value<'_>, text: &mut String) -> Option<()> {
    let mut parts = values(attribute.contents());
    let (kind, value) = (parts.next()?, parts.next()?);
    let string = match value.any.tag() {
        Tag::Ia5String | Tag::PrintableString | Tag::TeletexString | Tag::Utf8String => {
            str::from_utf8(value.contents()).ok()
        }
        _ => None,
    };
    if let (Some(label), Some(string)) = (label(kind.contents()), string) {
        text.push_str(label);
        text.push('=');
        push_escaped(string, text);
        return Some(());
    }
    let kind = ObjectIdentifier::from_bytes(kind.contents()).ok()?;
    write!(text, "{kind}=#").ok()?;
    value
        .der
        .iter()
        .try_for_each(|byte| write!(text, "{byte:02x}"))
        .ok()
}

/// Returns the label of an attribute type: those of RFC 4514 section 3, and others that CAs use.
fn label(kind: &[u8]) -> Option<&'static str> {
    Some(match kind {
        b"\x55\x04\x03" => "CN",
        b"\x55\x04\x05" => "SERIALNUMBER",
        b"\x55\x04\x06" => "C",
        b"\x55\x04\x07" => "L",
        b"\x55\x04\x08" => "ST",
        b"\x55\x04\x09" => "STREET",
        b"\x55\x04\x0a" => "O",
        b"\x55\x04\x0b" => "OU",
        b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01" => "UID",
        b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19" => "DC",
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01" => "EMAILADDRESS",
        _ => return None,
    })
}

fn push_escaped(string: &str, text: &mut String) {
    let last = string.chars().count().saturating_sub(1);
    for (position, char) in string.chars().enumerate() {
        let is_edge = position == 0 || position == last;
        match char {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', char]),
            ' ' if is_edge => text.push_str("\\ "),
            '#' if position == 0 => text.push_str("\\#"),
            char if is_unprintable(char) => text.extend(char.escape_unicode()),
            char => text.push(char),
        }
    }
}

/// Returns whether a character is a control character, changes the direction of text, or has no
/// width.
fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    fn certificate(name: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in name {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.not_before = rcgen::date_time_ymd(2049, 12, 31);
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn name(parts: &[(DnType, DnValue)]) -> String {
        let der = certificate(parts);
        let fields = values(values(&der).next().unwrap().contents()).next();
        // Version, serial number, algorithm, issuer, validity, subject.
        let fields = values(fields.unwrap().contents()).collect::<Vec<_>>();
        name_text(fields[5].contents())
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let period = validity(&certificate(&[]));
        assert_eq!(period, Some((2_524_521_600, 2_524_608_000)));
        for broken in [&b""[..], b"\x30\x00", b"\x30\x02\x30\x00", b"\x30\x80"] {
            assert_eq!(validity(broken), None);
        }
    }

    #[test]
    fn names_are_printed_as_in_rfc_4514() {
        let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
        for (parts, text) in [
            (vec![], ""),
            (
                vec![
                    (DnType::CountryName, utf8("DE")),
                    (DnType::OrganizationName, utf8("A, B + C")),
                    (DnType::CommonName, utf8("#1 ")),
                ],
                "CN=\\#1\\ ,O=A\\, B \\+ C,C=DE",
            ),
            (
                vec![(DnType::CommonName, utf8("a\u{202e}b\u{1b}[2J"))],
                "CN=a\\u{202e}b\\u{1b}[2J",
            ),
            (
                vec![(DnType::CustomDnType(vec![2, 5, 4, 97]), utf8("X"))],
                "2.5.4.97=#0c0158",
            ),
        ] {
            assert_eq!(name(&parts), text);
        }
    }
}
