//! [`Cause`], what the facts of a refusal show about its cause, and the evidence for it.
//!
//! The texts are in `cause_text` and `evidence_text`. `evidence` derives the cause of a pin violation,
//! `tls` that of a failure before pins count.

use rustls_pki_types::UnixTime;

use crate::policy::SpkiFingerprint;

/// What the facts show about the cause of a refusal, with the evidence in the fields.
///
/// [`PinViolation::cause`](crate::PinViolation::cause) returns it for a refusal by pins,
/// [`tls::cause`](crate::tls::cause) for any failure of a TLS handshake. `Display` prints the
/// statement in one line.
///
/// A cause states facts, not intentions: "same CA, new key" fits a rotation as well as a certificate
/// that was issued to another party. It is derived from what the server can't choose: the pins, the
/// built-in roots, signatures that were verified, and chains that the same client accepted before.
/// Names in certificates that the server sent decide nothing.
///
/// ```
/// use pinhold::tls::{Cause, cause};
/// use rustls::InvalidMessage;
///
/// // What rustls returns if the answer begins with "HTTP/1.1".
/// let error = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
/// let cause = cause(&error).unwrap();
/// assert_eq!(cause, Cause::NotTls);
/// assert_eq!(cause.id(), "not-tls");
/// assert!(cause.to_string().contains("captive portal"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The server appended a certificate with a pinned key, which has no relation to the validated
    /// path that a signature shows. To send it takes no private key (CVE-2016-2402).
    AppendedCertificate {
        /// The pinned key.
        key: SpkiFingerprint,
    },
    /// The same client accepted a chain with the same keys before: the pins, or whether they are
    /// enforced, have changed since.
    ChangedPins {
        /// When such a chain was first accepted.
        accepted_at: UnixTime,
    },
    /// A served certificate is not valid at the time of the device. The chain was not verified, so
    /// that its dates alone do not prove that the clock is wrong.
    Clock {
        /// The time of the device.
        now: UnixTime,
        /// The end of the validity period that the time is beyond.
        limit: ValidityLimit,
        /// What the times show.
        evidence: ClockEvidence,
    },
    /// The server has exactly the certificate or raw public key that the application trusts, but the
    /// pins lack its key.
    #[cfg(feature = "direct-trust")]
    DirectKeyNotPinned {
        /// The key.
        key: SpkiFingerprint,
    },
    /// The policy has expired, and refuses every chain after its expiry.
    ExpiredPolicy {
        /// The last second at which the pins were enforced.
        expired_at: Option<UnixTime>,
        /// The time of the evaluation, by the clock of the device.
        now: UnixTime,
        /// Whether the chain would have satisfied the pins.
        is_pinned_key_present: bool,
    },
    /// The chain ends in a built-in root whose organisation is none of those of the expected roots.
    OtherCa {
        /// The pinned built-in roots; else the root of the chain that was accepted before.
        expected: Vec<BuiltInRoot>,
        /// The root of the refused chain.
        seen: BuiltInRoot,
        /// When a chain to the expected root was first accepted; `None` if the roots are pinned.
        accepted_at: Option<UnixTime>,
        /// Beside pinned roots: how many pins are those of no built-in root. Their operators are not
        /// known, so that the CA of the server may be the same as before.
        other_pins: usize,
    },
    /// The chain has other keys than the pinned ones, and nothing more is known.
    OtherKeys,
    /// Another path: a cross-sign, another root of the same operator, or another CA for the same
    /// key of the server.
    OtherPath {
        /// What shows it.
        evidence: PathEvidence,
    },
    /// The certificate is valid, but not for the requested name.
    OtherName {
        /// At most ten names of the certificate, with control characters and quotes escaped.
        presented: Vec<String>,
    },
    /// The answer of the server is not TLS.
    NotTls,
    /// The chain contains keys that the application refuses.
    RefusedKey {
        /// The refused keys of the chain, leaf first.
        keys: Vec<SpkiFingerprint>,
    },
    /// The chain contains the key of a CA that issued the certificate of before, or the pinned one, for
    /// another key. The key may be that of a CA above the issuer, as of the root.
    SameCa {
        /// The key of the CA.
        ca: SpkiFingerprint,
        /// What shows that it is the same.
        evidence: CaEvidence,
    },
    /// No path leads to a trusted root.
    UnknownIssuer,
    /// The chain ends in a root of unknown origin: it comes from the platform's store, from a
    /// variable such as `SSL_CERT_FILE`, or from
    /// [`TrustAnchors::with_unknown`](crate::TrustAnchors::with_unknown), and is in no list of known
    /// roots.
    UnknownRoot {
        /// The key of the root.
        key: SpkiFingerprint,
    },
    /// The chain ends in a root that the user or the administrator of the device added, and the
    /// policy enforces its pins there.
    UserAddedRoot {
        /// The key of the root.
        key: SpkiFingerprint,
    },
    /// A pin is the SHA-256 of a certificate of the chain, and not of its public key. Such a pin
    /// never matches.
    WrongHash {
        /// The pin.
        pin: SpkiFingerprint,
        /// The pin of the certificate's key.
        key: SpkiFingerprint,
    },
}

/// A built-in root as the client's own trust anchors contain it.
///
/// ```
/// use pinhold::tls::{BuiltInRoot, Cause};
///
/// fn operator(cause: &Cause) -> Option<&str> {
///     match cause {
///         Cause::OtherCa { seen: BuiltInRoot { organisation, .. }, .. } => Some(organisation),
///         _ => None,
///     }
/// }
/// # assert_eq!(operator(&Cause::OtherKeys), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuiltInRoot {
    /// The fingerprint of its key.
    pub key: SpkiFingerprint,
    /// Its distinguished name (RFC 4514), with control characters escaped.
    pub subject: String,
    /// The organisation in its subject, with control characters escaped; empty if there is none.
    pub organisation: String,
}

/// What shows that a certificate was issued by the same CA; see [`Cause::SameCa`].
///
/// ```
/// use pinhold::tls::CaEvidence;
///
/// fn is_from_memory(evidence: &CaEvidence) -> bool {
///     matches!(evidence, CaEvidence::Accepted { .. })
/// }
/// # assert!(!is_from_memory(&CaEvidence::Pinned));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaEvidence {
    /// The same client accepted a chain of the host below the same key of the CA.
    Accepted {
        /// The key of the leaf of that chain.
        leaf: SpkiFingerprint,
        /// When the chain was first accepted.
        at: UnixTime,
    },
    /// The CA, the issuer of the leaf, signed a certificate with a pinned key, which the server also
    /// sent.
    IssuedPinned {
        /// The pinned key.
        pinned: SpkiFingerprint,
    },
    /// The key of the CA is pinned, but another group of pins, which are for the leaf, is not
    /// satisfied.
    Pinned,
}

/// What shows that a chain takes another path; see [`Cause::OtherPath`].
///
/// ```
/// use pinhold::tls::{Cause, PathEvidence};
///
/// fn is_cross_signed(cause: &Cause) -> bool {
///     matches!(cause, Cause::OtherPath { evidence: PathEvidence::CrossSigned { .. } })
/// }
/// # assert!(!is_cross_signed(&Cause::OtherKeys));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathEvidence {
    /// The same client accepted the same key of the server through other CAs.
    Accepted {
        /// When that chain was first accepted.
        at: UnixTime,
    },
    /// The pinned key signed another certificate of a CA on the path, but no valid path to a trusted
    /// root leads through it.
    CrossSigned {
        /// The pinned key.
        pinned: SpkiFingerprint,
    },
    /// A CA above the issuer of the leaf signed a certificate with a pinned key, which the server also
    /// sent.
    IssuedPinned {
        /// The key of the CA.
        ca: SpkiFingerprint,
        /// The pinned key.
        pinned: SpkiFingerprint,
    },
    /// The key of a CA is pinned, but another group of pins, which are for CAs, is not satisfied.
    PinnedCa {
        /// The key of the CA.
        ca: SpkiFingerprint,
    },
    /// The key of the leaf is pinned, but another group of pins is not satisfied.
    PinnedLeaf {
        /// The key of the leaf.
        leaf: SpkiFingerprint,
    },
    /// The chain ends in another built-in root of the same organisation.
    SameOperator {
        /// The pinned root; else that of the chain that was accepted before.
        expected: BuiltInRoot,
        /// The root of the refused chain.
        seen: BuiltInRoot,
        /// When a chain to the expected root was first accepted; `None` if the root is pinned.
        accepted_at: Option<UnixTime>,
    },
}

/// An end of a validity period; see [`Cause::Clock`].
///
/// ```
/// use pinhold::tls::ValidityLimit;
/// use rustls::pki_types::UnixTime;
///
/// fn time(limit: ValidityLimit) -> Option<UnixTime> {
///     match limit {
///         ValidityLimit::NotAfter(time) | ValidityLimit::NotBefore(time) => Some(time),
///         _ => None,
///     }
/// }
/// # let _ = time;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValidityLimit {
    /// The last second.
    NotAfter(UnixTime),
    /// The first second.
    NotBefore(UnixTime),
}

/// What the times show about a clock; see [`Cause::Clock`].
///
/// ```
/// use pinhold::tls::ClockEvidence;
///
/// fn is_proved(evidence: ClockEvidence) -> bool {
///     matches!(evidence, ClockEvidence::BeforeRelease { .. })
/// }
/// # assert!(!is_proved(ClockEvidence::BeyondRenewal));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockEvidence {
    /// The clock is wrong: it shows a time before the release of this version of the crate.
    BeforeRelease {
        /// The time of the release.
        release: UnixTime,
    },
    /// The time is beyond the validity period by more than 398 days, the longest lifetime of a
    /// public certificate that has ever been in force since 2020. A late renewal does not explain
    /// it: the clock is wrong, or the server sends a certificate that was replaced long ago.
    BeyondRenewal,
    /// The clock is wrong, or the certificate was not renewed in time.
    Undecided,
}

impl Cause {
    /// Returns whether the statement names a served certificate that is not on the path.
    pub(crate) fn is_of_served_certificate(&self) -> bool {
        matches!(
            self,
            Self::AppendedCertificate { .. }
                | Self::OtherPath {
                    evidence: PathEvidence::CrossSigned { .. } | PathEvidence::IssuedPinned { .. }
                }
                | Self::SameCa {
                    evidence: CaEvidence::IssuedPinned { .. },
                    ..
                }
        )
    }

    /// Returns the identifier for programs: lower case, with hyphens. It never changes.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::AppendedCertificate { .. } => "appended-certificate",
            Self::ChangedPins { .. } => "changed-pins",
            Self::Clock { .. } => "clock",
            #[cfg(feature = "direct-trust")]
            Self::DirectKeyNotPinned { .. } => "direct-key-not-pinned",
            Self::ExpiredPolicy { .. } => "expired-policy",
            Self::NotTls => "not-tls",
            Self::OtherCa { .. } => "other-ca",
            Self::OtherKeys => "other-keys",
            Self::OtherName { .. } => "other-name",
            Self::OtherPath { .. } => "other-path",
            Self::RefusedKey { .. } => "refused-key",
            Self::SameCa { .. } => "same-ca",
            Self::UnknownIssuer => "unknown-issuer",
            Self::UnknownRoot { .. } => "unknown-root",
            Self::UserAddedRoot { .. } => "user-added-root",
            Self::WrongHash { .. } => "wrong-hash",
        }
    }
}
