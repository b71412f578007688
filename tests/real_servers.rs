//! Peers that are not ours, on loopback, started and ended by the test that needs them: nginx and
//! `openssl s_server` as servers, mitmproxy as the interceptor, curl as a second opinion. Where one
//! is missing its test passes over itself and says so, unless `PINHOLD_REQUIRE_PEERS=1`.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use common::peers::{Peer, Tls, curl, rsa_key};
use common::pki::{Ca, Leaf, leaf_params};
use common::server::{Names, Server, client, get};
use common::validated::built_in_anchors;
use common::{Clock, header_value, policy_with, provider, unrelated_pin};
use http::Response;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use pinhold::header::{IgnoreReason, Noted};
use pinhold::policy::PinSource;
use pinhold::roots::AnchorOrigin;
use pinhold::{
    Decision, NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningBuilder, PinningConnector,
    SpkiFingerprint, TrustAnchors, UserAddedRoots, VerifiedConnection,
};
use tower::ServiceExt;
use tower_layer::Layer;

const HOST: &str = "pinned.test";

const URI: &str = "https://pinned.test/";

#[tokio::test]
async fn pins_of_nginx_refuse_the_certificate_of_another_trusted_ca() {
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let anchors = built_in_anchors(&[&root, &other]);
    for (leaf, tls) in leaves(&root) {
        let pins = header_value(leaf.pin(), "max-age=100");
        // The genuine chain behind the impostor's, as in CVE-2016-2402.
        let impostor = other.leaf(&[HOST]).with_appended(leaf.chain.clone());
        let Some(nginx) = Peer::nginx(&leaf, tls, &pins) else {
            return;
        };
        let Some(s_server) = Peer::s_server(&impostor, tls) else {
            return;
        };
        let names = Names::default();
        let visit = async |pinning: &Pinning, server: &Peer| {
            names.point_to(HOST, server.address);
            let mut client = client(pinning, anchors.clone(), &names);
            bounded(get(&mut client, URI)).await
        };

        let learning = pinning(None);
        let first = visit(&learning, &nginx).await.unwrap();
        assert_eq!(first.version(), http::Version::HTTP_2);
        assert_eq!(first.extensions().get(), Some(&Noted::Added));
        let second = visit(&learning, &nginx).await.unwrap();
        assert_eq!(second.extensions().get(), Some(&Noted::Refreshed));
        assert!(matches!(decision(&second), Decision::Pass));

        let error = visit(&learning, &s_server).await.unwrap_err();
        let violation = PinViolation::find(&error).unwrap();
        assert_eq!(violation.policy().source, PinSource::Noted);
        let seen = violation.chain().fingerprints();
        assert_eq!(seen, [impostor.pin(), other.pin()]);
        assert_eq!(violation.chain().served(), impostor.chain);

        // Nothing but the pins was wrong with it.
        let page = visit(&pinning(None), &s_server).await.unwrap();
        assert!(page.body().starts_with(b"<HTML>"));
    }
}

#[tokio::test]
async fn mitmproxy_is_refused_or_skipped_by_what_is_said_of_its_root() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let pins = header_value(leaf.pin(), "max-age=100");
    let server = Server::start(&leaf, &[("public-key-pins", &pins)]).await;
    let Some(proxy) = Peer::mitmproxy(server.address) else {
        return;
    };
    let (inspector, known) = (proxy.root_of_mitmproxy(), built_in_anchors(&[&root]));
    let unknown = known.clone().with_unknown([inspector.clone()]).unwrap();
    let user_added = known.clone().with_user_added([inspector.clone()]).unwrap();
    let pinned = || Some(policy_with(leaf.pin()));
    let enforced = || pinned().map(|pins| pins.user_added_roots(UserAddedRoots::EnforcePins));
    let inspector = SpkiFingerprint::of_certificate(&inspector).unwrap();

    let refused = [
        (pinned(), &unknown, AnchorOrigin::Unknown),
        (enforced(), &user_added, AnchorOrigin::UserAdded),
    ];
    for (policy, anchors, origin) in refused {
        let error = visit_through(&proxy, policy, anchors).await.unwrap_err();
        let violation = PinViolation::find(&error).unwrap();
        assert_eq!(violation.chain().anchor_origin(), origin);
        assert_eq!(violation.chain().fingerprints().last(), Some(&inspector));
    }
    // Without its root mitmproxy is no matter of pins.
    let error = visit_through(&proxy, pinned(), &known).await.unwrap_err();
    assert!(PinViolation::find(&error).is_none());
    assert_eq!(server.requests(), 0);

    let accepted = [
        (pinned(), &user_added, AnchorOrigin::UserAdded),
        (None, &user_added, AnchorOrigin::UserAdded),
        (None, &unknown, AnchorOrigin::Unknown),
    ];
    for (policy, anchors, origin) in accepted {
        let is_pinned = policy.is_some();
        let (response, pinning) = visit_through(&proxy, policy, anchors).await.unwrap();
        if is_pinned {
            assert!(matches!(decision(&response), Decision::Skipped))
        } else {
            assert!(matches!(decision(&response), Decision::NotPinned))
        }
        let ignored = Noted::Ignored(IgnoreReason::AnchorNotBuiltIn(origin));
        assert_eq!(response.extensions().get(), Some(&ignored));
        assert!(pinning.store().list().is_empty());
    }
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn curl_agrees_on_pins_of_leaves() {
    let root = Ca::root("Root");
    for (leaf, tls) in leaves(&root) {
        let Some(nginx) = Peer::nginx(&leaf, tls, &header_value(leaf.pin(), "max-age=100")) else {
            return;
        };
        let names = Names::default();
        names.point_to(HOST, nginx.address);
        for (pin, passes) in [(leaf.pin(), true), (unrelated_pin(), false)] {
            let policy = PinPolicy::without_backup([pin]).unwrap();
            let mut client = client(&pinning(Some(policy)), built_in_anchors(&[&root]), &names);
            match bounded(get(&mut client, URI)).await {
                Ok(response) => assert!(passes && matches!(decision(&response), Decision::Pass)),
                Err(error) => assert!(!passes && PinViolation::find(&error).is_some()),
            }
            let Some(code) = curl(&root, HOST, nginx.address, pin) else {
                return;
            };
            assert_eq!(code, if passes { 0 } else { CURL_PIN_MISMATCH });
        }
    }
}

/// A server of each kind of key that is in wide use, with a version of TLS that goes with it.
fn leaves(root: &Ca) -> Vec<(Leaf, Tls)> {
    let issuer = root.intermediate("CA");
    let ecdsa = (issuer.leaf(&[HOST]), Tls::V1_3);
    // Without openssl the test goes on with the other key.
    let rsa = rsa_key(2048).map(|key| {
        let leaf = issuer.leaf_with_key(leaf_params(&[HOST]), key);
        (leaf, Tls::V1_2)
    });
    std::iter::once(ecdsa).chain(rsa).collect()
}

fn pinning(policy: Option<PinPolicy>) -> Pinning {
    pinning_with(Pinning::builder().time_provider(Clock::new()), policy)
}

fn pinning_with(builder: PinningBuilder, policy: Option<PinPolicy>) -> Pinning {
    let builder = match policy {
        Some(policy) => builder.static_pins(HOST, policy),
        None => builder,
    };
    builder.build().unwrap()
}

/// One GET through a proxy with a connection of its own, at the time of the system: mitmproxy's
/// certificates are of today.
async fn visit_through(
    proxy: &Peer,
    policy: Option<PinPolicy>,
    anchors: &TrustAnchors,
) -> Result<(Response<Incoming>, Pinning), Error> {
    let pinning = pinning_with(Pinning::builder(), policy);
    let address = format!("http://{}", proxy.address).parse().unwrap();
    let connector = PinningConnector::builder(pinning.clone())
        .with_provider(provider())
        .with_anchors(anchors.clone())
        .wrap_connector(Tunnel::new(address, HttpConnector::new()))
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let client = NotePinsLayer::new(pinning.clone()).layer(client);
    let request = http::Request::get(URI).body(Empty::<Bytes>::new()).unwrap();
    let response = bounded(client.oneshot(request)).await?;
    Ok((response, pinning))
}

fn decision<B>(response: &Response<B>) -> &Decision {
    let connection = response.extensions().get::<VerifiedConnection>();
    connection.unwrap().decision()
}

async fn bounded<F: Future>(future: F) -> F::Output {
    let outcome = tokio::time::timeout(TIMEOUT, future).await;
    outcome.expect("a peer on loopback answers in time")
}

/// `CURLE_SSL_PINNEDPUBKEYNOTMATCH`
const CURL_PIN_MISMATCH: i32 = 90;

/// For a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(60);
