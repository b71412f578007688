//! Clients of reqwest that enforce and note pins, in real handshakes over TLS 1.2 and 1.3, with
//! every crypto provider of the build.

use std::sync::Arc;

use crate::common::pki::{Ca, Leaf};
use crate::common::reqwests::{connection, fetch, noted, violation};
use crate::common::server::{Names, Server, answer, server_config};
use crate::common::tls_setup::{TlsSetup, builder, is_known, pinning_with, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{header_value, policy_with, provider, unrelated_pin};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::reqwest::{ClientBuildError, RequestError};
use pinhold::roots::AnchorOrigin;
use pinhold::{Decision, PinViolation, Pinning, TrustAnchors};
use reqwest::{Error, Response, Version};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tower::ServiceExt;

const HOST: &str = "example.com";
const URL: &str = "https://example.com/";

/// Sends a GET request by a new client.
async fn visit(
    setup: &TlsSetup,
    pinning: &Pinning,
    anchors: &TrustAnchors,
    server: &Server,
) -> Result<Response, Error> {
    let names = Names::new([(HOST, server)]);
    let client = setup.reqwest(pinning, anchors, &names).build().unwrap();
    client.get(URL).send().await
}

#[tokio::test]
async fn a_pinned_server_is_reached_over_both_versions_of_http() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&[HOST]);
        let pinning = pinning_with(policy_with(leaf.pin()));
        for (alpn, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
            let mut config = setup.config(&leaf);
            config.alpn_protocols = vec![alpn.into()];
            let server = Server::with_config(config, answer(&[])).await;
            let response = visit(&setup, &pinning, &built_in_anchors(&[&root]), &server).await;
            let response = response.unwrap();
            assert_eq!(response.version(), version);
            assert_eq!(response.text().await.unwrap(), "ok");
        }
    }
}

#[tokio::test]
async fn a_mis_issued_chain_with_the_genuine_certificate_appended_is_refused() {
    for setup in tls_setups() {
        let (genuine_root, other_root) = (Ca::root("Genuine"), Ca::root("Other"));
        let genuine = genuine_root.leaf(&[HOST]);
        let mis_issued = other_root
            .leaf(&[HOST])
            .with_appended(genuine.chain.clone());
        let anchors = built_in_anchors(&[&genuine_root, &other_root]);
        let pinning = pinning_with(policy_with(genuine.pin()));
        for alpn in ["h2", "http/1.1"] {
            let mut config = setup.config(&mis_issued);
            config.alpn_protocols = vec![alpn.into()];
            let server = Server::with_config(config, answer(&[])).await;
            let error = visit(&setup, &pinning, &anchors, &server)
                .await
                .unwrap_err();
            assert!(error.is_connect());
            let violation = violation(&error).unwrap();
            assert_eq!(violation.chain().served(), mis_issued.chain);

            let names = Names::new([(HOST, &server)]);
            let client = setup.noting(&pinning, &anchors, &names).build().unwrap();
            let error = fetch(&client, URL).await.unwrap_err();
            assert!(crate::common::reqwests::violation(&error).is_some());
            assert_eq!(server.requests(), 0);
        }
    }
}

#[tokio::test]
async fn a_wrong_name_or_unknown_root_is_not_reported_as_a_pin_violation() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        for leaf in [root.leaf(&["example.net"]), Ca::root("No").leaf(&[HOST])] {
            let server = setup.serve(&leaf, &[]).await;
            let pinning = pinning_with(policy_with(leaf.pin()));
            let visit = visit(&setup, &pinning, &built_in_anchors(&[&root]), &server).await;
            let error = visit.unwrap_err();
            assert!(error.is_connect() && violation(&error).is_none());
            assert_eq!(server.requests(), 0);
        }
    }
}

/// Serves a certificate without having its private key.
#[derive(Debug)]
struct Replay(Arc<CertifiedKey>);

impl ResolvesServerCert for Replay {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn no_pins_are_noted_from_a_replayed_certificate() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let genuine = root.leaf(&[HOST]);
        let own_key = root.leaf(&["attacker.example"]).key();
        let key = setup.provider.key_provider.load_private_key(own_key);
        let replayed = CertifiedKey::new(genuine.chain.clone(), key.unwrap());
        let mut config = setup.config(&genuine);
        config.cert_resolver = Arc::new(Replay(Arc::new(replayed)));
        let value = header_value(genuine.pin(), "max-age=100");
        let server = Server::with_config(config, answer(&[("public-key-pins", &value)])).await;
        let names = Names::new([(HOST, &server)]);
        let pinning = pinning_with(policy_with(genuine.pin()));
        let client = setup.noting(&pinning, &built_in_anchors(&[&root]), &names);
        let error = fetch(&client.build().unwrap(), URL).await.unwrap_err();
        assert!(violation(&error).is_none());
        assert!(!is_known(&pinning, HOST));
        let rollout = pinning.rollout(&HOST.try_into().unwrap()).unwrap();
        assert_eq!(
            rollout.connections, 0,
            "the server has not proved possession of the key"
        );
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn pins_are_skipped_for_a_user_added_root_and_the_response_shows_it() {
    for setup in tls_setups() {
        let (root, proxy) = (Ca::root("Root"), Ca::root("Proxy"));
        let leaf = proxy.leaf(&[HOST]);
        let user_added = [proxy.certificate()];
        let anchors = built_in_anchors(&[&root])
            .with_user_added(user_added)
            .unwrap();
        let pinning = pinning_with(policy_with(unrelated_pin()));
        let value = header_value(leaf.pin(), "max-age=100");
        let server = setup.serve(&leaf, &[("public-key-pins", &value)]).await;
        let names = Names::new([(HOST, &server)]);
        let client = setup.noting(&pinning, &anchors, &names).build().unwrap();
        let response = fetch(&client, URL).await.unwrap();
        let seen = connection(&response).unwrap();
        assert!(matches!(seen.decision(), Decision::Skipped));
        let ignored = IgnoreReason::AnchorNotBuiltIn(AnchorOrigin::UserAdded);
        assert_eq!(noted(&response), Some(&Noted::Ignored(ignored)));
    }
}

/// A server that sends pins, and what a client needs to connect to it.
struct Fixture {
    leaf: Leaf,
    server: Server,
    names: Names,
    anchors: TrustAnchors,
    pinning: Pinning,
}

async fn fixture(setup: &TlsSetup) -> Fixture {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let value = header_value(leaf.pin(), "max-age=100");
    let server = setup.serve(&leaf, &[("public-key-pins", &value)]).await;
    Fixture {
        names: Names::new([(HOST, &server)]),
        anchors: built_in_anchors(&[&root]),
        pinning: pinning_with(policy_with(leaf.pin())),
        leaf,
        server,
    }
}

#[tokio::test]
async fn a_session_is_resumed_until_the_pins_change() {
    for setup in tls_setups() {
        let fixture = fixture(&setup).await;
        let client = setup.noting(&fixture.pinning, &fixture.anchors, &fixture.names);
        let client = client.configure(|builder| builder.pool_max_idle_per_host(0));
        let client = client.build().unwrap();
        let first = fetch(&client, URL).await.unwrap();
        assert_eq!(noted(&first), Some(&Noted::Added));
        // The client reads the tickets of TLS 1.3 together with the body.
        first.bytes().await.unwrap();

        let resumed = fetch(&client, URL).await.unwrap();
        assert_eq!(noted(&resumed), Some(&Noted::Refreshed));
        assert!(connection(&resumed).unwrap().is_resumed());
        resumed.bytes().await.unwrap();
        assert_eq!(fixture.server.connections(), 2);

        let other = [(HOST, policy_with(unrelated_pin()))];
        fixture.pinning.replace_pins(other).unwrap();
        let error = fetch(&client, URL).await.unwrap_err();
        assert!(violation(&error).is_some());
        assert_eq!(fixture.server.requests(), 2);
    }
}

#[tokio::test]
async fn an_open_connection_stays_in_use_when_pins_change() {
    let setup = &tls_setups()[0];
    let fixture = fixture(setup).await;
    let build = || setup.reqwest(&fixture.pinning, &fixture.anchors, &fixture.names);
    let (pooling, without_pool) = (build(), build().pool_max_idle_per_host(0));
    let clients = [pooling.build().unwrap(), without_pool.build().unwrap()];
    for client in &clients {
        let response = client.get(URL).send().await.unwrap();
        response.bytes().await.unwrap();
    }
    let other = [(HOST, policy_with(unrelated_pin()))];
    fixture.pinning.replace_pins(other).unwrap();
    let [pooling, without_pool] = &clients;
    assert!(
        pooling.get(URL).send().await.is_ok(),
        "the limit that the documentation states"
    );
    let workarounds = [without_pool, &build().build().unwrap()];
    for client in workarounds {
        let error = client.get(URL).send().await.unwrap_err();
        assert!(violation(&error).is_some());
    }
}

#[tokio::test]
async fn concurrent_first_connections_are_each_associated_with_their_own_chain() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let hosts = ["a.example", "b.example", "c.example"];
        let names = Names::default();
        let mut servers = Vec::new();
        for host in hosts {
            let leaf = root.leaf(&[host]);
            let value = header_value(leaf.pin(), "max-age=100");
            let server = setup.serve(&leaf, &[("public-key-pins", &value)]).await;
            names.point(host, &server);
            servers.push((leaf, server));
        }
        let pinning = builder().build().unwrap();
        let client = setup.noting(&pinning, &built_in_anchors(&[&root]), &names);
        let client = client.configure(|builder| builder.pool_max_idle_per_host(0));
        let client = client.build().unwrap();
        let mut visits = tokio::task::JoinSet::new();
        for index in 0..12 {
            let (client, url) = (client.clone(), format!("https://{}/", hosts[index % 3]));
            visits.spawn(async move { (index % 3, fetch(&client, &url).await.unwrap()) });
        }
        while let Some(visit) = visits.join_next().await {
            let (index, response) = visit.unwrap();
            // A later connection to the same host may have resumed the session of an earlier one.
            let connection = connection(&response).unwrap();
            assert_eq!(connection.host().unwrap().as_str(), hosts[index]);
            assert_eq!(connection.chain().fingerprints()[0], servers[index].0.pin());
            assert!(connection.chain().handshake_verified());
            let noted = noted(&response);
            assert!(matches!(noted, Some(Noted::Added | Noted::Refreshed)));
        }
        assert_eq!(pinning.store().list().len(), 3);
    }
}

#[tokio::test]
async fn each_response_has_the_chain_of_its_connection_when_the_server_changes() {
    let setup = &tls_setups()[0];
    let root = Ca::root("Root");
    let leaves = [root.leaf(&[HOST]), root.leaf(&[HOST])];
    let pinning = builder().build().unwrap();
    let names = Names::default();
    let config = |builder: reqwest::ClientBuilder| builder.pool_max_idle_per_host(0);
    let client = setup.noting(&pinning, &built_in_anchors(&[&root]), &names);
    let client = client.configure(config).build().unwrap();
    for leaf in [&leaves[0], &leaves[1], &leaves[0]] {
        let server = setup.serve(leaf, &[]).await;
        names.point(HOST, &server);
        let response = fetch(&client, URL).await.unwrap();
        let seen = connection(&response).unwrap();
        assert_eq!(seen.chain().fingerprints()[0], leaf.pin());
    }
}

#[tokio::test]
async fn a_redirect_never_leads_to_plain_http() {
    let setup = &tls_setups()[0];
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let plain = Server::plain(answer(&[])).await;
    let config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
    let server = Server::with_config(config, |_| {
        let response = http::Response::builder().status(302);
        let response = response.header("location", "http://plain.example/");
        response.body(crate::common::server::full("")).unwrap()
    })
    .await;
    let names = Names::new([(HOST, &server), ("plain.example", &plain)]);
    let pinning = pinning_with(policy_with(leaf.pin()));
    let build = || setup.reqwest(&pinning, &built_in_anchors(&[&root]), &names);
    let follow_all = reqwest::redirect::Policy::custom(|attempt| attempt.follow());
    for builder in [
        build(),
        build().redirect(follow_all),
        build().https_only(false),
    ] {
        let client = builder.build().unwrap();
        assert!(client.get(URL).send().await.is_err());
    }
    let build = || setup.noting(&pinning, &built_in_anchors(&[&root]), &names);
    for builder in [
        build(),
        build().https_or_http(),
        build().redirects_by_reqwest(),
    ] {
        let client = builder.build().unwrap();
        assert!(fetch(&client, URL).await.is_err());
    }
    assert_eq!((server.requests(), plain.requests()), (6, 0));
    // reqwest would follow a redirect from http to https, or to a pinned host, by itself.
    let both = build().redirects_by_reqwest().https_or_http().build();
    assert!(matches!(both, Err(ClientBuildError::PlainRedirects)));
}

#[tokio::test]
async fn a_noting_client_is_a_service() {
    let setup = &tls_setups()[0];
    let fixture = fixture(setup).await;
    let client = setup.noting(&fixture.pinning, &fixture.anchors, &fixture.names);
    let client = client.build().unwrap();
    let request = client.reqwest().get(URL).build().unwrap();
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(noted(&response), Some(&Noted::Added));
    let seen = connection(&response).unwrap();
    assert_eq!(seen.chain().fingerprints()[0], fixture.leaf.pin());
    assert!(
        PinViolation::find(&RequestError::PlainHttp {
            host: HOST.try_into().unwrap()
        })
        .is_none()
    );
}

/// Some resolvers accept invalid names below a pinned host, whose cookies would be sent there.
#[tokio::test]
async fn plain_http_to_an_invalid_name_is_refused() {
    let setup = &tls_setups()[0];
    let plain = Server::plain(answer(&[])).await;
    let names = Names::default();
    let policy = policy_with(unrelated_pin()).include_subdomains();
    let root = Ca::root("Root");
    let client = setup.noting(&pinning_with(policy), &built_in_anchors(&[&root]), &names);
    let client = client.https_or_http().build().unwrap();
    for host in [
        "a-.example.com",
        "-a.example.com",
        "a~b.example.com",
        "a..example.com",
    ] {
        names.point_to(host, plain.address);
        let error = fetch(&client, &format!("http://{host}/"))
            .await
            .unwrap_err();
        assert!(matches!(error, RequestError::Host(_)), "{error:?}");
    }
    let address = format!("http://{}/", plain.address);
    assert!(fetch(&client, &address).await.is_ok());
    assert_eq!(plain.requests(), 1);
}
