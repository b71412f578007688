//! [`TrustAnchors`], the roots that chains are validated against, each with its origin.
//!
//! Whether pins are skipped depends on the origin of the anchor that ends the validated chain
//! ([RFC 7469 section 2.6]). The application therefore states the origin when it adds a root.
//!
//! [RFC 7469 section 2.6]: https://www.rfc-editor.org/rfc/rfc7469#section-2.6

use std::error::Error;
use std::fmt;
#[cfg(feature = "webpki-roots")]
use std::sync::LazyLock;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, Der, TrustAnchor};

use crate::policy::text::write_with_causes;
use crate::policy::{AnchorOrigin, SpkiFingerprint};
use crate::roots::subject_index::SubjectIndex;

/// The roots that chains are validated against, each with its [`AnchorOrigin`]. Cheap to clone.
///
/// An anchor may be added several times. With the subject and key of a built-in anchor it is
/// built-in, whatever its other origins; else, with those of a user-added one, it is user-added.
///
/// ```
/// use pinhold::TrustAnchors;
/// use pinhold::roots::AnchorOrigin;
///
/// # use rustls::pki_types::CertificateDer;
/// # fn certificates_the_user_imported() -> Vec<CertificateDer<'static>> { Vec::new() }
/// # #[cfg(feature = "webpki-roots")] {
/// let anchors = TrustAnchors::webpki_roots()
///     .with_user_added(certificates_the_user_imported())?;
/// assert!(anchors.iter().all(|(origin, _)| origin == AnchorOrigin::BuiltIn));
/// # }
/// # Ok::<(), pinhold::roots::AnchorError>(())
/// ```
#[derive(Clone, Default)]
pub struct TrustAnchors(Arc<AnchorSet>);

#[derive(Default)]
struct AnchorSet {
    /// In the order in which webpki tries them: by origin, built-in ones first.
    all: Vec<Arc<Anchor>>,
    by_subject: SubjectIndex,
}

/// A root with its origin.
pub(crate) struct Anchor {
    pub(crate) origin: AnchorOrigin,
    /// For reports. Roots of a compiled-in list have no certificate.
    pub(crate) certificate: Option<Arc<CertificateDer<'static>>>,
    parsed: TrustAnchor<'static>,
    fingerprint: OnceLock<SpkiFingerprint>,
}

impl Anchor {
    pub(crate) fn new(origin: AnchorOrigin, (parsed, certificate): ParsedAnchor) -> Self {
        Self {
            origin,
            certificate,
            parsed,
            fingerprint: OnceLock::new(),
        }
    }

    pub(crate) fn subject(&self) -> &[u8] {
        &self.parsed.subject
    }

    /// Returns the DER contents of the `SubjectPublicKeyInfo`.
    pub(crate) fn key(&self) -> &[u8] {
        &self.parsed.subject_public_key_info
    }

    /// Returns the fingerprint of the key, which is hashed on the first call.
    pub(crate) fn fingerprint(&self) -> SpkiFingerprint {
        let hash = || SpkiFingerprint::of_anchor(&self.parsed);
        *self.fingerprint.get_or_init(hash)
    }

    /// Returns whether both are the same root of the same origin. They may be in different sets.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.parsed == other.parsed && self.origin == other.origin
    }
}

/// An anchor and its certificate, if known.
pub(crate) type ParsedAnchor = (TrustAnchor<'static>, Option<Arc<CertificateDer<'static>>>);

impl TrustAnchors {
    /// Creates a set without anchors. No chain is valid until some are added.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns Mozilla's roots, as the crate `webpki-roots` contains them, as built-in anchors.
    #[cfg(feature = "webpki-roots")]
    #[must_use]
    pub fn webpki_roots() -> Self {
        // Indexing takes as long as building six clients without pins, so it is done once per
        // process.
        static ROOTS: LazyLock<TrustAnchors> = LazyLock::new(|| {
            let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
            TrustAnchors::new().with_anchors(AnchorOrigin::BuiltIn, roots)
        });
        ROOTS.clone()
    }

    /// Adds certificates shipped with the application, such as its own CA. If no other anchors are
    /// added, no public CA is trusted:
    ///
    /// ```
    /// use pinhold::TrustAnchors;
    /// use pinhold::roots::AnchorOrigin;
    /// use rustls::pki_types::{CertificateDer, pem::PemObject};
    ///
    /// const OWN_CA: &str = "\
    /// -----BEGIN CERTIFICATE-----
    /// MIIBcTCCARegAwIBAgIUGbV9p2Ck7U7jRNeh2NEi5SD6tpMwCgYIKoZIzj0EAwIw
    /// DTELMAkGA1UEAwwCQ0EwIBcNMjYxMTIzMDkwMzMzWhgPMjEyNjEwMzAwOTAzMzNa
    /// MA0xCzAJBgNVBAMMAkNBMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsbs0tVTR
    /// 9ENHqndrkLBhVo3miWzNxdh1ZR1xd1dm1/jHRmOAlp5tOalvKp/0GbQzOIlX5HnB
    /// 3/2DcYCUboeDuKNTMFEwHQYDVR0OBBYEFP9ICtUHILIBsHT8eJlxfxBRQy3MMB8G
    /// A1UdIwQYMBaAFP9ICtUHILIBsHT8eJlxfxBRQy3MMA8GA1UdEwEB/wQFMAMBAf8w
    /// CgYIKoZIzj0EAwIDSAAwRQIgK72rPj7SLumZ/DF/xW/cxtteC8Axy3rAs71u4iAf
    /// fVICIQCbQAxDgarxaK6kMyd25j56ZrIJ760v+nTYmXzSR21KJQ==
    /// -----END CERTIFICATE-----
    /// ";
    ///
    /// let own = CertificateDer::from_pem_slice(OWN_CA.as_bytes())?;
    /// let anchors = TrustAnchors::new().with_built_in([own])?;
    /// assert_eq!(anchors.iter().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AnchorError`] for the first certificate that can't be parsed.
    pub fn with_built_in<'a>(
        self,
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, AnchorError> {
        self.with_certificates(AnchorOrigin::BuiltIn, certificates)
    }

    /// Adds certificates of unknown origin. Pins are enforced on chains to them, and none are
    /// noted.
    ///
    /// # Errors
    ///
    /// [`AnchorError`] for the first certificate that can't be parsed.
    pub fn with_unknown<'a>(
        self,
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, AnchorError> {
        self.with_certificates(AnchorOrigin::Unknown, certificates)
    }

    /// Adds certificates that the user or the administrator of the device added. Pins are skipped
    /// on chains to them, unless a policy sets [`EnforcePins`](crate::UserAddedRoots::EnforcePins).
    ///
    /// # Errors
    ///
    /// [`AnchorError`] for the first certificate that can't be parsed.
    pub fn with_user_added<'a>(
        self,
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, AnchorError> {
        self.with_certificates(AnchorOrigin::UserAdded, certificates)
    }

    /// Adds parsed anchors, all of which have this origin.
    #[must_use]
    pub fn with_anchors(
        self,
        origin: AnchorOrigin,
        anchors: impl IntoIterator<Item = TrustAnchor<'static>>,
    ) -> Self {
        self.with_parsed(
            origin.of_root(),
            anchors.into_iter().map(|anchor| (anchor, None)),
        )
    }

    /// Marks all anchors that are of unknown origin so far as user-added. Pins are then skipped on
    /// chains to them, unless a policy sets [`EnforcePins`](crate::UserAddedRoots::EnforcePins).
    ///
    /// Only for applications on devices where every root outside Mozilla's list is known to be
    /// added by the administrator, such as a managed fleet. Elsewhere it may be a root that Mozilla
    /// has removed, or one of a public bundle that `SSL_CERT_FILE` names.
    ///
    /// ```
    /// use pinhold::TrustAnchors;
    /// use pinhold::roots::AnchorOrigin;
    ///
    /// let anchors = TrustAnchors::new().with_unknown([])?.with_unknown_as_user_added();
    /// assert!(anchors.iter().all(|(origin, _)| origin != AnchorOrigin::Unknown));
    /// # Ok::<(), pinhold::roots::AnchorError>(())
    /// ```
    #[must_use]
    pub fn with_unknown_as_user_added(self) -> Self {
        let all = self.0.all.iter().map(|anchor| {
            let origin = match anchor.origin {
                AnchorOrigin::Unknown => AnchorOrigin::UserAdded,
                origin => origin,
            };
            (origin, to_parsed(anchor))
        });
        Self::from_parsed(all.collect())
    }

    pub(crate) fn with_parsed(
        self,
        origin: AnchorOrigin,
        added: impl Iterator<Item = ParsedAnchor>,
    ) -> Self {
        let present = self.0.all.iter();
        let present = present.map(|anchor| (anchor.origin, to_parsed(anchor)));
        let added = added.map(|parsed| (origin, parsed));
        Self::from_parsed(present.chain(added).collect())
    }

    /// Creates a set in which equal anchors are merged and all are sorted by origin.
    fn from_parsed(all: Vec<(AnchorOrigin, ParsedAnchor)>) -> Self {
        let subjects = all.iter().map(|(_, (anchor, _))| &*anchor.subject);
        let by_subject = SubjectIndex::new(subjects);
        let origins = merged_origins(&all, &by_subject);
        let mut distinct = Vec::<Anchor>::with_capacity(all.len());
        let mut is_in_order = true;
        for (index, (origin, (_, (parsed, certificate)))) in
            origins.into_iter().zip(all).enumerate()
        {
            // Nearly every subject is unique, so that this is not a search of all for each.
            let namesake = by_subject.get(&parsed.subject).nth(1);
            let known =
                namesake.and_then(|_| distinct.iter_mut().find(|known| known.parsed == parsed));
            if let Some(known) = known {
                known.certificate = known.certificate.take().or(certificate);
                continue;
            }
            // Inserted in order, since a sort afterwards adds eight kilobytes to a binary.
            let position = distinct.partition_point(|known| known.origin <= origin);
            is_in_order &= position == index;
            distinct.insert(position, Anchor::new(origin, (parsed, certificate)));
        }
        let all = distinct.into_iter().map(Arc::new).collect::<Vec<_>>();
        let by_subject = if is_in_order {
            by_subject
        } else {
            SubjectIndex::new(all.iter().map(|anchor| anchor.subject()))
        };
        Self(Arc::new(AnchorSet { all, by_subject }))
    }

    /// Appends the anchors with this subject to `selected`, unless it has them already.
    pub(crate) fn select<'a>(&'a self, subject: &[u8], selected: &mut Vec<TrustAnchor<'a>>) {
        if !selected.iter().any(|known| *known.subject == *subject) {
            let found = self.with_subject(subject);
            selected.extend(found.map(|anchor| borrowed(&anchor.parsed)));
        }
    }

    /// Returns the anchor that [`select`](Self::select) borrowed from.
    pub(crate) fn owner_of(&self, selected: &TrustAnchor<'_>) -> Option<&Arc<Anchor>> {
        let mut found = self.with_subject(&selected.subject);
        found.find(|anchor| anchor.parsed == *selected)
    }

    fn with_subject<'a>(&'a self, subject: &[u8]) -> impl Iterator<Item = &'a Arc<Anchor>> {
        let positions = self.0.by_subject.get(subject);
        let found = positions.filter_map(|position| self.0.all.get(position));
        found.filter(move |anchor| anchor.subject() == subject)
    }

    /// Returns each anchor with its origin, built-in ones first.
    pub fn iter(&self) -> impl Iterator<Item = (AnchorOrigin, &TrustAnchor<'static>)> {
        let all = self.0.all.iter();
        all.map(|anchor| (anchor.origin, &anchor.parsed))
    }

    /// Returns the anchors of this origin.
    pub(crate) fn with_origin(&self, origin: AnchorOrigin) -> impl Iterator<Item = &Anchor> {
        let all = self.0.all.iter().map(|anchor| &**anchor);
        all.filter(move |anchor| anchor.origin == origin)
    }

    /// Returns the anchors as a root store of rustls.
    pub(crate) fn root_store(&self) -> RootCertStore {
        let roots = self.iter().map(|(_, anchor)| anchor.clone());
        RootCertStore {
            roots: roots.collect(),
        }
    }

    pub(crate) fn with_certificates<'a>(
        self,
        origin: AnchorOrigin,
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, AnchorError> {
        let mut anchors = Vec::new();
        for (index, certificate) in certificates.into_iter().enumerate() {
            let parsed = parse(certificate.into_owned());
            anchors.push(parsed.map_err(|reason| AnchorError { index, reason })?);
        }
        Ok(self.with_parsed(origin, anchors.into_iter()))
    }

    /// Returns the best origin that the anchor of a path can have.
    pub(crate) fn best_origin(&self) -> AnchorOrigin {
        match self.0.all.first() {
            Some(anchor) => anchor.origin,
            None => AnchorOrigin::BuiltIn,
        }
    }
}

impl fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |origin| {
            let all = self.0.all.iter();
            all.filter(|anchor| anchor.origin == origin).count()
        };
        f.debug_struct("TrustAnchors")
            .field("built_in", &count(AnchorOrigin::BuiltIn))
            .field("unknown", &count(AnchorOrigin::Unknown))
            .field("user_added", &count(AnchorOrigin::UserAdded))
            .finish()
    }
}

/// Returns the origin of each anchor: the best of those that have the same subject and key. Anchors
/// that differ in their name constraints alone are not merged, but have the same origin.
fn merged_origins(
    all: &[(AnchorOrigin, ParsedAnchor)],
    by_subject: &SubjectIndex,
) -> Vec<AnchorOrigin> {
    let merged = all.iter().map(|(origin, (anchor, _))| {
        let positions = by_subject.get(&anchor.subject);
        let namesakes = positions.filter_map(|position| all.get(position));
        namesakes.fold(*origin, |merged, (other_origin, (other, _))| {
            if other.subject == anchor.subject
                && other.subject_public_key_info == anchor.subject_public_key_info
            {
                merged.merge(*other_origin)
            } else {
                merged
            }
        })
    });
    merged.collect()
}

/// Parses a certificate as a trust anchor.
pub(crate) fn parse(certificate: CertificateDer<'static>) -> Result<ParsedAnchor, rustls::Error> {
    let mut store = RootCertStore::empty();
    store.add(certificate.clone())?;
    // Never `None`, because the certificate was added.
    let anchor = store.roots.pop();
    let anchor = anchor.ok_or_else(|| rustls::Error::General("root store is empty".into()))?;
    Ok((anchor, Some(Arc::new(certificate))))
}

fn to_parsed(anchor: &Arc<Anchor>) -> ParsedAnchor {
    (anchor.parsed.clone(), anchor.certificate.clone())
}

/// Returns an anchor that borrows the bytes of another.
fn borrowed<'a>(anchor: &'a TrustAnchor<'_>) -> TrustAnchor<'a> {
    TrustAnchor {
        subject: Der::from_slice(&anchor.subject),
        subject_public_key_info: Der::from_slice(&anchor.subject_public_key_info),
        name_constraints: anchor.name_constraints.as_deref().map(Der::from_slice),
    }
}

/// The error of a certificate that can't be a trust anchor.
///
/// ```
/// use pinhold::TrustAnchors;
/// use rustls::pki_types::CertificateDer;
///
/// let not_a_certificate = CertificateDer::from_slice(b"-----BEGIN");
/// let error = TrustAnchors::new().with_built_in([not_a_certificate]).unwrap_err();
/// assert_eq!(error.index, 0);
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct AnchorError {
    /// The position of the certificate among those given, counted from 0.
    pub index: usize,
    /// Why it can't be parsed.
    pub reason: rustls::Error,
}

impl fmt::Display for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "certificate {} can't be a trust anchor, expected DER X.509: {}",
            self.index, self.reason
        )
    }
}

/// Prints the text of `Display`, since `main` prints an error that it returns by `Debug`.
impl fmt::Debug for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for AnchorError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(subject: &'static [u8], constraints: Option<&'static [u8]>) -> TrustAnchor<'static> {
        TrustAnchor {
            subject: Der::from_slice(subject),
            subject_public_key_info: Der::from_slice(b"key"),
            name_constraints: constraints.map(Der::from_slice),
        }
    }

    fn origins(anchors: &TrustAnchors) -> Vec<AnchorOrigin> {
        anchors.iter().map(|(origin, _)| origin).collect()
    }

    #[test]
    fn built_in_anchors_come_first() {
        use AnchorOrigin::*;
        let anchors = TrustAnchors::new()
            .with_anchors(UserAdded, [anchor(b"a", None)])
            .with_anchors(Unknown, [anchor(b"b", None)])
            .with_anchors(BuiltIn, [anchor(b"c", None)]);
        assert_eq!(origins(&anchors), [BuiltIn, Unknown, UserAdded]);
        assert_eq!(*anchors.iter().next().unwrap().1, anchor(b"c", None));
    }

    #[test]
    fn an_anchor_with_subject_and_key_of_a_built_in_one_is_built_in() {
        use AnchorOrigin::*;
        let twice = TrustAnchors::new()
            .with_anchors(UserAdded, [anchor(b"a", None)])
            .with_anchors(BuiltIn, [anchor(b"a", None)]);
        assert_eq!(origins(&twice), [BuiltIn]);
        let constrained = twice.with_anchors(UserAdded, [anchor(b"a", Some(b"constraints"))]);
        assert_eq!(origins(&constrained), [BuiltIn, BuiltIn]);
    }

    #[test]
    fn a_known_origin_replaces_an_unknown_one() {
        use AnchorOrigin::*;
        for (first, then) in [(Unknown, UserAdded), (UserAdded, Unknown)] {
            let twice = TrustAnchors::new()
                .with_anchors(first, [anchor(b"a", None)])
                .with_anchors(then, [anchor(b"a", None)]);
            assert_eq!(origins(&twice), [UserAdded]);
        }
    }

    #[test]
    fn unknown_anchors_become_user_added_only_if_the_application_declares_it() {
        use AnchorOrigin::*;
        let all = TrustAnchors::new()
            .with_anchors(Unknown, [anchor(b"a", None)])
            .with_anchors(BuiltIn, [anchor(b"b", None)])
            .with_unknown_as_user_added();
        assert_eq!(origins(&all), [BuiltIn, UserAdded]);
        let later = all.with_anchors(Unknown, [anchor(b"c", None)]);
        assert_eq!(origins(&later), [BuiltIn, Unknown, UserAdded]);
    }

    #[test]
    fn an_anchor_is_not_selected_by_the_hash_of_its_subject_alone() {
        let mut anchors =
            TrustAnchors::new().with_anchors(AnchorOrigin::BuiltIn, [anchor(b"a", None)]);
        let set = Arc::get_mut(&mut anchors.0).unwrap();
        set.by_subject.add_collision(b"b", 0);
        for (subject, count) in [(b"b", 0), (b"a", 1)] {
            let mut selected = Vec::new();
            anchors.select(subject, &mut selected);
            assert_eq!(selected.len(), count);
        }
    }

    #[test]
    fn the_error_has_the_index_of_the_malformed_certificate() {
        let bad = CertificateDer::from_slice(b"no certificate");
        let error = TrustAnchors::new().with_user_added([bad]).unwrap_err();
        assert_eq!(error.index, 0);
    }
}
