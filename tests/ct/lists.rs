//! Log lists: their format, their age, and their replacement.

use pinhold::Event;
use pinhold::ct::{CtMode, CtOptions, LogList, LogListError, LogState, SctVerdict};

use crate::common::{DAY, NOW};
use crate::log::Precertificate;
use crate::world::{App, USABLE, World, json, list_of, short_lived, time_text, verdicts};

const WEEK: u64 = 7 * DAY;

#[test]
fn a_list_that_is_too_old_or_from_the_future_reports_and_refuses_nothing() {
    let world = World::new();
    let app = world.app();
    let leaf = world.ca.leaf_from(short_lived());
    for (now, is_stale) in [
        (NOW, false),
        (NOW + 10 * WEEK, false),
        (NOW + 10 * WEEK + 1, true),
        (NOW - DAY, false),
        (NOW - DAY - 1, true),
    ] {
        app.clock.set(now);
        assert_eq!(world.visit(&app, &leaf).is_ok(), is_stale, "{now}");
        let events = app.events();
        let stale = events
            .iter()
            .filter(|event| matches!(event, Event::CtListStale { .. }));
        let is_first = is_stale && now > NOW;
        assert_eq!(stale.count(), usize::from(is_first), "{now}: {events:?}");
        let violations = events.iter().filter_map(|event| match event {
            Event::CtViolation(violation) => Some(violation),
            _ => None,
        });
        let violations = violations.collect::<Vec<_>>();
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].is_refused(), !is_stale);
        assert_eq!(violations[0].outcome().list_is_stale(), is_stale);
    }
}

#[test]
fn a_list_is_replaced_at_run_time() {
    let world = World::new();
    let old = list_of(NOW - WEEK, &[(&world.elm, USABLE)]);
    let app = App::new(CtOptions::new(old.clone()).other_hosts(CtMode::Enforce));
    let leaf = Precertificate::new(&world.ca, short_lived());
    let leaf = leaf.logged(&[&world.elm, &world.ash]);
    let refused = world.refusal(&app, &leaf);
    assert_eq!(
        verdicts(&refused),
        [SctVerdict::Counts, SctVerdict::UnknownLog]
    );
    app.pinning.replace_log_list(world.list());
    assert!(world.visit(&app, &leaf).is_ok());
    app.pinning.replace_log_list(old);
    assert!(world.visit(&app, &leaf).is_err());
}

#[test]
fn a_list_without_options_has_no_effect() {
    let world = World::new();
    let app = App::build(pinhold::Pinning::builder());
    app.pinning.replace_log_list(world.list());
    assert_eq!(app.pinning.log_list(crate::common::now()), None);
}

#[test]
fn the_members_of_a_list_are_read() {
    let world = World::new();
    let retired = format!(r#"{{"retired": {{"timestamp": {}}}}}"#, time_text(NOW));
    let text = json(NOW, &[(&world.elm, USABLE), (&world.oak, &retired)]);
    // The logs of an operator may be tiled ones.
    let text = text.replacen("\"logs\"", "\"tiled_logs\"", 1);
    let list = LogList::parse(&text).unwrap();
    assert_eq!(list.timestamp(), crate::common::now());
    let mut logs = list.logs().collect::<Vec<_>>();
    logs.sort_by_key(|log| log.description());
    let [elm, oak] = logs[..] else {
        panic!("expected two logs: {list:?}");
    };
    assert_eq!((elm.id(), elm.state()), (world.elm.id(), LogState::Usable));
    assert_eq!((elm.description(), elm.operator()), ("Elm", "One"));
    let since = crate::common::now();
    assert_eq!(oak.state(), LogState::Retired { since });
}

#[test]
fn texts_that_are_no_list_are_refused() {
    let world = World::new();
    let text = json(NOW, &[(&world.elm, USABLE), (&world.ash, USABLE)]);
    let member = |error: &LogListError| matches!(error, LogListError::Member { .. });
    for (name, broken) in [
        ("no JSON", text.replacen('{', "[", 1)),
        ("cut", text[..text.len() - 1].to_owned()),
        ("deep", "[".repeat(100_000)),
    ] {
        let error = LogList::parse(&broken).unwrap_err();
        assert!(
            matches!(error, LogListError::Json { .. }),
            "{name}: {error}"
        );
    }
    for broken in [
        text.replacen("log_list_timestamp", "timestamp", 1),
        text.replacen("T22:13:20Z", "", 1),
        text.replacen("\"key\"", "\"keys\"", 1),
        text.replacen("\"key\": \"M", "\"key\": \"N", 1),
        text.replacen("\"log_id\"", "\"id\"", 1),
        text.replacen("\"name\"", "\"names\"", 1),
        text.replacen("\"usable\": {\"timestamp\"", "\"retired\": {\"time\"", 1),
        "{}".to_owned(),
        "null".to_owned(),
    ] {
        let error = LogList::parse(&broken).unwrap_err();
        assert!(member(&error), "{broken}: {error}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn lists_with_a_wrong_log_or_without_one_are_refused() {
    let world = World::new();
    let text = json(NOW, &[(&world.elm, USABLE), (&world.ash, USABLE)]);
    let id = |log: &crate::log::TestLog| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(log.id())
    };
    let swapped = text.replace(&id(&world.elm), &id(&world.ash));
    let log = "Elm".to_owned();
    assert_eq!(
        LogList::parse(&swapped).unwrap_err(),
        LogListError::LogId { log }
    );
    let twice = json(NOW, &[(&world.elm, USABLE), (&world.elm, USABLE)]);
    let log = "Elm".to_owned();
    assert_eq!(
        LogList::parse(&twice).unwrap_err(),
        LogListError::Duplicate { log }
    );
    let none = json(NOW, &[(&world.elm, "null")]);
    assert_eq!(LogList::parse(&none).unwrap_err(), LogListError::NoLogs);
    let large = " ".repeat(LogList::MAX_SIZE + 1);
    let size = large.len();
    assert_eq!(
        LogList::parse(&large).unwrap_err(),
        LogListError::TooLarge { size }
    );
}
