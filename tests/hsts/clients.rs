//! What is noted, and which requests are sent over TLS, by hyper's client with the layer.

use std::sync::Arc;

use bytes::Bytes;
use pinhold::hsts::{HstsIgnored, HstsNoted, HstsOptions, HstsPreload};
use pinhold::{FileStorage, Host, PinStore, Pinning, TrustAnchors};

use crate::common::noted::temp_dir;
use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Names, Request, Server, answer, client, full, get, server_config};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, NOW, provider};

const STS: &str = "strict-transport-security";
const HOSTS: [&str; 6] = [
    "example.com",
    "EXAMPLE.com",
    "example.com.",
    "www.example.com",
    "other.example",
    "127.0.0.1",
];

pub(crate) struct Fixture {
    pub(crate) root: Ca,
    pub(crate) leaf: Leaf,
    pub(crate) anchors: TrustAnchors,
    pub(crate) clock: Arc<Clock>,
    pub(crate) pinning: Pinning,
}

pub(crate) type Visit = Result<http::Response<Bytes>, hyper_util::client::legacy::Error>;

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(HstsOptions::new(), PinStore::in_memory())
    }

    pub(crate) fn with(options: HstsOptions, store: PinStore) -> Self {
        let root = Ca::root("Root");
        let clock = Clock::new();
        let pinning = Pinning::builder().hsts(options).store(store);
        Self {
            leaf: root.leaf(&["example.com", "www.example.com", "127.0.0.1"]),
            anchors: built_in_anchors(&[&root]),
            root,
            pinning: pinning.time_provider(clock.clone()).build().unwrap(),
            clock,
        }
    }

    pub(crate) async fn visit(&self, uri: &str, server: &Server) -> Visit {
        let names = Names::new(HOSTS.map(|host| (host, server)));
        get(
            &mut client(&self.pinning, self.anchors.clone(), &names),
            uri,
        )
        .await
    }

    pub(crate) async fn receive(&self, uri: &str, value: &str) -> Option<HstsNoted> {
        let server = Server::start(&self.leaf, &[(STS, value)]).await;
        let response = self.visit(uri, &server).await.unwrap();
        response.extensions().get().cloned()
    }

    /// Returns whether a server without TLS, as of an attacker, receives no request for this URI.
    pub(crate) async fn is_upgraded(&self, uri: &str) -> bool {
        let attacker = Server::plain(answer(&[])).await;
        let visit = self.visit(uri, &attacker).await;
        assert_eq!(visit.is_ok(), attacker.requests() == 1, "{uri}");
        visit.is_err()
    }

    pub(crate) fn is_known(&self, name: &str) -> bool {
        let now = rustls::time_provider::TimeProvider::current_time(&*self.clock);
        self.pinning
            .is_hsts_host(&Host::parse(name).unwrap(), now.unwrap())
    }
}

/// 6797-8.1-a, 6797-8.2-b, 6797-8.3-a, 6797-11.4.1-a
#[tokio::test]
async fn a_plain_server_receives_no_request_for_a_known_host() {
    let fixture = Fixture::new();
    assert!(!fixture.is_upgraded("http://example.com/").await);
    let noted = fixture.receive("https://example.com/", "max-age=100").await;
    assert_eq!(noted, Some(HstsNoted::Added));
    for uri in [
        "http://example.com/",
        "http://EXAMPLE.com:80/",
        "http://example.com:8080/",
        "http://user:pass@example.com/",
    ] {
        assert!(fixture.is_upgraded(uri).await, "{uri}");
        assert!(fixture.is_upgraded(uri).await, "{uri}: again");
    }
    assert!(!fixture.is_upgraded("http://www.example.com/").await);
    assert!(!fixture.is_upgraded("http://other.example/").await);
}

/// 6797-8.1-c
#[tokio::test]
async fn a_field_without_tls_is_ignored() {
    let fixture = Fixture::new();
    let server = Server::plain(answer(&[(STS, "max-age=100")])).await;
    let response = fixture.visit("http://example.com/", &server).await.unwrap();
    let ignored = HstsNoted::Ignored(HstsIgnored::InsecureTransport);
    assert_eq!(response.extensions().get(), Some(&ignored));
    assert!(fixture.pinning.store().hsts_hosts().is_empty());
}

/// 6797-8.1-b
#[tokio::test]
async fn only_the_first_field_is_processed() {
    let fixture = Fixture::new();
    let fields = [(STS, "max-age=0"), (STS, "max-age=100")];
    let server = Server::start(&fixture.leaf, &fields).await;
    fixture
        .visit("https://example.com/", &server)
        .await
        .unwrap();
    assert!(!fixture.is_known("example.com"));
}

/// 6797-6.1.1-c
#[tokio::test]
async fn max_age_zero_removes_an_entry_also_with_include_sub_domains() {
    let fixture = Fixture::new();
    for value in ["max-age=0", "max-age=0; includeSubDomains"] {
        fixture
            .receive("https://example.com/", "max-age=9; includeSubDomains")
            .await;
        assert!(fixture.is_known("www.example.com"));
        let removed = fixture.receive("https://example.com/", value).await;
        assert_eq!(removed, Some(HstsNoted::Removed), "{value}");
        for name in ["example.com", "www.example.com"] {
            assert!(!fixture.is_known(name), "{value}: {name}");
        }
    }
}

/// 6797-8.1-e
#[tokio::test]
async fn each_field_replaces_the_entry_of_its_host() {
    let fixture = Fixture::new();
    let first = "max-age=1000; includeSubDomains";
    fixture.receive("https://example.com/", first).await;
    let refreshed = fixture.receive("https://example.com/", "max-age=10").await;
    assert_eq!(refreshed, Some(HstsNoted::Refreshed));
    assert!(!fixture.is_known("www.example.com"));
    fixture.clock.set(NOW + 10);
    assert!(fixture.is_known("example.com"));
    fixture.clock.set(NOW + 11);
    assert!(!fixture.is_known("example.com"));
}

/// 6797-8.5-a, 6797-8.6-a
#[tokio::test]
async fn a_body_notes_nothing_and_a_missing_field_removes_nothing() {
    let fixture = Fixture::new();
    let meta = "<meta http-equiv=\"Strict-Transport-Security\" content=\"max-age=100\">";
    let config = server_config(&fixture.leaf, provider(), rustls::ALL_VERSIONS);
    let server = Server::with_config(config, move |_: &Request| {
        let response = http::Response::builder().header("content-type", "text/html");
        response.body(full(meta)).unwrap()
    });
    let server = server.await;
    let uri = "https://example.com/";
    let response = fixture.visit(uri, &server).await.unwrap();
    assert!(response.extensions().get::<HstsNoted>().is_none());
    assert!(!fixture.is_known("example.com"));
    fixture.receive(uri, "max-age=100").await;
    fixture.visit(uri, &server).await.unwrap();
    assert!(fixture.is_known("example.com"));
}

/// 6797-8.1.1-a, 6797-8.2-d
#[tokio::test]
async fn an_ip_address_is_neither_noted_nor_upgraded() {
    let fixture = Fixture::new();
    let noted = fixture.receive("https://127.0.0.1/", "max-age=100").await;
    assert_eq!(noted, Some(HstsNoted::Ignored(HstsIgnored::NoHost)));
    assert!(!fixture.is_upgraded("http://127.0.0.1/").await);
}

/// 6797-8.2-c
#[tokio::test]
async fn cve_2022_30115_a_trailing_dot_does_not_matter_in_either_direction() {
    for (noted, requested) in [
        ("https://example.com/", "http://example.com./"),
        ("https://example.com./", "http://example.com/"),
    ] {
        let fixture = Fixture::new();
        assert_eq!(
            fixture.receive(noted, "max-age=100").await,
            Some(HstsNoted::Added)
        );
        assert!(fixture.is_upgraded(requested).await, "{requested}");
    }
}

/// 6797-6.1.1-b, 6797-6.1.2-a, 6797-8.1-d, 6797-8.1.1-b, 6797-8.1.1-c, 6797-8.2-a
#[tokio::test]
async fn cve_2024_9681_an_entry_of_a_subdomain_does_not_change_its_parent() {
    let fixture = Fixture::new();
    fixture
        .receive("https://example.com/", "max-age=1000; includeSubDomains")
        .await;
    fixture
        .receive("https://www.example.com/", "max-age=10")
        .await;
    fixture.clock.set(NOW + 11);
    // 6797-8.2-a
    assert!(fixture.is_upgraded("http://example.com/").await);
    assert!(fixture.is_upgraded("http://www.example.com/").await);
    // 6797-8.1-d: `max-age=0` removes the entry of its host only.
    fixture
        .receive("https://www.example.com/", "max-age=10")
        .await;
    let removed = fixture
        .receive("https://www.example.com/", "max-age=0")
        .await;
    assert_eq!(removed, Some(HstsNoted::Removed));
    assert!(fixture.is_known("example.com") && fixture.is_known("www.example.com"));
    fixture.clock.set(NOW + 1001);
    assert!(!fixture.is_known("example.com"));
    assert!(!fixture.is_upgraded("http://www.example.com/").await);
}

#[cfg(feature = "idn")]
#[tokio::test]
async fn cve_2022_42916_and_43551_other_full_stops_are_the_same_host() {
    let fixture = Fixture::new();
    fixture.receive("https://example.com/", "max-age=100").await;
    for name in [
        "example\u{3002}com",
        "example\u{ff0e}com",
        "example\u{ff61}com",
    ] {
        assert!(fixture.is_known(name), "{name}");
    }
}

/// 6797-8.4-a
#[tokio::test]
async fn a_certificate_error_of_a_known_host_is_final() {
    let fixture = Fixture::new();
    fixture.receive("https://example.com/", "max-age=100").await;
    let impostor = Server::start(&Ca::root("Impostor").leaf(&["example.com"]), &[]).await;
    for uri in ["https://example.com/", "http://example.com/"] {
        assert!(fixture.visit(uri, &impostor).await.is_err(), "{uri}");
    }
    assert_eq!(impostor.requests(), 0);
}

#[tokio::test]
async fn a_stored_host_is_known_after_a_restart_until_it_is_forgotten() {
    let folder = temp_dir();
    let path = folder.path().join("noted.jsonl");
    let open = || PinStore::open(FileStorage::new(&path)).unwrap();
    let fixture = Fixture::with(HstsOptions::new(), open());
    fixture.receive("https://example.com/", "max-age=100").await;
    // The response was returned after the entry was durable: no handle was dropped.
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("example.com"), "{text}");
    drop(fixture);
    let fixture = Fixture::with(HstsOptions::new(), open());
    assert!(fixture.is_upgraded("http://example.com/").await);
    let host = Host::parse("example.com").unwrap();
    assert!(fixture.pinning.store().forget_hsts(&host).is_some());
    fixture.pinning.store().flush().unwrap();
    drop(fixture);
    let fixture = Fixture::with(HstsOptions::new(), open());
    assert!(!fixture.is_upgraded("http://example.com/").await);
}

#[tokio::test]
async fn a_preloaded_host_is_known_at_once_and_no_header_removes_it() {
    let list = r#"{"entries": [{"name": "example.com", "mode": "force-https"}]}"#;
    let options = HstsOptions::new().preload(HstsPreload::parse(list).unwrap());
    let fixture = Fixture::with(options, PinStore::in_memory());
    assert!(fixture.is_upgraded("http://example.com/").await);
    fixture.receive("https://example.com/", "max-age=0").await;
    assert!(fixture.is_upgraded("http://example.com/").await);
}
