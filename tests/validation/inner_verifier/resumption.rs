//! Resumption of sessions whose path the pinning verifier could not validate.

use std::sync::Arc;

use pinhold::Pinning;
use pinhold::tls::UnverifiablePath;
use rustls::{ClientConfig, Error, HandshakeKind, ServerConfig};

use super::{platform_verifier, unpinned, with_inner_verifier};
use crate::common::pki::{Ca, Leaf};
use crate::common::policy_with;
use crate::common::tls::{SwappableCertificate, handshake};
use crate::common::tls_setup::{TlsSetup, tls_setups};
use crate::common::validated::built_in_anchors;

/// A client whose inner verifier trusts two roots, of which only the first is among its anchors,
/// and a server that can present a certificate of each.
struct TwoRoots {
    pinning: Pinning,
    config: Arc<ClientConfig>,
    verifiable: Leaf,
    unverifiable: Leaf,
    swap: Arc<SwappableCertificate>,
    server: Arc<ServerConfig>,
}

impl TwoRoots {
    fn new(setup: &TlsSetup) -> Self {
        let (anchor_root, other_root) = (Ca::root("Anchor"), Ca::root("Other"));
        let verifiable = anchor_root.leaf(&["example.com"]);
        let unverifiable = other_root.leaf(&["example.com"]);
        let swap = SwappableCertificate::new(&unverifiable, setup.provider.clone());
        let mut server = setup.config(&unverifiable);
        server.cert_resolver = swap.clone();
        let pinning = unpinned();
        let inner = platform_verifier(setup, &[&anchor_root, &other_root]);
        Self {
            config: Arc::new(with_inner_verifier(
                setup,
                inner,
                &pinning,
                built_in_anchors(&[&anchor_root]),
            )),
            pinning,
            verifiable,
            unverifiable,
            swap,
            server: Arc::new(server),
        }
    }

    fn connect(&self, leaf: &Leaf) -> Result<HandshakeKind, Error> {
        self.swap.set(leaf);
        handshake(&self.config, &self.server, "example.com")
    }
}

#[test]
fn a_session_without_a_validated_path_is_not_resumed() {
    for setup in tls_setups() {
        let fixture = TwoRoots::new(&setup);
        for _ in 0..3 {
            let kind = fixture.connect(&fixture.unverifiable).unwrap();
            assert_eq!(kind, HandshakeKind::Full);
        }
        // A ticket of this name can no longer be attributed to a chain, so none is used.
        for _ in 0..3 {
            assert_eq!(
                fixture.connect(&fixture.verifiable).unwrap(),
                HandshakeKind::Full
            );
        }

        let fixture = TwoRoots::new(&setup);
        assert_eq!(
            fixture.connect(&fixture.verifiable).unwrap(),
            HandshakeKind::Full
        );
        assert_eq!(
            fixture.connect(&fixture.verifiable).unwrap(),
            HandshakeKind::Resumed
        );

        // A server of the same name that does not accept these tickets ends the resumption.
        let other = Arc::new(setup.config(&fixture.unverifiable));
        for _ in 0..3 {
            let kind = handshake(&fixture.config, &other, "example.com").unwrap();
            assert_eq!(kind, HandshakeKind::Full);
        }

        let fixture = TwoRoots::new(&setup);
        assert_eq!(
            fixture.connect(&fixture.unverifiable).unwrap(),
            HandshakeKind::Full
        );
        let pins = policy_with(fixture.unverifiable.pin());
        fixture
            .pinning
            .replace_pins([("example.com", pins)])
            .unwrap();
        let error = fixture.connect(&fixture.unverifiable).unwrap_err();
        assert!(
            UnverifiablePath::find(&error).is_some(),
            "pins that are added later apply"
        );
    }
}
