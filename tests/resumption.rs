//! Attack 4: sessions resumed after the pins changed, after a policy was noted, and under another
//! name, with every TLS version; through a bare `ClientConfig`, where the gate alone stands, and
//! through the connector over a memory of sessions that has no gate.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::pki::{Ca, Leaf, leaf_params};
use common::server::{Loopback, Names, Server, answer, server_config};
use common::tls::{Swap, VERSIONS, handshake, settle, shake_hands};
use common::validated::trusting;
use common::{Clock, NOW, at, foreign_pin, header_value, now, pinned_to, providers};
use hyper_util::rt::TokioIo;
use pinhold::header::{Noted, PinHeader};
use pinhold::policy::AfterExpiry;
use pinhold::{
    Decision, Host, PinPolicy, PinViolation, Pinning, PinningConnector, PinningVerifier,
    TrustAnchors, UserAddedRoots,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{
    CertificateError, ClientConfig, Error, HandshakeKind, ServerConfig, SupportedProtocolVersion,
};
use tower::ServiceExt;

/// A client and a server of one provider and TLS version.
struct Scene {
    clock: Arc<Clock>,
    pinning: Pinning,
    root: Ca,
    leaf: Leaf,
    swap: Arc<Swap>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// A wildcard, so that one server has many names.
const NAMES: [&str; 2] = ["example.com", "*.example.com"];

fn scenes() -> Vec<Scene> {
    let all = providers().into_iter();
    let all = all.flat_map(|provider| VERSIONS.map(|versions| (provider.clone(), versions)));
    let scenes = all.map(|(provider, versions)| {
        let root = Ca::root("Root");
        let leaf = root.leaf(&NAMES);
        let anchors = trusting(&[&root]);
        scene_of(provider, versions, root, leaf, anchors)
    });
    scenes.collect()
}

fn scene_of(
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    root: Ca,
    leaf: Leaf,
    anchors: TrustAnchors,
) -> Scene {
    let clock = Clock::new();
    let pinning = Pinning::builder().time_provider(clock.clone());
    let pinning = pinning.build().unwrap();
    let swap = Swap::new(&leaf, provider.clone());
    let mut server = server_config(&leaf, provider.clone(), versions);
    server.cert_resolver = swap.clone();
    let client = PinningVerifier::builder(pinning.clone())
        .with_anchors(anchors)
        .with_provider(provider)
        .with_protocol_versions(versions)
        .client_config()
        .unwrap();
    Scene {
        clock,
        pinning,
        root,
        leaf,
        swap,
        server: Arc::new(server),
        client: Arc::new(client),
    }
}

impl Scene {
    fn visit(&self) -> Result<HandshakeKind, Error> {
        handshake(&self.client, &self.server, "example.com")
    }

    #[track_caller]
    fn is_full(&self) {
        assert_eq!(self.visit().unwrap(), HandshakeKind::Full);
    }

    #[track_caller]
    fn is_resumed(&self) {
        assert_eq!(self.visit().unwrap(), HandshakeKind::Resumed);
    }

    #[track_caller]
    fn is_refused(&self) {
        let error = self.visit().unwrap_err();
        assert!(PinViolation::find(&error).is_some(), "{error:?}");
    }

    fn pin_to(&self, policy: PinPolicy) {
        self.pinning
            .replace_pins([("example.com", policy)])
            .unwrap();
    }

    /// Another key of the same server.
    fn new_leaf(&self) -> Leaf {
        self.root.leaf(&NAMES)
    }
}

#[test]
fn attack_4_after_the_pins_changed() {
    for scene in scenes() {
        scene.pin_to(pinned_to(scene.leaf.pin()));
        scene.is_full();
        scene.is_resumed();
        scene.pin_to(pinned_to(foreign_pin()));
        scene.is_refused();
        // The counter-case: the server's new key is pinned, too.
        let new = scene.new_leaf();
        scene.pin_to(pinned_to(new.pin()));
        scene.is_refused();
        scene.swap.to(&new);
        scene.is_full();
        // The old chain is never forgotten, and fails the pins: no session of this name any more.
        scene.is_full();
        // Once both are pinned, sessions are safe again.
        scene.pin_to(PinPolicy::new([new.pin(), scene.leaf.pin()]).unwrap());
        scene.is_resumed();
    }
}

#[test]
fn attack_4_after_a_policy_was_noted() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for scene in scenes() {
        scene.is_full();
        scene.is_resumed();
        // Another server of the same name, with another key of the same root, pins it.
        let other = scene.new_leaf();
        let anchors = trusting(&[&scene.root]);
        let chain = common::validated::verified_chain(&other, "example.com", &anchors);
        let chain = runtime.block_on(chain);
        let value = header_value(other.pin(), "max-age=1000");
        let header = PinHeader::parse(value.as_bytes(), Default::default()).unwrap();
        let host = Host::parse("example.com").unwrap();
        let noted = scene.pinning.note(&host, &header, &chain, now());
        assert_eq!(noted, Noted::Added);
        scene.is_refused();
        scene.pinning.store().forget(&host);
        scene.is_resumed();
    }
}

#[test]
fn attack_4_under_another_name_of_the_same_address() {
    for scene in scenes() {
        scene
            .pinning
            .replace_pins([("www.example.com", pinned_to(foreign_pin()))])
            .unwrap();
        scene.is_full();
        let www = handshake(&scene.client, &scene.server, "www.example.com");
        assert!(PinViolation::find(&www.unwrap_err()).is_some());
        let api = handshake(&scene.client, &scene.server, "api.example.com");
        assert_eq!(api.unwrap(), HandshakeKind::Full);
        scene.is_resumed();
    }
}

/// The ticket is on its way while the pins change.
#[test]
fn attack_4_a_ticket_that_arrives_after_the_change() {
    for scene in scenes() {
        scene.pin_to(pinned_to(scene.leaf.pin()));
        let mut late = shake_hands(&scene.client, &scene.server, "example.com").unwrap();
        let new = scene.new_leaf();
        scene.pin_to(pinned_to(new.pin()));
        settle(&mut late);
        scene.is_refused();
        scene.swap.to(&new);
        scene.is_full();
        let mut later = shake_hands(&scene.client, &scene.server, "example.com").unwrap();
        settle(&mut later);
        // Whichever ticket would be taken, none is.
        for _ in 0..10 {
            scene.is_full();
        }
    }
}

#[test]
fn a_session_ends_with_the_dates_of_its_certificates() {
    for scene in scenes() {
        let mut params = leaf_params(&NAMES);
        params.not_before = rcgen::date_time_ymd(2023, 11, 14);
        params.not_after = rcgen::date_time_ymd(2023, 11, 15);
        scene.swap.to(&scene.root.leaf_from(params));
        scene.is_full();
        scene.is_resumed();
        // Midnight at the beginning of 14 and 15 November; tickets last a day.
        let (begin, end) = (1_699_920_000, 1_700_006_400);
        scene.clock.set(end);
        scene.is_resumed();
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

/// What the gate keeps of its last verdict does not outlive the chains that it was about.
/// A resumed session would outlive them.
#[test]
fn revocation_lists_that_expire_leave_no_resumption() {
    for mut scene in scenes() {
        let crl = scene.root.crl(&[]);
        // A month before its end.
        scene.clock.set(1_672_617_600);
        let builder = || {
            PinningVerifier::builder(scene.pinning.clone())
                .with_anchors(trusting(&[&scene.root]))
                .with_provider(scene.client.crypto_provider().clone())
                .with_crls([crl.clone()])
        };
        let [lasting, expiring] = [builder(), builder().enforce_revocation_expiration()]
            .map(|builder| Arc::new(builder.client_config().unwrap()));
        scene.client = lasting;
        scene.is_full();
        scene.is_resumed();
        scene.client = expiring;
        scene.is_full();
        scene.is_full();
    }
}

#[test]
fn a_chain_that_is_verified_later_counts_from_then_on() {
    for scene in scenes() {
        scene.is_full();
        scene.is_resumed();
        // Another server of the same name, whose certificate ends sooner.
        let mut params = leaf_params(&NAMES);
        params.not_after = rcgen::date_time_ymd(2023, 11, 15);
        scene.swap.to(&scene.root.leaf_from(params));
        let mut fresh = (*scene.client).clone();
        fresh.resumption = Resumption::disabled();
        handshake(&Arc::new(fresh), &scene.server, "example.com").unwrap();
        scene.is_resumed();
        scene.swap.to(&scene.leaf);
        scene.clock.set(1_700_006_401);
        for _ in 0..3 {
            scene.is_full();
        }
    }
}

/// Time alone ends a verdict that stood, forwards and backwards.
#[test]
fn a_session_ends_when_time_makes_a_policy_apply() {
    for scene in scenes() {
        let refuses = pinned_to(scene.leaf.pin()).expires(at(NOW + 10), AfterExpiry::Refuse);
        scene.pin_to(refuses);
        scene.is_full();
        scene.clock.set(NOW + 10);
        scene.is_resumed();
        scene.clock.set(NOW + 11);
        scene.is_refused();
        scene.pin_to(pinned_to(foreign_pin()).expires(at(NOW + 10), AfterExpiry::Unpin));
        scene.is_resumed();
        scene.is_resumed();
        scene.clock.set(NOW + 10);
        scene.is_refused();
    }
}

#[test]
fn a_skip_for_a_user_added_root_must_still_apply() {
    for provider in providers() {
        for versions in VERSIONS {
            let root = Ca::root("Proxy's root");
            let leaf = root.leaf(&NAMES);
            let anchors = TrustAnchors::new()
                .with_user_added([root.certificate()])
                .unwrap();
            let scene = scene_of(provider.clone(), versions, root, leaf, anchors);
            scene.pin_to(pinned_to(foreign_pin()));
            scene.is_full();
            scene.is_resumed();
            let strict = pinned_to(foreign_pin()).user_added_roots(UserAddedRoots::EnforcePins);
            scene.pin_to(strict);
            scene.is_refused();
        }
    }
}

#[test]
fn a_name_with_more_chains_than_are_remembered_has_no_resumption() {
    for scene in scenes() {
        // Without its sessions the client sees each new chain.
        let mut fresh = (*scene.client).clone();
        fresh.resumption = Resumption::disabled();
        let fresh = Arc::new(fresh);
        for _ in 0..8 {
            scene.swap.to(&scene.new_leaf());
            handshake(&fresh, &scene.server, "example.com").unwrap();
        }
        scene.is_full();
        scene.is_resumed();
        scene.swap.to(&scene.new_leaf());
        handshake(&fresh, &scene.server, "example.com").unwrap();
        for _ in 0..3 {
            scene.is_full();
        }
        let other = || handshake(&scene.client, &scene.server, "www.example.com").unwrap();
        assert_eq!(other(), HandshakeKind::Full);
        assert_eq!(other(), HandshakeKind::Resumed);
    }
}

/// A session says which certificates it was made with, not along which path.
#[test]
fn certificates_that_were_taken_along_two_paths_have_no_resumption() {
    for provider in providers() {
        let (old, new) = (Ca::root("Old root"), Ca::root("New root"));
        let leaf = new.leaf(&NAMES).appending([old.cross_sign(&new)]);
        let [of_old, of_new] = [&old, &new].map(Ca::pin);
        let anchors = trusting(&[&old, &new]);
        let scene = scene_of(provider, VERSIONS[1], new, leaf, anchors);
        scene.pin_to(PinPolicy::new([of_new, foreign_pin()]).unwrap());
        scene.is_full();
        scene.is_resumed();
        scene.pin_to(PinPolicy::new([of_old, foreign_pin()]).unwrap());
        scene.is_full();
        scene.pin_to(PinPolicy::new([of_old, of_new]).unwrap());
        scene.is_full();
        scene.is_full();
    }
}

#[test]
fn a_chain_that_is_too_large_to_remember_has_no_resumption() {
    for scene in scenes() {
        let extra = scene.root.leaf(&["a.example"]).certificate();
        let many = scene.leaf.appending(vec![extra; 60]);
        assert!(many.chain.iter().map(|der| der.len()).sum::<usize>() > 16 * 1024);
        scene.swap.to(&many);
        for _ in 0..3 {
            scene.is_full();
        }
    }
}

#[test]
fn names_beyond_the_table_have_no_resumption_and_push_nobody_out() {
    // The table knows neither version nor provider.
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

// Through the connector.

/// How a connection came about, or the violation.
async fn connect(
    connector: &PinningConnector<Loopback>,
) -> Result<(HandshakeKind, Decision), PinViolation> {
    let uri = http::Uri::from_static("https://example.com/");
    match connector.clone().oneshot(uri).await {
        Ok(mut stream) => {
            // Reads what comes, tickets, too.
            let verified = stream.verified().unwrap().clone();
            read_greeting(&mut stream).await;
            let kind = if verified.is_resumed() {
                HandshakeKind::Resumed
            } else {
                HandshakeKind::Full
            };
            Ok((kind, verified.decision().clone()))
        }
        Err(error) => Err(PinViolation::find(&error).unwrap_or_else(|| panic!("{error:?}"))),
    }
}

async fn read_greeting(stream: &mut (impl hyper::rt::Read + hyper::rt::Write + Unpin)) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TokioIo::new(stream);
    let request = b"GET / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200"));
}

/// The scene's server behind a port, and a connector with this configuration.
async fn reach(scene: &Scene, config: ClientConfig) -> (Server, PinningConnector<Loopback>) {
    let server = Server::with_config((*scene.server).clone(), answer(&[])).await;
    let names = Names::new([("example.com", &server)]);
    let connector = PinningConnector::builder(scene.pinning.clone())
        .with_tls_config(config)
        .http1_only()
        .wrap_connector(Loopback::new(&names))
        .unwrap();
    (server, connector)
}

#[tokio::test]
async fn attack_4_through_the_connector() {
    for scene in scenes() {
        scene.pin_to(pinned_to(scene.leaf.pin()));
        let (_server, connector) = reach(&scene, (*scene.client).clone()).await;
        let pass = |kind| (kind, "Pass".to_owned());
        let visit = async || {
            let outcome = connect(&connector).await;
            outcome.map(|(kind, decision)| (kind, format!("{decision:?}")))
        };
        assert_eq!(visit().await.unwrap(), pass(HandshakeKind::Full));
        assert_eq!(visit().await.unwrap(), pass(HandshakeKind::Resumed));
        let new = scene.new_leaf();
        scene.pin_to(pinned_to(new.pin()));
        visit().await.unwrap_err();
        scene.swap.to(&new);
        assert_eq!(visit().await.unwrap(), pass(HandshakeKind::Full));
    }
}

/// The gate of a configuration that was made of other pins knows nothing of the connector's.
#[tokio::test]
async fn a_session_that_only_the_connectors_pins_refuse_costs_a_full_handshake_and_no_error() {
    for scene in scenes() {
        let elsewhere = Pinning::builder().time_provider(scene.clock.clone());
        let config = PinningVerifier::builder(elsewhere.build().unwrap())
            .with_anchors(trusting(&[&scene.root]))
            .with_provider(scene.client.crypto_provider().clone())
            .client_config();
        let (_server, connector) = reach(&scene, config.unwrap()).await;
        let kind = async || connect(&connector).await.map(|(kind, _)| kind);
        scene.pin_to(pinned_to(scene.leaf.pin()));
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Resumed);
        let new = scene.new_leaf();
        scene.swap.to(&new);
        scene.pin_to(pinned_to(new.pin()));
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
    }
}

/// Where the gate is missing the connector's own check stands, and locks out nobody.
#[tokio::test]
async fn attack_4_through_the_connector_with_a_foreign_memory_of_sessions() {
    for scene in scenes() {
        scene.pin_to(pinned_to(scene.leaf.pin()));
        let mut config = (*scene.client).clone();
        config.resumption = Resumption::in_memory_sessions(64);
        let (server, connector) = reach(&scene, config).await;
        let kind = async || connect(&connector).await.map(|(kind, _)| kind);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Resumed);
        // The server resumes the old session, whose key is no longer pinned: one more connection.
        let new = scene.new_leaf();
        scene.pin_to(pinned_to(new.pin()));
        scene.swap.to(&new);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
        assert_eq!(
            server.requests.load(Ordering::SeqCst),
            3,
            "no request over the refused one"
        );
        scene.pin_to(pinned_to(foreign_pin()));
        let violation = kind().await.unwrap_err();
        assert_eq!(violation.chain().fingerprints()[0], new.pin());
    }
}

/// The session came of a handshake that this connector did not see.
#[tokio::test]
async fn a_session_of_another_stack_is_not_trusted_by_the_connector() {
    for scene in scenes() {
        let (_server, connector) = reach(&scene, (*scene.client).clone()).await;
        scene.is_full();
        scene.is_resumed();
        let (kind, _) = connect(&connector).await.unwrap();
        assert_eq!(kind, HandshakeKind::Full);
        let (kind, _) = connect(&connector).await.unwrap();
        assert_eq!(kind, HandshakeKind::Resumed);
    }
}
