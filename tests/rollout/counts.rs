//! Counts of connections: which are counted, when, and which changes of pins keep the counts.

use std::sync::Arc;

use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::{Decision, Enforcement, PinViolation, PinningVerifier, VerifiedConnection};

use crate::common::server::{Server, answer, server_config};
use crate::common::tls::handshake;
use crate::common::validated::trusting;
use crate::common::{NOW, at, pinned_to, provider};
use crate::{NAMES, Scene, host, with_candidate};

#[tokio::test]
async fn counts_carry_the_times_of_the_last_connection_and_failure() {
    let scene = Scene::start().await;
    scene.set(with_candidate(scene.live(), &scene.live()));
    let rollout = scene.rollout();
    assert_eq!(
        (rollout.last_connection, rollout.last_failure),
        (None, None)
    );
    assert_eq!(rollout.never_seen().count(), 2);
    scene.clock.set(NOW + 1);
    scene.assert_passes().await;
    scene.clock.set(NOW + 2);
    scene.assert_passes().await;
    let rollout = scene.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (2, 0));
    assert_eq!(rollout.last_connection, Some(at(NOW + 2)));
    assert_eq!(rollout.last_failure, None);
    let unseen = rollout.never_seen().collect::<Vec<_>>();
    assert_eq!(unseen.len(), 1);
    assert_ne!(unseen[0], &scene.leaf.pin());
    let seen = rollout
        .pins
        .iter()
        .find(|(pin, _)| *pin == scene.leaf.pin());
    assert_eq!(seen.unwrap().1, Some(at(NOW + 2)));

    // With another key under the same root, the connection passes and fails the candidate.
    let other = scene.root.leaf(&NAMES);
    let by_root = pinned_to(scene.root.pin()).include_subdomains();
    scene.set(with_candidate(by_root, &scene.live()));
    let server = Server::start(&other, &[]).await;
    let scene = Scene { server, ..scene };
    scene.clock.set(NOW + 3);
    assert!(scene.connect().await.is_some());
    let rollout = scene.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (3, 1));
    assert_eq!(rollout.last_connection, Some(at(NOW + 3)));
    assert_eq!(rollout.last_failure, Some(at(NOW + 3)));
    let seen = rollout
        .pins
        .iter()
        .find(|(pin, _)| *pin == scene.leaf.pin());
    assert_eq!(seen.unwrap().1, Some(at(NOW + 2)));
}

#[tokio::test]
async fn connections_are_counted_once_full_or_resumed_over_both_http_versions() {
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let mut scene = Scene::start().await;
        let mut config = server_config(&scene.leaf, provider(), &[&rustls::version::TLS12]);
        config.alpn_protocols = vec![alpn.to_vec()];
        scene.server = Server::with_config(config, answer(&[])).await;
        scene.set(with_candidate(scene.live(), &scene.failing()));
        let connector = scene.connector(trusting(&[&scene.root]), alpn);
        for round in 1..=3 {
            let client = Client::builder(TokioExecutor::new());
            let client = client.build::<_, Empty<bytes::Bytes>>(connector.clone());
            for _ in 0..2 {
                let response = client.get("https://example.com/".parse().unwrap());
                let response = response.await.unwrap();
                let connection = response.extensions().get::<VerifiedConnection>().unwrap();
                assert_eq!(connection.is_resumed(), round > 1, "{round}");
                assert!(matches!(connection.decision(), Decision::ReportOnly(_)));
                http_body_util::BodyExt::collect(response.into_body())
                    .await
                    .unwrap();
            }
            assert_eq!(scene.server.connections(), round);
            let round = round.try_into().unwrap();
            assert_eq!(scene.counts(), (round, round));
            scene.observed.would_be(&scene.pinning);
        }
    }
}

#[tokio::test]
async fn without_a_connector_the_verifier_counts_connections() {
    let scene = Scene::start().await;
    let anchors = trusting(&[&scene.root]);
    let client = PinningVerifier::builder(scene.pinning.clone(), anchors);
    let client = client.with_provider(provider()).client_config().unwrap();
    let client = Arc::new(client);
    let server = server_config(&scene.leaf, provider(), rustls::ALL_VERSIONS);
    let server = Arc::new(server);
    scene.set(with_candidate(scene.live(), &scene.failing()));
    handshake(&client, &server, "www.example.com").unwrap();
    assert_eq!(scene.counts(), (1, 1));
    // The verifier does not know the port; the report has the default.
    let report = scene.observed.reports(&scene.pinning).remove(0);
    assert_eq!(report.port(), 443);
    scene.observed.would_be(&scene.pinning);

    scene.set(scene.failing());
    let error = handshake(&client, &server, "www.example.com").unwrap_err();
    let found = PinViolation::find(&error).unwrap();
    let emitted = scene.observed.violation(&scene.pinning);
    assert_eq!(emitted.host(), found.host());
    assert_eq!(
        scene.counts(),
        (1, 1),
        "a refused connection is not counted"
    );
}

#[tokio::test]
async fn a_report_only_policy_is_counted_and_covers_its_subdomains() {
    let scene = Scene::start().await;
    scene.set(scene.failing().enforcement(Enforcement::ReportOnly));
    let anchors = trusting(&[&scene.root]);
    for (name, count) in [("example.com", 1), ("www.example.com", 2)] {
        let connection = scene.connect_with(anchors.clone(), name).await.unwrap();
        assert!(matches!(connection.decision(), Decision::ReportOnly(_)));
        let violation = scene.observed.would_be(&scene.pinning);
        assert_eq!(violation.host().as_str(), name);
        assert_eq!(scene.counts(), (count, count));
        let of_subdomain = scene.pinning.rollout(&host("www.example.com"));
        assert_eq!(of_subdomain, Some(scene.rollout()));
    }
    assert_eq!(scene.pinning.rollout(&host("example.org")), None);
    assert_eq!(scene.observed.reports(&scene.pinning).len(), 2);
    // A disabled policy is neither evaluated nor counted.
    scene.pinning.disable_static(&host("example.com"));
    assert!(scene.connect().await.is_some());
    assert_eq!(scene.pinning.rollout(&host("example.com")), None);
    scene.observed.nothing(&scene.pinning);
    scene.pinning.restore_static();
    assert_eq!(scene.counts(), (2, 2));
}

#[tokio::test]
async fn counts_outlive_a_replacement_that_keeps_the_pins_of_the_rollout() {
    let scene = Scene::start().await;
    let (live, failing) = (scene.live(), scene.failing());
    scene.set(with_candidate(live.clone(), &failing));
    scene.connect().await.unwrap();
    // Another report-uri, then other enforced pins, with the same candidate.
    let uri = "https://r.example/".parse().unwrap();
    scene.set(with_candidate(live.clone(), &failing).report_uri(uri));
    assert_eq!(scene.counts(), (1, 1));
    let by_root = pinned_to(scene.root.pin());
    scene.set(with_candidate(by_root, &failing));
    assert_eq!(scene.counts(), (1, 1));
    // The candidate becomes the report-only policy: the pins of the rollout are the same.
    scene.set(failing.enforcement(Enforcement::ReportOnly));
    assert_eq!(scene.counts(), (1, 1));
    // Other pins start at zero, and the counts of the old pins are dropped.
    scene.set(live);
    assert_eq!(scene.counts(), (0, 0));
    scene.set(scene.failing());
    assert_eq!(scene.counts(), (0, 0));
    // The same pins under another host do not take the counts over either.
    scene.connect().await;
    let policies = [("www.example.com", scene.failing())];
    scene.pinning.replace_pins(policies).unwrap();
    assert_eq!(scene.pinning.rollout(&host("example.com")), None);
}
