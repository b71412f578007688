//! Conversion of refusals into `rustls::Error`, and the search for a refusal in any error.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::{CertificateError, OtherError};

#[cfg(feature = "ct")]
use crate::ct::CtViolation;
#[cfg(feature = "hyper")]
use crate::tls::connection::{EndedBy, VerifiedConnection};
#[cfg(feature = "first-use")]
use crate::violation::KeyChange;
#[cfg(feature = "direct-trust")]
use crate::violation::UntrustedServer;
use crate::violation::{PinViolation, UnpinnedHost, UnverifiablePath};

impl PinViolation {
    pub(crate) fn into_rustls(self) -> rustls::Error {
        let text = format!("the pins of {} refuse the server", self.host());
        Refusal::into_rustls(self, text)
    }

    /// Finds the violation in an error of hyper, hyper-util, reqwest, tokio-rustls or rustls, at
    /// any depth of wrapping.
    ///
    /// hyper keeps only the text of an error in the body of an HTTP/2 response: use
    /// `ended_by` of the `VerifiedConnection` in the response's extensions there.
    ///
    /// Pass `&error` for the error of such a library, and `&*error` for a boxed error:
    ///
    /// ```
    /// use std::error::Error;
    ///
    /// use pinhold::PinViolation;
    ///
    /// fn show(error: Box<dyn Error>) {
    ///     match PinViolation::find(&*error) {
    ///         Some(violation) => eprintln!("{violation}"),
    ///         None => eprintln!("{error}"),
    ///     }
    /// }
    /// # show(std::fmt::Error.into());
    /// ```
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        find(error, &|error| match error.downcast_ref() {
            Some(violation) => Some(Self::clone(violation)),
            // HTTP/2 turns the error of a connection into text; the connection still has it.
            #[cfg(feature = "hyper")]
            None => match of_connection(error)? {
                EndedBy::Pins(violation) => Some(violation),
                EndedBy::Unpinned(_) => None,
            },
            #[cfg(not(feature = "hyper"))]
            None => None,
        })
    }
}

impl UnpinnedHost {
    pub(crate) fn into_rustls(self) -> rustls::Error {
        let text = format!("{} is not pinned", self.server_name().to_str());
        Refusal::into_rustls(self, text)
    }

    /// Finds an unpinned host in an error of hyper, hyper-util, reqwest, tokio-rustls or rustls, at
    /// any depth of wrapping.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        find(error, &|error| match error.downcast_ref() {
            Some(unpinned) => Some(Self::clone(unpinned)),
            #[cfg(feature = "hyper")]
            None => match of_connection(error)? {
                EndedBy::Pins(_) => None,
                EndedBy::Unpinned(unpinned) => Some(unpinned),
            },
            #[cfg(not(feature = "hyper"))]
            None => None,
        })
    }
}

impl UnverifiablePath {
    pub(crate) fn into_rustls(self) -> rustls::Error {
        let text = format!("no valid path found for {}", self.server_name().to_str());
        Refusal::into_rustls(self, text)
    }

    /// Finds an unverifiable path in an error of hyper, hyper-util, reqwest, tokio-rustls or
    /// rustls, at any depth of wrapping.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        find(error, &|error| error.downcast_ref().cloned())
    }
}

#[cfg(feature = "first-use")]
impl KeyChange {
    /// Finds a change of keys in an error of hyper, hyper-util, reqwest or tokio-rustls, at any depth of
    /// wrapping.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        find(error, &|error| error.downcast_ref().cloned())
    }
}

#[cfg(feature = "direct-trust")]
impl UntrustedServer {
    pub(crate) fn into_rustls(self) -> rustls::Error {
        let text = format!("{} is not trusted", self.server_name().to_str());
        Refusal::into_rustls(self, text)
    }

    /// Finds an untrusted server in an error of hyper, hyper-util, reqwest, tokio-rustls or rustls, at
    /// any depth of wrapping.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        find(error, &|error| error.downcast_ref().cloned())
    }
}

#[cfg(feature = "ct")]
impl CtViolation {
    pub(crate) fn into_rustls(self) -> rustls::Error {
        let name = self.server_name().to_str();
        let text = format!("the certificate of {name} is not logged as expected");
        Refusal::into_rustls(self, text)
    }

    /// Finds the violation in an error of hyper, hyper-util, reqwest, tokio-rustls or rustls, at any
    /// depth of wrapping.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        find(error, &|error| error.downcast_ref().cloned())
    }
}

/// An error of this crate inside a `rustls::Error`. quinn sends the text of that error to the
/// server, so `Display` prints nothing that the server does not know: neither pins nor times.
struct Refusal<E> {
    error: E,
    text: String,
}

impl<E: Error + Send + Sync + 'static> Refusal<E> {
    fn into_rustls(error: E, text: String) -> rustls::Error {
        CertificateError::Other(OtherError(Arc::new(Self { error, text }))).into()
    }
}

impl<E> fmt::Display for Refusal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E> fmt::Debug for Refusal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: Error + 'static> Error for Refusal<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Returns the first match, from the outermost error to the innermost.
pub(crate) fn find<T>(
    error: &(dyn Error + 'static),
    matches: &dyn Fn(&(dyn Error + 'static)) -> Option<T>,
) -> Option<T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = matches(error) {
            return Some(found);
        }
        // `rustls::Error` has no `source`.
        if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))) =
            error.downcast_ref()
        {
            return find(&**inner, matches);
        }
        // `io::Error::source` skips the error that it wraps, and returns that one's source.
        let inner = error.downcast_ref::<io::Error>();
        let inner = inner.and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find(inner, matches)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Returns the refusal that closed the connection over which a request of hyper-util's client
/// failed.
#[cfg(feature = "hyper")]
fn of_connection(error: &(dyn Error + 'static)) -> Option<EndedBy> {
    let error = error.downcast_ref::<hyper_util::client::legacy::Error>()?;
    let mut extras = http::Extensions::new();
    error.connect_info()?.get_extras(&mut extras);
    extras.get::<VerifiedConnection>()?.refused_by().cloned()
}

/// Returns whether a request failed before it was sent: its connection could not be made.
#[cfg(all(feature = "bundles", feature = "hyper"))]
pub(crate) fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        next = error.source();
    }
    false
}

/// Returns whether a request failed because the pins closed its connection, and not in the
/// handshake of a new one.
#[cfg(feature = "hyper")]
pub(crate) fn is_closed_by_pins(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return !error.is_connect() && PinViolation::find(error).is_some();
        }
        next = error.source();
    }
    false
}
