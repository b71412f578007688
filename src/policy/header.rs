//! The `Public-Key-Pins` and `Public-Key-Pins-Report-Only` fields: bytes in, [`PinHeader`] out.
//!
//! Syntax only ([RFC 7469 section 2.1]). Whether a header may be noted is decided by
//! [`Pinning::note`](crate::Pinning::note).
//!
//! [RFC 7469 section 2.1]: https://www.rfc-editor.org/rfc/rfc7469#section-2.1

use std::collections::HashSet;
use std::error::Error;
use std::time::Duration;
use std::{fmt, str};

use crate::policy::fingerprint::{ParseFingerprintError, SpkiFingerprint};
use crate::policy::report_uri::ReportUri;

/// How literally the grammar is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderSyntax {
    /// As browsers took it: empty directives (a trailing `;`) and white space around `=` are
    /// allowed besides; nothing else is.
    Browsers,
    /// As RFC 7469 has it, to the letter.
    #[default]
    Rfc7469,
}

/// A field value that follows the grammar.
///
/// Prints the directives that it recognised, in an order of its own; what is printed parses to an
/// equal value, unless it is nothing: a report-only field may have no directive that we know. Of a
/// pin with an unknown algorithm only the algorithm's name is kept.
///
/// ```
/// use pinhold::header::{HeaderSyntax, PinHeader};
///
/// let value = br#"max-age=5184000; pin-sha256="C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";
///     pin-sha256="diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI="; includeSubDomains"#;
/// let value: Vec<u8> = value.iter().copied().filter(|byte| *byte != b'\n').collect();
/// let header = PinHeader::parse(&value, HeaderSyntax::Rfc7469)?;
/// assert_eq!(header.pins().len(), 2);
/// assert!(header.includes_subdomains());
/// # Ok::<(), pinhold::header::HeaderError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinHeader {
    /// Distinct, in the order of the field.
    pins: Vec<SpkiFingerprint>,
    /// Distinct, in lower case, in the order of the field.
    unknown_algorithms: Vec<String>,
    /// `None` in a report-only field.
    max_age: Option<Duration>,
    includes_subdomains: bool,
    report_uri: Option<ReportUri>,
}

impl PinHeader {
    /// Parses the value of a `Public-Key-Pins` field, which must have a `max-age`.
    ///
    /// # Errors
    ///
    /// The field is to be ignored as a whole; the [`HeaderError`] says why.
    pub fn parse(value: &[u8], syntax: HeaderSyntax) -> Result<Self, HeaderError> {
        let mut directives = Directives::read(value, syntax)?;
        let Some(max_age) = directives.max_age.take() else {
            return Err(HeaderError::MissingMaxAge);
        };
        let header = directives.into_header()?;
        Ok(Self {
            max_age: Some(parse_max_age(max_age.as_deref())?),
            ..header
        })
    }

    /// Parses the value of a `Public-Key-Pins-Report-Only` field, whose `max-age`, if it has one,
    /// is not looked at (RFC 7469 section 2.1.2).
    ///
    /// # Errors
    ///
    /// The field is to be ignored as a whole; the [`HeaderError`] says why.
    pub fn parse_report_only(value: &[u8], syntax: HeaderSyntax) -> Result<Self, HeaderError> {
        Directives::read(value, syntax)?.into_header()
    }

    /// The pins of known algorithms, distinct, in the order of the field. May be empty.
    #[must_use]
    pub fn pins(&self) -> &[SpkiFingerprint] {
        &self.pins
    }

    /// The names of the algorithms, in lower case, whose pins were left out as unknown; distinct, in
    /// the order of the field.
    #[must_use]
    pub fn unknown_algorithms(&self) -> impl ExactSizeIterator<Item = &str> {
        self.unknown_algorithms.iter().map(String::as_str)
    }

    /// How long the pins are to be kept, as the server says, before any cap; `None` in a
    /// report-only field. A number beyond `u64` counts as `u64::MAX` seconds.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// Whether the field is a `Public-Key-Pins-Report-Only`.
    #[must_use]
    pub fn is_report_only(&self) -> bool {
        self.max_age.is_none()
    }

    /// Whether the pins hold for every subdomain, too.
    #[must_use]
    pub fn includes_subdomains(&self) -> bool {
        self.includes_subdomains
    }

    /// Where the server wants violations to be reported.
    #[must_use]
    pub fn report_uri(&self) -> Option<&ReportUri> {
        self.report_uri.as_ref()
    }
}

impl fmt::Display for PinHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max_age = self.max_age.map(|age| format!("max-age={}", age.as_secs()));
        let pins = self
            .pins
            .iter()
            .map(|pin| format!("pin-sha256=\"{}\"", pin.to_base64()));
        let unknown = self
            .unknown_algorithms
            .iter()
            .map(|name| format!("pin-{name}=\"\""));
        let subdomains = self
            .includes_subdomains
            .then(|| "includeSubDomains".to_owned());
        let report = self
            .report_uri
            .as_ref()
            .map(|uri| format!("report-uri=\"{uri}\""));
        let directives = max_age
            .into_iter()
            .chain(pins)
            .chain(unknown)
            .chain(subdomains)
            .chain(report)
            .collect::<Vec<_>>();
        f.write_str(&directives.join("; "))
    }
}

/// Why a field is ignored as a whole (RFC 7469 section 2.1: no repair of malformed fields).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not `directive *( OWS ";" OWS directive )`.
    BadSyntax {
        /// The offset, in bytes from 0, of the first byte that does not fit.
        offset: usize,
    },
    /// A directive other than a pin occurs twice.
    DuplicateDirective {
        /// The directive's name in lower case.
        name: String,
    },
    /// No directive at all.
    Empty,
    /// `includeSubDomains` with a value.
    IncludeSubDomainsValue,
    /// `max-age` without a value of decimal digits.
    InvalidMaxAge,
    /// A `pin-sha256` whose value is not the base64 of 32 bytes.
    InvalidPin(ParseFingerprintError),
    /// A `report-uri` without an absolute URI.
    InvalidReportUri,
    /// No `max-age` in a `Public-Key-Pins` field.
    MissingMaxAge,
    /// A pin whose value is not a quoted-string.
    UnquotedPin {
        /// The directive's name in lower case.
        name: String,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSyntax { offset } => write!(
                f,
                "byte {offset} of the field does not fit, expected directives separated by `;`"
            ),
            Self::DuplicateDirective { name } => {
                write!(f, "directive {name:?} occurs twice, expected once")
            }
            Self::Empty => f.write_str("the field is empty, expected at least one directive"),
            Self::IncludeSubDomainsValue => {
                f.write_str("includeSubDomains has a value, expected none")
            }
            Self::InvalidMaxAge => f.write_str("max-age is not a number of seconds"),
            Self::InvalidPin(error) => write!(f, "pin-sha256: {error}"),
            Self::InvalidReportUri => f.write_str("report-uri is not an absolute URI"),
            Self::MissingMaxAge => f.write_str("max-age is missing"),
            Self::UnquotedPin { name } => write!(f, "the value of {name:?} is not quoted"),
        }
    }
}

impl Error for HeaderError {}

/// The directives that mean something to us, as they stand in the field.
#[derive(Default)]
struct Directives {
    pins: Vec<SpkiFingerprint>,
    unknown_algorithms: Vec<String>,
    /// The outer `Option`: is it there; the inner one: has it a value.
    max_age: Option<Option<Vec<u8>>>,
    include_subdomains: Option<Option<Vec<u8>>>,
    report_uri: Option<Option<Vec<u8>>>,
    /// Pins, names of algorithms, and of directives that mean nothing: told apart in constant time,
    /// as a hostile field may hold thousands. No two kinds look the same.
    seen: HashSet<String>,
}

impl Directives {
    fn read(value: &[u8], syntax: HeaderSyntax) -> Result<Self, HeaderError> {
        let mut directives = Self::default();
        let mut tokens = Tokens::new(value, syntax);
        let mut next = tokens.directive()?;
        if next.is_none() {
            return Err(HeaderError::Empty);
        }
        while let Some(directive) = next {
            directives.take(directive)?;
            next = tokens.directive()?;
        }
        Ok(directives)
    }

    fn take(&mut self, directive: Directive) -> Result<(), HeaderError> {
        let Directive { name, value } = directive;
        let value = value.map(|value| (value.bytes, value.quoted));
        if let Some(algorithm) = name.strip_prefix("pin-").filter(|name| !name.is_empty()) {
            let Some((value, true)) = value else {
                return Err(HeaderError::UnquotedPin { name });
            };
            if algorithm == "sha256" {
                let pin = SpkiFingerprint::from_base64(&value).map_err(HeaderError::InvalidPin)?;
                if self.seen.insert(pin.to_string()) {
                    self.pins.push(pin);
                }
            } else if self.seen.insert(name.clone()) {
                self.unknown_algorithms.push(algorithm.to_owned());
            }
            return Ok(());
        }
        let value = value.map(|(bytes, _)| bytes);
        let is_first = match name.as_str() {
            "max-age" => self.max_age.replace(value).is_none(),
            "includesubdomains" => self.include_subdomains.replace(value).is_none(),
            "report-uri" => self.report_uri.replace(value).is_none(),
            // 7469-2.1-g
            _ => self.seen.insert(name.clone()),
        };
        // 7469-2.1-c, D-07: the rule covers unknown directives, too.
        if is_first {
            Ok(())
        } else {
            Err(HeaderError::DuplicateDirective { name })
        }
    }

    /// Everything but the max-age.
    fn into_header(self) -> Result<PinHeader, HeaderError> {
        let includes_subdomains = match self.include_subdomains {
            None => false,
            Some(None) => true,
            Some(Some(_)) => return Err(HeaderError::IncludeSubDomainsValue),
        };
        let report_uri = match self.report_uri {
            None => None,
            Some(value) => Some(parse_report_uri(value.as_deref())?),
        };
        Ok(PinHeader {
            pins: self.pins,
            unknown_algorithms: self.unknown_algorithms,
            max_age: None,
            includes_subdomains,
            report_uri,
        })
    }
}

fn parse_max_age(value: Option<&[u8]>) -> Result<Duration, HeaderError> {
    let digits = value.ok_or(HeaderError::InvalidMaxAge)?;
    if digits.is_empty() {
        return Err(HeaderError::InvalidMaxAge);
    }
    let mut seconds = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(HeaderError::InvalidMaxAge);
        }
        // 7469-2.1.2-e: too large a number is the largest, not an error.
        seconds = seconds
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'));
    }
    Ok(Duration::from_secs(seconds))
}

fn parse_report_uri(value: Option<&[u8]>) -> Result<ReportUri, HeaderError> {
    let text = value.and_then(|bytes| str::from_utf8(bytes).ok());
    text.and_then(|text| ReportUri::parse(text).ok())
        .ok_or(HeaderError::InvalidReportUri)
}

struct Directive {
    /// In lower case.
    name: String,
    value: Option<Value>,
}

struct Value {
    /// Without quotes and escapes.
    bytes: Vec<u8>,
    quoted: bool,
}

/// Reads `directive *( OWS ";" OWS directive )`.
struct Tokens<'a> {
    value: &'a [u8],
    offset: usize,
    syntax: HeaderSyntax,
    first: bool,
}

impl<'a> Tokens<'a> {
    fn new(value: &'a [u8], syntax: HeaderSyntax) -> Self {
        // White space around a field value is not part of it (RFC 7230 section 3.2).
        let end = value
            .iter()
            .rposition(|byte| !is_space(*byte))
            .map_or(0, |last| last + 1);
        let mut tokens = Self {
            value: value.get(..end).unwrap_or_default(),
            offset: 0,
            syntax,
            first: true,
        };
        tokens.skip_space();
        tokens
    }

    /// The next directive, or `None` at the end of the field.
    fn directive(&mut self) -> Result<Option<Directive>, HeaderError> {
        loop {
            if self.first {
                self.first = false;
                if self.peek().is_none() {
                    return Ok(None);
                }
            } else {
                self.skip_space();
                if self.peek().is_none() {
                    return Ok(None);
                }
                self.expect(b';')?;
                self.skip_space();
            }
            if self.syntax == HeaderSyntax::Rfc7469 || !matches!(self.peek(), None | Some(b';')) {
                return self.named_directive().map(Some);
            }
        }
    }

    fn named_directive(&mut self) -> Result<Directive, HeaderError> {
        let name = String::from_utf8_lossy(self.token()?).to_ascii_lowercase();
        if self.syntax == HeaderSyntax::Browsers {
            self.skip_space();
        }
        if self.peek() != Some(b'=') {
            return Ok(Directive { name, value: None });
        }
        self.offset += 1;
        if self.syntax == HeaderSyntax::Browsers {
            self.skip_space();
        }
        let value = if self.peek() == Some(b'"') {
            self.quoted_string()?
        } else {
            Value {
                bytes: self.token()?.to_vec(),
                quoted: false,
            }
        };
        Ok(Directive {
            name,
            value: Some(value),
        })
    }

    fn token(&mut self) -> Result<&'a [u8], HeaderError> {
        let rest = self.value.get(self.offset..).unwrap_or_default();
        let end = rest.iter().position(|byte| !is_token(*byte));
        let token = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if token.is_empty() {
            return Err(self.error());
        }
        self.offset += token.len();
        Ok(token)
    }

    fn quoted_string(&mut self) -> Result<Value, HeaderError> {
        self.expect(b'"')?;
        let mut bytes = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.offset += 1;
                    return Ok(Value {
                        bytes,
                        quoted: true,
                    });
                }
                Some(b'\\') => {
                    self.offset += 1;
                    match self.peek() {
                        Some(byte) if is_quotable(byte) => bytes.push(byte),
                        _ => return Err(self.error()),
                    }
                }
                Some(byte) if is_quotable(byte) => bytes.push(byte),
                _ => return Err(self.error()),
            }
            self.offset += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), HeaderError> {
        if self.peek() != Some(byte) {
            return Err(self.error());
        }
        self.offset += 1;
        Ok(())
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.offset += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.value.get(self.offset).copied()
    }

    fn error(&self) -> HeaderError {
        HeaderError::BadSyntax {
            offset: self.offset,
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// RFC 7230 section 3.2.6, `tchar`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 7230 section 3.2.6: what a quoted-pair may quote; `qdtext` but for `"` and `\`.
fn is_quotable(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn tokens_and_quoted_strings_have_the_characters_of_rfc_7230() {
        // 7469-2.1-e
        for byte in 0..=u8::MAX {
            let separator = b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            assert_eq!(
                is_token(byte),
                byte.is_ascii_graphic() && !separator,
                "{byte:#x}"
            );
            let text = byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || byte >= 0x80;
            assert_eq!(is_quotable(byte), text, "{byte:#x}");
            assert_eq!(is_space(byte), byte == b' ' || byte == b'\t');
        }
    }

    #[test]
    fn a_value_is_a_token_or_what_its_quotes_hold() {
        // 7469-2.1-g
        let cases: [(&[u8], Option<&[u8]>); 7] = [
            (b"x", None),
            (b"x=1", Some(b"1")),
            (b"x='1'", Some(b"'1'")),
            (b"x=\"\"", Some(b"")),
            (b"x=\"a;b,c=d\"", Some(b"a;b,c=d")),
            (b"x=\"\\\"\\\\\\a\"", Some(b"\"\\a")),
            (b"x=\"\t\xff\\\xfe\"", Some(b"\t\xff\xfe")),
        ];
        for (field, expected) in cases {
            let mut tokens = Tokens::new(field, HeaderSyntax::Rfc7469);
            let directive = tokens.directive().unwrap().unwrap();
            assert_eq!(directive.name, "x");
            let value = directive.value.as_ref();
            assert_eq!(value.map(|value| &*value.bytes), expected);
            let quoted = value.is_some_and(|value| value.quoted);
            assert_eq!(quoted, field.contains(&b'"'));
            assert!(tokens.directive().unwrap().is_none());
        }
    }

    #[test]
    fn prints_what_was_recognised() {
        let pin = SpkiFingerprint::from_digest([0; 32]).to_base64();
        let tail = format!("pin-sha256=\"{pin}\"; pin-sha1=\"\"; includeSubDomains");
        let field = format!(
            "REPORT-URI=\"http:\\/\\/r.example/#x\"; IncludeSubdomains; pin-SHA1=\"?\"; foo=\"1\"; \
             pin-sha256=\"{pin}\"; Max-Age=\"007\"; pin-sha1=\"!\""
        );
        let strict = HeaderSyntax::Rfc7469;
        let header = PinHeader::parse(field.as_bytes(), strict).unwrap();
        let expected = format!("max-age=7; {tail}; report-uri=\"http://r.example/\"");
        assert_eq!(header.to_string(), expected);
        let header = PinHeader::parse_report_only(field.as_bytes(), strict).unwrap();
        let expected = format!("{tail}; report-uri=\"http://r.example/\"");
        assert_eq!(header.to_string(), expected);
        let nothing = PinHeader::parse_report_only(b"foo; max-age=1", strict).unwrap();
        assert_eq!(nothing.to_string(), "");
    }

    /// A directive that may stand in a field; now and then, one that may not.
    fn directive() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => any::<[u8; 32]>().prop_map(|digest| {
                let pin = SpkiFingerprint::from_digest(digest);
                format!("Pin-SHA256=\"{}\"", pin.to_base64())
            }),
            2 => "[mM]ax-age=(0|[1-9][0-9]{0,24}|\"[0-9]{1,4}\")",
            1 => select(vec!["includeSubDomains", "INCLUDESUBDOMAINS"]).prop_map(str::to_owned),
            1 => "report-uri=\"https?://[a-z]{1,5}(:[0-9]{1,4})?/[a-z;,=?%20]{0,5}(#[a-z]{0,2})?\"",
            1 => "pin-[a-z]{1,3}=\"([ !#-\\[\\]-~]|\\\\[ -~]){0,6}\"",
            1 => "x[a-z]{2}(=[a-z0-9'!]{1,4}|=\"([ !#-\\[\\]-~]|\\\\[ -~]){0,6}\")?",
            1 => "[a-z=;\"]{0,4}",
        ]
    }

    fn field() -> impl Strategy<Value = String> {
        let separator = prop_oneof![
            12 => select(vec!["; ", ";", " ;\t"]),
            1 => select(vec![";;", ", ", " "]),
        ];
        let rest = vec((separator, directive()), 0..6);
        (directive(), rest, select(vec!["", "", "", ";"])).prop_map(|(first, rest, last)| {
            let rest = rest
                .into_iter()
                .map(|(space, next)| format!("{space}{next}"));
            format!("{first}{}{last}", rest.collect::<String>())
        })
    }

    type Parse = fn(&[u8], HeaderSyntax) -> Result<PinHeader, HeaderError>;

    /// Both kinds of field, in both syntaxes.
    fn check(field: &[u8]) -> Result<(), TestCaseError> {
        let kinds: [Parse; 2] = [PinHeader::parse, PinHeader::parse_report_only];
        for parse in kinds {
            let [strict, lax] =
                [HeaderSyntax::Rfc7469, HeaderSyntax::Browsers].map(|syntax| parse(field, syntax));
            if strict.is_ok() {
                prop_assert_eq!(
                    &strict,
                    &lax,
                    "what is conforming means the same to browsers"
                );
            }
            let Ok(header) = lax else { continue };
            let printed = header.to_string();
            if printed.is_empty() {
                prop_assert!(header.is_report_only());
                continue;
            }
            // Printed without any licence.
            prop_assert_eq!(parse(printed.as_bytes(), HeaderSyntax::Rfc7469), Ok(header));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn parse_then_print_then_parse_is_the_same(field in field()) {
            // 7469-2.1-h, D-22
            check(field.as_bytes())?;
        }

        #[test]
        fn no_bytes_make_parsing_panic(
            field in field(),
            junk in vec(any::<u8>(), 0..8),
            at in any::<prop::sample::Index>(),
        ) {
            // 7469-2.1-e
            check(&junk)?;
            let at = at.index(field.len() + 1);
            let (head, tail) = field.as_bytes().split_at(at);
            check(&[head, &junk, tail].concat())?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]

        #[test]
        fn most_made_up_fields_are_conforming(fields in vec(field(), 64)) {
            // So that the round trip is more than a comparison of errors.
            let parse = |field: &&String| {
                PinHeader::parse_report_only(field.as_bytes(), HeaderSyntax::Rfc7469).is_ok()
            };
            prop_assert!(fields.iter().filter(parse).count() >= 4);
        }
    }
}
