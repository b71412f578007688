//! Test proxies: HTTP CONNECT, with or without TLS, and SOCKS5.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A proxy on a loopback port. It connects to one server, whatever address is requested.
pub struct Proxy {
    pub address: SocketAddr,
    /// The number of tunnels that were opened.
    pub tunnels: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts an HTTP CONNECT proxy, with TLS if a configuration is given.
    pub async fn connect(target: SocketAddr, tls: Option<ServerConfig>) -> Self {
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        Self::listen(move |socket, tunnels| {
            let tls = tls.clone();
            async move {
                match tls {
                    None => connect(socket, target, &tunnels).await,
                    Some(tls) => connect(tls.accept(socket).await?, target, &tunnels).await,
                }
            }
        })
        .await
    }

    /// Starts a SOCKS5 proxy.
    pub async fn socks5(target: SocketAddr) -> Self {
        Self::listen(move |socket, tunnels| async move { socks(socket, target, &tunnels).await })
            .await
    }

    async fn listen<F>(serve: impl Fn(TcpStream, Arc<AtomicUsize>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tunnels = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&tunnels);
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                open.spawn(serve(socket, Arc::clone(&counter)));
            }
        });
        Self {
            address,
            tunnels,
            task,
        }
    }

    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one CONNECT request. The response tries to change noted pins, which must have no effect.
async fn connect(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    target: SocketAddr,
    tunnels: &AtomicUsize,
) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await?);
    }
    assert!(request.starts_with(b"CONNECT "));
    let answer = b"HTTP/1.1 200 OK\r\nPublic-Key-Pins: max-age=0\r\n\r\n";
    socket.write_all(answer).await?;
    tunnel(socket, target, tunnels).await
}

/// Serves one SOCKS5 connection (RFC 1928).
async fn socks(mut socket: TcpStream, target: SocketAddr, tunnels: &AtomicUsize) -> io::Result<()> {
    // RFC 1928: a greeting that lists methods, and the choice "no authentication required".
    let mut head = [0; 2];
    socket.read_exact(&mut head).await?;
    let mut methods = vec![0; usize::from(head[1])];
    socket.read_exact(&mut methods).await?;
    socket.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    socket.read_exact(&mut request).await?;
    let length = match request[3] {
        1 => 4,
        3 => usize::from(socket.read_u8().await?),
        _ => 16,
    };
    let mut address = vec![0; length + 2];
    socket.read_exact(&mut address).await?;
    socket.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    tunnel(socket, target, tunnels).await
}

async fn tunnel(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    target: SocketAddr,
    tunnels: &AtomicUsize,
) -> io::Result<()> {
    tunnels.fetch_add(1, Ordering::SeqCst);
    let mut target = TcpStream::connect(target).await?;
    tokio::io::copy_bidirectional(&mut socket, &mut target).await?;
    Ok(())
}
