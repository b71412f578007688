//! Which responses, and which of their fields, are processed (RFC 7469 sections 2.2.2 and 2.3).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use crate::common::header::directive;
use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Names, Request, Server, answer, client, full, get, server_config};
use crate::common::validated::{built_in_anchors, verified_connection};
use crate::common::{Clock, NOW, at, header_value, policy_with, provider, unrelated_pin};
use bytes::Bytes;
use http_body_util::BodyExt;
use pinhold::header::{HeaderError, HeaderSyntax, IgnoreReason, Noted, RemovalReason};
use pinhold::policy::KnownPinnedHost;
use pinhold::{
    Decision, NotePinsLayer, PinViolation, Pinning, PinningBuilder, TrustAnchors,
    VerifiedConnection,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tower::ServiceExt;
use tower_layer::Layer;

const PKP: &str = "public-key-pins";
const RO: &str = "public-key-pins-report-only";
const URI: &str = "https://example.com/";

struct Fixture {
    leaf: Leaf,
    anchors: TrustAnchors,
    pinning: Pinning,
}

type Visit = Result<http::Response<Bytes>, hyper_util::client::legacy::Error>;

impl Fixture {
    fn new() -> Self {
        Self::of(Pinning::builder())
    }

    fn of(builder: PinningBuilder) -> Self {
        let root = Ca::root("Root");
        Self {
            leaf: root.leaf(&["example.com", "www.example.com", "127.0.0.1", "::1"]),
            anchors: built_in_anchors(&[&root]),
            pinning: builder.time_provider(Clock::new()).build().unwrap(),
        }
    }

    fn value(&self, rest: &str) -> String {
        header_value(self.leaf.pin(), rest)
    }

    /// Makes one request over a new connection.
    async fn visit(&self, uri: &str, server: &Server) -> Visit {
        let hosts = ["example.com", "www.example.com", "127.0.0.1", "[::1]"];
        let names = Names::new(hosts.map(|host| (host, server)));
        let mut client = client(&self.pinning, self.anchors.clone(), &names);
        get(&mut client, uri).await
    }

    /// Visits a server whose responses have these fields, and returns what became of them.
    async fn receive(&self, fields: &[(&'static str, &str)]) -> Option<Noted> {
        let server = Server::start(&self.leaf, fields).await;
        let response = self.visit(URI, &server).await.unwrap();
        assert_eq!(response.body(), "ok");
        response.extensions().get().cloned()
    }

    fn entries(&self) -> Vec<Arc<KnownPinnedHost>> {
        self.pinning.store().list()
    }
}

fn ignored(reason: IgnoreReason) -> Option<Noted> {
    Some(Noted::Ignored(reason))
}

#[tokio::test]
async fn field_names_are_case_insensitive() {
    // 7469-2.1-a
    for name in ["Public-Key-Pins", "public-key-pins", "PUBLIC-KEY-PINS"] {
        let fixture = Fixture::new();
        let mut config = server_config(&fixture.leaf, provider(), rustls::ALL_VERSIONS);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let value = fixture.value("max-age=100");
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{name}: {value}\r\n\r\nok");
        let server = Server::raw(config, bytes.into_bytes()).await;
        let response = fixture.visit(URI, &server).await.unwrap();
        assert_eq!(response.extensions().get(), Some(&Noted::Added), "{name}");
    }
    for name in ["public-key-pin", "x-public-key-pins", RO] {
        let fixture = Fixture::new();
        assert_eq!(
            fixture
                .receive(&[(name, &fixture.value("max-age=100"))])
                .await,
            None
        );
        assert!(fixture.entries().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn the_first_visit_is_trusted_with_or_without_strict_transport_security() {
    // 7469-1-a, 7469-1-b, 7469-2.3.1-a
    for more in [None, Some(("strict-transport-security", "max-age=0"))] {
        let fixture = Fixture::new();
        let value = fixture.value("max-age=100");
        let fields = [(PKP, &*value)].into_iter().chain(more);
        let server = Server::start(&fixture.leaf, &fields.collect::<Vec<_>>()).await;
        let response = fixture.visit(URI, &server).await.unwrap();
        let connection = response.extensions().get::<VerifiedConnection>().unwrap();
        assert!(matches!(connection.decision(), Decision::NotPinned));
        assert_eq!(response.extensions().get(), Some(&Noted::Added));
        let expires_at = fixture.entries()[0].expires_at;
        assert_eq!(
            expires_at,
            at(NOW + 100),
            "counted from the time of the response"
        );
    }
}

#[tokio::test]
async fn nothing_is_noted_without_tls() {
    // 7469-2.2.2-a, 7469-2.3.1-f, 7469-2.3.1-g
    let fixture = Fixture::new();
    let value = fixture.value("max-age=100; report-uri=\"https://r.example/\"");
    let server = Server::plain(answer(&[(PKP, &value), (RO, &value)])).await;
    for uri in ["http://example.com/", "http://example.com:443/"] {
        let response = fixture.visit(uri, &server).await.unwrap();
        let outcome = response.extensions().get::<Noted>().cloned();
        assert_eq!(outcome, ignored(IgnoreReason::InsecureTransport));
        assert!(fixture.entries().is_empty());
    }
    // Nor is anything removed.
    let fixture = Fixture::new();
    fixture
        .receive(&[(PKP, &fixture.value("max-age=100"))])
        .await;
    let server = Server::plain(answer(&[(PKP, "max-age=0")])).await;
    let refused = fixture.visit("http://example.com/", &server).await;
    assert!(refused.is_err() && fixture.entries().len() == 1);
}

#[tokio::test]
async fn only_the_first_of_several_fields_is_processed() {
    // 7469-2.3.1-e, 7469-2.2.1-a
    let fixture = Fixture::new();
    let (good, other) = (fixture.value("max-age=100"), fixture.value("max-age=50"));
    let fields = [(PKP, &*good), (PKP, &other), (PKP, "max-age=0")];
    assert_eq!(fixture.receive(&fields).await, Some(Noted::Added));
    assert_eq!(fixture.entries()[0].expires_at, at(NOW + 100));
    assert_eq!(
        fixture.entries()[0].pins.len(),
        2,
        "pins of several fields are not combined"
    );

    for malformed in ["max-age=", "", "max-age=1; max-age=1"] {
        let fields = [(PKP, malformed), (PKP, "max-age=0")];
        let noted = fixture.receive(&fields).await;
        assert!(matches!(
            noted,
            Some(Noted::Ignored(IgnoreReason::Header(_)))
        ));
        assert_eq!(fixture.entries().len(), 1, "the second field is ignored");
    }
    // A proxy joined two fields to one.
    let joined = format!("{good}, {good}");
    let noted = fixture.receive(&[(PKP, &joined)]).await;
    let bad_syntax = HeaderError::BadSyntax { offset: good.len() };
    assert_eq!(noted, ignored(IgnoreReason::Header(bad_syntax)));
}

#[tokio::test]
async fn a_malformed_field_is_ignored_with_its_reason_and_changes_nothing() {
    // 7469-2.1-e, 7469-2.1-f, 7469-2.3.1-h, D-22
    let fixture = Fixture::new();
    fixture
        .receive(&[(PKP, &fixture.value("max-age=100"))])
        .await;
    let before = fixture.entries();
    for value in [
        &*fixture.value("max-age=50;"),
        &fixture.value("max-age=50; max-age=50"),
        &fixture.value("max-age=-1"),
        &fixture.value("includeSubDomains"),
        &fixture.value("max-age=50; pin-sha256=\"AAAA\""),
        &fixture.value("max-age=50; report-uri=\"/r\""),
        "max-age=0;",
        "junk",
        "",
    ] {
        let noted = fixture.receive(&[(PKP, value)]).await;
        let is_ignored = matches!(noted, Some(Noted::Ignored(IgnoreReason::Header(_))));
        assert!(is_ignored, "{value}: {noted:?}");
        assert_eq!(fixture.entries(), before, "{value}");
    }
    // The syntax of browsers is optional.
    let fixture = Fixture::of(Pinning::builder().header_syntax(HeaderSyntax::Browsers));
    let trailing = fixture.value("max-age = 50;");
    assert_eq!(
        fixture.receive(&[(PKP, &trailing)]).await,
        Some(Noted::Added)
    );
}

#[tokio::test]
async fn the_two_fields_do_not_interact() {
    // 7469-2.3.2-a, 7469-2.3.2-c, 7469-2.3.2-g, 7469-2.3.3-j, 7469-2.5-g
    let report = "report-uri=\"https://r.example/\"";
    let failing = format!(
        "{}; {}; {report}",
        directive(unrelated_pin()),
        directive(unrelated_pin())
    );
    let report_only_fields = [
        "",
        "junk;",
        "max-age=0",
        &format!("max-age=0; {report}"),
        &failing,
        &format!("{failing}; max-age=0; includeSubDomains"),
    ];
    for report_only in report_only_fields {
        // Alone, it has no effect on the connection, the response or the store.
        let fixture = Fixture::new();
        assert_eq!(
            fixture.receive(&[(RO, report_only)]).await,
            None,
            "{report_only}"
        );
        assert!(fixture.entries().is_empty(), "{report_only}");

        // Together with an enforced field, in either order, that one is processed as usual.
        let value = fixture.value("max-age=100");
        let both = [(RO, report_only), (PKP, &*value)];
        assert_eq!(
            fixture.receive(&both).await,
            Some(Noted::Added),
            "{report_only}"
        );
        let both = [(PKP, &*value), (RO, report_only)];
        assert_eq!(fixture.receive(&both).await, Some(Noted::Refreshed));
        let entry = &fixture.entries()[0];
        assert!(entry.pins.contains(&fixture.leaf.pin()) && entry.report_uri.is_none());
        let malformed = [(PKP, "junk;"), (RO, report_only)];
        let noted = fixture.receive(&malformed).await;
        assert!(matches!(
            noted,
            Some(Noted::Ignored(IgnoreReason::Header(_)))
        ));
    }
}

#[tokio::test]
async fn ip_addresses_are_never_noted() {
    // 7469-2.3.3-d
    let fixture = Fixture::new();
    let server = Server::start(&fixture.leaf, &[(PKP, &fixture.value("max-age=100"))]).await;
    for uri in ["https://127.0.0.1/", "https://[::1]/"] {
        let response = fixture.visit(uri, &server).await.unwrap();
        let outcome = response.extensions().get::<Noted>().cloned();
        assert_eq!(outcome, ignored(IgnoreReason::NoHost), "{uri}");
        let connection = response.extensions().get::<VerifiedConnection>().unwrap();
        assert!(connection.host().is_none());
        assert!(matches!(connection.decision(), Decision::NotPinned));
    }
    assert!(fixture.entries().is_empty());
}

#[tokio::test]
async fn final_responses_of_any_status_are_processed() {
    // D-15
    let fixture = Fixture::new();
    for (status, expected) in [
        (200, Noted::Added),
        (301, Noted::Refreshed),
        (304, Noted::Refreshed),
        (404, Noted::Refreshed),
        (500, Noted::Refreshed),
    ] {
        let value = fixture.value("max-age=100");
        let config = server_config(&fixture.leaf, provider(), rustls::ALL_VERSIONS);
        let server = Server::with_config(config, move |_: &Request| {
            let response = http::Response::builder().status(status).header(PKP, &value);
            response.body(full("")).unwrap()
        })
        .await;
        let response = fixture.visit(URI, &server).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.extensions().get(), Some(&expected), "{status}");
    }
}

#[tokio::test]
async fn bodies_trailers_and_interim_responses_are_ignored() {
    // 7469-2.3.4-a, D-15
    let fixture = Fixture::new();
    let value = fixture.value("max-age=100");
    let config = || server_config(&fixture.leaf, provider(), rustls::ALL_VERSIONS);
    let meta = "<meta http-equiv=\"Public-Key-Pins\" content='max-age=100; pin-sha256=\"...\"'>";
    let body = Server::with_config(config(), move |_: &Request| {
        let response = http::Response::builder().header("content-type", "text/html");
        response.body(full(meta)).unwrap()
    });
    let trailer_value = value.clone();
    let trailer = Server::with_config(config(), move |_: &Request| {
        let mut trailers = http::HeaderMap::new();
        trailers.insert(PKP, trailer_value.parse().unwrap());
        let trailers = async move { Some(Ok::<_, io::Error>(trailers)) };
        http::Response::new(full("ok").with_trailers(Box::pin(trailers)).boxed())
    });
    let mut http1 = config();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let interim = format!(
        "HTTP/1.1 103 Early Hints\r\nPublic-Key-Pins: {value}\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    );
    let interim = Server::raw(http1, interim.into_bytes());
    for server in [body.await, trailer.await, interim.await] {
        let response = fixture.visit(URI, &server).await.unwrap();
        assert!(response.extensions().get::<Noted>().is_none());
        assert!(fixture.entries().is_empty());
    }
}

#[tokio::test]
async fn a_header_applies_only_to_the_requested_and_verified_host() {
    // D-14
    let fixture = Fixture::new();
    let connection = verified_connection(&fixture.leaf, "example.com", &fixture.anchors).await;
    let value = fixture.value("max-age=100");
    let response_over = move |connection: Option<VerifiedConnection>| {
        let response = http::Response::builder().header(PKP, &value);
        let mut response = response.body(()).unwrap();
        connection.map(|connection| response.extensions_mut().insert(connection));
        response
    };
    let client_of = |connection: Option<VerifiedConnection>| {
        let response = response_over(connection);
        let inner = tower::service_fn(move |_: http::Request<()>| {
            let response = response.clone();
            async move { Ok::<_, Infallible>(response) }
        });
        NotePinsLayer::new(fixture.pinning.clone()).layer(inner)
    };
    let ignored = Noted::Ignored;
    let known = Some(connection);
    for (connection, method, uri, expected) in [
        (&None, "GET", URI, ignored(IgnoreReason::NoConnectionData)),
        (
            &known,
            "GET",
            "https://www.example.com/",
            ignored(IgnoreReason::OtherHost),
        ),
        (
            &known,
            "CONNECT",
            "example.com:443",
            ignored(IgnoreReason::ConnectResponse),
        ),
        (
            &known,
            "GET",
            "/relative",
            ignored(IgnoreReason::InsecureTransport),
        ),
        (&known, "HEAD", "https://EXAMPLE.com.:8443/", Noted::Added),
    ] {
        assert!(fixture.entries().is_empty());
        let request = http::Request::builder().method(method).uri(uri);
        let client = client_of(connection.clone());
        let response = client.oneshot(request.body(()).unwrap()).await.unwrap();
        assert_eq!(response.extensions().get(), Some(&expected), "{uri}");
    }
    assert_eq!(fixture.entries()[0].host.as_str(), "example.com");
}

#[tokio::test]
async fn port_and_trailing_dot_do_not_change_the_host() {
    // D-16, D-17
    let fixture = Fixture::new();
    let value = fixture.value("max-age=100");
    let server = Server::start(&fixture.leaf, &[(PKP, &value)]).await;
    for (uri, expected) in [
        ("https://example.com:8443/", Noted::Added),
        ("https://example.com/", Noted::Refreshed),
        ("https://EXAMPLE.COM.:1/", Noted::Refreshed),
        ("https://example.com./", Noted::Refreshed),
    ] {
        let response = fixture.visit(uri, &server).await.unwrap();
        assert_eq!(response.extensions().get(), Some(&expected), "{uri}");
    }
    assert_eq!(fixture.entries().len(), 1);
    let pinning = Pinning::builder().static_pins("example.com", policy_with(unrelated_pin()));
    let fixture = Fixture {
        pinning: pinning.build().unwrap(),
        ..fixture
    };
    for uri in [
        "https://example.com:8443/",
        "https://Example.com.:1/",
        "https://example.com./",
    ] {
        let error = fixture.visit(uri, &server).await.unwrap_err();
        assert!(PinViolation::find(&error).is_some(), "{uri}");
    }
}

#[tokio::test]
async fn the_response_shows_that_its_host_is_no_longer_pinned() {
    // 7469-2.1.1-f, 7469-2.3.1-d
    for (value, reason) in [
        ("max-age=0", RemovalReason::MaxAgeZero),
        (
            "max-age=9; pin-sha512=\"eA==\"",
            RemovalReason::NoRecognisedPins,
        ),
    ] {
        let fixture = Fixture::new();
        fixture
            .receive(&[(PKP, &fixture.value("max-age=100"))])
            .await;
        assert_eq!(fixture.entries().len(), 1);
        let noted = fixture.receive(&[(PKP, value)]).await;
        assert_eq!(noted, Some(Noted::Removed(reason)), "{value}");
        assert!(fixture.entries().is_empty());
    }
}

/// Presents a certificate whose private key it does not have.
#[derive(Debug)]
struct Replay(Arc<CertifiedKey>);

impl ResolvesServerCert for Replay {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn nothing_is_noted_before_the_server_has_proved_possession_of_its_key() {
    // D-21
    let fixture = Fixture::new();
    let own_key = Ca::root("Other").leaf(&["attacker.example"]).key();
    let key = provider().key_provider.load_private_key(own_key).unwrap();
    let mut config = server_config(&fixture.leaf, provider(), rustls::ALL_VERSIONS);
    let replayed = CertifiedKey::new(fixture.leaf.chain.clone(), key);
    config.cert_resolver = Arc::new(Replay(Arc::new(replayed)));
    let server = Server::with_config(config, answer(&[(PKP, &fixture.value("max-age=9"))])).await;
    assert!(fixture.visit(URI, &server).await.is_err());
    assert!(fixture.entries().is_empty());
    assert_eq!(server.requests(), 0);

    // With the key, but without a response: the handshake alone notes nothing either.
    let config = server_config(&fixture.leaf, provider(), rustls::ALL_VERSIONS);
    let server = Server::raw(config, Vec::new()).await;
    assert!(fixture.visit(URI, &server).await.is_err());
    assert!(fixture.entries().is_empty());
}
