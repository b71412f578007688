//! The cause that a refusal states: each is staged with nginx and with `openssl s_server`, those of
//! an interception with mitmproxy, too. Each test starts and stops its own programs.

mod accepted;
mod before_pins;
mod names;
mod policies;
mod roots;

use std::net::SocketAddr;

use bytes::Bytes;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use pinhold::tls::{self, Cause};
use pinhold::{
    NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningBuilder, PinningConnector, TrustAnchors,
};
use rustls::ClientConfig;
use tower_layer::Layer;

use crate::common::peers::{Peer, Tls};
use crate::common::pki::Leaf;
use crate::common::server::{Loopback, Names, get};
use crate::common::{Clock, TIMEOUT, provider};

const HOST: &str = "pinned.test";

/// A client without open connections: each visit makes a handshake with the same configuration.
struct Visitor {
    pinning: Pinning,
    config: ClientConfig,
}

impl Visitor {
    fn new(builder: PinningBuilder, anchors: &TrustAnchors) -> Self {
        let pinning = builder.build().unwrap();
        let config = pinhold::PinningVerifier::builder(pinning.clone())
            .with_anchors(anchors.clone())
            .with_provider(provider())
            .client_config()
            .unwrap();
        Self { pinning, config }
    }

    fn pinned(policy: PinPolicy, anchors: &TrustAnchors) -> Self {
        Self::new(clocked().static_pins(HOST, policy), anchors)
    }

    async fn visit(&self, address: SocketAddr) -> Result<http::Response<Bytes>, Error> {
        let names = Names::default();
        names.point_to(HOST, address);
        let connector = PinningConnector::builder(self.pinning.clone())
            .with_tls_config(self.config.clone())
            .wrap_connector(Loopback::new(&names))
            .unwrap();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let mut client = NotePinsLayer::new(self.pinning.clone()).layer(client);
        let uri = format!("https://{HOST}/");
        let visit = tokio::time::timeout(TIMEOUT, get(&mut client, &uri));
        visit.await.expect("a response from loopback")
    }

    /// Returns the cause of a refusal by pins, and checks its texts.
    async fn refused(&self, address: SocketAddr) -> Cause {
        let error = self.visit(address).await.unwrap_err();
        let violation = PinViolation::find(&error).unwrap();
        let cause = tls::cause(&error).unwrap();
        assert_eq!(cause, *violation.cause());
        let text = violation.to_string();
        assert_eq!(text.lines().next(), Some(&*cause.to_string()), "{text}");
        let last = format!("  what to do: {}", cause.remedy());
        assert_eq!(text.lines().last(), Some(&*last), "{text}");
        assert_eq!(text.matches("what to do").count(), 1, "{text}");
        // What a signature proves is not denied in the next line.
        let is_proved = matches!(cause, Cause::OtherPath { .. } | Cause::SameCa { .. });
        assert!(!(is_proved && text.contains("proves nothing")), "{text}");
        assert!(format!("{violation:?}").contains(&text));
        check_texts(&cause);
        cause
    }

    /// Returns the cause of a failure before pins count, and checks its texts.
    async fn failed(&self, address: SocketAddr) -> Cause {
        let error = self.visit(address).await.unwrap_err();
        assert!(PinViolation::find(&error).is_none(), "{error:?}");
        let cause = tls::cause(&error).unwrap_or_else(|| panic!("{error:?}"));
        check_texts(&cause);
        cause
    }
}

/// Checks that a statement is one line without control characters, and that the remedy loosens
/// nothing.
fn check_texts(cause: &Cause) {
    let (statement, remedy) = (cause.to_string(), cause.remedy());
    assert!(!statement.chars().any(char::is_control), "{statement:?}");
    for word in [
        "TrustAnchors",
        "SkipPins",
        "skip",
        "forget",
        "--ca",
        "add ",
        "remove",
    ] {
        assert!(!remedy.contains(word), "{word}: {remedy}");
    }
}

fn clocked() -> PinningBuilder {
    Pinning::builder().time_provider(Clock::new())
}

/// Starts nginx over TLS 1.3 and `openssl s_server` over TLS 1.2; none if one is not installed.
fn both(leaf: &Leaf) -> Vec<Peer> {
    let nginx = Peer::nginx(leaf, Tls::V1_3, "max-age=0");
    let s_server = Peer::s_server(leaf, Tls::V1_2);
    match (nginx, s_server) {
        (Some(nginx), Some(s_server)) => vec![nginx, s_server],
        _ => Vec::new(),
    }
}

/// Checks the cause for which a new client with this policy refuses each of two servers.
async fn refused_by_both(
    policy: &PinPolicy,
    anchors: &TrustAnchors,
    leaf: &Leaf,
    expected: &Cause,
) {
    for server in both(leaf) {
        let visitor = Visitor::pinned(policy.clone(), anchors);
        assert_eq!(visitor.refused(server.address).await, *expected);
    }
}
