//! Hosts that no enforced static policy covers, where the application refuses or reports them.

mod open;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioExecutor;
use pinhold::connector::{ConnectError, PinningConnectorBuilder, PlainHttp};
use pinhold::header::{HeaderSyntax, Noted, PinHeader};
use pinhold::policy::{AfterExpiry, PolicyState, UnpinnedHosts};
use pinhold::{
    Enforcement, Event, Host, PinPolicy, PinViolation, Pinning, PinningConnector, PinningVerifier,
    UnpinnedHost,
};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;

use crate::common::pki::Ca;
use crate::common::recording::{Recorder, with_recorder};
use crate::common::rules::{counting, remove_pins, strict};
use crate::common::server::{Names, Request, Server, full, server_config};
use crate::common::tls::handshake;
use crate::common::tls_setup::tls_setups;
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{NOW, at, header_value, now, policy_with, provider, unrelated_pin};

fn connector(pinning: &Pinning, root: &Ca) -> PinningConnectorBuilder {
    PinningConnector::builder(pinning.clone())
        .with_provider(provider())
        .with_anchors(built_in_anchors(&[root]))
}

fn names(server: &Server, names: &[&str]) -> Names {
    Names::new(names.iter().map(|name| (*name, server)))
}

/// Asserts that there was one event, about a refused host of this name.
#[track_caller]
fn assert_one_refusal(recorder: &Recorder, pinning: &Pinning, name: &str) {
    match &recorder.events(pinning)[..] {
        [Event::Unpinned(unpinned)] => {
            assert!(unpinned.is_refused());
            assert_eq!(unpinned.server_name().to_str(), name);
        }
        events => panic!("expected one refusal of {name}: {events:?}"),
    }
}

#[tokio::test]
async fn an_unpinned_host_is_refused_before_the_inner_connector_is_called() {
    let root = Ca::root("Root");
    let refused = [
        ("https://unpinned.test/", "unpinned.test"),
        ("http://unpinned.test/", "unpinned.test"),
        ("https://EXEMPT.example.com./", "EXEMPT.example.com"),
        ("http://a.exempt.example.com/", "a.exempt.example.com"),
        ("https://sub.cdn.test/", "sub.cdn.test"),
        ("https://127.0.0.1/", "127.0.0.1"),
        ("https://[::1]/", "::1"),
        ("http://127.0.0.1/", "127.0.0.1"),
        ("http://[::1]/", "::1"),
    ];
    let policy = policy_with(unrelated_pin()).include_subdomains();
    let policy = policy.exempt("exempt.example.com").unwrap();
    let builder = strict()
        .static_pins("example.com", policy)
        .allow_unpinned(["cdn.test", "192.0.2.1"]);
    let (pinning, recorder) = with_recorder(builder);
    let (inner, calls) = counting(&Names::default());
    let connector = connector(&pinning, &root).plain_http(PlainHttp::Allow);
    let connector = connector.wrap_connector(inner).unwrap();
    for (uri, name) in refused {
        let visit = connector.clone().oneshot(http::Uri::from_static(uri)).await;
        let Err(ConnectError::Unpinned(unpinned)) = visit else {
            panic!("{uri}: {visit:?}");
        };
        assert!(unpinned.policy().is_none());
        assert_one_refusal(&recorder, &pinning, name);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    // Resolvers read these as an IP address.
    for uri in ["http://2130706433/", "http://0x7f000001/", "http://127.1/"] {
        let visit = connector.clone().oneshot(http::Uri::from_static(uri)).await;
        assert!(matches!(visit, Err(ConnectError::Host(_))), "{visit:?}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    // Those that may be connected to have no address in this test.
    for uri in [
        "https://cdn.test/",
        "https://CDN.test./",
        "http://cdn.test/",
        "https://192.0.2.1/",
        "https://www.example.com/",
    ] {
        let visit = connector.clone().oneshot(http::Uri::from_static(uri)).await;
        assert!(matches!(visit, Err(ConnectError::Transport(_))), "{uri}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_connector_that_always_uses_tls_refuses_unpinned_hosts_of_any_scheme() {
    let root = Ca::root("Root");
    let (inner, calls) = counting(&Names::default());
    let pinning = strict().build().unwrap();
    let connector = connector(&pinning, &root).always_https();
    let connector = connector.wrap_connector(inner).unwrap();
    for uri in ["http://unpinned.test/", "https://unpinned.test/"] {
        let visit = connector.clone().oneshot(http::Uri::from_static(uri)).await;
        assert!(matches!(visit, Err(ConnectError::Unpinned(_))), "{uri}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn names_and_addresses_that_may_be_unpinned_are_connected_to() {
    for setup in tls_setups() {
        let hosts = ["cdn.test", "127.0.0.1", "::1"];
        let root = Ca::root("Root");
        let server = setup.serve(&root.leaf(&hosts), &[]).await;
        let names = names(&server, &["cdn.test", "127.0.0.1", "[::1]"]);
        let allowed = ["CDN.test.", "127.0.0.1", "[0:0:0:0:0:0:0:1]"];
        let (pinning, recorder) = with_recorder(strict().allow_unpinned(allowed));
        let (inner, _) = counting(&names);
        let connector = connector(&pinning, &root).wrap_connector(inner).unwrap();
        for uri in ["https://cdn.test/", "https://127.0.0.1/", "https://[::1]/"] {
            let visit = connector.clone().oneshot(http::Uri::from_static(uri)).await;
            assert!(visit.is_ok(), "{uri}: {visit:?}");
        }
        recorder.assert_no_event_or_report(&pinning);
    }
}

#[tokio::test]
async fn only_an_enforcing_static_policy_makes_a_host_pinned() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let names = names(&server, &["example.com"]);
    let anchors = built_in_anchors(&[&root]);
    let chain = verified_chain(&leaf, "example.com", &anchors).await;
    let policy = || policy_with(leaf.pin());
    let expired = |then| policy().expires(at(NOW - 1), then);
    let candidate = || policy().candidate([unrelated_pin()]).unwrap();
    let report_only = |policy: PinPolicy| Some(policy.enforcement(Enforcement::ReportOnly));
    let is_report_only = Some(PolicyState::ReportOnly);
    for (policy, state, is_pinned) in [
        (None, None, false),
        (Some(policy()), None, true),
        (Some(candidate()), None, true),
        (report_only(policy()), is_report_only, false),
        (report_only(candidate()), is_report_only, false),
        (Some(expired(AfterExpiry::Unpin)), None, false),
        (
            Some(expired(AfterExpiry::ReportOnly)),
            is_report_only,
            false,
        ),
    ] {
        let mut builder = strict();
        if let Some(policy) = policy {
            builder = builder.static_pins("example.com", policy);
        }
        let pinning = builder.build().unwrap();
        // Noted pins make no difference.
        let value = header_value(leaf.pin(), "max-age=1000");
        let header = PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap();
        let host = Host::parse("example.com").unwrap();
        assert_eq!(pinning.note(&host, &header, &chain, now()), Noted::Added);
        let (inner, calls) = counting(&names);
        let connector = connector(&pinning, &root).wrap_connector(inner).unwrap();
        let uri = http::Uri::from_static("https://example.com/");
        match connector.oneshot(uri).await {
            Ok(_) => assert!(is_pinned),
            Err(ConnectError::Unpinned(unpinned)) => {
                assert!(!is_pinned);
                assert_eq!(unpinned.policy().map(|policy| policy.state), state);
            }
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(calls.load(Ordering::SeqCst), usize::from(is_pinned));
    }
}

#[tokio::test]
async fn a_policy_that_refuses_after_its_expiry_refuses_by_its_pins() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let names = names(&server, &["example.com"]);
    let expired = policy_with(leaf.pin()).expires(at(NOW - 1), AfterExpiry::Refuse);
    let pinning = strict().static_pins("example.com", expired).build();
    let pinning = pinning.unwrap();
    let (inner, _) = counting(&names);
    let connector = connector(&pinning, &root).wrap_connector(inner).unwrap();
    let uri = http::Uri::from_static("https://example.com/");
    let error = connector.oneshot(uri).await.unwrap_err();
    let violation = PinViolation::find(&error).unwrap();
    assert_eq!(violation.policy().state, PolicyState::Expired);
}

#[test]
fn a_configuration_alone_refuses_or_reports_unpinned_hosts_in_the_handshake() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com", "127.0.0.1", "::1"]);
        let server = Arc::new(setup.config(&leaf));
        for (choice, is_refused) in [
            (UnpinnedHosts::Allow, false),
            (UnpinnedHosts::Report, false),
            (UnpinnedHosts::Refuse, true),
        ] {
            for name in ["example.com", "127.0.0.1", "::1"] {
                let builder = strict_or(choice).allow_unpinned(["other.test"]);
                let (pinning, recorder) = with_recorder(builder);
                let client = PinningVerifier::builder(pinning.clone())
                    .with_anchors(built_in_anchors(&[&root]))
                    .with_provider(setup.provider.clone())
                    .with_protocol_versions(setup.versions);
                let client = Arc::new(client.client_config().unwrap());
                let visit = handshake(&client, &server, name);
                assert_eq!(visit.is_err(), is_refused, "{visit:?}");
                if let Err(error) = visit {
                    let unpinned = UnpinnedHost::find(&error).unwrap();
                    assert_eq!(unpinned.server_name().to_str(), name);
                }
                let events = recorder.events(&pinning);
                match &events[..] {
                    [] => assert_eq!(choice, UnpinnedHosts::Allow),
                    [Event::Unpinned(unpinned)] => assert_eq!(unpinned.is_refused(), is_refused),
                    events => panic!("{events:?}"),
                }
            }
        }
    }
}

fn strict_or(choice: UnpinnedHosts) -> pinhold::PinningBuilder {
    strict().unpinned_hosts(choice)
}

/// A middleware that follows redirects does not know the rule; the connector does.
#[tokio::test]
async fn redirects_to_unpinned_hosts_are_refused_over_the_connector() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com", "unpinned.test"]);
    let config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
    let redirect = |request: &Request| {
        let to = request.uri().query().unwrap_or_default();
        let response = http::Response::builder().status(302).header("location", to);
        response.body(full("")).unwrap()
    };
    let server = Server::with_config(config, redirect).await;
    let names = names(&server, &["example.com", "unpinned.test"]);
    let builder = strict().static_pins("example.com", policy_with(leaf.pin()));
    let (pinning, recorder) = with_recorder(builder);
    let (inner, calls) = counting(&names);
    let connector = connector(&pinning, &root).wrap_connector(inner).unwrap();
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<bytes::Bytes>>(connector);
    let mut client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .service(client);
    for to in ["https://unpinned.test/", "http://unpinned.test/"] {
        let uri = format!("https://example.com/?{to}");
        let request = http::Request::get(uri).body(Empty::new()).unwrap();
        let error = client
            .ready()
            .await
            .unwrap()
            .call(request)
            .await
            .unwrap_err();
        let unpinned = UnpinnedHost::find(&error).unwrap_or_else(|| panic!("{error:?}"));
        assert_eq!(unpinned.server_name().to_str(), "unpinned.test");
        assert_one_refusal(&recorder, &pinning, "unpinned.test");
    }
    assert_eq!(server.requests(), 2);
    assert_eq!(calls.load(Ordering::SeqCst), server.connections());
}

#[tokio::test]
async fn no_tunnel_is_requested_for_an_unpinned_host() {
    let root = Ca::root("Root");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&accepted);
    let task = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    // The name of the proxy need not be pinned: without TLS it is the network.
    let builder = strict().static_pins("example.com", policy_with(unrelated_pin()));
    let pinning = builder.build().unwrap();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let tunnel = Tunnel::new(proxy.parse().unwrap(), http);
    let connector = connector(&pinning, &root).wrap_connector(tunnel).unwrap();
    let visit = async |uri| connector.clone().oneshot(http::Uri::from_static(uri)).await;
    let unpinned = visit("https://unpinned.test/").await;
    assert!(matches!(unpinned, Err(ConnectError::Unpinned(_))));
    assert_eq!(accepted.load(Ordering::SeqCst), 0);
    let pinned = visit("https://example.com/").await;
    assert!(
        matches!(pinned, Err(ConnectError::Transport(_))),
        "{pinned:?}"
    );
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    task.abort();
}

/// The proxy itself is connected to over TLS, so that it has to be pinned or allowed.
#[tokio::test]
async fn an_https_proxy_has_to_be_pinned_or_allowed() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["proxy.test"]);
    let server = Server::start(&leaf, &[]).await;
    let names = names(&server, &["proxy.test"]);
    let pinned = || strict().static_pins("example.com", policy_with(unrelated_pin()));
    for (builder, reaches) in [
        (pinned(), 0),
        (pinned().allow_unpinned(["proxy.test"]), 1),
        (
            pinned().static_pins("proxy.test", policy_with(leaf.pin())),
            1,
        ),
    ] {
        let pinning = builder.build().unwrap();
        let (inner, calls) = counting(&names);
        let to_proxy = connector(&pinning, &root)
            .http1_only()
            .wrap_connector(inner);
        let tunnel = Tunnel::new("https://proxy.test/".parse().unwrap(), to_proxy.unwrap());
        let connector = connector(&pinning, &root).wrap_connector(tunnel).unwrap();
        let uri = http::Uri::from_static("https://example.com/");
        // The server is no proxy.
        let error = connector.oneshot(uri).await.unwrap_err();
        assert_eq!(UnpinnedHost::find(&error).is_some(), reaches == 0);
        assert_eq!(calls.load(Ordering::SeqCst), reaches);
    }
}

/// 7469-2.7-b: what the user allowed for pinned hosts must not open others.
#[tokio::test]
async fn a_host_whose_pins_the_user_disabled_is_not_refused_and_no_other_is() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com", "*.example.com", "other.test"]);
    let server = Server::start(&leaf, &[]).await;
    let hosts = [
        "example.com",
        "api.example.com",
        "www.example.com",
        "other.test",
    ];
    let names = names(&server, &hosts);
    let failing = || policy_with(unrelated_pin());
    let report_only = failing().enforcement(Enforcement::ReportOnly);
    let builder = strict()
        .static_pins("example.com", failing())
        .static_pins("api.example.com", report_only);
    let pinning = builder.build().unwrap();
    let (inner, _) = counting(&names);
    let connector = connector(&pinning, &root).wrap_connector(inner).unwrap();
    let refused = async || {
        let mut refused = Vec::new();
        for host in hosts {
            let uri = format!("https://{host}/").parse::<http::Uri>().unwrap();
            match connector.clone().oneshot(uri).await {
                Ok(_) => {}
                Err(ConnectError::Unpinned(_)) => refused.push(host),
                Err(error) => assert!(PinViolation::find(&error).is_some(), "{error:?}"),
            }
        }
        refused
    };
    let never_pinned = ["api.example.com", "www.example.com", "other.test"];
    assert_eq!(refused().await, never_pinned);
    pinning.disable_static(&Host::parse("example.com").unwrap());
    assert_eq!(refused().await, never_pinned);
    assert_eq!(server.connections(), 2, "one was closed by the pins");
    pinning.restore_static();
    pinning.disable_all_static();
    assert_eq!(refused().await, never_pinned);
    assert_eq!(server.connections(), 3);
}

/// What the user disabled does not exist any more.
#[tokio::test]
async fn a_host_whose_disabled_pins_were_removed_is_refused() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let pinning = strict().build().unwrap();
    let pins = [("example.com", policy_with(unrelated_pin()))];
    pinning.replace_pins(pins).unwrap();
    pinning.disable_all_static();
    let (inner, calls) = counting(&names(&server, &["example.com"]));
    let connector = connector(&pinning, &root).wrap_connector(inner).unwrap();
    let uri = http::Uri::from_static("https://example.com/");
    assert!(connector.clone().oneshot(uri.clone()).await.is_ok());
    remove_pins(&pinning);
    let visit = connector.oneshot(uri).await;
    assert!(matches!(visit, Err(ConnectError::Unpinned(_))));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_name_that_the_pin_file_allows_may_be_unpinned() {
    let root = Ca::root("Root");
    let file = r#"{"version":1,"unpinned_hosts":"refuse","allow_unpinned":["cdn.test"],"policies":[
        {"hosts":["example.com"],"pins":["sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
        "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI="]}]}"#;
    let pinning = Pinning::builder().pins(file.parse().unwrap());
    let pinning = pinning.allow_unpinned(["own.test"]).build().unwrap();
    let (inner, calls) = counting(&Names::new([]));
    let connector = connector(&pinning, &root).wrap_connector(inner).unwrap();
    for (uri, is_allowed) in [
        ("https://cdn.test/", true),
        ("https://own.test/", true),
        ("https://other.test/", false),
    ] {
        let visit = connector.clone().oneshot(http::Uri::from_static(uri)).await;
        let is_refused = matches!(visit, Err(ConnectError::Unpinned(_)));
        assert_eq!(is_refused, !is_allowed, "{uri}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}
