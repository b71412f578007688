//! The connector in hyper-util's client: which connections it accepts, and how it reports refusals.

mod during_handshake;
mod plain_http;
mod proxies;
mod schemes;
mod tls_config;

use std::error::Error;
use std::io;

use crate::common::pki::Ca;
use crate::common::server::{HyperClient, Loopback, Names, Server, answer, client, full, get};
use crate::common::{Clock, header_value, policy_with, provider, unrelated_pin};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::connector::{ConnectError, PinningConnectorBuilder, PlainHttp};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::layer::NotePins;
use pinhold::roots::AnchorOrigin;
use pinhold::{
    Decision, Enforcement, NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningConnector,
    TrustAnchors, VerifiedConnection,
};
use tokio::net::TcpListener;
use tower::ServiceExt;
use tower_layer::Layer;

fn unpinned() -> Pinning {
    Pinning::builder()
        .time_provider(Clock::new())
        .build()
        .unwrap()
}

fn static_pins(policy: PinPolicy) -> Pinning {
    Pinning::builder()
        .static_pins("example.com", policy)
        .time_provider(Clock::new())
        .build()
        .unwrap()
}

fn built_in_anchors(root: &Ca) -> TrustAnchors {
    TrustAnchors::new()
        .with_built_in([root.certificate()])
        .unwrap()
}

fn builder(pinning: &Pinning, root: &Ca) -> PinningConnectorBuilder {
    PinningConnector::builder(pinning.clone())
        .with_provider(provider())
        .with_anchors(built_in_anchors(root))
}

fn connect_error(error: &hyper_util::client::legacy::Error) -> &ConnectError {
    error.source().unwrap().downcast_ref().unwrap()
}

fn connection(response: &http::Response<Bytes>) -> &VerifiedConnection {
    response.extensions().get().unwrap()
}

/// A client that uses this connector and notes pins.
fn client_with(pinning: &Pinning, connector: PinningConnector<Loopback>) -> NotePins<HyperClient> {
    let client = Client::builder(TokioExecutor::new()).build(connector);
    NotePinsLayer::new(pinning.clone()).layer(client)
}

#[tokio::test]
async fn a_first_visit_notes_and_a_second_one_passes() {
    let root = Ca::root("Root");
    let leaf = root.intermediate("CA").leaf(&["example.com"]);
    let value = header_value(leaf.pin(), "max-age=100");
    let server = Server::start(&leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &server)]);
    let pinning = unpinned();
    let visit = async || {
        let mut client = client(&pinning, built_in_anchors(&root), &names);
        get(&mut client, "https://example.com/").await.unwrap()
    };

    let first = visit().await;
    assert_eq!(first.extensions().get(), Some(&Noted::Added));
    assert!(matches!(connection(&first).decision(), Decision::NotPinned));
    assert_eq!(connection(&first).anchor_origin(), AnchorOrigin::BuiltIn);
    assert_eq!(connection(&first).host().unwrap().as_str(), "example.com");
    assert_eq!(connection(&first).chain().fingerprints().len(), 3);

    let second = visit().await;
    assert_eq!(second.extensions().get(), Some(&Noted::Refreshed));
    assert!(matches!(connection(&second).decision(), Decision::Pass));
}

#[tokio::test]
async fn http1_and_http2_both_carry_the_connection_and_the_violation() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let loopback = Loopback::new(&Names::new([("example.com", &server)]));
    type Choose = fn(PinningConnectorBuilder) -> PinningConnectorBuilder;
    let choices: [(Choose, http::Version); 4] = [
        (|builder| builder.http1_only(), http::Version::HTTP_11),
        (|builder| builder.http2_only(), http::Version::HTTP_2),
        (|builder| builder, http::Version::HTTP_2),
        // The last choice counts.
        (
            |builder| builder.http2_only().http1_only(),
            http::Version::HTTP_11,
        ),
    ];
    for (choose, version) in choices {
        let pinning = static_pins(policy_with(leaf.pin()));
        let passing = choose(builder(&pinning, &root))
            .wrap_connector(loopback.clone())
            .unwrap();
        let mut client = client_with(&pinning, passing);
        for _ in 0..2 {
            let response = get(&mut client, "https://example.com/").await.unwrap();
            assert_eq!(response.version(), version);
            assert!(matches!(connection(&response).decision(), Decision::Pass));
        }
        let pinning = static_pins(policy_with(unrelated_pin()));
        let failing = choose(builder(&pinning, &root))
            .wrap_connector(loopback.clone())
            .unwrap();
        let error = get(&mut client_with(&pinning, failing), "https://example.com/")
            .await
            .unwrap_err();
        assert!(PinViolation::find(&error).is_some());
        assert!(matches!(connect_error(&error), ConnectError::Pins(_)));
    }
}

#[tokio::test]
async fn a_violation_states_the_expected_and_the_found_keys() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["www.example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let policy = policy_with(unrelated_pin()).include_subdomains();
    let names = Names::new([("www.example.com", &server)]);
    let mut client = client(&static_pins(policy), built_in_anchors(&root), &names);
    let error = get(&mut client, "https://www.example.com/")
        .await
        .unwrap_err();
    let violation = PinViolation::find(&error).unwrap();
    assert_eq!(violation.host().as_str(), "www.example.com");
    assert_eq!(violation.policy().noted_hostname.as_str(), "example.com");
    assert!(violation.policy().pins.contains(&unrelated_pin()));
    assert_eq!(violation.at(), crate::common::now());
    let message = violation.to_string();
    for fact in [
        unrelated_pin().to_string(),
        leaf.pin().to_string(),
        root.pin().to_string(),
    ] {
        assert!(message.contains(&fact), "{message}");
    }
    // It is found behind any number of wrapping errors.
    for wrapped in [
        io::Error::other(error),
        io::Error::other(io::Error::other(violation)),
    ] {
        assert!(PinViolation::find(&wrapped).is_some());
    }
}

#[tokio::test]
async fn plain_http_to_a_known_pinned_host_is_refused() {
    let root = Ca::root("Root");
    let server = Server::plain(answer(&[])).await;
    let hosts = [
        "example.com",
        "exempt.example.com",
        "unpinned.example",
        "127.0.0.1",
    ];
    let names = Names::new(hosts.map(|host| (host, &server)));
    let policy = || {
        let policy = policy_with(unrelated_pin()).include_subdomains();
        policy.exempt("exempt.example.com").unwrap()
    };
    let report_only = policy().enforcement(Enforcement::ReportOnly);
    for (policy, plain, host, is_allowed) in [
        (policy(), PlainHttp::Refuse, "example.com", false),
        (policy(), PlainHttp::Refuse, "EXAMPLE.com.", false),
        // The TCP connector of hyper-util connects to the name in the brackets.
        (policy(), PlainHttp::Refuse, "[example.com]", false),
        (policy(), PlainHttp::Allow, "example.com", true),
        (policy(), PlainHttp::Refuse, "exempt.example.com", true),
        (policy(), PlainHttp::Refuse, "unpinned.example", true),
        (policy(), PlainHttp::Refuse, "127.0.0.1", true),
        (report_only, PlainHttp::Refuse, "example.com", true),
    ] {
        let pinning = static_pins(policy);
        let connector = builder(&pinning, &root).plain_http(plain);
        let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
        match get(
            &mut client_with(&pinning, connector),
            &format!("http://{host}/"),
        )
        .await
        {
            Ok(response) => {
                assert!(is_allowed, "{host}");
                assert!(response.extensions().get::<VerifiedConnection>().is_none());
            }
            Err(error) => {
                let is_refused = matches!(
                    connect_error(&error),
                    ConnectError::Host(_) | ConnectError::PlainHttp { .. }
                );
                assert!(is_refused && !is_allowed, "{host}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn https_only_refuses_other_schemes_and_invalid_hosts() {
    let root = Ca::root("Root");
    let connector = builder(&unpinned(), &root).https_only().build().unwrap();
    let refused = async |uri: &'static str| {
        let uri = http::Uri::from_static(uri);
        connector.clone().oneshot(uri).await.unwrap_err()
    };
    assert!(matches!(
        refused("http://example.com/").await,
        ConnectError::HttpsOnly { .. }
    ));
    assert!(matches!(
        refused("ftp://example.com/").await,
        ConnectError::Scheme { .. }
    ));
    assert!(matches!(
        refused("https://exa*mple.com/").await,
        ConnectError::Host(_)
    ));
    let bracketed = refused("https://[example.com]/").await;
    assert!(matches!(bracketed, ConnectError::Host(_)));
}

#[tokio::test]
async fn a_failed_tcp_connection_keeps_its_cause() {
    let root = Ca::root("Root");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let connector = builder(&unpinned(), &root).build().unwrap();
    let uri = format!("https://{address}/").parse::<http::Uri>().unwrap();
    let error = connector.oneshot(uri).await.unwrap_err();
    assert!(matches!(error, ConnectError::Transport(_)));
    assert!(error.source().is_some() && PinViolation::find(&error).is_none());
}

#[tokio::test]
async fn the_tcp_connections_of_the_connector_have_nodelay_set() {
    let root = Ca::root("Root");
    let server = Server::start(&root.leaf(&["127.0.0.1"]), &[]).await;
    let connector = builder(&unpinned(), &root).build().unwrap();
    let uri = format!("https://{}/", server.address)
        .parse::<http::Uri>()
        .unwrap();
    let stream = connector.oneshot(uri).await.unwrap();
    assert!(stream.transport().inner().nodelay().unwrap());
    assert!(
        stream.verified().unwrap().host().is_none(),
        "an IP address is not a host that can be pinned"
    );
}

#[tokio::test]
async fn a_response_without_connection_data_is_ignored_with_a_reason() {
    let pinning = unpinned();
    let inner = tower::service_fn(|_: http::Request<Empty<Bytes>>| async {
        let response = http::Response::builder().header("public-key-pins", "max-age=0");
        Ok::<_, io::Error>(response.body(full("ok")).unwrap())
    });
    let request = |method: &str, uri: &str| {
        let request = http::Request::builder().method(method).uri(uri);
        request.body(Empty::new()).unwrap()
    };
    for (request, reason) in [
        (
            request("GET", "https://example.com/"),
            IgnoreReason::NoConnectionData,
        ),
        (
            request("GET", "http://example.com/"),
            IgnoreReason::InsecureTransport,
        ),
        (request("GET", "/relative"), IgnoreReason::InsecureTransport),
        (request("GET", "https://192.0.2.1/"), IgnoreReason::NoHost),
        (
            request("CONNECT", "example.com:443"),
            IgnoreReason::ConnectResponse,
        ),
    ] {
        let client = NotePinsLayer::new(pinning.clone()).layer(inner);
        let response = client.oneshot(request).await.unwrap();
        assert_eq!(response.extensions().get(), Some(&Noted::Ignored(reason)));
    }
}
