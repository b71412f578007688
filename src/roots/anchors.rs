//! Roots in, [`TrustAnchors`] out: the roots, and where each came from.
//!
//! Whether pins are skipped depends on the origin of the anchor that ends the validated chain
//! ([RFC 7469 section 2.6]), so the origin is stated when the root is handed in, not guessed later.
//!
//! [RFC 7469 section 2.6]: https://www.rfc-editor.org/rfc/rfc7469#section-2.6

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
#[cfg(feature = "webpki-roots")]
use std::sync::LazyLock;
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, Der, TrustAnchor};

use crate::policy::{AnchorOrigin, SpkiFingerprint};

/// The roots that chains are validated against, each with its [`AnchorOrigin`].
///
/// An anchor with the same subject and key as a built-in one counts as built-in, however often it
/// is handed in; one of unknown origin that is also handed in as user-added, as that.
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
pub struct TrustAnchors(Arc<Set>);

/// What clones share.
#[derive(Default)]
struct Set {
    /// In webpki's search order: built-in ones first.
    all: Vec<Arc<Anchor>>,
    by_subject: Places,
}

/// Where anchors of a subject stand in a list, in that order. The application hands them in: a fast
/// hash does.
#[derive(Default)]
struct Places(HashMap<Box<[u8]>, Vec<usize>, RandomState>);

impl Places {
    fn of<'a>(subjects: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut places = Self::default();
        for (place, subject) in subjects.enumerate() {
            places.0.entry(subject.into()).or_default().push(place);
        }
        places
    }

    fn get(&self, subject: &[u8]) -> &[usize] {
        self.0.get(subject).map_or(&[], Vec::as_slice)
    }
}

/// A root, and what is known of it.
pub(crate) struct Anchor {
    pub(crate) origin: AnchorOrigin,
    /// For reports. A root of a compiled-in list has none.
    pub(crate) certificate: Option<Arc<CertificateDer<'static>>>,
    parsed: TrustAnchor<'static>,
    fingerprint: OnceLock<SpkiFingerprint>,
}

impl Anchor {
    pub(crate) fn subject(&self) -> &[u8] {
        &self.parsed.subject
    }

    /// Hashed once, when first asked for.
    pub(crate) fn fingerprint(&self) -> SpkiFingerprint {
        let hash = || SpkiFingerprint::of_anchor(&self.parsed);
        *self.fingerprint.get_or_init(hash)
    }

    /// Whether a path that ends here ends there as well.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.parsed == other.parsed && self.origin == other.origin
    }
}

/// An anchor with its certificate, where that is known.
pub(crate) type ParsedAnchor = (TrustAnchor<'static>, Option<Arc<CertificateDer<'static>>>);

impl TrustAnchors {
    /// No anchors at all: a chain can't be valid before some are added.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Mozilla's roots as the crate `webpki-roots` ships them, as built-in anchors.
    #[cfg(feature = "webpki-roots")]
    #[must_use]
    pub fn webpki_roots() -> Self {
        // To put them in order takes as long as to build sixty plain clients: once a process.
        static ROOTS: LazyLock<TrustAnchors> = LazyLock::new(|| {
            let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
            TrustAnchors::new().with_anchors(AnchorOrigin::BuiltIn, roots)
        });
        ROOTS.clone()
    }

    /// Adds certificates shipped with the application, such as its own CA. Without other anchors
    /// no public CA is trusted:
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
    /// [`AnchorError`] names the first certificate that can't be read.
    pub fn with_built_in<'a>(
        self,
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, AnchorError> {
        self.with_certificates(AnchorOrigin::BuiltIn, certificates)
    }

    /// Adds certificates of which nobody knows who added them.
    ///
    /// # Errors
    ///
    /// [`AnchorError`] names the first certificate that can't be read.
    pub fn with_unknown<'a>(
        self,
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, AnchorError> {
        self.with_certificates(AnchorOrigin::Unknown, certificates)
    }

    /// Adds certificates that the user or the administrator of the device added: chains to them
    /// skip pins, unless a policy says [`EnforcePins`](crate::UserAddedRoots::EnforcePins).
    ///
    /// # Errors
    ///
    /// [`AnchorError`] names the first certificate that can't be read.
    pub fn with_user_added<'a>(
        self,
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, AnchorError> {
        self.with_certificates(AnchorOrigin::UserAdded, certificates)
    }

    /// Adds anchors that are already parsed.
    #[must_use]
    pub fn with_anchors(
        self,
        origin: AnchorOrigin,
        anchors: impl IntoIterator<Item = TrustAnchor<'static>>,
    ) -> Self {
        self.with(origin, anchors.into_iter().map(|anchor| (anchor, None)))
    }

    /// Takes all anchors that are of unknown origin so far for user-added. Chains to them then skip
    /// pins, unless a policy says [`EnforcePins`](crate::UserAddedRoots::EnforcePins).
    ///
    /// Only for applications that know that on their devices, say a managed fleet, whatever root is
    /// in no list of known ones was added by the administrator. A root that Mozilla dropped is in
    /// no such list either, and `SSL_CERT_FILE` may name a whole public bundle.
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
        let known = self.0.all.iter().map(|anchor| {
            let origin = match anchor.origin {
                AnchorOrigin::Unknown => AnchorOrigin::UserAdded,
                origin => origin,
            };
            (origin, handed(anchor))
        });
        Self::in_order(known.collect())
    }

    pub(crate) fn with(
        self,
        origin: AnchorOrigin,
        added: impl Iterator<Item = ParsedAnchor>,
    ) -> Self {
        let known = self.0.all.iter();
        let known = known.map(|anchor| (anchor.origin, handed(anchor)));
        let added = added.map(|handed| (origin, handed));
        Self::in_order(known.chain(added).collect())
    }

    fn in_order(all: Vec<(AnchorOrigin, ParsedAnchor)>) -> Self {
        let places = Places::of(all.iter().map(|(_, (anchor, _))| &*anchor.subject));
        let origins = all.iter().map(|(origin, (anchor, _))| {
            let of_name = places.get(&anchor.subject).iter();
            of_name.filter_map(|place| all.get(*place)).fold(
                *origin,
                |best, (origin, (other, _))| {
                    // The same subject and key in two sets has the better origin in both. Both stay if
                    // they differ in name constraints.
                    if other.subject_public_key_info == anchor.subject_public_key_info {
                        best.merge(*origin)
                    } else {
                        best
                    }
                },
            )
        });
        let origins = origins.collect::<Vec<_>>();
        let mut each = Vec::<Anchor>::with_capacity(all.len());
        for (origin, (_, (parsed, certificate))) in origins.into_iter().zip(all) {
            match each.iter_mut().find(|known| known.parsed == parsed) {
                Some(known) => known.certificate = known.certificate.take().or(certificate),
                None => {
                    // Not sorted afterwards: that is eight kilobytes of a program.
                    let position = each.partition_point(|known| known.origin <= origin);
                    let anchor = Anchor {
                        origin,
                        certificate,
                        parsed,
                        fingerprint: OnceLock::new(),
                    };
                    each.insert(position, anchor);
                }
            }
        }
        let all = each.into_iter().map(Arc::new).collect::<Vec<_>>();
        let by_subject = Places::of(all.iter().map(|anchor| anchor.subject()));
        Self(Arc::new(Set { all, by_subject }))
    }

    /// Adds the anchors of this name, in webpki's order, unless they are there.
    pub(crate) fn select<'a>(&'a self, name: &[u8], selected: &mut Vec<TrustAnchor<'a>>) {
        if !selected.iter().any(|known| *known.subject == *name) {
            selected.extend(self.of_name(name).map(|anchor| borrowed(&anchor.parsed)));
        }
    }

    /// The anchor that a selected one was borrowed from.
    pub(crate) fn owner_of(&self, selected: &TrustAnchor<'_>) -> Option<&Arc<Anchor>> {
        let mut of_name = self.of_name(&selected.subject);
        of_name.find(|anchor| anchor.parsed == *selected)
    }

    fn of_name(&self, name: &[u8]) -> impl Iterator<Item = &Arc<Anchor>> {
        let of_name = self.0.by_subject.get(name).iter();
        of_name.filter_map(|place| self.0.all.get(*place))
    }

    /// Each anchor with its origin; built-in ones first.
    pub fn iter(&self) -> impl Iterator<Item = (AnchorOrigin, &TrustAnchor<'static>)> {
        let all = self.0.all.iter();
        all.map(|anchor| (anchor.origin, &anchor.parsed))
    }

    /// As rustls takes them.
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
        let mut handed = Vec::new();
        for (index, certificate) in certificates.into_iter().enumerate() {
            let parsed = parse(certificate.into_owned());
            handed.push(parsed.map_err(|reason| AnchorError { index, reason })?);
        }
        Ok(self.with(origin, handed.into_iter()))
    }

    /// The best origin that any path could end in.
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

pub(crate) fn parse(certificate: CertificateDer<'static>) -> Result<ParsedAnchor, rustls::Error> {
    let mut parsed = RootCertStore::empty();
    parsed.add(certificate.clone())?;
    // Never `None`: it was added.
    let anchor = parsed.roots.pop();
    let anchor = anchor.ok_or_else(|| rustls::Error::General("a root was lost".into()))?;
    Ok((anchor, Some(Arc::new(certificate))))
}

fn handed(anchor: &Arc<Anchor>) -> ParsedAnchor {
    (anchor.parsed.clone(), anchor.certificate.clone())
}

/// The same anchor, without its bytes.
fn borrowed<'a>(anchor: &'a TrustAnchor<'_>) -> TrustAnchor<'a> {
    TrustAnchor {
        subject: Der::from_slice(&anchor.subject),
        subject_public_key_info: Der::from_slice(&anchor.subject_public_key_info),
        name_constraints: anchor.name_constraints.as_deref().map(Der::from_slice),
    }
}

/// A certificate that can't be a trust anchor.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AnchorError {
    /// Its position among the certificates handed in, from 0.
    pub index: usize,
    /// What is wrong with it.
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
    fn the_same_subject_and_key_counts_as_built_in() {
        use AnchorOrigin::*;
        let twice = TrustAnchors::new()
            .with_anchors(UserAdded, [anchor(b"a", None)])
            .with_anchors(BuiltIn, [anchor(b"a", None)]);
        assert_eq!(origins(&twice), [BuiltIn]);
        let constrained = twice.with_anchors(UserAdded, [anchor(b"a", Some(b"constraints"))]);
        assert_eq!(origins(&constrained), [BuiltIn, BuiltIn]);
    }

    #[test]
    fn a_known_origin_outweighs_an_unknown_one() {
        use AnchorOrigin::*;
        for (first, then) in [(Unknown, UserAdded), (UserAdded, Unknown)] {
            let twice = TrustAnchors::new()
                .with_anchors(first, [anchor(b"a", None)])
                .with_anchors(then, [anchor(b"a", None)]);
            assert_eq!(origins(&twice), [UserAdded]);
        }
    }

    #[test]
    fn unknown_ones_become_user_added_by_word_only() {
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
    fn a_certificate_that_cannot_be_read_is_named() {
        let bad = CertificateDer::from_slice(b"no certificate");
        let error = TrustAnchors::new().with_user_added([bad]).unwrap_err();
        assert_eq!(error.index, 0);
    }
}
