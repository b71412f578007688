//! Why a client can't be built: [`BuildError`].

use std::error::Error;
use std::fmt;

use rustls::client::VerifierBuilderError;

use crate::pinning::static_pins::Conflict;
use crate::policy::{Host, HostError, ReportUri, ReportUriError};
use crate::violation::EndpointError;

/// Why a [`Pinning`](crate::Pinning), or what is built from it, can't be built.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// A TLS configuration together with a setting that it already contains.
    ConflictingTlsSettings {
        /// The method of the builder that sets it, such as `with_anchors`.
        settings: &'static str,
    },
    /// Two static policies for one host.
    DuplicateHost {
        /// The host.
        host: Host,
    },
    /// The TLS configuration asks for early data, which would leave before any pin is checked.
    EarlyData,
    /// An exemption from a policy that does not cover the name, or of a name that is itself pinned.
    Exemption {
        /// The host of the policy.
        host: Host,
        /// The name that was to be exempt.
        exempt: Host,
    },
    /// A name that is no host.
    Host(HostError),
    /// No crypto provider: none handed in, none installed, none enabled by a feature.
    NoCryptoProvider,
    /// No trust anchor: every chain would be refused.
    NoTrustAnchors,
    /// An endpoint of the application's that no report can be sent to.
    ReportEndpoint {
        /// The endpoint.
        uri: ReportUri,
        /// What is wrong with it.
        problem: EndpointError,
    },
    /// An endpoint of the application's that is no URI.
    ReportUri(ReportUriError),
    /// A certificate revocation list that can't be read.
    RevocationList(VerifierBuilderError),
    /// rustls refused the configuration.
    Tls(rustls::Error),
    /// The features `aws-lc-rs` and `ring` are both enabled, and nobody chose.
    UndecidedCryptoProvider,
}

impl From<Conflict> for BuildError {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::DuplicateHost { host } => Self::DuplicateHost { host },
            Conflict::Exemption { host, exempt } => Self::Exemption { host, exempt },
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConflictingTlsSettings { settings } => write!(
                f,
                "the TLS configuration and {settings} are both given, expected one of them"
            ),
            Self::DuplicateHost { host } => {
                write!(
                    f,
                    "{host} has two static policies, expected one with all its pins"
                )
            }
            Self::EarlyData => f.write_str(
                "the TLS configuration enables early data, which is sent before pins are checked",
            ),
            Self::Exemption { host, exempt } => write!(
                f,
                "{exempt} can't be exempt from the policy of {host}, expected a subdomain that it \
                 covers and that has no policy of its own"
            ),
            Self::Host(error) => error.fmt(f),
            Self::NoCryptoProvider => f.write_str(
                "no crypto provider, expected one handed in (`with_provider`), installed as the \
                 process default, or enabled by the feature `aws-lc-rs` or `ring`",
            ),
            Self::NoTrustAnchors => f.write_str("no trust anchor, expected at least one"),
            Self::ReportEndpoint { uri, problem } => write!(f, "report endpoint {uri}: {problem}"),
            Self::ReportUri(error) => error.fmt(f),
            Self::RevocationList(error) => write!(f, "revocation list: {error}"),
            Self::Tls(error) => write!(f, "TLS configuration: {error}"),
            Self::UndecidedCryptoProvider => f.write_str(
                "two crypto providers are enabled, expected one handed in (`with_provider`) or \
                 installed as the process default",
            ),
        }
    }
}

impl Error for BuildError {}
