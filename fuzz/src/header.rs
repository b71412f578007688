//! `Public-Key-Pins` fields, compared with a second reader of their grammar.

use std::collections::HashSet;

use pinhold::SpkiFingerprint;
use pinhold::header::{HeaderEffect, HeaderError, HeaderSyntax, PinHeader};

type Parse = fn(&[u8], HeaderSyntax) -> Result<PinHeader, HeaderError>;

/// The input is the value of a field. It is parsed as both kinds of field, in both syntaxes.
///
/// # Panics
///
/// If a value is not read as the second reader reads it, the syntaxes disagree about a conforming
/// value, or the printed form of an accepted value does not parse to an equal one.
pub fn target(data: &[u8]) {
    let kinds: [Parse; 2] = [PinHeader::parse, PinHeader::parse_report_only];
    for parse in kinds {
        let strict = parse(data, HeaderSyntax::Rfc7469);
        let lax = parse(data, HeaderSyntax::Browsers);
        if strict.is_ok() {
            assert_eq!(strict, lax, "a conforming field has one meaning");
        }
        check_against_reader(data, &strict);
        check_white_space(data, parse);
        for error in [&strict, &lax]
            .into_iter()
            .filter_map(|parsed| parsed.as_ref().err())
        {
            assert!(!error.to_string().is_empty());
        }
        if let Ok(header) = lax {
            check_accepted(data, &header, parse);
        }
    }
}

fn check_accepted(data: &[u8], header: &PinHeader, parse: Parse) {
    let distinct = header.pins().iter().collect::<HashSet<_>>();
    assert_eq!(distinct.len(), header.pins().len());
    for name in header.unknown_algorithms() {
        assert_eq!(name, name.to_ascii_lowercase());
        assert_ne!(name, "sha256");
    }
    let with_empty_directive = [data, b" ; ;"].concat();
    let again = parse(&with_empty_directive, HeaderSyntax::Browsers);
    assert_eq!(
        again.as_ref(),
        Ok(header),
        "empty directives have no meaning"
    );
    let printed = header.to_string();
    if printed.is_empty() {
        assert!(header.is_report_only());
    } else {
        let parsed = parse(printed.as_bytes(), HeaderSyntax::Rfc7469);
        assert_eq!(parsed.as_ref(), Ok(header), "{printed}");
    }
    let effect = HeaderEffect::of(header, Some(header.pins()));
    if let HeaderEffect::Add = effect {
        panic!("all pins are in the chain, so there is no backup pin: {printed}");
    }
}

/// White space around a field value is not part of it.
fn check_white_space(data: &[u8], parse: Parse) {
    let padded = [b" \t", data, b"\t "].concat();
    for syntax in [HeaderSyntax::Rfc7469, HeaderSyntax::Browsers] {
        assert_eq!(parse(data, syntax).ok(), parse(&padded, syntax).ok());
    }
}

fn check_against_reader(data: &[u8], parsed: &Result<PinHeader, HeaderError>) {
    let directives = directives(data);
    match parsed {
        Ok(header) => {
            let directives = directives.expect("the second reader refuses an accepted field");
            let pins = directives
                .iter()
                .filter(|known| known.name == b"pin-sha256");
            let pins = pins.map(|pin| {
                let value = pin.value.as_ref().expect("a pin has a value");
                let text = str::from_utf8(value).expect("base64");
                format!("sha256/{text}").parse::<SpkiFingerprint>()
            });
            let pins = pins.collect::<Result<HashSet<_>, _>>().expect("valid pins");
            assert_eq!(pins, header.pins().iter().copied().collect());
            let others = directives.iter().map(|known| known.name.as_slice());
            let others = others.filter(|name| !name.starts_with(b"pin-") || *name == b"pin-");
            let mut names = HashSet::new();
            assert!(
                others.into_iter().all(|name| names.insert(name)),
                "repeated"
            );
            let has = |name: &[u8]| directives.iter().any(|known| known.name == name);
            assert_eq!(has(b"includesubdomains"), header.includes_subdomains());
            assert_eq!(has(b"report-uri"), header.report_uri().is_some());
        }
        Err(HeaderError::BadSyntax { offset }) => {
            assert!(*offset <= data.len());
            assert!(directives.is_none(), "the second reader accepts the field");
        }
        // Another error may come before one of syntax.
        Err(_) => {}
    }
}

/// A directive as the second reader reads it.
struct Directive {
    /// In lower case.
    name: Vec<u8>,
    /// Without quotes.
    value: Option<Vec<u8>>,
}

/// Reads a field as RFC 7469 defines it, in another way than the library: splits at the semicolons
/// outside quotes. Returns `None` if the field does not follow the grammar.
fn directives(field: &[u8]) -> Option<Vec<Directive>> {
    let mut parts = vec![Vec::new()];
    let (mut quoted, mut escaped) = (false, false);
    for byte in field.iter().copied() {
        if byte == b';' && !quoted {
            parts.push(Vec::new());
            continue;
        }
        quoted ^= byte == b'"' && !escaped;
        escaped = quoted && byte == b'\\' && !escaped;
        parts.last_mut()?.push(byte);
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    parts
        .into_iter()
        .map(|mut part| {
            while part.last().is_some_and(is_space) {
                part.pop();
            }
            let start = part.iter().position(|byte| !is_space(byte))?;
            directive(part.get(start..)?)
        })
        .collect()
}

fn directive(part: &[u8]) -> Option<Directive> {
    let mut halves = part.splitn(2, |byte| *byte == b'=');
    let name = halves.next().filter(|name| is_token(name))?;
    let value = match halves.next() {
        None => None,
        Some(value) if is_token(value) => Some(value.to_vec()),
        Some(value) => Some(unquoted(value)?),
    };
    Some(Directive {
        name: name.to_ascii_lowercase(),
        value,
    })
}

fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut bytes = inside.iter().copied();
    let mut unquoted = Vec::new();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => bytes.next()?,
            b'"' => return None,
            other => other,
        };
        let is_control = byte < 0x20 && byte != b'\t' || byte == 0x7f;
        if is_control {
            return None;
        }
        unquoted.push(byte);
    }
    Some(unquoted)
}

fn is_token(text: &[u8]) -> bool {
    let is_separator = |byte: u8| b"\"(),/:;<=>?@[\\]{}".contains(&byte);
    let is_valid = |byte: &u8| byte.is_ascii_graphic() && !is_separator(*byte);
    !text.is_empty() && text.iter().all(is_valid)
}
