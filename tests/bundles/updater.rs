//! The updater: announced and unannounced rotations, wrong pins, and when it fetches.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Wake};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf};

use pinhold::bundle::{
    BundleError, BundleOutcome, BundleVersion, FetchError, NoteError, UpdateOutcome,
};
use pinhold::layer::PinRetryLayer;
use pinhold::policy::PinGroup;
use pinhold::{
    BuildError, Event, FileStorage, PinPolicy, PinStore, PinViolation, Pinning, PinningConnector,
    PinningVerifier,
};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

use crate::common::bundles::{Body, ISSUED, pins, policy};
use crate::common::noted::temp_dir;
use crate::common::pki::Ca;
use crate::common::server::{Loopback, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{TIMEOUT, provider};
use crate::world::{API, World, is_recovered, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_rotation_fails_no_request() {
    let mut world = World::new().await;
    let updater = world.updater();
    let mut client = world.client();
    client
        .ready()
        .await
        .unwrap()
        .call(request("GET"))
        .await
        .unwrap();
    let next = world.root.leaf(&[API]);
    let both = Body::new(2, [(API, [world.live.pin(), next.pin()])]);
    world.served.set(world.operator.sign(&both));
    let updated = updater.run_once().await.unwrap();
    let applied = BundleOutcome::Applied(BundleVersion::new(1, 2));
    assert_eq!(updated, UpdateOutcome::Updated(applied));
    client
        .ready()
        .await
        .unwrap()
        .call(request("GET"))
        .await
        .unwrap();
    let server = Server::start(&next, &[]).await;
    world.names.point(API, &server);
    let mut fresh = world.client();
    fresh
        .ready()
        .await
        .unwrap()
        .call(request("GET"))
        .await
        .unwrap();
    assert_eq!(
        world.events(|event| matches!(event, Event::Violation(_))),
        0
    );
    world.servers.push(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unannounced_rotation_is_recovered_from_by_one_fetch_for_a_thousand_requests() {
    let mut world = World::new().await;
    let updater = world.updater();
    let pin = world.rotate().await;
    world.served.set(world.operator.sign(&world.bundle(2, pin)));
    let client = world.client();
    let mut requests = Vec::new();
    for number in 0..1000 {
        // A request that the server has not received may be repeated, whatever its method.
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        requests.push(tokio::spawn(client.clone().oneshot(request(method))));
    }
    for response in requests {
        assert_eq!(response.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(world.served.requests(), 1);
    assert!(world.events(is_recovered) >= 1);
    assert!(world.events(|event| matches!(event, Event::Violation(_))) >= 1);
    drop(updater);
}

/// Without a client that repeats requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_other_stacks_the_request_fails_and_the_next_one_succeeds() {
    let mut world = World::new().await;
    let _updater = world.updater();
    let pin = world.rotate().await;
    world.served.set(world.operator.sign(&world.bundle(2, pin)));
    let mut plain = client(&world.pinning, world.anchors.clone(), &world.names);
    let error = plain
        .ready()
        .await
        .unwrap()
        .call(request("GET"))
        .await
        .unwrap_err();
    assert!(PinViolation::find(&error).is_some());
    let recovered = async {
        while world.pinning.bundle_status().unwrap().in_effect.bundle < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, recovered).await.unwrap();
    plain
        .ready()
        .await
        .unwrap()
        .call(request("GET"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_pins_that_were_shipped_are_replaced() {
    let world = World::new().await;
    let _updater = world.updater();
    let wrong = world.operator.sign(&world.bundle(2, pins(7)[0]));
    world.pinning.apply_bundle(&wrong).unwrap();
    let right = world.bundle(3, world.live.pin());
    world.served.set(world.operator.sign(&right));
    let response = world.client().oneshot(request("GET")).await.unwrap();
    assert_eq!(response.status(), 200);
}

/// The server of bundles, or another one with its certificate, can only withhold bundles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_is_not_signed_by_both_never_helps() {
    let mut world = World::new().await;
    let updater = world.updater();
    let pin = world.rotate().await;
    let body = world.bundle(2, pin);
    let [one, _] = world.operator.both();
    let unsigned = body.text().into_bytes();
    for (bundle, expected) in [
        (body.signed(&[one]), "signatures"),
        (unsigned, "note"),
        (b"<html>Please log in</html>".to_vec(), "note"),
    ] {
        world.served.set(bundle);
        let error = world.client().oneshot(request("GET")).await.unwrap_err();
        assert!(PinViolation::find(&error).is_some(), "{expected}");
        let error = updater.run_once().await.unwrap_err();
        let [failure] = error.failures() else {
            panic!("{error}");
        };
        match &failure.error {
            FetchError::Bundle(BundleError::Signatures {
                valid: 1,
                threshold: 2,
            }) => {
                assert_eq!(expected, "signatures");
            }
            FetchError::Bundle(BundleError::Note(NoteError::NoSignatures)) => {
                assert_eq!(expected, "note");
            }
            other => panic!("{other}"),
        }
    }
    let status = world.pinning.bundle_status().unwrap();
    assert_eq!(status.in_effect, BundleVersion::new(1, 1));
    assert!(status.counts.refused >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn violations_cause_fetches_after_growing_times() {
    let mut world = World::new().await;
    let _updater = world.updater();
    world.rotate().await;
    // Nothing new is served: a client under attack, for example.
    let (mut expected, mut elapsed, mut due, mut backoff) = (0, 0, 0, 60);
    for _ in 0..150 {
        world.clock.set(ISSUED + elapsed);
        let error = world.client().oneshot(request("GET")).await.unwrap_err();
        assert!(PinViolation::find(&error).is_some());
        if elapsed >= due {
            expected += 1;
            due = elapsed + backoff;
            backoff = (backoff * 2).min(3600);
        }
        assert_eq!(world.served.requests(), expected, "after {elapsed} s");
        elapsed += 120;
    }
    assert!(expected >= 8, "{expected}");
    // A clock that is set back delays no attempt by more than an hour.
    world.clock.set(ISSUED - 3600);
    assert!(world.client().oneshot(request("GET")).await.is_err());
    assert_eq!(world.served.requests(), expected + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_times_between_fetches_hold_after_a_restart() {
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let open = || PinStore::open(FileStorage::new(&file)).unwrap();
    let mut fetches = Vec::new();
    for elapsed in [0, 59, 60, 179, 180] {
        let mut world = World::with(|builder| builder.store(open())).await;
        let _updater = world.updater();
        world.clock.set(ISSUED + elapsed);
        world.rotate().await;
        assert!(world.client().oneshot(request("GET")).await.is_err());
        fetches.push(world.served.requests());
        world.pinning.store().flush().unwrap();
    }
    assert_eq!(fetches, [1, 0, 1, 0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_bundle_is_not_sent_the_next_time() {
    let world = World::new().await;
    let updater = world.updater();
    world
        .served
        .set(world.operator.sign(&world.bundle(2, world.live.pin())));
    updater.run_once().await.unwrap();
    let unchanged = updater.run_once().await.unwrap();
    assert_eq!(unchanged, UpdateOutcome::Unchanged);
    assert_eq!(world.served.requests(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_fetches_at_once_and_after_each_interval() {
    let world = World::new().await;
    let updater = world.updater_with(|builder| builder.interval(Duration::from_millis(20)));
    let task = tokio::spawn(updater.run());
    let several = async {
        while world.served.requests() < 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, several).await.unwrap();
    task.abort();
}

/// What an updater on a thread without a runtime can't do, `run` does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_violation_outside_of_a_runtime_is_recovered_from_by_run() {
    let mut world = World::new().await;
    let task = tokio::spawn(world.updater().run());
    let first = async {
        while world.served.requests() < 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, first).await.unwrap();
    let pin = world.rotate().await;
    world.served.set(world.operator.sign(&world.bundle(2, pin)));
    let handshake = std::thread::spawn(handshake(&world));
    let error = tokio::task::spawn_blocking(|| handshake.join().unwrap())
        .await
        .unwrap();
    assert!(PinViolation::find(&error.unwrap_err()).is_some());
    let recovered = async {
        while world.events(is_recovered) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, recovered).await.unwrap();
    task.abort();
}

/// Returns a handshake with the host that blocks its thread.
fn handshake(world: &World) -> impl FnOnce() -> std::io::Result<()> + Send + 'static {
    let verifier = PinningVerifier::builder(world.pinning.clone());
    let verifier = verifier
        .with_anchors(world.anchors.clone())
        .with_provider(provider());
    let config = verifier.client_config().unwrap();
    let address = world.names.address(API).unwrap();
    move || {
        let name = API.try_into().unwrap();
        let mut connection = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut socket = std::net::TcpStream::connect(address)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(())
    }
}

/// A client may run each request on a runtime of its own, which ends before the fetch has begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_ends_with_the_request_does_not_end_recovery() {
    let mut world = World::new().await;
    let _updater = world.updater();
    let pin = world.rotate().await;
    world.served.set(world.operator.sign(&world.bundle(2, pin)));
    let request_of_its_own = handshake(&world);
    let refused = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async { request_of_its_own() })
    });
    let error = tokio::task::spawn_blocking(|| refused.join().unwrap());
    assert!(PinViolation::find(&error.await.unwrap().unwrap_err()).is_some());
    assert_eq!(world.served.requests(), 0);
    let response = world.client().oneshot(request("GET")).await.unwrap();
    assert_eq!(response.status(), 200);
}

/// A second updater, such as one that is made for a moment, does not end recovery by the first one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_updater_that_was_dropped_leaves_recovery_to_an_earlier_one() {
    let mut world = World::new().await;
    let _updater = world.updater();
    drop(world.updater());
    let pin = world.rotate().await;
    world.served.set(world.operator.sign(&world.bundle(2, pin)));
    let response = world.client().oneshot(request("GET")).await.unwrap();
    assert_eq!(response.status(), 200);
}

/// The share of a roll-out grows while the server has its new key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_recovered_by_a_staged_bundle_keeps_the_roll_out() {
    let mut world = World::new().await;
    let updater = world.updater();
    let pin = world.rotate().await;
    let staged = |version, percent: u8| {
        let staging = format!("{{ \"percent\": {percent}, \"salt\": \"s\" }}");
        let body = world.bundle(version, pin).with("staging", staging);
        world.operator.sign(&body)
    };
    world.served.set(staged(2, 0));
    let response = world.client().oneshot(request("GET")).await.unwrap();
    assert_eq!(response.status(), 200);
    world.served.set(staged(3, 0));
    updater.run_once().await.unwrap();
    let status = world.pinning.bundle_status().unwrap();
    assert_eq!(status.in_effect, BundleVersion::new(1, 3));
}

/// A waker that looks at the pins, as that of an executor does which polls at once.
struct Looking(Pinning);

impl Wake for Looking {
    fn wake(self: Arc<Self>) {
        assert!(self.0.bundle_status().is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waker_may_use_the_pins_while_a_bundle_takes_effect() {
    let world = World::new().await;
    let connector = PinningConnector::builder(world.pinning.clone()).with_provider(provider());
    let connector = connector.with_anchors(world.anchors.clone());
    let connector = connector.wrap_connector(Loopback::new(&world.names));
    let uri = format!("https://{API}/").parse().unwrap();
    let mut stream = connector.unwrap().oneshot(uri).await.unwrap();
    let waker = Arc::new(Looking(world.pinning.clone())).into();
    let mut buffer = [0];
    let mut buffer = ReadBuf::new(&mut buffer);
    let read = Pin::new(&mut stream).poll_read(&mut Context::from_waker(&waker), buffer.unfilled());
    assert!(read.is_pending());
    let bundle = world.operator.sign(&world.bundle(2, world.live.pin()));
    let (sender, applied) = channel();
    let pinning = world.pinning.clone();
    std::thread::spawn(move || sender.send(pinning.apply_bundle(&bundle).is_ok()));
    assert_eq!(applied.recv_timeout(TIMEOUT), Ok(true));
}

/// No bundle can repair a fixed policy whose keys are all in use.
#[tokio::test]
async fn a_fixed_policy_whose_pins_are_all_in_the_live_chain_is_reported_once() {
    for (has_backup, is_grouped) in [(false, false), (true, false), (false, true), (true, true)] {
        let root = Ca::root("fixed");
        let leaf = root.leaf(&["fixed.example.com"]);
        let other = if has_backup { pins(3)[0] } else { root.pin() };
        let fixed = if is_grouped {
            // One group has a backup in each case.
            let groups = [other, pins(4)[0]].map(|other| PinGroup::new([leaf.pin(), other]));
            PinPolicy::all_of(groups.map(Result::unwrap)).unwrap()
        } else {
            policy([leaf.pin(), other])
        };
        let fixed = fixed.fixed();
        let mut world =
            World::with(|builder| builder.static_pins("fixed.example.com", fixed)).await;
        let server = Server::start(&leaf, &[]).await;
        world.names.point("fixed.example.com", &server);
        world.anchors = built_in_anchors(&[&root]);
        for _ in 0..2 {
            let mut client = client(&world.pinning, world.anchors.clone(), &world.names);
            get(&mut client, "https://fixed.example.com/")
                .await
                .unwrap();
        }
        let reported = |event: &Event| matches!(event, Event::FixedWithoutBackup { .. });
        assert_eq!(world.events(reported), usize::from(!has_backup));
    }
    let alone = PinPolicy::without_backup([pins(3)[0]]).unwrap().fixed();
    let error = Pinning::builder()
        .static_pins("fixed.example.com", alone)
        .build();
    assert!(matches!(error, Err(BuildError::FixedWithoutBackup { .. })));
}

/// The error of a client of another crate, which does not show whether the request was sent.
#[derive(Debug)]
struct OtherError(PinViolation);

impl std::fmt::Display for OtherError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for OtherError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// A server might otherwise receive a payment twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_another_client_only_idempotent_requests_are_repeated() {
    for (method, is_repeated) in [("POST", false), ("GET", true)] {
        let mut world = World::new().await;
        let _updater = world.updater();
        let pin = world.rotate().await;
        world.served.set(world.operator.sign(&world.bundle(2, pin)));
        let client = client(&world.pinning, world.anchors.clone(), &world.names);
        let client = client.map_err(|error| OtherError(PinViolation::find(&error).unwrap()));
        let client = PinRetryLayer::new()
            .recover(world.pinning.clone())
            .layer(client);
        let response = client.oneshot(request(method)).await;
        assert_eq!(response.is_ok(), is_repeated, "{method}");
    }
}

/// A percentage limits who meets a mistake in a bundle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staged_bundle_that_can_not_help_is_not_adopted() {
    for is_fixed in [true, false] {
        let world = World::with(|builder| {
            let fixed = policy(pins(3)).fixed();
            let host = if is_fixed { API } else { "other.example.com" };
            builder.static_pins(host, fixed)
        });
        let mut world = world.await;
        let _updater = world.updater();
        let pin = world.rotate().await;
        let staging = r#"{ "percent": 0, "salt": "" }"#;
        let staged = world.bundle(2, pin).with("staging", staging);
        world
            .pinning
            .apply_bundle(&world.operator.sign(&staged))
            .unwrap();
        let response = world.client().oneshot(request("GET")).await;
        assert_eq!(response.is_ok(), !is_fixed);
        let in_effect = world.pinning.bundle_status().unwrap().in_effect;
        assert_eq!(in_effect.bundle, if is_fixed { 1 } else { 2 });
    }
}
