//! Changes that the application decides about.

use pinhold::first_use::Answer;

use crate::{Fixture, change, first_use, leaf_of};

#[tokio::test]
async fn accepted_keys_replace_those_that_were_remembered() {
    let fixture = Fixture::new(first_use().confirm_by(|_| async { Answer::Accept }));
    let (own, other) = (leaf_of(&fixture.own), leaf_of(&fixture.other));
    fixture.activate(&own).await;
    fixture.visit(&other).await.unwrap();
    let keys = fixture.store.first_use_hosts();
    assert!(
        keys[0]
            .keys()
            .iter()
            .any(|key| key.fingerprint == other.pin())
    );
    assert!(
        keys[0]
            .keys()
            .iter()
            .all(|key| key.fingerprint != own.pin())
    );
}

#[tokio::test]
async fn a_refused_change_and_a_panic_refuse_the_connection() {
    for first_use in [
        first_use().confirm_by(|_| async { Answer::Refuse }),
        first_use().confirm_by(|_| async { panic!("of the future") }),
    ] {
        let fixture = Fixture::new(first_use);
        fixture.activate(&leaf_of(&fixture.own)).await;
        change(fixture.visit(&leaf_of(&fixture.other)).await);
    }
}

#[tokio::test]
async fn a_refused_change_can_be_accepted_or_forgotten_later() {
    let fixture = Fixture::new(first_use());
    let (own, other) = (leaf_of(&fixture.own), leaf_of(&fixture.other));
    fixture.activate(&own).await;
    let hosts = fixture.pinning.first_use().unwrap();
    hosts.accept(&change(fixture.visit(&other).await));
    fixture.visit(&other).await.unwrap();
    change(fixture.visit(&own).await);
    hosts.forget(&crate::host()).unwrap();
    fixture.visit(&own).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_changes_nothing() {
    let (confirming, mut was_called) = tokio::sync::mpsc::unbounded_channel();
    let fixture = Fixture::new(first_use().confirm_by(move |_| {
        confirming.send(()).unwrap();
        std::future::pending()
    }));
    fixture.activate(&leaf_of(&fixture.own)).await;
    let known = fixture.store.first_use_hosts();
    let leaf = leaf_of(&fixture.other);
    tokio::select! {
        _ = fixture.visit(&leaf) => panic!("expected no answer"),
        confirming = was_called.recv() => assert!(confirming.is_some()),
    }
    assert_eq!(fixture.store.first_use_hosts(), known);
}
