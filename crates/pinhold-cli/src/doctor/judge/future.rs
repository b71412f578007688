//! [`Future`], what becomes of one pin.

use pinhold::SpkiFingerprint;
use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{Certainty, LockOut, RootStore};
use crate::doctor::judge::case::{Case, Chain};
use crate::doctor::judge::facts::{certificate_end, earliest};
use crate::doctor::judge::paths::{ValidPath, position};
use crate::doctor::judge::served::short;
use crate::doctor::pki::{CaKey, CaKind};
use crate::doctor::subject::Pin;

/// A pin, what has its key, and until when it holds.
pub(in crate::doctor) struct Future<'a> {
    pub(in crate::doctor) pin: Pin,
    pub(in crate::doctor) name: String,
    pub(in crate::doctor) kind: Kind,
    /// What is known of the key, if it is that of a CA.
    pub(in crate::doctor) ca: Option<&'a CaKey>,
    /// Whether a valid path contains the key now; `None` if no chain is valid.
    pub(in crate::doctor) holds: Option<bool>,
    pub(in crate::doctor) end: Option<LockOut>,
}

/// What has the key of a pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Kind {
    /// The pin is the SHA-256 of a certificate, whose key has this pin.
    Certificate(SpkiFingerprint),
    Intermediate,
    Leaf,
    Root,
    /// No known certificate, as for a backup that is kept offline.
    Unknown,
}

impl<'a> Future<'a> {
    pub(super) fn new(pin: Pin, case: &Case<'a>) -> Self {
        let facts = case.setting.facts;
        let ca = facts.key(&pin.fingerprint);
        let is_checked = case.paths().any(|path| !path.skips_pins);
        let on = |path: &ValidPath| position(pin, &path.keys).filter(|_| path.is_checked());
        let holds = is_checked.then(|| case.paths().any(|path| on(path).is_some()));
        let (kind, name) = kind(pin, case);
        let end = match &kind {
            Kind::Certificate(_) => Some(LockOut {
                at: case.setting.at,
                certainty: Certainty::Certain,
                reason: format!("the pin is the SHA-256 of a certificate, {name}, and never holds"),
            }),
            _ if case.subject.refused_keys.contains(&pin.fingerprint) => Some(LockOut {
                at: case.setting.at,
                certainty: Certainty::Certain,
                reason: format!("{name} is a refused key, and never holds"),
            }),
            _ if holds == Some(true) => live_end(pin, case),
            _ => facts.key_end(&pin.fingerprint),
        };
        Self {
            pin,
            name,
            kind,
            ca,
            holds,
            end,
        }
    }

    /// Returns whether the pin can hold after this time.
    pub(in crate::doctor) fn outlives(&self, at: UnixTime) -> bool {
        self.end.as_ref().is_none_or(|end| end.at > at)
    }

    /// Returns what to do, if anything.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Certificate(_) => Some("replace it by the pin of the key of that certificate"),
            Kind::Leaf if self.holds == Some(true) => {
                Some("renew the certificate with the same key, or with that of a backup pin")
            }
            Kind::Intermediate => Some("pin a root of the CA, or a key of your own, in its place"),
            Kind::Root if self.end.is_some() => {
                Some("move the server, before that date, to a chain with another pinned key")
            }
            _ => None,
        }
    }
}

/// Returns what has the key of a pin, and its name.
fn kind(pin: Pin, case: &Case<'_>) -> (Kind, String) {
    let key = pin.fingerprint;
    let facts = case.setting.facts;
    let mut leaves = case.leaves();
    if let Some((_, leaf)) = leaves.find(|(_, leaf)| leaf.key == key) {
        return (Kind::Leaf, leaf.name().to_owned());
    }
    if let Some(ca) = facts.key(&key) {
        let kind = match ca.kind {
            CaKind::Root => Kind::Root,
            CaKind::Intermediate => Kind::Intermediate,
        };
        return (kind, ca.name.clone());
    }
    if let Some(root) = case.setting.roots.find(&key) {
        return (Kind::Root, short(&root.name).to_owned());
    }
    let mut served = case.chains.iter().flat_map(Chain::certificates);
    if let Some(found) = served.find(|it| it.key == key) {
        let is_root = found.facts.is_self_issued();
        let kind = if is_root {
            Kind::Root
        } else {
            Kind::Intermediate
        };
        return (kind, found.name().to_owned());
    }
    if let Some(certificate) = case.setting.known.certificate(&key) {
        let name = short(&certificate.subject).to_owned();
        return (Kind::Certificate(certificate.pin), name);
    }
    (Kind::Unknown, "unknown key".to_owned())
}

/// Returns when a pin that holds now ends on the last of the chains.
fn live_end(pin: Pin, case: &Case<'_>) -> Option<LockOut> {
    let chains = case.chains.iter();
    let ends = chains.filter_map(|chain| end_on(pin, chain, case));
    ends.reduce(later)?
}

/// Returns when a pin ends on a chain with each list of roots, the first of these ends; `None` if no
/// valid path of the chain has the pin.
pub(super) fn end_on(pin: Pin, chain: &Chain<'_>, case: &Case<'_>) -> Option<Option<LockOut>> {
    let mut by_store = Vec::<(RootStore, Option<LockOut>)>::new();
    for path in chain.paths().filter(|path| path.is_checked()) {
        let Some(place) = position(pin, &path.keys) else {
            continue;
        };
        let end = path_end(place, path, chain, case);
        match by_store.iter_mut().find(|(store, _)| *store == path.store) {
            None => by_store.push((path.store, end)),
            Some((_, known)) => *known = later(known.take(), end),
        }
    }
    let is_found = !by_store.is_empty();
    is_found.then(|| earliest(by_store.into_iter().map(|(_, end)| end)))
}

/// Returns the later end. `None` is that of a path whose end is not known.
fn later(one: Option<LockOut>, other: Option<LockOut>) -> Option<LockOut> {
    let (one, other) = (one?, other?);
    Some(if one.at >= other.at { one } else { other })
}

/// Returns when a pin stops to hold on a path. Intermediates between leaf and pin are replaced by
/// their CA; a cross-sign of a root is not.
fn path_end(place: usize, path: &ValidPath, chain: &Chain<'_>, case: &Case<'_>) -> Option<LockOut> {
    let facts = case.setting.facts;
    let certificates = path.certificates(chain.certificates());
    let certificates = certificates.collect::<Vec<_>>();
    let leaf_end = certificates.first()?.facts.not_after;
    if place == 0 {
        return Some(LockOut {
            at: leaf_end,
            certainty: Certainty::Risk,
            reason: "the certificate of the pinned server key ends: the pin holds afterwards only \
                     if the next one has the same key"
                .to_owned(),
        });
    }
    let mut ends = Vec::new();
    for (index, certificate) in certificates.iter().enumerate().skip(1) {
        let ca = facts.key(&certificate.key);
        if facts.is_root(&certificate.key) {
            let name = certificate.name();
            let mut end = certificate_end(name, certificate.facts.not_after);
            end.reason = format!("the cross-signed certificate of {name} ends");
            ends.push(Some(end));
            ends.push(ca.and_then(|ca| facts.cross_sign_end(ca)));
        } else if index == place {
            let (name, end) = (certificate.name(), certificate.facts.not_after);
            ends.push(Some(certificate_end(name, end)));
            ends.push(ca.and_then(|ca| facts.replaced(ca, leaf_end)));
        }
    }
    let anchor = path.keys.last()?;
    ends.push(facts.anchor_end(anchor, path.store));
    earliest(ends)
}
