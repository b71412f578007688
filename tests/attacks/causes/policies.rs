//! Causes that the policy itself shows, and the last ones, for which nothing more is known.

use pinhold::policy::{AfterExpiry, PinGroup};
use pinhold::tls::{CaEvidence, Cause, PathEvidence};
use pinhold::{PinPolicy, PinViolation, SpkiFingerprint};
use sha2::{Digest, Sha256};

use super::{HOST, Visitor, both, clocked, refused_by_both};
use crate::common::pki::{Ca, Leaf, leaf_params};
use crate::common::validated::built_in_anchors;
use crate::common::{NOW, at, now, policy_with, unrelated_pin};

#[tokio::test]
async fn other_keys_are_stated_if_nothing_more_is_known() {
    let root = Ca::root("Root");
    let policy = policy_with(unrelated_pin());
    let (leaf, anchors) = (root.leaf(&[HOST]), built_in_anchors(&[&root]));
    refused_by_both(&policy, &anchors, &leaf, &Cause::OtherKeys).await;
}

/// A pinned key on the path of an expired policy is not "no part of the validated chain".
#[tokio::test]
async fn an_expired_policy_states_whether_the_pinned_keys_are_present() {
    let root = Ca::root("Root");
    let (leaf, anchors) = (root.leaf(&[HOST]), built_in_anchors(&[&root]));
    for (pin, is_pinned_key_present) in [(leaf.pin(), true), (unrelated_pin(), false)] {
        let policy = policy_with(pin).expires(at(NOW - 100), AfterExpiry::Refuse);
        let expected = Cause::ExpiredPolicy {
            expired_at: Some(at(NOW - 100)),
            now: now(),
            is_pinned_key_present,
        };
        refused_by_both(&policy, &anchors, &leaf, &expected).await;
        for server in both(&leaf) {
            let visitor = Visitor::pinned(policy.clone(), &anchors);
            let error = visitor.visit(server.address).await.unwrap_err();
            let text = PinViolation::find(&error).unwrap().to_string();
            assert!(!text.contains("not part of the validated chain"), "{text}");
            assert!(!text.contains("is pinned"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_refused_key_comes_before_all_other_causes() {
    let root = Ca::root("Root");
    let (leaf, anchors) = (root.leaf(&[HOST]), built_in_anchors(&[&root]));
    let expired = policy_with(leaf.pin()).expires(at(NOW - 100), AfterExpiry::Refuse);
    for server in both(&leaf) {
        let builder = clocked().static_pins(HOST, expired.clone());
        let builder = builder.refuse_keys([root.pin()]);
        let visitor = Visitor::new(builder, &anchors);
        let keys = vec![root.pin()];
        assert_eq!(
            visitor.refused(server.address).await,
            Cause::RefusedKey { keys }
        );
    }
}

#[tokio::test]
async fn the_hash_of_a_certificate_is_the_cause_only_on_the_path() {
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let (leaf, anchors) = (root.leaf(&[HOST]), built_in_anchors(&[&root, &other]));
    let hash = |der: &[u8]| SpkiFingerprint::from_digest(Sha256::digest(der).into());
    let pin = hash(&leaf.certificate());
    let policy = policy_with(pin);
    let key = leaf.pin();
    refused_by_both(&policy, &anchors, &leaf, &Cause::WrongHash { pin, key }).await;
    // An attacker appends the genuine certificate: the right pin would refuse this chain, too.
    let impostor = other.leaf(&[HOST]).with_appended(leaf.chain.clone());
    refused_by_both(&policy, &anchors, &impostor, &Cause::OtherKeys).await;
}

/// The attack CVE-2016-2402: the genuine certificate appended to a chain of another trusted CA.
#[tokio::test]
async fn an_appended_certificate_without_relation_proves_nothing() {
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let genuine = root.intermediate("CA").leaf(&[HOST]);
    let anchors = built_in_anchors(&[&root, &other]);
    let impostor = other.leaf(&[HOST]).with_appended(genuine.chain.clone());
    for key in [genuine.pin(), ca_pin(&genuine)] {
        let expected = Cause::AppendedCertificate { key };
        refused_by_both(&policy_with(key), &anchors, &impostor, &expected).await;
    }
}

#[tokio::test]
async fn a_group_that_holds_shows_the_same_ca_or_the_same_key() {
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let ca = root.intermediate("CA");
    let anchors = built_in_anchors(&[&root, &other]);
    let leaf = ca.leaf(&[HOST]);
    let policy = |leaf: SpkiFingerprint| {
        let leaf = PinGroup::leaf([leaf, unrelated_pin()]).unwrap();
        let cas = PinGroup::ca([ca.pin(), unrelated_pin()]).unwrap();
        PinPolicy::all_of([leaf, cas]).unwrap()
    };
    let expected = Cause::SameCa {
        ca: ca.pin(),
        evidence: CaEvidence::Pinned,
    };
    let other_key = ca.leaf(&[HOST]);
    refused_by_both(&policy(other_key.pin()), &anchors, &leaf, &expected).await;

    let key = rcgen::KeyPair::generate().unwrap();
    let elsewhere = other.leaf_with_key(leaf_params(&[HOST]), key);
    let evidence = PathEvidence::PinnedLeaf {
        leaf: elsewhere.pin(),
    };
    let expected = Cause::OtherPath { evidence };
    refused_by_both(&policy(elsewhere.pin()), &anchors, &elsewhere, &expected).await;
}

/// Neither the CA nor the key of the server is new where the chain lacks another CA.
#[tokio::test]
async fn a_group_of_cas_that_does_not_hold_is_no_new_key() {
    let root = Ca::root("Root");
    let ca = root.intermediate("CA");
    let anchors = built_in_anchors(&[&root]);
    let leaf = ca.leaf(&[HOST]);
    let group = |pin| PinGroup::ca([pin, unrelated_pin()]).unwrap();
    let none = [Ca::root("Other").pin(), unrelated_pin()];
    let missing = PinGroup::ca(none).unwrap();
    let policy = |first| PinPolicy::all_of([first, missing.clone()]).unwrap();
    let evidence = PathEvidence::PinnedCa { ca: ca.pin() };
    let expected = Cause::OtherPath { evidence };
    refused_by_both(&policy(group(ca.pin())), &anchors, &leaf, &expected).await;

    let of_leaf = PinGroup::leaf([leaf.pin(), unrelated_pin()]).unwrap();
    let three = PinPolicy::all_of([of_leaf, group(ca.pin()), missing.clone()]).unwrap();
    let evidence = PathEvidence::PinnedLeaf { leaf: leaf.pin() };
    refused_by_both(&three, &anchors, &leaf, &Cause::OtherPath { evidence }).await;

    let any = PinGroup::new(none).unwrap();
    let unclear = PinPolicy::all_of([group(ca.pin()), any]).unwrap();
    refused_by_both(&unclear, &anchors, &leaf, &Cause::OtherKeys).await;
}

fn ca_pin(leaf: &Leaf) -> SpkiFingerprint {
    SpkiFingerprint::of_certificate(&leaf.chain[1]).unwrap()
}
