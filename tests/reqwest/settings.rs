//! TLS settings of reqwest's clients, settings that conflict, and blocking clients.

use std::error::Error as _;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::pki::{Ca, Leaf};
use crate::common::reqwests::{AcceptAll, connection, fetch, is_not_verified, noted, violation};
use crate::common::server::{Names, Server, answer};
use crate::common::tls_setup::{TlsSetup, builder, pinning_with, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, header_value, policy_with, provider, unrelated_pin};
use pinhold::header::Noted;
use pinhold::reqwest::{ClientBuildError, NotingClient};
use pinhold::tls::UnverifiablePath;
use pinhold::{BuildError, Pinning, TrustAnchors};
use reqwest::Version;
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};

const HOST: &str = "example.com";
const URL: &str = "https://example.com/";

/// A server that sends pins, and what a client needs to connect to it.
struct Fixture {
    root: Ca,
    leaf: Leaf,
    server: Server,
    names: Names,
    anchors: TrustAnchors,
}

async fn fixture(setup: &TlsSetup) -> Fixture {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let value = header_value(leaf.pin(), "max-age=100");
    let server = setup.serve(&leaf, &[("public-key-pins", &value)]).await;
    Fixture {
        names: Names::new([(HOST, &server)]),
        anchors: built_in_anchors(&[&root]),
        root,
        leaf,
        server,
    }
}

impl Fixture {
    /// A client that makes a connection for each request.
    fn client(
        &self,
        setup: &TlsSetup,
        pinning: &Pinning,
        configure: impl FnOnce(&mut ClientConfig),
    ) -> reqwest::Client {
        let verifier = setup.verifier(pinning, &self.anchors);
        let builder = pinning.reqwest_client_builder_with(verifier, configure);
        let builder = builder.unwrap().no_proxy().pool_max_idle_per_host(0);
        let names = Arc::new(self.names.clone());
        builder.dns_resolver(names).build().unwrap()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.certificate()).unwrap();
        Arc::new(roots)
    }
}

#[tokio::test]
async fn another_tls_back_end_and_plain_http_are_refused() {
    let setup = &tls_setups()[0];
    let fixture = fixture(setup).await;
    let plain = Server::plain(answer(&[])).await;
    fixture.names.point("plain.example", &plain);
    let pinning = pinning_with(policy_with(fixture.leaf.pin()));
    let build = || setup.reqwest(&pinning, &fixture.anchors, &fixture.names);

    let other = ClientConfig::builder_with_details(provider(), Clock::new())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(fixture.roots())
        .with_no_client_auth();
    let client = build().tls_backend_preconfigured(other).build().unwrap();
    for _ in 0..2 {
        let error = client.get(URL).send().await.unwrap_err();
        assert!(is_not_verified(&error), "{error:?}");
    }
    assert_eq!(fixture.server.requests(), 0);

    let client = build().https_only(false).build().unwrap();
    let error = client.get("http://plain.example/").send().await;
    let error = error.unwrap_err();
    assert!(is_not_verified(&error), "{error:?}");
    assert_eq!(plain.requests(), 0);
}

/// A configuration that accepts every certificate, as an application may have it for its tests.
fn accepting_all(setup: &TlsSetup) -> ClientConfig {
    let algorithms = setup.provider.signature_verification_algorithms;
    let verifier = Arc::new(AcceptAll(algorithms.supported_schemes()));
    let config = ClientConfig::builder_with_provider(setup.provider.clone());
    let config = config.with_protocol_versions(setup.versions).unwrap();
    let mut config = config
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
    config
}

/// The client that allows plain HTTP has no pinning verifier to rely on, so `https` must not reach it.
#[tokio::test]
async fn a_configuration_that_accepts_every_certificate_is_not_used() {
    for setup in tls_setups() {
        for alpn in ["h2", "http/1.1"] {
            let genuine = fixture(&setup).await;
            let self_made = Ca::root("Attacker").leaf(&[HOST]);
            let mut config = setup.config(&self_made);
            config.alpn_protocols = vec![alpn.into()];
            let attacker = Server::with_config(config, answer(&[])).await;
            let names = Names::new([(HOST, &attacker)]);
            let other = reqwest::Client::builder().no_proxy();
            let other = other.tls_backend_preconfigured(accepting_all(&setup));
            let other = other.dns_resolver(Arc::new(names.clone())).build().unwrap();
            assert!(other.get(URL).send().await.is_ok());
            assert_eq!(attacker.requests(), 1);

            let unpinned = builder().build().unwrap();
            let pinned = pinning_with(policy_with(genuine.leaf.pin()));
            for pinning in [unpinned, pinned] {
                let build = |names| {
                    let setup = setup.clone();
                    let client = setup.noting(&pinning, &genuine.anchors, names);
                    client.configure(move |builder| {
                        builder.tls_backend_preconfigured(accepting_all(&setup))
                    })
                };
                let with_http = |names| build(names).https_or_http().build().unwrap();
                let by_reqwest = |names| build(names).redirects_by_reqwest().build().unwrap();
                for client in [with_http(&names), by_reqwest(&names)] {
                    assert!(fetch(&client, URL).await.is_err());
                }
                for client in [with_http(&genuine.names), by_reqwest(&genuine.names)] {
                    assert!(fetch(&client, URL).await.is_ok());
                }
            }
            assert_eq!(attacker.requests(), 1);
        }
    }
}

#[test]
fn early_data_and_missing_trust_anchors_are_refused() {
    let (setup, pinning) = (&tls_setups()[0], builder().build().unwrap());
    let anchors = built_in_anchors(&[&Ca::root("Root")]);
    let verifier = || setup.verifier(&pinning, &anchors);
    let early_data = |config: &mut ClientConfig| config.enable_early_data = true;
    let error = pinning.reqwest_client_builder_with(verifier(), early_data);
    assert!(matches!(error, Err(BuildError::EarlyData)));
    let client = NotingClient::builder(pinning.clone()).with_verifier(verifier(), early_data);
    let error = client.build().unwrap_err();
    assert!(
        matches!(error, ClientBuildError::Pinning(BuildError::EarlyData)),
        "{error:?}"
    );
    let without_anchors = pinning.reqwest_client_builder(TrustAnchors::new());
    assert!(without_anchors.is_err());
    assert!(NotingClient::builder(pinning).build().is_err());
}

#[test]
fn a_verifier_and_trust_anchors_are_not_accepted_together() {
    let (setup, pinning) = (&tls_setups()[0], builder().build().unwrap());
    let anchors = built_in_anchors(&[&Ca::root("Root")]);
    let client = NotingClient::builder(pinning.clone())
        .with_anchors(anchors.clone())
        .with_verifier(setup.verifier(&pinning, &anchors), |_| ());
    let error = client.build().unwrap_err();
    let ClientBuildError::Pinning(BuildError::ConflictingTlsSettings { setting }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(setting, "with_anchors");
}

/// A resumed session is checked by the pins of the verifier alone.
#[test]
fn a_verifier_with_the_pins_of_another_client_is_refused() {
    let setup = &tls_setups()[0];
    let anchors = built_in_anchors(&[&Ca::root("Root")]);
    let pinning = pinning_with(policy_with(unrelated_pin()));
    let others = builder().build().unwrap();
    let build = |verifier| pinning.reqwest_client_builder_with(verifier, |_| ());
    let built = build(setup.verifier(&others, &anchors));
    assert!(matches!(built, Err(BuildError::OtherPins)));
    assert!(build(setup.verifier(&pinning.clone(), &anchors)).is_ok());

    let noting = |of| {
        let builder = NotingClient::builder(pinning.clone());
        builder.with_verifier(setup.verifier(of, &anchors), |_| ())
    };
    let error = noting(&others).build().unwrap_err();
    let is_other = matches!(error, ClientBuildError::Pinning(BuildError::OtherPins));
    assert!(is_other, "{error:?}");
    assert!(noting(&pinning).build().is_ok());
}

#[tokio::test]
async fn trust_anchors_alone_suffice_for_a_noting_client() {
    let fixture = fixture(&tls_setups()[0]).await;
    // A build with two crypto providers requires a choice, which a verifier builder expresses.
    let Ok(_) = builder()
        .build()
        .unwrap()
        .client_config(fixture.anchors.clone())
    else {
        return;
    };
    let pinning = builder().build().unwrap();
    let names = Arc::new(fixture.names.clone());
    let client = NotingClient::builder(pinning)
        .with_anchors(fixture.anchors.clone())
        .configure(move |builder| builder.no_proxy().dns_resolver(names.clone()))
        .configure(|builder| builder.user_agent("test"));
    let response = fetch(&client.build().unwrap(), URL).await.unwrap();
    assert_eq!(noted(&response), Some(&Noted::Added));
}

#[tokio::test]
async fn alpn_protocols_can_be_changed() {
    let setup = &tls_setups()[0];
    let fixture = fixture(setup).await;
    let pinning = pinning_with(policy_with(fixture.leaf.pin()));
    let http1 = vec![b"http/1.1".to_vec()];
    let client = fixture.client(setup, &pinning, |config| config.alpn_protocols = http1);
    let response = client.get(URL).send().await.unwrap();
    assert_eq!(response.version(), Version::HTTP_11);
}

/// A client certificate that is requested and then not sent.
#[derive(Debug, Default)]
struct CountingResolver(AtomicUsize);

impl ResolvesClientCert for CountingResolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_client_certificate_can_be_set() {
    for setup in tls_setups() {
        let fixture = fixture(&setup).await;
        let clients =
            WebPkiClientVerifier::builder_with_provider(fixture.roots(), setup.provider.clone());
        let clients = clients.allow_unauthenticated().build().unwrap();
        let config = ServerConfig::builder_with_provider(setup.provider.clone())
            .with_protocol_versions(setup.versions)
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(fixture.leaf.chain.clone(), fixture.leaf.key());
        let server = Server::with_config(config.unwrap(), answer(&[])).await;
        fixture.names.point(HOST, &server);
        let pinning = pinning_with(policy_with(fixture.leaf.pin()));
        let resolver = Arc::new(CountingResolver::default());
        let client = fixture.client(&setup, &pinning, |config| {
            config.client_auth_cert_resolver = resolver.clone();
        });
        client.get(URL).send().await.unwrap();
        assert_eq!(resolver.0.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn the_verifier_and_the_resumption_check_can_not_be_replaced() {
    for setup in tls_setups() {
        let fixture = fixture(&setup).await;
        let pinning = pinning_with(policy_with(fixture.leaf.pin()));
        let algorithms = setup.provider.signature_verification_algorithms;
        let replace = |config: &mut ClientConfig| {
            let accept_all = AcceptAll(algorithms.supported_schemes());
            let mut dangerous = config.dangerous();
            dangerous.set_certificate_verifier(Arc::new(accept_all));
            config.resumption = Resumption::in_memory_sessions(8);
        };
        let client = fixture.client(&setup, &pinning, replace);
        let names = Arc::new(fixture.names.clone());
        // The client that allows plain HTTP does not expect every connection to be verified.
        let noting = NotingClient::builder(pinning.clone())
            .with_verifier(setup.verifier(&pinning, &fixture.anchors), replace)
            .configure(move |builder| {
                let builder = builder.no_proxy().pool_max_idle_per_host(0);
                builder.dns_resolver(names.clone())
            });
        let noting = noting.https_or_http().build().unwrap();
        let response = client.get(URL).send().await.unwrap();
        response.bytes().await.unwrap();
        fetch(&noting, URL).await.unwrap().bytes().await.unwrap();

        let pins = [(HOST, policy_with(unrelated_pin()))];
        pinning.replace_pins(pins).unwrap();
        let error = client.get(URL).send().await.unwrap_err();
        assert!(violation(&error).is_some(), "{error:?}");
        let error = fetch(&noting, URL).await.unwrap_err();
        assert!(violation(&error).is_some(), "{error:?}");
        assert_eq!(fixture.server.requests(), 2);
    }
}

#[tokio::test]
async fn every_connection_notes_pins_if_resumption_is_disabled() {
    for setup in tls_setups() {
        let fixture = fixture(&setup).await;
        let pinning = builder().build().unwrap();
        let verifier = setup.verifier(&pinning, &fixture.anchors);
        let names = Arc::new(fixture.names.clone());
        let client = NotingClient::builder(pinning)
            .with_verifier(verifier.disable_resumption(), |_| ())
            .configure(move |builder| builder.no_proxy().dns_resolver(names.clone()))
            .configure(|builder| builder.pool_max_idle_per_host(0));
        let client = client.build().unwrap();
        for expected in [Noted::Added, Noted::Refreshed] {
            let response = fetch(&client, URL).await.unwrap();
            assert_eq!(noted(&response), Some(&expected));
            assert!(connection(&response).is_some());
            response.bytes().await.unwrap();
        }
        assert_eq!(fixture.server.connections(), 2);
    }
}

/// This applies to pinned and other hosts: the client could not check such a connection again when
/// the pins change.
#[tokio::test]
async fn a_server_without_a_verifiable_path_is_refused_by_an_error_of_its_own() {
    for setup in tls_setups() {
        let (anchor, fixture) = (Ca::root("Anchor"), fixture(&setup).await);
        let inner =
            WebPkiServerVerifier::builder_with_provider(fixture.roots(), setup.provider.clone());
        let inner = inner.build().unwrap();
        for pinning in [
            pinning_with(policy_with(fixture.leaf.pin())),
            builder().build().unwrap(),
        ] {
            let verifier = setup.verifier(&pinning, &built_in_anchors(&[&anchor]));
            let verifier = verifier.with_inner_verifier(inner.clone());
            let client = pinning.reqwest_client_builder_with(verifier, |_| ());
            let names = Arc::new(fixture.names.clone());
            let client = client.unwrap().no_proxy().dns_resolver(names);
            let client = client.build().unwrap();
            let error = client.get(URL).send().await.unwrap_err();
            let unverifiable = UnverifiablePath::find(&error).unwrap();
            assert_eq!(unverifiable.served(), fixture.leaf.chain);
            let mut sources = iter::successors(error.source(), |error| (*error).source());
            assert!(sources.any(|source| source.is::<UnverifiablePath>()));
            assert!(violation(&error).is_none());
        }
        assert_eq!(fixture.server.requests(), 0);
    }
}

#[tokio::test]
async fn a_blocking_client_enforces_pins() {
    for setup in tls_setups() {
        let fixture = fixture(&setup).await;
        for (pin, passes) in [(fixture.leaf.pin(), true), (unrelated_pin(), false)] {
            let pinning = pinning_with(policy_with(pin));
            let builder = setup.reqwest(&pinning, &fixture.anchors, &fixture.names);
            // A blocking client must not be built, used or dropped on a thread of the runtime.
            let visit = tokio::task::spawn_blocking(move || {
                let client = reqwest::blocking::ClientBuilder::from(builder).build()?;
                client.get(URL).send()?.text()
            });
            match visit.await.unwrap() {
                Ok(body) => {
                    assert!(passes);
                    assert_eq!(body, "ok");
                }
                Err(error) => {
                    assert!(!passes, "{error:?}");
                    assert_eq!(violation(&error).unwrap().host().as_str(), HOST);
                }
            }
        }
        assert_eq!(fixture.server.requests(), 1);
    }
}
