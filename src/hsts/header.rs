//! Parsing of the `Strict-Transport-Security` header field into [`StsHeader`].
//!
//! Syntax only ([RFC 6797 section 6.1]). Whether a field may be noted is decided by
//! [`Pinning::note_hsts`](crate::Pinning::note_hsts).
//!
//! [RFC 6797 section 6.1]: https://www.rfc-editor.org/rfc/rfc6797#section-6.1

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::policy::HeaderSyntax;
use crate::policy::header_tokens::{Directive, Tokenizer, UnexpectedByte};

/// A `Strict-Transport-Security` field ([RFC 6797 section 6.1]).
///
/// ```
/// use std::time::Duration;
///
/// use pinhold::hsts::StsHeader;
///
/// let header = StsHeader::parse(b"Max-Age = \"31536000\"; includeSubDomains;; preload")?;
/// assert_eq!(header.max_age(), Duration::from_secs(365 * 24 * 60 * 60));
/// assert!(header.includes_subdomains());
/// assert_eq!(header.to_string(), "max-age=31536000; includeSubDomains");
/// # Ok::<(), pinhold::hsts::StsHeaderError>(())
/// ```
///
/// [RFC 6797 section 6.1]: https://www.rfc-editor.org/rfc/rfc6797#section-6.1
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StsHeader {
    max_age: Duration,
    includes_subdomains: bool,
}

impl StsHeader {
    /// Parses the value of a field. Unknown directives, such as `preload`, are ignored.
    ///
    /// # Errors
    ///
    /// What makes the field invalid. Such a field is ignored as a whole (RFC 6797 section 6.1).
    pub fn parse(value: &[u8]) -> Result<Self, StsHeaderError> {
        // Accepts empty directives and white space around `=`, as RFC 6797 does.
        let mut tokenizer = Tokenizer::new(value, HeaderSyntax::Browsers);
        let mut names = Vec::new();
        let (mut max_age, mut includes_subdomains) = (None, false);
        while let Some(directive) = tokenizer.next_directive()? {
            let Directive { name, value } = directive;
            // 6797-6.1-c
            if names.contains(&name) {
                return Err(StsHeaderError::DuplicateDirective { name });
            }
            match (name.as_str(), value) {
                ("max-age", Some(value)) => max_age = Some(seconds(&value.bytes)?),
                ("max-age", None) => return Err(StsHeaderError::InvalidMaxAge),
                ("includesubdomains", None) => includes_subdomains = true,
                ("includesubdomains", Some(_)) => {
                    return Err(StsHeaderError::UnexpectedValue { name });
                }
                _ => {}
            }
            names.push(name);
            if names.len() > MAX_DIRECTIVES {
                return Err(StsHeaderError::TooManyDirectives);
            }
        }
        Ok(Self {
            max_age: max_age.ok_or(StsHeaderError::MissingMaxAge)?,
            includes_subdomains,
        })
    }

    /// Returns how long the host is a known HSTS host from the reception of the field on. With zero it
    /// ceases to be one.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        self.max_age
    }

    /// Returns whether the field applies to all names below the host, too.
    #[must_use]
    pub fn includes_subdomains(&self) -> bool {
        self.includes_subdomains
    }
}

/// Parses `1*DIGIT`. A number that is too large is the largest one.
fn seconds(value: &[u8]) -> Result<Duration, StsHeaderError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(StsHeaderError::InvalidMaxAge);
    }
    let digits = value.iter().map(|digit| u64::from(digit - b'0'));
    let seconds = digits.fold(0_u64, |all, digit| {
        all.saturating_mul(10).saturating_add(digit)
    });
    Ok(Duration::from_secs(seconds))
}

/// Prints the field without unknown directives.
impl fmt::Display for StsHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "max-age={}", self.max_age.as_secs())?;
        if self.includes_subdomains {
            f.write_str("; includeSubDomains")?;
        }
        Ok(())
    }
}

/// Why a `Strict-Transport-Security` field is invalid.
///
/// ```
/// use pinhold::hsts::{StsHeader, StsHeaderError};
///
/// let error = StsHeader::parse(b"includeSubDomains").unwrap_err();
/// assert_eq!(error, StsHeaderError::MissingMaxAge);
/// assert_eq!(error.to_string(), "no directive `max-age`");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StsHeaderError {
    /// A directive occurs twice.
    DuplicateDirective {
        /// Its name in lower case.
        name: String,
    },
    /// The value of `max-age` is not a number of seconds.
    InvalidMaxAge,
    /// There is no directive `max-age`.
    MissingMaxAge,
    /// The field has more than 64 directives. Three are known.
    TooManyDirectives,
    /// The field does not follow the grammar.
    UnexpectedByte {
        /// Position of the first byte that does not match, or the length of the field if it ends early.
        offset: usize,
    },
    /// A directive has a value that must have none.
    UnexpectedValue {
        /// Its name in lower case.
        name: String,
    },
}

impl fmt::Display for StsHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateDirective { name } => write!(f, "directive `{name}` occurs twice"),
            Self::InvalidMaxAge => f.write_str("`max-age` is not a number of seconds"),
            Self::MissingMaxAge => f.write_str("no directive `max-age`"),
            Self::TooManyDirectives => {
                write!(
                    f,
                    "more than {MAX_DIRECTIVES} directives, expected at most three"
                )
            }
            Self::UnexpectedByte { offset } => write!(f, "unexpected byte at position {offset}"),
            Self::UnexpectedValue { name } => write!(f, "directive `{name}` has a value"),
        }
    }
}

impl Error for StsHeaderError {}

impl From<UnexpectedByte> for StsHeaderError {
    fn from(UnexpectedByte { offset }: UnexpectedByte) -> Self {
        Self::UnexpectedByte { offset }
    }
}

/// Bounds the time to find duplicates in a field that a server chooses.
const MAX_DIRECTIVES: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(value: &str) -> Option<(u64, bool)> {
        let header = StsHeader::parse(value.as_bytes()).ok()?;
        Some((header.max_age().as_secs(), header.includes_subdomains()))
    }

    /// 6797-6.1-a, 6797-6.1-b
    #[test]
    fn directives_are_separated_by_semicolons_and_may_be_empty() {
        for value in [
            "max-age=10;includeSubDomains",
            "includeSubDomains;max-age=10",
            "max-age=10 ; includeSubDomains",
            ";;max-age=10;;includeSubDomains;;",
            "\t max-age\t=\t10 ;\tincludeSubDomains ; ",
            "max-age=\"10\"; includeSubDomains",
            "max-age=\"\\10\"; includeSubDomains",
        ] {
            assert_eq!(parsed(value), Some((10, true)), "{value}");
        }
        for value in [
            "max-age=10 includeSubDomains",
            "max-age=10, includeSubDomains",
            "max-age=10; =",
            "max-age=\"10",
        ] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }

    /// 6797-6.1-c
    #[test]
    fn a_directive_that_occurs_twice_makes_the_field_invalid() {
        for value in [
            "max-age=10; max-age=10",
            "max-age=10; includeSubDomains; INCLUDESUBDOMAINS",
            "max-age=10; other; other=1",
        ] {
            let error = StsHeader::parse(value.as_bytes()).unwrap_err();
            let is_duplicate = matches!(error, StsHeaderError::DuplicateDirective { .. });
            assert!(is_duplicate, "{value}: {error}");
        }
        let many = (0..65).map(|number| format!("d{number};"));
        let many = many.collect::<String>();
        assert_eq!(
            StsHeader::parse(many.as_bytes()),
            Err(StsHeaderError::TooManyDirectives)
        );
    }

    /// 6797-6.1-d
    #[test]
    fn directive_names_are_case_insensitive() {
        for value in [
            "MAX-AGE=10; INCLUDESUBDOMAINS",
            "Max-Age=10; includesubdomains",
        ] {
            assert_eq!(parsed(value), Some((10, true)), "{value}");
        }
    }

    /// 6797-6.1-e, 6797-6.1-f, 6797-6.1.2-a
    #[test]
    fn unknown_directives_are_ignored_and_invalid_values_are_not() {
        for value in [
            "max-age=10; preload",
            "x=\"a;b\\\"\"; max-age=10",
            "max-age=10; y = z",
        ] {
            assert_eq!(parsed(value), Some((10, false)), "{value}");
        }
        for value in [
            "max-age=10; includeSubDomains=1",
            "max-age=10; includeSubDomains=\"\"",
            "max-age=10; x=",
        ] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }

    /// 6797-6.1.1-a, 6797-6.1.1-b
    #[test]
    fn max_age_is_required_and_is_a_number_of_seconds() {
        for value in [
            "",
            ";",
            "includeSubDomains",
            "max-age",
            "max-age=",
            "max-age=\"\"",
            "max-age=-1",
            "max-age=1.5",
            "max-age=+1",
            "max-age='1'",
            "max-age=0x1",
            "max-age=\"1 0\"",
        ] {
            assert_eq!(parsed(value), None, "{value}");
        }
        assert_eq!(parsed("max-age=0"), Some((0, false)));
        assert_eq!(parsed("max-age=00010"), Some((10, false)));
        assert_eq!(
            parsed(&format!("max-age={}", "9".repeat(100))),
            Some((u64::MAX, false))
        );
    }

    proptest! {
        #[test]
        fn parse_then_print_then_parse_is_the_same(value in "(max-age|includeSubDomains|x| |;|=|[0-9]|\"|\\\\){0,12}") {
            if let Ok(header) = StsHeader::parse(value.as_bytes()) {
                prop_assert_eq!(StsHeader::parse(header.to_string().as_bytes()), Ok(header));
            }
        }

        #[test]
        fn no_bytes_make_parsing_panic(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = StsHeader::parse(&value);
        }
    }
}
