//! Changes of the expiry alone.

use std::time::Instant;

use pinhold::header::Noted;

use super::{Outcome, fixture};
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
    // In the next second the change is written without delay, as is a change of the keys.
    note(3000, NOW + 1);
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.note(0, 2, NOW + 1);
    assert_eq!(fixture.next_commit(), ["a.example 2"]);
}
