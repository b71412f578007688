//! Attacks 4 and 5 (resumed sessions and open connections after a change of pins) with nginx and
//! `openssl s_server`, with session tickets, TLS 1.2 and 1.3, ECDSA and RSA keys.
//!
//! The clients are this crate's connector, and hyper-rustls with this crate's `ClientConfig`, where
//! only the resumption check applies and open connections are not checked again.

use crate::common::peers::{Peer, Tls, rsa_key};
use crate::common::pki::{Ca, Leaf, leaf_params};
use crate::common::server::{Loopback, Names};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, TIMEOUT, header_value, policy_with, provider, unrelated_pin};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pinhold::{
    PinPolicy, PinViolation, Pinning, PinningConnector, PinningVerifier, VerifiedConnection,
};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;

const HOST: &str = "pinned.test";
const URI: &str = "https://pinned.test/";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client that makes the connections.
enum Stack {
    Pinhold(PinningConnector<Loopback>),
    HyperRustls(HttpsConnector<Loopback>),
}

impl Stack {
    /// Sends one GET over a new connection and returns how its handshake was made.
    async fn visit(&self) -> Result<HandshakeKind, BoxError> {
        let uri = http::Uri::from_static(URI);
        match self {
            Self::Pinhold(connector) => {
                let stream = connector.clone().oneshot(uri).await?;
                let kind = if stream.verified().unwrap().is_resumed() {
                    HandshakeKind::Resumed
                } else {
                    HandshakeKind::Full
                };
                fetch(stream).await;
                Ok(kind)
            }
            Self::HyperRustls(connector) => {
                let stream = connector.clone().oneshot(uri).await?;
                let MaybeHttpsStream::Https(tls) = &stream else {
                    panic!("not https")
                };
                let kind = tls.inner().get_ref().1.handshake_kind().unwrap();
                fetch(stream).await;
                Ok(kind)
            }
        }
    }

    #[track_caller]
    fn assert_violation(visit: Result<HandshakeKind, BoxError>) {
        let error = visit.unwrap_err();
        assert!(PinViolation::find(&*error).is_some(), "{error:?}");
    }
}

/// Reads a response to its end, and with it the session tickets that precede it.
async fn fetch(stream: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static) {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("/").header("host", HOST);
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
    let response = tokio::time::timeout(TIMEOUT, response)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();
    connection.abort();
}

fn stacks(pinning: &Pinning, root: &Ca, names: &Names) -> [Stack; 2] {
    let config = || {
        let verifier =
            PinningVerifier::builder(pinning.clone()).with_anchors(built_in_anchors(&[root]));
        let config = verifier.with_provider(provider()).client_config();
        let mut config: ClientConfig = config.unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    };
    let pinhold = PinningConnector::builder(pinning.clone()).with_tls_config(config());
    let pinhold = pinhold.http1_only().wrap_connector(Loopback::new(names));
    let hyper_rustls = HttpsConnector::from((Loopback::new(names), config()));
    [
        Stack::Pinhold(pinhold.unwrap()),
        Stack::HyperRustls(hyper_rustls),
    ]
}

/// Returns a leaf with an ECDSA key and, where `openssl` can make the key, one with an RSA key.
fn leaves(root: &Ca) -> Vec<Leaf> {
    let ecdsa = root.leaf(&[HOST]);
    let rsa = rsa_key(2048).map(|key| root.leaf_with_key(leaf_params(&[HOST]), key));
    std::iter::once(ecdsa).chain(rsa).collect()
}

/// Changes the pins between resumed handshakes with a server, and then switches to a second server
/// of the same name with a new key.
async fn resumption_follows_the_pins(start: impl Fn(&Leaf, Tls) -> Option<Peer>) {
    let root = Ca::root("Root");
    for tls in [Tls::V1_2, Tls::V1_3] {
        for leaf in leaves(&root) {
            let new = root.leaf(&[HOST]);
            let (Some(server), Some(renewed)) = (start(&leaf, tls), start(&new, tls)) else {
                return;
            };
            let pinning = Pinning::builder()
                .time_provider(Clock::new())
                .build()
                .unwrap();
            let names = Names::default();
            let pin_to = |policy: PinPolicy| pinning.replace_pins([(HOST, policy)]).unwrap();
            for stack in stacks(&pinning, &root, &names) {
                names.point_to(HOST, server.address);
                pin_to(policy_with(leaf.pin()));
                assert_eq!(stack.visit().await.unwrap(), HandshakeKind::Full);
                assert_eq!(stack.visit().await.unwrap(), HandshakeKind::Resumed);
                assert_eq!(stack.visit().await.unwrap(), HandshakeKind::Resumed);
                pin_to(policy_with(unrelated_pin()));
                Stack::assert_violation(stack.visit().await);
                // Counter-case: a server whose new key is pinned.
                pin_to(policy_with(new.pin()));
                Stack::assert_violation(stack.visit().await);
                names.point_to(HOST, renewed.address);
                assert_eq!(stack.visit().await.unwrap(), HandshakeKind::Full);
            }
        }
    }
}

#[tokio::test]
async fn attack_4_resumed_sessions_of_nginx_follow_the_pins() {
    let header = header_value(unrelated_pin(), "max-age=0");
    resumption_follows_the_pins(|leaf, tls| Peer::nginx(leaf, tls, &header)).await;
}

#[tokio::test]
async fn attack_4_resumed_sessions_of_openssl_follow_the_pins() {
    resumption_follows_the_pins(Peer::s_server).await;
}

/// Changes the pins so that they refuse the chain of an open connection in a pool.
///
/// `keeps_alive` states whether the server keeps the connection open after a response.
async fn open_connections_follow_the_pins(
    keeps_alive: bool,
    start: impl Fn(&Leaf, Tls) -> Option<Peer>,
) {
    let root = Ca::root("Root");
    for tls in [Tls::V1_2, Tls::V1_3] {
        for leaf in leaves(&root) {
            let new = root.leaf(&[HOST]);
            let (Some(server), Some(renewed)) = (start(&leaf, tls), start(&new, tls)) else {
                return;
            };
            let pinning = Pinning::builder().time_provider(Clock::new());
            let pinning = pinning.build().unwrap();
            let names = Names::default();
            let pin_to = |policy: PinPolicy| pinning.replace_pins([(HOST, policy)]).unwrap();
            let [Stack::Pinhold(connector), _] = stacks(&pinning, &root, &names) else {
                panic!("the first stack is pinhold")
            };
            let pool = Client::builder(TokioExecutor::new());
            let client = pool.build::<_, Empty<Bytes>>(connector.clone());
            let visit = async || {
                let response = client.get(http::Uri::from_static(URI)).await?;
                let verified = response.extensions().get::<VerifiedConnection>().cloned();
                response.into_body().collect().await?;
                Ok::<_, BoxError>(verified.unwrap())
            };
            names.point_to(HOST, server.address);
            pin_to(policy_with(leaf.pin()));
            let first = visit().await.unwrap();
            let idle = connector.oneshot(http::Uri::from_static(URI)).await;
            pin_to(policy_with(unrelated_pin()));
            let written = TokioIo::new(idle.unwrap()).write_all(b"GET / ").await;
            assert!(PinViolation::find(&written.unwrap_err()).is_some());
            let error = visit().await.unwrap_err();
            assert!(PinViolation::find(&*error).is_some(), "{error:?}");
            assert_eq!(first.ended_by().is_some(), keeps_alive);
            // Counter-case: a server whose new key is pinned.
            names.point_to(HOST, renewed.address);
            pin_to(policy_with(new.pin()));
            assert!(visit().await.unwrap().ended_by().is_none());
        }
    }
}

#[tokio::test]
async fn attack_5_open_connections_to_nginx_follow_the_pins() {
    let header = header_value(unrelated_pin(), "max-age=0");
    open_connections_follow_the_pins(true, |leaf, tls| Peer::nginx(leaf, tls, &header)).await;
}

#[tokio::test]
async fn attack_5_open_connections_to_openssl_follow_the_pins() {
    // `openssl s_server` closes the connection after one response.
    open_connections_follow_the_pins(false, Peer::s_server).await;
}
