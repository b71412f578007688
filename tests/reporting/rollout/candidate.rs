//! Candidate pins beside the pins of a static or noted policy that are enforced.

use pinhold::policy::{PinSource, PolicyState};
use pinhold::{Decision, Enforcement, PinPolicy, SpkiFingerprint};

use super::{Fixture, NAMES, host, with_candidate};
use crate::common::pki::Ca;
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{header_value, now, policy_with, unrelated_pin};

#[tokio::test]
async fn a_candidate_is_evaluated_beside_the_enforced_pins() {
    let fixture = Fixture::start().await;
    let (live, failing) = (fixture.live(), fixture.failing());
    // Both pass.
    fixture.set(with_candidate(live.clone(), &live));
    fixture.assert_passes().await;
    fixture.recorder.assert_no_event_or_report(&fixture.pinning);
    assert_eq!(fixture.counts(), (1, 0));

    // The candidate fails: this is emitted, reported and counted, and the connection is kept.
    fixture.set(with_candidate(live.clone(), &failing));
    let connection = fixture.connect().await.unwrap();
    assert!(matches!(connection.decision(), Decision::ReportOnly(_)));
    assert_eq!(fixture.counts(), (1, 1));
    let report = fixture.recorder.reports(&fixture.pinning).remove(0);
    assert_eq!(report.port(), 8443);
    let violation = fixture.recorder.would_be_violation(&fixture.pinning);
    assert_eq!(violation.policy().state, PolicyState::ReportOnly);
    assert_eq!(&violation.policy().pins, failing.pins());
    assert_eq!(violation.policy().source, PinSource::Static);

    // A candidate that passes does not outweigh enforced pins that fail.
    fixture.set(with_candidate(failing.clone(), &live));
    assert!(fixture.connect().await.is_none());
    let violation = fixture.recorder.violation(&fixture.pinning);
    assert_eq!(violation.policy().state, PolicyState::Enforced);
    assert_eq!(&violation.policy().pins, failing.pins());
    assert_eq!(fixture.counts(), (0, 0));

    // Both fail: the violation of the enforced pins is emitted.
    fixture.set(with_candidate(
        failing,
        &policy_with(SpkiFingerprint::from_digest([1; 32])),
    ));
    assert!(fixture.connect().await.is_none());
    fixture.recorder.violation(&fixture.pinning);
    assert_eq!(fixture.counts(), (0, 0));
    let requests = fixture.server.requests();
    assert_eq!(requests, 0);
}

#[tokio::test]
async fn a_candidate_has_the_hostname_and_match_of_its_policy() {
    let fixture = Fixture::start().await;
    fixture.set(with_candidate(fixture.live(), &fixture.failing()));
    let policies = fixture.pinning.policies(&host("www.example.com"), now());
    let (policy, candidate) = (policies.static_policy.unwrap(), policies.candidate.unwrap());
    assert_eq!(policy.state, PolicyState::Enforced);
    assert_eq!(candidate.state, PolicyState::ReportOnly);
    assert_eq!(candidate.noted_hostname, policy.noted_hostname);
    assert_eq!(candidate.matched, policy.matched);
    assert_eq!(&candidate.pins, fixture.failing().pins());
}

/// ```text
///  Old root ----> New (cross-signed) --+
///                                      +--> leaf
///  New root (same name and key) -------+
/// ```
#[tokio::test]
async fn of_two_passing_paths_the_one_that_satisfies_the_candidate_is_chosen() {
    for satisfiable in [true, false] {
        let mut fixture = Fixture::start().await;
        let (old, new) = (Ca::root("Old"), Ca::root("New"));
        let leaf = new.leaf(&NAMES).with_appended([old.cross_sign(&new)]);
        fixture.server = Server::start(&leaf, &[]).await;
        let candidate = if satisfiable {
            policy_with(old.pin())
        } else {
            fixture.failing()
        };
        fixture.set(with_candidate(policy_with(new.pin()), &candidate));
        let anchors = built_in_anchors(&[&old, &new]);
        let connection = fixture.connect_with(anchors, "example.com").await.unwrap();
        let keys = connection.chain().fingerprints();
        assert_eq!(keys.contains(&old.pin()), satisfiable);
        assert_eq!(fixture.counts(), (1, u64::from(!satisfiable)));
        if satisfiable {
            fixture.recorder.assert_no_event_or_report(&fixture.pinning)
        } else {
            drop(fixture.recorder.would_be_violation(&fixture.pinning))
        }
    }
}

#[tokio::test]
async fn noted_pins_refuse_beside_a_candidate_and_a_noted_host_has_no_rollout() {
    // 7469-2.3.2-e
    let mut fixture = Fixture::start().await;
    let value = header_value(
        fixture.leaf.pin(),
        "max-age=100; report-uri=\"https://r.example/hpkp\"",
    );
    fixture.server = Server::start(&fixture.leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &fixture.server)]);
    let anchors = built_in_anchors(&[&fixture.root]);
    let mut client = client(&fixture.pinning, anchors, &names);
    get(&mut client, "https://example.com/").await.unwrap();
    drop(client);
    assert_eq!(fixture.pinning.rollout(&host("example.com")), None);
    assert_eq!(fixture.recorder.events(&fixture.pinning).len(), 1);

    let other = fixture.root.leaf(&NAMES);
    fixture.server = Server::start(&other, &[]).await;
    fixture.set(with_candidate(
        policy_with(fixture.root.pin()),
        &policy_with(other.pin()),
    ));
    assert!(fixture.connect().await.is_none());
    let report = fixture.recorder.reports(&fixture.pinning).remove(0);
    let policy = report.violation().policy();
    let uri = &policy.report_uris()[0];
    assert_eq!(uri.as_str(), "https://r.example/hpkp");
    assert_eq!(policy.source, PinSource::Noted);
    assert_eq!(fixture.counts(), (0, 0));
}

#[tokio::test]
async fn a_complete_rollout_from_report_only_pins_to_a_key_change() {
    // 1. An application without pins tries report-only pins that do not match its server.
    let fixture = Fixture::start().await;
    let backup = fixture.root.leaf(&NAMES);
    fixture.set(fixture.failing().enforcement(Enforcement::ReportOnly));
    assert!(fixture.connect().await.is_some());
    let rollout = fixture.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (1, 1));
    assert_eq!(rollout.never_seen().count(), 2);
    let seen = fixture.recorder.would_be_violation(&fixture.pinning);
    assert!(seen.chain().fingerprints().contains(&fixture.leaf.pin()));

    // 2. It tries the right pins report-only.
    let right = PinPolicy::new([fixture.leaf.pin(), backup.pin()]).unwrap();
    fixture.set(right.clone().enforcement(Enforcement::ReportOnly));
    fixture.assert_passes().await;
    let rollout = fixture.rollout();
    assert_eq!((rollout.connections, rollout.would_have_failed), (1, 0));
    assert_eq!(rollout.never_seen().collect::<Vec<_>>(), [&backup.pin()]);

    // 3. It enforces them; the counts include the report-only connections.
    fixture.set(right.clone());
    fixture.assert_passes().await;
    assert_eq!(fixture.counts(), (2, 0));

    // 4. It tries a new set as a candidate before the key of the server changes.
    let next = PinPolicy::new([backup.pin(), unrelated_pin()]).unwrap();
    fixture.set(with_candidate(right.clone(), &next));
    assert!(fixture.connect().await.is_some());
    assert_eq!(fixture.counts(), (1, 1));
    fixture.recorder.would_be_violation(&fixture.pinning);

    // 5. Enforced before the key changes, the new set refuses. The old set contains the new key as
    //    its backup, so it accepts the server after the change.
    fixture.set(next.clone());
    assert!(fixture.connect().await.is_none());
    fixture.recorder.violation(&fixture.pinning);
    fixture.set(with_candidate(right, &next));
    let server = Server::start(&backup, &[]).await;
    let fixture = Fixture { server, ..fixture };
    fixture.assert_passes().await;
    assert_eq!(
        fixture.counts(),
        (2, 1),
        "the counts of these pins are kept throughout"
    );
    fixture.set(next);
    fixture.assert_passes().await;
    assert_eq!(fixture.counts(), (3, 1));
    assert_eq!(fixture.recorder.reports(&fixture.pinning).len(), 3);
    fixture.recorder.assert_no_event_or_report(&fixture.pinning);
}
