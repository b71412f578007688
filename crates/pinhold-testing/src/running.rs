//! The thread of a server: it accepts connections until the server is dropped.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::TestError;

/// How long a handshake may take. Long, because a loaded machine is slow.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long the server waits after a connection could not be accepted, so that it does not use a
/// whole processor.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A running server. Its thread has a runtime of its own, so that the code under test may run in
/// any runtime, or block the thread that it runs in.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    counts: Arc<Counts>,
    runtime: Handle,
    /// Dropping it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// What the connections of a server have in common.
#[derive(Clone)]
struct Shared {
    tls: TlsAcceptor,
    response: Response<Full<Bytes>>,
    counts: Arc<Counts>,
}

impl Running {
    /// Starts a server that sends this response to every request.
    pub(crate) async fn start(
        config: ServerConfig,
        response: Response<Bytes>,
    ) -> Result<Self, TestError> {
        let counts = Arc::<Counts>::default();
        let shared = Shared {
            tls: TlsAcceptor::from(Arc::new(config)),
            response: response.map(Full::new),
            counts: counts.clone(),
        };
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let thread = thread::Builder::new().name("pinhold-testing".to_owned());
        let thread = thread.spawn(move || run(shared, ready, stopped))?;
        let started = is_ready.await.map_err(io::Error::other)?;
        let (addr, runtime) = started?;
        Ok(Self {
            addr,
            counts,
            runtime,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Awaits a future that needs a tokio runtime in the runtime of the server, for a limited time.
    pub(crate) async fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, TestError> {
        let task = async { tokio::time::timeout(TIMEOUT, future).await };
        let output = self.runtime.spawn(task).await.map_err(io::Error::other)?;
        output.map_err(|_| TestError::Timeout { waited: TIMEOUT })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        // The thread has nothing to wait for, and its port is closed when it has ended.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Ready = oneshot::Sender<io::Result<(SocketAddr, Handle)>>;

fn run(shared: Shared, ready: Ready, stopped: oneshot::Receiver<()>) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async {
        match listen().await {
            Ok((listener, addr)) => {
                tokio::spawn(accept(listener, shared));
                if ready.send(Ok((addr, Handle::current()))).is_ok() {
                    // The sender is never used: the error is that it was dropped.
                    let _ = stopped.await;
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

async fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

async fn accept(listener: TcpListener, shared: Shared) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                shared.counts.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(socket, shared.clone()));
            }
            // Of a connection that its client has closed already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Such as too many open files, which other connections may close in the meantime.
            Err(_) => tokio::time::sleep(ACCEPT_BACKOFF).await,
        }
    }
}

/// Serves one connection. Errors are ignored: a client that refuses the chain closes it.
async fn serve(socket: TcpStream, shared: Shared) {
    let _ = socket.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(TIMEOUT, shared.tls.accept(socket)).await else {
        return;
    };
    let service = service_fn(|_| {
        shared.counts.requests.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok::<_, io::Error>(shared.response.clone()))
    });
    let http = auto::Builder::new(TokioExecutor::new());
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}
