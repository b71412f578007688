//! A server that another verifier accepted, but whose path could not be proved: [`UnverifiablePath`].

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::policy::{AppliedPolicy, PinSource};

/// The wrapped verifier accepts a server, but no path from the certificates that it sent to the
/// anchors handed in could be proved, so nobody can say whether it holds a pinned key.
///
/// Not a [`PinViolation`](crate::PinViolation): there is no validated chain. The connection is
/// refused where pins are enforced or revocation lists are handed in, and where it would have to be
/// judged again as long as it lives,
/// as [`PinningConnector`](crate::PinningConnector) promises. See
/// [`PinningVerifierBuilder::with_inner_verifier`](crate::tls::PinningVerifierBuilder::with_inner_verifier).
///
/// ```
/// use pinhold::tls::UnverifiablePath;
///
/// let error = std::io::Error::other("connection reset");
/// assert!(UnverifiablePath::find(&error).is_none());
/// ```
#[derive(Clone)]
pub struct UnverifiablePath(Arc<Facts>);

struct Facts {
    name: ServerName<'static>,
    policy: Option<AppliedPolicy>,
    served: Vec<CertificateDer<'static>>,
    reason: rustls::Error,
}

impl UnverifiablePath {
    pub(crate) fn new(
        name: &ServerName<'_>,
        policy: Option<&AppliedPolicy>,
        served: Vec<CertificateDer<'static>>,
        reason: rustls::Error,
    ) -> Self {
        Self(Arc::new(Facts {
            name: name.to_owned(),
            policy: policy.cloned(),
            served,
            reason,
        }))
    }

    /// The name that was asked for.
    #[must_use]
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.0.name
    }

    /// The policy that could not be judged, an enforced one if there is one; `None` for a host
    /// without pins.
    #[must_use]
    pub fn policy(&self) -> Option<&AppliedPolicy> {
        self.0.policy.as_ref()
    }

    /// The certificates that the server sent, leaf first.
    #[must_use]
    pub fn served(&self) -> &[CertificateDer<'static>] {
        &self.0.served
    }

    /// Why no path is valid, as rustls's own verifier says it of the same anchors.
    #[must_use]
    pub fn reason(&self) -> &rustls::Error {
        &self.0.reason
    }

    fn advice(&self) -> &'static str {
        match &self.0.reason {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                "hand in the root that the wrapped verifier trusts (`TrustAnchors::native`, \
                 `with_built_in`, or `with_user_added` for a proxy's); or let the server send its \
                 intermediate certificates, which the platform may have fetched by itself."
            }
            _ => {
                "the wrapped verifier overlooks what is wrong with the certificate: see the reason \
                 above."
            }
        }
    }
}

impl fmt::Display for UnverifiablePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.name.to_str();
        writeln!(f, "no path could be proved for {name}: {}", self.0.reason)?;
        match self.policy() {
            Some(policy) => {
                let source = match policy.source {
                    PinSource::Noted => "noted from its Public-Key-Pins header",
                    PinSource::Static => "set by the application",
                };
                writeln!(
                    f,
                    "  the wrapped verifier accepts it, but its pins, {source} for {}, can't be \
                     checked",
                    policy.noted_hostname
                )?;
            }
            None => writeln!(
                f,
                "  the wrapped verifier accepts it, but revocation lists, and pins that may come, \
                 can't be checked"
            )?,
        }
        write!(f, "  what to do: {}", self.advice())
    }
}

impl fmt::Debug for UnverifiablePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiablePath")
            .field("server_name", &self.0.name)
            .field("policy", &self.0.policy)
            .field("reason", &self.0.reason)
            .finish_non_exhaustive()
    }
}

impl Error for UnverifiablePath {}
