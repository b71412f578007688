//! The result of a self-test: [`SelfTestReport`] and [`SelfTestError`].

use std::error::Error;
use std::fmt;

use rustls::ProtocolVersion;

use crate::pinning::BuildError;

/// An attack that the self-test makes on a copy of the pins.
///
/// ```
/// use pinhold::tls::Attack;
///
/// assert_eq!(Attack::WrongKey.to_string(), "a valid chain without a pinned key");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Attack {
    /// A valid chain without a pinned key, and the certificate of the pinned key behind it, which is
    /// no part of the chain.
    AppendedCertificate,
    /// The certificate of the pinned key, sent by a server that does not have the key.
    Replay,
    /// A valid chain without a pinned key.
    WrongKey,
    /// The resumption of a session that was made under other pins with a server whose key is not
    /// pinned now.
    WrongKeyResumed,
}

impl Attack {
    /// All attacks.
    pub(crate) const ALL: [Self; 4] = [
        Self::WrongKey,
        Self::WrongKeyResumed,
        Self::AppendedCertificate,
        Self::Replay,
    ];
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppendedCertificate => "a pinned certificate appended to another chain",
            Self::Replay => "a pinned certificate without its key",
            Self::WrongKey => "a valid chain without a pinned key",
            Self::WrongKeyResumed => "a session made under other pins",
        })
    }
}

/// What a self-test that succeeded has seen.
///
/// ```
/// use pinhold::tls::SelfTestReport;
///
/// fn log(report: &SelfTestReport) {
///     eprintln!("pins: {report}");
/// }
/// # let _ = log;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelfTestReport {
    /// The TLS versions that were tested: those that the configuration offers, except one with
    /// algorithms for other keys than those on P-256 only.
    pub versions: Vec<ProtocolVersion>,
    /// The attacks that were refused with each version.
    pub refused: Vec<Attack>,
    /// What the configuration does with sessions.
    pub resumption: TestedResumption,
}

/// How a configuration handles the resumption of TLS sessions.
///
/// ```
/// use pinhold::tls::TestedResumption;
///
/// assert_ne!(TestedResumption::Checked, TestedResumption::Disabled);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TestedResumption {
    /// A session is offered only while the current pins accept its chains.
    Checked,
    /// No session is resumed
    /// ([`disable_resumption`](crate::tls::PinningVerifierBuilder::disable_resumption), or revocation
    /// lists that expire).
    Disabled,
}

impl fmt::Display for SelfTestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attacks = self.refused.len();
        write!(f, "{attacks} attacks refused with ")?;
        for (number, version) in self.versions.iter().enumerate() {
            let separator = if number == 0 { "" } else { " and " };
            write!(f, "{separator}{}", version_name(*version))?;
        }
        f.write_str(match self.resumption {
            TestedResumption::Checked => ", resumption checked",
            TestedResumption::Disabled => ", resumption disabled",
        })
    }
}

fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLS 1.2",
        ProtocolVersion::TLSv1_3 => "TLS 1.3",
        _ => "another version",
    }
}

/// Why a self-test failed. No connection with the configuration is known to be pinned then.
///
/// `Display` prints what was expected, what was seen, and what to do.
///
/// ```
/// use pinhold::tls::SelfTestError;
///
/// assert!(SelfTestError::EarlyData.to_string().contains("early data"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SelfTestError {
    /// An attack was not refused, or for another reason than expected.
    Attack {
        /// The attack.
        attack: Attack,
        /// The TLS version of the handshake.
        version: ProtocolVersion,
        /// Why it was refused; `None` if it was accepted.
        refusal: Option<rustls::Error>,
    },
    /// The copy of the pins, or its configuration, can't be built.
    Build(BuildError),
    /// The clock of the configuration is not that of the pins, so that the certificates and the pins
    /// are checked at different times.
    ChangedClock,
    /// The configuration sends early data, before any pin is checked.
    EarlyData,
    /// The session store of the configuration is not the one that it was built with: rustls's own, as
    /// with `Resumption::disabled()`, or another one. rustls does not show which of them it is, and
    /// only disabled resumption would be safe.
    OtherSessionStore,
    /// The verifier of this crate was not called.
    OtherVerifier,
    /// A server with a pinned key was refused, or its session was not resumed (`None`).
    Genuine {
        /// The TLS version of the handshake.
        version: ProtocolVersion,
        /// Why it was refused.
        refusal: Option<rustls::Error>,
    },
    /// No handshake is possible with the versions, cipher suites and signature schemes of the
    /// configuration and a server with a key on P-256.
    NoHandshake(rustls::Error),
    /// The verifier was made by
    /// [`verifier_without_resumption_check`](crate::tls::PinningVerifierBuilder::verifier_without_resumption_check),
    /// so nothing shows which configuration it belongs to.
    NoResumptionCheck,
    /// The verifier enforces the pins of another [`Pinning`](crate::Pinning).
    OtherPins,
    /// The handshake did not end with the refusal by the verifier.
    RefusalIgnored,
    /// The verifier of the configuration is another one, which calls that of this crate. It may accept
    /// what that one refuses, or not call it for a signature.
    WrappedVerifier,
}

impl fmt::Display for SelfTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |version| version_name(version);
        match self {
            Self::Attack {
                attack,
                version: of,
                refusal: None,
            } => write!(f, "{attack} was accepted with {}", version(*of)),
            Self::Attack {
                attack,
                version: of,
                refusal: Some(error),
            } => {
                let of = version(*of);
                write!(
                    f,
                    "{attack} was refused with {of} for another reason: {error}"
                )
            }
            Self::Genuine {
                version: of,
                refusal: Some(error),
            } => write!(
                f,
                "a pinned server was refused with {}: {error}",
                version(*of)
            ),
            Self::Genuine {
                version: of,
                refusal: None,
            } => write!(
                f,
                "a session of a pinned server was not resumed with {}",
                version(*of)
            ),
            Self::Build(error) => write!(f, "the copy of the pins can't be built: {error}"),
            Self::NoHandshake(error) => write!(
                f,
                "no handshake is possible with the configuration and a server with a key on P-256: {error}"
            ),
            _ => f.write_str(self.fact_and_remedy()),
        }
    }
}

impl SelfTestError {
    fn fact_and_remedy(&self) -> &'static str {
        match self {
            Self::ChangedClock => {
                "the clock of the configuration is not that of the pins; set it by \
                 PinningBuilder::time_provider"
            }
            Self::EarlyData => {
                "the configuration enables early data, which is sent before pins are checked; leave \
                 it off"
            }
            Self::OtherSessionStore => {
                "the session store of the configuration is not the one that it was built with; leave \
                 `resumption` unchanged, and disable it by PinningVerifierBuilder::disable_resumption"
            }
            Self::OtherVerifier => {
                "the configuration does not call pinhold's verifier; build it by \
                 Pinning::client_config"
            }
            Self::NoResumptionCheck => {
                "the verifier was made without a resumption check; build the configuration by \
                 PinningVerifierBuilder::client_config"
            }
            Self::OtherPins => {
                "the configuration belongs to another Pinning; build it by the same one"
            }
            Self::RefusalIgnored => "the handshake went on after pinhold's verifier refused it",
            Self::WrappedVerifier => {
                "the verifier of the configuration is another one around pinhold's; use \
                 PinningVerifierBuilder::with_inner_verifier for the other one"
            }
            _ => "the self-test failed",
        }
    }
}

impl Error for SelfTestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Build(error) => Some(error),
            _ => None,
        }
    }
}
