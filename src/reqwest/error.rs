//! Errors of [`NotingClient`](crate::reqwest::NotingClient): [`ClientBuildError`] and
//! [`RequestError`].

use std::error::Error;
use std::fmt;

use http::header::HeaderName;

use crate::pinning::BuildError;
use crate::policy::{Host, HostError, text};
use crate::reqwest::redirect::RedirectError;
use crate::violation::UnpinnedHost;

/// The reason why [`NotingClientBuilder::build`](crate::reqwest::NotingClientBuilder::build)
/// failed.
///
/// `source()` leads to the cause. `Debug` prints the error with all its causes.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::reqwest::{ClientBuildError, NotingClient};
///
/// let pinning = Pinning::builder().build()?;
/// let error = NotingClient::builder(pinning).build().unwrap_err();
/// assert!(matches!(error, ClientBuildError::Pinning(_)), "without trust anchors");
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[non_exhaustive]
pub enum ClientBuildError {
    /// A default header of reqwest that contains credentials, which every redirect would send to
    /// its target. Add it to requests, or use
    /// [`redirects_by_reqwest`](crate::reqwest::NotingClientBuilder::redirects_by_reqwest).
    DefaultCredentials {
        /// The header's name.
        name: HeaderName,
    },
    /// A setting of reqwest that has no effect on a client with its own TLS configuration. Change
    /// the configuration by [`with_verifier`](crate::reqwest::NotingClientBuilder::with_verifier).
    IgnoredSetting {
        /// The method of `reqwest::ClientBuilder`.
        setting: &'static str,
    },
    /// [`https_or_http`](crate::reqwest::NotingClientBuilder::https_or_http) and
    /// [`redirects_by_reqwest`](crate::reqwest::NotingClientBuilder::redirects_by_reqwest) are both
    /// set: redirects would be followed without a check of plain HTTP.
    PlainRedirects,
    /// The TLS configuration can't be built.
    Pinning(BuildError),
    /// reqwest refused another setting.
    Reqwest(::reqwest::Error),
    /// This version of reqwest does not show its settings as this crate expects, so that those
    /// which leak credentials could not be refused.
    UncheckedSettings,
}

impl fmt::Display for ClientBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultCredentials { name } => write!(
                f,
                "{name} is a default header, which a redirect would send to any host; expected it \
                 in requests"
            ),
            Self::IgnoredSetting { setting } => write!(
                f,
                "{setting} has no effect on a client with pins, expected it in the TLS \
                 configuration (`with_verifier`)"
            ),
            Self::PlainRedirects => f.write_str(
                "`https_or_http` and `redirects_by_reqwest` are both set, expected one of them: \
                 reqwest would follow redirects without a check of plain HTTP",
            ),
            Self::Pinning(_) => f.write_str("the TLS configuration can't be built"),
            Self::Reqwest(_) => f.write_str("reqwest refused a setting"),
            Self::UncheckedSettings => f.write_str(
                "this version of reqwest does not show its settings, expected reqwest 0.13.5 or a \
                 version of pinhold for this one",
            ),
        }
    }
}

impl fmt::Debug for ClientBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write_with_causes(self, f)
    }
}

impl Error for ClientBuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Pinning(error) => Some(error),
            Self::Reqwest(error) => Some(error),
            Self::DefaultCredentials { .. }
            | Self::IgnoredSetting { .. }
            | Self::PlainRedirects
            | Self::UncheckedSettings => None,
        }
    }
}

impl From<BuildError> for ClientBuildError {
    fn from(error: BuildError) -> Self {
        Self::Pinning(error)
    }
}

impl From<::reqwest::Error> for ClientBuildError {
    fn from(error: ::reqwest::Error) -> Self {
        Self::Reqwest(error)
    }
}

/// The reason why [`NotingClient`](crate::reqwest::NotingClient) returned no response.
///
/// `source()` leads to the cause; [`PinViolation::find`](crate::PinViolation::find) finds a pin
/// violation among the causes. `Debug` prints the error with all its causes.
///
/// ```
/// use pinhold::PinViolation;
/// use pinhold::reqwest::RequestError;
///
/// fn advice(error: &RequestError) -> String {
///     match (PinViolation::find(error), error) {
///         (Some(violation), _) => format!("refused by pins:\n{violation}"),
///         (None, RequestError::PlainHttp { host }) => format!("use https for {host}"),
///         (None, _) => error.to_string(),
///     }
/// }
/// # let host = "example.com".parse()?;
/// # assert_eq!(advice(&RequestError::PlainHttp { host }), "use https for example.com");
/// # Ok::<(), pinhold::policy::HostError>(())
/// ```
#[non_exhaustive]
pub enum RequestError {
    /// A plain `http://` URL whose host is not a valid name, so that its pins can't be looked up.
    Host(HostError),
    /// A plain `http://` URL of a known pinned host.
    PlainHttp {
        /// The pinned host.
        host: Host,
    },
    /// The inner clients of reqwest had to be replaced, because the pins refuse a chain that they
    /// connected with, and could not be built again: a closure of
    /// [`configure`](crate::reqwest::NotingClientBuilder::configure) no longer returns the same
    /// settings. Each further request tries it again.
    Rebuild(ClientBuildError),
    /// A redirect that must not be followed.
    Redirect(RedirectError),
    /// An error of reqwest, for example because the pins refused the connection.
    Reqwest(::reqwest::Error),
    /// The host of the URL is not pinned, and the application refuses such hosts.
    Unpinned(UnpinnedHost),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(_) => f.write_str("the host of the URL is not a valid name"),
            Self::PlainHttp { host } => write!(
                f,
                "http to the known pinned host {host}, where pins can't be checked; expected https"
            ),
            Self::Rebuild(_) => {
                f.write_str("the client can't be built again after a change of pins")
            }
            Self::Redirect(_) => f.write_str("a redirect was not followed"),
            Self::Reqwest(_) => f.write_str("the request failed"),
            Self::Unpinned(host) => write!(f, "{} is not pinned", host.server_name().to_str()),
        }
    }
}

impl fmt::Debug for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write_with_causes(self, f)
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Host(error) => Some(error),
            Self::PlainHttp { .. } => None,
            Self::Rebuild(error) => Some(error),
            Self::Redirect(error) => Some(error),
            Self::Reqwest(error) => Some(error),
            Self::Unpinned(host) => Some(host),
        }
    }
}

impl From<RedirectError> for RequestError {
    fn from(error: RedirectError) -> Self {
        Self::Redirect(error)
    }
}

impl From<::reqwest::Error> for RequestError {
    fn from(error: ::reqwest::Error) -> Self {
        Self::Reqwest(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_the_causes() {
        let error = ClientBuildError::from(BuildError::ConflictingTlsSettings {
            setting: "with_anchors",
        });
        assert_eq!(
            format!("{error:?}"),
            "the TLS configuration can't be built\ncaused by: a TLS configuration and `with_anchors` \
             are both given, expected one of them: the configuration has anchors and provider \
             already"
        );
        let error = RequestError::from(RedirectError::Scheme {
            url: "ftp://example.com/".parse().unwrap(),
        });
        assert_eq!(
            format!("{error:?}"),
            "a redirect was not followed\ncaused by: redirect to ftp://example.com/, expected https"
        );
    }
}
