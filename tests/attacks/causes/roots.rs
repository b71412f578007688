//! Causes that roots and signatures show.

use pinhold::tls::{CaEvidence, Cause, PathEvidence};
use pinhold::{SpkiFingerprint, TrustAnchors, UserAddedRoots};
use rustls::pki_types::CertificateDer;

use super::{HOST, Visitor, both, refused_by_both};
use crate::common::peers::Peer;
use crate::common::pki::{Ca, lookalike};
use crate::common::server::Server;
use crate::common::validated::built_in_anchors;
use crate::common::{policy_with, unrelated_pin};
use pinhold::Pinning;

const OPERATOR: &str = "Internet Security Research Group";
const OTHER_OPERATOR: &str = "Google Trust Services LLC";

#[tokio::test]
async fn the_operators_of_built_in_roots_are_compared() {
    let root = Ca::root_of(OPERATOR, "ISRG Root X1");
    let sibling = Ca::root_of(OPERATOR, "ISRG Root X2");
    let other = Ca::root_of(OTHER_OPERATOR, "GTS Root R4");
    let anchors = built_in_anchors(&[&root, &sibling, &other]);
    let policy = policy_with(root.pin());
    for (ca, is_same) in [(&sibling, true), (&other, false)] {
        for server in both(&ca.intermediate("Sub").leaf(&[HOST])) {
            let visitor = Visitor::pinned(policy.clone(), &anchors);
            match visitor.refused(server.address).await {
                Cause::OtherPath {
                    evidence: PathEvidence::SameOperator { expected, seen, .. },
                } => {
                    assert!(is_same);
                    assert_eq!((expected.key, seen.key), (root.pin(), sibling.pin()));
                }
                Cause::OtherCa {
                    expected,
                    seen,
                    accepted_at,
                    other_pins,
                } => {
                    assert_eq!(other_pins, 1);
                    assert!(!is_same);
                    assert_eq!((expected[0].key, seen.key), (root.pin(), other.pin()));
                    assert_eq!(expected[0].organisation, OPERATOR);
                    assert_eq!(seen.organisation, OTHER_OPERATOR);
                    assert_eq!(accepted_at, None);
                }
                cause => panic!("{cause:?}"),
            }
        }
    }
}

/// A name of a certificate that the server sends is no name of a built-in root: an intermediate may
/// have any.
#[tokio::test]
async fn an_organisation_of_an_intermediate_decides_nothing() {
    let root = Ca::root_of(OPERATOR, "ISRG Root X1");
    let other = Ca::root("Other");
    let anchors = built_in_anchors(&[&root, &other]);
    let mut params = crate::common::pki::ca_params("R99");
    let subject = &mut params.distinguished_name;
    subject.push(rcgen::DnType::OrganizationName, OPERATOR);
    let leaf = other.intermediate_from(params, "R99").leaf(&[HOST]);
    let policy = policy_with(root.pin());
    refused_by_both(&policy, &anchors, &leaf, &Cause::OtherKeys).await;
}

#[tokio::test]
async fn a_cross_sign_is_proved_by_its_signature() {
    let (old, new) = (Ca::root("Old"), Ca::root("New"));
    let ca = new.intermediate("CA");
    let anchors = built_in_anchors(&[&new]);
    let policy = policy_with(old.pin());
    let leaf = ca.leaf(&[HOST]);
    let signed = leaf.with_appended([old.cross_sign(&ca), old.certificate()]);
    let evidence = PathEvidence::CrossSigned { pinned: old.pin() };
    refused_by_both(&policy, &anchors, &signed, &Cause::OtherPath { evidence }).await;

    // The names of a cross-sign, signed by another key, and the pinned key: public data.
    let forged = Ca::root("Old").cross_sign(&ca);
    let forged = leaf.with_appended([forged, with_key_of(&old)]);
    let expected = Cause::AppendedCertificate { key: old.pin() };
    refused_by_both(&policy, &anchors, &forged, &expected).await;
}

/// A certificate with name and key of a root that its owner did not make.
fn with_key_of(root: &Ca) -> CertificateDer<'static> {
    let anchors = built_in_anchors(&[root]);
    let (_, anchor) = anchors.iter().next().unwrap();
    lookalike(anchor)
}

#[tokio::test]
async fn a_ca_that_also_issued_the_pinned_key_is_the_same() {
    let root = Ca::root("Root");
    let ca = root.intermediate("CA");
    let (genuine, anchors) = (ca.leaf(&[HOST]), built_in_anchors(&[&root]));
    let pinned = genuine.pin();
    let renewed = ca.leaf(&[HOST]).with_appended([genuine.certificate()]);
    let expected = Cause::SameCa {
        ca: ca.pin(),
        evidence: CaEvidence::IssuedPinned { pinned },
    };
    refused_by_both(&policy_with(pinned), &anchors, &renewed, &expected).await;

    // One above the issuer may be that of another operator, which cross-signed the pinned key.
    let other = Ca::root("Other operator");
    let leaf = ca.leaf(&[HOST]);
    let appended = leaf.with_appended([root.cross_sign(&other)]);
    let evidence = PathEvidence::IssuedPinned {
        ca: root.pin(),
        pinned: other.pin(),
    };
    let expected = Cause::OtherPath { evidence };
    refused_by_both(&policy_with(other.pin()), &anchors, &appended, &expected).await;
}

/// nginx, `openssl s_server` and mitmproxy with a root that the platform has, and with one that the
/// user added.
#[tokio::test]
async fn the_origin_of_the_root_is_stated_for_an_interception() {
    let (root, attacker) = (Ca::root("Root"), Ca::root("Attacker"));
    let genuine = root.leaf(&[HOST]);
    let known = built_in_anchors(&[&root]);
    let policy = policy_with(genuine.pin()).user_added_roots(UserAddedRoots::EnforcePins);
    let with_unknown = |root| known.clone().with_unknown([root]).unwrap();
    let with_added = |root| known.clone().with_user_added([root]).unwrap();
    let leaf = attacker.leaf(&[HOST]).with_appended(genuine.chain.clone());
    let key = attacker.pin();
    let anchors = with_unknown(attacker.certificate());
    refused_by_both(&policy, &anchors, &leaf, &Cause::UnknownRoot { key }).await;
    let anchors = with_added(attacker.certificate());
    refused_by_both(&policy, &anchors, &leaf, &Cause::UserAddedRoot { key }).await;

    let server = Server::start(&genuine, &[]).await;
    let Some(proxy) = Peer::reverse_mitmproxy(server.address) else {
        return;
    };
    let certificate = proxy.root_of_mitmproxy();
    let key = SpkiFingerprint::of_certificate(&certificate).unwrap();
    // mitmproxy issues certificates that are valid from today.
    let visitor = |anchors: TrustAnchors| {
        let builder = Pinning::builder().static_pins(HOST, policy.clone());
        Visitor::new(builder, &anchors)
    };
    let unknown = visitor(with_unknown(certificate.clone()));
    assert_eq!(
        unknown.refused(proxy.address).await,
        Cause::UnknownRoot { key }
    );
    let added = visitor(with_added(certificate));
    assert_eq!(
        added.refused(proxy.address).await,
        Cause::UserAddedRoot { key }
    );
    let untrusted = visitor(known.clone());
    assert_eq!(untrusted.failed(proxy.address).await, Cause::UnknownIssuer);
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_root_without_organisation_is_not_compared() {
    let (root, other) = (Ca::root_of(OPERATOR, "Root"), Ca::root("Other"));
    let anchors = built_in_anchors(&[&root, &other]);
    for (pinned, seen) in [(&root, &other), (&other, &root)] {
        let policy = policy_with(pinned.pin());
        let leaf = seen.leaf(&[HOST]);
        refused_by_both(&policy, &anchors, &leaf, &Cause::OtherKeys).await;
    }
    let policy = policy_with(unrelated_pin());
    let leaf = root.leaf(&[HOST]);
    refused_by_both(&policy, &anchors, &leaf, &Cause::OtherKeys).await;
}
