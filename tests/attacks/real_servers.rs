//! Pins with other implementations on loopback: nginx and `openssl s_server` as servers, mitmproxy
//! as an intercepting proxy, curl as a second client. Each test starts and stops its own programs.
//!
//! A test whose program is not installed is skipped with a message, unless
//! `PINHOLD_REQUIRE_PEERS=1` makes that an error.

use std::future::Future;
use std::time::Duration;

use crate::common::peers::{Peer, Tls, curl, rsa_key};
use crate::common::pki::{Ca, Leaf, leaf_params};
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, header_value, policy_with, provider, unrelated_pin};
use bytes::Bytes;
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
async fn pins_noted_from_nginx_refuse_a_certificate_of_another_trusted_ca() {
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let anchors = built_in_anchors(&[&root, &other]);
    for (leaf, tls) in leaves(&root) {
        let pins = header_value(leaf.pin(), "max-age=100");
        // The genuine chain is appended to the impostor's, the attack of CVE-2016-2402.
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

        let noting = pinning(None);
        let first = visit(&noting, &nginx).await.unwrap();
        assert_eq!(first.version(), http::Version::HTTP_2);
        assert_eq!(first.extensions().get(), Some(&Noted::Added));
        let second = visit(&noting, &nginx).await.unwrap();
        assert_eq!(second.extensions().get(), Some(&Noted::Refreshed));
        assert!(matches!(decision(&second), Decision::Pass));

        let error = visit(&noting, &s_server).await.unwrap_err();
        let violation = PinViolation::find(&error).unwrap();
        assert_eq!(violation.policy().source, PinSource::Noted);
        let seen = violation.chain().fingerprints();
        assert_eq!(seen, [impostor.pin(), other.pin()]);
        assert_eq!(violation.chain().served(), impostor.chain);

        // A client without pins accepts the impostor: the pins alone refused it.
        let page = visit(&pinning(None), &s_server).await.unwrap();
        assert!(page.body().starts_with(b"<HTML>"));
    }
}

#[tokio::test]
async fn the_origin_of_its_root_decides_whether_mitmproxy_is_refused_or_skipped() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let pins = header_value(leaf.pin(), "max-age=100");
    let server = Server::start(&leaf, &[("public-key-pins", &pins)]).await;
    let Some(proxy) = Peer::mitmproxy(server.address) else {
        return;
    };
    let (proxy_root, known) = (proxy.root_of_mitmproxy(), built_in_anchors(&[&root]));
    let unknown = known.clone().with_unknown([proxy_root.clone()]).unwrap();
    let user_added = known.clone().with_user_added([proxy_root.clone()]).unwrap();
    let pinned = || Some(policy_with(leaf.pin()));
    let enforced = || pinned().map(|pins| pins.user_added_roots(UserAddedRoots::EnforcePins));
    let proxy_root = SpkiFingerprint::of_certificate(&proxy_root).unwrap();

    let refused = [
        (pinned(), &unknown, AnchorOrigin::Unknown),
        (enforced(), &user_added, AnchorOrigin::UserAdded),
    ];
    for (policy, anchors, origin) in refused {
        let error = visit_through(&proxy, policy, anchors).await.unwrap_err();
        let violation = PinViolation::find(&error).unwrap();
        assert_eq!(violation.chain().anchor_origin(), origin);
        assert_eq!(violation.chain().fingerprints().last(), Some(&proxy_root));
    }
    // Without the root of mitmproxy, path validation fails before pins are checked.
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
async fn curl_agrees_on_pinned_leaf_keys() {
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

/// Returns a leaf with an ECDSA key for TLS 1.3 and, where `openssl` can make the key, one with an
/// RSA key for TLS 1.2.
fn leaves(root: &Ca) -> Vec<(Leaf, Tls)> {
    let issuer = root.intermediate("CA");
    let ecdsa = (issuer.leaf(&[HOST]), Tls::V1_3);
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

/// Sends one GET through a proxy over a new connection.
///
/// The clock is the system's, because mitmproxy issues certificates that are valid from today.
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

/// Fails the test if the future takes longer than [`TIMEOUT`].
async fn bounded<F: Future>(future: F) -> F::Output {
    let outcome = tokio::time::timeout(TIMEOUT, future).await;
    outcome.expect("a response from loopback within the time limit")
}

/// The exit code `CURLE_SSL_PINNEDPUBKEYNOTMATCH`.
const CURL_PIN_MISMATCH: i32 = 90;

/// Time limit of a request, long enough for a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(60);
