//! Servers of bundles that are hostile, or that a hostile network replaces: they gain only delay.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use pinhold::bundle::{
    BundleError, BundleVersion, FetchError, PinBundle, UpdateError, UpdateOutcome,
};
use pinhold::policy::UnpinnedHosts;
use pinhold::{Event, PinViolation};
use tower::ServiceExt;

use crate::common::bundles::{self, ISSUED, pins, time};
use crate::common::pki::Ca;
use crate::common::server::{Request, Response, Server, full, server_config};
use crate::common::validated::built_in_anchors;
use crate::common::{DAY, provider};
use crate::world::{API, PINS, World, request};

/// Serves bundles by this handler in place of the world's server.
async fn serve(world: &mut World, handler: impl Fn(&Request) -> Response + Send + Sync + 'static) {
    let leaf = world.root.leaf(&[PINS]);
    let config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
    let server = Server::with_config(config, handler).await;
    world.names.point(PINS, &server);
    world.servers.push(server);
}

fn only(error: &UpdateError) -> &FetchError {
    match error.failures() {
        [failure] => &failure.error,
        other => panic!("expected one failure, found {other:?}"),
    }
}

fn is_unchanged(world: &World) -> bool {
    world.pinning.bundle_status().unwrap().in_effect == BundleVersion::new(1, 1)
}

#[tokio::test]
async fn a_response_without_an_end_is_cut_at_the_limit() {
    let mut world = World::new().await;
    serve(&mut world, |_| {
        let chunk = Bytes::from(vec![b'a'; 64 * 1024]);
        http::Response::new(Endless(Some(chunk)).boxed())
    })
    .await;
    let error = world.updater().run_once().await.unwrap_err();
    assert!(matches!(only(&error), FetchError::TooLarge), "{error}");
    assert!(is_unchanged(&world));
}

/// A body that repeats a chunk without an end, or sends nothing and does not end.
struct Endless(Option<Bytes>);

impl Body for Endless {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &self.0 {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk.clone())))),
            None => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn a_bundle_of_the_maximum_size_is_accepted_and_one_byte_more_is_refused() {
    let mut world = World::new().await;
    let with_padding = |world: &World, padding: usize| {
        let padding = format!("\"{}\"", "a".repeat(padding));
        let body = world.bundle(2, world.live.pin()).with("comment", padding);
        world.operator.sign(&body)
    };
    let rest = PinBundle::MAX_SIZE - with_padding(&world, 0).len();
    for (padding, is_accepted) in [(rest + 1, false), (rest, true)] {
        let bundle = with_padding(&world, padding);
        serve(&mut world, move |_| {
            let body = Full::new(Bytes::from(bundle.clone()));
            http::Response::new(body.map_err(|never| match never {}).boxed())
        })
        .await;
        let outcome = world.updater().run_once().await;
        assert_eq!(outcome.is_ok(), is_accepted, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_slow_response_ends_after_the_time_limit_and_delays_no_refused_request_by_more() {
    let mut world = World::new().await;
    serve(&mut world, |_| http::Response::new(Endless(None).boxed())).await;
    let limit = Duration::from_millis(50);
    let updater = world.updater_with(|builder| builder.timeout(limit));
    let error = updater.run_once().await.unwrap_err();
    assert!(matches!(only(&error), FetchError::TimedOut(after) if *after == limit));
    // The request gets its violation, although the fetch brings nothing.
    world.rotate().await;
    let error = world.client().oneshot(request("GET")).await.unwrap_err();
    assert!(PinViolation::find(&error).is_some());
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let mut world = World::new().await;
    let right = world.operator.sign(&world.bundle(2, world.live.pin()));
    world.served.set(right);
    serve(&mut world, |_| {
        let response = http::Response::builder().status(StatusCode::FOUND);
        let response = response.header("location", "https://elsewhere.example.com/pins.bundle");
        response.body(full("")).unwrap()
    })
    .await;
    let error = world.updater().run_once().await.unwrap_err();
    assert!(matches!(
        only(&error),
        FetchError::Status(StatusCode::FOUND)
    ));
    assert_eq!(world.served.requests(), 0);
}

/// It would count as a success, after which the next fetch is hours away.
#[tokio::test]
async fn not_modified_is_no_response_to_a_request_without_a_tag() {
    let mut world = World::new().await;
    serve(&mut world, |_| {
        let response = http::Response::builder().status(StatusCode::NOT_MODIFIED);
        response.body(full("")).unwrap()
    })
    .await;
    let error = world.updater().run_once().await.unwrap_err();
    assert!(
        matches!(only(&error), FetchError::Status(StatusCode::NOT_MODIFIED)),
        "{error}"
    );
}

/// An attacker with a CA can serve bundles, but signs none: an old one is refused, and so is one with a
/// single signature.
#[tokio::test]
async fn a_compromised_ca_on_the_channel_gains_only_delay() {
    let mut world = World::new().await;
    let second = world.operator.sign(&world.bundle(2, world.live.pin()));
    world.pinning.apply_bundle(&second).unwrap();
    let evil = Ca::root("compromised");
    world.anchors = built_in_anchors(&[&world.root, &evil]);
    let old = world.operator.sign(&world.bundle(1, evil.pin()));
    let [one, _] = world.operator.both();
    let half_signed = world.bundle(3, evil.pin()).signed(&[one]);
    for bundle in [old, half_signed] {
        let config = server_config(&evil.leaf(&[PINS]), provider(), rustls::ALL_VERSIONS);
        let server = Server::with_config(config, move |_| {
            let body = Full::new(Bytes::from(bundle.clone()));
            http::Response::new(body.map_err(|never| match never {}).boxed())
        });
        let server = server.await;
        world.names.point(PINS, &server);
        world.servers.push(server);
        let error = world.updater().run_once().await.unwrap_err();
        let FetchError::Bundle(error) = only(&error) else {
            panic!("{error}");
        };
        assert!(
            matches!(
                error,
                BundleError::Rollback { .. } | BundleError::Signatures { valid: 1, .. }
            ),
            "{error}"
        );
    }
    // Its certificate for the pinned host is refused as ever.
    let server = Server::start(&evil.leaf(&[API]), &[]).await;
    world.names.point(API, &server);
    let error = world.client().oneshot(request("GET")).await.unwrap_err();
    assert!(PinViolation::find(&error).is_some());
    world.servers.push(server);
}

/// Otherwise one wrong bundle would keep every later one away.
#[tokio::test]
async fn no_pin_refused_key_or_rule_for_unpinned_hosts_applies_to_the_channel() {
    let world = World::with(|builder| builder.unpinned_hosts(UnpinnedHosts::Refuse)).await;
    let wrong = bundles::Body::new(2, [(PINS, pins(3)), (API, pins(4))]);
    let wrong = wrong.with("refused_keys", format!("[\"{}\"]", world.root.pin()));
    world
        .pinning
        .apply_bundle(&world.operator.sign(&wrong))
        .unwrap();
    assert!(world.client().oneshot(request("GET")).await.is_err());
    world
        .served
        .set(world.operator.sign(&world.bundle(3, world.live.pin())));
    let updated = world.updater().run_once().await.unwrap();
    assert!(matches!(updated, UpdateOutcome::Updated(_)));
    let response = world.client().oneshot(request("GET")).await.unwrap();
    assert_eq!(response.status(), 200);
}

/// Neither the user, who disables pins, nor the operator, who turns the kill switch on, makes hosts
/// unreachable.
#[tokio::test]
async fn hosts_whose_pins_are_killed_and_disabled_are_not_unpinned() {
    let world = World::with(|builder| builder.unpinned_hosts(UnpinnedHosts::Refuse)).await;
    let until = format!("{{ \"until\": {} }}", time(ISSUED + DAY));
    let killed = world.bundle(2, pins(7)[0]).with("kill_switch", until);
    world
        .pinning
        .apply_bundle(&world.operator.sign(&killed))
        .unwrap();
    for is_disabled in [false, true] {
        if is_disabled {
            world.pinning.disable_all_static();
        }
        let response = world.client().oneshot(request("GET")).await;
        assert_eq!(response.unwrap().status(), 200, "{is_disabled}");
    }
}

/// A network that serves the same bundle for ever: it goes on enforcing, and the application knows.
#[tokio::test]
async fn a_frozen_bundle_is_stale_and_goes_on_enforcing() {
    let mut world = World::new().await;
    let updater = world.updater();
    world.clock.set(ISSUED + 90 * DAY);
    updater.run_once().await.unwrap();
    assert!(!world.pinning.bundle_status().unwrap().is_stale);
    world.clock.set(ISSUED + 90 * DAY + 1);
    assert_eq!(updater.run_once().await.unwrap(), UpdateOutcome::Unchanged);
    assert!(world.pinning.bundle_status().unwrap().is_stale);
    for _ in 0..3 {
        world.client().oneshot(request("GET")).await.unwrap();
    }
    let stale = |event: &Event| matches!(event, Event::BundleStale { .. });
    assert_eq!(world.events(stale), 1);
    assert_eq!(world.pinning.bundle_status().unwrap().counts.stale, 1);
    world.rotate().await;
    let error = world.client().oneshot(request("GET")).await.unwrap_err();
    assert!(PinViolation::find(&error).is_some());
}

/// A bundle that turns pins off once it is stale would be turned off by a clock that is ahead.
#[tokio::test]
async fn neither_a_clock_in_1970_nor_one_in_2040_turns_enforced_pins_off() {
    // In 1970 no certificate is valid; in 1976 those of this test are.
    for now in [0, 200_000_000, 2_208_988_800] {
        let mut world = World::new().await;
        world.clock.set(now);
        let _updater = world.updater();
        world.rotate().await;
        let error = world.client().oneshot(request("GET")).await.unwrap_err();
        assert_eq!(PinViolation::find(&error).is_some(), now > 0);
        // The kill switch of a bundle ends by the time of a later one, even a staged one, also in 1970.
        let until = format!("{{ \"until\": {} }}", time(ISSUED + 30 * DAY));
        let killed = world.bundle(2, world.live.pin()).with("kill_switch", until);
        world
            .pinning
            .apply_bundle(&world.operator.sign(&killed))
            .unwrap();
        let is_killed = || {
            world
                .pinning
                .bundle_status()
                .unwrap()
                .killed_until
                .is_some()
        };
        assert_eq!(is_killed(), now < ISSUED);
        let later = world.bundle(3, world.live.pin());
        let later = later.with("issued", time(ISSUED + 31 * DAY));
        let later = later.with("expires", time(ISSUED + 99 * DAY));
        let later = later.with("staging", r#"{ "percent": 0, "salt": "" }"#);
        world
            .pinning
            .apply_bundle(&world.operator.sign(&later))
            .unwrap();
        assert!(!is_killed());
    }
}

#[tokio::test]
async fn the_next_url_is_tried_after_one_that_withholds_new_bundles() {
    let world = World::new().await;
    let second = world.operator.sign(&world.bundle(2, world.live.pin()));
    let mirror = world.root.leaf(&["mirror.example.com"]);
    let config = server_config(&mirror, provider(), rustls::ALL_VERSIONS);
    let mirror = Server::with_config(config, move |_| {
        let body = Full::new(Bytes::from(second.clone()));
        http::Response::new(body.map_err(|never| match never {}).boxed())
    });
    let mirror = mirror.await;
    world.names.point("mirror.example.com", &mirror);
    // The world's server goes on serving version 1.
    let updater =
        world.updater_with(|builder| builder.url("https://mirror.example.com/pins.bundle"));
    let updated = updater.run_once().await.unwrap();
    assert!(matches!(updated, UpdateOutcome::Updated(_)));
    assert_eq!(world.served.requests(), 1);
}

/// A server in the place of the genuine one sends the known bundle with the tag of the next one.
#[tokio::test]
async fn a_false_entity_tag_delays_a_bundle_by_one_fetch_only() {
    let mut world = World::new().await;
    let updater = world.updater();
    let built_in = bundles::Body::new(1, [(API, [world.live.pin(), pins(50)[0]])]);
    let known = world.operator.sign(&built_in);
    serve(&mut world, move |_| {
        let response = http::Response::builder().header("etag", "\"next\"");
        let body = Full::new(Bytes::from(known.clone()));
        let body = body.map_err(|never| match never {}).boxed();
        response.body(body).unwrap()
    })
    .await;
    assert_eq!(updater.run_once().await.unwrap(), UpdateOutcome::Unchanged);
    let next = world.operator.sign(&world.bundle(2, world.live.pin()));
    serve(&mut world, move |request| {
        let tag = request.headers().get("if-none-match");
        let is_known = tag.is_some_and(|tag| tag == "\"next\"");
        let status = if is_known { 304 } else { 200 };
        let body = if is_known { Vec::new() } else { next.clone() };
        let response = http::Response::builder()
            .header("etag", "\"next\"")
            .status(status);
        let body = Full::new(Bytes::from(body));
        let body = body.map_err(|never| match never {}).boxed();
        response.body(body).unwrap()
    })
    .await;
    assert_eq!(updater.run_once().await.unwrap(), UpdateOutcome::Unchanged);
    let updated = updater.run_once().await.unwrap();
    assert!(matches!(updated, UpdateOutcome::Updated(_)));
}
