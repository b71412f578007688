//! The builder of [`NotingClient`]: TLS settings, and settings of reqwest.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::reqwest::ClientBuilder;
use rustls::ClientConfig;
use tower_layer::Layer;

use crate::layer::NotePinsLayer;
use crate::pinning::{BuildError, Pinning};
use crate::reqwest::error::ClientBuildError;
use crate::reqwest::inner_clients::{Change, ClientFactory, CurrentClients};
use crate::reqwest::noting_client::{NotingClient, ReadyResponse};
use crate::reqwest::redirect::{Redirects, Referer};
use crate::roots::TrustAnchors;
#[cfg(feature = "direct-trust")]
use crate::tls::DirectTrustBuilder;
use crate::tls::{ObservedConfig, PinningVerifier, PinningVerifierBuilder};

impl NotingClient {
    /// Returns a builder of a client that allows `https://` only, follows redirects, and notes pins
    /// on every hop. The trust anchors must be set
    /// ([`with_anchors`](NotingClientBuilder::with_anchors)).
    pub fn builder(pinning: Pinning) -> NotingClientBuilder {
        NotingClientBuilder {
            anchors: None,
            config: None,
            changes: Vec::new(),
            layer: NotePinsLayer::new(pinning.clone()),
            pinning,
            redirects: Redirects::Noted(Referer::Send),
            allows_http: false,
        }
    }
}

/// Builds a [`NotingClient`]; see [`NotingClient::builder`].
///
/// ```
/// use std::time::Duration;
///
/// use pinhold::Pinning;
/// use pinhold::reqwest::NotingClient;
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = Pinning::builder().note_only(["example.com"]).build()?;
/// let client = NotingClient::builder(pinning)
///     .with_webpki_roots()
///     .configure(|builder| builder.user_agent("shop/1.0"))
///     .configure(|builder| builder.timeout(Duration::from_secs(30)))
///     .build()?;
/// # drop(client);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct NotingClientBuilder {
    pinning: Pinning,
    anchors: Option<TrustAnchors>,
    /// The configuration that `with_verifier` made.
    config: Option<Result<Box<ObservedConfig>, BuildError>>,
    changes: Vec<Change>,
    layer: NotePinsLayer,
    redirects: Redirects,
    allows_http: bool,
}

impl NotingClientBuilder {
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

    /// Uses this verifier, which must have been made with the same pins, and a TLS configuration
    /// that `configure` may change; see [`Pinning::reqwest_client_builder_with`]. The verifier has
    /// trust anchors of its own, so [`with_anchors`](Self::with_anchors) must not be called.
    pub fn with_verifier(
        mut self,
        verifier: PinningVerifierBuilder,
        configure: impl FnOnce(&mut ClientConfig),
    ) -> Self {
        let config = verifier.observed_config(&self.pinning, configure);
        self.config = Some(config.map(Box::new));
        self
    }

    /// Trusts servers by their own certificate or raw public key, as
    /// [`with_verifier`](Self::with_verifier) uses a verifier. Nothing is noted from them; pins that
    /// change end the connections to them.
    #[cfg(feature = "direct-trust")]
    pub fn with_direct_trust(
        mut self,
        trust: DirectTrustBuilder,
        configure: impl FnOnce(&mut ClientConfig),
    ) -> Self {
        let config = trust.observed_config(&self.pinning, configure);
        self.config = Some(config.map(Box::new));
        self
    }

    /// Changes reqwest's own settings. Several calls apply in their order. `change` is called for
    /// each inner client: for the first one, for its replacement when pins change, and, with
    /// [`https_or_http`](Self::https_or_http), for two of them. It must always set the same, and must not use the client.
    ///
    /// For cookies, set `cookie_provider` to a clone of one `Arc`. `cookie_store(true)` gives each
    /// inner client an empty store, so that cookies are lost when it is replaced.
    ///
    /// Settings for TLS, redirects and `https_only` are overwritten by those of this builder. They
    /// are refused by [`build`](Self::build) if reqwest shows them in its `Debug` output, and have
    /// no effect otherwise.
    ///
    /// No default header may contain credentials, because reqwest would add it to each hop of a
    /// redirect, also for another host.
    pub fn configure(
        mut self,
        change: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Lets reqwest follow redirects by the policy set in [`configure`](Self::configure). Pins are
    /// then noted from the last response only.
    pub fn redirects_by_reqwest(mut self) -> Self {
        self.redirects = Redirects::ByReqwest;
        self
    }

    /// Sends no `Referer` header when a redirect is followed. reqwest's own setting `referer` has
    /// no effect, unless reqwest follows redirects.
    pub fn without_referer(mut self) -> Self {
        if let Redirects::Noted(referer) = &mut self.redirects {
            *referer = Referer::Omit;
        }
        self
    }

    /// Allows `http://`, except to hosts whose pins are enforced. Nothing is noted over it.
    ///
    /// A second inner client sends these requests. The one for `https://` refuses every connection
    /// that the pinning verifier did not check. A redirect from `https://` to `http://` is refused.
    /// Excludes [`redirects_by_reqwest`](Self::redirects_by_reqwest), by which the client for
    /// `http://` would follow a redirect to `https://`.
    pub fn https_or_http(mut self) -> Self {
        self.allows_http = true;
        self
    }

    /// Sets how long a response waits until a change of noted pins is durable; see
    /// [`NotePinsLayer::storage_timeout`].
    pub fn storage_timeout(mut self, timeout: Duration) -> Self {
        self.layer = self.layer.storage_timeout(timeout);
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    ///
    /// See [`ClientBuildError`]. Without trust anchors it is [`BuildError::NoTrustAnchors`], with
    /// both [`with_anchors`](Self::with_anchors) and [`with_verifier`](Self::with_verifier)
    /// [`BuildError::ConflictingTlsSettings`], and with a verifier of other pins
    /// [`BuildError::OtherPins`].
    pub fn build(mut self) -> Result<NotingClient, ClientBuildError> {
        let config = match (self.config.take(), self.anchors.take()) {
            (Some(_), Some(_)) => {
                let setting = "with_anchors";
                return Err(BuildError::ConflictingTlsSettings { setting }.into());
            }
            (Some(config), None) => *config?,
            (None, anchors) => PinningVerifier::builder(self.pinning.clone())
                .with_anchors(anchors.unwrap_or_default())
                .observed_config(&self.pinning, |_| ())?,
        };
        if self.allows_http && matches!(self.redirects, Redirects::ByReqwest) {
            return Err(ClientBuildError::PlainRedirects);
        }
        let clients = CurrentClients::new(ClientFactory {
            pinning: self.pinning.clone(),
            config,
            changes: self.changes,
            redirects: self.redirects,
            allows_http: self.allows_http,
        })?;
        Ok(NotingClient {
            clients: Arc::new(clients),
            layer: self.layer.layer(ReadyResponse),
            pinning: self.pinning,
            redirects: self.redirects,
        })
    }
}

impl fmt::Debug for NotingClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotingClientBuilder")
            .field("pinning", &self.pinning)
            .field("redirects", &self.redirects)
            .finish_non_exhaustive()
    }
}
