//! Any error in, the [`PinViolation`] or [`UnverifiablePath`] in it out.

use std::error::Error;
use std::sync::Arc;
use std::{fmt, io};

use rustls::{CertificateError, OtherError};

#[cfg(feature = "hyper")]
use crate::tls::connection::VerifiedConnection;
use crate::violation::{PinViolation, UnverifiablePath};

impl PinViolation {
    pub(crate) fn into_rustls(self) -> rustls::Error {
        let said = format!("the pins of {} refused it", self.host());
        Refusal::of(self, said)
    }

    /// Finds the violation in an error of hyper, hyper-util, tokio-rustls or rustls, however often
    /// it was wrapped. Of the body of a response HTTP/2 keeps text alone: ask
    /// `VerifiedConnection::ended_by`, which is in the response's extensions.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        find(error, &|error| match error.downcast_ref() {
            Some(violation) => Some(Self::clone(violation)),
            // HTTP/2 flattens the error of a connection to text; the connection knows better.
            #[cfg(feature = "hyper")]
            None => of_connection(error),
            #[cfg(not(feature = "hyper"))]
            None => None,
        })
    }
}

impl UnverifiablePath {
    pub(crate) fn into_rustls(self) -> rustls::Error {
        let said = format!(
            "no path could be proved for {}",
            self.server_name().to_str()
        );
        Refusal::of(self, said)
    }

    /// Finds it in an error of hyper, hyper-util, tokio-rustls or rustls, however often it was
    /// wrapped.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        find(error, &|error| error.downcast_ref().cloned())
    }
}

/// An error of ours on its way through rustls. quinn prints the error that it gets and sends the
/// text to the server, so it says nothing that the server does not know: no pin, and no time.
pub(crate) struct Refusal<E> {
    error: E,
    said: String,
}

impl<E: Error + Send + Sync + 'static> Refusal<E> {
    pub(crate) fn of(error: E, said: String) -> rustls::Error {
        CertificateError::Other(OtherError(Arc::new(Self { error, said }))).into()
    }
}

impl<E> fmt::Display for Refusal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
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

/// The first that is found from the outside to the inside.
fn find<T>(
    error: &(dyn Error + 'static),
    look_at: &dyn Fn(&(dyn Error + 'static)) -> Option<T>,
) -> Option<T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = look_at(error) {
            return Some(found);
        }
        // `rustls::Error` has no `source`.
        if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))) =
            error.downcast_ref()
        {
            return find(&**inner, look_at);
        }
        // `io::Error::source` passes over the very error that it wraps.
        let inner = error.downcast_ref::<io::Error>();
        let inner = inner.and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find(inner, look_at)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What ended the connection over which a request of hyper-util's client failed.
#[cfg(feature = "hyper")]
fn of_connection(error: &(dyn Error + 'static)) -> Option<PinViolation> {
    let error = error.downcast_ref::<hyper_util::client::legacy::Error>()?;
    let mut extras = http::Extensions::new();
    error.connect_info()?.get_extras(&mut extras);
    extras.get::<VerifiedConnection>()?.ended_by().cloned()
}

/// Whether a request failed because the pins ended its connection, not in the handshake of a new
/// one.
#[cfg(feature = "hyper")]
pub(crate) fn has_ended(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return !error.is_connect() && PinViolation::find(error).is_some();
        }
        next = error.source();
    }
    false
}
