//! Refused keys: at every position of the validated path, and whatever else the pins say.

use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Names, Server, get};
use crate::common::tls_setup::{TlsSetup, builder, tls_setups, violation};
use crate::common::validated::built_in_anchors;
use crate::common::{policy_with, unrelated_pin};
use pinhold::policy::PinSource;
use pinhold::{
    Decision, Enforcement, PinPolicy, PinViolation, Pinning, PinningBuilder, SpkiFingerprint,
    TrustAnchors, UserAddedRoots, VerifiedConnection,
};

fn build(builder: PinningBuilder, keys: &[SpkiFingerprint]) -> Pinning {
    builder.refuse_keys(keys).build().unwrap()
}

#[track_caller]
fn assert_refuses(violation: &PinViolation, keys: &[SpkiFingerprint]) {
    let policy = violation.policy();
    assert_eq!(policy.source, PinSource::RefusedKeys, "{violation}");
    assert_eq!(
        policy.pins.iter().collect::<Vec<_>>(),
        keys.iter().collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_refused_key_is_refused_at_every_position_and_beats_a_matching_pin() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let (upper, anchors) = (root.intermediate("Upper"), built_in_anchors(&[&root]));
        let lower = upper.intermediate("Lower");
        let leaf = lower.leaf(&["example.com"]);
        let server = setup.serve(&leaf, &[]).await;
        let path = [leaf.pin(), lower.pin(), upper.pin(), root.pin()];
        for key in path {
            let pinned = PinPolicy::new(path).unwrap();
            for pins in [builder(), builder().static_pins("example.com", pinned)] {
                let pinning = build(pins, &[key, unrelated_pin()]);
                let visit = setup.visit(&pinning, &anchors, &server).await;
                let violation = violation(visit).unwrap();
                assert_refuses(&violation, &[key]);
                assert_eq!(violation.chain().fingerprints(), path);
                let text = violation.to_string();
                assert!(!text.contains("not part of the validated chain"), "{text}");
            }
        }
        assert_eq!(server.requests(), 0);
        let pinning = build(builder(), &[unrelated_pin()]);
        let visit = setup.visit(&pinning, &anchors, &server).await.unwrap();
        let connection = visit.extensions().get::<VerifiedConnection>().unwrap();
        assert!(matches!(connection.decision(), Decision::NotPinned));
    }
}

#[tokio::test]
async fn a_refused_key_in_a_served_certificate_beside_the_path_refuses_nothing() {
    for setup in tls_setups() {
        let (root, other) = (Ca::root("Root"), Ca::root("Other"));
        let ca = root.intermediate("CA");
        let sibling = root.intermediate("Sibling");
        let beside = [other.certificate(), sibling.chain[0].clone()];
        let leaf = ca.leaf(&["example.com"]).with_appended(beside);
        let server = setup.serve(&leaf, &[]).await;
        let pinning = build(builder(), &[other.pin(), sibling.pin()]);
        let anchors = built_in_anchors(&[&root]);
        let visit = setup.visit(&pinning, &anchors, &server).await;
        assert!(visit.is_ok(), "{visit:?}");
    }
}

/// ```text
///  Root A --> Issuing -----------------+
///                                      +--> leaf
///  Root B --> Issuing (cross-signed) --+
/// ```
fn cross_signed() -> ([Ca; 3], Leaf, TrustAnchors) {
    let [a, b] = ["A", "B"].map(Ca::root);
    let issuing = a.intermediate("Issuing");
    let leaf = issuing.leaf(&["example.com"]);
    let leaf = leaf.with_appended([b.cross_sign(&issuing)]);
    let anchors = built_in_anchors(&[&a, &b]);
    ([a, b, issuing], leaf, anchors)
}

#[tokio::test]
async fn another_valid_path_without_the_refused_key_is_used() {
    for setup in tls_setups() {
        let ([a, b, issuing], leaf, anchors) = cross_signed();
        let server = setup.serve(&leaf, &[]).await;
        for (refused, used) in [(&a, &b), (&b, &a)] {
            for pins in [
                builder(),
                builder().static_pins("example.com", policy_with(leaf.pin())),
            ] {
                let pinning = build(pins, &[refused.pin()]);
                let visit = setup.visit(&pinning, &anchors, &server).await.unwrap();
                let connection = visit.extensions().get::<VerifiedConnection>().unwrap();
                let path = [leaf.pin(), issuing.pin(), used.pin()];
                assert_eq!(connection.chain().fingerprints(), path);
            }
            // The path with the pin has the refused key, and the other one has no pin.
            let pins = builder().static_pins("example.com", policy_with(refused.pin()));
            let pinning = build(pins, &[refused.pin()]);
            let visit = setup.visit(&pinning, &anchors, &server).await;
            assert!(violation(visit).is_some());
        }
        let both = build(builder(), &[a.pin(), b.pin()]);
        let visit = setup.visit(&both, &anchors, &server).await;
        assert_eq!(
            violation(visit).unwrap().policy().source,
            PinSource::RefusedKeys
        );
    }
}

#[tokio::test]
async fn a_refused_key_beats_report_only_pins_and_skipped_pins() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let server = setup.serve(&leaf, &[]).await;
        let user_added = TrustAnchors::new().with_user_added([root.certificate()]);
        let user_added = user_added.unwrap();
        let skips = policy_with(unrelated_pin()).user_added_roots(UserAddedRoots::SkipPins);
        let report_only = |pin| policy_with(pin).enforcement(Enforcement::ReportOnly);
        let candidate = policy_with(leaf.pin())
            .candidate([unrelated_pin()])
            .unwrap();
        for (policy, anchors) in [
            (report_only(leaf.pin()), built_in_anchors(&[&root])),
            (report_only(unrelated_pin()), built_in_anchors(&[&root])),
            (candidate, built_in_anchors(&[&root])),
            (skips, user_added.clone()),
            (policy_with(leaf.pin()), user_added),
        ] {
            let pins = || builder().static_pins("example.com", policy.clone());
            let without = pins().build().unwrap();
            assert!(setup.visit(&without, &anchors, &server).await.is_ok());
            let with = build(pins(), &[root.pin()]);
            let visit = setup.visit(&with, &anchors, &server).await;
            assert_refuses(&violation(visit).unwrap(), &[root.pin()]);
        }
    }
}

/// Pins are skipped on both paths, and the keys are refused all the same.
#[tokio::test]
async fn of_two_paths_with_skipped_pins_the_one_without_the_refused_key_is_used() {
    for setup in tls_setups() {
        let ([a, b, _], leaf, _) = cross_signed();
        let server = setup.serve(&leaf, &[]).await;
        let roots = [a.certificate(), b.certificate()];
        let anchors = TrustAnchors::new().with_user_added(roots).unwrap();
        for (refused, used) in [(&a, &b), (&b, &a)] {
            let policy = policy_with(unrelated_pin());
            let pins = builder().static_pins("example.com", policy);
            let pinning = build(pins, &[refused.pin()]);
            let visit = setup.visit(&pinning, &anchors, &server).await.unwrap();
            let connection = visit.extensions().get::<VerifiedConnection>().unwrap();
            assert!(matches!(connection.decision(), Decision::Skipped));
            assert_eq!(connection.chain().fingerprints().last(), Some(&used.pin()));
        }
    }
}

async fn visit_address(setup: &TlsSetup, pinning: &Pinning, root: &Ca, name: &str) -> bool {
    let leaf = root.leaf(&[name]);
    let server = setup.serve(&leaf, &[]).await;
    let host = if name.contains(':') {
        format!("[{name}]")
    } else {
        name.to_owned()
    };
    let names = Names::new([(&*host, &server)]);
    let mut client = setup.client(pinning, built_in_anchors(&[root]), &names);
    match get(&mut client, &format!("https://{host}/")).await {
        Ok(_) => true,
        Err(error) => {
            let violation = PinViolation::find(&error).unwrap();
            assert_eq!(violation.host().as_str(), name);
            assert_refuses(&violation, &[root.pin()]);
            false
        }
    }
}

#[tokio::test]
async fn a_refused_key_is_refused_for_ip_addresses() {
    for setup in tls_setups() {
        for name in ["127.0.0.1", "::1"] {
            let root = Ca::root("Root");
            let refusing = build(builder(), &[root.pin()]);
            assert!(
                !visit_address(&setup, &refusing, &root, name).await,
                "{name}"
            );
            let other = build(builder(), &[unrelated_pin()]);
            assert!(visit_address(&setup, &other, &root, name).await, "{name}");
        }
    }
}

#[tokio::test]
async fn all_refused_keys_of_the_path_are_named_once() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    // The root is on the path twice: as the last served certificate and as the anchor.
    let server = Server::start(&leaf.with_appended([root.certificate()]), &[]).await;
    let builder = builder()
        .refuse_keys([leaf.pin()])
        .refuse_keys([root.pin()]);
    let pinning = builder.build().unwrap();
    let setup = &tls_setups()[0];
    let anchors = built_in_anchors(&[&root]);
    let visit = setup.visit(&pinning, &anchors, &server).await;
    let violation = violation(visit).unwrap();
    assert_eq!(violation.policy().pins.len(), 2);
}
