//! [`UnverifiablePath`], the refusal of a server that the inner verifier accepted, but for which no
//! path to the trust anchors could be validated.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::policy::AppliedPolicy;
use crate::policy::text::write_with_causes;

/// The refusal of a server that the inner verifier accepts, although no path from the certificates
/// that the server sent to the trust anchors could be validated. It is unknown whether the path
/// that the inner verifier accepts contains a pinned key.
///
/// It is not a [`PinViolation`](crate::PinViolation), since there is no validated chain. The
/// connection is refused if pins are enforced or revocation lists are configured.
/// [`PinningConnector`](crate::PinningConnector) and the clients of reqwest always refuse it, since
/// they check an open connection again when pins change, which requires a chain. See
/// [`with_inner_verifier`](crate::tls::PinningVerifierBuilder::with_inner_verifier).
///
/// `Display` and `Debug` print the reason, the policy that could not be checked, and what to do.
/// Cheap to clone.
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

    /// Returns the requested name.
    #[must_use]
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.0.name
    }

    /// Returns the policy that could not be checked; of several, an enforced one. Returns `None`
    /// for a host without pins.
    #[must_use]
    pub fn policy(&self) -> Option<&AppliedPolicy> {
        self.0.policy.as_ref()
    }

    /// Returns the certificates that the server sent, leaf first.
    #[must_use]
    pub fn served(&self) -> &[CertificateDer<'static>] {
        &self.0.served
    }

    /// Returns why no path is valid: the error of rustls's own verifier for the same anchors.
    #[must_use]
    pub fn reason(&self) -> &rustls::Error {
        &self.0.reason
    }

    fn remedy(&self) -> &'static str {
        match &self.0.reason {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                "have the server send its intermediate certificates, which the platform may have \
                 fetched, or connect without the proxy whose root only the platform trusts"
            }
            _ => {
                "have the server's operator replace the certificate, which rustls rejects and the \
                 inner verifier accepts"
            }
        }
    }
}

impl fmt::Display for UnverifiablePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.name.to_str();
        writeln!(f, "no valid path found for {name}: {}", self.0.reason)?;
        match self.policy() {
            Some(policy) => writeln!(
                f,
                "  the inner verifier accepts the server, but the pins, {}, can't be checked",
                policy.provenance()
            )?,
            None => writeln!(
                f,
                "  the inner verifier accepts the server, but neither revocation lists nor refused \
                 keys nor pins that are added later can be checked"
            )?,
        }
        write!(f, "  what to do: {}", self.remedy())
    }
}

impl fmt::Debug for UnverifiablePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for UnverifiablePath {}
