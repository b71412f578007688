//! `Public-Key-Pins-Report-Only`: what it leads to, and all that it leaves alone (RFC 7469
//! sections 2.3.2 and 2.5).
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::convert::Infallible;

use bytes::Bytes;
use common::header::{directive, parse_report_only, pin};
use common::pki::{Ca, Leaf};
use common::recording::{Told, told_by};
use common::server::{Names, Server, answer, client, get, server_config};
use common::validated::{trusting, verified_connection};
use common::{Clock, NOW, at, foreign_pin, header_value, now, pinned_to, provider};
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

struct Scene {
    root: Ca,
    leaf: Leaf,
    pinning: Pinning,
    told: Told,
}

impl Scene {
    fn new() -> Self {
        Self::of(Pinning::builder())
    }

    fn of(builder: PinningBuilder) -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let (pinning, told) = told_by(builder.time_provider(Clock::new()));
        Self {
            root,
            leaf,
            pinning,
            told,
        }
    }

    /// What `https://example.com:8443/` leads to when it answers with these fields.
    async fn receive_by(&self, anchors: TrustAnchors, fields: &[(&'static str, &str)]) {
        let server = Server::start(&self.leaf, fields).await;
        let names = Names::new([("example.com", &server)]);
        let mut client = client(&self.pinning, anchors, &names);
        let uri = "https://example.com:8443/";
        let response = get(&mut client, uri).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.body(), "ok");
        let sent = fields.iter().map(|(_, value)| value.as_bytes());
        let got = fields.iter().map(|(name, _)| *name);
        let got = got.collect::<std::collections::BTreeSet<_>>();
        let got = got
            .into_iter()
            .flat_map(|name| response.headers().get_all(name));
        assert_eq!(got.count(), sent.count(), "the fields are still there");
    }

    async fn receive(&self, fields: &[(&'static str, &str)]) {
        self.receive_by(trusting(&[&self.root]), fields).await;
    }

    async fn connection(&self) -> VerifiedConnection {
        verified_connection(&self.leaf, "example.com", &trusting(&[&self.root])).await
    }

    /// A response to a request, past the layer.
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

/// Pins that no chain satisfies.
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
async fn what_would_have_failed_is_told_and_reported_and_nothing_else_happens() {
    // 7469-2.3.2-b, 7469-2.3.2-c, 7469-2.3.2-f, 7469-2.3.3-j, 7469-2.5-f, 7469-2.5-h
    let scene = Scene::new();
    scene
        .receive(&[(RO, &failing("; includeSubDomains"))])
        .await;
    let report = scene.told.reports(&scene.pinning).remove(0);
    assert_eq!(report.port(), 8443);
    let violation = scene.told.would_be(&scene.pinning);
    let policy = violation.policy();
    assert_eq!(violation.host().as_str(), "example.com");
    assert_eq!(policy.noted_hostname.as_str(), "example.com");
    assert_eq!(
        policy.report_uri.as_ref().unwrap().as_str(),
        "https://r.example/ro"
    );
    assert!(policy.includes_subdomains);
    assert_eq!(policy.state, PolicyState::ReportOnly);
    assert_eq!(policy.source, PinSource::Noted);
    assert_eq!((policy.expires_at, violation.at()), (Some(now()), now()));
    assert!(scene.is_empty());

    // Of this connection only: nothing is remembered, and the next one without it tells nothing.
    scene.receive(&[]).await;
    scene.told.nothing(&scene.pinning);
    // Each response is judged; whoever sends reports knows those that were sent.
    scene.receive(&[(RO, &failing(""))]).await;
    scene.told.would_be(&scene.pinning);
}

#[tokio::test]
async fn a_field_without_a_report_uri_is_told_all_the_same() {
    // 7469-2.3.2-d
    let scene = Scene::new();
    scene.receive(&[(RO, &directive(pin(1)))]).await;
    let violation = scene.told.would_be(&scene.pinning);
    assert!(violation.policy().report_uri.is_none());
}

#[tokio::test]
async fn pins_that_pass_tell_nothing() {
    // 7469-2.3.2-f
    let scene = Scene::new();
    for pin in [scene.leaf.pin(), scene.root.pin()] {
        scene.receive(&[(RO, &directive(pin))]).await;
        let value = header_value(pin, "report-uri=\"https://r.example/\"");
        scene.receive(&[(RO, &value)]).await;
        scene.told.nothing(&scene.pinning);
        assert!(scene.is_empty());
    }
}

#[tokio::test]
async fn max_age_counts_for_nothing_but_must_follow_the_grammar() {
    // 7469-2.1.2-c, D-08
    let scene = Scene::new();
    for max_age in [
        "",
        "; max-age=0",
        "; max-age=100",
        "; max-age",
        "; max-age=abc",
        "; max-age=\"x y\"",
    ] {
        scene.receive(&[(RO, &failing(max_age))]).await;
        let violation = scene.told.would_be(&scene.pinning);
        assert_eq!(violation.policy().expires_at, Some(now()), "{max_age}");
        assert!(scene.is_empty());
    }
    scene.told.reports(&scene.pinning);
    for max_age in ["; max-age=", "; max-age=1; max-age=1"] {
        scene.receive(&[(RO, &failing(max_age))]).await;
        let reason = scene.told.ignored(&scene.pinning);
        assert!(
            matches!(reason, IgnoreReason::Header(_)),
            "{max_age}: {reason:?}"
        );
    }
    scene.told.nothing(&scene.pinning);
}

#[tokio::test]
async fn the_two_fields_are_heard_apart() {
    // 7469-2.3.2-a, 7469-2.3.2-g, 7469-2.5-g
    let scene = Scene::new();
    let good = header_value(scene.leaf.pin(), "max-age=100");
    // Both: one is noted, the other one told.
    scene.receive(&[(PKP, &good), (RO, &failing(""))]).await;
    let events = scene.told.events(&scene.pinning);
    let [noted, would_be] = &events[..] else {
        panic!("{events:?}");
    };
    assert!(matches!(noted, pinhold::Event::Noted { .. }));
    assert!(matches!(would_be, pinhold::Event::WouldBeViolation(_)));
    let entries = scene.pinning.store().list();
    assert!(entries[0].pins.contains(&scene.leaf.pin()) && entries[0].report_uri.is_none());

    // The report-only one malformed: said, and the other one is refreshed.
    scene.receive(&[(RO, "junk;"), (PKP, &good)]).await;
    assert!(matches!(
        scene.told.ignored(&scene.pinning),
        IgnoreReason::Header(_)
    ));
    // The other one malformed: both are said, the entry stays.
    scene.receive(&[(PKP, "junk;"), (RO, &failing(""))]).await;
    let events = scene.told.events(&scene.pinning);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(scene.pinning.store().list(), entries);
    assert_eq!(scene.told.reports(&scene.pinning).len(), 2);
}

#[tokio::test]
async fn of_several_fields_the_first_one_counts() {
    // 7469-2.3.1-g, 7469-2.3.2-f
    let scene = Scene::new();
    let passing = directive(scene.leaf.pin());
    scene.receive(&[(RO, &passing), (RO, &failing(""))]).await;
    scene.told.nothing(&scene.pinning);
    scene.receive(&[(RO, "junk;"), (RO, &failing(""))]).await;
    let reason = scene.told.ignored(&scene.pinning);
    assert!(matches!(reason, IgnoreReason::Header(_)), "{reason:?}");
    scene.receive(&[(RO, &failing("")), (RO, &passing)]).await;
    scene.told.would_be(&scene.pinning);
}

#[tokio::test]
async fn a_field_that_did_not_come_over_tls_leads_to_nothing() {
    // 7469-2.3.1-g, 7469-2.2.2-a
    let scene = Scene::new();
    let server = Server::plain(answer(&[(RO, &failing(""))])).await;
    let names = Names::new([("example.com", &server)]);
    let mut client = client(&scene.pinning, trusting(&[&scene.root]), &names);
    for uri in ["http://example.com/", "http://example.com:443/"] {
        let response = get(&mut client, uri).await.unwrap();
        assert!(response.extensions().get::<Noted>().is_none());
        let reason = scene.told.ignored(&scene.pinning);
        assert_eq!(reason, IgnoreReason::InsecureTransport, "{uri}");
    }
    // Not even where a connection is known: that of a proxy.
    let response = with_field(&failing("")).extension(scene.connection().await);
    let request = Request::get("http://example.com/").body(()).unwrap();
    scene
        .respond(request, response.body(Bytes::new()).unwrap())
        .await;
    let reason = scene.told.ignored(&scene.pinning);
    assert_eq!(reason, IgnoreReason::InsecureTransport);
    assert!(scene.told.reports(&scene.pinning).is_empty());
}

#[tokio::test]
async fn a_field_speaks_for_the_verified_host_that_was_asked() {
    // 7469-2.3.2-f, D-14
    let scene = Scene::new();
    let known = scene.connection().await;
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
        scene.respond(request.body(()).unwrap(), response).await;
        assert_eq!(scene.told.ignored(&scene.pinning), expected);
    }
    assert!(scene.told.reports(&scene.pinning).is_empty());
}

#[tokio::test]
async fn interim_responses_are_not_looked_at() {
    // D-15
    let scene = Scene::new();
    let known = scene.connection().await;
    for status in [100, 101, 103] {
        let response = with_field(&failing(""))
            .status(status)
            .extension(known.clone());
        let request = Request::get(URI).body(()).unwrap();
        scene
            .respond(request, response.body(Bytes::new()).unwrap())
            .await;
        scene.told.nothing(&scene.pinning);
    }
    // One that a server sent before its answer.
    let mut config = server_config(&scene.leaf, provider(), rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let value = failing("");
    let bytes = format!(
        "HTTP/1.1 103 Early Hints\r\n{RO}: {value}\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    );
    let server = Server::raw(config, bytes.into_bytes()).await;
    let names = Names::new([("example.com", &server)]);
    let mut client = client(&scene.pinning, trusting(&[&scene.root]), &names);
    get(&mut client, URI).await.unwrap();
    scene.told.nothing(&scene.pinning);
    // Any other status is.
    for status in [200, 301, 404, 500] {
        let response = with_field(&failing(""))
            .status(status)
            .extension(known.clone());
        let request = Request::get(URI).body(()).unwrap();
        scene
            .respond(request, response.body(Bytes::new()).unwrap())
            .await;
        scene.told.would_be(&scene.pinning);
    }
}

#[tokio::test]
async fn a_chain_to_a_user_added_root_is_not_judged() {
    // 7469-2.6-j, 7469-5-e
    let scene = Scene::new();
    let user_added = || TrustAnchors::new().with_user_added([scene.root.certificate()]);
    scene
        .receive_by(user_added().unwrap(), &[(RO, &failing(""))])
        .await;
    scene.told.nothing(&scene.pinning);

    // Nor reported where pins are enforced there.
    let builder = Pinning::builder().user_added_roots(UserAddedRoots::EnforcePins);
    let scene = Scene::of(builder);
    let anchors = TrustAnchors::new().with_user_added([scene.root.certificate()]);
    scene
        .receive_by(anchors.unwrap(), &[(RO, &failing(""))])
        .await;
    scene.told.would_be(&scene.pinning);
    assert!(scene.told.reports(&scene.pinning).is_empty());
}

#[tokio::test]
async fn a_chain_to_an_unknown_root_is_told_and_not_reported() {
    // 7469-5-e
    let scene = Scene::new();
    let unknown = TrustAnchors::new().with_unknown([scene.root.certificate()]);
    scene
        .receive_by(unknown.unwrap(), &[(RO, &failing(""))])
        .await;
    scene.told.would_be(&scene.pinning);
    assert!(scene.told.reports(&scene.pinning).is_empty());
}

#[tokio::test]
async fn an_evaluation_answers_and_tells_nobody() {
    // 7469-2.3.2-f, 7469-2.3.3-j
    let scene = Scene::new();
    let known = scene.connection().await;
    let decision = scene.evaluate("example.com", &failing(""), &known);
    let Ok(Decision::ReportOnly(violation)) = decision else {
        panic!("{decision:?}");
    };
    assert_eq!(violation.at(), at(NOW + 5));
    assert_eq!(violation.policy().expires_at, Some(at(NOW + 5)));
    let passing = directive(scene.root.pin());
    let decision = scene.evaluate("example.com", &passing, &known);
    assert!(matches!(decision, Ok(Decision::Pass)));
    let other = scene.evaluate("www.example.com", &failing(""), &known);
    assert_eq!(other.unwrap_err(), IgnoreReason::OtherHost);
    let unknown = scene.evaluate("example.com", "pin-sha512=\"AAAA\"", &known);
    assert_eq!(unknown.unwrap_err(), IgnoreReason::NoPins);
    let user_added = TrustAnchors::new().with_user_added([scene.root.certificate()]);
    let skipped = verified_connection(&scene.leaf, "example.com", &user_added.unwrap()).await;
    let decision = scene.evaluate("example.com", &failing(""), &skipped);
    assert!(matches!(decision, Ok(Decision::Skipped)));
    // Whatever is pinned otherwise.
    let pinned = [("example.com", pinned_to(foreign_pin()))];
    scene.pinning.replace_pins(pinned).unwrap();
    let decision = scene.evaluate("example.com", &passing, &known);
    assert!(matches!(decision, Ok(Decision::Pass)));
    scene.told.nothing(&scene.pinning);
    assert!(scene.is_empty());
}

#[tokio::test]
async fn the_chain_of_a_refused_handshake_speaks_for_nobody() {
    // 7469-2.3.2-f, D-21
    let policy = pinned_to(foreign_pin());
    let scene = Scene::of(Pinning::builder().static_pins("example.com", policy));
    let server = Server::start(&scene.leaf, &[]).await;
    let names = Names::new([("example.com", &server)]);
    let mut client = client(&scene.pinning, trusting(&[&scene.root]), &names);
    let error = get(&mut client, URI).await.unwrap_err();
    let violation = PinViolation::find(&error).unwrap();
    let header = parse_report_only(failing("")).unwrap();
    let (host, chain) = (violation.host(), violation.chain());
    let judged = scene.pinning.evaluate(host, &header, chain, now());
    assert_eq!(judged.unwrap_err(), IgnoreReason::HandshakeNotVerified);
}

#[test]
fn a_malformed_field_is_no_header() {
    // D-08
    let value = failing("; max-age=");
    let error = parse_report_only(&value).unwrap_err();
    assert!(matches!(error, HeaderError::BadSyntax { .. }), "{error:?}");
}
