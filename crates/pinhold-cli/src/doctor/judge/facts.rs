//! [`Facts`], what was published about CAs at a time, and until when their keys count.

use pinhold::SpkiFingerprint;
use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{Certainty, LockOut, RootStore};
use crate::doctor::judge::roots::Roots;
use crate::doctor::pki::{
    CaCertificate, CaEvent, CaEventKind, CaKey, CaKind, PkiData, ProgrammeDate, RootProgramme,
    Statement,
};

/// Data without what was published after the time of the judgement.
#[derive(Clone, Copy)]
pub(in crate::doctor) struct Facts<'a> {
    pub(in crate::doctor) data: &'a PkiData,
    roots: &'a Roots,
    at: UnixTime,
}

impl<'a> Facts<'a> {
    pub(super) fn new(data: &'a PkiData, roots: &'a Roots, at: UnixTime) -> Self {
        Self { data, roots, at }
    }

    pub(in crate::doctor) fn key(self, key: &SpkiFingerprint) -> Option<&'a CaKey> {
        self.data.key(key)
    }

    /// Returns what happens to a key and was published by then.
    pub(in crate::doctor) fn events(self, ca: &'a CaKey) -> impl Iterator<Item = &'a CaEvent> {
        let events = ca.events.iter();
        events.filter(move |event| event.statement.published <= self.at)
    }

    /// Returns the first event of this kind that is announced. One that may only happen (a risk)
    /// ends no pin.
    pub(in crate::doctor) fn event(self, ca: &'a CaKey, kind: CaEventKind) -> Option<&'a CaEvent> {
        let events = self.events(ca);
        let events =
            events.filter(|event| event.kind == kind && event.certainty != Certainty::Risk);
        events.min_by_key(|event| event.at)
    }

    pub(in crate::doctor) fn rotates(self, ca: &'a CaKey) -> Option<&'a Statement> {
        let statement = ca.rotates.as_ref();
        statement.filter(|statement| statement.published <= self.at)
    }

    /// Returns what will be required of all CAs.
    pub(in crate::doctor) fn programme_dates(self) -> impl Iterator<Item = &'a ProgrammeDate> {
        let dates = self.data.programme_dates().iter();
        dates.filter(move |date| date.statement.published <= self.at && date.at > self.at)
    }

    /// Returns the names of hosting services that change the CAs of their customers.
    pub(in crate::doctor) fn services(self) -> Vec<&'a str> {
        let services = self.data.services().iter();
        let services = services.filter(|service| service.statement.published <= self.at);
        let mut names = services.map(|service| &*service.name).collect::<Vec<_>>();
        names.dedup();
        names
    }

    /// Returns whether a key is that of a root, by the data or else by the lists of roots.
    /// Some lists have intermediates, too.
    pub(in crate::doctor) fn is_root(self, key: &SpkiFingerprint) -> bool {
        match self.key(key) {
            Some(ca) => ca.kind == CaKind::Root,
            None => self.roots.contains(key),
        }
    }

    /// Returns whether a list of roots no longer has a root.
    pub(super) fn has_left(self, key: &SpkiFingerprint, store: RootStore) -> bool {
        let ca = self.key(key).filter(|_| store != RootStore::Files);
        let event = ca.and_then(|ca| self.event(ca, CaEventKind::LeavesMozilla));
        event.is_some_and(|event| event.at <= self.at)
    }

    /// Returns when a root is no longer an anchor of clients with Mozilla's list.
    pub(super) fn anchor_end(self, key: &SpkiFingerprint, store: RootStore) -> Option<LockOut> {
        let root = self.roots.find(key);
        let ca = self.key(key);
        let name = ca.map(|ca| ca.name.clone());
        let name = name.or_else(|| root.map(|root| root.name.clone()))?;
        let own = ca.into_iter().flat_map(|ca| &ca.certificates);
        let own = own.filter(|certificate| certificate.issuer.as_ref() == Some(key));
        let own = own.map(|certificate| certificate.not_after).max();
        let end = root.and_then(|root| root.not_after).max(own);
        let end = end.map(|at| LockOut {
            at,
            certainty: Certainty::Certain,
            reason: format!("the certificate of {name} ends"),
        });
        let leaves = ca.and_then(|ca| self.event(ca, CaEventKind::LeavesMozilla));
        let leaves = leaves.filter(|_| store != RootStore::Files);
        let leaves = leaves.map(|event| LockOut {
            at: event.at,
            certainty: event.certainty,
            reason: format!("{name} leaves Mozilla's list of roots"),
        });
        earliest([end, leaves, self.is_in_no_list(key, &name, store)])
    }

    /// Returns an end that has passed, if a known root is in no list of roots.
    fn is_in_no_list(self, key: &SpkiFingerprint, name: &str, store: RootStore) -> Option<LockOut> {
        let ca = self.key(key).filter(|ca| ca.kind == CaKind::Root)?;
        let is_listed = ca.stores.contains(&RootProgramme::Mozilla) || self.roots.contains(key);
        // Which roots were listed before the date of the data is not known.
        let is_known = self.data.age(self.at).date <= self.at;
        (is_known && !is_listed && store != RootStore::Files).then(|| LockOut {
            at: self.at,
            certainty: Certainty::Certain,
            reason: format!("{name} is not in Mozilla's list of roots"),
        })
    }

    /// Returns when a known key can be on no valid path any more; `None` if that is not known.
    pub(super) fn key_end(self, key: &SpkiFingerprint) -> Option<LockOut> {
        self.end_within(key, MAX_ISSUERS)
    }

    /// As [`key_end`](Self::key_end), by paths with at most this number of issuers.
    fn end_within(self, key: &SpkiFingerprint, issuers: usize) -> Option<LockOut> {
        let store = self.store();
        let ca = self.key(key);
        let Some(ca) = ca else {
            return self.anchor_end(key, store);
        };
        let cross_signed = ca.certificates.iter().filter_map(|certificate| {
            let issuer = certificate.issuer.filter(|issuer| issuer != key)?;
            (ca.kind == CaKind::Intermediate || self.roots.contains(&issuer))
                .then(|| self.below(ca, certificate, &issuer, issuers))
        });
        let own = (ca.kind == CaKind::Root).then(|| self.anchor_end(key, store));
        let mut ends = cross_signed.chain(own.flatten()).collect::<Vec<_>>();
        if ends.is_empty() && ca.kind == CaKind::Intermediate {
            let last = ca.certificates.iter().max_by_key(|it| it.not_after);
            ends.extend(last.map(|it| certificate_end(&ca.name, it.not_after)));
        }
        let last = ends.into_iter().max_by_key(|end| end.at);
        match ca.kind {
            CaKind::Root => last,
            CaKind::Intermediate => earliest([last, self.replaced(ca, self.at)]),
        }
    }

    /// Returns until when a certificate leads to an anchor.
    fn below(
        self,
        ca: &'a CaKey,
        certificate: &CaCertificate,
        issuer: &SpkiFingerprint,
        issuers: usize,
    ) -> LockOut {
        let own = certificate_end(&ca.name, certificate.not_after);
        let cross = (ca.kind == CaKind::Root).then(|| self.cross_sign_end(ca));
        // The issuer may be a root that is in no list, but is cross-signed itself.
        let above = match issuers.checked_sub(1) {
            Some(issuers) => self.end_within(issuer, issuers),
            None => self.anchor_end(issuer, self.store()),
        };
        earliest([Some(own.clone()), cross.flatten(), above]).unwrap_or(own)
    }

    /// Returns the announced end of cross-signs of a root, if it is ahead: one that is served
    /// afterwards is another one, or is accepted by those who do not check revocation.
    pub(in crate::doctor) fn cross_sign_end(self, ca: &'a CaKey) -> Option<LockOut> {
        let events = self.events(ca).filter(|event| {
            event.kind == CaEventKind::CrossSignEnds && event.certainty != Certainty::Risk
        });
        let events = events.filter(|event| event.at > self.at);
        let event = events.min_by_key(|event| event.at)?;
        Some(LockOut {
            at: event.at,
            certainty: event.certainty,
            reason: format!("the cross-signed certificate of {} ends", ca.name),
        })
    }

    /// Returns when the operator of an intermediate issues from other keys. If it does so already,
    /// that is when the present leaf ends, whose successor has another issuer.
    pub(super) fn replaced(self, ca: &'a CaKey, leaf_end: UnixTime) -> Option<LockOut> {
        let event = self.event(ca, CaEventKind::Replaced)?;
        let (operator, name) = (&ca.operator, &ca.name);
        Some(if event.at > self.at {
            LockOut {
                at: event.at,
                certainty: event.certainty,
                reason: format!(
                    "{operator} replaces {name}: the next certificate is by another key"
                ),
            }
        } else {
            LockOut {
                at: leaf_end,
                certainty: event.certainty,
                reason: format!(
                    "{operator} has replaced {name}: the next certificate is by another key"
                ),
            }
        })
    }

    /// Returns the list of roots by whose rules roots end.
    fn store(self) -> RootStore {
        if self.roots.has(RootStore::Files) {
            RootStore::Files
        } else {
            RootStore::Mozilla
        }
    }
}

/// The number of issuers above a key that are followed. Cross-signs can form circles.
const MAX_ISSUERS: usize = 4;

pub(super) fn certificate_end(name: &str, at: UnixTime) -> LockOut {
    LockOut {
        at,
        certainty: Certainty::Certain,
        reason: format!("the certificate of {name} ends"),
    }
}

/// Returns the first of these ends.
pub(super) fn earliest(ends: impl IntoIterator<Item = Option<LockOut>>) -> Option<LockOut> {
    ends.into_iter().flatten().min_by_key(|end| end.at)
}

/// Returns the earlier of a date and another one, if there is one, each with its certainty.
pub(in crate::doctor) fn earliest_of(
    one: (UnixTime, Certainty),
    other: Option<(UnixTime, Certainty)>,
) -> (UnixTime, Certainty) {
    match other {
        Some(other) if other.0 < one.0 => other,
        _ => one,
    }
}
