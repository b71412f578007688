//! Refused keys, and unpinned hosts, with an inner verifier.

use std::sync::Arc;

use pinhold::policy::{PinSource, UnpinnedHosts};
use pinhold::tls::UnverifiablePath;
use pinhold::{Event, PinViolation, UnpinnedHost};

use super::{FixedVerifier, bare_handshake, visit, with_inner_verifier};
use crate::common::pki::Ca;
use crate::common::recording::with_recorder;
use crate::common::tls_setup::{builder, tls_setups};
use crate::common::unrelated_pin;
use crate::common::validated::built_in_anchors;

/// The refused keys can't be searched for in a chain that is unknown.
#[tokio::test]
async fn with_refused_keys_a_server_without_a_valid_path_is_refused() {
    for setup in tls_setups() {
        let (anchor_root, other_root) = (Ca::root("Anchor"), Ca::root("Other"));
        let leaf = other_root.leaf(&["example.com"]);
        let (pinning, recorder) = with_recorder(builder().refuse_keys([unrelated_pin()]));
        let accept_all = Arc::new(FixedVerifier::AcceptAll);
        let anchors = built_in_anchors(&[&anchor_root]);
        let config = with_inner_verifier(&setup, accept_all, &pinning, anchors);
        let error = bare_handshake(&config, setup.config(&leaf)).unwrap_err();
        let path = UnverifiablePath::find(&error).unwrap();
        assert!(path.policy().is_none());
        let server = setup.serve(&leaf, &[]).await;
        let error = visit(&pinning, config, &server).await.unwrap_err();
        assert!(UnverifiablePath::find(&error).is_some(), "{error:?}");
        let events = recorder.events(&pinning);
        let [Event::Unverifiable(_), Event::Unverifiable(_)] = &events[..] else {
            panic!("{events:?}");
        };
    }
}

#[tokio::test]
async fn a_refused_key_on_a_valid_path_is_refused_though_the_inner_verifier_accepts() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let pinning = builder().refuse_keys([root.pin()]).build().unwrap();
        let accept_all = Arc::new(FixedVerifier::AcceptAll);
        let anchors = built_in_anchors(&[&root]);
        let config = with_inner_verifier(&setup, accept_all, &pinning, anchors);
        let error = bare_handshake(&config, setup.config(&leaf)).unwrap_err();
        let violation = PinViolation::find(&error).unwrap();
        assert_eq!(violation.policy().source, PinSource::RefusedKeys);
    }
}

#[test]
fn an_unpinned_host_without_a_valid_path_is_refused_or_reported_once() {
    for setup in tls_setups() {
        let (anchor_root, other_root) = (Ca::root("Anchor"), Ca::root("Other"));
        let leaf = other_root.leaf(&["example.com"]);
        for (choice, is_refused) in [
            (UnpinnedHosts::Report, false),
            (UnpinnedHosts::Refuse, true),
        ] {
            let (pinning, recorder) = with_recorder(builder().unpinned_hosts(choice));
            let accept_all = Arc::new(FixedVerifier::AcceptAll);
            let anchors = built_in_anchors(&[&anchor_root]);
            let config = with_inner_verifier(&setup, accept_all, &pinning, anchors);
            let visit = bare_handshake(&config, setup.config(&leaf));
            assert_eq!(visit.is_err(), is_refused);
            if let Err(error) = visit {
                assert!(UnpinnedHost::find(&error).is_some());
            }
            let events = recorder.events(&pinning);
            let [Event::Unpinned(unpinned)] = &events[..] else {
                panic!("{events:?}");
            };
            assert_eq!(unpinned.is_refused(), is_refused);
        }
    }
}
