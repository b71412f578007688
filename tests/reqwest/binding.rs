//! The proof that a connection was checked belongs to this client: neither another configuration nor
//! another handshake during the same connect supplies it.

use std::sync::{Arc, Mutex};

use crate::common::pki::{Ca, Leaf};
use crate::common::reqwests::{AcceptAll, connection, fetch, is_not_verified};
use crate::common::server::{Names, Server, answer};
use crate::common::tls_setup::{TlsSetup, builder, pinning_with, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, header_value, policy_with, unrelated_pin};
use pinhold::reqwest::NotingClient;
use pinhold::{Pinning, TrustAnchors};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const HOST: &str = "example.com";
const URL: &str = "https://example.com/";
const DNS_HOST: &str = "dns.example";

/// A genuine server, one of an attacker with a certificate of another root, and a server of a
/// resolver.
struct Fixture {
    leaf: Leaf,
    genuine: Server,
    attacker_root: Ca,
    attacker: Server,
    dns: Server,
    anchors: TrustAnchors,
    pinning: Pinning,
}

impl Fixture {
    async fn new(setup: &TlsSetup) -> Self {
        let (root, attacker_root) = (Ca::root("Root"), Ca::root("Attacker"));
        let leaf = root.leaf(&[HOST]);
        let value = header_value(leaf.pin(), "max-age=100");
        let fields = [("public-key-pins", &*value)];
        Self {
            genuine: setup.serve(&leaf, &fields).await,
            attacker: setup.serve(&attacker_root.leaf(&[HOST]), &[]).await,
            attacker_root,
            dns: setup.serve(&root.leaf(&[DNS_HOST]), &[]).await,
            anchors: built_in_anchors(&[&root]),
            pinning: pinning_with(policy_with(leaf.pin())),
            leaf,
        }
    }

    fn config(&self, setup: &TlsSetup, pinning: &Pinning) -> ClientConfig {
        let verifier = setup.verifier(pinning, &self.anchors);
        verifier.client_config().unwrap()
    }

    /// A resolver that makes a handshake with its own server for each name.
    fn resolver(&self, setup: &TlsSetup, names: &Names) -> Resolver {
        names.point(DNS_HOST, &self.dns);
        Resolver {
            config: self.config(setup, &self.pinning),
            names: names.clone(),
            handshakes: Arc::default(),
        }
    }

    /// A client of the attacker's server for `HOST`, with this TLS configuration set later.
    fn client(&self, setup: &TlsSetup, back_end: ClientConfig) -> reqwest::ClientBuilder {
        let names = Names::new([(HOST, &self.attacker)]);
        let client = setup.reqwest(&self.pinning, &self.anchors, &names);
        client.tls_backend_preconfigured(back_end)
    }

    /// A configuration of rustls alone, which trusts the attacker's root.
    fn other_back_end(&self, setup: &TlsSetup) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.attacker_root.certificate()).unwrap();
        ClientConfig::builder_with_details(setup.provider.clone(), Clock::new())
            .with_protocol_versions(setup.versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// Sends a request over a connection of its own, and reads all, so that sessions have arrived.
async fn raw_get(
    config: &ClientConfig,
    host: &str,
    server: std::net::SocketAddr,
) -> std::io::Result<HandshakeKind> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let socket = TcpStream::connect(server).await?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // The server may close the connection without a close_notify.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    Ok(stream.get_ref().1.handshake_kind().unwrap())
}

/// Resolves names over TLS, with a configuration of this crate.
struct Resolver {
    config: ClientConfig,
    names: Names,
    handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (config, names) = (self.config.clone(), self.names.clone());
        let handshakes = Arc::clone(&self.handshakes);
        Box::pin(async move {
            let server = names.address(DNS_HOST).unwrap();
            let handshake = raw_get(&config, DNS_HOST, server).await?;
            handshakes.lock().unwrap().push(handshake);
            let address = names.address(name.as_str()).ok_or("no such name")?;
            let addresses: Addrs = Box::new(std::iter::once(address));
            Ok(addresses)
        })
    }
}

/// rustls takes a session out of the store before it finds that it belongs to another verifier.
#[tokio::test]
async fn a_clone_with_another_verifier_is_refused_although_it_shares_the_sessions() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let config = fixture.config(&setup, &fixture.pinning);
        let genuine = fixture.genuine.address;
        raw_get(&config, HOST, genuine).await.unwrap();
        let algorithms = setup.provider.signature_verification_algorithms;
        let accept_all = Arc::new(AcceptAll(algorithms.supported_schemes()));
        let mut clone = config;
        clone.dangerous().set_certificate_verifier(accept_all);
        let client = fixture.client(&setup, clone).build().unwrap();
        let error = client.get(URL).send().await.unwrap_err();
        assert!(is_not_verified(&error), "{error:?}");
        assert_eq!(fixture.attacker.requests(), 0);
    }
}

#[tokio::test]
async fn a_clone_that_configure_keeps_trusts_no_server() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let mut kept = None;
        let verifier = setup.verifier(&fixture.pinning, &fixture.anchors);
        let keep = |config: &mut ClientConfig| kept = Some(config.clone());
        let built = fixture.pinning.reqwest_client_builder_with(verifier, keep);
        drop(built.unwrap());
        let kept = kept.unwrap();
        let genuine = fixture.genuine.address;
        assert!(raw_get(&kept, HOST, genuine).await.is_err());
        assert_eq!(fixture.genuine.requests(), 0);
    }
}

#[tokio::test]
async fn a_handshake_of_the_resolver_proves_nothing() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let plain = Server::plain(answer(&[])).await;
        let names = Names::new([(HOST, &fixture.attacker), ("plain.example", &plain)]);
        for url in [URL, "http://plain.example/"] {
            let resolver = Arc::new(fixture.resolver(&setup, &names));
            // Without reqwest's information, an equal certificate can't be what decides.
            let client = fixture.client(&setup, fixture.other_back_end(&setup));
            let client = client.https_only(false).tls_info(false);
            let client = client.dns_resolver(Arc::clone(&resolver)).build().unwrap();
            for handshake in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let error = client.get(url).send().await.unwrap_err();
                assert!(is_not_verified(&error), "{error:?}");
                let last = resolver.handshakes.lock().unwrap().last().copied();
                assert_eq!(last, Some(handshake));
            }
        }
        assert_eq!((fixture.attacker.requests(), plain.requests()), (0, 0));
    }
}

#[tokio::test]
async fn a_handshake_of_the_resolver_is_not_mistaken_for_that_of_the_connection() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let names = Names::new([(HOST, &fixture.genuine)]);
        let resolver = Arc::new(fixture.resolver(&setup, &names));
        let used = Arc::clone(&resolver);
        let client = NotingClient::builder(fixture.pinning.clone())
            .with_verifier(setup.verifier(&fixture.pinning, &fixture.anchors), |_| ())
            .configure(move |builder| builder.no_proxy().dns_resolver(Arc::clone(&used)))
            .configure(|builder| builder.pool_max_idle_per_host(0));
        let client = client.build().unwrap();
        for resumed in [false, true] {
            let response = fetch(&client, URL).await.unwrap();
            let seen = connection(&response).unwrap();
            assert_eq!(seen.is_resumed(), resumed);
            assert_eq!(seen.chain().served(), fixture.leaf.chain);
            response.bytes().await.unwrap();
        }
        assert_eq!(fixture.genuine.requests(), 2);
        assert_eq!(resolver.handshakes.lock().unwrap().len(), 2);
    }
}

/// Its verifier and its session store know nothing of the pins of this client.
#[tokio::test]
async fn a_configuration_with_other_pins_is_refused() {
    for setup in tls_setups() {
        let fixture = Fixture::new(&setup).await;
        let wrong = pinning_with(policy_with(unrelated_pin()));
        let others = builder().build().unwrap();
        let names = Names::new([(HOST, &fixture.genuine)]);
        for resumes in [false, true] {
            let config = fixture.config(&setup, &others);
            if resumes {
                let genuine = fixture.genuine.address;
                raw_get(&config, HOST, genuine).await.unwrap();
            }
            let before = fixture.genuine.requests();
            let client = setup.reqwest(&wrong, &fixture.anchors, &names);
            let client = client.tls_backend_preconfigured(config).build().unwrap();
            let error = client.get(URL).send().await.unwrap_err();
            assert!(is_not_verified(&error), "{error:?}");
            assert_eq!(fixture.genuine.requests(), before);
        }
    }
}
