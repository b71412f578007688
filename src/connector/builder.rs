//! [`PinningConnectorBuilder`]: TLS settings, schemes and HTTP versions of a connector.

use std::sync::Arc;

use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;

use crate::connector::handshake::Handshaker;
use crate::connector::schemes::Schemes;
use crate::connector::service::PinningConnector;
use crate::pinning::{BuildError, Pinning};
use crate::policy::PlainHttp;
use crate::roots::TrustAnchors;
use crate::tls::PinningVerifier;

impl PinningConnector<HttpConnector> {
    /// Returns a builder without trust anchors. By default, `http://` is allowed except to hosts
    /// whose pins are enforced, and HTTP/2 and HTTP/1.1 are offered.
    pub fn builder(pinning: Pinning) -> PinningConnectorBuilder {
        PinningConnectorBuilder::new(pinning)
    }
}

/// Builds a [`PinningConnector`]. The methods have the names of
/// `hyper_rustls::HttpsConnectorBuilder` where they do the same.
///
/// There is no method to override the server name: two names would then have to pass their pins.
///
/// ```
/// use pinhold::{Pinning, PinningConnector};
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let connector = PinningConnector::builder(Pinning::builder().build()?)
///     .with_webpki_roots()
///     .https_only()
///     .http2_only()
///     .build()?;
/// # drop(connector);
/// # }
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[must_use]
#[derive(Debug)]
pub struct PinningConnectorBuilder {
    pinning: Pinning,
    anchors: Option<TrustAnchors>,
    provider: Option<Arc<CryptoProvider>>,
    config: Option<Box<ClientConfig>>,
    schemes: Schemes,
    alpn: &'static [&'static [u8]],
}

impl PinningConnectorBuilder {
    pub(crate) fn new(pinning: Pinning) -> Self {
        Self {
            pinning,
            anchors: None,
            provider: None,
            config: None,
            schemes: Schemes::HttpsOrHttp(PlainHttp::Refuse),
            alpn: &[b"h2", b"http/1.1"],
        }
    }

    /// Validates chains to Mozilla's roots.
    #[cfg(feature = "webpki-roots")]
    pub fn with_webpki_roots(self) -> Self {
        self.with_anchors(TrustAnchors::webpki_roots())
    }

    /// Validates chains to these anchors.
    pub fn with_anchors(mut self, anchors: TrustAnchors) -> Self {
        self.anchors = Some(anchors);
        self
    }

    /// Uses this crypto provider; see
    /// [`PinningVerifierBuilder::with_provider`](crate::tls::PinningVerifierBuilder::with_provider).
    pub fn with_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Uses a configuration of [`Pinning::client_config`] or
    /// [`PinningVerifierBuilder`](crate::tls::PinningVerifierBuilder) that was then changed, for
    /// example for a client certificate. It contains anchors, provider and sessions already, so
    /// [`build`](Self::build) fails if [`with_anchors`](Self::with_anchors), `with_webpki_roots` or
    /// [`with_provider`](Self::with_provider) was called, too. Its ALPN protocols are replaced by
    /// the connector's. With a verifier of another crate every connection fails with
    /// [`ConnectError::NotVerified`](crate::connector::ConnectError::NotVerified).
    pub fn with_tls_config(mut self, config: ClientConfig) -> Self {
        self.config = Some(Box::new(config));
        self
    }

    /// Refuses every `http://` URI.
    pub fn https_only(mut self) -> Self {
        self.schemes = Schemes::HttpsOnly;
        self
    }

    /// Allows `http://`, but not to hosts whose pins are enforced. The default.
    pub fn https_or_http(mut self) -> Self {
        self.schemes = Schemes::HttpsOrHttp(PlainHttp::Refuse);
        self
    }

    /// Connects with TLS for every URI, and treats `http://` as `https://` (default port 443). For
    /// clients that can't be given an `https` URI over a connector of another crate, such as tonic
    /// without its `tls-*` features.
    ///
    /// [`NotePinsLayer`](crate::NotePinsLayer) sees the URI of the request, and notes nothing from
    /// a response to an `http` one.
    pub fn always_https(mut self) -> Self {
        self.schemes = Schemes::AlwaysHttps;
        self
    }

    /// Sets whether `http://` to hosts whose pins are enforced is allowed. Changes nothing after
    /// [`https_only`](Self::https_only) or [`always_https`](Self::always_https).
    pub fn plain_http(mut self, plain: PlainHttp) -> Self {
        if let Schemes::HttpsOrHttp(choice) = &mut self.schemes {
            *choice = plain;
        }
        self
    }

    /// Offers HTTP/1.1 only. Default: HTTP/2 and HTTP/1.1.
    pub fn http1_only(mut self) -> Self {
        self.alpn = &[b"http/1.1"];
        self
    }

    /// Offers HTTP/2 only, for a client that is set to HTTP/2 only, too. Default: HTTP/2 and
    /// HTTP/1.1.
    pub fn http2_only(mut self) -> Self {
        self.alpn = &[b"h2"];
        self
    }

    /// Builds a connector over TCP, with `TCP_NODELAY`: without it, a server that sends no session
    /// tickets costs each new connection 40 ms, the wait for a delayed acknowledgement.
    ///
    /// # Errors
    ///
    /// [`BuildError::EarlyData`], [`BuildError::ConflictingTlsSettings`], and those of
    /// [`PinningVerifierBuilder::client_config`](crate::tls::PinningVerifierBuilder::client_config).
    pub fn build(self) -> Result<PinningConnector<HttpConnector>, BuildError> {
        self.wrap_connector(tcp(HttpConnector::new()))
    }

    /// Builds a connector over another one, which must accept `https://` URIs and should set
    /// `TCP_NODELAY` (see [`build`](Self::build)).
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn wrap_connector<H>(self, inner: H) -> Result<PinningConnector<H>, BuildError> {
        let (pinning, schemes, alpn) = (self.pinning.clone(), self.schemes, self.alpn);
        let mut config = self.tls_config()?;
        if config.enable_early_data {
            return Err(BuildError::EarlyData);
        }
        if !config.alpn_protocols.iter().eq(alpn) {
            config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        }
        let handshaker = Handshaker::new(pinning, config);
        Ok(PinningConnector::new(inner, handshaker, schemes))
    }

    fn tls_config(self) -> Result<ClientConfig, BuildError> {
        if let Some(config) = self.config {
            let conflicts = [
                (self.anchors.is_some(), "with_anchors"),
                (self.provider.is_some(), "with_provider"),
            ];
            return match conflicts.into_iter().find(|(is_set, _)| *is_set) {
                Some((_, setting)) => Err(BuildError::ConflictingTlsSettings { setting }),
                None => Ok(*config),
            };
        }
        let mut verifier = PinningVerifier::builder(self.pinning);
        if let Some(anchors) = self.anchors {
            verifier = verifier.with_anchors(anchors);
        }
        if let Some(provider) = self.provider {
            verifier = verifier.with_provider(provider);
        }
        verifier.client_config()
    }
}

/// Sets a TCP connector up as the transport of a [`PinningConnector`].
pub(crate) fn tcp<R>(mut http: HttpConnector<R>) -> HttpConnector<R> {
    http.enforce_http(false);
    http.set_nodelay(true);
    http
}
