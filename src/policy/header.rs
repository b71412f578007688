//! Parsing of the `Public-Key-Pins` and `Public-Key-Pins-Report-Only` header fields into
//! [`PinHeader`].
//!
//! Syntax only ([RFC 7469 section 2.1]). Whether a header may be noted is decided by
//! [`Pinning::note`](crate::Pinning::note).
//!
//! [RFC 7469 section 2.1]: https://www.rfc-editor.org/rfc/rfc7469#section-2.1

use std::collections::HashSet;
use std::error::Error;
use std::time::Duration;
use std::{fmt, str};

use crate::policy::fingerprint::SpkiFingerprint;
use crate::policy::fingerprint_error::ParseFingerprintError;
pub use crate::policy::header_tokens::HeaderSyntax;
use crate::policy::header_tokens::{Directive, Tokenizer, UnexpectedByte};
use crate::policy::report_uri::ReportUri;
use crate::policy::text::write_with_causes;

/// The value of a `Public-Key-Pins` or `Public-Key-Pins-Report-Only` field that follows the
/// grammar.
///
/// `Display` prints the recognised directives in a fixed order. The printed text parses to an equal
/// value, unless it is empty: a report-only field may have no known directive. Of a pin with an
/// unknown algorithm, only the name of the algorithm is kept.
///
/// ```
/// use pinhold::header::{HeaderSyntax, PinHeader};
///
/// let value = concat!(
///     r#"max-age=5184000; pin-sha256="C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M="; "#,
///     r#"pin-sha256="diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI="; includeSubDomains"#,
/// );
/// let header = PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469)?;
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
    /// A [`HeaderError`] for any deviation. The field must then be ignored as a whole.
    pub fn parse(value: &[u8], syntax: HeaderSyntax) -> Result<Self, HeaderError> {
        let mut directives = Directives::parse(value, syntax)?;
        let Some(max_age) = directives.max_age.take() else {
            return Err(HeaderError::MissingMaxAge);
        };
        let header = directives.into_header()?;
        Ok(Self {
            max_age: Some(parse_max_age(max_age.as_deref())?),
            ..header
        })
    }

    /// Parses the value of a `Public-Key-Pins-Report-Only` field. Its `max-age`, if present, is
    /// ignored (RFC 7469 section 2.1.2).
    ///
    /// # Errors
    ///
    /// A [`HeaderError`] for any deviation. The field must then be ignored as a whole.
    pub fn parse_report_only(value: &[u8], syntax: HeaderSyntax) -> Result<Self, HeaderError> {
        Directives::parse(value, syntax)?.into_header()
    }

    /// Returns the distinct SHA-256 pins in the order of the field. There may be none.
    #[must_use]
    pub fn pins(&self) -> &[SpkiFingerprint] {
        &self.pins
    }

    /// Returns the distinct names of other algorithms, whose pins were ignored, in lower case and
    /// in the order of the field.
    #[must_use]
    pub fn unknown_algorithms(&self) -> impl ExactSizeIterator<Item = &str> {
        self.unknown_algorithms.iter().map(String::as_str)
    }

    /// Returns the lifetime of the pins as the server sent it, before any cap; `None` in a
    /// report-only field. A number of seconds beyond [`u64::MAX`] becomes [`u64::MAX`].
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// Returns whether the field is a `Public-Key-Pins-Report-Only`.
    #[must_use]
    pub fn is_report_only(&self) -> bool {
        self.max_age.is_none()
    }

    /// Returns whether the pins apply to every subdomain, too.
    #[must_use]
    pub fn includes_subdomains(&self) -> bool {
        self.includes_subdomains
    }

    /// Returns where the server wants violations to be reported.
    #[must_use]
    pub fn report_uri(&self) -> Option<&ReportUri> {
        self.report_uri.as_ref()
    }
}

impl fmt::Display for PinHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max_age = self.max_age.map(|age| format!("max-age={}", age.as_secs()));
        let pins = self.pins.iter().map(|pin| pin.to_directive());
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

/// Why a field is ignored as a whole. Malformed fields are not repaired (RFC 7469 section 2.1).
///
/// ```
/// use pinhold::header::{HeaderError, HeaderSyntax, PinHeader};
///
/// let error = PinHeader::parse(b"max-age=1; max-age=2", HeaderSyntax::Rfc7469).unwrap_err();
/// assert!(matches!(error, HeaderError::DuplicateDirective { name } if name == "max-age"));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The field does not follow `directive *( OWS ";" OWS directive )`.
    BadSyntax {
        /// Position, in bytes from 0, of the first byte that does not match.
        offset: usize,
    },
    /// A directive other than a pin occurs twice.
    DuplicateDirective {
        /// The directive's name in lower case.
        name: String,
    },
    /// The field has no directive.
    Empty,
    /// `includeSubDomains` has a value.
    IncludeSubDomainsValue,
    /// `max-age` has no value of decimal digits.
    InvalidMaxAge,
    /// The value of a `pin-sha256` is not the base64 of 32 bytes.
    InvalidPin(ParseFingerprintError),
    /// `report-uri` has no absolute URI as its value.
    InvalidReportUri,
    /// A `Public-Key-Pins` field has no `max-age`.
    MissingMaxAge,
    /// The value of a pin is not a quoted-string.
    UnquotedPin {
        /// The directive's name in lower case.
        name: String,
    },
}

impl From<UnexpectedByte> for HeaderError {
    fn from(UnexpectedByte { offset }: UnexpectedByte) -> Self {
        Self::BadSyntax { offset }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSyntax { offset } => write!(
                f,
                "field does not match the grammar at byte {offset}, expected directives separated \
                 by `;`"
            ),
            Self::DuplicateDirective { name } => {
                write!(f, "directive {name:?} occurs twice, expected once")
            }
            Self::Empty => f.write_str("field is empty, expected at least 1 directive"),
            Self::IncludeSubDomainsValue => {
                f.write_str("includeSubDomains has a value, expected none")
            }
            Self::InvalidMaxAge => {
                f.write_str("max-age is not a number, expected seconds in decimal digits")
            }
            Self::InvalidPin(error) => write!(f, "pin-sha256: {error}"),
            Self::InvalidReportUri => f.write_str("report-uri is not an absolute URI"),
            Self::MissingMaxAge => f.write_str("max-age is missing, expected a number of seconds"),
            Self::UnquotedPin { name } => {
                write!(f, "value of {name:?} is not quoted, expected double quotes")
            }
        }
    }
}

/// Prints the text of `Display`, since `main` prints an error that it returns by `Debug`.
impl fmt::Debug for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for HeaderError {}

/// The directives of a field, with the values of known ones as they were sent.
#[derive(Default)]
struct Directives {
    pins: Vec<SpkiFingerprint>,
    unknown_algorithms: Vec<String>,
    /// The outer `Option` is `None` without the directive, the inner one without a value.
    max_age: Option<Option<Vec<u8>>>,
    include_subdomains: Option<Option<Vec<u8>>>,
    report_uri: Option<Option<Vec<u8>>>,
    /// Pins (`sha256/...`), names of algorithms (`pin-...`) and names of unknown directives, no two
    /// of which collide. Hashed, because a hostile field may have thousands of them.
    seen: HashSet<String>,
}

impl Directives {
    fn parse(value: &[u8], syntax: HeaderSyntax) -> Result<Self, HeaderError> {
        let mut directives = Self::default();
        let mut tokenizer = Tokenizer::new(value, syntax);
        let mut next = tokenizer.next_directive()?;
        if next.is_none() {
            return Err(HeaderError::Empty);
        }
        while let Some(directive) = next {
            directives.add(directive)?;
            next = tokenizer.next_directive()?;
        }
        Ok(directives)
    }

    fn add(&mut self, directive: Directive) -> Result<(), HeaderError> {
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
            // 7469-2.1-g: unknown directives are ignored.
            _ => self.seen.insert(name.clone()),
        };
        // 7469-2.1-c, D-07: unknown directives must not be repeated either.
        if is_first {
            Ok(())
        } else {
            Err(HeaderError::DuplicateDirective { name })
        }
    }

    /// Returns the header without its max-age.
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
        // 7469-2.1.2-e: a number that is too large is no error and becomes the largest one.
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn prints_the_recognised_directives() {
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

    /// Mostly valid directives, and a few invalid ones.
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

    /// Checks both kinds of field in both syntaxes.
    fn check(field: &[u8]) -> Result<(), TestCaseError> {
        let kinds: [Parse; 2] = [PinHeader::parse, PinHeader::parse_report_only];
        for parse in kinds {
            let [strict, lax] =
                [HeaderSyntax::Rfc7469, HeaderSyntax::Browsers].map(|syntax| parse(field, syntax));
            if strict.is_ok() {
                prop_assert_eq!(
                    &strict,
                    &lax,
                    "a conforming field means the same in both syntaxes"
                );
            }
            let Ok(header) = lax else { continue };
            let printed = header.to_string();
            if printed.is_empty() {
                prop_assert!(header.is_report_only());
                continue;
            }
            // The printed form is strictly conforming.
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
        fn many_generated_fields_are_conforming(fields in vec(field(), 64)) {
            // Otherwise the round trip would only compare errors.
            let parse = |field: &&String| {
                PinHeader::parse_report_only(field.as_bytes(), HeaderSyntax::Rfc7469).is_ok()
            };
            prop_assert!(fields.iter().filter(parse).count() >= 4);
        }
    }
}
