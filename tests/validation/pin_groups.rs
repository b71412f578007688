//! Pins by role and groups of pins, on paths of real handshakes.

use crate::common::pki::{Ca, Leaf, ca_params};
use crate::common::tls_setup::{TlsSetup, pinning_with, tls_setups, violation};
use crate::common::unrelated_pin;
use crate::common::validated::built_in_anchors;
use pinhold::policy::{PinGroup, PinRole};
use pinhold::{
    Decision, Enforcement, PinPolicy, SpkiFingerprint, TrustAnchors, VerifiedConnection,
};
use rcgen::KeyPair;

/// ```text
///  Root --> CA --> leaf
/// ```
struct Network {
    leaf: Leaf,
    ca: Ca,
    root: Ca,
}

impl Network {
    fn new() -> Self {
        let root = Ca::root("Root");
        let ca = root.intermediate("CA");
        let leaf = ca.leaf(&["example.com"]);
        Self { leaf, ca, root }
    }
}

fn group(role: PinRole, pin: SpkiFingerprint) -> PinGroup {
    let backup = SpkiFingerprint::from_digest([0xba; 32]);
    PinGroup::of_role(role, [pin, backup]).unwrap()
}

fn all_of(groups: impl IntoIterator<Item = PinGroup>) -> PinPolicy {
    PinPolicy::all_of(groups).unwrap()
}

/// Returns the keys of the chain that the policy accepts, or the violation's text.
async fn accepted(
    setup: &TlsSetup,
    policy: PinPolicy,
    leaf: &Leaf,
    anchors: &TrustAnchors,
) -> Result<Vec<SpkiFingerprint>, String> {
    let server = setup.serve(leaf, &[]).await;
    let pinning = pinning_with(policy);
    match setup.visit(&pinning, anchors, &server).await {
        Ok(response) => {
            let connection = response.extensions().get::<VerifiedConnection>().unwrap();
            assert!(matches!(connection.decision(), Decision::Pass));
            Ok(connection.chain().fingerprints().to_vec())
        }
        refused => {
            assert_eq!(server.requests(), 0);
            Err(violation(refused).unwrap().to_string())
        }
    }
}

#[tokio::test]
async fn a_pin_matches_only_in_the_position_of_its_role() {
    for setup in tls_setups() {
        let Network { leaf, ca, root } = Network::new();
        let anchors = built_in_anchors(&[&root]);
        for (role, pin, passes) in [
            (PinRole::Any, leaf.pin(), true),
            (PinRole::Any, root.pin(), true),
            (PinRole::Leaf, leaf.pin(), true),
            (PinRole::Leaf, ca.pin(), false),
            (PinRole::Leaf, root.pin(), false),
            (PinRole::Ca, leaf.pin(), false),
            (PinRole::Ca, ca.pin(), true),
            (PinRole::Ca, root.pin(), true),
        ] {
            let visit = accepted(&setup, all_of([group(role, pin)]), &leaf, &anchors).await;
            assert_eq!(visit.is_ok(), passes, "{role} {visit:?}");
        }
    }
}

/// What counts is the position on the validated path.
#[tokio::test]
async fn a_leaf_with_the_key_of_a_ca_is_no_ca() {
    let setup = &tls_setups()[0];
    let root = Ca::root("Root");
    let key = KeyPair::generate().unwrap();
    let copy = KeyPair::try_from(key.serialize_der()).unwrap();
    let ca = root.intermediate_with_key(ca_params("CA"), "CA", key);
    // Issued by the root: the CA with the same key is not on the path.
    let params = crate::common::pki::leaf_params(&["example.com"]);
    let leaf = root.leaf_with_key(params, copy);
    assert_eq!(leaf.pin(), ca.pin());
    let leaf = leaf.with_appended(ca.chain.clone());
    let anchors = built_in_anchors(&[&root]);
    let policy = || all_of([group(PinRole::Ca, ca.pin())]);
    assert!(accepted(setup, policy(), &leaf, &anchors).await.is_err());
}

#[tokio::test]
async fn leaf_and_ca_must_both_match() {
    for setup in tls_setups() {
        let Network { leaf, ca, root } = Network::new();
        let anchors = built_in_anchors(&[&root]);
        let impostor = ca.leaf(&["example.com"]);
        let both = || {
            all_of([
                group(PinRole::Leaf, leaf.pin()),
                group(PinRole::Ca, ca.pin()),
            ])
        };
        let visit = accepted(&setup, both(), &leaf, &anchors).await;
        assert_eq!(visit.unwrap(), [leaf.pin(), ca.pin(), root.pin()]);
        // A certificate that the pinned CA issued for another key.
        let visit = accepted(&setup, both(), &impostor, &anchors).await;
        let text = visit.unwrap_err();
        assert!(
            text.contains(" found:") && text.contains(" missing:"),
            "{text}"
        );
        // The key of the CA is on the path, so that no message may deny that.
        assert!(!text.contains("not part of the validated chain"), "{text}");
        // The pinned key with a certificate of another CA.
        let other = root.intermediate("Other");
        let key = KeyPair::try_from(leaf.key().secret_der()).unwrap();
        let params = crate::common::pki::leaf_params(&["example.com"]);
        let moved = other.leaf_with_key(params, key);
        assert_eq!(moved.pin(), leaf.pin());
        assert!(accepted(&setup, both(), &moved, &anchors).await.is_err());
        // Either alternative of one group is sufficient.
        let either = group(PinRole::Leaf, leaf.pin()).or(group(PinRole::Ca, ca.pin()));
        for leaf in [&impostor, &moved] {
            let visit = accepted(&setup, all_of([either.clone()]), leaf, &anchors).await;
            assert!(visit.is_ok(), "{visit:?}");
        }
    }
}

/// ```text
///  A --> X --> Issuing --+
///  B --> Issuing --------+--> leaf
///  C --> X --> Issuing --+   (X is the same key and name under A and C)
/// ```
/// One path satisfies the first group, another the second one, and only one both.
#[tokio::test]
async fn a_path_is_sought_that_satisfies_all_groups() {
    for setup in tls_setups() {
        let [a, b, c] = ["A", "B", "C"].map(Ca::root);
        let x = a.intermediate("X");
        let issuing = x.intermediate("Issuing");
        let cross = [b.cross_sign(&issuing), c.cross_sign(&x)];
        let certificates = issuing.chain.iter().cloned().chain(cross);
        let leaf = issuing.leaf(&["example.com"]);
        let own = leaf.certificate();
        let anchors = built_in_anchors(&[&a, &b, &c]);
        let certificates = certificates.collect::<Vec<_>>();
        let orders = [
            certificates.clone(),
            certificates.into_iter().rev().collect(),
        ];
        for order in orders {
            let served = std::iter::once(own.clone()).chain(order);
            let leaf = leaf.with_chain(served.collect());
            // A and B satisfy the first group, A and C the second one (by X).
            let roots = |pins: [&Ca; 2]| PinGroup::ca(pins.map(Ca::pin)).unwrap();
            for (groups, anchor) in [
                ([roots([&a, &b]), group(PinRole::Ca, x.pin())], &a),
                ([roots([&c, &b]), group(PinRole::Ca, x.pin())], &c),
                ([roots([&a, &b]), roots([&c, &b])], &b),
            ] {
                let groups = groups.to_vec();
                for groups in [groups.clone(), groups.into_iter().rev().collect()] {
                    let visit = accepted(&setup, all_of(groups), &leaf, &anchors).await;
                    assert_eq!(visit.unwrap().last(), Some(&anchor.pin()));
                }
            }
            let none = [group(PinRole::Ca, b.pin()), group(PinRole::Ca, x.pin())];
            let visit = accepted(&setup, all_of(none), &leaf, &anchors).await;
            assert!(visit.is_err());
        }
    }
}

#[tokio::test]
async fn groups_of_a_candidate_and_of_report_only_pins_only_report() {
    for setup in tls_setups() {
        let Network { leaf, ca, root } = Network::new();
        let server = setup.serve(&leaf, &[]).await;
        let anchors = built_in_anchors(&[&root]);
        let groups = |leaf, ca| [group(PinRole::Leaf, leaf), group(PinRole::Ca, ca)];
        for (leaf_pin, ca_pin, passes) in [
            (leaf.pin(), ca.pin(), true),
            (ca.pin(), leaf.pin(), false),
            (leaf.pin(), unrelated_pin(), false),
            (unrelated_pin(), ca.pin(), false),
        ] {
            let enforced = all_of([group(PinRole::Leaf, leaf.pin())]);
            let candidate = enforced.candidate_all_of(groups(leaf_pin, ca_pin));
            let report_only = all_of(groups(leaf_pin, ca_pin));
            let report_only = report_only.enforcement(Enforcement::ReportOnly);
            for policy in [candidate.unwrap(), report_only] {
                let pinning = pinning_with(policy);
                let visit = setup.visit(&pinning, &anchors, &server).await.unwrap();
                let connection = visit.extensions().get::<VerifiedConnection>().unwrap();
                match connection.decision() {
                    Decision::Pass => assert!(passes),
                    Decision::ReportOnly(violation) => {
                        assert!(!passes);
                        assert_eq!(violation.policy().groups().len(), 2);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

/// A pin computed from a whole certificate never matches.
#[tokio::test]
async fn a_refusal_names_pins_of_certificates_and_the_right_pins() {
    let setup = &tls_setups()[0];
    let Network { leaf, ca, root } = Network::new();
    let leaf = leaf.with_appended([root.certificate()]);
    let server = setup.serve(&leaf, &[]).await;
    let anchors = built_in_anchors(&[&root]);
    let digest = |der: &[u8]| {
        let digest = rustls_digest(der);
        SpkiFingerprint::from_digest(digest)
    };
    let ca_certificate = ca.chain[0].clone();
    for (certificate, key) in [
        (leaf.certificate(), leaf.pin()),
        (ca_certificate, ca.pin()),
        (root.certificate(), root.pin()),
    ] {
        let wrong = digest(&certificate);
        for policy in [
            PinPolicy::without_backup([wrong]).unwrap(),
            all_of([group(PinRole::Leaf, wrong), group(PinRole::Ca, ca.pin())]),
        ] {
            let pinning = pinning_with(policy);
            let violation = violation(setup.visit(&pinning, &anchors, &server).await);
            let violation = violation.unwrap();
            assert_eq!(violation.certificate_pins(), [(wrong, key)]);
            let text = violation.to_string();
            assert!(text.contains(&wrong.to_string()) && text.contains(&key.to_string()));
        }
    }
    let pinning = pinning_with(PinPolicy::without_backup([unrelated_pin()]).unwrap());
    let other = violation(setup.visit(&pinning, &anchors, &server).await).unwrap();
    assert!(other.certificate_pins().is_empty());
}

/// SHA-256 by the provider of the tests.
fn rustls_digest(bytes: &[u8]) -> [u8; 32] {
    let provider = crate::common::provider();
    let suite = provider.cipher_suites.iter().find_map(|suite| {
        let suite = suite.tls13()?;
        let hash = suite.common.hash_provider;
        (hash.output_len() == 32).then_some(hash)
    });
    suite.unwrap().hash(bytes).as_ref().try_into().unwrap()
}
