//! The URI schemes of a connector.

use http::Uri;
use http::uri::Scheme;

use crate::policy::PlainHttp;

/// Which URIs connections are made to, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Schemes {
    AlwaysHttps,
    HttpsOnly,
    HttpsOrHttp(PlainHttp),
}

impl Schemes {
    /// Returns the URI to which the connection is made.
    pub(crate) fn apply(self, uri: Uri) -> Uri {
        if !matches!(self, Self::AlwaysHttps) || uri.scheme() != Some(&Scheme::HTTP) {
            return uri;
        }
        let mut parts = uri.clone().into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        // Never fails: the other parts are those of a URI with a scheme.
        Uri::from_parts(parts).unwrap_or(uri)
    }
}
