//! Every combination of TLS version and crypto provider, and clients and servers for each.

use std::sync::Arc;

use bytes::Bytes;
use pinhold::header::Noted;
use pinhold::layer::NotePins;
use pinhold::{Host, PinPolicy, PinViolation, Pinning, PinningBuilder, TrustAnchors};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ServerConfig, SupportedProtocolVersion};

use super::pki::Leaf;
use super::server::{HyperClient, Names, Server, answer, client_with, get, server_config};
use super::{Clock, now, providers};

/// One combination of crypto provider and TLS version.
#[derive(Clone)]
pub struct TlsSetup {
    pub provider: Arc<CryptoProvider>,
    pub versions: &'static [&'static SupportedProtocolVersion],
}

const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Every combination that this build supports.
pub fn tls_setups() -> Vec<TlsSetup> {
    let all = providers().into_iter().flat_map(|provider| {
        [TLS12, TLS13].map(|versions| TlsSetup {
            provider: provider.clone(),
            versions,
        })
    });
    all.collect()
}

impl TlsSetup {
    pub fn config(&self, leaf: &Leaf) -> ServerConfig {
        server_config(leaf, self.provider.clone(), self.versions)
    }

    pub async fn serve(&self, leaf: &Leaf, fields: &[(&'static str, &str)]) -> Server {
        Server::with_config(self.config(leaf), answer(fields)).await
    }

    pub fn client(
        &self,
        pinning: &Pinning,
        anchors: TrustAnchors,
        names: &Names,
    ) -> NotePins<HyperClient> {
        client_with(
            pinning,
            anchors,
            names,
            self.provider.clone(),
            self.versions,
        )
    }

    /// Sends a request to `example.com` at this server with a new client.
    pub async fn visit(&self, pinning: &Pinning, anchors: &TrustAnchors, server: &Server) -> Visit {
        let names = Names::new([("example.com", server)]);
        let mut client = self.client(pinning, anchors.clone(), &names);
        get(&mut client, "https://example.com/").await
    }
}

/// The outcome of one request.
pub type Visit = Result<http::Response<Bytes>, hyper_util::client::legacy::Error>;

/// A builder with a test clock.
pub fn builder() -> PinningBuilder {
    Pinning::builder().time_provider(Clock::new())
}

/// A [`Pinning`] with this static policy for `example.com` and its subdomains.
pub fn pinning_with(policy: PinPolicy) -> Pinning {
    let builder = builder().static_pins("example.com", policy.include_subdomains());
    builder.build().unwrap()
}

/// The violation that made a visit fail, if one did.
pub fn violation(visit: Visit) -> Option<PinViolation> {
    PinViolation::find(&visit.unwrap_err())
}

/// The certificate error of a visit that failed for another reason than its pins.
pub fn certificate_error(visit: Visit) -> CertificateError {
    let error = visit.unwrap_err();
    assert!(
        PinViolation::find(&error).is_none(),
        "expected a certificate error, found a pin violation: {error:?}"
    );
    let source = std::error::Error::source(&error).unwrap();
    match source.downcast_ref::<pinhold::connector::ConnectError>() {
        Some(pinhold::connector::ConnectError::Tls(rustls::Error::InvalidCertificate(error))) => {
            error.clone()
        }
        other => panic!("expected a certificate error, found {other:?}"),
    }
}

/// The outcome of noting that the layer attached to a response.
pub fn noted(response: &http::Response<Bytes>) -> &Noted {
    response.extensions().get().unwrap()
}

/// Whether the host is a known pinned host, itself or by a superdomain.
pub fn is_known(pinning: &Pinning, host: &str) -> bool {
    let host = Host::parse(host).unwrap();
    pinning.store().query(&host, now()).is_some()
}
