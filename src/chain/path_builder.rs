//! Certificate path building that evaluates the pins on each valid path.
//!
//! webpki builds the paths and passes each valid one to a callback, which evaluates the policies on
//! it. If the path does not pass, webpki continues, so that another valid path, through a
//! cross-signed certificate or to another anchor, is found before a server is refused (D-11). The
//! result is the best path that the callback has recorded, never the error that webpki returns.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::chain::certificate::issuer;
use crate::chain::fingerprint_cache::FingerprintCache;
use crate::chain::revocation::Revocation;
use crate::chain::signature_cache::{CachingAlgorithms, limit_verifications};
use crate::chain::validated::{Facts, ValidatedChain};
use crate::policy::{AnchorOrigin, AppliedPolicies, Host, KeyHash, SpkiFingerprint, Verdicts};
use crate::roots::{Anchor, TrustAnchors};

/// Builds the paths that `WebPkiServerVerifier` builds, to the same anchors and with the same
/// options, from the served certificates without copies.
pub(crate) struct PathBuilder {
    pub(crate) anchors: TrustAnchors,
    pub(crate) algorithms: CachingAlgorithms,
    pub(crate) fingerprints: FingerprintCache,
    pub(crate) revocation: Option<Revocation>,
}

impl PathBuilder {
    /// Returns the best valid path.
    ///
    /// # Errors
    ///
    /// [`NoValidPath`] if there is none, or if the leaf is not valid for the name.
    pub(crate) fn validate(
        &self,
        presented: Presented<'_>,
        policies: &AppliedPolicies,
        now: UnixTime,
    ) -> Result<ValidPath, NoValidPath> {
        let leaf = EndEntityCert::try_from(presented.leaf).map_err(|_| NoValidPath)?;
        // Checked before any signature is verified. Otherwise a server could fill the signature
        // cache with chains of other hosts, or measure by time which of them the client has seen.
        leaf.verify_is_valid_for_subject_name(presented.name)
            .map_err(|_| NoValidPath)?;
        let crls = self.revocation.as_ref().map(Revocation::lists);
        let distinct = without_copies(presented.intermediates);
        let intermediates = distinct.as_deref().unwrap_or(presented.intermediates);
        let anchors = self.anchors_for(&leaf, intermediates);
        let best = RefCell::new(None);
        let evaluate = |candidate: &VerifiedPath<'_>| {
            let found = self.evaluate(candidate, presented, policies);
            if best.borrow().is_none() {
                limit_verifications(OTHER_PATHS_VERIFICATIONS);
            }
            match found.map(|found| self.keep_better(&mut best.borrow_mut(), found)) {
                Some(Search::Finished) => Ok(()),
                // On an error webpki tries the next path. This is the least specific error, so that
                // it never replaces another one.
                Some(Search::Continue) | None => Err(webpki::Error::UnknownIssuer),
            }
        };
        // The result is ignored: a recorded path is valid even if webpki exceeded its limits in the
        // search for a better one.
        let _ = leaf.verify_for_usage(
            &self.algorithms.as_dyn(),
            &anchors,
            intermediates,
            now,
            KeyUsage::server_auth(),
            self.revocation
                .as_ref()
                .zip(crls.as_deref())
                .and_then(|(revocation, crls)| revocation.options(crls)),
            Some(&evaluate),
        );
        limit_verifications(u32::MAX);
        best.into_inner().ok_or(NoValidPath)
    }

    /// Returns the anchors that can end a path. The others are omitted, because webpki compares
    /// each issuer with each anchor.
    fn anchors_for(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Vec<TrustAnchor<'_>> {
        let mut selected = Vec::new();
        self.anchors.select(leaf.issuer(), &mut selected);
        // A certificate that can't be parsed is not on any path.
        for issuer in intermediates.iter().filter_map(|der| issuer(der)) {
            self.anchors.select(issuer, &mut selected);
        }
        selected
    }

    /// Keeps the better of two paths. The search is finished when no path can be better.
    fn keep_better(&self, best: &mut Option<ValidPath>, found: ValidPath) -> Search {
        let rank = found.rank();
        // A report contains the last path that was tried (RFC 7469 section 3), so the last of
        // equally refused paths is kept.
        let better = best.as_ref().is_none_or(|best| {
            let known = best.rank();
            let is_refused = found.verdicts.refuses() && !found.repeats_anchor();
            rank < known || (rank == known && is_refused)
        });
        if better {
            *best = Some(found);
        }
        if rank == (false, false, self.anchors.best_origin(), false) {
            Search::Finished
        } else {
            Search::Continue
        }
    }

    /// Evaluates the policies on a path. Returns `None` only if webpki returned a certificate that
    /// it was not given.
    fn evaluate(
        &self,
        candidate: &VerifiedPath<'_>,
        presented: Presented<'_>,
        policies: &AppliedPolicies,
    ) -> Option<ValidPath> {
        let served = presented.intermediates.len() + 1;
        let mut found = ValidPath {
            verdicts: Verdicts::default(),
            path: Vec::with_capacity(served),
            fingerprints: Vec::new(),
            hash: self.fingerprints.hash,
            anchor: Arc::clone(self.anchors.owner_of(candidate.anchor())?),
        };
        found.path.push(0);
        for certificate in candidate.intermediate_certificates() {
            let der = certificate.der();
            let position = presented
                .intermediates
                .iter()
                .position(|certificate| *certificate == der)?;
            found.path.push(position + 1);
        }
        // For a host without policies no key is hashed.
        if !policies.is_empty() {
            found.fingerprints.reserve(served + 1);
            let leaf = candidate.end_entity().subject_public_key_info();
            found.fingerprints.push(self.fingerprints.of(&leaf));
            for certificate in candidate.intermediate_certificates() {
                let key = certificate.subject_public_key_info();
                found.fingerprints.push(self.fingerprints.of(&key));
            }
            found.fingerprints.push(found.anchor.fingerprint());
            found.verdicts = policies.judge(&found.fingerprints, found.anchor.origin);
        }
        Some(found)
    }
}

/// The signatures that may be verified in the search for a better path than the first valid one:
/// eight paths of four certificates, if no revocation list of more than 16 KiB is among them. Without this limit a server that the pins refuse could make a
/// client verify a hundred, webpki's own limit, where rustls verifies two.
const OTHER_PATHS_VERIFICATIONS: u32 = 32;

/// Returns the certificates without copies of earlier ones; `None` if there are no copies. For each
/// copy webpki would search all paths again: 90 copies made a verification 2,000 times as long.
fn without_copies<'a>(certificates: &'a [CertificateDer<'a>]) -> Option<Vec<CertificateDer<'a>>> {
    match certificates {
        // As many as nearly every server sends; comparing them is faster than hashing them.
        [] | [_] => return None,
        [one, other] if one != other => return None,
        _ => {}
    }
    let mut seen = HashSet::with_capacity_and_hasher(certificates.len(), RandomState::default());
    let all = certificates.iter().map(|der| der.as_ref());
    let distinct = all
        .filter(|der| seen.insert(*der))
        .map(CertificateDer::from);
    let distinct = distinct.collect::<Vec<_>>();
    (distinct.len() < certificates.len()).then_some(distinct)
}

/// The certificates that a server presented, and the name for which the leaf must be valid.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    pub(crate) leaf: &'a CertificateDer<'a>,
    pub(crate) intermediates: &'a [CertificateDer<'a>],
    pub(crate) name: &'a ServerName<'a>,
    #[cfg(feature = "ct")]
    pub(crate) ocsp_response: &'a [u8],
}

/// A path that webpki validated, with the evaluation of the policies on it.
pub(crate) struct ValidPath {
    verdicts: Verdicts,
    /// Positions in the served certificates, leaf first, without the anchor.
    path: Vec<usize>,
    /// Empty if no policy applies.
    fingerprints: Vec<SpkiFingerprint>,
    hash: KeyHash,
    anchor: Arc<Anchor>,
}

impl ValidPath {
    /// Returns whether the policies refuse the path.
    #[cfg(any(feature = "bundles", feature = "ct"))]
    pub(crate) fn is_refused(&self) -> bool {
        self.verdicts.refuses()
    }

    /// Returns the order of preference, the least value first, as [`Verdicts::rank`] defines it.
    fn rank(&self) -> (bool, bool, AnchorOrigin, bool) {
        self.verdicts.rank(self.anchor.origin)
    }

    /// Converts the path to an owned value that also contains all served certificates.
    pub(crate) fn into_chain(
        self,
        paths: &PathBuilder,
        presented: Presented<'_>,
        host: Option<Host>,
        now: UnixTime,
    ) -> ValidatedChain {
        let served = std::iter::once(presented.leaf)
            .chain(presented.intermediates)
            .map(|certificate| certificate.clone().into_owned());
        let fingerprints = if self.fingerprints.is_empty() {
            OnceLock::new()
        } else {
            self.fingerprints.into()
        };
        ValidatedChain::new(Facts {
            name: presented.name.to_owned(),
            host,
            served: served.collect(),
            path: self.path,
            anchor: self.anchor,
            anchors: paths.anchors.clone(),
            algorithms: paths.algorithms.provided,
            at: now,
            fingerprints,
            hash: self.hash,
            dates: OnceLock::new(),
        })
    }

    /// Returns whether the path ends in a served copy of the anchor, issued by the anchor itself.
    fn repeats_anchor(&self) -> bool {
        matches!(self.fingerprints[..], [.., last, anchor] if last == anchor)
    }
}

/// No path is valid, or the leaf is not valid for the name.
pub(crate) struct NoValidPath;

/// Whether webpki continues the search for a better path.
enum Search {
    Continue,
    Finished,
}
