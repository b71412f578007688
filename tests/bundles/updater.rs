//! The updater: recovery of refused requests, and servers that withhold, delay or replace bundles.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use pinhold::bundle::{
    BundleError, BundleOutcome, BundleVersion, FetchError, NoteError, PinUpdater, UpdateOutcome,
};
use pinhold::layer::PinRetryLayer;
use pinhold::{Event, PinViolation, Pinning, SpkiFingerprint, TrustAnchors};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

use crate::common::bundles::{Body, ISSUED, Operator, pins};
use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Loopback, Names, Request, Response, Server, client, server_config};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, provider};

const API: &str = "api.example.com";
const PINS: &str = "pins.example.com";
const URL: &str = "https://pins.example.com/pins.bundle";

/// What the server of bundles serves. It counts its requests.
#[derive(Clone, Default)]
struct Served {
    bundle: Arc<Mutex<Vec<u8>>>,
    requests: Arc<AtomicUsize>,
}

impl Served {
    fn set(&self, bundle: Vec<u8>) {
        *self.bundle.lock().unwrap() = bundle;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Responds with the bundle, and with 304 to a request that has its entity tag.
    fn answer(&self) -> impl Fn(&Request) -> Response + Send + Sync + 'static {
        let served = self.clone();
        move |request| {
            served.requests.fetch_add(1, Ordering::SeqCst);
            let bundle = served.bundle.lock().unwrap().clone();
            let mut hasher = DefaultHasher::new();
            bundle.hash(&mut hasher);
            let tag = format!("\"{}\"", hasher.finish());
            let known = request.headers().get("if-none-match");
            let response = http::Response::builder().header("etag", &tag);
            if known.is_some_and(|known| known == tag.as_str()) {
                let response = response.status(StatusCode::NOT_MODIFIED);
                return response.body(boxed(Vec::new())).unwrap();
            }
            response.body(boxed(bundle)).unwrap()
        }
    }
}

fn boxed(bytes: Vec<u8>) -> BoxBody<Bytes, std::io::Error> {
    let body = Full::new(Bytes::from(bytes));
    body.map_err(|never| match never {}).boxed()
}

/// An application with a server, whose pins it contains in a bundle, and a server of bundles.
struct World {
    operator: Operator,
    names: Names,
    anchors: TrustAnchors,
    pinning: Pinning,
    clock: Arc<Clock>,
    served: Served,
    root: Ca,
    live: Leaf,
    events: Arc<Mutex<Vec<Event>>>,
    _servers: Vec<Server>,
}

impl World {
    /// The application pins the key of the first leaf. The server uses the second one if `rotated`.
    async fn new() -> Self {
        let root = Ca::root("root");
        let live = root.leaf(&[API]);
        let operator = Operator::default();
        let built_in = Body::new(1, [(API, [live.pin(), pins(50)[0]])]);
        let clock = Clock::new();
        clock.set(ISSUED);
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let recorded = Arc::clone(&events);
        let pinning = Pinning::builder()
            .bundles(operator.bundles(&built_in))
            .time_provider(clock.clone())
            .observer(move |event| recorded.lock().unwrap().push(event.clone()))
            .build()
            .unwrap();
        let served = Served::default();
        served.set(operator.sign(&built_in));
        let config = |leaf: &Leaf| server_config(leaf, provider(), rustls::ALL_VERSIONS);
        let api = Server::start(&live, &[]).await;
        let of_pins = config(&root.leaf(&[PINS]));
        let of_pins = Server::with_config(of_pins, served.answer()).await;
        let names = Names::new([(API, &api), (PINS, &of_pins)]);
        Self {
            anchors: built_in_anchors(&[&root]),
            operator,
            names,
            pinning,
            clock,
            served,
            root,
            live,
            events,
            _servers: vec![api, of_pins],
        }
    }

    /// Moves the host to a server with a new key, and returns the pin of the key.
    async fn rotate(&mut self) -> SpkiFingerprint {
        let leaf = self.root.leaf(&[API]);
        let server = Server::start(&leaf, &[]).await;
        self.names.point(API, &server);
        self._servers.push(server);
        leaf.pin()
    }

    fn updater(&self) -> PinUpdater {
        PinUpdater::builder(&self.pinning)
            .url(URL)
            .with_anchors(self.anchors.clone())
            .wrap_connector(Loopback::new(&self.names))
            .unwrap()
    }

    /// A client that repeats refused requests.
    fn client(
        &self,
    ) -> impl Service<
        http::Request<Empty<Bytes>>,
        Response = http::Response<hyper::body::Incoming>,
        Error = hyper_util::client::legacy::Error,
        Future: Send,
    > + Clone
    + Send
    + 'static {
        let client = client(&self.pinning, self.anchors.clone(), &self.names);
        let layer = PinRetryLayer::new().recover(self.pinning.clone());
        layer.layer(client)
    }

    fn bundle(&self, version: u64, pin: SpkiFingerprint) -> Body {
        Body::new(version, [(API, [pin, pins(51)[0]])])
    }

    fn events(&self, is: impl Fn(&Event) -> bool) -> usize {
        assert!(self.pinning.flush_reports(crate::common::TIMEOUT));
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| is(event)).count()
    }
}

fn request(method: &str) -> http::Request<Empty<Bytes>> {
    let request = http::Request::builder().method(method);
    let request = request.uri(format!("https://{API}/"));
    request.body(Empty::new()).unwrap()
}

fn is_recovered(event: &Event) -> bool {
    matches!(event, Event::BundleRecovered { host, .. } if host.as_str() == API)
}

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
    world._servers.push(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_nobody_announced_is_recovered_from_by_one_fetch_for_a_thousand_requests() {
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
    tokio::time::timeout(crate::common::TIMEOUT, recovered)
        .await
        .unwrap();
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

/// The server of bundles, or whoever has its certificate, can only withhold bundles.
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
async fn violations_cause_fetches_after_growing_times_also_after_a_restart() {
    let mut world = World::new().await;
    let _updater = world.updater();
    world.rotate().await;
    // Nothing new is served: a client under attack, for example.
    let mut expected = 0;
    let mut elapsed = 0;
    let mut due = 0;
    let mut backoff = 60;
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_bundle_is_not_sent_again() {
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
