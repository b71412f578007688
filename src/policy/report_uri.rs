//! [`ReportUri`], the absolute URI of a `report-uri` directive.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::slice;
use std::str::FromStr;
use std::sync::Arc;

use iri_string::types::UriStr;

use crate::policy::text::write_with_causes;

/// Where pin violations are to be reported: an absolute URI (RFC 3986 section 4.3), which has no
/// fragment. Any scheme is accepted; reports are sent to `http` and `https` only
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
    /// Parses an absolute URI and drops its fragment.
    ///
    /// # Errors
    ///
    /// [`ReportUriError`] if the text is not an absolute URI, or an `http` or `https` URI without a
    /// host.
    pub fn parse(text: &str) -> Result<Self, ReportUriError> {
        let error = || ReportUriError {
            text: text.chars().take(80).collect(),
        };
        let uri = UriStr::new(text).map_err(|_| error())?;
        let scheme = uri.scheme_str();
        let mut web = ["http", "https"].into_iter();
        let is_web = web.any(|web| scheme.eq_ignore_ascii_case(web));
        let authority = uri.authority_components();
        // RFC 7230 section 2.7.1: an http or https URI without a host is invalid.
        if is_web && authority.is_none_or(|authority| authority.host().is_empty()) {
            return Err(error());
        }
        Ok(Self(uri.to_absolute().as_str().into()))
    }

    /// Returns the URI as it was given, without its fragment.
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

/// The endpoints of a policy. A copy of none or one, as nearly every policy has, does not allocate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum EndpointUris {
    #[default]
    None,
    One(ReportUri),
    Several(Arc<[ReportUri]>),
}

impl EndpointUris {
    pub(crate) fn as_slice(&self) -> &[ReportUri] {
        match self {
            Self::None => &[],
            Self::One(uri) => slice::from_ref(uri),
            Self::Several(uris) => uris,
        }
    }

    /// Returns these endpoints and another one, unless it is among them.
    pub(crate) fn with(self, uri: ReportUri) -> Self {
        match self.as_slice() {
            [] => Self::One(uri),
            known if known.contains(&uri) => self,
            known => Self::Several(known.iter().cloned().chain([uri]).collect()),
        }
    }
}

impl From<Option<ReportUri>> for EndpointUris {
    fn from(uri: Option<ReportUri>) -> Self {
        uri.map_or(Self::None, Self::One)
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

/// The error of a text that is not an absolute URI.
///
/// ```
/// use pinhold::policy::ReportUri;
///
/// let error = ReportUri::parse("/pins").unwrap_err();
/// assert_eq!(error.text, "/pins");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportUriError {
    /// The first 80 characters of the text.
    pub text: String,
}

impl fmt::Display for ReportUriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an absolute URI, expected one such as https://reports.example/pins",
            self.text
        )
    }
}

/// Prints the text of `Display`, since `main` prints an error that it returns by `Debug`.
impl fmt::Debug for ReportUriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
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
    fn only_absolute_uris_are_accepted() {
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

    #[test]
    fn every_form_of_rfc_3986_is_accepted() {
        for text in ACCEPTED {
            let parsed = ReportUri::parse(text);
            assert_eq!(parsed.as_ref().map(ReportUri::as_str), Ok(*text));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in REFUSED {
            assert!(ReportUri::parse(text).is_err(), "{text}");
        }
    }

    /// URIs that parsing accepts and does not change.
    const ACCEPTED: &[&str] = &[
        "HTTPS://EXAMPLE.COM",
        "https://example.com:",
        "https://example.com:0",
        "https://example.com:99999999999",
        "https://example.com?query",
        "https://example.com//a//b/../c",
        "https://example.com/a%2Fb?%20/?",
        "https://%65xample.com/",
        "https://a_b!$&'()*+,;=.example/",
        "https://user@example.com/",
        "https://@example.com/",
        "https://:@example.com/",
        "https://us%20er:p:w@example.com/",
        "https://192.0.2.1/",
        "https://192.0.2.256/",
        "https://[::]/",
        "https://[::1]",
        "https://[1::]:443/",
        "https://[1:2:3:4:5:6:7:8]/",
        "https://[1:2:3:4:5:6:7::]/",
        "https://[::2:3:4:5:6:7:8]/",
        "https://[1:2:3:4:5:6:192.0.2.1]/",
        "https://[::ffff:192.0.2.1]/",
        "https://[v1.x:y]/",
        "https://[VfF.a]/",
        "urn:example:pins",
        "a+b-c.1:",
        "x:/",
        "x://",
        "x:///path",
        "x://:80",
        "file:///srv/reports",
    ];

    /// Texts that parsing refuses.
    const REFUSED: &[&str] = &[
        "https:",
        "https://",
        "https://?query",
        "https://:443/",
        "https://user@/",
        "https://user@:443/",
        "HTTP:///r",
        "https://example.com:port/",
        "https://example.com:80:80/",
        "https://example.com:-1/",
        "https://a@b@example.com/",
        "https://us[er@example.com/",
        "https://example.com\\r",
        "https://example.com/%",
        "https://example.com/%4",
        "https://example.com/?%zz",
        "https://example.com/#%zz",
        "https://example.com/#a#b",
        "https://example.com/\u{e4}",
        "https://example.com/?\u{e4}",
        "https://example.com/#\u{e4}",
        "https://example.com/a b",
        "https://example.com/\t",
        "https://example.com/\"",
        "https://example.com/[",
        "https://example.com/^`{|}",
        " https://example.com/",
        "https://example.com/ ",
        "https://exam\nple.com/",
        "https://[]/",
        "https://[::1/",
        "https://::1/",
        "https://[::1]x/",
        "https://[::1]:x/",
        "https://[:::]/",
        "https://[1:2:3:4:5:6:7]/",
        "https://[1:2:3:4:5:6:7:8:9]/",
        "https://[1:2:3:4::5:6:7:8]/",
        "https://[1::2::3]/",
        "https://[12345::]/",
        "https://[::g]/",
        "https://[:1::]/",
        "https://[1:]/",
        "https://[::192.0.2.256]/",
        "https://[::192.0.2.01]/",
        "https://[::192.0.2]/",
        "https://[1:2:3:4:5:6:7:192.0.2.1]/",
        "https://[fe80::1%25eth0]/",
        "https://[v.x]/",
        "https://[v1.]/",
        "https://[v1]/",
        "https://[vg.x]/",
        "https://[v1.%20]/",
        "1http://example.com/",
        "+x://example.com/",
        "x_y://example.com/",
        "\u{e4}://example.com/",
        "://example.com/",
        ":",
        "#",
        "?",
    ];
}
