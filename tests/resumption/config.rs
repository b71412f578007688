//! Resumption through a `ClientConfig` alone, where its resumption check is the only check.

use std::sync::Arc;

use pinhold::header::{Noted, PinHeader};
use pinhold::policy::AfterExpiry;
use pinhold::{Host, PinPolicy, PinViolation, PinningVerifier, TrustAnchors, UserAddedRoots};
use rustls::client::Resumption;
use rustls::{CertificateError, Error, HandshakeKind};

use crate::common::pki::{Ca, leaf_params};
use crate::common::tls::{VERSIONS, handshake, settle, shake_hands};
use crate::common::validated::{trusting, verified_chain};
use crate::common::{NOW, at, foreign_pin, header_value, now, pinned_to, providers};
use crate::{NAMES, scene_of, scenes};

#[test]
fn attack_4_a_session_is_not_resumed_after_the_pins_changed() {
    for scene in scenes() {
        scene.pin_to(pinned_to(scene.leaf.pin()));
        scene.assert_full();
        scene.assert_resumed();
        scene.pin_to(pinned_to(foreign_pin()));
        scene.assert_refused();
        // Counter-case: the new pins match a new key of the server.
        let new = scene.new_leaf();
        scene.pin_to(pinned_to(new.pin()));
        scene.assert_refused();
        scene.swap.to(&new);
        scene.assert_full();
        // The old chain stays recorded and fails the pins, so the name resumes no session any more.
        scene.assert_full();
        // Once both keys are pinned, sessions are resumed again.
        scene.pin_to(PinPolicy::new([new.pin(), scene.leaf.pin()]).unwrap());
        scene.assert_resumed();
    }
}

#[test]
fn attack_4_a_session_is_not_resumed_after_pins_were_noted() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for scene in scenes() {
        scene.assert_full();
        scene.assert_resumed();
        // Another server of the same name, with another key under the same root, sends its pins.
        let other = scene.new_leaf();
        let anchors = trusting(&[&scene.root]);
        let chain = verified_chain(&other, "example.com", &anchors);
        let chain = runtime.block_on(chain);
        let value = header_value(other.pin(), "max-age=1000");
        let header = PinHeader::parse(value.as_bytes(), Default::default()).unwrap();
        let host = Host::parse("example.com").unwrap();
        let noted = scene.pinning.note(&host, &header, &chain, now());
        assert_eq!(noted, Noted::Added);
        scene.assert_refused();
        scene.pinning.forget(&host);
        scene.assert_resumed();
    }
}

#[test]
fn attack_4_a_session_is_not_resumed_under_another_name_of_the_same_address() {
    for scene in scenes() {
        scene
            .pinning
            .replace_pins([("www.example.com", pinned_to(foreign_pin()))])
            .unwrap();
        scene.assert_full();
        let www = handshake(&scene.client, &scene.server, "www.example.com");
        assert!(PinViolation::find(&www.unwrap_err()).is_some());
        let api = handshake(&scene.client, &scene.server, "api.example.com");
        assert_eq!(api.unwrap(), HandshakeKind::Full);
        scene.assert_resumed();
    }
}

/// The pins change while the session ticket is in transit.
#[test]
fn attack_4_a_ticket_that_arrives_after_the_pins_changed_is_not_used() {
    for scene in scenes() {
        scene.pin_to(pinned_to(scene.leaf.pin()));
        let mut late = shake_hands(&scene.client, &scene.server, "example.com").unwrap();
        let new = scene.new_leaf();
        scene.pin_to(pinned_to(new.pin()));
        settle(&mut late);
        scene.assert_refused();
        scene.swap.to(&new);
        scene.assert_full();
        let mut later = shake_hands(&scene.client, &scene.server, "example.com").unwrap();
        settle(&mut later);
        // Neither ticket is used.
        for _ in 0..10 {
            scene.assert_full();
        }
    }
}

#[test]
fn a_session_is_not_resumed_outside_the_validity_of_its_certificates() {
    for scene in scenes() {
        let mut params = leaf_params(&NAMES);
        params.not_before = rcgen::date_time_ymd(2023, 11, 14);
        params.not_after = rcgen::date_time_ymd(2023, 11, 15);
        scene.swap.to(&scene.root.leaf_from(params));
        scene.assert_full();
        scene.assert_resumed();
        // Midnight at the beginning of 14 and 15 November; tickets last a day.
        let (begin, end) = (1_699_920_000, 1_700_006_400);
        scene.clock.set(end);
        scene.assert_resumed();
        for seconds in [end + 1, begin - 1] {
            scene.clock.set(seconds);
            let expected = |error: &Error| match error {
                Error::InvalidCertificate(error) => matches!(
                    error,
                    CertificateError::ExpiredContext { .. }
                        | CertificateError::NotValidYetContext { .. }
                ),
                _ => false,
            };
            assert!(expected(&scene.visit().unwrap_err()));
        }
    }
}

/// A resumed session would outlast the revocation lists that its chain was checked with.
#[test]
fn enforced_expiration_of_revocation_lists_disables_resumption() {
    for mut scene in scenes() {
        let crl = scene.root.crl(&[]);
        // One month before the list expires.
        scene.clock.set(1_672_617_600);
        let builder = || {
            PinningVerifier::builder(scene.pinning.clone(), trusting(&[&scene.root]))
                .with_provider(scene.client.crypto_provider().clone())
                .with_crls([crl.clone()])
        };
        let [unlimited, expiring] = [builder(), builder().enforce_revocation_expiration()]
            .map(|builder| Arc::new(builder.client_config().unwrap()));
        scene.client = unlimited;
        scene.assert_full();
        scene.assert_resumed();
        scene.client = expiring;
        scene.assert_full();
        scene.assert_full();
    }
}

#[test]
fn a_chain_verified_later_limits_existing_sessions() {
    for scene in scenes() {
        scene.assert_full();
        scene.assert_resumed();
        // Another server of the same name has a certificate that expires sooner.
        let mut params = leaf_params(&NAMES);
        params.not_after = rcgen::date_time_ymd(2023, 11, 15);
        scene.swap.to(&scene.root.leaf_from(params));
        let mut without_resumption = (*scene.client).clone();
        without_resumption.resumption = Resumption::disabled();
        handshake(&Arc::new(without_resumption), &scene.server, "example.com").unwrap();
        scene.assert_resumed();
        scene.swap.to(&scene.leaf);
        scene.clock.set(1_700_006_401);
        for _ in 0..3 {
            scene.assert_full();
        }
    }
}

/// A cached verdict ends by the passing of time alone, and also when the clock is set back.
#[test]
fn a_session_is_not_resumed_once_a_policy_starts_to_apply() {
    for scene in scenes() {
        let refuses = pinned_to(scene.leaf.pin()).expires(at(NOW + 10), AfterExpiry::Refuse);
        scene.pin_to(refuses);
        scene.assert_full();
        scene.clock.set(NOW + 10);
        scene.assert_resumed();
        scene.clock.set(NOW + 11);
        scene.assert_refused();
        scene.pin_to(pinned_to(foreign_pin()).expires(at(NOW + 10), AfterExpiry::Unpin));
        scene.assert_resumed();
        scene.assert_resumed();
        scene.clock.set(NOW + 10);
        scene.assert_refused();
    }
}

#[test]
fn a_session_skipped_for_a_user_added_root_is_refused_once_pins_are_enforced_there() {
    for provider in providers() {
        for versions in VERSIONS {
            let root = Ca::root("Proxy root");
            let leaf = root.leaf(&NAMES);
            let anchors = TrustAnchors::new()
                .with_user_added([root.certificate()])
                .unwrap();
            let scene = scene_of(provider.clone(), versions, root, leaf, anchors);
            scene.pin_to(pinned_to(foreign_pin()));
            scene.assert_full();
            scene.assert_resumed();
            let strict = pinned_to(foreign_pin()).user_added_roots(UserAddedRoots::EnforcePins);
            scene.pin_to(strict);
            scene.assert_refused();
        }
    }
}

#[test]
fn a_name_with_more_chains_than_the_limit_has_no_resumption() {
    for scene in scenes() {
        // A client without sessions verifies each new chain.
        let mut without_resumption = (*scene.client).clone();
        without_resumption.resumption = Resumption::disabled();
        let without_resumption = Arc::new(without_resumption);
        for _ in 0..8 {
            scene.swap.to(&scene.new_leaf());
            handshake(&without_resumption, &scene.server, "example.com").unwrap();
        }
        scene.assert_full();
        scene.assert_resumed();
        scene.swap.to(&scene.new_leaf());
        handshake(&without_resumption, &scene.server, "example.com").unwrap();
        for _ in 0..3 {
            scene.assert_full();
        }
        let other = || handshake(&scene.client, &scene.server, "www.example.com").unwrap();
        assert_eq!(other(), HandshakeKind::Full);
        assert_eq!(other(), HandshakeKind::Resumed);
    }
}

/// A session records the certificates of its handshake, but not the validated path.
#[test]
fn certificates_validated_along_two_paths_have_no_resumption() {
    for provider in providers() {
        let (old, new) = (Ca::root("Old root"), Ca::root("New root"));
        let leaf = new.leaf(&NAMES).appending([old.cross_sign(&new)]);
        let [old_pin, new_pin] = [&old, &new].map(Ca::pin);
        let anchors = trusting(&[&old, &new]);
        let scene = scene_of(provider, VERSIONS[1], new, leaf, anchors);
        scene.pin_to(PinPolicy::new([new_pin, foreign_pin()]).unwrap());
        scene.assert_full();
        scene.assert_resumed();
        scene.pin_to(PinPolicy::new([old_pin, foreign_pin()]).unwrap());
        scene.assert_full();
        scene.pin_to(PinPolicy::new([old_pin, new_pin]).unwrap());
        scene.assert_full();
        scene.assert_full();
    }
}

#[test]
fn a_chain_larger_than_the_limit_has_no_resumption() {
    for scene in scenes() {
        let extra = scene.root.leaf(&["a.example"]).certificate();
        let many = scene.leaf.appending(vec![extra; 60]);
        assert!(many.chain.iter().map(|der| der.len()).sum::<usize>() > 16 * 1024);
        scene.swap.to(&many);
        for _ in 0..3 {
            scene.assert_full();
        }
    }
}

#[test]
fn names_beyond_the_capacity_have_no_resumption_and_evict_none() {
    // The table does not depend on TLS version or provider.
    let scene = scenes().pop().unwrap();
    let visit = |name: &str| handshake(&scene.client, &scene.server, name).unwrap();
    for number in 0..1024 {
        let name = format!("h{number}.example.com");
        shake_hands(&scene.client, &scene.server, &name).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(visit("beyond.example.com"), HandshakeKind::Full);
    }
    assert_eq!(visit("h0.example.com"), HandshakeKind::Full);
    assert_eq!(visit("h0.example.com"), HandshakeKind::Resumed);
}
