//! Policies that expire, and those that have expired.

use pinhold::policy::AfterExpiry;
use pinhold::{Enforcement, Event};

use crate::common::{DAY, NOW, at};
use crate::world::World;

const EXPIRES: u64 = NOW + 100 * DAY;

#[tokio::test]
async fn an_expiry_is_reported_from_30_days_before_it_until_it() {
    let world = World::new().await;
    let policy = world.policy([0, 1]);
    let app = world.start(policy.expires(at(EXPIRES), AfterExpiry::Refuse));
    app.connect_on(&world, [0, 69]).await;
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    for day in [70, 71, 100] {
        app.connect_on(&world, [day]).await;
        let events = app.events();
        let is_expected = |event: &Event| {
            matches!(event, Event::ExpiresSoon { expires, .. }
            if *expires == at(EXPIRES))
        };
        assert!(events.iter().any(is_expected), "{day}: {events:?}");
    }
    // It refuses now, so it is not stale.
    world.set_day(101);
    assert!(!app.connect(&world).await);
    assert_eq!(app.event_names(), <[&str; 0]>::default());
    // A connection that was open may have been closed, too.
    assert!(app.counts().refused >= 1);
}

#[tokio::test]
async fn a_policy_that_no_longer_refuses_is_stale() {
    for then in [AfterExpiry::ReportOnly, AfterExpiry::Unpin] {
        let world = World::new().await;
        let policy = world.policy([0, 1]).expires(at(NOW), then);
        let app = world.start(policy.include_subdomains());
        app.connect_on(&world, [0]).await;
        assert_eq!(app.event_names(), ["expires_soon"]);
        app.connect_on(&world, [1, 1, 2]).await;
        let events = app.events();
        let is_expected = |event: &Event| {
            matches!(event, Event::Stale { expired, .. }
            if *expired == at(NOW))
        };
        assert_eq!(events.len(), 2, "{events:?}");
        assert!(events.iter().all(is_expected), "{then:?}: {events:?}");
        // The same on the next start.
        app.stop();
        let policy = world.policy([0, 1]).expires(at(NOW), then);
        let app = world.start(policy.include_subdomains());
        app.connect_on(&world, [2, 3]).await;
        assert_eq!(app.event_names(), ["stale"], "{then:?}");
    }
}

#[tokio::test]
async fn a_report_only_policy_counts_what_it_would_refuse() {
    let world = World::new().await;
    let app = world.start(world.policy([1, 2]).enforcement(Enforcement::ReportOnly));
    app.connect_on(&world, [0]).await;
    world.serve(1);
    app.connect_on(&world, [0]).await;
    let counts = app.counts();
    assert_eq!((counts.passed, counts.would_be_refused), (1, 1));
    assert_eq!((counts.refused, counts.skipped), (0, 0));
}
