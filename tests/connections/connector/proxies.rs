//! Connections through HTTP CONNECT and SOCKS 5 proxies.

use std::net::SocketAddr;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use pinhold::connector::{ConnectError, PinnedStream};
use pinhold::{Decision, PinViolation, PinningConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt};

use super::{builder, static_pins};
use crate::common::pki::Ca;
use crate::common::server::Server;
use crate::common::{header_value, policy_with, unrelated_pin};

#[tokio::test]
async fn pins_are_enforced_through_proxies() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let pins = header_value(leaf.pin(), "max-age=100");
    let proxy = format!("http://{}", connect_proxy(server.address, pins).await);
    let socks = format!("socks5://{}", socks_proxy(server.address).await);
    for (pin, passes) in [(leaf.pin(), true), (unrelated_pin(), false)] {
        let pinning = static_pins(policy_with(pin));
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let tunnel = Tunnel::new(proxy.parse().unwrap(), http.clone());
        let decision = decide(builder(&pinning, &root).wrap_connector(tunnel).unwrap()).await;
        assert_eq!(matches!(decision, Ok(Decision::Pass)), passes);
        let socks = SocksV5::new(socks.parse().unwrap(), http);
        let decision = decide(builder(&pinning, &root).wrap_connector(socks).unwrap()).await;
        assert_eq!(matches!(decision, Ok(Decision::Pass)), passes);
        // D-14: a header in the proxy's CONNECT response is not noted.
        assert!(pinning.store().list().is_empty());
    }
}

/// Starts an HTTP proxy that forwards every CONNECT tunnel to `target`, with these pins in its
/// response.
async fn connect_proxy(target: SocketAddr, pins: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(client.read_u8().await.unwrap());
            }
            assert!(request.starts_with(b"CONNECT example.com:443 "));
            let answer = format!("HTTP/1.1 200 OK\r\nPublic-Key-Pins: {pins}\r\n\r\n");
            client.write_all(answer.as_bytes()).await.unwrap();
            let mut server = TcpStream::connect(target).await.unwrap();
            // Fails if the client closes the connection.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    address
}

/// Starts a SOCKS 5 proxy without authentication that forwards to `target` (RFC 1928).
async fn socks_proxy(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut greeting = [0; 3];
            client.read_exact(&mut greeting).await.unwrap();
            client.write_all(&[5, 0]).await.unwrap();
            let mut request = [0; 5];
            client.read_exact(&mut request).await.unwrap();
            let mut name_and_port = vec![0; usize::from(request[4]) + 2];
            client.read_exact(&mut name_and_port).await.unwrap();
            assert!(name_and_port.starts_with(b"example.com"));
            client
                .write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0])
                .await
                .unwrap();
            let mut server = TcpStream::connect(target).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    address
}

/// Connects to `example.com` and returns the decision about its chain.
async fn decide<H>(connector: PinningConnector<H>) -> Result<Decision, PinViolation>
where
    PinningConnector<H>:
        Service<http::Uri, Response = PinnedStream<H::Response>, Error = ConnectError>,
    H: Service<http::Uri>,
{
    let uri = http::Uri::from_static("https://example.com/");
    match connector.oneshot(uri).await {
        Ok(stream) => Ok(stream.verified().unwrap().decision().clone()),
        Err(error) => Err(PinViolation::find(&error).unwrap()),
    }
}
