//! A report endpoint on loopback that records requests and sends the answers that a test chooses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::pki::Leaf;
use super::server::server_config;
use super::{TIMEOUT, provider};

/// The reply to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status 204, once the test has notified it.
    AfterRelease(Arc<Notify>),
    /// Closes the connection in place of a response.
    CutOff,
    /// No response, while the connection stays open.
    NoResponse,
    Redirect(String),
    Status(u16),
}

/// A request with its body.
#[derive(Debug)]
pub struct Received {
    pub request: http::Request<()>,
    pub body: String,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.request.headers().get(name)?;
        Some(value.to_str().unwrap())
    }
}

pub struct Collector {
    pub address: SocketAddr,
    /// Connections that were accepted.
    connections: Arc<AtomicUsize>,
    received: Receiver<Received>,
    /// Connections that were closed.
    closed: Receiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    /// Starts an endpoint, over TLS if there is a leaf. The answers are sent in order, and the last
    /// one from then on.
    pub async fn start(leaf: Option<&Leaf>, answers: Vec<Answer>) -> Self {
        let tls = leaf.map(|leaf| server_config(leaf, provider(), rustls::ALL_VERSIONS));
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let [connections, count] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let accepted = connections.clone();
        let ((sender, received), (on_close, closed)) = (channel(), channel());
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Ordering::SeqCst);
                let (tls, sender, on_close) = (tls.clone(), sender.clone(), on_close.clone());
                let (answers, count) = (answers.clone(), count.clone());
                open.spawn(async move {
                    let service = service_fn(move |request: http::Request<Incoming>| {
                        let number = count.fetch_add(1, Ordering::SeqCst);
                        let answer = answers[number.min(answers.len() - 1)].clone();
                        let sender = sender.clone();
                        async move {
                            let (parts, body) = request.into_parts();
                            let body = body.collect().await.map_err(io::Error::other)?;
                            let body = body.to_bytes();
                            let request = http::Request::from_parts(parts, ());
                            let body = String::from_utf8(body.to_vec()).unwrap();
                            let _ = sender.send(Received { request, body });
                            respond(answer).await
                        }
                    });
                    let http = auto::Builder::new(TokioExecutor::new());
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(socket), service).await,
                        Some(tls) => match tls.accept(socket).await {
                            Ok(tls) => http.serve_connection(TokioIo::new(tls), service).await,
                            Err(_) => Ok(()),
                        },
                    };
                    let _ = on_close.send(());
                });
            }
        });
        Self {
            address,
            connections,
            received,
            closed,
            task,
        }
    }

    pub fn uri(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/pins", self.address.port())
    }

    /// Returns the next request. Blocks the thread, so the runtime needs another one.
    pub fn next(&self) -> Received {
        self.received.recv_timeout(TIMEOUT).unwrap()
    }

    /// Waits until a connection is closed. Blocks the thread, so the runtime needs another one.
    pub fn wait_for_close(&self) {
        self.closed.recv_timeout(TIMEOUT).unwrap();
    }

    /// Discards the requests that `next` has not returned, and returns their number.
    pub fn discard_rest(&self) -> usize {
        self.received.try_iter().count()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn respond(answer: Answer) -> io::Result<http::Response<Full<Bytes>>> {
    let response = http::Response::builder();
    let response = match answer {
        // hyper closes the connection after an error.
        Answer::AfterRelease(release) => {
            release.notified().await;
            response.status(204)
        }
        Answer::CutOff => return Err(io::Error::other("cut off")),
        Answer::NoResponse => std::future::pending().await,
        Answer::Redirect(to) => response.status(301).header("location", to),
        Answer::Status(status) => response.status(status),
    };
    Ok(response.body(Full::default()).unwrap())
}

/// Replies to each request over TCP with these bytes, and closes the connection.
pub async fn respond_with(listener: TcpListener, bytes: &'static [u8]) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = socket.read(&mut request).await;
        let _ = socket.write_all(bytes).await;
    }
}
