//! quinn and h3, over QUIC.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use pinhold::{Event, Pinning, PinningVerifier, TrustAnchors};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connecting, ConnectionError, Endpoint, Incoming};
use rustls::client::WebPkiServerVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::common::pki::Ca;
use crate::common::{NOW, policy_with, provider, tls, unrelated_pin};
use crate::examples::quinn_h3::{config, get, requests};
use crate::harness::{
    self, Client, OpenConnection, Outcome, Refusal, Resumptions, Running, Serving, Stack, Versions,
    built_in_anchors, leading,
};
use crate::server::Names;

pub struct QuinnH3 {
    endpoint: Endpoint,
    names: Names,
}

impl QuinnH3 {
    fn connect(&self, host: &str) -> Connecting {
        let address = self.names.address(host).unwrap();
        self.endpoint.connect(address, host).unwrap()
    }
}

impl Stack for QuinnH3 {
    const VERSIONS: &'static [Versions] = &[tls::VERSIONS[1]];
    const REFUSAL: Refusal = Refusal::ToldToObservers;
    const OPEN_CONNECTION: OpenConnection = OpenConnection::GoesOn;

    async fn serve(mut config: ServerConfig) -> Serving {
        config.alpn_protocols = vec![b"h3".to_vec()];
        let config = Arc::new(QuicServerConfig::try_from(config).unwrap());
        let config = quinn::ServerConfig::with_crypto(config);
        let endpoint = Endpoint::server(config, loopback()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let requests = Arc::clone(&count);
        let accepting = tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(answer(incoming, Arc::clone(&count)));
            }
        });
        Serving {
            address,
            requests,
            _running: Box::new(Running(accepting)),
        }
    }

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self {
        let mut endpoint = Endpoint::client(loopback()).unwrap();
        endpoint.set_default_client_config(config(pinning, anchors).unwrap());
        Self {
            endpoint,
            names: names.clone(),
        }
    }

    async fn visit(&self, host: &str) -> Outcome {
        let mut requests = requests(self.connect(host).await?).await?;
        get(&mut requests, format!("https://{host}/").parse()?).await?;
        Ok(())
    }

    async fn stay(&self, host: &str, change: impl FnOnce() + Send) -> Outcome {
        let mut requests = requests(self.connect(host).await.unwrap()).await?;
        let uri = format!("https://{host}/").parse::<http::Uri>()?;
        get(&mut requests, uri.clone()).await.unwrap();
        change();
        get(&mut requests, uri).await?;
        Ok(())
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Serves one connection. A client that refuses the certificate ends it: no test failure.
async fn answer(incoming: Incoming, count: Arc<AtomicUsize>) {
    let Ok(connection) = incoming.await else {
        return;
    };
    let connection = h3_quinn::Connection::new(connection);
    let Ok(mut connection) = h3::server::Connection::<_, Bytes>::new(connection).await else {
        return;
    };
    while let Ok(Some(request)) = connection.accept().await {
        let Ok((_, mut stream)) = request.resolve_request().await else {
            return;
        };
        count.fetch_add(1, Ordering::SeqCst);
        let response = http::Response::new(());
        let _ = stream.send_response(response).await;
        let _ = stream.send_data(Bytes::from_static(b"ok")).await;
        let _ = stream.finish().await;
    }
}

/// Data sent before the handshake ends would come before any judgement.
#[tokio::test]
async fn no_early_data_is_sent() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let mut config = harness::config(&leaf, tls::VERSIONS[1]);
    config.max_early_data_size = u32::MAX;
    let resumptions = Resumptions::of(&mut config);
    let serving = QuinnH3::serve(config).await;
    let names = leading([("example.com", &serving)]);
    let pins = [("example.com", policy_with(leaf.pin()))];
    let client = Client::<QuinnH3>::new(pins, built_in_anchors(&[&root]), &names);
    client.stack.visit("example.com").await.unwrap();
    let connecting = client.stack.connect("example.com").into_0rtt();
    let Err(connecting) = connecting else {
        panic!("a session was resumed with early data");
    };
    connecting.await.unwrap();
    assert_eq!(resumptions.count(), 1);
}

/// quinn sends the text of the client's error to the server, who may be an attacker.
#[tokio::test]
async fn a_server_that_is_refused_is_not_told_the_pins() {
    let root = Ca::root("Root");
    let mut config = harness::config(&root.leaf(&["example.com"]), tls::VERSIONS[1]);
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = Arc::new(QuicServerConfig::try_from(config).unwrap());
    let server = Endpoint::server(quinn::ServerConfig::with_crypto(config), loopback()).unwrap();
    let names = Names::default();
    names.point_to("example.com", server.local_addr().unwrap());
    let pins = [("example.com", policy_with(unrelated_pin()))];
    let mut client = Client::<QuinnH3>::new(pins, built_in_anchors(&[&root]), &names);
    let accepted = async { server.accept().await.unwrap().await };
    let (visit, accepted) = tokio::join!(client.stack.visit("example.com"), accepted);
    let ConnectionError::ConnectionClosed(close) = accepted.unwrap_err() else {
        panic!("closed otherwise");
    };
    let told = String::from_utf8_lossy(&close.reason);
    assert!(!told.contains("sha256") && !told.contains(&NOW.to_string()));
    client.assert_refused(visit, "example.com");
}

/// Where another verifier accepts and no path can be proved, too, the connection fails, and whoever
/// observes knows why.
#[tokio::test]
async fn a_server_without_a_path_is_refused_and_observers_are_told() {
    let (ours, theirs) = (Ca::root("Ours"), Ca::root("Theirs"));
    let leaf = theirs.leaf(&["example.com"]);
    let serving = QuinnH3::serve(harness::config(&leaf, tls::VERSIONS[1])).await;
    let names = leading([("example.com", &serving)]);
    let pins = [("example.com", policy_with(leaf.pin()))];
    let mut client = Client::<QuinnH3>::new(pins, built_in_anchors(&[&ours]), &names);
    let mut roots = RootCertStore::empty();
    roots.add(theirs.certificate()).unwrap();
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    let mut config = PinningVerifier::builder(client.pinning.clone(), built_in_anchors(&[&ours]))
        .with_inner_verifier(inner.build().unwrap())
        .client_config()
        .unwrap();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = Arc::new(QuicClientConfig::try_from(config).unwrap());
    let config = quinn::ClientConfig::new(config);
    let endpoint = &client.stack.endpoint;
    let connecting = endpoint.connect_with(config, serving.address, "example.com");
    assert!(connecting.unwrap().await.is_err());
    let told = client.told();
    assert!(matches!(&told[..], [Event::Unverifiable(unproved)]
        if unproved.server_name().to_str() == "example.com"));
}
