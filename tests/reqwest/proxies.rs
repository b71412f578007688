//! reqwest through proxies: CONNECT over HTTP and HTTPS, SOCKS5, and mitmproxy.

use std::sync::Arc;

use crate::common::peers::Peer;
use crate::common::pki::{Ca, Leaf};
use crate::common::proxy::Proxy;
use crate::common::reqwests::{connection, fetch, noted, violation};
use crate::common::server::{Names, Server, answer};
use crate::common::tls_setup::{TlsSetup, builder, is_known, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{TIMEOUT, header_value, policy_with, unrelated_pin};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::reqwest::{NotingClient, RequestError};
use pinhold::roots::AnchorOrigin;
use pinhold::{Decision, Pinning, PinningBuilder, TrustAnchors};
use rustls::server::NoServerSessionStorage;

const HOST: &str = "example.com";
const URL: &str = "https://example.com/";

/// A server that sends pins, and the certificate of a proxy before it.
struct Fixture {
    leaf: Leaf,
    proxy_leaf: Leaf,
    anchors: TrustAnchors,
    server: Server,
    names: Names,
}

impl Fixture {
    async fn new(setup: &TlsSetup) -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&[HOST]);
        let value = header_value(leaf.pin(), "max-age=100");
        Self {
            proxy_leaf: root.leaf(&["proxy.example"]),
            anchors: built_in_anchors(&[&root]),
            server: setup.serve(&leaf, &[("public-key-pins", &value)]).await,
            names: Names::default(),
            leaf,
        }
    }

    /// Starts an HTTPS proxy that resumes no sessions.
    async fn https_proxy(&self, setup: &TlsSetup) -> Proxy {
        let mut config = setup.config(&self.proxy_leaf);
        config.alpn_protocols.clear();
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let proxy = Proxy::connect(self.server.address, Some(config)).await;
        self.names.point_to("proxy.example", proxy.address);
        proxy
    }

    /// A client that makes a connection for each request.
    fn client(&self, setup: &TlsSetup, pinning: &Pinning, proxy: &str) -> NotingClient {
        let proxy = reqwest::Proxy::all(proxy).unwrap();
        let client = setup.noting(pinning, &self.anchors, &self.names);
        let client =
            client.configure(move |builder| builder.proxy(proxy.clone()).pool_max_idle_per_host(0));
        client.https_or_http().build().unwrap()
    }
}

#[tokio::test]
async fn pins_are_enforced_and_noted_through_proxies() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let target = fixture.server.address;
        let proxies = [
            (Proxy::connect(target, None).await, "http"),
            (Proxy::socks5(target).await, "socks5"),
            (Proxy::socks5(target).await, "socks5h"),
            (fixture.https_proxy(&setup).await, "https"),
        ];
        fixture.names.point(HOST, &fixture.server);
        for (proxy, scheme) in proxies {
            let address = match scheme {
                "https" => "https://proxy.example".to_owned(),
                _ => format!("{scheme}://{}", proxy.address),
            };
            let before = fixture.server.requests();
            let wrong = builder().static_pins(HOST, policy_with(unrelated_pin()));
            let client = fixture.client(&setup, &wrong.build().unwrap(), &address);
            let error = fetch(&client, URL).await.unwrap_err();
            assert_eq!(violation(&error).unwrap().host().as_str(), HOST);
            assert_eq!(fixture.server.requests(), before, "{scheme}");

            let right = builder().static_pins(HOST, policy_with(fixture.leaf.pin()));
            let right = right.build().unwrap();
            let client = fixture.client(&setup, &right, &address);
            let response = fetch(&client, URL).await.unwrap();
            let seen = connection(&response).unwrap();
            assert_eq!(seen.chain().fingerprints()[0], fixture.leaf.pin());
            assert!(matches!(seen.decision(), Decision::Pass));
            // The header field in the proxy's response to CONNECT has no effect.
            assert_eq!(noted(&response), Some(&Noted::Added), "{scheme}");
            assert_eq!(proxy.tunnels(), 2);
        }
    }
}

#[tokio::test]
async fn an_https_proxy_must_satisfy_the_pins_of_its_own_name() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let proxy = fixture.https_proxy(&setup).await;
        for (pin, passes) in [(unrelated_pin(), false), (fixture.proxy_leaf.pin(), true)] {
            let pinning = builder().static_pins("proxy.example", policy_with(pin));
            let pinning = pinning.build().unwrap();
            let client = fixture.client(&setup, &pinning, "https://proxy.example");
            let visit = fetch(&client, URL).await;
            assert_eq!(visit.is_ok(), passes);
            if let Err(error) = visit {
                let violation = violation(&error).unwrap();
                assert_eq!(violation.host().as_str(), "proxy.example");
                assert_eq!(proxy.tunnels(), 0);
            }
        }
        assert_eq!(proxy.tunnels(), 1);
    }
}

#[tokio::test]
async fn the_chain_of_a_proxy_is_not_mistaken_for_that_of_the_server() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let _proxy = fixture.https_proxy(&setup).await;
        let pinning = builder().build().unwrap();
        let client = fixture.client(&setup, &pinning, "https://proxy.example");
        let full = fetch(&client, URL).await.unwrap();
        assert_eq!(noted(&full), Some(&Noted::Added));
        full.bytes().await.unwrap();
        // The second handshake with the proxy is full again, that with the server is resumed.
        let resumed = fetch(&client, URL).await.unwrap();
        assert_eq!(noted(&resumed), Some(&Noted::Refreshed));
        let seen = connection(&resumed).unwrap();
        assert!(seen.is_resumed());
        assert_eq!(seen.chain().served(), fixture.leaf.chain);
        assert!(!is_known(&pinning, "proxy.example"));
    }
}

#[tokio::test]
async fn plain_http_through_a_proxy_notes_nothing() {
    let setup = &tls_setups()[0];
    let fixture = Fixture::new(setup).await;
    let value = header_value(fixture.proxy_leaf.pin(), "max-age=100");
    let fields = [("public-key-pins", &*value)];
    let plain = Server::plain(answer(&fields)).await;
    let secure = setup.serve(&fixture.proxy_leaf, &fields).await;
    fixture.names.point("proxy.example", &secure);
    let plain = format!("http://{}", plain.address);
    for proxy in [&*plain, "https://proxy.example"] {
        let pinning = builder().build().unwrap();
        let client = fixture.client(setup, &pinning, proxy);
        for url in ["http://example.com/", "http://proxy.example/"] {
            let response = fetch(&client, url).await.unwrap();
            let ignored = Noted::Ignored(IgnoreReason::InsecureTransport);
            assert_eq!(noted(&response), Some(&ignored), "{url} by {proxy}");
            assert!(connection(&response).is_none());
        }
        assert!(pinning.store().list().is_empty());
    }
    assert_eq!(secure.requests(), 2);
}

/// mitmproxy before a server: as a CONNECT proxy, or in place of the server.
enum Inspector {
    Connect,
    Reverse,
}

impl Inspector {
    fn start(&self, server: &Server) -> Option<Peer> {
        match self {
            Self::Connect => Peer::mitmproxy(server.address),
            Self::Reverse => Peer::reverse_mitmproxy(server.address),
        }
    }

    /// Sends a request with the system's clock, because mitmproxy's certificates begin today.
    async fn visit(
        &self,
        peer: &Peer,
        pinning: PinningBuilder,
        anchors: &TrustAnchors,
    ) -> Result<reqwest::Response, RequestError> {
        let names = Names::default();
        let client = tls_setups()[0].noting(&pinning.build().unwrap(), anchors, &names);
        let client = match self {
            Self::Connect => {
                let proxy = format!("http://{}", peer.address);
                let proxy = reqwest::Proxy::all(proxy).unwrap();
                client.configure(move |builder| builder.proxy(proxy.clone()))
            }
            Self::Reverse => {
                names.point_to(HOST, peer.address);
                client
            }
        };
        let client = client.build().unwrap();
        let visit = tokio::time::timeout(TIMEOUT, fetch(&client, URL)).await;
        visit.expect("a response within the time limit")
    }
}

#[tokio::test]
async fn mitmproxy_is_refused_or_accepted_according_to_the_origin_of_its_root() {
    for inspector in [Inspector::Connect, Inspector::Reverse] {
        let fixture = Fixture::new(&tls_setups()[0]).await;
        let Some(peer) = inspector.start(&fixture.server) else {
            return;
        };
        let root = [peer.root_of_mitmproxy()];
        let unknown = fixture.anchors.clone().with_unknown(root.clone()).unwrap();
        let user_added = fixture.anchors.clone().with_user_added(root).unwrap();
        let pinned = || Pinning::builder().static_pins(HOST, policy_with(fixture.leaf.pin()));

        let error = inspector.visit(&peer, pinned(), &fixture.anchors).await;
        assert!(violation(&error.unwrap_err()).is_none(), "no trusted root");
        let error = inspector.visit(&peer, pinned(), &unknown).await;
        let violation = violation(&error.unwrap_err()).unwrap();
        assert_eq!(violation.chain().anchor_origin(), AnchorOrigin::Unknown);
        assert_eq!(fixture.server.requests(), 0);

        let response = inspector.visit(&peer, pinned(), &user_added).await.unwrap();
        let seen = connection(&response).unwrap();
        assert!(matches!(seen.decision(), Decision::Skipped));
        let ignored = IgnoreReason::AnchorNotBuiltIn(AnchorOrigin::UserAdded);
        assert_eq!(noted(&response), Some(&Noted::Ignored(ignored)));
        assert_eq!(response.text().await.unwrap(), "ok");
    }
}

/// The validated chain is that of the proxy, which forwards the request unencrypted.
#[tokio::test]
async fn plain_http_through_an_https_proxy_is_refused_by_a_plain_reqwest_client() {
    let setup = &tls_setups()[0];
    let fixture = Fixture::new(setup).await;
    let secure = setup.serve(&fixture.proxy_leaf, &[]).await;
    fixture.names.point("proxy.example", &secure);
    let pinning = builder().static_pins(HOST, policy_with(unrelated_pin()));
    let client = setup.reqwest(&pinning.build().unwrap(), &fixture.anchors, &fixture.names);
    let proxy = reqwest::Proxy::all("https://proxy.example").unwrap();
    let client = client.https_only(false).proxy(proxy).build().unwrap();
    for _ in 0..2 {
        assert!(client.get("http://example.com/").send().await.is_err());
    }
    assert_eq!(secure.requests(), 0);
}

#[tokio::test]
async fn a_plain_reqwest_client_connects_through_proxies() {
    let setup = &tls_setups()[0];
    let fixture = Fixture::new(setup).await;
    let target = fixture.server.address;
    fixture.names.point(HOST, &fixture.server);
    let proxies = [
        (Proxy::connect(target, None).await, "http"),
        (Proxy::socks5(target).await, "socks5h"),
        (fixture.https_proxy(setup).await, "https"),
    ];
    let pinning = builder().static_pins(HOST, policy_with(fixture.leaf.pin()));
    let pinning = pinning.build().unwrap();
    for (proxy, scheme) in proxies {
        let address = match scheme {
            "https" => "https://proxy.example".to_owned(),
            _ => format!("{scheme}://{}", proxy.address),
        };
        let client = setup.reqwest(&pinning, &fixture.anchors, &fixture.names);
        let client = client.proxy(reqwest::Proxy::all(address).unwrap());
        let response = client.build().unwrap().get(URL).send().await;
        assert!(response.is_ok(), "{scheme}: {response:?}");
        assert_eq!(proxy.tunnels(), 1);
    }
}
