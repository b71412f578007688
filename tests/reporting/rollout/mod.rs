//! Rollouts of new pins over real handshakes: evaluation of candidate and report-only pins, their
//! events and reports, and the counts of connections.

mod candidate;
mod counts;
mod origins;

use std::sync::Arc;

use crate::common::pki::{Ca, Leaf};
use crate::common::recording::{Recorder, with_recorder};
use crate::common::server::{Loopback, Names, Server};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, policy_with, provider, unrelated_pin};
use pinhold::report::Rollout;
use pinhold::{
    Decision, Host, PinPolicy, Pinning, PinningConnector, PinningVerifier, TrustAnchors,
    VerifiedConnection,
};
use tower::{Service, ServiceExt};

/// A server, and a client whose events and reports are recorded.
struct Fixture {
    clock: Arc<Clock>,
    root: Ca,
    leaf: Leaf,
    server: Server,
    pinning: Pinning,
    recorder: Recorder,
}

const NAMES: [&str; 2] = ["example.com", "www.example.com"];

impl Fixture {
    async fn start() -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&NAMES);
        let server = Server::start(&leaf, &[]).await;
        let clock = Clock::new();
        let (pinning, recorder) = with_recorder(Pinning::builder().time_provider(clock.clone()));
        Self {
            clock,
            root,
            leaf,
            server,
            pinning,
            recorder,
        }
    }

    /// Returns a policy that the server satisfies.
    fn live(&self) -> PinPolicy {
        policy_with(self.leaf.pin()).include_subdomains()
    }

    /// Returns a policy that the server fails.
    fn failing(&self) -> PinPolicy {
        policy_with(unrelated_pin()).include_subdomains()
    }

    fn set(&self, policy: PinPolicy) {
        let policies = [("example.com", policy)];
        self.pinning.replace_pins(policies).unwrap();
    }

    fn connector(&self, anchors: TrustAnchors, alpn: &[u8]) -> PinningConnector<Loopback> {
        let config = PinningVerifier::builder(self.pinning.clone()).with_anchors(anchors);
        let config = config.with_provider(provider()).client_config().unwrap();
        let connector = PinningConnector::builder(self.pinning.clone()).with_tls_config(config);
        let connector = match alpn {
            b"h2" => connector.http2_only(),
            _ => connector.http1_only(),
        };
        let names = Names::new(NAMES.map(|name| (name, &self.server)));
        connector.wrap_connector(Loopback::new(&names)).unwrap()
    }

    /// Makes a new connection and returns its details, or `None` if it was refused.
    async fn connect_with(&self, anchors: TrustAnchors, host: &str) -> Option<VerifiedConnection> {
        let mut connector = self.connector(anchors, b"http/1.1");
        let uri = format!("https://{host}:8443/").parse().unwrap();
        let stream = connector.ready().await.unwrap().call(uri).await.ok()?;
        stream.verified().cloned()
    }

    async fn connect(&self) -> Option<VerifiedConnection> {
        self.connect_with(built_in_anchors(&[&self.root]), "example.com")
            .await
    }

    async fn assert_passes(&self) {
        let connection = self.connect().await.unwrap();
        assert!(matches!(connection.decision(), Decision::Pass));
    }

    fn rollout(&self) -> Rollout {
        self.pinning.rollout(&host("example.com")).unwrap()
    }

    /// Returns the counts of connections and of those that would have failed.
    fn counts(&self) -> (u64, u64) {
        let rollout = self.rollout();
        (rollout.connections, rollout.would_have_failed)
    }
}

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

fn with_candidate(policy: PinPolicy, other: &PinPolicy) -> PinPolicy {
    policy.candidate(other.pins().iter().copied()).unwrap()
}
