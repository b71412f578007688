//! Headers that are repeated over one connection: a cached header has the same effects as a new
//! one.

use std::sync::{Arc, Mutex};

use crate::common::pki::{Ca, Leaf};
use crate::common::server::{HyperClient, Loopback, Names, Server, full, server_config};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, NOW, at, header_value, policy_with, provider, unrelated_pin};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::header::{IgnoreReason, Noted, RemovalReason};
use pinhold::layer::NotePins;
use pinhold::{
    Host, NotePinsLayer, PinViolation, Pinning, PinningConnector, PinningVerifier, SpkiFingerprint,
};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

const NAMES: [&str; 2] = ["example.com", "www.example.com"];

/// A server whose header can be changed, and a connector for one version of HTTP.
struct Fixture {
    leaf: Leaf,
    server: Server,
    value: Arc<Mutex<String>>,
    clock: Arc<Clock>,
    pinning: Pinning,
    connector: PinningConnector<Loopback>,
}

#[derive(Clone, Copy, Debug)]
enum Http {
    V1,
    V2,
}

const BOTH: [Http; 2] = [Http::V1, Http::V2];

async fn fixture(http: Http) -> Fixture {
    let root = Ca::root("Root");
    let leaf = root.leaf(&NAMES);
    let value = Arc::new(Mutex::new(header_value(leaf.pin(), "max-age=1000")));
    let current = Arc::clone(&value);
    let config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
    let server = Server::with_config(config, move |_| {
        let value = current.lock().unwrap().clone();
        let response = http::Response::builder().header("public-key-pins", value);
        response.body(full("ok")).unwrap()
    });
    let server = server.await;
    let clock = Clock::new();
    let pinning = Pinning::builder().time_provider(clock.clone());
    let pinning = pinning.build().unwrap();
    let config = PinningVerifier::builder(pinning.clone())
        .with_anchors(built_in_anchors(&[&root]))
        .with_provider(provider())
        .client_config()
        .unwrap();
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    let connector = match http {
        Http::V1 => connector.http1_only(),
        Http::V2 => connector.http2_only(),
    };
    let names = Names::new(NAMES.map(|name| (name, &server)));
    let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
    Fixture {
        leaf,
        server,
        value,
        clock,
        pinning,
        connector,
    }
}

impl Fixture {
    fn client(&self) -> NotePins<HyperClient> {
        let pool = Client::builder(TokioExecutor::new()).build(self.connector.clone());
        NotePinsLayer::new(self.pinning.clone()).layer(pool)
    }

    fn set_header(&self, value: &str) {
        *self.value.lock().unwrap() = value.to_owned();
    }

    /// Returns a header with the leaf's pin and this backup pin.
    fn value(&self, backup: u8, rest: &str) -> String {
        let backup = SpkiFingerprint::from_digest([backup; 32]).to_base64();
        let live = self.leaf.pin().to_base64();
        format!("pin-sha256=\"{live}\"; pin-sha256=\"{backup}\"; {rest}")
    }

    /// Asserts when the entry of the host was noted, and when it expires.
    #[track_caller]
    fn assert_noted(&self, name: &str, noted_at: u64, expires_at: u64) {
        let host = Host::parse(name).unwrap();
        let list = self.pinning.store().list();
        let entry = list.iter().find(|entry| entry.host == host).unwrap();
        let expected = (at(noted_at), at(expires_at));
        assert_eq!((entry.noted_at, entry.expires_at), expected);
    }
}

type Error = hyper_util::client::legacy::Error;

async fn visit<S>(client: &mut S, name: &str) -> Result<Noted, Error>
where
    S: Service<
            http::Request<Empty<bytes::Bytes>>,
            Response = http::Response<hyper::body::Incoming>,
            Error = Error,
        >,
{
    let request = http::Request::get(format!("https://{name}/"));
    let response = client.call(request.body(Empty::new()).unwrap()).await?;
    let noted = response.extensions().get::<Noted>().unwrap().clone();
    response.into_body().collect().await.unwrap();
    Ok(noted)
}

#[tokio::test]
async fn the_expiry_is_updated_once_a_second() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let mut client = fixture.client();
        // Forwards and back; the entry expires in between.
        for (seconds, first) in [
            (0, Noted::Added),
            (1, Noted::Refreshed),
            (2, Noted::Refreshed),
            (2000, Noted::Added),
            (1, Noted::Refreshed),
            (0, Noted::Refreshed),
            (1, Noted::Refreshed),
        ] {
            let now = NOW + seconds;
            fixture.clock.set(now);
            for expected in [first, Noted::Refreshed, Noted::Refreshed, Noted::Refreshed] {
                let noted = visit(&mut client, "example.com").await.unwrap();
                assert_eq!(noted, expected, "{http:?} {seconds}");
                fixture.assert_noted("example.com", now, now + 1000);
            }
        }
        assert_eq!(fixture.server.connections(), 1);
    }
}

#[tokio::test]
async fn a_removed_entry_is_added_again() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let mut client = fixture.client();
        let host = Host::parse("example.com").unwrap();
        let removals: [&dyn Fn(); 3] = [
            &|| drop(fixture.pinning.store().forget(&host)),
            &|| fixture.pinning.store().clear(),
            &|| fixture.pinning.store().clear_since(at(NOW)),
        ];
        for remove in removals {
            for expected in [Noted::Added, Noted::Refreshed, Noted::Refreshed] {
                let noted = visit(&mut client, "example.com").await.unwrap();
                assert_eq!(noted, expected, "{http:?}");
            }
            remove();
            assert!(fixture.pinning.store().list().is_empty());
        }
        assert_eq!(fixture.server.connections(), 1);
    }
}

#[tokio::test]
async fn static_pins_that_fail_stop_the_refreshes() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let mut client = fixture.client();
        for _ in 0..3 {
            visit(&mut client, "example.com").await.unwrap();
        }
        let pin_to = |policy| fixture.pinning.replace_pins([("example.com", policy)]);
        pin_to(policy_with(unrelated_pin())).unwrap();
        fixture.clock.set(NOW + 1);
        let error = visit(&mut client, "example.com").await.unwrap_err();
        assert!(PinViolation::find(&error).is_some());
        fixture.assert_noted("example.com", NOW, NOW + 1000);
        pin_to(policy_with(fixture.leaf.pin())).unwrap();
        let noted = visit(&mut client, "example.com").await.unwrap();
        assert_eq!(noted, Noted::Refreshed);
        fixture.assert_noted("example.com", NOW + 1, NOW + 1001);
    }
}

/// One of two connections with the same header notes it before the clock is set back by a second.
#[tokio::test]
async fn a_clock_that_is_set_back_is_noticed_on_each_connection() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let (mut one, mut other) = (fixture.client(), fixture.client());
        for _ in 0..3 {
            visit(&mut one, "example.com").await.unwrap();
        }
        fixture.clock.set(NOW + 1);
        visit(&mut other, "example.com").await.unwrap();
        fixture.assert_noted("example.com", NOW + 1, NOW + 1001);
        fixture.clock.set(NOW);
        visit(&mut one, "example.com").await.unwrap();
        fixture.assert_noted("example.com", NOW, NOW + 1000);
    }
}

/// Within one second, the last header is the one that is kept.
#[tokio::test]
async fn a_header_is_noted_again_after_another_connection_has_noted_another_one() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let (mut one, mut other) = (fixture.client(), fixture.client());
        let values = [
            fixture.value(1, "max-age=10"),
            fixture.value(2, "max-age=10"),
        ];
        let pins = |backup| fixture.pinning.store().list()[0].pins.contains(&backup);
        for _ in 0..3 {
            for (client, backup) in [(&mut one, 1), (&mut other, 2)] {
                fixture.set_header(&values[usize::from(backup) - 1]);
                for _ in 0..3 {
                    visit(client, "example.com").await.unwrap();
                    assert!(pins(SpkiFingerprint::from_digest([backup; 32])), "{http:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_same_header_is_noted_for_each_host() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let mut client = fixture.client();
        for name in ["example.com", "www.example.com"] {
            for expected in [Noted::Added, Noted::Refreshed, Noted::Refreshed] {
                assert_eq!(visit(&mut client, name).await.unwrap(), expected);
            }
        }
        for name in ["EXAMPLE.com", "example.com:443"] {
            assert_eq!(visit(&mut client, name).await.unwrap(), Noted::Refreshed);
        }
        fixture
            .pinning
            .store()
            .forget(&Host::parse("www.example.com").unwrap());
        let noted = visit(&mut client, "example.com").await.unwrap();
        assert_eq!(noted, Noted::Refreshed);
        let noted = visit(&mut client, "www.example.com").await.unwrap();
        assert_eq!(noted, Noted::Added);
    }
}

/// A layer below sends requests to another host, whose header and connection the response has.
#[tokio::test]
async fn a_connection_to_another_host_is_not_used_for_noting() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let pool: HyperClient =
            Client::builder(TokioExecutor::new()).build(fixture.connector.clone());
        let redirected = pool.map_request(|mut request: http::Request<Empty<bytes::Bytes>>| {
            *request.uri_mut() = http::Uri::from_static("https://example.com/");
            request
        });
        let mut client = NotePinsLayer::new(fixture.pinning.clone()).layer(redirected);
        for _ in 0..3 {
            visit(&mut client, "example.com").await.unwrap();
        }
        for _ in 0..2 {
            let noted = visit(&mut client, "www.example.com").await.unwrap();
            assert_eq!(noted, Noted::Ignored(IgnoreReason::OtherHost));
        }
        for (uri, reason) in [
            ("http://example.com/", IgnoreReason::InsecureTransport),
            ("https://[::1]/", IgnoreReason::NoHost),
        ] {
            let request = http::Request::get(uri);
            let response = client.call(request.body(Empty::new()).unwrap()).await;
            let noted = response.unwrap().extensions().get::<Noted>().cloned();
            assert_eq!(noted, Some(Noted::Ignored(reason)), "{http:?}");
        }
    }
}

#[tokio::test]
async fn a_header_that_changes_and_changes_back_is_noted_each_time() {
    for http in BOTH {
        let fixture = fixture(http).await;
        let mut client = fixture.client();
        let (one, other) = (
            fixture.value(1, "max-age=10"),
            fixture.value(2, "max-age=20"),
        );
        let removed = Noted::Removed(RemovalReason::MaxAgeZero);
        for (value, expected, backup) in [
            (&*one, Noted::Added, 1),
            (&*other, Noted::Refreshed, 2),
            (&*one, Noted::Refreshed, 1),
            ("max-age=0", removed, 0),
            (&*one, Noted::Added, 1),
            (&*other, Noted::Refreshed, 2),
        ] {
            fixture.set_header(value);
            let mut expected = expected;
            for _ in 0..3 {
                assert_eq!(visit(&mut client, "example.com").await.unwrap(), expected);
                let list = fixture.pinning.store().list();
                expected = if list.is_empty() {
                    Noted::Ignored(IgnoreReason::NotKnown)
                } else {
                    Noted::Refreshed
                };
                let pin = SpkiFingerprint::from_digest([backup; 32]);
                let end = at(NOW + 10 * u64::from(backup));
                assert!(list.iter().all(|entry| entry.pins.contains(&pin)));
                assert!(list.iter().all(|entry| entry.expires_at == end));
            }
        }
        // A malformed header in between changes nothing.
        fixture.set_header("max-age");
        let noted = visit(&mut client, "example.com").await.unwrap();
        assert!(matches!(noted, Noted::Ignored(IgnoreReason::Header(_))));
        fixture.set_header(&other);
        let noted = visit(&mut client, "example.com").await.unwrap();
        assert_eq!(noted, Noted::Refreshed);
        assert_eq!(fixture.server.connections(), 1);
    }
}
