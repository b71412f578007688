//! Counts of connections: which are counted, when, and which changes of pins keep the counts.

use std::sync::Arc;

use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::policy::Scope;
use pinhold::{Decision, Enforcement, PinViolation, PinningVerifier, VerifiedConnection};

use super::{Fixture, NAMES, host, with_candidate};
use crate::common::server::{Server, answer, server_config};
use crate::common::tls::handshake;
use crate::common::validated::built_in_anchors;
use crate::common::{NOW, at, policy_with, provider};

#[tokio::test]
async fn counts_carry_the_times_of_the_last_connection_and_failure() {
    let fixture = Fixture::start().await;
    fixture.set(with_candidate(fixture.live(), &fixture.live()));
    let rollout = fixture.rollout();
    assert_eq!(
        (rollout.last_connection, rollout.last_failure),
        (None, None)
    );
    assert_eq!(rollout.never_seen().count(), 2);
    fixture.clock.set(NOW + 1);
    fixture.assert_passes().await;
    fixture.clock.set(NOW + 2);
    fixture.assert_passes().await;
    let rollout = fixture.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (2, 0));
    assert_eq!(rollout.last_connection, Some(at(NOW + 2)));
    assert_eq!(rollout.last_failure, None);
    let unseen = rollout.never_seen().collect::<Vec<_>>();
    assert_eq!(unseen.len(), 1);
    assert_ne!(unseen[0], &fixture.leaf.pin());
    let seen = rollout
        .pins
        .iter()
        .find(|(pin, _)| *pin == fixture.leaf.pin());
    assert_eq!(seen.unwrap().1, Some(at(NOW + 2)));

    // With another key under the same root, the connection passes and fails the candidate.
    let other = fixture.root.leaf(&NAMES);
    let by_root = policy_with(fixture.root.pin()).include_subdomains();
    fixture.set(with_candidate(by_root, &fixture.live()));
    let server = Server::start(&other, &[]).await;
    let fixture = Fixture { server, ..fixture };
    fixture.clock.set(NOW + 3);
    assert!(fixture.connect().await.is_some());
    let rollout = fixture.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (3, 1));
    assert_eq!(rollout.last_connection, Some(at(NOW + 3)));
    assert_eq!(rollout.last_failure, Some(at(NOW + 3)));
    let seen = rollout
        .pins
        .iter()
        .find(|(pin, _)| *pin == fixture.leaf.pin());
    assert_eq!(seen.unwrap().1, Some(at(NOW + 2)));
}

#[tokio::test]
async fn connections_are_counted_once_full_or_resumed_over_both_http_versions() {
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let mut fixture = Fixture::start().await;
        let mut config = server_config(&fixture.leaf, provider(), &[&rustls::version::TLS12]);
        config.alpn_protocols = vec![alpn.to_vec()];
        fixture.server = Server::with_config(config, answer(&[])).await;
        fixture.set(with_candidate(fixture.live(), &fixture.failing()));
        let connector = fixture.connector(built_in_anchors(&[&fixture.root]), alpn);
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
            assert_eq!(fixture.server.connections(), round);
            let round = round.try_into().unwrap();
            assert_eq!(fixture.counts(), (round, round));
            fixture.recorder.would_be_violation(&fixture.pinning);
        }
    }
}

#[tokio::test]
async fn without_a_connector_the_verifier_counts_connections() {
    let fixture = Fixture::start().await;
    let anchors = built_in_anchors(&[&fixture.root]);
    let client = PinningVerifier::builder(fixture.pinning.clone()).with_anchors(anchors);
    let client = client.with_provider(provider()).client_config().unwrap();
    let client = Arc::new(client);
    let server = server_config(&fixture.leaf, provider(), rustls::ALL_VERSIONS);
    let server = Arc::new(server);
    fixture.set(with_candidate(fixture.live(), &fixture.failing()));
    handshake(&client, &server, "www.example.com").unwrap();
    assert_eq!(fixture.counts(), (1, 1));
    // The verifier does not know the port; the report has the default.
    let report = fixture.recorder.reports(&fixture.pinning).remove(0);
    assert_eq!(report.port(), 443);
    fixture.recorder.would_be_violation(&fixture.pinning);

    fixture.set(fixture.failing());
    let error = handshake(&client, &server, "www.example.com").unwrap_err();
    let found = PinViolation::find(&error).unwrap();
    let emitted = fixture.recorder.violation(&fixture.pinning);
    assert_eq!(emitted.host(), found.host());
    assert_eq!(
        fixture.counts(),
        (1, 1),
        "a refused connection is not counted"
    );
}

#[tokio::test]
async fn a_report_only_policy_is_counted_and_covers_its_subdomains() {
    let fixture = Fixture::start().await;
    fixture.set(fixture.failing().enforcement(Enforcement::ReportOnly));
    let anchors = built_in_anchors(&[&fixture.root]);
    for (name, count) in [("example.com", 1), ("www.example.com", 2)] {
        let connection = fixture.connect_with(anchors.clone(), name).await.unwrap();
        assert!(matches!(connection.decision(), Decision::ReportOnly(_)));
        let violation = fixture.recorder.would_be_violation(&fixture.pinning);
        assert_eq!(violation.host().as_str(), name);
        assert_eq!(fixture.counts(), (count, count));
        let of_subdomain = fixture.pinning.rollout(&host("www.example.com"));
        assert_eq!(of_subdomain, Some(fixture.rollout()));
    }
    assert_eq!(fixture.pinning.rollout(&host("example.org")), None);
    assert_eq!(fixture.recorder.reports(&fixture.pinning).len(), 2);
    // A disabled policy is neither evaluated nor counted.
    fixture.pinning.disable_static(&host("example.com"));
    assert!(fixture.connect().await.is_some());
    assert_eq!(fixture.pinning.rollout(&host("example.com")), None);
    fixture.recorder.assert_no_event_or_report(&fixture.pinning);
    fixture.pinning.restore_static();
    assert_eq!(fixture.counts(), (2, 2));
}

#[tokio::test]
async fn counts_outlive_a_replacement_that_keeps_the_pins_of_the_rollout() {
    let fixture = Fixture::start().await;
    let (live, failing) = (fixture.live(), fixture.failing());
    fixture.set(with_candidate(live.clone(), &failing));
    fixture.connect().await.unwrap();
    // Another report-uri, then other enforced pins, with the same candidate.
    let uri = "https://r.example/".parse().unwrap();
    fixture.set(with_candidate(live.clone(), &failing).report_uri(uri));
    assert_eq!(fixture.counts(), (1, 1));
    let by_root = policy_with(fixture.root.pin());
    fixture.set(with_candidate(by_root, &failing));
    assert_eq!(fixture.counts(), (1, 1));
    // The candidate becomes the report-only policy: the pins of the rollout are the same.
    fixture.set(failing.enforcement(Enforcement::ReportOnly));
    assert_eq!(fixture.counts(), (1, 1));
    // Other pins start at zero, and the counts of the old pins are dropped.
    fixture.set(live);
    assert_eq!(fixture.counts(), (0, 0));
    fixture.set(fixture.failing());
    assert_eq!(fixture.counts(), (0, 0));
    // The same pins under another host do not take the counts over either.
    fixture.connect().await;
    let policies = [("www.example.com", fixture.failing())];
    fixture.pinning.replace_pins(policies).unwrap();
    assert_eq!(fixture.pinning.rollout(&host("example.com")), None);
}

#[tokio::test]
async fn two_policies_of_a_host_with_the_same_pins_keep_their_own_counts() {
    let fixture = Fixture::start().await;
    let replace = || {
        let policies = [Scope::Host, Scope::Subdomains];
        let policies = policies.map(|scope| ("example.com", fixture.live().scope(scope)));
        fixture.pinning.replace_pins(policies).unwrap();
    };
    let connections = |name| fixture.pinning.rollout(&host(name)).unwrap().connections;
    replace();
    let anchors = built_in_anchors(&[&fixture.root]);
    fixture
        .connect_with(anchors, "www.example.com")
        .await
        .unwrap();
    assert_eq!(
        (connections("example.com"), connections("www.example.com")),
        (0, 1)
    );
    replace();
    assert_eq!(
        (connections("example.com"), connections("www.example.com")),
        (0, 1)
    );
}
