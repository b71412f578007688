//! The served chain in, a [`ValidatedChain`] out.
//!
//! Paths are built by webpki, and the pins are tried on each complete candidate, so that another
//! valid path, through a cross-sign or to another anchor, is found before a server is refused.
//! The verdict is taken from what was recorded on the way, never from webpki's returned error.
//! What was served but is not on the path counts for nothing.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::chain::certificate;
use crate::chain::certificate::name_text;
use crate::chain::revocation::Revocation;
use crate::chain::signature_cache::CachingAlgorithms;
use crate::policy::{
    AnchorOrigin, AppliedPolicies, Host, KeyHash, SpkiFingerprint, Verdict, Verdicts,
};
use crate::roots::{Anchor, TrustAnchors};

/// The path that was proved from a server's certificate to a trust anchor, for one name.
///
/// There is no way to make one but a validation that succeeded. Cheap to clone.
#[derive(Clone)]
pub struct ValidatedChain {
    facts: Arc<Facts>,
    /// Whether the handshake went on to prove that the server has the leaf's key.
    proved: bool,
}

struct Facts {
    name: ServerName<'static>,
    host: Option<Host>,
    served: Vec<CertificateDer<'static>>,
    /// Positions in `served`, leaf first. The anchor is not among them.
    path: Vec<usize>,
    anchor: Arc<Anchor>,
    /// Leaf first; the anchor's last. Hashed when first asked for: a host without pins is not.
    fingerprints: OnceLock<Vec<SpkiFingerprint>>,
    hash: KeyHash,
    /// See [`ValidatedChain::dates`]; read when first asked for.
    dates: OnceLock<Option<(u64, u64)>>,
}

impl ValidatedChain {
    /// The name that the leaf was verified for.
    #[must_use]
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.facts.name
    }

    /// The same chain, once the handshake is done.
    #[cfg(feature = "hyper")]
    pub(crate) fn after_handshake(mut self) -> Self {
        self.proved = true;
        self
    }

    /// Whether the server has proved that it has the leaf's key. It has not in a chain that was
    /// refused: the handshake ended before.
    #[must_use]
    pub fn handshake_verified(&self) -> bool {
        self.proved
    }

    /// The name as a host; `None` for an IP address, which is never pinned.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.facts.host.as_ref()
    }

    /// The fingerprints of leaf, intermediates and anchor, in this order: at least two.
    #[must_use]
    pub fn fingerprints(&self) -> &[SpkiFingerprint] {
        self.facts.fingerprints.get_or_init(|| {
            let keys = self.certificates();
            let keys = keys.filter_map(|der| key_of(der, self.facts.hash));
            let anchor = self.facts.anchor.fingerprint();
            keys.chain(std::iter::once(anchor)).collect()
        })
    }

    /// The certificates of the path, leaf first. An anchor is known by subject and key only, so
    /// its certificate is not among them.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let served = &self.facts.served;
        self.facts
            .path
            .iter()
            .filter_map(|position| served.get(*position))
    }

    /// The anchor's certificate, where it is known: where the application handed it in, or the
    /// server sent it.
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
        let handed_in = facts.anchor.certificate.as_deref();
        handed_in.or_else(|| facts.served.iter().find(is_anchor))
    }

    /// All certificates as the server sent them, leaf first, on the path or not.
    #[must_use]
    pub fn served(&self) -> &[CertificateDer<'static>] {
        &self.facts.served
    }

    /// The keys of those that can be read, which of version 1 webpki can't.
    pub(crate) fn served_keys(&self) -> impl Iterator<Item = SpkiFingerprint> {
        let served = self.facts.served.iter();
        served.filter_map(|certificate| key_of(certificate, self.facts.hash))
    }

    /// Where the anchor came from.
    #[must_use]
    pub fn anchor_origin(&self) -> AnchorOrigin {
        self.facts.anchor.origin
    }

    /// Whether both are the same path in the same list of certificates.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (one, other) = (&self.facts, &other.facts);
        one.path == other.path
            && one.anchor.is_same(&other.anchor)
            && one.served == other.served
            && one.name == other.name
    }

    /// The bytes of all certificates that were served.
    pub(crate) fn served_len(&self) -> usize {
        self.facts.served.iter().map(|der| der.len()).sum()
    }

    /// The first and the last second in which every certificate of the path is valid; `None` if
    /// they can't be read. An anchor has no dates.
    pub(crate) fn dates(&self) -> Option<(u64, u64)> {
        *self.facts.dates.get_or_init(|| {
            let mut certificates = self.certificates();
            certificates.try_fold((0, u64::MAX), |(from, until), der| {
                let (begins, expiry_times) = certificate::dates(der)?;
                Some((begins.max(from), expiry_times.min(until)))
            })
        })
    }

    /// Each key of the path with its role and its owner's name, leaf first.
    pub fn keys(&self) -> impl Iterator<Item = ChainKey> {
        let mut subjects = self.certificates().map(subject_of);
        let last = self.fingerprints().len().saturating_sub(1);
        self.fingerprints()
            .iter()
            .enumerate()
            .map(move |(position, fingerprint)| {
                let role = match position {
                    position if position == last => KeyRole::Anchor,
                    0 => KeyRole::Leaf,
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

/// One key of a [`ValidatedChain`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainKey {
    /// The key's fingerprint.
    pub fingerprint: SpkiFingerprint,
    /// Its place in the chain.
    pub role: KeyRole,
    /// Its owner's distinguished name as RFC 4514 writes it, control characters escaped.
    pub subject: String,
}

/// The place of a key in a validated chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyRole {
    /// The server's own key.
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

/// A path that webpki proved, and what the policies say of it.
pub(crate) struct ValidPath {
    pub(crate) verdicts: Verdicts,
    path: Vec<usize>,
    /// Empty while no policy asked for them.
    fingerprints: Vec<SpkiFingerprint>,
    hash: KeyHash,
    anchor: Arc<Anchor>,
}

impl ValidPath {
    fn rank(&self) -> (bool, bool, AnchorOrigin, bool) {
        self.verdicts.rank(self.anchor.origin)
    }

    /// The path as a value of its own, with what was served beside it.
    pub(crate) fn into_chain(self, presented: Presented<'_>, host: Option<Host>) -> ValidatedChain {
        let served = std::iter::once(presented.leaf)
            .chain(presented.intermediates)
            .map(|certificate| certificate.clone().into_owned());
        let fingerprints = if self.fingerprints.is_empty() {
            OnceLock::new()
        } else {
            self.fingerprints.into()
        };
        let facts = Arc::new(Facts {
            name: presented.name.to_owned(),
            host,
            served: served.collect(),
            path: self.path,
            anchor: self.anchor,
            fingerprints,
            hash: self.hash,
            dates: OnceLock::new(),
        });
        ValidatedChain {
            facts,
            proved: false,
        }
    }

    /// Whether the path comes to its anchor by the way of a served copy of it.
    fn is_detour(&self) -> bool {
        matches!(self.fingerprints[..], [.., last, anchor] if last == anchor)
    }
}

/// No path is valid, or the leaf is not for this name.
pub(crate) struct NoValidPath;

/// Whether the search for a better path goes on.
enum Search {
    GoesOn,
    Settled,
}

/// What a server presented, and for which name.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    pub(crate) leaf: &'a CertificateDer<'a>,
    pub(crate) intermediates: &'a [CertificateDer<'a>],
    pub(crate) name: &'a ServerName<'a>,
}

/// Builds paths as `WebPkiServerVerifier` does, to the same anchors, with the same options.
pub(crate) struct PathBuilder {
    pub(crate) anchors: TrustAnchors,
    pub(crate) algorithms: CachingAlgorithms,
    pub(crate) hash: KeyHash,
    pub(crate) revocation: Option<Revocation>,
}

impl PathBuilder {
    pub(crate) fn validate(
        &self,
        presented: Presented<'_>,
        policies: &AppliedPolicies,
        now: UnixTime,
    ) -> Result<ValidPath, NoValidPath> {
        let leaf = EndEntityCert::try_from(presented.leaf).map_err(|_| NoValidPath)?;
        // First: else a server could fill the memory of signatures with chains of other hosts, or
        // time which of them were seen before.
        leaf.verify_is_valid_for_subject_name(presented.name)
            .map_err(|_| NoValidPath)?;
        let crls = self.revocation.as_ref().map(Revocation::lists);
        let anchors = self.anchors_for(&leaf, presented);
        let best = RefCell::new(None);
        let judge = |candidate: &VerifiedPath<'_>| {
            let found = self.judge(candidate, presented, policies);
            match found.map(|found| self.prefer(&mut best.borrow_mut(), found)) {
                Some(Search::Settled) => Ok(()),
                // An error makes webpki go on. The least specific one hides no other.
                Some(Search::GoesOn) | None => Err(webpki::Error::UnknownIssuer),
            }
        };
        // The result says no more than the record; a path once recorded is valid even if the
        // search for a better one ran out of budget.
        let _ = leaf.verify_for_usage(
            &self.algorithms.as_dyn(),
            &anchors,
            presented.intermediates,
            now,
            KeyUsage::server_auth(),
            self.revocation
                .as_ref()
                .zip(crls.as_deref())
                .and_then(|(revocation, crls)| revocation.options(crls)),
            Some(&judge),
        );
        best.into_inner().ok_or(NoValidPath)
    }

    /// The anchors that can end a path: webpki would compare each name with all of them.
    fn anchors_for(
        &self,
        leaf: &EndEntityCert<'_>,
        presented: Presented<'_>,
    ) -> Vec<TrustAnchor<'_>> {
        let mut selected = Vec::new();
        self.anchors.select(leaf.issuer(), &mut selected);
        // What can't be read is on no path.
        let issuers = presented.intermediates.iter();
        for issuer in issuers.filter_map(|der| certificate::issuer(der)) {
            self.anchors.select(issuer, &mut selected);
        }
        selected
    }

    /// Keeps the better one of two paths; settled once no other path could be better.
    fn prefer(&self, best: &mut Option<ValidPath>, found: ValidPath) -> Search {
        let rank = found.rank();
        // Of equally refused paths the last one is kept: RFC 7469 section 3 wants it reported.
        let better = best.as_ref().is_none_or(|best| {
            let known = best.rank();
            let is_refused = found.verdicts.has(Verdict::Refuse) && !found.is_detour();
            rank < known || (rank == known && is_refused)
        });
        if better {
            *best = Some(found);
        }
        if rank == (false, false, self.anchors.best_origin(), false) {
            Search::Settled
        } else {
            Search::GoesOn
        }
    }

    /// Judges one candidate. `None` only if webpki named a certificate that it was not given.
    fn judge(
        &self,
        candidate: &VerifiedPath<'_>,
        presented: Presented<'_>,
        policies: &AppliedPolicies,
    ) -> Option<ValidPath> {
        let most = presented.intermediates.len() + 1;
        let mut found = ValidPath {
            verdicts: Verdicts::default(),
            path: Vec::with_capacity(most),
            fingerprints: Vec::new(),
            hash: self.hash,
            anchor: Arc::clone(self.anchors.owner_of(candidate.anchor())?),
        };
        found.path.push(0);
        for certificate in candidate.intermediate_certificates() {
            let der = certificate.der();
            let position = presented
                .intermediates
                .iter()
                .position(|served| *served == der)?;
            found.path.push(position + 1);
        }
        // The host was looked up first: without pins nothing is hashed.
        if !policies.is_empty() {
            found.fingerprints.reserve(most + 1);
            let leaf = candidate.end_entity().subject_public_key_info();
            found
                .fingerprints
                .push(SpkiFingerprint::of_parsed_key(&leaf, self.hash));
            for certificate in candidate.intermediate_certificates() {
                let key = certificate.subject_public_key_info();
                found
                    .fingerprints
                    .push(SpkiFingerprint::of_parsed_key(&key, self.hash));
            }
            found.fingerprints.push(found.anchor.fingerprint());
            found.verdicts = policies.judge(&found.fingerprints, found.anchor.origin);
        }
        Some(found)
    }
}

/// Never `None` for one of a path: it was read before.
fn key_of(certificate: &CertificateDer<'_>, hash: KeyHash) -> Option<SpkiFingerprint> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let key = parsed.subject_public_key_info();
    Some(SpkiFingerprint::of_parsed_key(&key, hash))
}

/// The owner of a certificate, for people to read; empty if it can't be read.
fn subject_of(certificate: &CertificateDer<'_>) -> String {
    match EndEntityCert::try_from(certificate) {
        Ok(parsed) => name_text(parsed.subject()),
        Err(_) => String::new(),
    }
}
