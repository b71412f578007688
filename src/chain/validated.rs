//! [`ValidatedChain`], the validated path of a server's certificate, and the keys on it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use webpki::EndEntityCert;

use crate::chain::certificate::{name_text, validity};
#[cfg(feature = "ct")]
use crate::ct::CtOutcome;
use crate::policy::{AnchorOrigin, Host, KeyHash, SpkiFingerprint};
use crate::roots::{Anchor, TrustAnchors};

/// The validated path from a server's certificate to a trust anchor, for one name. Cheap to clone.
///
/// With the feature `direct-trust` it may be the server's own certificate alone, or its raw public
/// key, which is then the only element of [`served`](Self::served), as a `SubjectPublicKeyInfo`.
///
/// Only a successful validation creates a value of this type. Certificates that the server sent but
/// that are not on the path are kept for reports, and never match a pin.
///
/// ```
/// use pinhold::ValidatedChain;
///
/// fn print_keys(chain: &ValidatedChain) {
///     for key in chain.keys() {
///         println!("{} {} ({})", key.fingerprint, key.subject, key.role);
///     }
/// }
/// # let _ = print_keys;
/// ```
#[derive(Clone)]
pub struct ValidatedChain {
    facts: Arc<Facts>,
    /// Whether the handshake proved that the server has the leaf's key.
    handshake_verified: bool,
    #[cfg(feature = "ct")]
    ct: Option<CtOutcome>,
}

/// The contents of a [`ValidatedChain`], shared by its clones.
pub(crate) struct Facts {
    pub(crate) name: ServerName<'static>,
    pub(crate) host: Option<Host>,
    pub(crate) served: Vec<CertificateDer<'static>>,
    /// Positions in `served`, leaf first, without the anchor.
    pub(crate) path: Vec<usize>,
    pub(crate) anchor: Arc<Anchor>,
    /// All anchors that the chain was validated against, and the algorithms: for the cause of a
    /// refusal.
    pub(crate) anchors: TrustAnchors,
    pub(crate) algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    /// The time of the validation.
    pub(crate) at: UnixTime,
    /// The keys from the leaf to the anchor. Computed on first use, so that no key is hashed for a
    /// host without pins.
    pub(crate) fingerprints: OnceLock<Vec<SpkiFingerprint>>,
    pub(crate) hash: KeyHash,
    /// See [`ValidatedChain::dates`]. Read on first use.
    pub(crate) dates: OnceLock<Option<(u64, u64)>>,
}

impl ValidatedChain {
    pub(crate) fn new(facts: Facts) -> Self {
        Self {
            facts: Arc::new(facts),
            handshake_verified: false,
            #[cfg(feature = "ct")]
            ct: None,
        }
    }

    /// Returns the name for which the leaf was validated.
    #[must_use]
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.facts.name
    }

    /// Marks the chain as one of a completed handshake.
    #[cfg(any(feature = "health", feature = "hyper"))]
    pub(crate) fn after_handshake(mut self) -> Self {
        self.handshake_verified = true;
        self
    }

    /// Adds what the SCTs of the handshake have shown.
    #[cfg(feature = "ct")]
    pub(crate) fn with_ct(mut self, outcome: Option<CtOutcome>) -> Self {
        self.ct = outcome;
        self
    }

    /// Returns what the SCTs of the handshake have shown, or those of the one whose session was
    /// resumed; `None` if they were not looked for.
    #[cfg(feature = "ct")]
    #[must_use]
    pub fn ct_outcome(&self) -> Option<&CtOutcome> {
        self.ct.as_ref()
    }

    /// Returns the lifetime of the leaf in seconds; `None` if it can't be read.
    #[cfg(feature = "ct")]
    pub(crate) fn lifetime(&self) -> Option<u64> {
        let (from, until) = validity(self.facts.served.first()?)?;
        Some(until.saturating_sub(from))
    }

    /// Returns whether the handshake proved that the server has the leaf's private key. It did not
    /// if the chain was refused, since the handshake ended before that.
    #[must_use]
    pub fn handshake_verified(&self) -> bool {
        self.handshake_verified
    }

    /// Returns the name as a host; `None` for an IP address, which can't be pinned.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.facts.host.as_ref()
    }

    /// Returns the fingerprints of leaf, intermediates and anchor, in this order: at least two; one
    /// if the server's own certificate or raw public key is trusted (feature `direct-trust`).
    #[must_use]
    pub fn fingerprints(&self) -> &[SpkiFingerprint] {
        self.facts.fingerprints.get_or_init(|| {
            let keys = self.certificates();
            let keys = keys.filter_map(|der| key_of(der, self.facts.hash));
            let anchor = self.facts.anchor.fingerprint();
            keys.chain(std::iter::once(anchor)).collect()
        })
    }

    /// Returns the certificates of the path, leaf first, without that of the anchor (see
    /// [`anchor_certificate`](Self::anchor_certificate)), of which validation uses only subject and
    /// key.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let served = &self.facts.served;
        self.facts
            .path
            .iter()
            .filter_map(|position| served.get(*position))
    }

    /// Returns the anchor's certificate if it is known, because the anchor was added as a
    /// certificate or because the server sent it.
    #[must_use]
    pub fn anchor_certificate(&self) -> Option<&CertificateDer<'static>> {
        let facts = &self.facts;
        let is_anchor = |der: &&CertificateDer<'static>| {
            EndEntityCert::try_from(*der).is_ok_and(|parsed| {
                let key = parsed.subject_public_key_info();
                let key = SpkiFingerprint::of_parsed_key(&key, facts.hash);
                parsed.subject() == facts.anchor.subject()
                    && parsed.issuer() == parsed.subject()
                    && key == facts.anchor.fingerprint()
            })
        };
        let added = facts.anchor.certificate.as_deref();
        added.or_else(|| facts.served.iter().find(is_anchor))
    }

    /// Returns all certificates that the server sent, leaf first, including those not on the path.
    #[must_use]
    pub fn served(&self) -> &[CertificateDer<'static>] {
        &self.facts.served
    }

    /// Returns the served certificates with their keys, without those of version 1, which webpki can't
    /// parse.
    pub(crate) fn served_keys(
        &self,
    ) -> impl Iterator<Item = (&CertificateDer<'static>, SpkiFingerprint)> {
        let served = self.facts.served.iter();
        served.filter_map(|der| Some((der, key_of(der, self.facts.hash)?)))
    }

    /// Returns where the anchor came from.
    #[must_use]
    pub fn anchor_origin(&self) -> AnchorOrigin {
        self.facts.anchor.origin
    }

    pub(crate) fn anchor(&self) -> &Anchor {
        &self.facts.anchor
    }

    pub(crate) fn anchors(&self) -> &TrustAnchors {
        &self.facts.anchors
    }

    pub(crate) fn algorithms(&self) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
        self.facts.algorithms
    }

    /// Returns the time of the validation.
    pub(crate) fn validated_at(&self) -> UnixTime {
        self.facts.at
    }

    /// Returns whether both are the same path through the same served certificates.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (one, other) = (&self.facts, &other.facts);
        one.path == other.path
            && one.anchor.is_same(&other.anchor)
            && one.served == other.served
            && one.name == other.name
    }

    /// Returns the total size of the served certificates in bytes.
    pub(crate) fn served_len(&self) -> usize {
        self.facts.served.iter().map(|der| der.len()).sum()
    }

    /// Returns the first and the last second, since 1970, at which all certificates of the path are
    /// valid; `None` if a validity period can't be read. An anchor has no validity period.
    pub(crate) fn dates(&self) -> Option<(u64, u64)> {
        *self.facts.dates.get_or_init(|| {
            let mut certificates = self.certificates();
            certificates.try_fold((0, u64::MAX), |(from, until), der| {
                let (not_before, not_after) = validity(der)?;
                Some((not_before.max(from), not_after.min(until)))
            })
        })
    }

    /// Returns each key of the path with its role and subject, leaf first.
    pub fn keys(&self) -> impl Iterator<Item = ChainKey> {
        let mut subjects = self.certificates().map(subject_of);
        let last = self.fingerprints().len().saturating_sub(1);
        self.fingerprints()
            .iter()
            .enumerate()
            .map(move |(position, fingerprint)| {
                // The only key of a server that is trusted directly is that of the leaf.
                let role = match position {
                    0 => KeyRole::Leaf,
                    position if position == last => KeyRole::Anchor,
                    _ => KeyRole::Intermediate,
                };
                let subject = match role {
                    KeyRole::Anchor => name_text(self.facts.anchor.subject()),
                    _ => subjects.next().unwrap_or_default(),
                };
                ChainKey {
                    fingerprint: *fingerprint,
                    role,
                    subject,
                }
            })
    }
}

impl fmt::Debug for ValidatedChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidatedChain")
            .field("server_name", &self.facts.name)
            .field("fingerprints", &self.fingerprints())
            .field("anchor_origin", &self.anchor_origin())
            .finish_non_exhaustive()
    }
}

/// One key of a [`ValidatedChain`], from [`ValidatedChain::keys`].
///
/// ```
/// use pinhold::ValidatedChain;
/// use pinhold::tls::{ChainKey, KeyRole};
///
/// fn anchor(chain: &ValidatedChain) -> Option<ChainKey> {
///     chain.keys().find(|key| key.role == KeyRole::Anchor)
/// }
/// # let _ = anchor;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainKey {
    /// The fingerprint of the key.
    pub fingerprint: SpkiFingerprint,
    /// The position of the key in the chain.
    pub role: KeyRole,
    /// The distinguished name of the key's subject (RFC 4514) with control characters escaped;
    /// empty if it can't be read.
    pub subject: String,
}

/// The position of a key in a validated chain.
///
/// ```
/// use pinhold::tls::KeyRole;
///
/// assert_eq!(KeyRole::Intermediate.to_string(), "intermediate");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyRole {
    /// The key of the server's certificate.
    Leaf,
    /// The key of a CA between leaf and anchor.
    Intermediate,
    /// The key of the trust anchor.
    Anchor,
}

impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Anchor => "anchor",
            Self::Intermediate => "intermediate",
            Self::Leaf => "leaf",
        })
    }
}

/// Returns the key of a certificate; never `None` for a certificate of a path, which webpki has
/// parsed.
pub(crate) fn key_of(certificate: &CertificateDer<'_>, hash: KeyHash) -> Option<SpkiFingerprint> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let key = parsed.subject_public_key_info();
    Some(SpkiFingerprint::of_parsed_key(&key, hash))
}

/// Returns the subject of a certificate as text; empty if it can't be parsed.
fn subject_of(certificate: &CertificateDer<'_>) -> String {
    match EndEntityCert::try_from(certificate) {
        Ok(parsed) => name_text(parsed.subject()),
        Err(_) => String::new(),
    }
}
