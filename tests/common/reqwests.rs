//! Clients of reqwest for loopback servers.

use std::convert::Infallible;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use pinhold::connector::ConnectError;
use pinhold::header::{IgnoreReason, Noted};
use pinhold::reqwest::{NotingClient, NotingClientBuilder};
use pinhold::tls::PinningVerifierBuilder;
use pinhold::{PinViolation, Pinning, PinningVerifier, TrustAnchors, VerifiedConnection};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::server::Names;
use super::tls_setup::TlsSetup;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let address = self.address(name.as_str());
        Box::pin(async move {
            let address = address.ok_or("no address of this host in the test")?;
            let addresses: Addrs = Box::new(std::iter::once(address));
            Ok(addresses)
        })
    }
}

impl TlsSetup {
    pub fn verifier(&self, pinning: &Pinning, anchors: &TrustAnchors) -> PinningVerifierBuilder {
        PinningVerifier::builder(pinning.clone())
            .with_anchors(anchors.clone())
            .with_provider(self.provider.clone())
            .with_protocol_versions(self.versions)
    }

    /// A builder of clients that enforce pins, with `names` in place of DNS.
    pub fn reqwest(
        &self,
        pinning: &Pinning,
        anchors: &TrustAnchors,
        names: &Names,
    ) -> reqwest::ClientBuilder {
        let verifier = self.verifier(pinning, anchors);
        let builder = pinning.reqwest_client_builder_with(verifier, |_| ());
        let names = Arc::new(names.clone());
        builder.unwrap().no_proxy().dns_resolver(names)
    }

    /// A builder of clients that also note pins, with `names` in place of DNS.
    pub fn noting(
        &self,
        pinning: &Pinning,
        anchors: &TrustAnchors,
        names: &Names,
    ) -> NotingClientBuilder {
        let names = Arc::new(names.clone());
        NotingClient::builder(pinning.clone())
            .with_verifier(self.verifier(pinning, anchors), |_| ())
            .configure(move |builder| builder.no_proxy().dns_resolver(names.clone()))
    }
}

/// Sends a GET request by a noting client.
pub async fn fetch(
    client: &NotingClient,
    url: &str,
) -> Result<reqwest::Response, pinhold::reqwest::RequestError> {
    client.send(client.reqwest().get(url)).await
}

pub fn connection(response: &reqwest::Response) -> Option<&VerifiedConnection> {
    response.extensions().get()
}

pub fn noted(response: &reqwest::Response) -> Option<&Noted> {
    response.extensions().get()
}

pub const NO_DATA: Noted = Noted::Ignored(IgnoreReason::NoConnectionData);

/// Returns the violation, which both `PinViolation::find` and `source()` must lead to.
pub fn violation(error: &(dyn std::error::Error + 'static)) -> Option<PinViolation> {
    let mut next = Some(error);
    let mut in_sources = None;
    while let Some(error) = next {
        in_sources = in_sources.or_else(|| error.downcast_ref::<PinViolation>());
        next = error.source();
    }
    let found = PinViolation::find(error);
    assert_eq!(found.is_some(), in_sources.is_some(), "{error:?}");
    found
}

/// Whether a connection failed because the client's own verifier did not check it.
pub fn is_not_verified(error: &reqwest::Error) -> bool {
    let mut sources = std::iter::successors(error.source(), |error| (*error).source());
    sources.any(|source| matches!(source.downcast_ref(), Some(ConnectError::NotVerified)))
}

/// A verifier that accepts every server.
#[derive(Debug)]
pub struct AcceptAll(pub Vec<SignatureScheme>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// A server that responds to every request with the request's body.
pub async fn echo(config: ServerConfig) -> (SocketAddr, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let mut task = tokio::task::JoinSet::new();
    task.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let stream = tls.accept(socket).await.unwrap();
            let echo = |request: http::Request<Incoming>| async {
                Ok::<_, Infallible>(http::Response::new(request.into_body()))
            };
            let http = auto::Builder::new(TokioExecutor::new());
            let service = service_fn(echo);
            let served = http.serve_connection(TokioIo::new(stream), service);
            let _ = served.await;
        }
    });
    (address, task)
}
