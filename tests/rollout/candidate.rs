//! Candidate pins beside the pins of a static or noted policy that are enforced.

use pinhold::policy::{PinSource, PolicyState};
use pinhold::{Decision, Enforcement, PinPolicy, SpkiFingerprint};

use crate::common::pki::Ca;
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::trusting;
use crate::common::{foreign_pin, header_value, now, pinned_to};
use crate::{NAMES, Scene, host, with_candidate};

#[tokio::test]
async fn a_candidate_is_evaluated_beside_the_enforced_pins() {
    let scene = Scene::start().await;
    let (live, failing) = (scene.live(), scene.failing());
    // Both pass.
    scene.set(with_candidate(live.clone(), &live));
    scene.assert_passes().await;
    scene.observed.nothing(&scene.pinning);
    assert_eq!(scene.counts(), (1, 0));

    // The candidate fails: this is emitted, reported and counted, and the connection is kept.
    scene.set(with_candidate(live.clone(), &failing));
    let connection = scene.connect().await.unwrap();
    assert!(matches!(connection.decision(), Decision::ReportOnly(_)));
    assert_eq!(scene.counts(), (1, 1));
    let report = scene.observed.reports(&scene.pinning).remove(0);
    assert_eq!(report.port(), 8443);
    let violation = scene.observed.would_be(&scene.pinning);
    assert_eq!(violation.policy().state, PolicyState::ReportOnly);
    assert_eq!(&violation.policy().pins, failing.pins());
    assert_eq!(violation.policy().source, PinSource::Static);

    // A candidate that passes does not outweigh enforced pins that fail.
    scene.set(with_candidate(failing.clone(), &live));
    assert!(scene.connect().await.is_none());
    let violation = scene.observed.violation(&scene.pinning);
    assert_eq!(violation.policy().state, PolicyState::Enforced);
    assert_eq!(&violation.policy().pins, failing.pins());
    assert_eq!(scene.counts(), (0, 0));

    // Both fail: the violation of the enforced pins is emitted.
    scene.set(with_candidate(
        failing,
        &pinned_to(SpkiFingerprint::from_digest([1; 32])),
    ));
    assert!(scene.connect().await.is_none());
    scene.observed.violation(&scene.pinning);
    assert_eq!(scene.counts(), (0, 0));
    let requests = scene.server.requests();
    assert_eq!(requests, 0);
}

#[tokio::test]
async fn a_candidate_has_the_hostname_and_match_of_its_policy() {
    let scene = Scene::start().await;
    scene.set(with_candidate(scene.live(), &scene.failing()));
    let policies = scene.pinning.query(&host("www.example.com"), now());
    let (policy, candidate) = (policies.static_policy.unwrap(), policies.candidate.unwrap());
    assert_eq!(policy.state, PolicyState::Enforced);
    assert_eq!(candidate.state, PolicyState::ReportOnly);
    assert_eq!(candidate.noted_hostname, policy.noted_hostname);
    assert_eq!(candidate.matched, policy.matched);
    assert_eq!(&candidate.pins, scene.failing().pins());
}

/// ```text
///  Old root ----> New (cross-signed) --+
///                                      +--> leaf
///  New root (same name and key) -------+
/// ```
#[tokio::test]
async fn of_two_passing_paths_the_one_that_satisfies_the_candidate_is_chosen() {
    for satisfiable in [true, false] {
        let mut scene = Scene::start().await;
        let (old, new) = (Ca::root("Old"), Ca::root("New"));
        let leaf = new.leaf(&NAMES).appending([old.cross_sign(&new)]);
        scene.server = Server::start(&leaf, &[]).await;
        let candidate = if satisfiable {
            pinned_to(old.pin())
        } else {
            scene.failing()
        };
        scene.set(with_candidate(pinned_to(new.pin()), &candidate));
        let anchors = trusting(&[&old, &new]);
        let connection = scene.connect_with(anchors, "example.com").await.unwrap();
        let keys = connection.chain().fingerprints();
        assert_eq!(keys.contains(&old.pin()), satisfiable);
        assert_eq!(scene.counts(), (1, u64::from(!satisfiable)));
        if satisfiable {
            scene.observed.nothing(&scene.pinning)
        } else {
            drop(scene.observed.would_be(&scene.pinning))
        }
    }
}

#[tokio::test]
async fn noted_pins_refuse_beside_a_candidate_and_a_noted_host_has_no_rollout() {
    // 7469-2.3.2-e
    let mut scene = Scene::start().await;
    let value = header_value(
        scene.leaf.pin(),
        "max-age=100; report-uri=\"https://r.example/hpkp\"",
    );
    scene.server = Server::start(&scene.leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &scene.server)]);
    let anchors = trusting(&[&scene.root]);
    let mut client = client(&scene.pinning, anchors, &names);
    get(&mut client, "https://example.com/").await.unwrap();
    drop(client);
    assert_eq!(scene.pinning.rollout(&host("example.com")), None);
    assert_eq!(scene.observed.events(&scene.pinning).len(), 1);

    let other = scene.root.leaf(&NAMES);
    scene.server = Server::start(&other, &[]).await;
    scene.set(with_candidate(
        pinned_to(scene.root.pin()),
        &pinned_to(other.pin()),
    ));
    assert!(scene.connect().await.is_none());
    let report = scene.observed.reports(&scene.pinning).remove(0);
    let policy = report.violation().policy();
    let uri = policy.report_uri.as_ref().unwrap();
    assert_eq!(uri.as_str(), "https://r.example/hpkp");
    assert_eq!(policy.source, PinSource::Noted);
    assert_eq!(scene.counts(), (0, 0));
}

#[tokio::test]
async fn a_complete_rollout_from_report_only_pins_to_a_key_change() {
    // 1. An application without pins tries report-only pins that do not match its server.
    let scene = Scene::start().await;
    let backup = scene.root.leaf(&NAMES);
    scene.set(scene.failing().enforcement(Enforcement::ReportOnly));
    assert!(scene.connect().await.is_some());
    let rollout = scene.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (1, 1));
    assert_eq!(rollout.never_seen().count(), 2);
    let seen = scene.observed.would_be(&scene.pinning);
    assert!(seen.chain().fingerprints().contains(&scene.leaf.pin()));

    // 2. It tries the right pins report-only.
    let right = PinPolicy::new([scene.leaf.pin(), backup.pin()]).unwrap();
    scene.set(right.clone().enforcement(Enforcement::ReportOnly));
    scene.assert_passes().await;
    let rollout = scene.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (1, 0));
    assert_eq!(rollout.never_seen().collect::<Vec<_>>(), [&backup.pin()]);

    // 3. It enforces them; the counts include the report-only connections.
    scene.set(right.clone());
    scene.assert_passes().await;
    assert_eq!(scene.counts(), (2, 0));

    // 4. It tries a new set as a candidate before the key of the server changes.
    let next = PinPolicy::new([backup.pin(), foreign_pin()]).unwrap();
    scene.set(with_candidate(right.clone(), &next));
    assert!(scene.connect().await.is_some());
    assert_eq!(scene.counts(), (1, 1));
    scene.observed.would_be(&scene.pinning);

    // 5. Enforced before the key changes, the new set refuses. The old set contains the new key as
    //    its backup, so it accepts the server after the change.
    scene.set(next.clone());
    assert!(scene.connect().await.is_none());
    scene.observed.violation(&scene.pinning);
    scene.set(with_candidate(right, &next));
    let server = Server::start(&backup, &[]).await;
    let scene = Scene { server, ..scene };
    scene.assert_passes().await;
    assert_eq!(
        scene.counts(),
        (2, 1),
        "the counts of these pins are kept throughout"
    );
    scene.set(next);
    scene.assert_passes().await;
    assert_eq!(scene.counts(), (3, 1));
    assert_eq!(scene.observed.reports(&scene.pinning).len(), 3);
    scene.observed.nothing(&scene.pinning);
}
