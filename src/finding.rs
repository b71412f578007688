//! Any error in, the [`PinViolation`] in it out.

use std::error::Error;
use std::io;

use rustls::{CertificateError, OtherError};

#[cfg(feature = "hyper")]
use crate::connection::VerifiedConnection;
use crate::violation::PinViolation;

impl PinViolation {
    /// Finds the violation in an error of hyper, hyper-util, tokio-rustls or rustls, however often
    /// it was wrapped.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(violation) = error.downcast_ref::<Self>() {
                return Some(violation.clone());
            }
            // `rustls::Error` has no `source`.
            if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(
                inner,
            )))) = error.downcast_ref()
            {
                return Self::find(&**inner);
            }
            // `io::Error::source` passes over the very error that it wraps.
            if let Some(inner) = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                && let Some(violation) = Self::find(inner)
            {
                return Some(violation);
            }
            // HTTP/2 flattens the error of a connection to text; the connection knows better.
            #[cfg(feature = "hyper")]
            if let Some(violation) = of_connection(error) {
                return Some(violation);
            }
            next = error.source();
        }
        None
    }
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
