//! Unpinned hosts and refused keys with clients of reqwest: the plain builder and `NotingClient`.

use std::error::Error;

use crate::common::pki::{Ca, Leaf};
use crate::common::proxy::Proxy;
use crate::common::recording::{Recorder, with_recorder};
use crate::common::reqwests::{fetch, violation};
use crate::common::rules::{refusing, remove_pins, strict};
use crate::common::server::{Names, Request, Response, Server, full};
use crate::common::tls_setup::{TlsSetup, builder, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, NOW, at, policy_with};
use pinhold::policy::{AfterExpiry, PinSource, UnpinnedHosts};
use pinhold::reqwest::{NotingClient, RequestError};
use pinhold::{Enforcement, Event, Pinning, PinningBuilder, TrustAnchors, UnpinnedHost};

const PINNED: &str = "example.com";
const URL: &str = "https://example.com/";
const UNPINNED: &str = "unpinned.test";

/// A server for a pinned and an unpinned host that redirects to the URL in its query, the same over
/// plain HTTP, and a proxy's certificate.
struct Fixture {
    leaf: Leaf,
    proxy_leaf: Leaf,
    anchors: TrustAnchors,
    server: Server,
    plain: Server,
    names: Names,
}

fn redirect(request: &Request) -> Response {
    let response = http::Response::builder();
    let response = match request.uri().query() {
        Some(to) => response.status(302).header("location", to),
        None => response,
    };
    response.body(full("ok")).unwrap()
}

impl Fixture {
    async fn new(setup: &TlsSetup) -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&[PINNED, UNPINNED, "127.0.0.1"]);
        let server = Server::with_config(setup.config(&leaf), redirect).await;
        Self {
            proxy_leaf: root.leaf(&["proxy.test"]),
            anchors: built_in_anchors(&[&root]),
            names: Names::new([(PINNED, &server), (UNPINNED, &server)]),
            plain: Server::plain(redirect).await,
            leaf,
            server,
        }
    }

    fn pinned(&self, builder: PinningBuilder) -> PinningBuilder {
        builder.static_pins(PINNED, policy_with(self.leaf.pin()))
    }

    fn strict(&self) -> (Pinning, Recorder) {
        with_recorder(self.pinned(strict()))
    }

    /// The builder's client, and the client that it makes follow redirects by reqwest's rules.
    fn plain_client(&self, setup: &TlsSetup, pinning: &Pinning) -> reqwest::Client {
        let builder = setup.reqwest(pinning, &self.anchors, &self.names);
        builder.build().unwrap()
    }

    fn noting(&self, setup: &TlsSetup, pinning: &Pinning) -> NotingClient {
        let builder = setup.noting(pinning, &self.anchors, &self.names);
        builder.https_or_http().build().unwrap()
    }

    fn noting_by_reqwest(&self, setup: &TlsSetup, pinning: &Pinning) -> NotingClient {
        let builder = setup.noting(pinning, &self.anchors, &self.names);
        builder.redirects_by_reqwest().build().unwrap()
    }
}

/// Asserts that the error is a refusal of this name, found by its sources, too, and that there was
/// one event about it.
#[track_caller]
fn assert_unpinned(
    error: &(dyn Error + 'static),
    name: &str,
    recorder: &Recorder,
    pinning: &Pinning,
) {
    let unpinned = UnpinnedHost::find(error).unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(unpinned.server_name().to_str(), name);
    let mut sources = std::iter::successors(Some(error), |error| (*error).source());
    assert!(sources.any(|error| error.is::<UnpinnedHost>()), "{error:?}");
    match &recorder.events(pinning)[..] {
        [Event::Unpinned(unpinned)] => {
            assert!(unpinned.is_refused());
            assert_eq!(unpinned.server_name().to_str(), name);
        }
        events => panic!("expected one refusal: {events:?}"),
    }
}

#[tokio::test]
async fn an_unpinned_host_is_refused_by_each_client() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let (pinning, recorder) = fixture.strict();
        let client = fixture.plain_client(&setup, &pinning);
        let noting = fixture.noting(&setup, &pinning);
        let address = format!("https://{}/", fixture.server.address);
        let unpinned = format!("https://{UNPINNED}/");
        for (url, name) in [(&unpinned, UNPINNED), (&address, "127.0.0.1")] {
            let error = client.get(url).send().await.unwrap_err();
            assert_unpinned(&error, name, &recorder, &pinning);
            // The inner client by itself.
            let error = noting.reqwest().get(url).send().await.unwrap_err();
            assert_unpinned(&error, name, &recorder, &pinning);
            let connections = fixture.server.connections();
            let error = fetch(&noting, url).await.unwrap_err();
            assert!(matches!(error, RequestError::Unpinned(_)));
            assert_unpinned(&error, name, &recorder, &pinning);
            assert_eq!(fixture.server.connections(), connections, "none is made");
        }
        for url in [
            "http://unpinned.test/",
            "http://127.0.0.1/",
            "http://[::1]/",
        ] {
            let error = fetch(&noting, url).await.unwrap_err();
            assert!(matches!(error, RequestError::Unpinned(_)), "{url}");
            recorder.events(&pinning);
        }
        assert_eq!(fixture.server.requests(), 0);
        assert!(client.get(URL).send().await.is_ok());
        assert!(fetch(&noting, URL).await.is_ok());
        let allowed = fixture
            .pinned(strict())
            .allow_unpinned([UNPINNED, "127.0.0.1"]);
        let (pinning, recorder) = with_recorder(allowed);
        for url in [&unpinned, &address] {
            let client = fixture.plain_client(&setup, &pinning);
            assert!(client.get(url).send().await.is_ok());
            assert!(fetch(&fixture.noting(&setup, &pinning), url).await.is_ok());
        }
        recorder.assert_no_event_or_report(&pinning);
    }
}

#[tokio::test]
async fn redirects_to_unpinned_hosts_are_refused() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let (pinning, recorder) = fixture.strict();
        let to_unpinned = format!("{URL}?https://{UNPINNED}/");
        let client = fixture.plain_client(&setup, &pinning);
        let error = client.get(&to_unpinned).send().await.unwrap_err();
        assert_unpinned(&error, UNPINNED, &recorder, &pinning);
        let connections = fixture.server.connections();
        for client in [
            fixture.noting(&setup, &pinning),
            fixture.noting_by_reqwest(&setup, &pinning),
        ] {
            let error = fetch(&client, &to_unpinned).await.unwrap_err();
            assert_unpinned(&error, UNPINNED, &recorder, &pinning);
        }
        assert_eq!(fixture.server.connections(), connections + 2);
        assert_eq!(fixture.server.requests(), 3);
    }
}

/// From one plain host, which may be unpinned, to another one, which may not.
#[tokio::test]
async fn plain_redirects_to_unpinned_hosts_are_refused() {
    let setup = &tls_setups()[0];
    let fixture = Fixture::new(setup).await;
    fixture.names.point("plain.test", &fixture.plain);
    fixture.names.point(UNPINNED, &fixture.plain);
    let builder = fixture.pinned(strict()).allow_unpinned(["plain.test"]);
    let (pinning, recorder) = with_recorder(builder);
    let client = fixture.noting(setup, &pinning);
    assert!(fetch(&client, "http://plain.test/").await.is_ok());
    for scheme in ["http", "https"] {
        let url = format!("http://plain.test/?{scheme}://{UNPINNED}/");
        let error = fetch(&client, &url).await.unwrap_err();
        assert_unpinned(&error, UNPINNED, &recorder, &pinning);
    }
    assert_eq!(
        (fixture.plain.requests(), fixture.server.requests()),
        (3, 0)
    );
}

#[tokio::test]
async fn through_proxies_unpinned_hosts_are_refused_and_an_https_proxy_itself() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let target = fixture.server.address;
        let proxy = Proxy::connect(target, None).await;
        let mut config = setup.config(&fixture.proxy_leaf);
        config.alpn_protocols.clear();
        let https = Proxy::connect(target, Some(config)).await;
        fixture.names.point_to("proxy.test", https.address);
        let plain_url = format!("http://{}", proxy.address);
        for (proxy, url, refused, allowed) in [
            (&proxy, &*plain_url, None, None),
            (&https, "https://proxy.test", Some("proxy.test"), None),
            (&https, "https://proxy.test", None, Some("proxy.test")),
        ] {
            let builder = fixture.pinned(strict()).allow_unpinned(allowed);
            let (pinning, recorder) = with_recorder(builder);
            let by = reqwest::Proxy::all(url).unwrap();
            let client = setup.reqwest(&pinning, &fixture.anchors, &fixture.names);
            let client = client.proxy(by.clone()).build().unwrap();
            let noting = setup.noting(&pinning, &fixture.anchors, &fixture.names);
            let noting = noting.configure(move |builder| builder.proxy(by.clone()));
            let noting = noting.build().unwrap();
            let before = proxy.tunnels();
            let visits = [
                client.get(URL).send().await.map_err(RequestError::from),
                fetch(&noting, URL).await,
            ];
            for visit in visits {
                assert_eq!(visit.is_err(), refused.is_some());
                if let (Err(error), Some(name)) = (visit, refused) {
                    let unpinned = UnpinnedHost::find(&error).unwrap();
                    assert_eq!(unpinned.server_name().to_str(), name);
                }
            }
            assert_eq!(
                recorder.events(&pinning).len(),
                if refused.is_some() { 2 } else { 0 }
            );
            let tunnels = if refused.is_some() { 0 } else { 2 };
            assert_eq!(proxy.tunnels(), before + tunnels);
            let unpinned = format!("https://{UNPINNED}/");
            let error = fetch(&noting, &unpinned).await.unwrap_err();
            assert_unpinned(&error, UNPINNED, &recorder, &pinning);
            assert_eq!(proxy.tunnels(), before + tunnels, "no tunnel is requested");
        }
    }
}

fn reported(recorder: &Recorder, pinning: &Pinning) -> Vec<String> {
    let events = recorder
        .events(pinning)
        .into_iter()
        .map(|event| match event {
            Event::Unpinned(unpinned) if !unpinned.is_refused() => {
                unpinned.server_name().to_str().into_owned()
            }
            event => panic!("{event:?}"),
        });
    let mut names = events.collect::<Vec<_>>();
    names.sort();
    names
}

#[tokio::test]
async fn each_connection_to_an_unpinned_host_is_reported_once() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let report = || strict().unpinned_hosts(UnpinnedHosts::Report);
        let (pinning, recorder) = with_recorder(fixture.pinned(report()));
        let unpinned = format!("https://{UNPINNED}/");
        let client = fixture.plain_client(&setup, &pinning);
        let noting = fixture.noting(&setup, &pinning);
        for _ in 0..2 {
            client
                .get(&unpinned)
                .send()
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
            client.get(URL).send().await.unwrap().bytes().await.unwrap();
        }
        assert_eq!(reported(&recorder, &pinning), [UNPINNED]);
        for _ in 0..2 {
            fetch(&noting, &unpinned)
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
        }
        assert_eq!(reported(&recorder, &pinning), [UNPINNED]);
        // A redirect from the pinned host to the unpinned one, by a new client.
        let noting = fixture.noting(&setup, &pinning);
        fetch(&noting, &format!("{URL}?{unpinned}")).await.unwrap();
        assert_eq!(reported(&recorder, &pinning), [UNPINNED]);
        // Without TLS reqwest does not show its connections: each request is reported.
        fixture.names.point("plain.test", &fixture.plain);
        fetch(&noting, "http://plain.test/").await.unwrap();
        assert_eq!(reported(&recorder, &pinning), ["plain.test"]);
    }
}

#[tokio::test]
async fn the_connection_to_an_unpinned_https_proxy_is_reported_too() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let report = || strict().unpinned_hosts(UnpinnedHosts::Report);
        for (builder, expected) in [
            (fixture.pinned(report()), &["proxy.test"][..]),
            (report(), &[PINNED, "proxy.test"]),
            (report().allow_unpinned(["proxy.test"]), &[PINNED]),
        ] {
            let (pinning, recorder) = with_recorder(builder);
            let mut config = setup.config(&fixture.proxy_leaf);
            config.alpn_protocols.clear();
            let proxy = Proxy::connect(fixture.server.address, Some(config)).await;
            fixture.names.point_to("proxy.test", proxy.address);
            let by = reqwest::Proxy::all("https://proxy.test").unwrap();
            let client = setup.reqwest(&pinning, &fixture.anchors, &fixture.names);
            let client = client.proxy(by).build().unwrap();
            client.get(URL).send().await.unwrap();
            assert_eq!(reported(&recorder, &pinning), expected);
        }
    }
}

#[tokio::test]
async fn no_request_uses_a_connection_whose_host_is_unpinned_since() {
    for setup in tls_setups() {
        for alpn in ["h2", "http/1.1"] {
            let fixture = Fixture::new(&setup).await;
            let mut config = setup.config(&fixture.leaf);
            config.alpn_protocols = vec![alpn.into()];
            let server = Server::with_config(config, redirect).await;
            fixture.names.point(PINNED, &server);
            let clock = Clock::new();
            let (pinning, recorder) = with_recorder(strict().time_provider(clock.clone()));
            let policy = || policy_with(fixture.leaf.pin());
            let noting = fixture.noting(&setup, &pinning);
            let visit = async || {
                fetch(&noting, URL)
                    .await?
                    .bytes()
                    .await
                    .map_err(RequestError::from)
            };
            let steps: [&dyn Fn(); 4] = [
                &|| remove_pins(&pinning),
                &|| {
                    let policy = policy().enforcement(Enforcement::ReportOnly);
                    pinning.replace_pins([(PINNED, policy)]).unwrap();
                },
                &|| {
                    clock.set(NOW);
                    let policy = policy().expires(at(NOW + 1), AfterExpiry::Unpin);
                    pinning.replace_pins([(PINNED, policy)]).unwrap();
                    clock.set(NOW + 2);
                },
                &|| {
                    clock.set(NOW);
                    let policy = policy().expires(at(NOW + 1), AfterExpiry::ReportOnly);
                    pinning.replace_pins([(PINNED, policy)]).unwrap();
                    clock.set(NOW + 2);
                },
            ];
            for (number, unpin) in steps.into_iter().enumerate() {
                pinning.replace_pins([(PINNED, policy())]).unwrap();
                visit().await.unwrap();
                unpin();
                let error = visit().await.unwrap_err();
                assert_unpinned(&error, PINNED, &recorder, &pinning);
                // The inner client by itself.
                let error = noting.reqwest().get(URL).send().await.unwrap_err();
                assert_unpinned(&error, PINNED, &recorder, &pinning);
                assert_eq!(server.requests(), number + 1);
            }
        }
    }
}

#[tokio::test]
async fn no_request_uses_a_connection_whose_key_is_refused_since() {
    for setup in tls_setups() {
        for alpn in ["h2", "http/1.1"] {
            let fixture = Fixture::new(&setup).await;
            let mut config = setup.config(&fixture.leaf);
            config.alpn_protocols = vec![alpn.into()];
            let server = Server::with_config(config, redirect).await;
            fixture.names.point(PINNED, &server);
            let address = format!("https://{}/", server.address);
            for url in [URL, &address] {
                let before = server.requests();
                let pinning = builder().build().unwrap();
                let noting = fixture.noting(&setup, &pinning);
                for _ in 0..2 {
                    fetch(&noting, url).await.unwrap().bytes().await.unwrap();
                }
                pinning.replace_pins(refusing(fixture.leaf.pin())).unwrap();
                let error = fetch(&noting, url).await.unwrap_err();
                let violation = violation(&error).unwrap();
                assert_eq!(violation.policy().source, PinSource::RefusedKeys);
                assert_eq!(server.requests(), before + 2);
            }
        }
    }
}
