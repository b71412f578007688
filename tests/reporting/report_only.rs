//! The effects of `Public-Key-Pins-Report-Only`, and what it does not affect (RFC 7469 sections
//! 2.3.2 and 2.5).

use std::convert::Infallible;

use crate::common::header::{directive, parse_report_only, pin};
use crate::common::pki::{Ca, Leaf};
use crate::common::recording::{Recorder, with_recorder};
use crate::common::server::{Names, Server, answer, client, get, server_config};
use crate::common::validated::{built_in_anchors, verified_connection};
use crate::common::{Clock, NOW, at, header_value, now, policy_with, provider, unrelated_pin};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use pinhold::header::{HeaderError, IgnoreReason, Noted};
use pinhold::policy::{PinSource, PolicyState};
use pinhold::{
    Decision, Host, NotePinsLayer, PinViolation, Pinning, PinningBuilder, TrustAnchors,
    UserAddedRoots, VerifiedConnection,
};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

const PKP: &str = "public-key-pins";
const RO: &str = "public-key-pins-report-only";
const URI: &str = "https://example.com/";

struct Fixture {
    root: Ca,
    leaf: Leaf,
    pinning: Pinning,
    recorder: Recorder,
}

impl Fixture {
    fn new() -> Self {
        Self::of(Pinning::builder())
    }

    fn of(builder: PinningBuilder) -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let (pinning, recorder) = with_recorder(builder.time_provider(Clock::new()));
        Self {
            root,
            leaf,
            pinning,
            recorder,
        }
    }

    /// Visits `https://example.com:8443/`, whose response has these fields, with these anchors.
    async fn receive_with(&self, anchors: TrustAnchors, fields: &[(&'static str, &str)]) {
        let server = Server::start(&self.leaf, fields).await;
        let names = Names::new([("example.com", &server)]);
        let mut client = client(&self.pinning, anchors, &names);
        let uri = "https://example.com:8443/";
        let response = get(&mut client, uri).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.body(), "ok");
        let names = fields.iter().map(|(name, _)| *name);
        let names = names.collect::<std::collections::BTreeSet<_>>();
        let received = names.into_iter();
        let received = received.flat_map(|name| response.headers().get_all(name));
        assert_eq!(
            received.count(),
            fields.len(),
            "the response has lost a field"
        );
    }

    async fn receive(&self, fields: &[(&'static str, &str)]) {
        self.receive_with(built_in_anchors(&[&self.root]), fields)
            .await;
    }

    async fn connection(&self) -> VerifiedConnection {
        verified_connection(&self.leaf, "example.com", &built_in_anchors(&[&self.root])).await
    }

    /// Passes a request and its response through the layer.
    async fn respond(&self, request: Request<()>, response: Response<Bytes>) -> Response<Bytes> {
        let response = std::sync::Mutex::new(Some(response));
        let client = service_fn(|_: Request<()>| {
            let response = response.lock().unwrap().take().unwrap();
            async { Ok::<_, Infallible>(response) }
        });
        let layer = NotePinsLayer::new(self.pinning.clone());
        layer.layer(client).oneshot(request).await.unwrap()
    }

    fn is_empty(&self) -> bool {
        self.pinning.store().list().is_empty()
    }

    fn evaluate(
        &self,
        host: &str,
        value: &str,
        connection: &VerifiedConnection,
    ) -> Result<Decision, IgnoreReason> {
        let (host, header) = (Host::parse(host).unwrap(), parse_report_only(value));
        let (header, now) = (header.unwrap(), at(NOW + 5));
        self.pinning
            .evaluate(&host, &header, connection.chain(), now)
    }
}

/// Returns a header whose pins no chain satisfies.
fn failing(rest: &str) -> String {
    header_value(
        pin(1),
        &format!("report-uri=\"https://r.example/ro\"{rest}"),
    )
}

fn with_field(value: &str) -> http::response::Builder {
    Response::builder().header(RO, value)
}

#[tokio::test]
async fn a_failed_report_only_header_is_reported_and_has_no_other_effect() {
    // 7469-2.3.2-b, 7469-2.3.2-c, 7469-2.3.2-f, 7469-2.3.3-j, 7469-2.5-f, 7469-2.5-h
    let fixture = Fixture::new();
    fixture
        .receive(&[(RO, &failing("; includeSubDomains"))])
        .await;
    let report = fixture.recorder.reports(&fixture.pinning).remove(0);
    assert_eq!(report.port(), 8443);
    let violation = fixture.recorder.would_be_violation(&fixture.pinning);
    let policy = violation.policy();
    assert_eq!(violation.host().as_str(), "example.com");
    assert_eq!(policy.noted_hostname.as_str(), "example.com");
    assert_eq!(policy.report_uris()[0].as_str(), "https://r.example/ro");
    assert!(policy.scope.includes_subdomains());
    assert_eq!(policy.state, PolicyState::ReportOnly);
    assert_eq!(policy.source, PinSource::Noted);
    assert_eq!((policy.expires_at, violation.at()), (Some(now()), now()));
    assert!(fixture.is_empty());

    // Nothing is stored: the next connection without the field causes no event.
    fixture.receive(&[]).await;
    fixture.recorder.assert_no_event_or_report(&fixture.pinning);
    // A new connection with the field is evaluated. Duplicate reports are the reporter's concern.
    fixture.receive(&[(RO, &failing(""))]).await;
    fixture.recorder.would_be_violation(&fixture.pinning);
}

#[tokio::test]
async fn a_failed_field_without_report_uri_is_an_event() {
    // 7469-2.3.2-d
    let fixture = Fixture::new();
    fixture.receive(&[(RO, &directive(pin(1)))]).await;
    let violation = fixture.recorder.would_be_violation(&fixture.pinning);
    assert!(violation.policy().report_uris().is_empty());
}

#[tokio::test]
async fn pins_that_pass_cause_no_event() {
    // 7469-2.3.2-f
    let fixture = Fixture::new();
    for pin in [fixture.leaf.pin(), fixture.root.pin()] {
        fixture.receive(&[(RO, &directive(pin))]).await;
        let value = header_value(pin, "report-uri=\"https://r.example/\"");
        fixture.receive(&[(RO, &value)]).await;
        fixture.recorder.assert_no_event_or_report(&fixture.pinning);
        assert!(fixture.is_empty());
    }
}

#[tokio::test]
async fn max_age_is_ignored_but_must_follow_the_grammar() {
    // 7469-2.1.2-c, D-08
    let fixture = Fixture::new();
    for max_age in [
        "",
        "; max-age=0",
        "; max-age=100",
        "; max-age",
        "; max-age=abc",
        "; max-age=\"x y\"",
    ] {
        fixture.receive(&[(RO, &failing(max_age))]).await;
        let violation = fixture.recorder.would_be_violation(&fixture.pinning);
        assert_eq!(violation.policy().expires_at, Some(now()), "{max_age}");
        assert!(fixture.is_empty());
    }
    fixture.recorder.reports(&fixture.pinning);
    for max_age in ["; max-age=", "; max-age=1; max-age=1"] {
        fixture.receive(&[(RO, &failing(max_age))]).await;
        let reason = fixture.recorder.ignore_reason(&fixture.pinning);
        assert!(
            matches!(reason, IgnoreReason::Header(_)),
            "{max_age}: {reason:?}"
        );
    }
    fixture.recorder.assert_no_event_or_report(&fixture.pinning);
}

#[tokio::test]
async fn the_two_fields_are_processed_independently() {
    // 7469-2.3.2-a, 7469-2.3.2-g, 7469-2.5-g
    let fixture = Fixture::new();
    let good = header_value(fixture.leaf.pin(), "max-age=100");
    // With both fields, one is noted and the other one causes an event.
    fixture.receive(&[(PKP, &good), (RO, &failing(""))]).await;
    let events = fixture.recorder.events(&fixture.pinning);
    // Their order depends on whether the first one still waited when the violation arrived.
    assert_eq!(events.len(), 2, "{events:?}");
    let is_any = |is_it: fn(&pinhold::Event) -> bool| events.iter().any(is_it);
    assert!(is_any(|event| matches!(
        event,
        pinhold::Event::Noted { .. }
    )));
    assert!(is_any(|event| matches!(
        event,
        pinhold::Event::WouldBeViolation(_)
    )));
    let entries = fixture.pinning.store().list();
    assert!(entries[0].pins.contains(&fixture.leaf.pin()) && entries[0].report_uri.is_none());

    // If the report-only field is malformed, it is ignored, and the entry is refreshed.
    fixture.receive(&[(RO, "junk;"), (PKP, &good)]).await;
    assert!(matches!(
        fixture.recorder.ignore_reason(&fixture.pinning),
        IgnoreReason::Header(_)
    ));
    // If the enforced field is malformed, both cause an event, and the entry stays.
    fixture.receive(&[(PKP, "junk;"), (RO, &failing(""))]).await;
    let events = fixture.recorder.events(&fixture.pinning);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(fixture.pinning.store().list(), entries);
    assert_eq!(fixture.recorder.reports(&fixture.pinning).len(), 2);
}

#[tokio::test]
async fn only_the_first_of_several_fields_is_processed() {
    // 7469-2.3.1-g, 7469-2.3.2-f
    let fixture = Fixture::new();
    let passing = directive(fixture.leaf.pin());
    fixture.receive(&[(RO, &passing), (RO, &failing(""))]).await;
    fixture.recorder.assert_no_event_or_report(&fixture.pinning);
    fixture.receive(&[(RO, "junk;"), (RO, &failing(""))]).await;
    let reason = fixture.recorder.ignore_reason(&fixture.pinning);
    assert!(matches!(reason, IgnoreReason::Header(_)), "{reason:?}");
    fixture.receive(&[(RO, &failing("")), (RO, &passing)]).await;
    fixture.recorder.would_be_violation(&fixture.pinning);
}

#[tokio::test]
async fn a_field_without_tls_is_ignored() {
    // 7469-2.3.1-g, 7469-2.2.2-a
    let fixture = Fixture::new();
    let server = Server::plain(answer(&[(RO, &failing(""))])).await;
    let names = Names::new([("example.com", &server)]);
    let mut client = client(&fixture.pinning, built_in_anchors(&[&fixture.root]), &names);
    for uri in ["http://example.com/", "http://example.com:443/"] {
        let response = get(&mut client, uri).await.unwrap();
        assert!(response.extensions().get::<Noted>().is_none());
        let reason = fixture.recorder.ignore_reason(&fixture.pinning);
        assert_eq!(reason, IgnoreReason::InsecureTransport, "{uri}");
    }
    // Also if the response has a connection, which is that of a proxy.
    let response = with_field(&failing("")).extension(fixture.connection().await);
    let request = Request::get("http://example.com/").body(()).unwrap();
    fixture
        .respond(request, response.body(Bytes::new()).unwrap())
        .await;
    let reason = fixture.recorder.ignore_reason(&fixture.pinning);
    assert_eq!(reason, IgnoreReason::InsecureTransport);
    assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
}

#[tokio::test]
async fn a_field_applies_only_to_the_requested_and_verified_host() {
    // 7469-2.3.2-f, D-14
    let fixture = Fixture::new();
    let known = fixture.connection().await;
    for (method, uri, connection, expected) in [
        (
            Method::CONNECT,
            URI,
            Some(&known),
            IgnoreReason::ConnectResponse,
        ),
        (Method::GET, URI, None, IgnoreReason::NoConnectionData),
        (
            Method::GET,
            "https://example.org/",
            Some(&known),
            IgnoreReason::OtherHost,
        ),
        (
            Method::GET,
            "https://127.0.0.1/",
            Some(&known),
            IgnoreReason::NoHost,
        ),
    ] {
        let request = Request::builder().method(method).uri(uri);
        let mut response = with_field(&failing(""));
        if let Some(connection) = connection {
            response = response.extension(connection.clone());
        }
        let response = response.body(Bytes::new()).unwrap();
        fixture.respond(request.body(()).unwrap(), response).await;
        assert_eq!(fixture.recorder.ignore_reason(&fixture.pinning), expected);
    }
    assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
}

#[tokio::test]
async fn interim_responses_are_ignored() {
    // D-15
    let fixture = Fixture::new();
    let known = fixture.connection().await;
    for status in [100, 101, 103] {
        let response = with_field(&failing(""))
            .status(status)
            .extension(known.clone());
        let request = Request::get(URI).body(()).unwrap();
        fixture
            .respond(request, response.body(Bytes::new()).unwrap())
            .await;
        fixture.recorder.assert_no_event_or_report(&fixture.pinning);
    }
    // A server sends an interim response before the final one.
    let mut config = server_config(&fixture.leaf, provider(), rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let value = failing("");
    let bytes = format!(
        "HTTP/1.1 103 Early Hints\r\n{RO}: {value}\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    );
    let server = Server::raw(config, bytes.into_bytes()).await;
    let names = Names::new([("example.com", &server)]);
    let mut client = client(&fixture.pinning, built_in_anchors(&[&fixture.root]), &names);
    get(&mut client, URI).await.unwrap();
    fixture.recorder.assert_no_event_or_report(&fixture.pinning);
    // Final responses of any status are processed.
    for status in [200, 301, 404, 500] {
        let response = with_field(&failing(""))
            .status(status)
            .extension(known.clone());
        let request = Request::get(URI).body(()).unwrap();
        fixture
            .respond(request, response.body(Bytes::new()).unwrap())
            .await;
        fixture.recorder.would_be_violation(&fixture.pinning);
    }
}

#[tokio::test]
async fn a_chain_to_a_user_added_root_is_not_evaluated() {
    // 7469-2.6-j, 7469-5-e
    let fixture = Fixture::new();
    let user_added = || TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    fixture
        .receive_with(user_added().unwrap(), &[(RO, &failing(""))])
        .await;
    fixture.recorder.assert_no_event_or_report(&fixture.pinning);

    // Nor is a violation reported if pins are enforced for user-added roots.
    let builder = Pinning::builder().user_added_roots(UserAddedRoots::EnforcePins);
    let fixture = Fixture::of(builder);
    let anchors = TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    fixture
        .receive_with(anchors.unwrap(), &[(RO, &failing(""))])
        .await;
    fixture.recorder.would_be_violation(&fixture.pinning);
    assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
}

#[tokio::test]
async fn a_chain_to_a_root_of_unknown_origin_is_an_event_and_not_reported() {
    // 7469-5-e
    let fixture = Fixture::new();
    let unknown = TrustAnchors::new().with_unknown([fixture.root.certificate()]);
    fixture
        .receive_with(unknown.unwrap(), &[(RO, &failing(""))])
        .await;
    fixture.recorder.would_be_violation(&fixture.pinning);
    assert!(fixture.recorder.reports(&fixture.pinning).is_empty());
}

#[tokio::test]
async fn an_evaluation_causes_no_event() {
    // 7469-2.3.2-f, 7469-2.3.3-j
    let fixture = Fixture::new();
    let known = fixture.connection().await;
    let decision = fixture.evaluate("example.com", &failing(""), &known);
    let Ok(Decision::ReportOnly(violation)) = decision else {
        panic!("{decision:?}");
    };
    assert_eq!(violation.at(), at(NOW + 5));
    assert_eq!(violation.policy().expires_at, Some(at(NOW + 5)));
    let passing = directive(fixture.root.pin());
    let decision = fixture.evaluate("example.com", &passing, &known);
    assert!(matches!(decision, Ok(Decision::Pass)));
    let other = fixture.evaluate("www.example.com", &failing(""), &known);
    assert_eq!(other.unwrap_err(), IgnoreReason::OtherHost);
    let unknown = fixture.evaluate("example.com", "pin-sha512=\"AAAA\"", &known);
    assert_eq!(unknown.unwrap_err(), IgnoreReason::NoPins);
    let user_added = TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    let skipped = verified_connection(&fixture.leaf, "example.com", &user_added.unwrap()).await;
    let decision = fixture.evaluate("example.com", &failing(""), &skipped);
    assert!(matches!(decision, Ok(Decision::Skipped)));
    // Other pins of the host make no difference.
    let pinned = [("example.com", policy_with(unrelated_pin()))];
    fixture.pinning.replace_pins(pinned).unwrap();
    let decision = fixture.evaluate("example.com", &passing, &known);
    assert!(matches!(decision, Ok(Decision::Pass)));
    fixture.recorder.assert_no_event_or_report(&fixture.pinning);
    assert!(fixture.is_empty());
}

#[tokio::test]
async fn the_chain_of_a_refused_handshake_is_not_evaluated() {
    // 7469-2.3.2-f, D-21
    let policy = policy_with(unrelated_pin());
    let fixture = Fixture::of(Pinning::builder().static_pins("example.com", policy));
    let server = Server::start(&fixture.leaf, &[]).await;
    let names = Names::new([("example.com", &server)]);
    let mut client = client(&fixture.pinning, built_in_anchors(&[&fixture.root]), &names);
    let error = get(&mut client, URI).await.unwrap_err();
    let violation = PinViolation::find(&error).unwrap();
    let header = parse_report_only(failing("")).unwrap();
    let (host, chain) = (violation.host(), violation.chain());
    let decision = fixture.pinning.evaluate(host, &header, chain, now());
    assert_eq!(decision.unwrap_err(), IgnoreReason::HandshakeNotVerified);
}

#[test]
fn a_malformed_field_is_a_parse_error() {
    // D-08
    let value = failing("; max-age=");
    let error = parse_report_only(&value).unwrap_err();
    assert!(matches!(error, HeaderError::BadSyntax { .. }), "{error:?}");
}
