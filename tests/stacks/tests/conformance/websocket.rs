//! tokio-tungstenite with a `ClientConfig` of pinhold, and over `PinningConnector`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use pinhold::{Pinning, PinningConnector, TrustAnchors};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, accept_async, client_async_tls_with_config,
};

use crate::examples::tokio_tungstenite as example;
use crate::harness::{AbortOnDrop, OpenConnection, Outcome, RunningServer, Stack};
use crate::server::{Loopback, Names};

/// Starts a server that answers each message with "ok".
async fn serve_web_sockets(config: ServerConfig) -> RunningServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let requests = Arc::clone(&count);
    let tls = TlsAcceptor::from(Arc::new(config));
    let accepting = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let (tls, count) = (tls.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                // A client that refuses the certificate closes the connection, which is not a
                // failure of the test.
                let Ok(stream) = tls.accept(socket).await else {
                    return;
                };
                let Ok(mut socket) = accept_async(stream).await else {
                    return;
                };
                while let Some(Ok(Message::Text(_))) = socket.next().await {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = socket.send(Message::text("ok")).await;
                }
            });
        }
    });
    RunningServer {
        address,
        requests,
        _running: Box::new(AbortOnDrop(accepting)),
    }
}

async fn send_message<T: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<T>,
) -> Outcome {
    socket.send(Message::text("message")).await?;
    let answer = socket.next().await.ok_or("closed")??;
    assert_eq!(answer, Message::text("ok"));
    Ok(())
}

/// The stack with the configuration.
pub struct Tungstenite {
    connector: Connector,
    names: Names,
}

impl Tungstenite {
    async fn open(
        &self,
        host: &str,
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, tokio_tungstenite::tungstenite::Error>
    {
        let tcp = TcpStream::connect(self.names.address(host).unwrap()).await?;
        let (connector, uri) = (self.connector.clone(), format!("wss://{host}/"));
        let opened = client_async_tls_with_config(uri, tcp, None, Some(connector)).await;
        Ok(opened?.0)
    }
}

impl Stack for Tungstenite {
    const OPEN_CONNECTION: OpenConnection = OpenConnection::StaysOpen;

    async fn serve(config: ServerConfig) -> RunningServer {
        serve_web_sockets(config).await
    }

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self {
        Self {
            connector: example::connector(pinning, anchors).unwrap(),
            names: names.clone(),
        }
    }

    async fn request_on_new_connection(&self, host: &str) -> Outcome {
        send_message(&mut self.open(host).await?).await
    }

    async fn request_before_and_after(&self, host: &str, change: impl FnOnce() + Send) -> Outcome {
        let mut socket = self.open(host).await.unwrap();
        send_message(&mut socket).await.unwrap();
        change();
        send_message(&mut socket).await
    }
}

/// The stack over the connector.
pub struct OverConnector(PinningConnector<Loopback>);

impl OverConnector {
    async fn open(
        &self,
        host: &str,
    ) -> Result<
        example::Open<<Loopback as tower::Service<http::Uri>>::Response>,
        crate::harness::BoxError,
    > {
        let uri = format!("https://{host}/").parse()?;
        example::open(self.0.clone(), uri).await
    }
}

impl Stack for OverConnector {
    const OPEN_CONNECTION: OpenConnection = OpenConnection::Closed;

    async fn serve(config: ServerConfig) -> RunningServer {
        serve_web_sockets(config).await
    }

    fn new(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> Self {
        let connector = PinningConnector::builder(pinning.clone())
            .with_anchors(anchors)
            .http1_only()
            .wrap_connector(Loopback::new(names));
        Self(connector.unwrap())
    }

    async fn request_on_new_connection(&self, host: &str) -> Outcome {
        send_message(&mut self.open(host).await?).await
    }

    async fn request_before_and_after(&self, host: &str, change: impl FnOnce() + Send) -> Outcome {
        let mut socket = self.open(host).await.unwrap();
        send_message(&mut socket).await.unwrap();
        change();
        send_message(&mut socket).await
    }
}
