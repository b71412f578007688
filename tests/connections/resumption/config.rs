//! Resumption through a `ClientConfig` alone, where its resumption check is the only check.

use std::sync::Arc;

use pinhold::header::{Noted, PinHeader};
use pinhold::policy::AfterExpiry;
use pinhold::{Host, PinPolicy, PinViolation, PinningVerifier, TrustAnchors, UserAddedRoots};
use rustls::client::Resumption;
use rustls::{CertificateError, Error, HandshakeKind};

use super::{NAMES, fixture_of, fixtures};
use crate::common::pki::{Ca, Leaf, leaf_params};
use crate::common::tls::{VERSIONS, finish_handshake, handshake, start_handshake};
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{NOW, at, header_value, now, policy_with, providers, unrelated_pin};

#[test]
fn attack_4_a_session_is_not_resumed_after_the_pins_changed() {
    for fixture in fixtures() {
        fixture.pin_to(policy_with(fixture.leaf.pin()));
        fixture.assert_full();
        fixture.assert_resumed();
        fixture.pin_to(policy_with(unrelated_pin()));
        fixture.assert_refused();
        // Counter-case: the new pins match a new key of the server.
        let new = fixture.new_leaf();
        fixture.pin_to(policy_with(new.pin()));
        fixture.assert_refused();
        fixture.swap.set(&new);
        fixture.assert_full();
        // The old chain stays recorded and fails the pins, so no session of this name is resumed.
        fixture.assert_full();
        // Once both keys are pinned, sessions are resumed again.
        fixture.pin_to(PinPolicy::new([new.pin(), fixture.leaf.pin()]).unwrap());
        fixture.assert_resumed();
    }
}

#[test]
fn attack_4_a_session_is_not_resumed_after_pins_were_noted() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for fixture in fixtures() {
        fixture.assert_full();
        fixture.assert_resumed();
        // Another server of the same name, with another key under the same root, sends its pins.
        let other = fixture.new_leaf();
        let anchors = built_in_anchors(&[&fixture.root]);
        let chain = verified_chain(&other, "example.com", &anchors);
        let chain = runtime.block_on(chain);
        let value = header_value(other.pin(), "max-age=1000");
        let header = PinHeader::parse(value.as_bytes(), Default::default()).unwrap();
        let host = Host::parse("example.com").unwrap();
        let noted = fixture.pinning.note(&host, &header, &chain, now());
        assert_eq!(noted, Noted::Added);
        fixture.assert_refused();
        fixture.pinning.store().forget(&host);
        fixture.assert_resumed();
    }
}

#[test]
fn attack_4_a_session_is_not_resumed_under_another_name_of_the_same_address() {
    for fixture in fixtures() {
        fixture
            .pinning
            .replace_pins([("www.example.com", policy_with(unrelated_pin()))])
            .unwrap();
        fixture.assert_full();
        let www = handshake(&fixture.client, &fixture.server, "www.example.com");
        assert!(PinViolation::find(&www.unwrap_err()).is_some());
        let api = handshake(&fixture.client, &fixture.server, "api.example.com");
        assert_eq!(api.unwrap(), HandshakeKind::Full);
        fixture.assert_resumed();
    }
}

/// The pins change while the session ticket is in transit.
#[test]
fn attack_4_a_ticket_that_arrives_after_the_pins_changed_is_not_used() {
    for fixture in fixtures() {
        fixture.pin_to(policy_with(fixture.leaf.pin()));
        let mut late = start_handshake(&fixture.client, &fixture.server, "example.com").unwrap();
        let new = fixture.new_leaf();
        fixture.pin_to(policy_with(new.pin()));
        finish_handshake(&mut late);
        fixture.assert_refused();
        fixture.swap.set(&new);
        fixture.assert_full();
        let mut later = start_handshake(&fixture.client, &fixture.server, "example.com").unwrap();
        finish_handshake(&mut later);
        // Neither ticket is used.
        for _ in 0..10 {
            fixture.assert_full();
        }
    }
}

#[test]
fn a_session_is_not_resumed_outside_the_validity_of_its_certificates() {
    for fixture in fixtures() {
        let mut params = leaf_params(&NAMES);
        params.not_before = rcgen::date_time_ymd(2023, 11, 14);
        params.not_after = rcgen::date_time_ymd(2023, 11, 15);
        fixture.swap.set(&fixture.root.leaf_from(params));
        fixture.assert_full();
        fixture.assert_resumed();
        // Midnight at the beginning of 14 and 15 November; tickets last a day.
        let (begin, end) = (1_699_920_000, 1_700_006_400);
        fixture.clock.set(end);
        fixture.assert_resumed();
        for seconds in [end + 1, begin - 1] {
            fixture.clock.set(seconds);
            let expected = |error: &Error| match error {
                Error::InvalidCertificate(error) => matches!(
                    error,
                    CertificateError::ExpiredContext { .. }
                        | CertificateError::NotValidYetContext { .. }
                ),
                _ => false,
            };
            assert!(expected(&fixture.visit().unwrap_err()));
        }
    }
}

/// A resumed session would outlast the revocation lists that its chain was checked with.
#[test]
fn enforced_expiration_of_revocation_lists_disables_resumption() {
    for mut fixture in fixtures() {
        let crl = fixture.root.crl(&[]);
        // One month before the list expires.
        fixture.clock.set(1_672_617_600);
        let builder = || {
            PinningVerifier::builder(fixture.pinning.clone())
                .with_anchors(built_in_anchors(&[&fixture.root]))
                .with_provider(fixture.client.crypto_provider().clone())
                .with_crls([crl.clone()])
        };
        let [unlimited, expiring] = [builder(), builder().enforce_revocation_expiration()]
            .map(|builder| Arc::new(builder.client_config().unwrap()));
        fixture.client = unlimited;
        fixture.assert_full();
        fixture.assert_resumed();
        fixture.client = expiring;
        fixture.assert_full();
        fixture.assert_full();
    }
}

#[test]
fn a_chain_verified_later_limits_existing_sessions() {
    for fixture in fixtures() {
        fixture.assert_full();
        fixture.assert_resumed();
        // Another server of the same name has a certificate that expires sooner.
        let mut params = leaf_params(&NAMES);
        params.not_after = rcgen::date_time_ymd(2023, 11, 15);
        fixture.swap.set(&fixture.root.leaf_from(params));
        let mut without_resumption = (*fixture.client).clone();
        without_resumption.resumption = Resumption::disabled();
        handshake(
            &Arc::new(without_resumption),
            &fixture.server,
            "example.com",
        )
        .unwrap();
        fixture.assert_resumed();
        fixture.swap.set(&fixture.leaf);
        fixture.clock.set(1_700_006_401);
        for _ in 0..3 {
            fixture.assert_full();
        }
    }
}

/// A cached verdict becomes invalid when a policy expires, and also when the clock is set back.
#[test]
fn a_session_is_not_resumed_once_a_policy_starts_to_apply() {
    for fixture in fixtures() {
        let refuses = policy_with(fixture.leaf.pin()).expires(at(NOW + 10), AfterExpiry::Refuse);
        fixture.pin_to(refuses);
        fixture.assert_full();
        fixture.clock.set(NOW + 10);
        fixture.assert_resumed();
        fixture.clock.set(NOW + 11);
        fixture.assert_refused();
        fixture.pin_to(policy_with(unrelated_pin()).expires(at(NOW + 10), AfterExpiry::Unpin));
        fixture.assert_resumed();
        fixture.assert_resumed();
        fixture.clock.set(NOW + 10);
        fixture.assert_refused();
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
            let fixture = fixture_of(provider.clone(), versions, root, leaf, anchors);
            fixture.pin_to(policy_with(unrelated_pin()));
            fixture.assert_full();
            fixture.assert_resumed();
            let strict = policy_with(unrelated_pin()).user_added_roots(UserAddedRoots::EnforcePins);
            fixture.pin_to(strict);
            fixture.assert_refused();
        }
    }
}

#[test]
fn a_name_with_more_chains_than_the_limit_has_no_resumption() {
    for fixture in fixtures() {
        // A client without sessions verifies each new chain.
        let mut without_resumption = (*fixture.client).clone();
        without_resumption.resumption = Resumption::disabled();
        let without_resumption = Arc::new(without_resumption);
        for _ in 0..8 {
            fixture.swap.set(&fixture.new_leaf());
            handshake(&without_resumption, &fixture.server, "example.com").unwrap();
        }
        fixture.assert_full();
        fixture.assert_resumed();
        fixture.swap.set(&fixture.new_leaf());
        handshake(&without_resumption, &fixture.server, "example.com").unwrap();
        for _ in 0..3 {
            fixture.assert_full();
        }
        let other = || handshake(&fixture.client, &fixture.server, "www.example.com").unwrap();
        assert_eq!(other(), HandshakeKind::Full);
        assert_eq!(other(), HandshakeKind::Resumed);
    }
}

/// A peer without the key replays the server's certificate, each time with other certificates
/// appended. It must not use up the limit of the name.
#[test]
fn attack_4_replays_without_the_key_end_no_resumption() {
    for fixture in fixtures() {
        fixture.assert_full();
        let other = fixture.new_leaf();
        for _ in 0..9 {
            let appended = fixture.new_leaf().certificate();
            let replayed = fixture.leaf.with_appended([appended]).chain;
            let key = other.key().secret_der().to_vec();
            fixture.swap.set(&Leaf::from_parts(key, replayed));
            let mut without_resumption = (*fixture.client).clone();
            without_resumption.resumption = Resumption::disabled();
            let visit = handshake(
                &Arc::new(without_resumption),
                &fixture.server,
                "example.com",
            );
            let error = visit.unwrap_err();
            let reason = CertificateError::BadSignature;
            assert_eq!(error, Error::InvalidCertificate(reason));
        }
        fixture.swap.set(&fixture.leaf);
        fixture.assert_resumed();
    }
}

/// Otherwise a peer without the key could delay what happens when the last handle is dropped.
#[test]
fn a_handshake_with_a_wrong_signature_keeps_no_pins_alive() {
    for fixture in fixtures() {
        let other = fixture.new_leaf();
        let key = other.key().secret_der().to_vec();
        let replayed = fixture.leaf.chain.clone();
        fixture.swap.set(&Leaf::from_parts(key, replayed));
        fixture.visit().unwrap_err();
        let clock = fixture.clock.clone();
        drop(fixture);
        assert_eq!(Arc::strong_count(&clock), 1);
    }
}

/// The chains of all names together have a limit, not only those of one name.
#[test]
fn chains_beyond_the_total_size_have_no_resumption_and_evict_none() {
    // The table does not depend on TLS version or provider.
    let fixture = fixtures().pop().unwrap();
    let visit = |name: &str| handshake(&fixture.client, &fixture.server, name).unwrap();
    let appended = fixture.root.leaf(&["a.example"]).certificate();
    let size = |leaf: &Leaf| leaf.chain.iter().map(|der| der.len()).sum::<usize>();
    let count = (16 * 1024 - size(&fixture.leaf)) / appended.len();
    let large = fixture.leaf.with_appended(vec![appended; count]);
    fixture.swap.set(&large);
    let names = 4 * 1024 * 1024 / size(&large);
    for number in 0..names {
        assert_eq!(
            visit(&format!("h{number}.example.com")),
            HandshakeKind::Full
        );
    }
    for _ in 0..3 {
        assert_eq!(visit("beyond.example.com"), HandshakeKind::Full);
    }
    let last = format!("h{}.example.com", names - 1);
    assert_eq!(visit(&last), HandshakeKind::Resumed);
}

/// A session records the certificates of its handshake, but not the validated path.
#[test]
fn certificates_validated_along_two_paths_have_no_resumption() {
    for provider in providers() {
        let (old, new) = (Ca::root("Old root"), Ca::root("New root"));
        let leaf = new.leaf(&NAMES).with_appended([old.cross_sign(&new)]);
        let [old_pin, new_pin] = [&old, &new].map(Ca::pin);
        let anchors = built_in_anchors(&[&old, &new]);
        let fixture = fixture_of(provider, VERSIONS[1], new, leaf, anchors);
        fixture.pin_to(PinPolicy::new([new_pin, unrelated_pin()]).unwrap());
        fixture.assert_full();
        fixture.assert_resumed();
        fixture.pin_to(PinPolicy::new([old_pin, unrelated_pin()]).unwrap());
        fixture.assert_full();
        fixture.pin_to(PinPolicy::new([old_pin, new_pin]).unwrap());
        fixture.assert_full();
        fixture.assert_full();
    }
}

#[test]
fn a_chain_larger_than_the_limit_has_no_resumption() {
    for fixture in fixtures() {
        let extra = fixture.root.leaf(&["a.example"]).certificate();
        let many = fixture.leaf.with_appended(vec![extra; 60]);
        assert!(many.chain.iter().map(|der| der.len()).sum::<usize>() > 16 * 1024);
        fixture.swap.set(&many);
        for _ in 0..3 {
            fixture.assert_full();
        }
    }
}

#[test]
fn names_beyond_the_capacity_have_no_resumption_and_evict_none() {
    // The table does not depend on TLS version or provider.
    let fixture = fixtures().pop().unwrap();
    let visit = |name: &str| handshake(&fixture.client, &fixture.server, name).unwrap();
    for number in 0..1024 {
        let name = format!("h{number}.example.com");
        start_handshake(&fixture.client, &fixture.server, &name).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(visit("beyond.example.com"), HandshakeKind::Full);
    }
    assert_eq!(visit("h0.example.com"), HandshakeKind::Full);
    assert_eq!(visit("h0.example.com"), HandshakeKind::Resumed);
}
