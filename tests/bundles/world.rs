//! An application that takes pin bundles, its server, and a server of bundles, on loopback.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use pinhold::bundle::{PinUpdater, PinUpdaterBuilder};
use pinhold::layer::PinRetryLayer;
use pinhold::{Event, Pinning, PinningBuilder, SpkiFingerprint, TrustAnchors};
use tower::Service;
use tower_layer::Layer;

use crate::common::bundles::{Body, ISSUED, Operator, pins};
use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Loopback, Names, Request, Response, Server, client, server_config};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, provider};

pub(crate) const API: &str = "api.example.com";
pub(crate) const PINS: &str = "pins.example.com";
pub(crate) const URL: &str = "https://pins.example.com/pins.bundle";

/// What the server of bundles serves. It counts its requests.
#[derive(Clone, Default)]
pub(crate) struct Served {
    pub(crate) bundle: Arc<Mutex<Vec<u8>>>,
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Served {
    pub(crate) fn set(&self, bundle: Vec<u8>) {
        *self.bundle.lock().unwrap() = bundle;
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Responds with the bundle, and with 304 to a request that has its entity tag.
    pub(crate) fn answer(&self) -> impl Fn(&Request) -> Response + Send + Sync + 'static {
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
pub(crate) struct World {
    pub(crate) operator: Operator,
    pub(crate) names: Names,
    pub(crate) anchors: TrustAnchors,
    pub(crate) pinning: Pinning,
    pub(crate) clock: Arc<Clock>,
    pub(crate) served: Served,
    pub(crate) root: Ca,
    pub(crate) live: Leaf,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    pub(crate) servers: Vec<Server>,
}

impl World {
    /// The application pins the key of its server.
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    /// As [`new`](Self::new), with these settings.
    pub(crate) async fn with(settings: impl FnOnce(PinningBuilder) -> PinningBuilder) -> Self {
        let root = Ca::root("root");
        let live = root.leaf(&[API]);
        let operator = Operator::default();
        let built_in = Body::new(1, [(API, [live.pin(), pins(50)[0]])]);
        let clock = Clock::new();
        clock.set(ISSUED);
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let recorded = Arc::clone(&events);
        let pinning = settings(Pinning::builder())
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
            servers: vec![api, of_pins],
        }
    }

    /// Moves the host to a server with a new key, and returns the pin of the key.
    pub(crate) async fn rotate(&mut self) -> SpkiFingerprint {
        let leaf = self.root.leaf(&[API]);
        let server = Server::start(&leaf, &[]).await;
        self.names.point(API, &server);
        self.servers.push(server);
        leaf.pin()
    }

    pub(crate) fn updater(&self) -> PinUpdater {
        self.updater_with(|builder| builder)
    }

    pub(crate) fn updater_with(
        &self,
        settings: impl FnOnce(PinUpdaterBuilder) -> PinUpdaterBuilder,
    ) -> PinUpdater {
        let builder = PinUpdater::builder(&self.pinning).url(URL);
        let builder = settings(builder.with_anchors(self.anchors.clone()));
        builder.wrap_connector(Loopback::new(&self.names)).unwrap()
    }

    /// A client that repeats refused requests.
    pub(crate) fn client(
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

    pub(crate) fn bundle(&self, version: u64, pin: SpkiFingerprint) -> Body {
        Body::new(version, [(API, [pin, pins(51)[0]])])
    }

    pub(crate) fn events(&self, is: impl Fn(&Event) -> bool) -> usize {
        assert!(self.pinning.flush_reports(crate::common::TIMEOUT));
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| is(event)).count()
    }
}

pub(crate) fn request(method: &str) -> http::Request<Empty<Bytes>> {
    let request = http::Request::builder().method(method);
    let request = request.uri(format!("https://{API}/"));
    request.body(Empty::new()).unwrap()
}

pub(crate) fn is_recovered(event: &Event) -> bool {
    matches!(event, Event::BundleRecovered { host, .. } if host.as_str() == API)
}
