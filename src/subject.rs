//! The name in a certificate in, text for people out.

use std::fmt::Write;

use rustls::DistinguishedName;
use x509_cert::der::Decode;
use x509_cert::name::Name;

/// Prints the contents of a distinguished name. The text comes from a certificate: what could
/// steer a terminal is escaped.
pub(crate) fn text(contents: &[u8]) -> String {
    let mut text = String::new();
    if let Ok(name) = Name::from_der(DistinguishedName::in_sequence(contents).as_ref()) {
        // Printing may fail half-way on odd values; what was printed until then is kept.
        let _ = write!(text, "{name}");
    }
    text.chars()
        .map(|char| match is_unprintable(char) {
            true => char.escape_unicode().to_string(),
            false => char.to_string(),
        })
        .collect()
}

/// Control characters, those that turn the direction of text, and those without a width.
fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
        )
}
