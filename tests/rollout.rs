//! A roll-out, over real handshakes: pins on trial, what is told of them, what is counted.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;

use common::pki::{Ca, Leaf};
use common::recording::{Recorder, with_recorder};
use common::server::{Loopback, Names, Server, answer, get, server_config};
use common::tls::handshake;
use common::validated::built_in_anchors;
use common::{Clock, NOW, at, header_value, now, policy_with, provider, unrelated_pin};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::policy::{PinSource, PolicyState};
use pinhold::report::Rollout;
use pinhold::{
    Decision, Enforcement, Event, Host, PinPolicy, PinViolation, Pinning, PinningConnector,
    PinningVerifier, TrustAnchors, UserAddedRoots, VerifiedConnection,
};
use tower::{Service, ServiceExt};

/// A server, and a client that is told everything.
struct Fixture {
    clock: Arc<Clock>,
    root: Ca,
    leaf: Leaf,
    server: Server,
    pinning: Pinning,
    recorder: Recorder,
}

const NAMES: [&str; 2] = ["example.com", "www.example.com"];

impl Fixture {
    async fn start() -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&NAMES);
        let server = Server::start(&leaf, &[]).await;
        let clock = Clock::new();
        let (pinning, recorder) = with_recorder(Pinning::builder().time_provider(clock.clone()));
        Self {
            clock,
            root,
            leaf,
            server,
            pinning,
            recorder,
        }
    }

    /// Passes.
    fn live(&self) -> PinPolicy {
        policy_with(self.leaf.pin()).include_subdomains()
    }

    /// Fails.
    fn foreign(&self) -> PinPolicy {
        policy_with(unrelated_pin()).include_subdomains()
    }

    fn set(&self, policy: PinPolicy) {
        let policies = [("example.com", policy)];
        self.pinning.replace_pins(policies).unwrap();
    }

    fn connector(&self, anchors: TrustAnchors, alpn: &[u8]) -> PinningConnector<Loopback> {
        let config = PinningVerifier::builder(self.pinning.clone(), anchors);
        let config = config.with_provider(provider()).client_config().unwrap();
        let connector = PinningConnector::builder(self.pinning.clone()).with_tls_config(config);
        let connector = match alpn {
            b"h2" => connector.enable_http2(),
            _ => connector.enable_http1(),
        };
        let names = Names::new(NAMES.map(|name| (name, &self.server)));
        connector.wrap_connector(Loopback::new(&names)).unwrap()
    }

    /// A connection of its own, with what is known of it.
    async fn connect_by(&self, anchors: TrustAnchors, host: &str) -> Option<VerifiedConnection> {
        let mut connector = self.connector(anchors, b"http/1.1");
        let uri = format!("https://{host}:8443/").parse().unwrap();
        let stream = connector.ready().await.unwrap().call(uri).await.ok()?;
        stream.verified().cloned()
    }

    async fn connect(&self) -> Option<VerifiedConnection> {
        self.connect_by(built_in_anchors(&[&self.root]), "example.com")
            .await
    }

    async fn passes(&self) {
        let connection = self.connect().await.unwrap();
        assert!(matches!(connection.decision(), Decision::Pass));
    }

    fn rollout(&self) -> Rollout {
        self.pinning.rollout(&host("example.com")).unwrap()
    }

    /// Connections, and those that would have failed.
    fn counts(&self) -> (u64, u64) {
        let rollout = self.rollout();
        (rollout.connections, rollout.would_have_failed)
    }
}

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

fn candidate(policy: PinPolicy, other: &PinPolicy) -> PinPolicy {
    policy.candidate(other.pins().iter().copied()).unwrap()
}

#[tokio::test]
async fn a_candidate_is_judged_beside_the_pins_that_decide() {
    let fixture = Fixture::start().await;
    let (live, foreign) = (fixture.live(), fixture.foreign());
    // Both pass.
    fixture.set(candidate(live.clone(), &live));
    fixture.passes().await;
    fixture.recorder.assert_nothing(&fixture.pinning);
    assert_eq!(fixture.counts(), (1, 0));

    // It fails: told, reported and counted, and the connection goes on.
    fixture.set(candidate(live.clone(), &foreign));
    let connection = fixture.connect().await.unwrap();
    assert!(matches!(connection.decision(), Decision::ReportOnly(_)));
    assert_eq!(fixture.counts(), (1, 1));
    let report = fixture.recorder.reports(&fixture.pinning).remove(0);
    assert_eq!(report.port(), 8443);
    let violation = fixture.recorder.would_be_violation(&fixture.pinning);
    assert_eq!(violation.policy().state, PolicyState::ReportOnly);
    assert_eq!(&violation.policy().pins, foreign.pins());
    assert_eq!(violation.policy().source, PinSource::Static);

    // It saves nobody.
    fixture.set(candidate(foreign.clone(), &live));
    assert!(fixture.connect().await.is_none());
    let violation = fixture.recorder.violation(&fixture.pinning);
    assert_eq!(violation.policy().state, PolicyState::Enforced);
    assert_eq!(&violation.policy().pins, foreign.pins());
    assert_eq!(fixture.counts(), (0, 0));

    // Both fail: the one that decides is told.
    fixture.set(candidate(
        foreign,
        &policy_with(pinhold::SpkiFingerprint::from_digest([1; 32])),
    ));
    assert!(fixture.connect().await.is_none());
    fixture.recorder.violation(&fixture.pinning);
    assert_eq!(fixture.counts(), (0, 0));
    let requests = fixture.server.requests();
    assert_eq!(requests, 0);
}

#[tokio::test]
async fn a_candidate_says_where_it_comes_from() {
    let fixture = Fixture::start().await;
    fixture.set(candidate(fixture.live(), &fixture.foreign()));
    let policies = fixture.pinning.query(&host("www.example.com"), now());
    let (policy, candidate) = (policies.static_policy.unwrap(), policies.candidate.unwrap());
    assert_eq!(policy.state, PolicyState::Enforced);
    assert_eq!(candidate.state, PolicyState::ReportOnly);
    assert_eq!(candidate.noted_hostname, policy.noted_hostname);
    assert_eq!(candidate.matched, policy.matched);
    assert_eq!(&candidate.pins, fixture.foreign().pins());
}

#[tokio::test]
async fn the_counts_have_their_times() {
    let fixture = Fixture::start().await;
    fixture.set(candidate(fixture.live(), &fixture.live()));
    let rollout = fixture.rollout();
    assert_eq!(
        (rollout.last_connection, rollout.last_failure),
        (None, None)
    );
    assert_eq!(rollout.never_seen().count(), 2);
    fixture.clock.set(NOW + 1);
    fixture.passes().await;
    fixture.clock.set(NOW + 2);
    fixture.passes().await;
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

    // Another key below the same root: it passes, and would have failed.
    let other = fixture.root.leaf(&NAMES);
    let by_root = policy_with(fixture.root.pin()).include_subdomains();
    fixture.set(candidate(by_root, &fixture.live()));
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
async fn connections_are_counted_not_requests_full_and_resumed_over_both_http_versions() {
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let mut fixture = Fixture::start().await;
        let mut config = server_config(&fixture.leaf, provider(), &[&rustls::version::TLS12]);
        config.alpn_protocols = vec![alpn.to_vec()];
        fixture.server = Server::with_config(config, answer(&[])).await;
        fixture.set(candidate(fixture.live(), &fixture.foreign()));
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
async fn a_bare_configuration_counts_in_the_verifier() {
    let fixture = Fixture::start().await;
    let anchors = built_in_anchors(&[&fixture.root]);
    let client = PinningVerifier::builder(fixture.pinning.clone(), anchors);
    let client = client.with_provider(provider()).client_config().unwrap();
    let client = Arc::new(client);
    let server = server_config(&fixture.leaf, provider(), rustls::ALL_VERSIONS);
    let server = Arc::new(server);
    fixture.set(candidate(fixture.live(), &fixture.foreign()));
    handshake(&client, &server, "www.example.com").unwrap();
    assert_eq!(fixture.counts(), (1, 1));
    // Nobody told it the port.
    let report = fixture.recorder.reports(&fixture.pinning).remove(0);
    assert_eq!(report.port(), 443);
    fixture.recorder.would_be_violation(&fixture.pinning);

    fixture.set(fixture.foreign());
    let error = handshake(&client, &server, "www.example.com").unwrap_err();
    let found = PinViolation::find(&error).unwrap();
    let violation = fixture.recorder.violation(&fixture.pinning);
    assert_eq!(violation.host(), found.host());
    assert_eq!(fixture.counts(), (1, 1), "a refused one is not counted");
}

#[tokio::test]
async fn a_report_only_policy_is_on_trial_itself_and_covers_its_subdomains() {
    let fixture = Fixture::start().await;
    fixture.set(fixture.foreign().enforcement(Enforcement::ReportOnly));
    let anchors = built_in_anchors(&[&fixture.root]);
    for (name, count) in [("example.com", 1), ("www.example.com", 2)] {
        let connection = fixture.connect_by(anchors.clone(), name).await.unwrap();
        assert!(matches!(connection.decision(), Decision::ReportOnly(_)));
        let violation = fixture.recorder.would_be_violation(&fixture.pinning);
        assert_eq!(violation.host().as_str(), name);
        assert_eq!(fixture.counts(), (count, count));
        let of_subdomain = fixture.pinning.rollout(&host("www.example.com"));
        assert_eq!(of_subdomain, Some(fixture.rollout()));
    }
    assert_eq!(fixture.pinning.rollout(&host("example.org")), None);
    assert_eq!(fixture.recorder.reports(&fixture.pinning).len(), 2);
    // Switched off, nothing is judged, and nothing counted.
    fixture.pinning.disable_static(&host("example.com"));
    assert!(fixture.connect().await.is_some());
    assert_eq!(fixture.pinning.rollout(&host("example.com")), None);
    fixture.recorder.assert_nothing(&fixture.pinning);
    fixture.pinning.restore_static();
    assert_eq!(fixture.counts(), (2, 2));
}

#[tokio::test]
async fn user_added_roots_say_nothing_about_a_roll_out() {
    // 7469-2.6-j
    let fixture = Fixture::start().await;
    let user_added = || TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    fixture.set(fixture.foreign());
    let connection = fixture
        .connect_by(user_added().unwrap(), "example.com")
        .await;
    assert!(matches!(connection.unwrap().decision(), Decision::Skipped));
    let events = fixture.recorder.events(&fixture.pinning);
    assert!(matches!(&events[..], [Event::Skipped { host }] if host.as_str() == "example.com"));
    assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
    assert_eq!(fixture.counts(), (0, 0));

    // Nor does it where other pins than those on trial are satisfied.
    fixture.set(candidate(fixture.live(), &fixture.foreign()));
    let connection = fixture
        .connect_by(user_added().unwrap(), "example.com")
        .await;
    assert!(matches!(connection.unwrap().decision(), Decision::Pass));
    fixture.recorder.assert_nothing(&fixture.pinning);
    assert_eq!(fixture.counts(), (0, 0));

    // Unless the policy holds there, too.
    let enforced = fixture.live().user_added_roots(UserAddedRoots::EnforcePins);
    fixture.set(candidate(enforced, &fixture.foreign()));
    fixture
        .connect_by(user_added().unwrap(), "example.com")
        .await;
    fixture.recorder.would_be_violation(&fixture.pinning);
    assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
    assert_eq!(fixture.counts(), (1, 1));
}

#[tokio::test]
async fn pins_on_trial_are_judged_where_noted_ones_are_skipped() {
    let mut fixture = Fixture::start().await;
    let value = header_value(fixture.leaf.pin(), "max-age=100");
    fixture.server = Server::start(&fixture.leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &fixture.server)]);
    let mut client =
        common::server::client(&fixture.pinning, built_in_anchors(&[&fixture.root]), &names);
    get(&mut client, "https://example.com/").await.unwrap();
    assert_eq!(fixture.recorder.events(&fixture.pinning).len(), 1);

    let other = fixture.root.leaf(&NAMES);
    fixture.server = Server::start(&other, &[]).await;
    let user_added = || TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    let on_trial = fixture.live().enforcement(Enforcement::ReportOnly);
    let on_trial = on_trial.user_added_roots(UserAddedRoots::EnforcePins);
    // And of two policies on trial each is told.
    let two = candidate(on_trial.clone(), &policy_with(fixture.leaf.pin()));
    for (policy, expected) in [(on_trial, 1), (two, 2)] {
        fixture.set(policy);
        let connection = fixture
            .connect_by(user_added().unwrap(), "example.com")
            .await;
        assert!(matches!(connection.unwrap().decision(), Decision::Skipped));
        let events = fixture.recorder.events(&fixture.pinning);
        let (skipped, would_be) = events.split_first().unwrap();
        assert!(matches!(skipped, Event::Skipped { .. }));
        let is_would_be = |event: &Event| matches!(event, Event::WouldBeViolation(_));
        assert!(would_be.iter().all(is_would_be) && would_be.len() == expected);
        assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
    }
    // The same pins are on trial in both.
    assert_eq!(fixture.counts(), (2, 2));
}

#[tokio::test]
async fn a_root_of_unknown_origin_is_counted_and_told_but_not_reported() {
    // 7469-5-e
    let fixture = Fixture::start().await;
    fixture.set(candidate(fixture.live(), &fixture.foreign()));
    let unknown = TrustAnchors::new().with_unknown([fixture.root.certificate()]);
    let connection = fixture.connect_by(unknown.unwrap(), "example.com").await;
    assert!(connection.is_some());
    assert_eq!(fixture.counts(), (1, 1));
    fixture.recorder.would_be_violation(&fixture.pinning);
    assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
}

#[tokio::test]
async fn counts_outlive_a_replacement_while_the_same_pins_are_on_trial() {
    let fixture = Fixture::start().await;
    let (live, foreign) = (fixture.live(), fixture.foreign());
    fixture.set(candidate(live.clone(), &foreign));
    fixture.connect().await.unwrap();
    // Another report-uri, then another enforced set, the same candidate.
    let uri = "https://r.example/".parse().unwrap();
    fixture.set(candidate(live.clone(), &foreign).report_uri(uri));
    assert_eq!(fixture.counts(), (1, 1));
    let by_root = policy_with(fixture.root.pin());
    fixture.set(candidate(by_root, &foreign));
    assert_eq!(fixture.counts(), (1, 1));
    // The candidate becomes the policy: its pins are still those on trial.
    fixture.set(foreign.enforcement(Enforcement::ReportOnly));
    assert_eq!(fixture.counts(), (1, 1));
    // Other pins begin anew, and what was counted of the old ones is gone.
    fixture.set(live);
    assert_eq!(fixture.counts(), (0, 0));
    fixture.set(fixture.foreign());
    assert_eq!(fixture.counts(), (0, 0));
    // As it does for the same pins of another host.
    fixture.connect().await;
    let policies = [("www.example.com", fixture.foreign())];
    fixture.pinning.replace_pins(policies).unwrap();
    assert_eq!(fixture.pinning.rollout(&host("example.com")), None);
}

/// ```text
///  Old root ----> New (cross-signed) --+
///                                      +--> leaf
///  New root (same name and key) -------+
/// ```
#[tokio::test]
async fn of_two_paths_that_pass_the_one_that_satisfies_the_candidate_is_found() {
    for clean in [true, false] {
        let mut fixture = Fixture::start().await;
        let (old, new) = (Ca::root("Old"), Ca::root("New"));
        let leaf = new.leaf(&NAMES).with_appended([old.cross_sign(&new)]);
        fixture.server = Server::start(&leaf, &[]).await;
        let wanted = if clean {
            policy_with(old.pin())
        } else {
            fixture.foreign()
        };
        fixture.set(candidate(policy_with(new.pin()), &wanted));
        let anchors = built_in_anchors(&[&old, &new]);
        let connection = fixture.connect_by(anchors, "example.com").await.unwrap();
        let keys = connection.chain().fingerprints();
        assert_eq!(keys.contains(&old.pin()), clean);
        assert_eq!(fixture.counts(), (1, u64::from(!clean)));
        if clean {
            fixture.recorder.assert_nothing(&fixture.pinning)
        } else {
            drop(fixture.recorder.would_be_violation(&fixture.pinning))
        }
    }
}

#[tokio::test]
async fn noted_pins_refuse_beside_a_candidate_and_a_noted_host_has_no_roll_out() {
    // 7469-2.3.2-e
    let mut fixture = Fixture::start().await;
    let value = header_value(
        fixture.leaf.pin(),
        "max-age=100; report-uri=\"https://r.example/hpkp\"",
    );
    fixture.server = Server::start(&fixture.leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &fixture.server)]);
    let anchors = built_in_anchors(&[&fixture.root]);
    let mut client = common::server::client(&fixture.pinning, anchors, &names);
    get(&mut client, "https://example.com/").await.unwrap();
    drop(client);
    assert_eq!(fixture.pinning.rollout(&host("example.com")), None);
    assert_eq!(fixture.recorder.events(&fixture.pinning).len(), 1);

    let other = fixture.root.leaf(&NAMES);
    fixture.server = Server::start(&other, &[]).await;
    fixture.set(candidate(
        policy_with(fixture.root.pin()),
        &policy_with(other.pin()),
    ));
    assert!(fixture.connect().await.is_none());
    let report = fixture.recorder.reports(&fixture.pinning).remove(0);
    let policy = report.violation().policy();
    let uri = policy.report_uri.as_ref().unwrap();
    assert_eq!(uri.as_str(), "https://r.example/hpkp");
    assert_eq!(policy.source, PinSource::Noted);
    assert_eq!(fixture.counts(), (0, 0));
}

#[tokio::test]
async fn the_story_of_a_roll_out() {
    // 1: an application without pins tries some, one of them mistaken.
    let fixture = Fixture::start().await;
    let backup = fixture.root.leaf(&NAMES);
    fixture.set(fixture.foreign().enforcement(Enforcement::ReportOnly));
    assert!(fixture.connect().await.is_some());
    let rollout = fixture.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (1, 1));
    assert_eq!(rollout.never_seen().count(), 2);
    let seen = fixture.recorder.would_be_violation(&fixture.pinning);
    assert!(seen.chain().fingerprints().contains(&fixture.leaf.pin()));

    // 2: the right ones, on trial.
    let right = PinPolicy::new([fixture.leaf.pin(), backup.pin()]).unwrap();
    fixture.set(right.clone().enforcement(Enforcement::ReportOnly));
    fixture.passes().await;
    let rollout = fixture.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (1, 0));
    assert_eq!(rollout.never_seen().collect::<Vec<_>>(), [&backup.pin()]);

    // 3: enforced, with the counts of the trial.
    fixture.set(right.clone());
    fixture.passes().await;
    assert_eq!(fixture.counts(), (2, 0));

    // 4: a new set beside it, before the key changes.
    let next = PinPolicy::new([backup.pin(), unrelated_pin()]).unwrap();
    fixture.set(candidate(right.clone(), &next));
    assert!(fixture.connect().await.is_some());
    assert_eq!(fixture.counts(), (1, 1));
    fixture.recorder.would_be_violation(&fixture.pinning);

    // 5: promoted too early it refuses; the old set still holds for the new key.
    fixture.set(next.clone());
    assert!(fixture.connect().await.is_none());
    fixture.recorder.violation(&fixture.pinning);
    fixture.set(candidate(right, &next));
    let server = Server::start(&backup, &[]).await;
    let fixture = Fixture { server, ..fixture };
    fixture.passes().await;
    assert_eq!(fixture.counts(), (2, 1), "of these pins, all along");
    fixture.set(next);
    fixture.passes().await;
    assert_eq!(fixture.counts(), (3, 1));
    assert_eq!(fixture.recorder.reports(&fixture.pinning).len(), 3);
    fixture.recorder.assert_nothing(&fixture.pinning);
}
