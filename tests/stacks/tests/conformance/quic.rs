//! HTTP/3 by quinn and h3.

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
    self, AbortOnDrop, Client, OpenConnection, Outcome, Refusal, Resumptions, RunningServer, Stack,
    Versions, built_in_anchors, names_of,
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
    const REFUSAL: Refusal = Refusal::InEventsOnly;
    const OPEN_CONNECTION: OpenConnection = OpenConnection::StaysOpen;

    async fn serve(mut config: ServerConfig) -> RunningServer {
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
        RunningServer {
            address,
            requests,
            _running: Box::new(AbortOnDrop(accepting)),
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

    async fn request_on_new_connection(&self, host: &str) -> Outcome {
        let mut requests = requests(self.connect(host).await?).await?;
        get(&mut requests, format!("https://{host}/").parse()?).await?;
        Ok(())
    }

    async fn request_before_and_after(&self, host: &str, change: impl FnOnce() + Send) -> Outcome {
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

/// Serves one connection. A client that refuses the certificate closes it, which is not a failure
/// of the test.
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
        // A stream dropped before its end is read stops the client, which may still be sending.
        while let Ok(Some(_)) = stream.recv_data().await {}
        count.fetch_add(1, Ordering::SeqCst);
        let response = http::Response::new(());
        let _ = stream.send_response(response).await;
        let _ = stream.send_data(Bytes::from_static(b"ok")).await;
        let _ = stream.finish().await;
    }
}

/// Data sent before the end of the handshake would be sent before pins are checked.
#[tokio::test]
async fn no_early_data_is_sent() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let mut config = harness::config(&leaf, tls::VERSIONS[1]);
    config.max_early_data_size = u32::MAX;
    let resumptions = Resumptions::install(&mut config);
    let server = QuinnH3::serve(config).await;
    let names = names_of([("example.com", &server)]);
    let pins = [("example.com", policy_with(leaf.pin()))];
    let client = Client::<QuinnH3>::new(pins, built_in_anchors(&[&root]), &names);
    client
        .stack
        .request_on_new_connection("example.com")
        .await
        .unwrap();
    let connecting = client.stack.connect("example.com").into_0rtt();
    let Err(connecting) = connecting else {
        panic!("a session was resumed with early data");
    };
    connecting.await.unwrap();
    assert_eq!(resumptions.count(), 1);
}

/// quinn sends the text of the client's error to the server, which may be an attacker.
#[tokio::test]
async fn a_refused_server_does_not_learn_the_pins() {
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
    let (visit, accepted) = tokio::join!(
        client.stack.request_on_new_connection("example.com"),
        accepted
    );
    let ConnectionError::ConnectionClosed(close) = accepted.unwrap_err() else {
        panic!("expected a close by the client");
    };
    let reason = String::from_utf8_lossy(&close.reason);
    assert!(!reason.contains("sha256") && !reason.contains(&NOW.to_string()));
    client.assert_refused(visit, "example.com");
}

/// The inner verifier accepts the server, but no path to the trust anchors can be validated. The
/// connection fails, and observers receive the reason.
#[tokio::test]
async fn a_server_without_a_verifiable_path_is_refused_with_an_event() {
    let (anchor, other) = (Ca::root("Anchor"), Ca::root("Other"));
    let leaf = other.leaf(&["example.com"]);
    let server = QuinnH3::serve(harness::config(&leaf, tls::VERSIONS[1])).await;
    let names = names_of([("example.com", &server)]);
    let pins = [("example.com", policy_with(leaf.pin()))];
    let mut client = Client::<QuinnH3>::new(pins, built_in_anchors(&[&anchor]), &names);
    let mut roots = RootCertStore::empty();
    roots.add(other.certificate()).unwrap();
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    let mut config = PinningVerifier::builder(client.pinning.clone())
        .with_anchors(built_in_anchors(&[&anchor]))
        .with_inner_verifier(inner.build().unwrap())
        .client_config()
        .unwrap();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = Arc::new(QuicClientConfig::try_from(config).unwrap());
    let config = quinn::ClientConfig::new(config);
    let endpoint = &client.stack.endpoint;
    let connecting = endpoint.connect_with(config, server.address, "example.com");
    assert!(connecting.unwrap().await.is_err());
    let events = client.events();
    assert!(matches!(&events[..], [Event::Unverifiable(unverifiable)]
        if unverifiable.server_name().to_str() == "example.com"));
}
