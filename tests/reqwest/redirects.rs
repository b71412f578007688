//! Redirects of `NotingClient`: pins are noted on every hop, and the rules are those of reqwest.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::pki::{Ca, Leaf};
use crate::common::reqwests::{connection, echo, fetch, noted, violation};
use crate::common::server::{Names, Server, full};
use crate::common::tls_setup::{TlsSetup, builder, is_known, pinning_with, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{header_value, policy_with, unrelated_pin};
use bytes::Bytes;
use http_body_util::Full;
use pinhold::header::{IgnoreReason, Noted};
use pinhold::reqwest::{ClientBuildError, NotingClientBuilder, RedirectError, RequestError};
use pinhold::{FileStorage, PinStore, Pinning, TrustAnchors};
use reqwest::header::{
    AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, REFERER,
};
use reqwest::{Body, Method, StatusCode};

const HOSTS: [&str; 3] = ["a.example", "b.example", "c.example"];

/// The host and the header section of every request.
type Log = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// Three hosts that send pins. Each redirects to the next one; the last one answers.
struct RedirectChain {
    leaves: Vec<Leaf>,
    anchors: TrustAnchors,
    servers: Vec<Server>,
    names: Names,
    log: Log,
}

impl RedirectChain {
    async fn new(setup: &TlsSetup, status: u16) -> Self {
        let root = Ca::root("Root");
        let (names, log) = (Names::default(), Log::default());
        let leaves = HOSTS.map(|host| root.leaf(&[host]));
        let mut servers = Vec::new();
        for (index, leaf) in leaves.iter().enumerate() {
            let (host, value) = (HOSTS[index], header_value(leaf.pin(), "max-age=100"));
            let log = Arc::clone(&log);
            let server = Server::with_config(setup.config(leaf), move |request| {
                let headers = request.headers().clone();
                log.lock().unwrap().push((host.to_owned(), headers));
                let response = http::Response::builder()
                    .header("public-key-pins", &value)
                    .header("set-cookie", format!("of={host}; Secure"));
                let response = match HOSTS.get(index + 1) {
                    Some(next) => response
                        .status(status)
                        .header("location", format!("https://{next}/?from={host}#end")),
                    None => response,
                };
                response.body(full("ok")).unwrap()
            })
            .await;
            names.point(host, &server);
            servers.push(server);
        }
        Self {
            leaves: leaves.into(),
            anchors: built_in_anchors(&[&root]),
            servers,
            names,
            log,
        }
    }

    fn client(&self, setup: &TlsSetup, pinning: &Pinning) -> NotingClientBuilder {
        setup.noting(pinning, &self.anchors, &self.names)
    }

    fn requests(&self) -> Vec<usize> {
        self.servers.iter().map(Server::requests).collect()
    }

    /// Returns the value of a header field in every request.
    fn header_values(&self, name: &HeaderName) -> Vec<Option<String>> {
        let log = self.log.lock().unwrap();
        let value = |headers: &HeaderMap| Some(headers.get(name)?.to_str().unwrap().to_owned());
        log.iter().map(|(_, headers)| value(headers)).collect()
    }
}

#[tokio::test]
async fn pins_are_noted_on_every_hop() {
    for setup in tls_setups() {
        let chain = RedirectChain::new(&setup, 302).await;
        let pinning = builder().build().unwrap();
        let client = chain.client(&setup, &pinning).build().unwrap();
        let response = fetch(&client, "https://a.example/").await.unwrap();
        assert_eq!(response.url().as_str(), "https://c.example/?from=b.example");
        assert_eq!(noted(&response), Some(&Noted::Added));
        let seen = connection(&response).unwrap().chain().fingerprints();
        assert_eq!(seen[0], chain.leaves[2].pin());
        assert!(HOSTS.iter().all(|host| is_known(&pinning, host)));
        assert_eq!(chain.requests(), [1, 1, 1]);
    }
}

#[tokio::test]
async fn only_the_last_hop_is_noted_if_reqwest_follows_redirects() {
    let setup = &tls_setups()[0];
    let chain = RedirectChain::new(setup, 302).await;
    let pinning = builder().build().unwrap();
    let client = chain.client(setup, &pinning).redirects_by_reqwest();
    let client = client.build().unwrap();
    let response = fetch(&client, "https://a.example/").await.unwrap();
    assert_eq!(noted(&response), Some(&Noted::Added));
    let known = HOSTS.map(|host| is_known(&pinning, host));
    assert_eq!(known, [false, false, true]);
}

#[tokio::test]
async fn pins_are_enforced_on_every_hop() {
    let setup = &tls_setups()[0];
    let chain = RedirectChain::new(setup, 302).await;
    let pinning = builder().static_pins("b.example", policy_with(unrelated_pin()));
    let pinning = pinning.build().unwrap();
    let build = || chain.client(setup, &pinning);
    for client in [build(), build().redirects_by_reqwest()] {
        let client = client.build().unwrap();
        let error = fetch(&client, "https://a.example/").await.unwrap_err();
        assert_eq!(violation(&error).unwrap().host().as_str(), "b.example");
    }
    assert_eq!(chain.requests(), [2, 0, 0]);
    assert!(is_known(&pinning, "a.example"));
}

#[tokio::test]
async fn headers_of_redirected_requests_are_those_of_reqwest() {
    let setup = &tls_setups()[0];
    let secret = || HeaderValue::from_static("secret");
    let names = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, REFERER];
    let mut seen = Vec::new();
    for by_reqwest in [true, false] {
        let chain = RedirectChain::new(setup, 302).await;
        let pinning = builder().build().unwrap();
        let mut client = chain.client(setup, &pinning);
        if by_reqwest {
            client = client.redirects_by_reqwest();
        }
        let client = client.build().unwrap();
        let request = client.reqwest().get("https://user:password@a.example/#top");
        let request = request
            .header(AUTHORIZATION, secret())
            .header(PROXY_AUTHORIZATION, secret())
            .header(COOKIE, secret());
        client.send(request).await.unwrap();
        seen.push(names.each_ref().map(|name| chain.header_values(name)));
    }
    assert_eq!(seen[0], seen[1]);
    let [authorization, .., referer] = &seen[0];
    assert!(authorization[0].is_some() && authorization[1..] == [None, None]);
    let from = |url: &str| Some(url.to_owned());
    let [a, b] = ["https://a.example/", "https://b.example/?from=a.example"].map(from);
    assert_eq!(referer, &[None, a, b]);
}

#[tokio::test]
async fn the_cookie_store_of_reqwest_is_used_on_every_hop() {
    let setup = &tls_setups()[0];
    let chain = RedirectChain::new(setup, 302).await;
    let pinning = builder().build().unwrap();
    let client = chain.client(setup, &pinning);
    let client = client.configure(|builder| builder.cookie_store(true));
    let client = client.build().unwrap();
    for _ in 0..2 {
        fetch(&client, "https://a.example/").await.unwrap();
    }
    let cookies = chain.header_values(&COOKIE);
    assert_eq!(cookies[..3], [None, None, None]);
    let expected = HOSTS.map(|host| Some(format!("of={host}")));
    assert_eq!(cookies[3..], expected);
}

#[tokio::test]
async fn a_body_in_memory_is_sent_again_and_a_stream_is_not() {
    for status in [307, 308] {
        let setup = &tls_setups()[0];
        let chain = RedirectChain::new(setup, status).await;
        let (address, _task) = echo(setup.config(&chain.leaves[2])).await;
        chain.names.point_to("c.example", address);
        let pinning = builder().build().unwrap();
        let client = chain.client(setup, &pinning).build().unwrap();
        let post = |body: Body| client.reqwest().post("https://a.example/").body(body);
        let response = client.send(post("body".into())).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "body");
        assert!(is_known(&pinning, "b.example"));

        let streamed = Body::wrap(Full::new(Bytes::from_static(b"body")));
        let response = client.send(post(streamed)).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(noted(&response), Some(&Noted::Refreshed));
        assert_eq!(chain.requests(), [2, 1, 0]);
    }
}

#[tokio::test]
async fn a_stream_is_dropped_if_the_method_becomes_get() {
    let setup = &tls_setups()[0];
    let chain = RedirectChain::new(setup, 303).await;
    let pinning = builder().build().unwrap();
    let client = chain.client(setup, &pinning).build().unwrap();
    let streamed = Body::wrap(Full::new(Bytes::from_static(b"body")));
    let request = client.reqwest().request(Method::PUT, "https://a.example/");
    let response = client.send(request.body(streamed)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(chain.requests(), [1, 1, 1]);
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let setup = &tls_setups()[0];
    let root = Ca::root("Root");
    let leaf = root.leaf(&["a.example"]);
    let server = Server::with_config(setup.config(&leaf), |_| {
        let response = http::Response::builder().status(302);
        let response = response.header("location", "/");
        response.body(full("")).unwrap()
    })
    .await;
    let names = Names::new([("a.example", &server)]);
    let pinning = builder().build().unwrap();
    let client = setup.noting(&pinning, &built_in_anchors(&[&root]), &names);
    let client = client.build().unwrap();
    let error = fetch(&client, "https://a.example/").await.unwrap_err();
    let too_many = matches!(error, RequestError::Redirect(RedirectError::TooMany { .. }));
    assert!(too_many, "{error:?}");
    assert_eq!(server.requests(), 11);
}

#[tokio::test]
async fn the_timeout_of_a_request_covers_all_hops() {
    let setup = &tls_setups()[0];
    let chain = RedirectChain::new(setup, 302).await;
    let pinning = builder().build().unwrap();
    let client = chain.client(setup, &pinning).build().unwrap();
    let request = client.reqwest().get("https://a.example/");
    let error = client.send(request.timeout(Duration::ZERO)).await;
    let RequestError::Reqwest(error) = error.unwrap_err() else {
        panic!("expected an error of reqwest");
    };
    assert!(error.is_timeout());
    let request = client.reqwest().get("https://a.example/");
    let response = client.send(request.timeout(crate::common::TIMEOUT)).await;
    assert!(response.is_ok());
}

#[tokio::test]
async fn settings_that_leak_credentials_or_have_no_effect_are_refused() {
    let setup = &tls_setups()[0];
    let chain = RedirectChain::new(setup, 302).await;
    let pinning = pinning_with(policy_with(unrelated_pin()));
    let build = || chain.client(setup, &pinning);
    for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
        let mut headers = HeaderMap::new();
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(name == COOKIE);
        headers.insert(&name, secret);
        let with = |client: NotingClientBuilder| {
            let headers = headers.clone();
            client.configure(move |builder| builder.default_headers(headers.clone()))
        };
        let refused = with(build()).build().unwrap_err();
        let ClientBuildError::DefaultCredentials { name: refused } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(refused, name);
        // reqwest removes them itself.
        assert!(with(build()).redirects_by_reqwest().build().is_ok());
    }
    let version = reqwest::tls::Version::TLS_1_2;
    for client in [
        build().configure(|builder| builder.tls_danger_accept_invalid_certs(true)),
        build().configure(|builder| builder.tls_danger_accept_invalid_hostnames(true)),
        build().configure(|builder| builder.tls_sni(false)),
        build().configure(|builder| builder.http1_only()),
        build().configure(move |builder| builder.tls_version_min(version)),
        build().configure(move |builder| builder.tls_version_max(version)),
    ] {
        let refused = client.build().unwrap_err();
        assert!(matches!(refused, ClientBuildError::IgnoredSetting { .. }));
    }
    let accepted = build().configure(|builder| builder.user_agent("x").referer(false));
    assert!(accepted.build().is_ok());
}

#[tokio::test]
async fn plain_http_notes_nothing_and_is_refused_for_pinned_hosts() {
    let setup = &tls_setups()[0];
    let chain = RedirectChain::new(setup, 302).await;
    let value = header_value(unrelated_pin(), "max-age=100");
    let plain = Server::plain(crate::common::server::answer(&[(
        "public-key-pins",
        &value,
    )]))
    .await;
    let (pinned, other) = ("http://example.com/", "http://example.net/");
    for name in ["example.com", "example.net"] {
        chain.names.point(name, &plain);
    }
    let pinning = pinning_with(policy_with(unrelated_pin()));
    let strict = chain.client(setup, &pinning).build().unwrap();
    assert!(fetch(&strict, other).await.is_err());
    let client = chain
        .client(setup, &pinning)
        .https_or_http()
        .build()
        .unwrap();
    let response = fetch(&client, other).await.unwrap();
    let ignored = Noted::Ignored(IgnoreReason::InsecureTransport);
    assert_eq!(noted(&response), Some(&ignored));
    let error = fetch(&client, pinned).await.unwrap_err();
    assert!(matches!(error, RequestError::PlainHttp { .. }));
    assert_eq!(plain.requests(), 1);
    assert!(fetch(&client, "https://a.example/").await.is_ok());
}

#[tokio::test]
async fn a_response_that_adds_pins_is_returned_after_they_are_durable() {
    let setup = &tls_setups()[0];
    let chain = RedirectChain::new(setup, 302).await;
    let folder = crate::common::noted::temp_dir();
    let file = folder.path().join("pins.jsonl");
    let store = PinStore::open(FileStorage::new(&file)).unwrap();
    let pinning = builder().store(store).build().unwrap();
    let client = chain
        .client(setup, &pinning)
        .storage_timeout(crate::common::TIMEOUT);
    let client = client.build().unwrap();
    fetch(&client, "https://a.example/").await.unwrap();
    let written = PinStore::open(FileStorage::new(&file)).unwrap();
    assert_eq!(written.list().len(), 3);
}
