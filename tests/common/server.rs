//! Loopback HTTPS servers and the hyper client that connects to them.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use pinhold::layer::NotePins;
use pinhold::{NotePinsLayer, Pinning, PinningConnector, PinningVerifier, TrustAnchors};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower::Service;
use tower_layer::Layer;

use super::pki::Leaf;
use super::provider;

pub type Request = http::Request<Incoming>;
pub type Response = http::Response<BoxBody<Bytes, io::Error>>;
type Handler = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// A server on its own loopback port, stopped when dropped.
pub struct Server {
    pub address: SocketAddr,
    /// Requests that reached the handler.
    pub requests: Arc<AtomicUsize>,
    /// Accepted connections.
    pub connections: Arc<AtomicUsize>,
    /// Connections that ended after at least one request.
    ended_in_use: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves HTTP/1.1 and HTTP/2 over TLS 1.2 and 1.3, with these header fields in each response.
    pub async fn start(leaf: &Leaf, fields: &[(&'static str, &str)]) -> Self {
        let config = server_config(leaf, provider(), rustls::ALL_VERSIONS);
        Self::with_config(config, answer(fields)).await
    }

    pub async fn with_config(
        config: ServerConfig,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), Arc::new(handler)).await
    }

    /// Writes these bytes to every connection after the header section of the first request.
    pub async fn raw(config: ServerConfig, bytes: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = tls.accept(socket).await else {
                    continue;
                };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => request.push(byte),
                        Err(_) => break,
                    }
                }
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
            }
        });
        Self {
            address,
            requests: Arc::default(),
            connections: Arc::default(),
            ended_in_use: Arc::default(),
            task,
        }
    }

    /// Serves plain HTTP.
    pub async fn plain(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(handler)).await
    }

    async fn listen(tls: Option<TlsAcceptor>, handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<AtomicUsize>::default();
        let connections = Arc::<AtomicUsize>::default();
        let ended_in_use = Arc::<AtomicUsize>::default();
        let (counter, accepted) = (requests.clone(), connections.clone());
        let ended = ended_in_use.clone();
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Ordering::SeqCst);
                socket.set_nodelay(true).unwrap();
                let (tls, handler, counter) = (tls.clone(), handler.clone(), counter.clone());
                let ended = ended.clone();
                open.spawn(async move {
                    let used = serve_connection(socket, tls, handler, &counter).await;
                    ended.fetch_add(used, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            requests,
            connections,
            ended_in_use,
            task,
        }
    }

    pub fn ended_in_use(&self) -> usize {
        self.ended_in_use.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection to its end. Returns 1 if a request was received, else 0.
async fn serve_connection(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    handler: Handler,
    requests: &AtomicUsize,
) -> usize {
    let is_used = AtomicUsize::new(0);
    let service = service_fn(|request: Request| {
        requests.fetch_add(1, Ordering::SeqCst);
        is_used.store(1, Ordering::SeqCst);
        let response = handler(&request);
        async move {
            if response.extensions().get::<NeverRespond>().is_some() {
                std::future::pending::<()>().await;
            }
            Ok::<_, io::Error>(response)
        }
    });
    let http = auto::Builder::new(TokioExecutor::new());
    // Errors are ignored: a client that refuses the certificate closes the connection.
    let _ = match tls {
        None => http.serve_connection(TokioIo::new(socket), service).await,
        Some(tls) => match tls.accept(socket).await {
            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
            Err(_) => Ok(()),
        },
    };
    is_used.into_inner()
}

/// An extension of a response that is never to be sent.
#[derive(Clone)]
pub struct NeverRespond;

/// A handler that responds 200 with these header fields and the body `ok`.
pub fn answer(
    fields: &[(&'static str, &str)],
) -> impl Fn(&Request) -> Response + Send + Sync + 'static {
    let fields = fields
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect::<Vec<_>>();
    move |_| {
        let mut response = http::Response::builder();
        for (name, value) in &fields {
            response = response.header(*name, value);
        }
        response.body(full("ok")).unwrap()
    }
}

pub fn full(text: &'static str) -> BoxBody<Bytes, io::Error> {
    let body = Full::new(Bytes::from(text));
    body.map_err(|never| match never {}).boxed()
}

pub fn server_config(
    leaf: &Leaf,
    provider: Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain.clone(), leaf.key())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Addresses of host names, used instead of DNS. Shared, so that a test can move a host.
#[derive(Clone, Default)]
pub struct Names(Arc<Mutex<HashMap<String, SocketAddr>>>);

impl Names {
    pub fn new<'a>(names: impl IntoIterator<Item = (&'a str, &'a Server)>) -> Self {
        let this = Self::default();
        for (name, server) in names {
            this.point(name, server);
        }
        this
    }

    pub fn point(&self, name: &str, server: &Server) {
        self.point_to(name, server.address);
    }

    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        self.0.lock().unwrap().get(name).copied()
    }

    pub fn point_to(&self, name: &str, address: SocketAddr) {
        self.0.lock().unwrap().insert(name.to_owned(), address);
    }
}

/// An inner connector that opens TCP connections to the addresses in [`Names`].
#[derive(Clone)]
pub struct Loopback {
    names: Names,
    http: HttpConnector,
}

impl Loopback {
    pub fn new(names: &Names) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        Self {
            names: names.clone(),
            http,
        }
    }
}

impl Service<http::Uri> for Loopback {
    type Response = <HttpConnector as Service<http::Uri>>::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let address = self.names.address(uri.host().unwrap_or_default());
        let mut http = self.http.clone();
        Box::pin(async move {
            let address = address.ok_or("no address is set for this host")?;
            let uri = format!("http://{address}/").parse::<http::Uri>()?;
            Ok(http.call(uri).await?)
        })
    }
}

pub type HyperClient = Client<PinningConnector<Loopback>, Empty<Bytes>>;

/// A hyper client that notes pins, with [`Names`] instead of DNS.
pub fn client(pinning: &Pinning, anchors: TrustAnchors, names: &Names) -> NotePins<HyperClient> {
    client_with(pinning, anchors, names, provider(), rustls::ALL_VERSIONS)
}

pub fn client_with(
    pinning: &Pinning,
    anchors: TrustAnchors,
    names: &Names,
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
) -> NotePins<HyperClient> {
    let config = PinningVerifier::builder(pinning.clone())
        .with_anchors(anchors)
        .with_provider(provider)
        .with_protocol_versions(versions)
        .client_config()
        .unwrap();
    client_with_config(pinning, config, names)
}

/// A client with this configuration.
pub fn client_with_config(
    pinning: &Pinning,
    config: ClientConfig,
    names: &Names,
) -> NotePins<HyperClient> {
    let connector = PinningConnector::builder(pinning.clone())
        .with_tls_config(config)
        .wrap_connector(Loopback::new(names))
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    NotePinsLayer::new(pinning.clone()).layer(client)
}

/// Sends a GET request and reads the whole body.
pub async fn get(
    client: &mut NotePins<HyperClient>,
    uri: &str,
) -> Result<http::Response<Bytes>, hyper_util::client::legacy::Error> {
    let request = http::Request::get(uri).body(Empty::new()).unwrap();
    let (parts, body) = client.call(request).await?.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Ok(http::Response::from_parts(parts, body))
}
