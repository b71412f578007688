//! Each kind of server, requested by hyper and by reqwest with the pins of its name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::connector::ConnectError;
use pinhold::header::Noted;
use pinhold::policy::AfterExpiry;
use pinhold::roots::AnchorOrigin;
use pinhold::rustls::pki_types::UnixTime;
use pinhold::rustls::{CertificateError, Error as TlsError};
use pinhold::{
    Decision, Event, NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningConnector,
    UserAddedRoots,
};
use pinhold_testing::{TestCa, TestClock, TestError, TestServer};
use tower_layer::Layer;
use tower_service::Service;

const HOST: &str = "api.example";
/// Long, because a loaded machine is slow.
const TIMEOUT: Duration = Duration::from_secs(60);

type BoxError = Box<dyn Error + Send + Sync>;
/// The body of the response, and the outcome of noting.
type Outcome = Result<(Bytes, Option<Noted>), BoxError>;

fn pinning(policy: PinPolicy) -> Pinning {
    Pinning::builder()
        .static_pins(HOST, policy)
        .build()
        .unwrap()
}

async fn hyper(server: &TestServer, pinning: &Pinning) -> Outcome {
    let connector = PinningConnector::builder(pinning.clone())
        .with_anchors(server.anchors())
        .https_only()
        .wrap_connector(server.connector())?;
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let mut client = NotePinsLayer::new(pinning.clone()).layer(client);
    let request = http::Request::get(server.url()).body(Empty::<Bytes>::new())?;
    let response = tokio::time::timeout(TIMEOUT, client.call(request)).await??;
    let noted = response.extensions().get().cloned();
    Ok((response.into_body().collect().await?.to_bytes(), noted))
}

async fn reqwest(server: &TestServer, pinning: &Pinning) -> Outcome {
    let client = pinning.reqwest_client_builder(server.anchors())?;
    let client = client.no_proxy().timeout(TIMEOUT);
    let client = client.resolve(HOST, server.addr()).build()?;
    let response = client.get(server.url()).send().await?;
    Ok((response.bytes().await?, None))
}

/// Requests the server by each client.
async fn by_both(server: &TestServer, pinning: &Pinning) -> [Outcome; 2] {
    [hyper(server, pinning).await, reqwest(server, pinning).await]
}

#[tokio::test]
async fn a_good_server_is_accepted() {
    let server = TestServer::good(HOST).await.unwrap();
    let pinning = pinning(server.policy());
    for outcome in by_both(&server, &pinning).await {
        assert_eq!(outcome.unwrap().0, "ok");
    }
    assert_eq!((server.connections(), server.requests()), (2, 2));

    let connection = server.connect(&pinning).await.unwrap();
    assert!(matches!(connection.decision(), Decision::Pass));
    assert!(connection.chain().handshake_verified());
    let [live, backup] = server.pins();
    let keys = connection.chain().fingerprints();
    assert!(keys.contains(&live) && !keys.contains(&backup));
    let error = server.violation(&pinning).await.unwrap_err();
    assert!(matches!(error, TestError::NotRefused { host } if host.as_str() == HOST));
}

#[tokio::test]
async fn a_mis_issued_chain_is_refused_by_its_pins_and_receives_no_request() {
    let server = TestServer::mis_issued(HOST).await.unwrap();
    let refusing = pinning(server.policy());
    for outcome in by_both(&server, &refusing).await {
        let violation = PinViolation::find(&*outcome.unwrap_err()).unwrap();
        assert_eq!(violation.host(), server.host());
    }
    assert_eq!((server.connections(), server.requests()), (2, 0));

    let violation = server.violation(&refusing).await.unwrap();
    let chain = violation.chain();
    assert_eq!(chain.anchor_origin(), AnchorOrigin::BuiltIn);
    assert!(
        server
            .pins()
            .iter()
            .all(|pin| violation.policy().pins.contains(pin))
    );
    // The genuine certificate is served, but is not on the path.
    assert_eq!((chain.served().len(), chain.certificates().count()), (3, 2));
    // Without pins the chain is accepted, so it is refused for no other reason.
    let without_pins = Pinning::builder().build().unwrap();
    for outcome in by_both(&server, &without_pins).await {
        outcome.unwrap();
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_inspected_connection_is_skipped_unless_pins_are_enforced_there() {
    let server = TestServer::inspected(HOST).await.unwrap();
    let skipping = pinning(server.policy());
    for outcome in by_both(&server, &skipping).await {
        outcome.unwrap();
    }
    let connection = server.connect(&skipping).await.unwrap();
    assert!(matches!(connection.decision(), Decision::Skipped));
    assert_eq!(connection.anchor_origin(), AnchorOrigin::UserAdded);

    let policy = server.policy();
    let enforcing = pinning(policy.user_added_roots(UserAddedRoots::EnforcePins));
    for outcome in by_both(&server, &enforcing).await {
        assert!(PinViolation::find(&*outcome.unwrap_err()).is_some());
    }
    server.violation(&enforcing).await.unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_expired_certificate_is_refused_as_invalid_and_not_by_pins() {
    let server = TestServer::expired(HOST).await.unwrap();
    let by_system_clock = pinning(server.policy());
    for outcome in by_both(&server, &by_system_clock).await {
        assert!(PinViolation::find(&*outcome.unwrap_err()).is_none());
    }
    let clock = TestClock::new();
    let builder = Pinning::builder().static_pins(HOST, server.policy());
    let pinning = builder.time_provider(clock.clone()).build().unwrap();
    let is_expired = |error| match error {
        TestError::Connect(ConnectError::Tls(TlsError::InvalidCertificate(error))) => {
            matches!(error, CertificateError::ExpiredContext { .. })
        }
        other => panic!("expected a certificate error, found {other:?}"),
    };
    assert!(is_expired(server.connect(&pinning).await.unwrap_err()));
    assert!(is_expired(server.violation(&pinning).await.unwrap_err()));
    assert_eq!(server.requests(), 0);

    // 1 July 2019: the certificate was valid, and its key is pinned.
    clock.set(UnixTime::since_unix_epoch(Duration::from_secs(
        1_561_939_200,
    )));
    let connection = server.connect(&pinning).await.unwrap();
    assert!(matches!(connection.decision(), Decision::Pass));
}

#[tokio::test]
async fn servers_of_one_ca_have_the_same_pins_for_a_name() {
    let ca = TestCa::new().unwrap();
    let server = |host: &'static str| TestServer::builder(host).with_ca(&ca);
    let good = server(HOST).good().await.unwrap();
    let mis_issued = server(HOST).mis_issued().await.unwrap();
    let other = server("other.example").good().await.unwrap();
    assert_eq!(good.pins(), ca.pins(HOST).unwrap());
    assert_eq!(good.pins(), mis_issued.pins());
    assert!(good.pins().iter().all(|pin| !other.pins().contains(pin)));

    let pinning = pinning(ca.policy(HOST).unwrap());
    good.connect(&pinning).await.unwrap();
    mis_issued.violation(&pinning).await.unwrap();
    // Servers of another CA have other pins.
    let apart = TestServer::good(HOST).await.unwrap();
    assert!(apart.pins().iter().all(|pin| !good.pins().contains(pin)));
}

#[tokio::test]
async fn a_policy_expires_when_the_clock_is_advanced() {
    let server = TestServer::mis_issued(HOST).await.unwrap();
    let clock = TestClock::new();
    let lifetime = Duration::from_secs(90 * 24 * 60 * 60);
    let expiry = UnixTime::since_unix_epoch(Duration::from_secs(clock.now().as_secs()) + lifetime);
    let policy = server.policy().expires(expiry, AfterExpiry::Unpin);
    let builder = Pinning::builder().static_pins(HOST, policy);
    let pinning = builder.time_provider(clock.clone()).build().unwrap();
    let violation = server.violation(&pinning).await.unwrap();
    assert_eq!(violation.at(), clock.now());
    for outcome in by_both(&server, &pinning).await {
        assert!(PinViolation::find(&*outcome.unwrap_err()).is_some());
    }

    // The time of expiry is the last at which the pins apply.
    clock.advance(lifetime + Duration::from_secs(1));
    let connection = server.connect(&pinning).await.unwrap();
    assert!(matches!(connection.decision(), Decision::NotPinned));
    for outcome in by_both(&server, &pinning).await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn pins_of_a_response_are_noted_and_refuse_another_chain() {
    let ca = TestCa::new().unwrap();
    let [live, backup] = ca.pins(HOST).unwrap().map(|pin| pin.to_base64());
    let pins = format!(r#"pin-sha256="{live}"; pin-sha256="{backup}"; max-age=300"#);
    let response = http::Response::builder()
        .status(201)
        .header("public-key-pins", pins);
    let response = response.body("created").unwrap();
    let good = TestServer::builder(HOST)
        .with_ca(&ca)
        .with_response(response);
    let good = good.good().await.unwrap();
    let pinning = Pinning::builder().build().unwrap();
    let (body, noted) = hyper(&good, &pinning).await.unwrap();
    assert_eq!((&body[..], noted), (&b"created"[..], Some(Noted::Added)));

    let mis_issued = TestServer::builder(HOST).with_ca(&ca).mis_issued();
    let mis_issued = mis_issued.await.unwrap();
    let error = hyper(&mis_issued, &pinning).await.unwrap_err();
    assert!(PinViolation::find(&*error).is_some());
    assert_eq!(mis_issued.requests(), 0);
}

#[tokio::test]
async fn an_observer_receives_the_violation_with_the_port() {
    let server = TestServer::mis_issued(HOST).await.unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let builder = Pinning::builder().static_pins(HOST, server.policy());
    let builder = builder.observer(move |event| drop(sender.send(event.clone())));
    let pinning = builder.build().unwrap();
    server.violation(&pinning).await.unwrap();
    let event = receiver.recv_timeout(TIMEOUT).unwrap();
    assert!(matches!(event, Event::Violation(report) if report.port() == server.addr().port()));
}

#[tokio::test]
async fn a_dropped_server_closes_its_port_and_its_connections() {
    let server = TestServer::good(HOST).await.unwrap();
    let pinning = pinning(server.policy());
    let (addr, url) = (server.addr(), server.url());
    let client = pinning.reqwest_client_builder(server.anchors()).unwrap();
    let client = client.no_proxy().timeout(TIMEOUT);
    let client = client.resolve(HOST, addr).build().unwrap();
    client.get(&url).send().await.unwrap();
    drop(server);
    // Its open connections are closed, too.
    client.get(&url).send().await.unwrap_err();
}

#[tokio::test]
async fn a_name_that_cannot_be_pinned_is_an_error() {
    for name in ["127.0.0.1", "api.example:443", ""] {
        let error = TestServer::good(name).await.unwrap_err();
        assert!(matches!(error, TestError::Host(_)), "{name}: {error}");
    }
}

/// The server has a thread of its own, so the code under test may block, and needs no runtime.
#[test]
fn a_client_that_blocks_reaches_the_server() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let server = { runtime }
        .build()
        .unwrap()
        .block_on(TestServer::good(HOST));
    let server = server.unwrap();
    let pinning = pinning(server.policy());
    let config = pinning.client_config(server.anchors()).unwrap();
    let client = reqwest::blocking::Client::builder().tls_backend_preconfigured(config);
    let client = client
        .no_proxy()
        .resolve(HOST, server.addr())
        .build()
        .unwrap();
    assert_eq!(
        client.get(server.url()).send().unwrap().text().unwrap(),
        "ok"
    );
}
