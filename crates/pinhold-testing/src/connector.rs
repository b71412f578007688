//! [`LoopbackConnector`], an inner connector that connects every name to one test server.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

/// An inner connector that opens a TCP connection to one test server, whatever the URI is.
///
/// It takes the place of `HttpConnector` in
/// [`wrap_connector`](pinhold::connector::PinningConnectorBuilder::wrap_connector), so that a test
/// needs no name resolution. Returned by [`TestServer::connector`](crate::TestServer::connector).
#[derive(Clone, Debug)]
pub struct LoopbackConnector(pub(crate) SocketAddr);

impl Service<Uri> for LoopbackConnector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let addr = self.0;
        Box::pin(async move {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
