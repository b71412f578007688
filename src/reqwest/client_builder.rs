//! Builders of reqwest clients that enforce pins: [`Pinning::reqwest_client_builder`].

use ::reqwest::{Client, ClientBuilder};
use rustls::ClientConfig;

use crate::pinning::{BuildError, Pinning};
use crate::reqwest::connection_map::{ConnectionMap, Unverified};
use crate::roots::TrustAnchors;
#[cfg(feature = "direct-trust")]
use crate::tls::DirectTrustBuilder;
use crate::tls::{ObservedConfig, PinningVerifier, PinningVerifierBuilder};

impl Pinning {
    /// Returns a builder of reqwest clients that validate chains to `anchors` and enforce the pins
    /// on every hop of a redirect, over HTTP/1.1 and HTTP/2, also through proxies.
    ///
    /// The builder is `https_only`; add other settings to it. An error of its client leads by
    /// `source()` to the [`PinViolation`](crate::PinViolation). To note `Public-Key-Pins`, use
    /// [`NotingClient`](crate::reqwest::NotingClient).
    ///
    /// ```
    /// use pinhold::{Pinning, TrustAnchors};
    ///
    /// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
    /// let pinning = Pinning::builder().build()?;
    /// let client = pinning
    ///     .reqwest_client_builder(TrustAnchors::webpki_roots())?
    ///     .user_agent("shop/1.0")
    ///     .build()?;
    /// # drop(client);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking clients
    ///
    /// With reqwest's feature `blocking` the same builder makes a blocking client. reqwest panics
    /// if such a client is built, used or dropped on a thread that runs asynchronous code: use a
    /// thread of its own, or [`tokio::task::spawn_blocking`].
    ///
    /// ```
    /// use pinhold::{PinViolation, Pinning, TrustAnchors};
    /// use reqwest::blocking::{Client, ClientBuilder};
    ///
    /// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
    /// let pinning = Pinning::builder().build()?;
    /// let builder = pinning.reqwest_client_builder(TrustAnchors::webpki_roots())?;
    /// let client = ClientBuilder::from(builder).build()?;
    ///
    /// fn fetch(client: &Client, url: &str) -> Result<String, reqwest::Error> {
    ///     let response = client.get(url).send().inspect_err(|error| {
    ///         if let Some(violation) = PinViolation::find(error) {
    ///             eprintln!("{violation}");
    ///         }
    ///     })?;
    ///     response.text()
    /// }
    /// # let _ = (client, fetch);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Limits
    ///
    /// - A connection that is open when pins change stays in use, because reqwest's connections
    ///   can't be wrapped, and the builder's client can't be replaced. Use
    ///   [`NotingClient`](crate::reqwest::NotingClient), which replaces it; or set
    ///   `pool_max_idle_per_host(0)`, build a new client after a change, or use hyper-util's client
    ///   with [`PinningConnector`](crate::PinningConnector).
    /// - Nothing is noted: `Public-Key-Pins` fields are ignored.
    /// - A connection that this verifier did not check is refused with
    ///   [`ConnectError::NotVerified`](crate::connector::ConnectError::NotVerified): plain HTTP (so
    ///   `https_only(false)` allows none), and TLS of another back end or of another configuration
    ///   that was set on the builder later.
    /// - reqwest ignores its own TLS settings if it is given a TLS configuration:
    ///   `tls_certs_merge`, `tls_certs_only`, `tls_crls_only`, `identity`, `tls_version_min`,
    ///   `tls_version_max`, `tls_sni`, `tls_danger_accept_invalid_certs` and the like have no
    ///   effect. Use [`reqwest_client_builder_with`](Self::reqwest_client_builder_with).
    /// - HTTP/3 of reqwest (unstable) does not use its connectors: pins are enforced, but nothing
    ///   is noted.
    ///
    /// # Errors
    ///
    /// As [`client_config`](Self::client_config).
    pub fn reqwest_client_builder(
        &self,
        anchors: TrustAnchors,
    ) -> Result<ClientBuilder, BuildError> {
        let verifier = PinningVerifier::builder(self.clone()).with_anchors(anchors);
        self.reqwest_client_builder_with(verifier, |_| ())
    }

    /// Returns a builder as [`reqwest_client_builder`](Self::reqwest_client_builder) does, with
    /// other TLS settings.
    ///
    /// `verifier` must have been made with these pins. It sets the trust anchors, the crypto
    /// provider, the TLS versions and the revocation lists. `configure` changes the configuration
    /// that is made of it, for example the client certificate (`client_auth_cert_resolver`) or the
    /// ALPN protocols, which are HTTP/2 and HTTP/1.1. It can't replace the certificate verifier,
    /// `resumption` and `time_provider`: they are set after it, because a connection could bypass
    /// the pins without them. They belong to this client alone, so that a clone of the
    /// configuration that `configure` keeps trusts no server. To make full handshakes only, use
    /// [`PinningVerifierBuilder::disable_resumption`].
    ///
    /// # Errors
    ///
    /// As [`PinningVerifierBuilder::client_config`]; [`BuildError::OtherPins`] if `verifier` was
    /// made with other pins; and [`BuildError::EarlyData`] if `configure` enables early data, which
    /// is sent before pins are checked.
    ///
    /// ```
    /// use pinhold::{Pinning, PinningVerifier, TrustAnchors};
    ///
    /// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
    /// let pinning = Pinning::builder().build()?;
    /// let verifier = PinningVerifier::builder(pinning.clone())
    ///     .with_anchors(TrustAnchors::webpki_roots())
    ///     .disable_resumption();
    /// let client = pinning
    ///     .reqwest_client_builder_with(verifier, |config| {
    ///         config.alpn_protocols = vec![b"http/1.1".to_vec()];
    ///     })?
    ///     .build()?;
    /// # drop(client);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reqwest_client_builder_with(
        &self,
        verifier: PinningVerifierBuilder,
        configure: impl FnOnce(&mut ClientConfig),
    ) -> Result<ClientBuilder, BuildError> {
        let ObservedConfig { config, sessions } = verifier.observed_config(self, configure)?;
        let connections = ConnectionMap::new(self.clone(), Unverified::Refuse, sessions);
        Ok(connections.install(Client::builder().https_only(true), config))
    }

    /// Returns a builder as [`reqwest_client_builder_with`](Self::reqwest_client_builder_with) does, of
    /// clients that trust servers by their own certificate or raw public key.
    ///
    /// # Errors
    ///
    /// As [`DirectTrustBuilder::client_config`]; [`BuildError::OtherPins`] and
    /// [`BuildError::EarlyData`] as there.
    ///
    /// ```
    /// use pinhold::{Pinning, PinningVerifier, SpkiFingerprint};
    /// use rustls::pki_types::ServerName;
    ///
    /// # #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))] {
    /// let meter = ServerName::try_from("meter.example")?;
    /// let key: SpkiFingerprint = "sha256/UvrJ7xWQqIai1LiDUqrxuenMtEA5O+GkGhR09c59iJk=".parse()?;
    /// let pinning = Pinning::builder().build()?;
    /// let trust = PinningVerifier::without_certificates(pinning.clone(), [(meter, key)]);
    /// let client = pinning.reqwest_client_builder_with_direct_trust(trust, |_| ())?.build()?;
    /// # drop(client);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "direct-trust")]
    pub fn reqwest_client_builder_with_direct_trust(
        &self,
        trust: DirectTrustBuilder,
        configure: impl FnOnce(&mut ClientConfig),
    ) -> Result<ClientBuilder, BuildError> {
        let ObservedConfig { config, sessions } = trust.observed_config(self, configure)?;
        let connections = ConnectionMap::new(self.clone(), Unverified::Refuse, sessions);
        Ok(connections.install(Client::builder().https_only(true), config))
    }
}
