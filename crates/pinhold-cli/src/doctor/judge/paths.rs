//! All valid paths of a chain to the roots of a list, and the pins that hold on each.

use std::cell::RefCell;
use std::collections::HashSet;

use pinhold::policy::PinRole;
use pinhold::{Host, SpkiFingerprint, UserAddedRoots};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath};

use crate::doctor::forecast::RootStore;
use crate::doctor::judge::facts::Facts;
use crate::doctor::judge::roots::{Root, RootList};
use crate::doctor::judge::served::{Certificate, short};
use crate::doctor::subject::{Pin, Subject};
use crate::network;

/// A valid path, leaf first.
pub(in crate::doctor) struct ValidPath {
    /// Positions in the served certificates, leaf first, without the anchor.
    certificates: Vec<usize>,
    /// The keys of these certificates and of the anchor.
    pub(in crate::doctor) keys: Vec<SpkiFingerprint>,
    names: Vec<String>,
    pub(in crate::doctor) store: RootStore,
    /// The last second at which it is valid.
    pub(super) until: Option<UnixTime>,
    /// Whether the pins are skipped on it, because the user added its root.
    pub(in crate::doctor) skips_pins: bool,
    /// Whether the pins hold on it, and no key of it is refused.
    pub(in crate::doctor) is_pinned: bool,
    pub(in crate::doctor) refused_key: Option<SpkiFingerprint>,
}

/// Why there is no valid path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Invalid {
    Expired,
    NotYetValid,
    /// The chain is valid with the root of this name, which has left Mozilla's list.
    RootLeft(String),
    Unreadable,
    UnknownIssuer,
    WrongName,
    Other(String),
}

/// What a chain is compared with.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    /// The name for which the leaf must be valid, if it is known.
    pub(super) name: Option<&'a Host>,
    pub(super) subject: &'a Subject,
    pub(super) facts: Facts<'a>,
    pub(super) at: UnixTime,
}

/// Returns all valid paths to the roots of a list.
pub(super) fn valid_paths(
    served: &[CertificateDer<'static>],
    parsed: &[Certificate],
    list: &RootList,
    question: Question<'_>,
) -> Result<Vec<ValidPath>, Invalid> {
    let (leaf, others) = served.split_first().ok_or(Invalid::Unreadable)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| Invalid::Unreadable)?;
    if let Some(name) = question.name {
        let name = ServerName::try_from(name.as_str()).map_err(|_| Invalid::WrongName)?;
        let is_valid = leaf.verify_is_valid_for_subject_name(&name);
        is_valid.map_err(|_| Invalid::WrongName)?;
    }
    let others = without_copies(others);
    let roots = list.roots.iter().collect::<Vec<_>>();
    let anchors = roots.iter().map(|root| root.anchor.clone());
    let anchors = anchors.collect::<Vec<_>>();
    let found = RefCell::new(Vec::new());
    let record = |candidate: &VerifiedPath<'_>| {
        let root = roots.iter().find(|root| root.anchor == *candidate.anchor());
        let path =
            root.and_then(|root| path(candidate, root, list.store, served, parsed, question));
        found.borrow_mut().extend(path);
        // webpki then tries the next path.
        Err(Error::UnknownIssuer)
    };
    let result = leaf.verify_for_usage(
        network::provider().signature_verification_algorithms.all,
        &anchors,
        &others,
        question.at,
        KeyUsage::server_auth(),
        None,
        Some(&record),
    );
    let has_left = |path: &ValidPath| {
        path.keys
            .last()
            .is_some_and(|key| question.facts.has_left(key, list.store))
    };
    let (left, found): (Vec<_>, Vec<_>) = found.into_inner().into_iter().partition(has_left);
    match (result, left.first().and_then(ValidPath::root_name)) {
        (_, Some(name)) if found.is_empty() => Err(Invalid::RootLeft(name.to_owned())),
        (Err(error), None) if found.is_empty() => Err(Invalid::of(&error)),
        _ => Ok(found),
    }
}

/// Returns a path as its rules see it; `None` if webpki returned a certificate that was not served.
fn path(
    candidate: &VerifiedPath<'_>,
    root: &Root,
    store: RootStore,
    served: &[CertificateDer<'static>],
    parsed: &[Certificate],
    question: Question<'_>,
) -> Option<ValidPath> {
    let mut certificates = vec![0];
    for certificate in candidate.intermediate_certificates() {
        let der = certificate.der();
        certificates.push(served.iter().position(|it| *it == der)?);
    }
    let on_path = certificates.iter().map(|position| parsed.get(*position));
    let on_path = on_path.collect::<Option<Vec<_>>>()?;
    let names = on_path.iter().map(|it| it.name());
    let names = names.chain([short(&root.name)]).map(str::to_owned);
    let keys = on_path.iter().map(|it| it.key).chain([root.key]);
    let keys = keys.collect::<Vec<_>>();
    let ends = on_path.iter().map(|it| it.facts.not_after);
    let anchor = question.facts.anchor_end(&root.key, store).map(|it| it.at);
    let subject = question.subject;
    let mut refused = keys.iter().filter(|key| subject.refused_keys.contains(key));
    let refused_key = refused.next().copied();
    let is_skipped = root.is_user_added && subject.user_added_roots != UserAddedRoots::EnforcePins;
    let all_hold = subject.groups.iter().all(|group| holds(group, &keys));
    Some(ValidPath {
        names: names.collect(),
        until: ends.chain(anchor).min(),
        skips_pins: is_skipped && refused_key.is_none(),
        is_pinned: all_hold && refused_key.is_none(),
        refused_key,
        keys,
        certificates,
        store,
    })
}

/// Returns whether a pin of the group is on the path.
fn holds(group: &[Pin], keys: &[SpkiFingerprint]) -> bool {
    group.iter().any(|pin| position(*pin, keys).is_some())
}

/// Returns the position of a pin on a path where it counts.
pub(in crate::doctor) fn position(pin: Pin, keys: &[SpkiFingerprint]) -> Option<usize> {
    let mut places = keys.iter().enumerate().filter(|(place, _)| match pin.role {
        PinRole::Leaf => *place == 0,
        PinRole::Ca => *place > 0,
        _ => true,
    });
    let (place, _) = places.find(|(_, key)| **key == pin.fingerprint)?;
    Some(place)
}

/// For each copy of a certificate webpki would search all paths again, and exceed its limits.
fn without_copies(certificates: &[CertificateDer<'static>]) -> Vec<CertificateDer<'static>> {
    let mut seen = HashSet::new();
    let certificates = certificates.iter();
    let distinct = certificates.filter(|&it| seen.insert(it.clone()));
    distinct.cloned().collect()
}

impl ValidPath {
    /// Returns the names of the certificates and of the anchor.
    pub(in crate::doctor) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns whether a pinned key on it counts.
    pub(super) fn is_checked(&self) -> bool {
        !self.skips_pins && self.refused_key.is_none()
    }

    pub(in crate::doctor) fn root_name(&self) -> Option<&str> {
        self.names.last().map(String::as_str)
    }

    /// Returns the certificates of the path among those that were served, leaf first.
    pub(in crate::doctor) fn certificates<'c>(
        &'c self,
        served: &'c [Certificate],
    ) -> impl Iterator<Item = &'c Certificate> {
        let positions = self.certificates.iter();
        positions.filter_map(|position| served.get(*position))
    }
}

impl Invalid {
    fn of(error: &Error) -> Self {
        match error {
            Error::CertExpired { .. } => Self::Expired,
            Error::CertNotValidYet { .. } => Self::NotYetValid,
            Error::CertNotValidForName(_) => Self::WrongName,
            Error::UnknownIssuer => Self::UnknownIssuer,
            Error::BadDer | Error::BadDerTime => Self::Unreadable,
            other => Self::Other(format!("{other:?}")),
        }
    }

    /// Returns what is wrong, as the end of a sentence about a chain.
    pub(in crate::doctor) fn text(&self) -> String {
        match self {
            Self::Expired => "a certificate has expired".to_owned(),
            Self::NotYetValid => "a certificate is not valid yet".to_owned(),
            Self::RootLeft(name) => format!("its root {name} has left Mozilla's list of roots"),
            Self::Unreadable => "a certificate can't be read".to_owned(),
            Self::UnknownIssuer => "no path leads to a root".to_owned(),
            Self::WrongName => "the certificate is for another name".to_owned(),
            Self::Other(error) => format!("validation fails with {error}"),
        }
    }
}
