//! Plain HTTP as single policies allow or refuse it, also over open connections.

use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pinhold::connector::{ConnectError, PlainHttp};
use pinhold::header::{HeaderSyntax, Noted, PinHeader};
use pinhold::policy::{AfterExpiry, Overlap};
use pinhold::{Enforcement, Host, PinPolicy, Pinning};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

use super::{builder, connect_error};
use crate::common::pki::Ca;
use crate::common::server::{HyperClient, Loopback, Names, Server, answer};
use crate::common::tls_setup;
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{NOW, at, header_value, now, policy_with, unrelated_pin};
use tower::Service;

fn policy() -> PinPolicy {
    policy_with(unrelated_pin())
}

/// Returns whether a connector with this setting connects to the host without TLS.
async fn is_allowed(pinning: &Pinning, setting: PlainHttp, server: &Server, host: &str) -> bool {
    let names = Names::new([(host, server)]);
    let connector = builder(pinning, &Ca::root("Root")).plain_http(setting);
    let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
    let uri = format!("http://{host}/").parse::<http::Uri>().unwrap();
    match connector.oneshot(uri).await {
        Ok(_) => true,
        Err(ConnectError::PlainHttp { host: refused }) => {
            assert_eq!(refused.as_str(), host);
            false
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn the_setting_of_a_policy_comes_before_that_of_the_connector() {
    use PlainHttp::{Allow, Refuse};
    let server = Server::plain(answer(&[])).await;
    let report_only = || policy().enforcement(Enforcement::ReportOnly);
    let expired = |then| policy().expires(at(NOW - 1), then);
    for (policy, of_connector, expected) in [
        (policy().plain_http(Allow), Refuse, true),
        (policy().plain_http(Allow), Allow, true),
        (policy().plain_http(Refuse), Allow, false),
        (policy().plain_http(Refuse), Refuse, false),
        (policy(), Allow, true),
        (policy(), Refuse, false),
        (report_only().plain_http(Refuse), Refuse, true),
        (expired(AfterExpiry::Unpin).plain_http(Refuse), Refuse, true),
        (expired(AfterExpiry::Refuse), Refuse, false),
        (
            expired(AfterExpiry::Refuse).plain_http(Refuse),
            Allow,
            false,
        ),
    ] {
        let pinning = tls_setup::builder().static_pins("example.com", policy.clone());
        let pinning = pinning.build().unwrap();
        let allowed = is_allowed(&pinning, of_connector, &server, "example.com").await;
        assert_eq!(allowed, expected, "{policy:?}, connector: {of_connector:?}");
    }
}

#[tokio::test]
async fn the_nearest_policy_decides_about_plain_http_and_noted_pins_refuse_it() {
    use PlainHttp::{Allow, Refuse};
    let server = Server::plain(answer(&[])).await;
    for overlap in [Overlap::Nearest, Overlap::Union] {
        let pinning = tls_setup::builder()
            .overlap(overlap)
            .static_pins(
                "example.com",
                policy().include_subdomains().plain_http(Refuse),
            )
            .static_pins("a.example.com", policy().plain_http(Allow))
            .static_pins("b.example.com", policy());
        let pinning = pinning.build().unwrap();
        for (host, of_connector, expected) in [
            ("a.example.com", Refuse, true),
            ("example.com", Allow, false),
            ("www.example.com", Allow, false),
            ("b.example.com", Allow, true),
        ] {
            let allowed = is_allowed(&pinning, of_connector, &server, host).await;
            assert_eq!(allowed, expected, "{host}");
        }
    }
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let allowing = policy_with(leaf.pin()).plain_http(Allow);
    let pinning = tls_setup::builder().static_pins("example.com", allowing);
    let pinning = pinning.build().unwrap();
    assert!(is_allowed(&pinning, Refuse, &server, "example.com").await);
    let chain = verified_chain(&leaf, "example.com", &built_in_anchors(&[&root])).await;
    let value = header_value(leaf.pin(), "max-age=1000");
    let header = PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap();
    let host = Host::parse("example.com").unwrap();
    assert_eq!(pinning.note(&host, &header, &chain, now()), Noted::Added);
    assert!(!is_allowed(&pinning, Refuse, &server, "example.com").await);
    assert!(is_allowed(&pinning, Allow, &server, "example.com").await);
}

fn get(uri: &http::Uri) -> http::Request<http_body_util::Empty<bytes::Bytes>> {
    let request = http::Request::get(uri.clone());
    request.body(http_body_util::Empty::new()).unwrap()
}

#[tokio::test]
async fn an_open_plain_connection_ends_when_a_policy_refuses_plain_http() {
    use PlainHttp::{Allow, Refuse};
    let server = Server::plain(answer(&[])).await;
    let names = Names::new([("example.com", &server)]);
    for (of_connector, before, after) in [
        (Allow, policy(), policy().plain_http(Refuse)),
        (
            Allow,
            policy().plain_http(Allow),
            policy().plain_http(Refuse),
        ),
        (
            Refuse,
            policy().plain_http(Allow),
            policy().plain_http(Refuse),
        ),
        (Refuse, policy().plain_http(Allow), policy()),
    ] {
        let pinning = tls_setup::builder().build().unwrap();
        let pin_to = |policy| pinning.replace_pins([("example.com", policy)]).unwrap();
        pin_to(before.clone());
        let connector = builder(&pinning, &Ca::root("Root")).plain_http(of_connector);
        let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
        let uri = http::Uri::from_static("http://example.com/");
        let stream = connector.clone().oneshot(uri.clone()).await.unwrap();
        let mut stream = TokioIo::new(stream);
        let request = b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n";
        let setting = before.plain_http_setting().unwrap_or(Allow);
        pin_to(policy_with(Ca::root("Other").pin()).plain_http(setting));
        stream.write_all(request).await.unwrap();
        stream.read_u8().await.unwrap();

        pin_to(before);
        let mut pool: HyperClient = Client::builder(TokioExecutor::new()).build(connector);
        pool.call(get(&uri)).await.unwrap();
        pin_to(after);
        for result in [
            stream.write_all(request).await,
            stream.read_u8().await.map(drop),
        ] {
            let error = result.unwrap_err();
            let error = error.get_ref().and_then(|error| error.downcast_ref());
            assert!(matches!(error, Some(ConnectError::PlainHttp { .. })));
        }
        let error = pool.call(get(&uri)).await.unwrap_err();
        assert!(matches!(
            connect_error(&error),
            ConnectError::PlainHttp { .. }
        ));
    }
}
