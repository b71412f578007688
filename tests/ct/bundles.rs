//! Log lists inside pin bundles.

use pinhold::ct::{CtMode, CtOptions, LogList};
use pinhold::{Host, Pinning};

use crate::common::bundles::{Body, ISSUED, Operator, pins};
use crate::common::{DAY, at};
use crate::log::Precertificate;
use crate::world::{App, USABLE, World, json, list_of, short_lived};

const OTHER: &str = "api.example.com";

fn body(version: u64) -> Body {
    Body::new(version, [(OTHER, pins(1))])
}

/// Returns an application whose own list has one log.
fn app(world: &World, operator: &Operator) -> App {
    let own = list_of(ISSUED - DAY, &[(&world.elm, USABLE)]);
    let options = CtOptions::new(own).other_hosts(CtMode::Enforce);
    let builder = Pinning::builder()
        .bundles(operator.bundles(&body(1)))
        .certificate_transparency(options);
    let app = App::build(builder);
    app.clock.set(ISSUED + DAY);
    app
}

fn list(app: &App) -> LogList {
    app.pinning.log_list(at(ISSUED + DAY)).unwrap()
}

#[test]
fn the_newer_list_is_in_effect() {
    let (world, operator) = (World::new(), Operator::default());
    let app = app(&world, &operator);
    let mut params = short_lived();
    params.not_before = rcgen::date_time_ymd(2026, 12, 1);
    params.not_after = rcgen::date_time_ymd(2027, 3, 1);
    let leaf = Precertificate::new(&world.ca, params);
    let leaf = leaf.logged(&[&world.elm, &world.ash]);
    assert!(world.visit(&app, &leaf).is_err());

    let logs = [(&world.elm, USABLE), (&world.ash, USABLE)];
    let with = |version, time| {
        let text = serde_json::to_string(&json(time, &logs)).unwrap();
        operator.sign(&body(version).with("log_list", text))
    };
    app.pinning
        .apply_bundle(&with(2, ISSUED - 2 * DAY))
        .unwrap();
    assert_eq!(
        list(&app).timestamp(),
        at(ISSUED - DAY),
        "the older one is ignored"
    );
    app.pinning
        .apply_bundle(&with(3, ISSUED + 30 * DAY))
        .unwrap();
    assert_eq!(
        list(&app).timestamp(),
        at(ISSUED - DAY),
        "one of the future is ignored"
    );
    app.pinning.apply_bundle(&with(4, ISSUED)).unwrap();
    assert_eq!(list(&app).timestamp(), at(ISSUED));
    assert!(world.visit(&app, &leaf).is_ok());
    // A bundle without a list brings none.
    app.pinning.apply_bundle(&operator.sign(&body(5))).unwrap();
    assert!(world.visit(&app, &leaf).is_err());
}

#[test]
fn a_list_that_cannot_be_read_leaves_the_pins_of_its_bundle_in_effect() {
    let (world, operator) = (World::new(), Operator::default());
    let app = app(&world, &operator);
    let before = list(&app);
    for (version, value) in [
        (2, "\"no list\""),
        (3, "7"),
        (4, "{\"a\": [1]}"),
        (5, "null"),
    ] {
        let bundle = operator.sign(&body(version).with("log_list", value));
        app.pinning.apply_bundle(&bundle).unwrap();
        assert_eq!(list(&app), before, "{value}");
        let host = Host::parse(OTHER).unwrap();
        let policies = app.pinning.policies(&host, at(ISSUED + DAY));
        assert!(policies.static_policy.is_some());
    }
}
