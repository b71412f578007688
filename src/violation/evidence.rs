//! The derivation of the [`Cause`] of a pin violation from its facts.
//!
//! In this order, the first that applies: what the policy itself shows (refused key, expiry, kind of
//! pin), the origin of the root, chains with the same keys that the client accepted before, pinned
//! keys on the path, signatures between the served certificates, chains that the client accepted
//! before, the operators of built-in roots, an appended certificate.
//!
//! A server chooses which certificates it sends and all names in them. So nothing is derived from
//! these, except through a signature or through a key that the client's own data names.

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::chain::{Relation, ValidatedChain, name_text, organisation, value_text};
use crate::policy::{
    AnchorOrigin, AppliedPolicy, PinGroup, PinRole, PinSource, PolicyState, SpkiFingerprint, sha256,
};
use crate::roots::Anchor;
use crate::violation::cause::{BuiltInRoot, CaEvidence, Cause, PathEvidence};

/// The facts of a violation.
pub(crate) struct Evidence<'a> {
    pub(crate) policy: &'a AppliedPolicy,
    pub(crate) chain: &'a ValidatedChain,
    /// Chains of the same name that the same client accepted before, the oldest first.
    pub(crate) accepted: &'a [ValidatedChain],
    pub(crate) at: UnixTime,
}

impl<'a> Evidence<'a> {
    pub(crate) fn cause(&self) -> Cause {
        self.of_policy()
            .or_else(|| self.of_anchor())
            .or_else(|| self.of_same_keys())
            .or_else(|| self.of_pinned_path_keys())
            .or_else(|| self.of_signatures())
            .or_else(|| self.of_accepted_keys())
            .or_else(|| self.of_operators())
            .or_else(|| self.of_appended())
            .unwrap_or(Cause::OtherKeys)
    }

    /// Returns the pins that are the SHA-256 of a served certificate, each with the pin of that
    /// certificate's key.
    pub(crate) fn certificate_pins(
        &self,
    ) -> impl Iterator<
        Item = (
            &'a CertificateDer<'static>,
            SpkiFingerprint,
            SpkiFingerprint,
        ),
    > {
        let pins = &self.policy.pins;
        self.chain.served_keys().filter_map(move |(der, key)| {
            let digest = SpkiFingerprint::from_digest(sha256(&[der]));
            pins.contains(&digest).then_some((der, digest, key))
        })
    }

    /// Returns the served certificates with a pinned key that is not on the path, with that key.
    pub(crate) fn unused_pinned(
        &self,
    ) -> impl Iterator<Item = (&'a CertificateDer<'static>, SpkiFingerprint)> {
        let (pins, keys) = (&self.policy.pins, self.chain.fingerprints());
        // With pins of groups, a pinned key may be on the path of a refused chain.
        let served = self.chain.served_keys();
        served.filter(move |(_, key)| pins.contains(key) && !keys.contains(key))
    }

    fn of_policy(&self) -> Option<Cause> {
        let (policy, keys) = (self.policy, self.chain.fingerprints());
        if policy.source == PinSource::RefusedKeys {
            let refused = keys.iter().filter(|key| policy.pins.contains(key));
            let keys = refused.copied().collect();
            return Some(Cause::RefusedKey { keys });
        }
        if policy.state == PolicyState::Expired {
            return Some(Cause::ExpiredPolicy {
                expired_at: policy.expires_at,
                now: self.at,
                is_pinned_key_present: policy.matches(keys),
            });
        }
        // A certificate off the path may be appended by an attacker, to whose chain the right pin
        // would not apply.
        let mut wrong = self.certificate_pins();
        let (_, pin, key) = wrong.find(|(der, _, _)| self.is_on_path(der))?;
        Some(Cause::WrongHash { pin, key })
    }

    fn is_on_path(&self, certificate: &CertificateDer<'static>) -> bool {
        let mut path = self.chain.certificates();
        path.any(|der| der == certificate) || self.chain.anchor_certificate() == Some(certificate)
    }

    fn of_anchor(&self) -> Option<Cause> {
        let key = self.chain.anchor().fingerprint();
        match self.chain.anchor_origin() {
            AnchorOrigin::BuiltIn => None,
            #[cfg(feature = "direct-trust")]
            AnchorOrigin::Direct => Some(Cause::DirectKeyNotPinned { key }),
            #[cfg(pinhold_debug_overrides)]
            AnchorOrigin::DebugOverride => Some(Cause::OtherKeys),
            AnchorOrigin::Unknown => Some(Cause::UnknownRoot { key }),
            AnchorOrigin::UserAdded => Some(Cause::UserAddedRoot { key }),
        }
    }

    /// Returns the accepted chains to built-in roots. One to another root shows nothing, since an
    /// interception may have been accepted, too.
    fn accepted(&self) -> impl DoubleEndedIterator<Item = &ValidatedChain> {
        let is_built_in = |chain: &&ValidatedChain| chain.anchor_origin() == AnchorOrigin::BuiltIn;
        self.accepted.iter().filter(is_built_in)
    }

    fn of_same_keys(&self) -> Option<Cause> {
        let mut accepted = self.accepted();
        let same = accepted.find(|known| known.fingerprints() == self.chain.fingerprints())?;
        Some(Cause::ChangedPins {
            accepted_at: same.validated_at(),
        })
    }

    /// Returns the cause for a path that satisfies some of the groups that must all hold.
    fn of_pinned_path_keys(&self) -> Option<Cause> {
        let keys = self.chain.fingerprints();
        let (leaf, authorities) = keys.split_first()?;
        let groups = self.policy.groups();
        let pins = || groups.iter().flat_map(|group| group.iter());
        let accepts = |key, other| pins().any(|(role, pin)| role != other && pin == key);
        if accepts(leaf, PinRole::Ca) {
            let evidence = PathEvidence::PinnedLeaf { leaf: *leaf };
            return Some(Cause::OtherPath { evidence });
        }
        let ca = *authorities.iter().find(|key| accepts(key, PinRole::Leaf))?;
        let is_missing = |group: &&PinGroup| !group.matches(keys);
        let has = |group: &PinGroup, role| group.pins(role).is_some();
        let mut missing = groups.iter().filter(is_missing);
        if missing.clone().all(|group| has(group, PinRole::Leaf)) {
            let evidence = CaEvidence::Pinned;
            return Some(Cause::SameCa { ca, evidence });
        }
        // Whether a pin for any position is that of a leaf or of a CA is not known.
        let is_of_cas = |group| !has(group, PinRole::Leaf) && !has(group, PinRole::Any);
        let evidence = PathEvidence::PinnedCa { ca };
        missing
            .all(is_of_cas)
            .then_some(Cause::OtherPath { evidence })
    }

    fn of_signatures(&self) -> Option<Cause> {
        let mut unused = self.unused_pinned().take(MAX_RELATIONS);
        unused.find_map(|(certificate, pinned)| {
            Some(match self.chain.relation(certificate)? {
                Relation::Issuer => Cause::OtherPath {
                    evidence: PathEvidence::CrossSigned { pinned },
                },
                // A server may append any certificate of a CA above, such as a cross-sign of the key
                // of another operator.
                Relation::IssuedBy(ca) if self.chain.fingerprints().get(1) != Some(&ca) => {
                    Cause::OtherPath {
                        evidence: PathEvidence::IssuedPinned { ca, pinned },
                    }
                }
                Relation::IssuedBy(ca) => Cause::SameCa {
                    ca,
                    evidence: CaEvidence::IssuedPinned { pinned },
                },
            })
        })
    }

    fn of_accepted_keys(&self) -> Option<Cause> {
        let (leaf, authorities) = self.chain.fingerprints().split_first()?;
        let has_leaf = |known: &&ValidatedChain| known.fingerprints().first() == Some(leaf);
        if let Some(known) = self.accepted().find(has_leaf) {
            let at = known.validated_at();
            return Some(Cause::OtherPath {
                evidence: PathEvidence::Accepted { at },
            });
        }
        // The CA nearest to the leaf says most. Of several chains the last one is nearest in time.
        authorities.iter().find_map(|ca| {
            let mut accepted = self.accepted().rev();
            let known =
                accepted.find(|known| known.fingerprints().iter().skip(1).any(|it| it == ca))?;
            Some(Cause::SameCa {
                ca: *ca,
                evidence: CaEvidence::Accepted {
                    leaf: *known.fingerprints().first()?,
                    at: known.validated_at(),
                },
            })
        })
    }

    /// Compares the operator of the root with those of the pinned roots; if no root is pinned, with
    /// that of the chain that was accepted last.
    fn of_operators(&self) -> Option<Cause> {
        let seen = self.chain.anchor();
        let roots = self.chain.built_in_roots();
        let pinned = roots.filter(|root| self.policy.pins.contains(&root.fingerprint()));
        let pinned = pinned.collect::<Vec<_>>();
        if !pinned.is_empty() {
            let is_root = |pin: &SpkiFingerprint| {
                let mut roots = pinned.iter();
                roots.any(|root| root.fingerprint() == *pin)
            };
            let other_pins = self.policy.pins.iter().filter(|pin| !is_root(pin));
            let other_pins = other_pins.count();
            return compare_operators(&pinned, seen, None, other_pins);
        }
        let known = self.accepted().next_back()?;
        compare_operators(&[known.anchor()], seen, Some(known.validated_at()), 0)
    }

    fn of_appended(&self) -> Option<Cause> {
        let (_, key) = self.unused_pinned().next()?;
        Some(Cause::AppendedCertificate { key })
    }
}

/// Compares the organisations of roots. They must be built-in ones, whose names are the client's
/// own data. The values are compared byte by byte: by rules for similar names, a similar one would
/// count as the same operator. Returns `None` if a root states no organisation.
fn compare_operators(
    expected: &[&Anchor],
    seen: &Anchor,
    accepted_at: Option<UnixTime>,
    other_pins: usize,
) -> Option<Cause> {
    let operator = organisation(seen.subject())?;
    let same = |root: &&&Anchor| organisation(root.subject()) == Some(operator);
    if let Some(expected) = expected.iter().find(same) {
        return Some(Cause::OtherPath {
            evidence: PathEvidence::SameOperator {
                expected: built_in_root(expected),
                seen: built_in_root(seen),
                accepted_at,
            },
        });
    }
    let all_state_one = expected
        .iter()
        .all(|root| organisation(root.subject()).is_some());
    all_state_one.then(|| Cause::OtherCa {
        expected: expected.iter().map(|root| built_in_root(root)).collect(),
        seen: built_in_root(seen),
        accepted_at,
        other_pins,
    })
}

fn built_in_root(anchor: &Anchor) -> BuiltInRoot {
    BuiltInRoot {
        key: anchor.fingerprint(),
        subject: name_text(anchor.subject()),
        organisation: organisation(anchor.subject()).map_or_else(String::new, value_text),
    }
}

/// The served certificates with pinned keys whose relation is examined. A server may send any
/// number of them.
const MAX_RELATIONS: usize = 4;
