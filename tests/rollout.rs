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
use common::recording::{Told, told_by};
use common::server::{Loopback, Names, Server, answer, get, server_config};
use common::tls::handshake;
use common::validated::trusting;
use common::{Clock, NOW, at, foreign_pin, header_value, now, pinned_to, provider};
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
struct Scene {
    clock: Arc<Clock>,
    root: Ca,
    leaf: Leaf,
    server: Server,
    pinning: Pinning,
    told: Told,
}

const NAMES: [&str; 2] = ["example.com", "www.example.com"];

impl Scene {
    async fn start() -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&NAMES);
        let server = Server::start(&leaf, &[]).await;
        let clock = Clock::new();
        let (pinning, told) = told_by(Pinning::builder().time_provider(clock.clone()));
        Self {
            clock,
            root,
            leaf,
            server,
            pinning,
            told,
        }
    }

    /// Passes.
    fn live(&self) -> PinPolicy {
        pinned_to(self.leaf.pin()).include_subdomains()
    }

    /// Fails.
    fn foreign(&self) -> PinPolicy {
        pinned_to(foreign_pin()).include_subdomains()
    }

    fn set(&self, policy: PinPolicy) {
        let policies = [("example.com", policy)];
        self.pinning.replace_pins(policies).unwrap();
    }

    fn connector(&self, anchors: TrustAnchors, alpn: &[u8]) -> PinningConnector<Loopback> {
        let config = PinningVerifier::builder(self.pinning.clone()).with_anchors(anchors);
        let config = config.with_provider(provider()).client_config().unwrap();
        let connector = PinningConnector::builder(self.pinning.clone()).with_tls_config(config);
        let connector = match alpn {
            b"h2" => connector.http2_only(),
            _ => connector.http1_only(),
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
        self.connect_by(trusting(&[&self.root]), "example.com")
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
    let scene = Scene::start().await;
    let (live, foreign) = (scene.live(), scene.foreign());
    // Both pass.
    scene.set(candidate(live.clone(), &live));
    scene.passes().await;
    scene.told.nothing(&scene.pinning);
    assert_eq!(scene.counts(), (1, 0));

    // It fails: told, reported and counted, and the connection goes on.
    scene.set(candidate(live.clone(), &foreign));
    let connection = scene.connect().await.unwrap();
    assert!(matches!(connection.decision(), Decision::ReportOnly(_)));
    assert_eq!(scene.counts(), (1, 1));
    let report = scene.told.reports(&scene.pinning).remove(0);
    assert_eq!(report.port(), 8443);
    let violation = scene.told.would_be(&scene.pinning);
    assert_eq!(violation.policy().state, PolicyState::ReportOnly);
    assert_eq!(&violation.policy().pins, foreign.pins());
    assert_eq!(violation.policy().source, PinSource::Static);

    // It saves nobody.
    scene.set(candidate(foreign.clone(), &live));
    assert!(scene.connect().await.is_none());
    let violation = scene.told.violation(&scene.pinning);
    assert_eq!(violation.policy().state, PolicyState::Enforced);
    assert_eq!(&violation.policy().pins, foreign.pins());
    assert_eq!(scene.counts(), (0, 0));

    // Both fail: the one that decides is told.
    scene.set(candidate(
        foreign,
        &pinned_to(pinhold::SpkiFingerprint::from_digest([1; 32])),
    ));
    assert!(scene.connect().await.is_none());
    scene.told.violation(&scene.pinning);
    assert_eq!(scene.counts(), (0, 0));
    let requests = scene.server.requests();
    assert_eq!(requests, 0);
}

#[tokio::test]
async fn a_candidate_says_where_it_comes_from() {
    let scene = Scene::start().await;
    scene.set(candidate(scene.live(), &scene.foreign()));
    let policies = scene.pinning.policies(&host("www.example.com"), now());
    let (policy, candidate) = (policies.static_policy.unwrap(), policies.candidate.unwrap());
    assert_eq!(policy.state, PolicyState::Enforced);
    assert_eq!(candidate.state, PolicyState::ReportOnly);
    assert_eq!(candidate.noted_hostname, policy.noted_hostname);
    assert_eq!(candidate.matched, policy.matched);
    assert_eq!(&candidate.pins, scene.foreign().pins());
}

#[tokio::test]
async fn the_counts_have_their_times() {
    let scene = Scene::start().await;
    scene.set(candidate(scene.live(), &scene.live()));
    let rollout = scene.rollout();
    assert_eq!(
        (rollout.last_connection, rollout.last_failure),
        (None, None)
    );
    assert_eq!(rollout.never_seen().count(), 2);
    scene.clock.set(NOW + 1);
    scene.passes().await;
    scene.clock.set(NOW + 2);
    scene.passes().await;
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

    // Another key below the same root: it passes, and would have failed.
    let other = scene.root.leaf(&NAMES);
    let by_root = pinned_to(scene.root.pin()).include_subdomains();
    scene.set(candidate(by_root, &scene.live()));
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
async fn connections_are_counted_not_requests_full_and_resumed_over_both_http_versions() {
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let mut scene = Scene::start().await;
        let mut config = server_config(&scene.leaf, provider(), &[&rustls::version::TLS12]);
        config.alpn_protocols = vec![alpn.to_vec()];
        scene.server = Server::with_config(config, answer(&[])).await;
        scene.set(candidate(scene.live(), &scene.foreign()));
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
            scene.told.would_be(&scene.pinning);
        }
    }
}

#[tokio::test]
async fn a_bare_configuration_counts_in_the_verifier() {
    let scene = Scene::start().await;
    let anchors = trusting(&[&scene.root]);
    let client = PinningVerifier::builder(scene.pinning.clone()).with_anchors(anchors);
    let client = client.with_provider(provider()).client_config().unwrap();
    let client = Arc::new(client);
    let server = server_config(&scene.leaf, provider(), rustls::ALL_VERSIONS);
    let server = Arc::new(server);
    scene.set(candidate(scene.live(), &scene.foreign()));
    handshake(&client, &server, "www.example.com").unwrap();
    assert_eq!(scene.counts(), (1, 1));
    // Nobody told it the port.
    let report = scene.told.reports(&scene.pinning).remove(0);
    assert_eq!(report.port(), 443);
    scene.told.would_be(&scene.pinning);

    scene.set(scene.foreign());
    let error = handshake(&client, &server, "www.example.com").unwrap_err();
    let found = PinViolation::find(&error).unwrap();
    let told = scene.told.violation(&scene.pinning);
    assert_eq!(told.host(), found.host());
    assert_eq!(scene.counts(), (1, 1), "a refused one is not counted");
}

#[tokio::test]
async fn a_report_only_policy_is_on_trial_itself_and_covers_its_subdomains() {
    let scene = Scene::start().await;
    scene.set(scene.foreign().enforcement(Enforcement::ReportOnly));
    let anchors = trusting(&[&scene.root]);
    for (name, count) in [("example.com", 1), ("www.example.com", 2)] {
        let connection = scene.connect_by(anchors.clone(), name).await.unwrap();
        assert!(matches!(connection.decision(), Decision::ReportOnly(_)));
        let violation = scene.told.would_be(&scene.pinning);
        assert_eq!(violation.host().as_str(), name);
        assert_eq!(scene.counts(), (count, count));
        let of_subdomain = scene.pinning.rollout(&host("www.example.com"));
        assert_eq!(of_subdomain, Some(scene.rollout()));
    }
    assert_eq!(scene.pinning.rollout(&host("example.org")), None);
    assert_eq!(scene.told.reports(&scene.pinning).len(), 2);
    // Switched off, nothing is judged, and nothing counted.
    scene.pinning.disable_static(&host("example.com"));
    assert!(scene.connect().await.is_some());
    assert_eq!(scene.pinning.rollout(&host("example.com")), None);
    scene.told.nothing(&scene.pinning);
    scene.pinning.restore_static();
    assert_eq!(scene.counts(), (2, 2));
}

#[tokio::test]
async fn user_added_roots_say_nothing_about_a_roll_out() {
    // 7469-2.6-j
    let scene = Scene::start().await;
    let user_added = || TrustAnchors::new().with_user_added([scene.root.certificate()]);
    scene.set(scene.foreign());
    let connection = scene.connect_by(user_added().unwrap(), "example.com").await;
    assert!(matches!(connection.unwrap().decision(), Decision::Skipped));
    let events = scene.told.events(&scene.pinning);
    assert!(matches!(&events[..], [Event::Skipped { host }] if host.as_str() == "example.com"));
    assert!(scene.told.reports(&scene.pinning).is_empty());
    assert_eq!(scene.counts(), (0, 0));

    // Nor does it where other pins than those on trial are satisfied.
    scene.set(candidate(scene.live(), &scene.foreign()));
    let connection = scene.connect_by(user_added().unwrap(), "example.com").await;
    assert!(matches!(connection.unwrap().decision(), Decision::Pass));
    scene.told.nothing(&scene.pinning);
    assert_eq!(scene.counts(), (0, 0));

    // Unless the policy holds there, too.
    let enforced = scene.live().user_added_roots(UserAddedRoots::EnforcePins);
    scene.set(candidate(enforced, &scene.foreign()));
    scene.connect_by(user_added().unwrap(), "example.com").await;
    scene.told.would_be(&scene.pinning);
    assert!(scene.told.reports(&scene.pinning).is_empty());
    assert_eq!(scene.counts(), (1, 1));
}

#[tokio::test]
async fn pins_on_trial_are_judged_where_noted_ones_are_skipped() {
    let mut scene = Scene::start().await;
    let value = header_value(scene.leaf.pin(), "max-age=100");
    scene.server = Server::start(&scene.leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &scene.server)]);
    let mut client = common::server::client(&scene.pinning, trusting(&[&scene.root]), &names);
    get(&mut client, "https://example.com/").await.unwrap();
    assert_eq!(scene.told.events(&scene.pinning).len(), 1);

    let other = scene.root.leaf(&NAMES);
    scene.server = Server::start(&other, &[]).await;
    let user_added = || TrustAnchors::new().with_user_added([scene.root.certificate()]);
    let on_trial = scene.live().enforcement(Enforcement::ReportOnly);
    let on_trial = on_trial.user_added_roots(UserAddedRoots::EnforcePins);
    // And of two policies on trial each is told.
    let two = candidate(on_trial.clone(), &pinned_to(scene.leaf.pin()));
    for (policy, expected) in [(on_trial, 1), (two, 2)] {
        scene.set(policy);
        let connection = scene.connect_by(user_added().unwrap(), "example.com").await;
        assert!(matches!(connection.unwrap().decision(), Decision::Skipped));
        let events = scene.told.events(&scene.pinning);
        let (skipped, would_be) = events.split_first().unwrap();
        assert!(matches!(skipped, Event::Skipped { .. }));
        let is_would_be = |event: &Event| matches!(event, Event::WouldBeViolation(_));
        assert!(would_be.iter().all(is_would_be) && would_be.len() == expected);
        assert!(scene.told.reports(&scene.pinning).is_empty());
    }
    // The same pins are on trial in both.
    assert_eq!(scene.counts(), (2, 2));
}

#[tokio::test]
async fn a_root_of_unknown_origin_is_counted_and_told_but_not_reported() {
    // 7469-5-e
    let scene = Scene::start().await;
    scene.set(candidate(scene.live(), &scene.foreign()));
    let unknown = TrustAnchors::new().with_unknown([scene.root.certificate()]);
    let connection = scene.connect_by(unknown.unwrap(), "example.com").await;
    assert!(connection.is_some());
    assert_eq!(scene.counts(), (1, 1));
    scene.told.would_be(&scene.pinning);
    assert!(scene.told.reports(&scene.pinning).is_empty());
}

#[tokio::test]
async fn counts_outlive_a_replacement_while_the_same_pins_are_on_trial() {
    let scene = Scene::start().await;
    let (live, foreign) = (scene.live(), scene.foreign());
    scene.set(candidate(live.clone(), &foreign));
    scene.connect().await.unwrap();
    // Another report-uri, then another enforced set, the same candidate.
    let uri = "https://r.example/".parse().unwrap();
    scene.set(candidate(live.clone(), &foreign).report_uri(uri));
    assert_eq!(scene.counts(), (1, 1));
    let by_root = pinned_to(scene.root.pin());
    scene.set(candidate(by_root, &foreign));
    assert_eq!(scene.counts(), (1, 1));
    // The candidate becomes the policy: its pins are still those on trial.
    scene.set(foreign.enforcement(Enforcement::ReportOnly));
    assert_eq!(scene.counts(), (1, 1));
    // Other pins begin anew, and what was counted of the old ones is gone.
    scene.set(live);
    assert_eq!(scene.counts(), (0, 0));
    scene.set(scene.foreign());
    assert_eq!(scene.counts(), (0, 0));
    // As it does for the same pins of another host.
    scene.connect().await;
    let policies = [("www.example.com", scene.foreign())];
    scene.pinning.replace_pins(policies).unwrap();
    assert_eq!(scene.pinning.rollout(&host("example.com")), None);
}

/// ```text
///  Old root ----> New (cross-signed) --+
///                                      +--> leaf
///  New root (same name and key) -------+
/// ```
#[tokio::test]
async fn of_two_paths_that_pass_the_one_that_satisfies_the_candidate_is_found() {
    for clean in [true, false] {
        let mut scene = Scene::start().await;
        let (old, new) = (Ca::root("Old"), Ca::root("New"));
        let leaf = new.leaf(&NAMES).appending([old.cross_sign(&new)]);
        scene.server = Server::start(&leaf, &[]).await;
        let wanted = if clean {
            pinned_to(old.pin())
        } else {
            scene.foreign()
        };
        scene.set(candidate(pinned_to(new.pin()), &wanted));
        let anchors = trusting(&[&old, &new]);
        let connection = scene.connect_by(anchors, "example.com").await.unwrap();
        let keys = connection.chain().fingerprints();
        assert_eq!(keys.contains(&old.pin()), clean);
        assert_eq!(scene.counts(), (1, u64::from(!clean)));
        if clean {
            scene.told.nothing(&scene.pinning)
        } else {
            drop(scene.told.would_be(&scene.pinning))
        }
    }
}

#[tokio::test]
async fn noted_pins_refuse_beside_a_candidate_and_a_noted_host_has_no_roll_out() {
    // 7469-2.3.2-e
    let mut scene = Scene::start().await;
    let value = header_value(
        scene.leaf.pin(),
        "max-age=100; report-uri=\"https://r.example/hpkp\"",
    );
    scene.server = Server::start(&scene.leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &scene.server)]);
    let anchors = trusting(&[&scene.root]);
    let mut client = common::server::client(&scene.pinning, anchors, &names);
    get(&mut client, "https://example.com/").await.unwrap();
    drop(client);
    assert_eq!(scene.pinning.rollout(&host("example.com")), None);
    assert_eq!(scene.told.events(&scene.pinning).len(), 1);

    let other = scene.root.leaf(&NAMES);
    scene.server = Server::start(&other, &[]).await;
    scene.set(candidate(
        pinned_to(scene.root.pin()),
        &pinned_to(other.pin()),
    ));
    assert!(scene.connect().await.is_none());
    let report = scene.told.reports(&scene.pinning).remove(0);
    let policy = report.violation().policy();
    let uri = policy.report_uri.as_ref().unwrap();
    assert_eq!(uri.as_str(), "https://r.example/hpkp");
    assert_eq!(policy.source, PinSource::Noted);
    assert_eq!(scene.counts(), (0, 0));
}

#[tokio::test]
async fn the_story_of_a_roll_out() {
    // 1: an application without pins tries some, one of them mistaken.
    let scene = Scene::start().await;
    let backup = scene.root.leaf(&NAMES);
    scene.set(scene.foreign().enforcement(Enforcement::ReportOnly));
    assert!(scene.connect().await.is_some());
    let rollout = scene.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (1, 1));
    assert_eq!(rollout.never_seen().count(), 2);
    let seen = scene.told.would_be(&scene.pinning);
    assert!(seen.chain().fingerprints().contains(&scene.leaf.pin()));

    // 2: the right ones, on trial.
    let right = PinPolicy::new([scene.leaf.pin(), backup.pin()]).unwrap();
    scene.set(right.clone().enforcement(Enforcement::ReportOnly));
    scene.passes().await;
    let rollout = scene.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (1, 0));
    assert_eq!(rollout.never_seen().collect::<Vec<_>>(), [&backup.pin()]);

    // 3: enforced, with the counts of the trial.
    scene.set(right.clone());
    scene.passes().await;
    assert_eq!(scene.counts(), (2, 0));

    // 4: a new set beside it, before the key changes.
    let next = PinPolicy::new([backup.pin(), foreign_pin()]).unwrap();
    scene.set(candidate(right.clone(), &next));
    assert!(scene.connect().await.is_some());
    assert_eq!(scene.counts(), (1, 1));
    scene.told.would_be(&scene.pinning);

    // 5: promoted too early it refuses; the old set still holds for the new key.
    scene.set(next.clone());
    assert!(scene.connect().await.is_none());
    scene.told.violation(&scene.pinning);
    scene.set(candidate(right, &next));
    let server = Server::start(&backup, &[]).await;
    let scene = Scene { server, ..scene };
    scene.passes().await;
    assert_eq!(scene.counts(), (2, 1), "of these pins, all along");
    scene.set(next);
    scene.passes().await;
    assert_eq!(scene.counts(), (3, 1));
    assert_eq!(scene.told.reports(&scene.pinning).len(), 3);
    scene.told.nothing(&scene.pinning);
}
