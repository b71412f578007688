//! Attack 4: sessions resumed after the pins changed, after a policy was noted, and under another
//! name, with every TLS version and crypto provider.
//!
//! rustls does not call the certificate verifier for a resumed session. [`config`] tests the
//! resumption check of a `ClientConfig` alone, [`connector`] the checks of the connector, also over
//! a session store without a resumption check.

mod config;
mod connector;
#[cfg(feature = "pin-file")]
mod rules;

use std::sync::Arc;

use crate::common::pki::{Ca, Leaf};
use crate::common::server::server_config;
use crate::common::tls::{SwappableCertificate, VERSIONS, handshake};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, providers};
use pinhold::{PinPolicy, PinViolation, Pinning, PinningBuilder, PinningVerifier, TrustAnchors};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, Error, HandshakeKind, ServerConfig, SupportedProtocolVersion};

/// A client and a server with one crypto provider and TLS version.
struct Fixture {
    clock: Arc<Clock>,
    pinning: Pinning,
    root: Ca,
    leaf: Leaf,
    swap: Arc<SwappableCertificate>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Includes a wildcard, so that one server has many names.
const NAMES: [&str; 2] = ["example.com", "*.example.com"];

fn fixtures() -> Vec<Fixture> {
    let all = providers().into_iter();
    let all = all.flat_map(|provider| VERSIONS.map(|versions| (provider.clone(), versions)));
    let fixtures = all.map(|(provider, versions)| {
        let root = Ca::root("Root");
        let leaf = root.leaf(&NAMES);
        let anchors = built_in_anchors(&[&root]);
        fixture_of(provider, versions, root, leaf, anchors)
    });
    fixtures.collect()
}

fn fixture_of(
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    root: Ca,
    leaf: Leaf,
    anchors: TrustAnchors,
) -> Fixture {
    let builder = Pinning::builder();
    fixture_with(
        builder,
        Clock::new(),
        provider,
        versions,
        root,
        leaf,
        anchors,
    )
}

fn fixture_with(
    builder: PinningBuilder,
    clock: Arc<Clock>,
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    root: Ca,
    leaf: Leaf,
    anchors: TrustAnchors,
) -> Fixture {
    let pinning = builder.time_provider(clock.clone()).build().unwrap();
    let swap = SwappableCertificate::new(&leaf, provider.clone());
    let mut server = server_config(&leaf, provider.clone(), versions);
    server.cert_resolver = swap.clone();
    let client = PinningVerifier::builder(pinning.clone())
        .with_anchors(anchors)
        .with_provider(provider)
        .with_protocol_versions(versions)
        .client_config()
        .unwrap();
    Fixture {
        clock,
        pinning,
        root,
        leaf,
        swap,
        server: Arc::new(server),
        client: Arc::new(client),
    }
}

impl Fixture {
    fn visit(&self) -> Result<HandshakeKind, Error> {
        handshake(&self.client, &self.server, "example.com")
    }

    #[track_caller]
    fn assert_full(&self) {
        assert_eq!(self.visit().unwrap(), HandshakeKind::Full);
    }

    #[track_caller]
    fn assert_resumed(&self) {
        assert_eq!(self.visit().unwrap(), HandshakeKind::Resumed);
    }

    #[track_caller]
    fn assert_refused(&self) {
        let error = self.visit().unwrap_err();
        assert!(PinViolation::find(&error).is_some(), "{error:?}");
    }

    fn pin_to(&self, policy: PinPolicy) {
        self.pinning
            .replace_pins([("example.com", policy)])
            .unwrap();
    }

    /// Issues a certificate for the same server with a new key.
    fn new_leaf(&self) -> Leaf {
        self.root.leaf(&NAMES)
    }
}
