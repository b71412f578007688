//! The text of a `report-uri` in, a [`ReportUri`] out.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fluent_uri::Uri;

/// Where a pin violation may be reported: an absolute URI (RFC 3986 section 4.3), without a
/// fragment. Any scheme is kept; only `http` and `https` can be reported to
/// ([RFC 7469 section 2.1.4]).
///
/// ```
/// use pinhold::policy::ReportUri;
///
/// let uri = ReportUri::parse("https://reports.example/pins?app=7#part")?;
/// assert_eq!(uri.as_str(), "https://reports.example/pins?app=7");
/// assert!(ReportUri::parse("/pins").is_err());
/// # Ok::<(), pinhold::policy::ReportUriError>(())
/// ```
///
/// [RFC 7469 section 2.1.4]: https://www.rfc-editor.org/rfc/rfc7469#section-2.1.4
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ReportUri(Arc<str>);

impl ReportUri {
    /// Parses an absolute URI; a fragment is dropped.
    ///
    /// # Errors
    ///
    /// [`ReportUriError`] if the text is no absolute URI.
    pub fn parse(text: &str) -> Result<Self, ReportUriError> {
        let error = || ReportUriError {
            text: text.chars().take(80).collect(),
        };
        let uri = Uri::parse(text).map_err(|_| error())?;
        // RFC 7230 section 2.7.1: an http or https URI without a host is to be rejected.
        let scheme = uri.scheme().as_str();
        let web = ["http", "https"]
            .iter()
            .any(|web| scheme.eq_ignore_ascii_case(web));
        let host = uri.authority().map(|authority| authority.host());
        if web && host.is_none_or(str::is_empty) {
            return Err(error());
        }
        Ok(Self(uri.strip_fragment().as_str().into()))
    }

    /// The URI as it was given, without its fragment.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReportUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ReportUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for ReportUri {
    type Err = ReportUriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for ReportUri {
    type Error = ReportUriError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ReportUri {
    type Error = ReportUriError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

/// A text that is no absolute URI. Holds its first 80 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportUriError {
    /// The first 80 characters of what was given.
    pub text: String,
}

impl fmt::Display for ReportUriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "report-uri {:?} is not an absolute URI", self.text)
    }
}

impl Error for ReportUriError {}

impl From<Infallible> for ReportUriError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_uris_only() {
        for (text, expected) in [
            ("https://example.com/r", Some("https://example.com/r")),
            (
                "http://[2001:db8::1]:80/?a#b",
                Some("http://[2001:db8::1]:80/?a"),
            ),
            ("ftp://example.com/r", Some("ftp://example.com/r")),
            ("mailto:pins@example.com", Some("mailto:pins@example.com")),
            (
                "https://me:pw@example.com/",
                Some("https://me:pw@example.com/"),
            ),
            ("", None),
            ("/r", None),
            ("//example.com/r", None),
            ("example.com", None),
            ("https:r", None),
            ("https:///r", None),
            ("https://exa mple.com/", None),
            ("https://example.com/%zz", None),
            ("https://ex\u{e4}mple.com/", None),
        ] {
            let parsed = ReportUri::parse(text).ok();
            assert_eq!(parsed.as_ref().map(ReportUri::as_str), expected, "{text}");
        }
    }
}
