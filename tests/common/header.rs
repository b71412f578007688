//! Header values for parser tests, and shorthands for the three ways to parse them.

use pinhold::SpkiFingerprint;
use pinhold::header::{HeaderError, HeaderSyntax, PinHeader};

pub fn pin(byte: u8) -> SpkiFingerprint {
    SpkiFingerprint::from_digest([byte; 32])
}

/// The `pin-sha256` directive for this pin.
pub fn directive(pin: SpkiFingerprint) -> String {
    format!("pin-sha256=\"{}\"", pin.to_base64())
}

/// A valid value with two pins and a `max-age` of 300, followed by `rest`.
pub fn valid_header(rest: &str) -> String {
    let (one, two) = (directive(pin(1)), directive(pin(2)));
    format!("{one}; {two}; max-age=300{rest}")
}

pub fn parse(value: impl AsRef<[u8]>) -> Result<PinHeader, HeaderError> {
    PinHeader::parse(value.as_ref(), HeaderSyntax::Rfc7469)
}

pub fn parse_report_only(value: impl AsRef<[u8]>) -> Result<PinHeader, HeaderError> {
    PinHeader::parse_report_only(value.as_ref(), HeaderSyntax::Rfc7469)
}

pub fn parse_as_browsers(value: impl AsRef<[u8]>) -> Result<PinHeader, HeaderError> {
    PinHeader::parse(value.as_ref(), HeaderSyntax::Browsers)
}

pub fn is_bad_syntax(result: &Result<PinHeader, HeaderError>) -> bool {
    matches!(result, Err(HeaderError::BadSyntax { .. }))
}
