//! Sessions whose key is refused, or whose host is unpinned, since they were made: by the
//! resumption check of the configuration alone.

use pinhold::policy::{AfterExpiry, PinSource, UnpinnedHosts};
use pinhold::{Enforcement, PinPolicy, PinViolation, Pinning, UnpinnedHost};
use rustls::HandshakeKind;

use super::{Fixture, NAMES, fixture_of, fixture_with, fixtures};
use crate::common::pki::Ca;
use crate::common::rules::{refusing, refusing_unpinned, remove_pins};
use crate::common::tls::{VERSIONS, handshake};
use crate::common::tls_setup::builder;
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, NOW, at, policy_with, providers};

#[test]
fn attack_4_a_session_is_not_resumed_once_a_key_of_its_chain_is_refused() {
    for provider in providers() {
        for versions in VERSIONS {
            for name in ["example.com", "127.0.0.1", "::1"] {
                let root = Ca::root("Root");
                let leaf = root.leaf(&[NAMES[0], "127.0.0.1", "::1"]);
                let anchors = built_in_anchors(&[&root]);
                let fixture = fixture_of(provider.clone(), versions, root, leaf, anchors);
                let visit = || handshake(&fixture.client, &fixture.server, name);
                assert_eq!(visit().unwrap(), HandshakeKind::Full);
                assert_eq!(visit().unwrap(), HandshakeKind::Resumed);
                let replace = |key| fixture.pinning.replace_pins(refusing(key)).unwrap();
                replace(Ca::root("Unrelated").pin());
                assert_eq!(visit().unwrap(), HandshakeKind::Resumed);
                for key in [fixture.root.pin(), fixture.leaf.pin()] {
                    replace(key);
                    let violation = PinViolation::find(&visit().unwrap_err()).unwrap();
                    assert_eq!(violation.policy().source, PinSource::RefusedKeys);
                }
            }
        }
    }
}

#[track_caller]
fn assert_unpinned(fixture: &Fixture) {
    let error = fixture.visit().unwrap_err();
    assert!(UnpinnedHost::find(&error).unwrap().is_refused());
}

fn strict_fixtures() -> impl Iterator<Item = Fixture> {
    let all = providers().into_iter();
    let all = all.flat_map(|provider| VERSIONS.map(|versions| (provider.clone(), versions)));
    all.map(|(provider, versions)| {
        let root = Ca::root("Root");
        let leaf = root.leaf(&NAMES);
        let anchors = built_in_anchors(&[&root]);
        let strict = builder().unpinned_hosts(UnpinnedHosts::Refuse);
        fixture_with(
            strict,
            Clock::new(),
            provider,
            versions,
            root,
            leaf,
            anchors,
        )
    })
}

#[test]
fn attack_4_a_session_is_not_resumed_once_its_host_is_unpinned() {
    for fixture in strict_fixtures() {
        assert_unpinned(&fixture);
        let policy = || policy_with(fixture.leaf.pin());
        let unpin: [fn(&Pinning); 2] = [remove_pins, |pinning| {
            pinning.replace_pins(refusing_unpinned()).unwrap();
        }];
        for unpin in unpin {
            fixture.pin_to(policy());
            fixture.visit().unwrap();
            fixture.assert_resumed();
            unpin(&fixture.pinning);
            assert_unpinned(&fixture);
        }
        fixture.pin_to(policy());
        fixture.visit().unwrap();
        fixture.assert_resumed();
        fixture.pin_to(policy().enforcement(Enforcement::ReportOnly));
        assert_unpinned(&fixture);
    }
    // The rule comes with a pin file, after the session.
    for fixture in fixtures() {
        fixture.assert_full();
        fixture.assert_resumed();
        fixture.pinning.replace_pins(refusing_unpinned()).unwrap();
        assert_unpinned(&fixture);
    }
}

#[test]
fn attack_4_a_session_is_not_resumed_once_the_policy_of_its_host_has_expired() {
    for fixture in strict_fixtures() {
        for then in [
            AfterExpiry::Unpin,
            AfterExpiry::ReportOnly,
            AfterExpiry::Refuse,
        ] {
            fixture.clock.set(NOW);
            let policy: PinPolicy = policy_with(fixture.leaf.pin()).expires(at(NOW + 10), then);
            fixture.pin_to(policy);
            fixture.visit().unwrap();
            fixture.assert_resumed();
            fixture.clock.set(NOW + 11);
            match then {
                AfterExpiry::Refuse => fixture.assert_refused(),
                _ => assert_unpinned(&fixture),
            }
        }
    }
}
