//! WebSockets in two ways. With pinhold's `ClientConfig` the current pins are enforced on each
//! handshake, full or resumed. Over `PinningConnector` they are enforced on the open WebSocket,
//! too, which is preferable because a WebSocket stays open for long.

use std::error::Error;
use std::sync::Arc;

use http::Uri;
use hyper_util::rt::TokioIo;
use pinhold::connector::PinnedStream;
use pinhold::{BuildError, PinPolicy, PinViolation, Pinning, PinningConnector, TrustAnchors};
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::{Connector, WebSocketStream, client_async};
use tower::{Service, ServiceExt};

type BoxError = Box<dyn Error + Send + Sync>;

/// Returns a connector for `connect_async_tls_with_config` and `client_async_tls_with_config`.
pub fn connector(pinning: &Pinning, anchors: TrustAnchors) -> Result<Connector, BuildError> {
    let mut config = pinning.client_config(anchors)?;
    // A server that supports HTTP/2 would choose it, but a WebSocket starts with HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Connector::Rustls(Arc::new(config)))
}

/// Opens a WebSocket over a connector that offers HTTP/1.1 alone.
pub async fn open<C, T>(connector: C, uri: Uri) -> Result<Open<T>, BoxError>
where
    C: Service<Uri, Response = PinnedStream<T>, Error: Error + Send + Sync + 'static>,
    TokioIo<PinnedStream<T>>: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let stream = TokioIo::new(connector.oneshot(uri.clone()).await?);
    let uri = uri.to_string().replacen("https", "wss", 1);
    Ok(client_async(uri, stream).await?.0)
}

pub type Open<T> = WebSocketStream<TokioIo<PinnedStream<T>>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let policy = PinPolicy::new([
        "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
        "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    ])?;
    let pinning = Pinning::builder().static_pins("example.com", policy);
    let connector = PinningConnector::builder(pinning.build()?)
        .with_webpki_roots()
        .http1_only()
        .build()?;
    match open(connector, Uri::from_static("https://example.com/")).await {
        Ok(mut socket) => Ok::<_, WebSocketError>(socket.close(None).await?)?,
        Err(error) => match PinViolation::find(&*error) {
            Some(violation) => println!("{violation}"),
            None => return Err(error),
        },
    }
    Ok(())
}
