//! Connectors that make TLS connections for every URI and never fall back to plain HTTP.

use std::sync::{Arc, Mutex};

use http::Uri;
use pinhold::connector::{ConnectError, PlainHttp};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::{Decision, Event, PinViolation, Pinning};
use tower::ServiceExt;

use super::{builder, client_with, connect_error, connection, static_pins, unpinned};
use crate::common::pki::Ca;
use crate::common::recording::{failing_policy, with_recorder};
use crate::common::server::{Loopback, Names, Server, answer, get};
use crate::common::{Clock, header_value, policy_with};

#[tokio::test]
async fn always_https_enforces_pins_for_http_uris() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let names = Names::new([("example.com", &server)]);
    let pinning = static_pins(policy_with(leaf.pin()));
    let connector = builder(&pinning, &root).always_https();
    let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
    let mut client = client_with(&pinning, connector);
    for uri in ["http://example.com/", "https://example.com/"] {
        let response = get(&mut client, uri).await.unwrap();
        assert!(matches!(connection(&response).decision(), Decision::Pass));
    }
    assert_eq!(server.requests(), 2);

    let events = Pinning::builder()
        .static_pins("example.com", failing_policy())
        .time_provider(Clock::new());
    let (pinning, recorder) = with_recorder(events);
    let connector = builder(&pinning, &root).always_https();
    let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
    let mut client = client_with(&pinning, connector);
    for (uri, port) in [
        ("http://example.com/", 443),
        ("http://example.com:8080/", 8080),
    ] {
        let error = get(&mut client, uri).await.unwrap_err();
        assert!(PinViolation::find(&error).is_some(), "{error:?}");
        assert!(matches!(connect_error(&error), ConnectError::Pins(_)));
        match &recorder.events(&pinning)[..] {
            [Event::Violation(report)] => assert_eq!(report.port(), port),
            events => panic!("expected one violation: {events:?}"),
        }
    }
    assert_eq!(server.requests(), 2);
}

/// Neither pins nor certificates may be avoided by a server that speaks plain HTTP, or has no valid
/// certificate.
#[tokio::test]
async fn always_https_never_falls_back_to_plain_http() {
    let root = Ca::root("Root");
    let plain = Server::plain(answer(&[])).await;
    let unknown = Server::start(&Ca::root("Other").leaf(&["unknown.example"]), &[]).await;
    let names = Names::new([("plain.example", &plain), ("unknown.example", &unknown)]);
    let pinning = unpinned();
    // The choice for `http` URIs has no effect.
    let connector = builder(&pinning, &root)
        .always_https()
        .plain_http(PlainHttp::Allow);
    let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
    let mut client = client_with(&pinning, connector);
    for uri in ["http://plain.example/", "http://unknown.example/"] {
        let error = get(&mut client, uri).await.unwrap_err();
        let error = connect_error(&error);
        assert!(matches!(error, ConnectError::Tls(_)), "{error:?}");
    }
    assert_eq!((plain.requests(), unknown.requests()), (0, 0));
}

#[tokio::test]
async fn always_https_passes_https_uris_to_the_inner_connector() {
    let root = Ca::root("Root");
    let server = Server::start(&root.leaf(&["example.com", "127.0.0.1"]), &[]).await;
    let names = Names::new([("example.com", &server), ("127.0.0.1", &server)]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorded = seen.clone();
    let inner = Loopback::new(&names).map_request(move |uri: Uri| {
        recorded.lock().unwrap().push(uri.to_string());
        uri
    });
    let connector = builder(&unpinned(), &root).always_https();
    let connector = connector.wrap_connector(inner).unwrap();
    for (uri, expected) in [
        ("http://example.com", "https://example.com/"),
        ("http://example.com:80/a?b", "https://example.com:80/a?b"),
        ("http://127.0.0.1/", "https://127.0.0.1/"),
        ("https://example.com:8443/", "https://example.com:8443/"),
    ] {
        let stream = connector.clone().oneshot(Uri::from_static(uri)).await;
        assert!(stream.unwrap().verified().is_some(), "{uri}");
        assert_eq!(seen.lock().unwrap().pop().unwrap(), expected);
    }
    for uri in ["ftp://example.com/", "example.com:443", "/relative"] {
        let refused = connector.clone().oneshot(Uri::from_static(uri)).await;
        let is_scheme = matches!(refused, Err(ConnectError::Scheme { .. }));
        assert!(is_scheme, "{uri}");
    }
    // The TCP connector of hyper-util would connect to the name in the brackets.
    let bracketed = Uri::from_static("http://[example.com]/");
    let refused = connector.clone().oneshot(bracketed).await;
    assert!(matches!(refused, Err(ConnectError::Host(_))));
    assert!(seen.lock().unwrap().is_empty());
}

/// `Uri::port_u16` returns `None` for such a port, as if the URI had none: another server would be
/// connected to.
#[tokio::test]
async fn a_port_that_is_no_16_bit_number_is_refused() {
    let root = Ca::root("Root");
    let server = Server::start(&root.leaf(&["example.com"]), &[]).await;
    let names = Names::new([("example.com", &server)]);
    let connector = builder(&unpinned(), &root).https_or_http();
    let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
    for uri in [
        "https://example.com:65536/",
        "https://example.com:443443/",
        "http://example.com:99999/",
        "https://user@example.com:65979/",
        "https://6:65536/",
        "https://[::1]:65536/",
    ] {
        let refused = connector.clone().oneshot(Uri::from_static(uri)).await;
        let is_port = matches!(refused, Err(ConnectError::Port { .. }));
        assert!(is_port, "{uri}");
    }
    assert_eq!(server.connections(), 0);
    for uri in ["https://example.com:65535/", "https://example.com:/"] {
        let connected = connector.clone().oneshot(Uri::from_static(uri)).await;
        assert!(connected.is_ok(), "{uri}");
    }
}

/// The layer knows only the URI of the request, and processes a header only if that is `https`.
#[tokio::test]
async fn nothing_is_noted_from_an_http_uri_even_if_it_is_always_https() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let value = header_value(leaf.pin(), "max-age=100");
    let server = Server::start(&leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &server)]);
    let pinning = unpinned();
    let connector = builder(&pinning, &root).always_https();
    let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
    let mut client = client_with(&pinning, connector);
    let insecure = Noted::Ignored(IgnoreReason::InsecureTransport);
    for (uri, expected) in [
        ("http://example.com/", insecure.clone()),
        ("https://example.com/", Noted::Added),
        ("http://example.com/", insecure),
    ] {
        let response = get(&mut client, uri).await.unwrap();
        assert_eq!(response.extensions().get(), Some(&expected), "{uri}");
    }
}
