//! [`UntrustedServer`], the refusal of a server whose certificate or raw public key is none of those
//! that the application trusts directly.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::ServerName;

use crate::policy::SpkiFingerprint;
use crate::policy::text::write_with_causes;

/// The refusal of a server that has another certificate or raw public key than those that the
/// application trusts without certification authorities (feature `direct-trust`).
///
/// It is not a [`PinViolation`](crate::PinViolation), since there is no valid chain. Whether a
/// certification authority would accept the server does not matter. A trusted certificate that has
/// expired, or that is not valid for the name, is refused with rustls's own
/// [`CertificateError`](rustls::CertificateError).
///
/// `Display` and `Debug` print the key that was seen, those that were expected, the likely cause, and
/// what to do. Cheap to clone.
///
/// ```
/// use pinhold::tls::UntrustedServer;
///
/// let error = std::io::Error::other("connection reset");
/// assert!(UntrustedServer::find(&error).is_none());
/// ```
#[derive(Clone)]
pub struct UntrustedServer(Arc<Facts>);

struct Facts {
    name: ServerName<'static>,
    trusted: Trusted,
    expected: Vec<SpkiFingerprint>,
    seen: Option<SpkiFingerprint>,
}

/// What the application trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trusted {
    Certificates,
    RawKeys,
}

impl UntrustedServer {
    pub(crate) fn new(
        name: &ServerName<'_>,
        trusted: Trusted,
        expected: Vec<SpkiFingerprint>,
        seen: Option<SpkiFingerprint>,
    ) -> Self {
        Self(Arc::new(Facts {
            name: name.to_owned(),
            trusted,
            expected,
            seen,
        }))
    }

    /// Returns the requested name.
    #[must_use]
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.0.name
    }

    /// Returns the key of each trusted certificate, or the trusted raw public keys of the name, which
    /// may be none.
    #[must_use]
    pub fn expected(&self) -> &[SpkiFingerprint] {
        &self.0.expected
    }

    /// Returns the key that the server sent; `None` if it can't be read. The server has not proved
    /// that it has the private key.
    #[must_use]
    pub fn seen(&self) -> Option<SpkiFingerprint> {
        self.0.seen
    }

    /// Returns whether the server sent another certificate of a trusted key.
    fn is_same_key(&self) -> bool {
        self.0
            .seen
            .is_some_and(|key| self.0.expected.contains(&key))
    }

    fn cause(&self) -> &'static str {
        match self.0.trusted {
            Trusted::RawKeys if self.0.expected.is_empty() => {
                "no key is configured for this name, as with a URL or redirect to another server"
            }
            Trusted::Certificates if self.is_same_key() => {
                "the key is that of a trusted certificate, so the certificate was probably renewed \
                 with the same key"
            }
            Trusted::Certificates => {
                "the certificate was renewed with another key, or the connection is intercepted; \
                 nothing shows which"
            }
            Trusted::RawKeys => {
                "the server has a new key, or the connection is intercepted; nothing shows which"
            }
        }
    }
}

impl fmt::Display for UntrustedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.0;
        let (what, of) = match facts.trusted {
            Trusted::Certificates => ("certificate", "the certificates with the keys"),
            Trusted::RawKeys => ("raw public key", "the keys"),
        };
        let name = facts.name.to_str();
        writeln!(
            f,
            "the {what} of {name} is none that the application trusts"
        )?;
        match facts.seen {
            Some(key) => writeln!(f, "  seen: {key}")?,
            None => writeln!(f, "  seen: no key that can be read")?,
        }
        if !facts.expected.is_empty() {
            writeln!(f, "  expected one of {of}:")?;
        }
        for key in &facts.expected {
            writeln!(f, "    {key}")?;
        }
        writeln!(f, "  likely cause: {}", self.cause())?;
        write!(
            f,
            "  what to do: compare the {what} with that of the server's operator over another \
             channel; if the server changed it, update the application"
        )
    }
}

impl fmt::Debug for UntrustedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for UntrustedServer {}
