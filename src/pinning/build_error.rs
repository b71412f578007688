//! [`BuildError`], the error of building a [`Pinning`](crate::Pinning) or a client.

use std::error::Error;
use std::fmt;

use rustls::client::VerifierBuilderError;

#[cfg(feature = "bundles")]
use crate::bundles::{BundleError, RootError};
use crate::policy::text::write_with_causes;
use crate::policy::{Host, HostError, ParseFingerprintError, ReportUri, ReportUriError};
use crate::violation::EndpointError;

/// The reason why a [`Pinning`](crate::Pinning), or a client that uses one, can't be built.
///
/// `Display` and `Debug` print what was given, what was expected, and what to do.
///
/// ```
/// use pinhold::{BuildError, Pinning, TrustAnchors};
///
/// let pinning = Pinning::builder().build()?;
/// let error = pinning.client_config(TrustAnchors::new()).unwrap_err();
/// # #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
/// assert!(matches!(error, BuildError::NoTrustAnchors));
/// # Ok::<(), BuildError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum BuildError {
    /// The version of the application is empty, longer than 64 characters, or has characters that it
    /// may not have, see [`HealthOptions::new`](crate::health::HealthOptions::new).
    #[cfg(feature = "health")]
    AppVersion {
        /// The text.
        app_version: String,
    },
    /// The pin bundle that the application contains is refused.
    #[cfg(feature = "bundles")]
    Bundle(BundleError),
    /// A TLS configuration is given together with a setting that it contains already.
    ConflictingTlsSettings {
        /// The name of the builder's method for the other setting.
        setting: &'static str,
    },
    /// One host has two static policies with the same scope.
    DuplicateHost {
        /// The host.
        host: Host,
    },
    /// The TLS configuration enables early data, which is sent before any pin is checked.
    EarlyData,
    /// The policy does not cover the exempt name, or the exemption has no effect, since policies of
    /// the name itself cover it and its subdomains.
    Exemption {
        /// The host of the policy.
        host: Host,
        /// The exempt name.
        exempt: Host,
    },
    /// A [fixed](crate::PinPolicy::fixed) policy has no backup pin, and no bundle could repair it.
    #[cfg(feature = "bundles")]
    FixedWithoutBackup {
        /// The host.
        host: Host,
    },
    /// A name is not a host.
    Host(HostError),
    /// A host has policies of a pin file and others that were set by
    /// [`static_pins`](crate::PinningBuilder::static_pins).
    HostInPinFile {
        /// The host.
        host: Host,
    },
    /// There is no crypto provider: none was given or installed, and no feature enables one.
    NoCryptoProvider,
    /// The [`Pinning`](crate::Pinning) that an updater is for has no
    /// [bundles](crate::PinningBuilder::bundles).
    #[cfg(feature = "bundles")]
    NoBundles,
    /// The crypto provider can't verify Ed25519, by which pin bundles are signed.
    #[cfg(feature = "bundles")]
    NoEd25519,
    /// An updater of pin bundles has no URL.
    #[cfg(feature = "bundles")]
    NoUpdateUrl,
    /// Neither a certificate nor a raw public key of a server is given, so every server would be
    /// refused.
    #[cfg(feature = "direct-trust")]
    NoDirectTrust,
    /// There is no trust anchor, so every chain would be refused.
    NoTrustAnchors,
    /// A verifier was built with other pins than the client that uses it. Resumed sessions would be
    /// checked by the pins of the verifier only.
    OtherPins,
    /// A server certificate that is to be trusted itself can't be parsed.
    #[cfg(feature = "direct-trust")]
    OwnCertificate {
        /// The position of the certificate among those given, counted from 0.
        index: usize,
        /// Why it can't be parsed.
        reason: rustls::Error,
    },
    /// The root of trust for pins can't be used.
    #[cfg(feature = "bundles")]
    PinRoot(RootError),
    /// A refused key can't be parsed.
    RefusedKey(ParseFingerprintError),
    /// An endpoint of the application can't receive reports.
    ReportEndpoint {
        /// The endpoint.
        uri: ReportUri,
        /// The rule that the endpoint violates.
        reason: EndpointError,
    },
    /// An endpoint of the application is not a URI.
    ReportUri(ReportUriError),
    /// A certificate revocation list can't be parsed.
    RevocationList(VerifierBuilderError),
    /// rustls rejects the configuration.
    Tls(rustls::Error),
    /// The features `aws-lc-rs` and `ring` are both enabled, and no provider was chosen.
    UndecidedCryptoProvider,
    /// A policy, or its candidate, has several groups of pins, and the pins of overlapping policies
    /// are to be united ([`Overlap::Union`](crate::policy::Overlap::Union)).
    UnionOfGroups {
        /// The host of the policy.
        host: Host,
    },
    /// A URL of pin bundles is not an `https` URL.
    #[cfg(feature = "bundles")]
    UpdateUrl {
        /// The text.
        url: String,
    },
}

impl BuildError {
    /// Prints an error of policies that contradict each other.
    fn fmt_contradiction(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateHost { host } => {
                write!(
                    f,
                    "{host} has two static policies of the same scope, expected one with all its \
                     pins"
                )
            }
            Self::Exemption { host, exempt } => write!(
                f,
                "{exempt} can't be exempt from the policy of {host}, expected a subdomain that the \
                 policy covers and that has no policy of its own for itself and its subdomains"
            ),
            Self::HostInPinFile { host } => write!(
                f,
                "{host} has policies in the pin file and by `static_pins`, expected all of them in \
                 one place"
            ),
            Self::UnionOfGroups { host } => write!(
                f,
                "the policy of {host} has several groups of pins that must all hold, expected one \
                 group in each policy with `Overlap::Union`"
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "bundles")]
impl BuildError {
    /// Prints an error of the setting up of pin bundles.
    fn fmt_bundles(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(error) => write!(f, "the bundle in the application: {error}"),
            Self::FixedWithoutBackup { host } => write!(
                f,
                "the fixed policy of {host} has fewer than 2 distinct pins, expected a backup: no \
                 bundle can repair it"
            ),
            Self::NoEd25519 => f.write_str(
                "the crypto provider can't verify Ed25519, expected one that can, such as aws-lc-rs \
                 or ring: pin bundles are signed by it",
            ),
            Self::PinRoot(error) => write!(f, "root of trust for pins: {error}"),
            Self::NoBundles => f.write_str(
                "the pins take no bundles, expected `PinningBuilder::bundles` before an updater",
            ),
            Self::NoUpdateUrl => f.write_str("no URL of pin bundles, expected at least one"),
            Self::UpdateUrl { url } => {
                write!(f, "{url:?} is not an https URL of pin bundles")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "direct-trust")]
impl BuildError {
    /// Prints an error of what is to be trusted directly.
    fn fmt_direct(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDirectTrust => f.write_str(
                "nothing is trusted, expected at least one certificate or raw public key of a server",
            ),
            Self::OwnCertificate { index, reason } => write!(
                f,
                "certificate {index} can't be trusted as that of a server, expected DER X.509 of \
                 version 3: {reason}"
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConflictingTlsSettings { setting } => write!(
                f,
                "a TLS configuration and `{setting}` are both given, expected one of them: the \
                 configuration has anchors and provider already"
            ),
            #[cfg(feature = "health")]
            Self::AppVersion { app_version } => fmt_app_version(app_version, f),
            #[cfg(feature = "bundles")]
            Self::Bundle(_)
            | Self::FixedWithoutBackup { .. }
            | Self::NoBundles
            | Self::NoEd25519
            | Self::NoUpdateUrl
            | Self::PinRoot(_)
            | Self::UpdateUrl { .. } => self.fmt_bundles(f),
            Self::DuplicateHost { .. }
            | Self::Exemption { .. }
            | Self::HostInPinFile { .. }
            | Self::UnionOfGroups { .. } => self.fmt_contradiction(f),
            Self::EarlyData => f.write_str(
                "the TLS configuration enables early data, which is sent before pins are checked; \
                 set `enable_early_data` to false",
            ),
            Self::Host(error) => error.fmt(f),
            Self::NoCryptoProvider => f.write_str(
                "no crypto provider, expected one given by `with_provider`, installed as the \
                 process default, or enabled by the feature `aws-lc-rs` or `ring`",
            ),
            #[cfg(feature = "direct-trust")]
            Self::NoDirectTrust | Self::OwnCertificate { .. } => self.fmt_direct(f),
            Self::NoTrustAnchors => f.write_str(
                "no trust anchor, expected at least one (`TrustAnchors::webpki_roots`, or \
                 `with_built_in` for a CA of your own)",
            ),
            Self::OtherPins => f.write_str(
                "the verifier has other pins than the client, expected `PinningVerifier::builder` \
                 with the client's `Pinning`",
            ),
            Self::RefusedKey(error) => write!(f, "refused key: {error}"),
            Self::ReportEndpoint { uri, reason } => write!(f, "report endpoint {uri}: {reason}"),
            Self::ReportUri(error) => error.fmt(f),
            Self::RevocationList(error) => write!(f, "revocation list: {error}"),
            Self::Tls(error) => write!(f, "TLS configuration: {error}"),
            Self::UndecidedCryptoProvider => f.write_str(
                "two crypto providers are enabled, expected one given by `with_provider` or \
                 installed as the process default",
            ),
        }
    }
}

#[cfg(feature = "health")]
fn fmt_app_version(app_version: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "{app_version:?} is not a version of an application, expected 1 to 64 printable ASCII \
         characters without quotation marks and backslashes"
    )
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for BuildError {}
