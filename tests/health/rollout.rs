//! Roll-out counts that outlast a restart, and candidates.

use pinhold::{Host, PinPolicy};

use crate::common::{DAY, NOW, at};
use crate::world::{App, HOST, World};

fn with_candidate(policy: PinPolicy, candidate: &PinPolicy) -> PinPolicy {
    policy.candidate(candidate.pins().iter().copied()).unwrap()
}

fn rollout(app: &App) -> (u64, u64) {
    let rollout = app.pinning.rollout(&Host::parse(HOST).unwrap()).unwrap();
    (rollout.connections, rollout.would_have_failed)
}

#[tokio::test]
async fn roll_out_counts_outlast_a_restart() {
    let world = World::new().await;
    let candidate = world.policy([1, 2]);
    for run in 0..3 {
        let app = world.start(with_candidate(world.policy([0, 1]), &candidate));
        assert_eq!(rollout(&app), (2 * run, 2 * run));
        app.connect_on(&world, [run, run]).await;
        assert_eq!(rollout(&app), (2 * run + 2, 2 * run + 2));
        app.stop();
    }
    let app = world.start(with_candidate(world.policy([0, 1]), &candidate));
    let host = Host::parse(HOST).unwrap();
    let rollout_of = app.pinning.rollout(&host).unwrap();
    assert_eq!(rollout_of.last_failure, Some(at(NOW + 2 * DAY)));
    assert_eq!(rollout_of.last_connection, Some(at(NOW + 2 * DAY)));
    assert_eq!(rollout_of.never_seen().count(), 2);
    app.stop();
    // Enforced, the pins keep their counts; others begin at zero.
    let app = world.start(candidate);
    assert_eq!(rollout(&app), (6, 6));
    let others = world.policy([0, 2]);
    app.pinning.replace_pins([(HOST, others)]).unwrap();
    assert_eq!(rollout(&app), (0, 0));
}

#[tokio::test]
async fn a_candidate_has_counts_of_its_own_and_no_warning() {
    let world = World::new().await;
    let policy = with_candidate(world.policy([0, 1]), &world.policy([0, 2]));
    let app = world.start(policy);
    app.connect_on(&world, [0, 1]).await;
    world.serve(1);
    app.connect_on(&world, 2..10).await;
    assert_eq!(app.event_names(), ["only_backup_matches"]);
    let policies = app.pinning.health().policies;
    let [own, candidate] = &policies[..] else {
        panic!("{policies:?}");
    };
    assert!(!own.is_candidate && candidate.is_candidate);
    let (own, counts) = (&own.versions[0], &candidate.versions[0]);
    assert_eq!((own.passed, own.candidate_passed), (10, 0));
    assert_eq!((counts.passed, counts.candidate_passed), (0, 2));
    assert_eq!(counts.candidate_would_be_refused, 8);
    assert!(candidate.warnings.is_empty());
}

/// A candidate with the pins of its policy is one set of pins.
#[tokio::test]
async fn no_connection_is_counted_twice() {
    let world = World::new().await;
    let policy = world.policy([0, 1]);
    let app = world.start(with_candidate(policy.clone(), &policy));
    app.connect_on(&world, [0]).await;
    assert_eq!(rollout(&app), (1, 0));
    assert_eq!(app.pinning.health().policies.len(), 1);
}
