//! [`ExpectCt`], the obsolete header of RFC 9163.

use std::error::Error;
use std::fmt;

use crate::policy::{ReportUri, ReportUriError};

/// The value of an `Expect-CT` header field ([RFC 9163]).
///
/// Obsolete: browsers enforce Certificate Transparency for all hosts since 2018, and have removed the
/// header. It is read to show that a host requests reports of connections that don't comply. Nothing is
/// stored, and nothing is enforced by it.
///
/// ```
/// use pinhold::ct::ExpectCt;
///
/// let field = ExpectCt::parse(b"max-age=86400, enforce")?;
/// assert_eq!(field.max_age, 86400);
/// assert!(field.enforce);
/// # Ok::<(), pinhold::ct::ExpectCtError>(())
/// ```
///
/// [RFC 9163]: https://www.rfc-editor.org/rfc/rfc9163
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpectCt {
    /// For how many seconds the host would be known.
    pub max_age: u64,
    /// Whether the header requests enforcement, which this crate ignores.
    pub enforce: bool,
    /// Where the host wants reports.
    pub report_uri: Option<ReportUri>,
}

impl ExpectCt {
    /// Parses the value of a field. Unknown directives are ignored.
    ///
    /// # Errors
    ///
    /// An [`ExpectCtError`] for the first directive that is malformed, or that is missing.
    pub fn parse(value: &[u8]) -> Result<Self, ExpectCtError> {
        let text = str::from_utf8(value).map_err(|_| ExpectCtError::Syntax)?;
        let (mut max_age, mut enforce, mut report_uri) = (None, false, None);
        for directive in directives(text)? {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(unquote(value.trim_start())?)),
                None => (directive, None),
            };
            match name.to_ascii_lowercase().as_str() {
                "max-age" if max_age.is_none() => {
                    let digits = value.filter(|value| value.bytes().all(|it| it.is_ascii_digit()));
                    let age = digits.filter(|digits| !digits.is_empty());
                    let age = age.ok_or(ExpectCtError::MaxAge)?;
                    max_age = Some(age.parse().unwrap_or(u64::MAX));
                }
                "enforce" if !enforce && value.is_none() => enforce = true,
                "report-uri" if report_uri.is_none() => {
                    let uri = ReportUri::parse(value.unwrap_or_default());
                    report_uri = Some(uri.map_err(ExpectCtError::ReportUri)?);
                }
                "max-age" | "enforce" | "report-uri" => return Err(ExpectCtError::Syntax),
                _ => {}
            }
        }
        Ok(Self {
            max_age: max_age.ok_or(ExpectCtError::MaxAge)?,
            enforce,
            report_uri,
        })
    }
}

/// Returns the directives between commas, except those in a quoted string.
fn directives(text: &str) -> Result<Vec<&str>, ExpectCtError> {
    let mut is_quoted = false;
    let parts = text.split(|char| {
        is_quoted ^= char == '"';
        char == ',' && !is_quoted
    });
    let parts = parts.map(|part| part.trim_matches([' ', '\t']));
    let parts = parts.filter(|part| !part.is_empty()).collect();
    if is_quoted {
        return Err(ExpectCtError::Syntax);
    }
    Ok(parts)
}

/// Returns the contents of a quoted string, or a token as it is.
fn unquote(value: &str) -> Result<&str, ExpectCtError> {
    let Some(rest) = value.strip_prefix('"') else {
        return Ok(value);
    };
    let contents = rest
        .strip_suffix('"')
        .filter(|it| !it.contains(['"', '\\']));
    contents.ok_or(ExpectCtError::Syntax)
}

/// The reason why a value is not one of `Expect-CT`.
///
/// ```
/// use pinhold::ct::{ExpectCt, ExpectCtError};
///
/// assert_eq!(ExpectCt::parse(b"enforce"), Err(ExpectCtError::MaxAge));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpectCtError {
    /// `max-age` is missing or not a number.
    MaxAge,
    /// `report-uri` is not the URI of an endpoint.
    ReportUri(ReportUriError),
    /// A directive is malformed, or is there twice.
    Syntax,
}

impl fmt::Display for ExpectCtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxAge => "Expect-CT without a valid max-age, expected seconds",
            Self::ReportUri(_) => "the report-uri of Expect-CT is not valid",
            Self::Syntax => "Expect-CT is malformed, expected each directive once",
        })
    }
}

impl Error for ExpectCtError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ReportUri(error) => Some(error),
            Self::MaxAge | Self::Syntax => None,
        }
    }
}
