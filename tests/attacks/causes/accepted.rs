//! Causes that chains show which the same client accepted before.

use pinhold::tls::{CaEvidence, Cause, PathEvidence};
use pinhold::{PinPolicy, TrustAnchors, UserAddedRoots};
use rcgen::KeyPair;

use super::{HOST, Visitor, both};
use crate::common::pki::{Ca, Leaf, leaf_params};
use crate::common::validated::built_in_anchors;
use crate::common::{now, policy_with, unrelated_pin};

/// Checks the cause of a refusal after a chain was accepted, with both kinds of servers.
async fn refused_after(
    first: &Leaf,
    then: &Leaf,
    policy: &PinPolicy,
    anchors: &TrustAnchors,
    expected: &Cause,
) {
    for (accepted, refused) in both(first).into_iter().zip(both(then)) {
        let visitor = Visitor::pinned(policy.clone(), anchors);
        visitor.visit(accepted.address).await.unwrap();
        assert_eq!(visitor.refused(refused.address).await, *expected);
    }
}

#[tokio::test]
async fn a_new_key_of_the_ca_that_issued_the_accepted_one_is_stated() {
    let root = Ca::root("Root");
    let (ca, other) = (root.intermediate("CA"), root.intermediate("Other"));
    let anchors = built_in_anchors(&[&root]);
    let first = ca.leaf(&[HOST]);
    for (then, nearest) in [
        (ca.leaf(&[HOST]), ca.pin()),
        (other.leaf(&[HOST]), root.pin()),
    ] {
        let expected = Cause::SameCa {
            ca: nearest,
            evidence: CaEvidence::Accepted {
                leaf: first.pin(),
                at: now(),
            },
        };
        refused_after(
            &first,
            &then,
            &policy_with(first.pin()),
            &anchors,
            &expected,
        )
        .await;
    }
}

#[tokio::test]
async fn the_accepted_key_of_the_server_through_other_cas_is_another_path() {
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let anchors = built_in_anchors(&[&root, &other]);
    let pem = KeyPair::generate().unwrap().serialize_pem();
    let key = || KeyPair::from_pem(&pem).unwrap();
    let first = root.leaf_with_key(leaf_params(&[HOST]), key());
    let then = other.leaf_with_key(leaf_params(&[HOST]), key());
    let evidence = PathEvidence::Accepted { at: now() };
    let expected = Cause::OtherPath { evidence };
    refused_after(&first, &then, &policy_with(root.pin()), &anchors, &expected).await;
}

#[tokio::test]
async fn the_operator_of_the_accepted_root_is_compared_if_no_root_is_pinned() {
    let (root, other) = (Ca::root_of("One", "Root"), Ca::root_of("Two", "Other"));
    let anchors = built_in_anchors(&[&root, &other]);
    let (first, then) = (root.leaf(&[HOST]), other.leaf(&[HOST]));
    for (accepted, refused) in both(&first).into_iter().zip(both(&then)) {
        let visitor = Visitor::pinned(policy_with(first.pin()), &anchors);
        visitor.visit(accepted.address).await.unwrap();
        let cause = visitor.refused(refused.address).await;
        let Cause::OtherCa {
            expected,
            seen,
            accepted_at,
            other_pins: 0,
        } = cause
        else {
            panic!("{cause:?}");
        };
        assert_eq!(expected[0].organisation, "One");
        assert_eq!(seen.organisation, "Two");
        assert_eq!(accepted_at, Some(now()));
    }
}

#[tokio::test]
async fn pins_that_changed_are_stated() {
    let root = Ca::root("Root");
    let (leaf, anchors) = (root.leaf(&[HOST]), built_in_anchors(&[&root]));
    for server in both(&leaf) {
        let visitor = Visitor::pinned(policy_with(leaf.pin()), &anchors);
        visitor.visit(server.address).await.unwrap();
        let pins = policy_with(unrelated_pin());
        visitor.pinning.replace_pins([(HOST, pins)]).unwrap();
        let accepted_at = now();
        assert_eq!(
            visitor.refused(server.address).await,
            Cause::ChangedPins { accepted_at }
        );
    }
}

/// A chain of an inspecting proxy that pins were skipped for is no evidence.
#[tokio::test]
async fn an_accepted_chain_to_a_user_added_root_shows_nothing() {
    let (root, proxy) = (Ca::root("Root"), Ca::root("Proxy"));
    let anchors = built_in_anchors(&[&root]);
    let anchors = anchors.with_user_added([proxy.certificate()]).unwrap();
    let pem = KeyPair::generate().unwrap().serialize_pem();
    let key = || KeyPair::from_pem(&pem).unwrap();
    let first = proxy.leaf_with_key(leaf_params(&[HOST]), key());
    let then = root.leaf_with_key(leaf_params(&[HOST]), key());
    let policy = policy_with(unrelated_pin()).user_added_roots(UserAddedRoots::SkipPins);
    refused_after(&first, &then, &policy, &anchors, &Cause::OtherKeys).await;
}
