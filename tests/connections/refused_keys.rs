//! Keys that are refused while sessions and connections are open, also for hosts without pins and
//! for IP addresses.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pinhold::policy::PinSource;
use pinhold::{NotePinsLayer, PinViolation, Pinning, PinningConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

use crate::common::pki::{Ca, Leaf};
use crate::common::recording::with_recorder;
use crate::common::rules::{refusing, remove_pins};
use crate::common::server::{HyperClient, Loopback, Names, Server, get};
use crate::common::tls_setup::{TlsSetup, builder, tls_setups};
use crate::common::validated::built_in_anchors;

const URIS: [&str; 3] = [
    "https://example.com/",
    "https://127.0.0.1/",
    "https://[::1]/",
];

struct Fixture {
    root: Ca,
    leaf: Leaf,
    server: Server,
    connector: PinningConnector<Loopback>,
}

impl Fixture {
    async fn new(setup: &TlsSetup, pinning: &Pinning, alpn: &str) -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com", "127.0.0.1", "::1"]);
        let mut config = setup.config(&leaf);
        config.alpn_protocols = vec![alpn.into()];
        let server = Server::with_config(config, crate::common::server::answer(&[])).await;
        let names = ["example.com", "127.0.0.1", "[::1]"].map(|name| (name, &server));
        let client = setup.verifier_of(pinning, &root);
        let connector = PinningConnector::builder(pinning.clone()).with_tls_config(client);
        let connector = connector.wrap_connector(Loopback::new(&Names::new(names)));
        Self {
            root,
            leaf,
            server,
            connector: connector.unwrap(),
        }
    }

    fn pool(&self) -> HyperClient {
        Client::builder(TokioExecutor::new()).build(self.connector.clone())
    }
}

impl TlsSetup {
    fn verifier_of(&self, pinning: &Pinning, root: &Ca) -> rustls::ClientConfig {
        let verifier = pinhold::PinningVerifier::builder(pinning.clone())
            .with_anchors(built_in_anchors(&[root]))
            .with_provider(self.provider.clone())
            .with_protocol_versions(self.versions);
        verifier.client_config().unwrap()
    }
}

#[track_caller]
fn assert_refused_key(error: &(dyn std::error::Error + 'static)) {
    let violation = PinViolation::find(error).unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(violation.policy().source, PinSource::RefusedKeys);
}

/// Without the layer, and with it.
#[tokio::test]
async fn a_pooled_connection_ends_when_a_key_of_its_chain_is_refused() {
    for setup in tls_setups() {
        for alpn in ["http/1.1", "h2"] {
            for uri in URIS {
                let pinning = builder().build().unwrap();
                let fixture = Fixture::new(&setup, &pinning, alpn).await;
                let mut noting = NotePinsLayer::new(pinning.clone()).layer(fixture.pool());
                let mut pool = fixture.pool();
                for _ in 0..2 {
                    get(&mut noting, uri).await.unwrap();
                    fetch(&mut pool, uri).await.unwrap();
                }
                // A change that does not concern the chain keeps the connections.
                pinning
                    .replace_pins(refusing(Ca::root("Unrelated").pin()))
                    .unwrap();
                get(&mut noting, uri).await.unwrap();
                fetch(&mut pool, uri).await.unwrap();
                assert_eq!(fixture.server.connections(), 2, "{alpn} {uri}");
                pinning.replace_pins(refusing(fixture.leaf.pin())).unwrap();
                assert_refused_key(&get(&mut noting, uri).await.unwrap_err());
                assert_refused_key(&fetch(&mut pool, uri).await.unwrap_err());
                assert_eq!(fixture.server.requests(), 6);
            }
        }
    }
}

async fn fetch(
    pool: &mut HyperClient,
    uri: &str,
) -> Result<Bytes, hyper_util::client::legacy::Error> {
    let request = http::Request::get(uri).body(Empty::new()).unwrap();
    let body = pool.call(request).await?.into_body();
    Ok(body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn an_open_connection_fails_for_good_and_reports_once_when_its_key_is_refused() {
    let setup = &tls_setups()[0];
    for uri in URIS {
        let (pinning, recorder) = with_recorder(builder());
        let fixture = Fixture::new(setup, &pinning, "http/1.1").await;
        let uri = http::Uri::from_static(uri);
        let stream = fixture.connector.clone().oneshot(uri).await.unwrap();
        let mut stream = TokioIo::new(stream);
        stream.write_all(b"GET ").await.unwrap();
        pinning.replace_pins(refusing(fixture.root.pin())).unwrap();
        assert_refused_key(&stream.write_all(b"/").await.unwrap_err());
        remove_pins(&pinning);
        assert_refused_key(&stream.write_all(b"/").await.unwrap_err());
        assert_refused_key(&stream.read_u8().await.unwrap_err());
        let violation = recorder.violation(&pinning);
        assert_eq!(violation.policy().source, PinSource::RefusedKeys);
    }
}

#[tokio::test]
async fn a_resumed_session_through_the_connector_is_refused_with_its_key() {
    for setup in tls_setups() {
        for uri in URIS {
            let pinning = builder().build().unwrap();
            let fixture = Fixture::new(&setup, &pinning, "http/1.1").await;
            let visit = async || {
                let uri = http::Uri::from_static(uri);
                let stream = fixture.connector.clone().oneshot(uri).await?;
                let is_resumed = stream.verified().unwrap().is_resumed();
                let mut stream = TokioIo::new(stream);
                let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
                stream.write_all(request).await.unwrap();
                stream.read_to_end(&mut Vec::new()).await.unwrap();
                Ok::<_, pinhold::connector::ConnectError>(is_resumed)
            };
            assert!(!visit().await.unwrap());
            assert!(visit().await.unwrap());
            pinning.replace_pins(refusing(fixture.leaf.pin())).unwrap();
            assert_refused_key(&visit().await.unwrap_err());
        }
    }
}
