//! An application whose pins are those of a bundle, and the server of its host.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use pinhold::bundle::BundleOutcome;
use pinhold::health::HealthOptions;
use pinhold::tls::{self, Cause};
use pinhold::{
    Event, NotePinsLayer, PinViolation, Pinning, PinningConnector, PinningVerifier,
    SpkiFingerprint, TrustAnchors,
};
use rustls::ClientConfig;
use tower_layer::Layer;

use crate::common::bundles::{Body, ISSUED, Operator, time};
use crate::common::pki::Leaf;
use crate::common::server::{Loopback, Names, Server, get};
use crate::common::{Clock, DAY, TIMEOUT, provider};

pub(crate) const HOST: &str = "api.example.com";

pub(crate) struct App {
    pub(crate) pinning: Pinning,
    pub(crate) clock: Arc<Clock>,
    operator: Operator,
    events: Receiver<Event>,
    config: ClientConfig,
}

impl App {
    /// Starts an application that contains a bundle with these pins.
    pub(crate) fn start(pins: [SpkiFingerprint; 2], anchors: TrustAnchors) -> Self {
        let (operator, clock) = (Operator::default(), Clock::new());
        clock.set(ISSUED + DAY);
        let (sender, events) = channel();
        let pinning = Pinning::builder()
            .bundles(operator.bundles(&lasting(Body::new(1, [(HOST, pins)]))))
            .health(HealthOptions::new("1.0"))
            .time_provider(clock.clone())
            .observer(move |event| drop(sender.send(event.clone())))
            .build()
            .unwrap();
        let config = PinningVerifier::builder(pinning.clone())
            .with_anchors(anchors)
            .with_provider(provider())
            .client_config()
            .unwrap();
        Self {
            pinning,
            clock,
            operator,
            events,
            config,
        }
    }

    /// Sends a request over a new connection to a server with this certificate.
    pub(crate) async fn visit(&self, leaf: &Leaf) -> Result<(), Error> {
        let server = Server::start(leaf, &[]).await;
        let connector = PinningConnector::builder(self.pinning.clone())
            .with_tls_config(self.config.clone())
            .wrap_connector(Loopback::new(&Names::new([(HOST, &server)])))
            .unwrap();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let mut client = NotePinsLayer::new(self.pinning.clone()).layer(client);
        get(&mut client, &format!("https://{HOST}/"))
            .await
            .map(drop)
    }

    /// Returns the refusal by pins of a server with this certificate.
    pub(crate) async fn refusal(&self, leaf: &Leaf) -> PinViolation {
        PinViolation::find(&self.visit(leaf).await.unwrap_err()).unwrap()
    }

    /// Returns the cause of a failure that is none by pins.
    pub(crate) async fn other_failure(&self, leaf: &Leaf) -> Cause {
        let error = self.visit(leaf).await.unwrap_err();
        assert!(PinViolation::find(&error).is_none(), "{error:?}");
        tls::cause(&error).unwrap()
    }

    /// Visits such a server on ten days within 90, and returns the events of the last day.
    pub(crate) async fn visit_for_90_days(&self, leaf: &Leaf) -> Vec<Event> {
        let begin = ISSUED + DAY;
        for day in (0..=90).step_by(10) {
            drop(self.events());
            self.clock.set(begin + day * DAY);
            self.visit(leaf).await.unwrap();
        }
        self.events()
    }

    /// Takes a bundle of the operator.
    pub(crate) fn update(&self, body: Body) {
        let bytes = self.operator.sign(&lasting(body));
        let outcome = self.pinning.apply_bundle(&bytes).unwrap();
        assert!(matches!(outcome, BundleOutcome::Applied(_)), "{outcome:?}");
    }

    /// Returns the events since the last call.
    pub(crate) fn events(&self) -> Vec<Event> {
        assert!(self.pinning.flush_reports(TIMEOUT));
        self.events.try_iter().collect()
    }
}

/// Returns a bundle that does not become stale while it is watched.
fn lasting(body: Body) -> Body {
    body.with("expires", time(ISSUED + 200 * DAY))
}
