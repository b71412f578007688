//! Changes of the expiry alone.

use std::time::Instant;

use pinhold::NotePinsLayer;
use pinhold::header::Noted;

use super::{Outcome, block_on, fixture, is_pending};
use crate::common::NOW;
use crate::common::noted::{numbered_pin, pinning};

/// A server must not make every response wait for the disk.
#[tokio::test]
async fn alternating_expiries_are_written_once_a_second() {
    let fixture = fixture().await;
    let note = |max_age: u64, seconds: u64| {
        let value = fixture
            .hosts
            .value(numbered_pin(1), &format!("max-age={max_age}"));
        fixture
            .hosts
            .note(&pinning(&fixture.store), 0, &value, seconds)
    };
    note(1000, NOW);
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.finish_commit(Outcome::Store);
    fixture.store.durable().await.unwrap();
    (0..300).for_each(|_| fixture.finish_commit(Outcome::Store));
    let begin = Instant::now();
    for max_age in 2000..2100 {
        assert_eq!(note(max_age, NOW), Noted::Refreshed);
    }
    fixture.store.durable().await.unwrap();
    let commits = u64::try_from(fixture.commits.try_iter().count()).unwrap();
    assert!(
        (1..=begin.elapsed().as_secs() + 2).contains(&commits),
        "{commits}"
    );
}

#[test]
fn a_response_waits_for_the_first_change_of_the_expiry_in_a_second_and_for_no_other() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(fixture());
    drop(runtime);
    fixture.note(0, 1, NOW - 10);
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.finish_commit(Outcome::Store);
    fixture.store.flush().unwrap();
    // A refresh in the same second, which no response waits for.
    fixture.note(0, 1, NOW);
    let layer = NotePinsLayer::new(pinning(&fixture.store));
    let value = |backup, max_age| {
        let pin = numbered_pin(backup);
        fixture.hosts.value(pin, &format!("max-age={max_age}"))
    };
    let first = value(1, 2000);
    let mut response = Box::pin(fixture.hosts.respond(&layer, 0, &first));
    assert!(is_pending(&mut response));
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    assert!(is_pending(&mut response));
    fixture.finish_commit(Outcome::Store);
    block_on(response);
    let second = value(1, 3000);
    let mut response = Box::pin(fixture.hosts.respond(&layer, 0, &second));
    assert!(!is_pending(&mut response));
    let other_keys = value(2, 3000);
    let mut response = Box::pin(fixture.hosts.respond(&layer, 0, &other_keys));
    assert!(is_pending(&mut response));
    // The second change may have been committed alone.
    (0..2).for_each(|_| fixture.finish_commit(Outcome::Store));
    block_on(response);
}
