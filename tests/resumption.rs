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
use common::tls::{SwappableCertificate, VERSIONS, finish_handshake, handshake, start_handshake};
use common::validated::built_in_anchors;
use common::{Clock, NOW, at, header_value, now, policy_with, providers, unrelated_pin};
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
struct Fixture {
    clock: Arc<Clock>,
    pinning: Pinning,
    root: Ca,
    leaf: Leaf,
    swap: Arc<SwappableCertificate>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// A wildcard, so that one server has many names.
const NAMES: [&str; 2] = ["example.com", "*.example.com"];

fn fixtures() -> Vec<Fixture> {
    let all = providers().into_iter();
    let all = all.flat_map(|provider| VERSIONS.map(|versions| (provider.clone(), versions)));
    let fixtures = all.map(|(provider, versions)| {
        let root = Ca::root("Root");
        let leaf = root.leaf(&NAMES);
        let anchors = built_in_anchors(&[&root]);
        scene_of(provider, versions, root, leaf, anchors)
    });
    fixtures.collect()
}

fn scene_of(
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    root: Ca,
    leaf: Leaf,
    anchors: TrustAnchors,
) -> Fixture {
    let clock = Clock::new();
    let pinning = Pinning::builder().time_provider(clock.clone());
    let pinning = pinning.build().unwrap();
    let swap = SwappableCertificate::new(&leaf, provider.clone());
    let mut server = server_config(&leaf, provider.clone(), versions);
    server.cert_resolver = swap.clone();
    let client = PinningVerifier::builder(pinning.clone(), anchors)
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
    for fixture in fixtures() {
        fixture.pin_to(policy_with(fixture.leaf.pin()));
        fixture.is_full();
        fixture.is_resumed();
        fixture.pin_to(policy_with(unrelated_pin()));
        fixture.is_refused();
        // The counter-case: the server's new key is pinned, too.
        let new = fixture.new_leaf();
        fixture.pin_to(policy_with(new.pin()));
        fixture.is_refused();
        fixture.swap.set(&new);
        fixture.is_full();
        // The old chain is never forgotten, and fails the pins: no session of this name any more.
        fixture.is_full();
        // Once both are pinned, sessions are safe again.
        fixture.pin_to(PinPolicy::new([new.pin(), fixture.leaf.pin()]).unwrap());
        fixture.is_resumed();
    }
}

#[test]
fn attack_4_after_a_policy_was_noted() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for fixture in fixtures() {
        fixture.is_full();
        fixture.is_resumed();
        // Another server of the same name, with another key of the same root, pins it.
        let other = fixture.new_leaf();
        let anchors = built_in_anchors(&[&fixture.root]);
        let chain = common::validated::verified_chain(&other, "example.com", &anchors);
        let chain = runtime.block_on(chain);
        let value = header_value(other.pin(), "max-age=1000");
        let header = PinHeader::parse(value.as_bytes(), Default::default()).unwrap();
        let host = Host::parse("example.com").unwrap();
        let noted = fixture.pinning.note(&host, &header, &chain, now());
        assert_eq!(noted, Noted::Added);
        fixture.is_refused();
        fixture.pinning.forget(&host);
        fixture.is_resumed();
    }
}

#[test]
fn attack_4_under_another_name_of_the_same_address() {
    for fixture in fixtures() {
        fixture
            .pinning
            .replace_pins([("www.example.com", policy_with(unrelated_pin()))])
            .unwrap();
        fixture.is_full();
        let www = handshake(&fixture.client, &fixture.server, "www.example.com");
        assert!(PinViolation::find(&www.unwrap_err()).is_some());
        let api = handshake(&fixture.client, &fixture.server, "api.example.com");
        assert_eq!(api.unwrap(), HandshakeKind::Full);
        fixture.is_resumed();
    }
}

/// The ticket is on its way while the pins change.
#[test]
fn attack_4_a_ticket_that_arrives_after_the_change() {
    for fixture in fixtures() {
        fixture.pin_to(policy_with(fixture.leaf.pin()));
        let mut late = start_handshake(&fixture.client, &fixture.server, "example.com").unwrap();
        let new = fixture.new_leaf();
        fixture.pin_to(policy_with(new.pin()));
        finish_handshake(&mut late);
        fixture.is_refused();
        fixture.swap.set(&new);
        fixture.is_full();
        let mut later = start_handshake(&fixture.client, &fixture.server, "example.com").unwrap();
        finish_handshake(&mut later);
        // Whichever ticket would be taken, none is.
        for _ in 0..10 {
            fixture.is_full();
        }
    }
}

#[test]
fn a_session_ends_with_the_dates_of_its_certificates() {
    for fixture in fixtures() {
        let mut params = leaf_params(&NAMES);
        params.not_before = rcgen::date_time_ymd(2023, 11, 14);
        params.not_after = rcgen::date_time_ymd(2023, 11, 15);
        fixture.swap.set(&fixture.root.leaf_from(params));
        fixture.is_full();
        fixture.is_resumed();
        // Midnight at the beginning of 14 and 15 November; tickets last a day.
        let (begin, end) = (1_699_920_000, 1_700_006_400);
        fixture.clock.set(end);
        fixture.is_resumed();
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

/// What the gate keeps of its last verdict does not outlive the chains that it was about.
/// A resumed session would outlive them.
#[test]
fn revocation_lists_that_expire_leave_no_resumption() {
    for mut fixture in fixtures() {
        let crl = fixture.root.crl(&[]);
        // A month before its end.
        fixture.clock.set(1_672_617_600);
        let builder = || {
            PinningVerifier::builder(fixture.pinning.clone(), built_in_anchors(&[&fixture.root]))
                .with_provider(fixture.client.crypto_provider().clone())
                .with_crls([crl.clone()])
        };
        let [lasting, expiring] = [builder(), builder().enforce_revocation_expiration()]
            .map(|builder| Arc::new(builder.client_config().unwrap()));
        fixture.client = lasting;
        fixture.is_full();
        fixture.is_resumed();
        fixture.client = expiring;
        fixture.is_full();
        fixture.is_full();
    }
}

#[test]
fn a_chain_that_is_verified_later_counts_from_then_on() {
    for fixture in fixtures() {
        fixture.is_full();
        fixture.is_resumed();
        // Another server of the same name, whose certificate ends sooner.
        let mut params = leaf_params(&NAMES);
        params.not_after = rcgen::date_time_ymd(2023, 11, 15);
        fixture.swap.set(&fixture.root.leaf_from(params));
        let mut fresh = (*fixture.client).clone();
        fresh.resumption = Resumption::disabled();
        handshake(&Arc::new(fresh), &fixture.server, "example.com").unwrap();
        fixture.is_resumed();
        fixture.swap.set(&fixture.leaf);
        fixture.clock.set(1_700_006_401);
        for _ in 0..3 {
            fixture.is_full();
        }
    }
}

/// Time alone ends a verdict that stood, forwards and backwards.
#[test]
fn a_session_ends_when_time_makes_a_policy_apply() {
    for fixture in fixtures() {
        let refuses = policy_with(fixture.leaf.pin()).expires(at(NOW + 10), AfterExpiry::Refuse);
        fixture.pin_to(refuses);
        fixture.is_full();
        fixture.clock.set(NOW + 10);
        fixture.is_resumed();
        fixture.clock.set(NOW + 11);
        fixture.is_refused();
        fixture.pin_to(policy_with(unrelated_pin()).expires(at(NOW + 10), AfterExpiry::Unpin));
        fixture.is_resumed();
        fixture.is_resumed();
        fixture.clock.set(NOW + 10);
        fixture.is_refused();
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
            let fixture = scene_of(provider.clone(), versions, root, leaf, anchors);
            fixture.pin_to(policy_with(unrelated_pin()));
            fixture.is_full();
            fixture.is_resumed();
            let strict = policy_with(unrelated_pin()).user_added_roots(UserAddedRoots::EnforcePins);
            fixture.pin_to(strict);
            fixture.is_refused();
        }
    }
}

#[test]
fn a_name_with_more_chains_than_are_remembered_has_no_resumption() {
    for fixture in fixtures() {
        // Without its sessions the client sees each new chain.
        let mut fresh = (*fixture.client).clone();
        fresh.resumption = Resumption::disabled();
        let fresh = Arc::new(fresh);
        for _ in 0..8 {
            fixture.swap.set(&fixture.new_leaf());
            handshake(&fresh, &fixture.server, "example.com").unwrap();
        }
        fixture.is_full();
        fixture.is_resumed();
        fixture.swap.set(&fixture.new_leaf());
        handshake(&fresh, &fixture.server, "example.com").unwrap();
        for _ in 0..3 {
            fixture.is_full();
        }
        let other = || handshake(&fixture.client, &fixture.server, "www.example.com").unwrap();
        assert_eq!(other(), HandshakeKind::Full);
        assert_eq!(other(), HandshakeKind::Resumed);
    }
}

/// A session says which certificates it was made with, not along which path.
#[test]
fn certificates_that_were_taken_along_two_paths_have_no_resumption() {
    for provider in providers() {
        let (old, new) = (Ca::root("Old root"), Ca::root("New root"));
        let leaf = new.leaf(&NAMES).with_appended([old.cross_sign(&new)]);
        let [of_old, of_new] = [&old, &new].map(Ca::pin);
        let anchors = built_in_anchors(&[&old, &new]);
        let fixture = scene_of(provider, VERSIONS[1], new, leaf, anchors);
        fixture.pin_to(PinPolicy::new([of_new, unrelated_pin()]).unwrap());
        fixture.is_full();
        fixture.is_resumed();
        fixture.pin_to(PinPolicy::new([of_old, unrelated_pin()]).unwrap());
        fixture.is_full();
        fixture.pin_to(PinPolicy::new([of_old, of_new]).unwrap());
        fixture.is_full();
        fixture.is_full();
    }
}

#[test]
fn a_chain_that_is_too_large_to_remember_has_no_resumption() {
    for fixture in fixtures() {
        let extra = fixture.root.leaf(&["a.example"]).certificate();
        let many = fixture.leaf.with_appended(vec![extra; 60]);
        assert!(many.chain.iter().map(|der| der.len()).sum::<usize>() > 16 * 1024);
        fixture.swap.set(&many);
        for _ in 0..3 {
            fixture.is_full();
        }
    }
}

#[test]
fn names_beyond_the_table_have_no_resumption_and_push_nobody_out() {
    // The table knows neither version nor provider.
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

/// The fixture's server behind a port, and a connector with this configuration.
async fn reach(fixture: &Fixture, config: ClientConfig) -> (Server, PinningConnector<Loopback>) {
    let server = Server::with_config((*fixture.server).clone(), answer(&[])).await;
    let names = Names::new([("example.com", &server)]);
    let connector = PinningConnector::builder(fixture.pinning.clone())
        .with_tls_config(config)
        .enable_http1()
        .wrap_connector(Loopback::new(&names))
        .unwrap();
    (server, connector)
}

#[tokio::test]
async fn attack_4_through_the_connector() {
    for fixture in fixtures() {
        fixture.pin_to(policy_with(fixture.leaf.pin()));
        let (_server, connector) = reach(&fixture, (*fixture.client).clone()).await;
        let pass = |kind| (kind, "Pass".to_owned());
        let visit = async || {
            let outcome = connect(&connector).await;
            outcome.map(|(kind, decision)| (kind, format!("{decision:?}")))
        };
        assert_eq!(visit().await.unwrap(), pass(HandshakeKind::Full));
        assert_eq!(visit().await.unwrap(), pass(HandshakeKind::Resumed));
        let new = fixture.new_leaf();
        fixture.pin_to(policy_with(new.pin()));
        visit().await.unwrap_err();
        fixture.swap.set(&new);
        assert_eq!(visit().await.unwrap(), pass(HandshakeKind::Full));
    }
}

/// The gate of a configuration that was made of other pins knows nothing of the connector's.
#[tokio::test]
async fn a_session_that_only_the_connectors_pins_refuse_costs_a_full_handshake_and_no_error() {
    for fixture in fixtures() {
        let elsewhere = Pinning::builder().time_provider(fixture.clock.clone());
        let config = PinningVerifier::builder(
            elsewhere.build().unwrap(),
            built_in_anchors(&[&fixture.root]),
        )
        .with_provider(fixture.client.crypto_provider().clone())
        .client_config();
        let (_server, connector) = reach(&fixture, config.unwrap()).await;
        let kind = async || connect(&connector).await.map(|(kind, _)| kind);
        fixture.pin_to(policy_with(fixture.leaf.pin()));
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Resumed);
        let new = fixture.new_leaf();
        fixture.swap.set(&new);
        fixture.pin_to(policy_with(new.pin()));
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
    }
}

/// Where the gate is missing the connector's own check stands, and locks out nobody.
#[tokio::test]
async fn attack_4_through_the_connector_with_a_foreign_memory_of_sessions() {
    for fixture in fixtures() {
        fixture.pin_to(policy_with(fixture.leaf.pin()));
        let mut config = (*fixture.client).clone();
        config.resumption = Resumption::in_memory_sessions(64);
        let (server, connector) = reach(&fixture, config).await;
        let kind = async || connect(&connector).await.map(|(kind, _)| kind);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Resumed);
        // The server resumes the old session, whose key is no longer pinned: one more connection.
        let new = fixture.new_leaf();
        fixture.pin_to(policy_with(new.pin()));
        fixture.swap.set(&new);
        assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
        assert_eq!(
            server.requests.load(Ordering::SeqCst),
            3,
            "no request over the refused one"
        );
        fixture.pin_to(policy_with(unrelated_pin()));
        let violation = kind().await.unwrap_err();
        assert_eq!(violation.chain().fingerprints()[0], new.pin());
    }
}

/// The session came of a handshake that this connector did not see.
#[tokio::test]
async fn a_session_of_another_stack_is_not_trusted_by_the_connector() {
    for fixture in fixtures() {
        let (_server, connector) = reach(&fixture, (*fixture.client).clone()).await;
        fixture.is_full();
        fixture.is_resumed();
        let (kind, _) = connect(&connector).await.unwrap();
        assert_eq!(kind, HandshakeKind::Full);
        let (kind, _) = connect(&connector).await.unwrap();
        assert_eq!(kind, HandshakeKind::Resumed);
    }
}
