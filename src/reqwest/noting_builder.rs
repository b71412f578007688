//! The builder of [`NotingClient`]: TLS settings, settings of reqwest, and which of those are
//! refused.

use std::fmt;
use std::time::Duration;

use ::reqwest::redirect::Policy;
use ::reqwest::tls::Version;
use ::reqwest::{Client, ClientBuilder};
use http::HeaderValue;
use rustls::ClientConfig;
use rustls::client::Resumption;
use tower_layer::Layer;

use crate::layer::NotePinsLayer;
use crate::pinning::{BuildError, Pinning};
use crate::reqwest::connection_map::{ConnectionMap, Unverified};
use crate::reqwest::error::ClientBuildError;
use crate::reqwest::noting_client::{
    InnerClient, NotingClient, ReadyResponse, Redirects, ensure_not_pinned,
};
use crate::reqwest::redirect::{CREDENTIALS, RedirectError, Referer};
use crate::roots::TrustAnchors;
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
    changes: Vec<Box<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>>,
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

    /// Changes reqwest's own settings. Several calls apply in their order. With
    /// [`https_or_http`](Self::https_or_http), `change` is called for each of two inner clients: for
    /// cookies that both use, set `cookie_provider` to a clone of one `Arc`.
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
        let client = self.inner_client(config.clone(), Unverified::Refuse)?;
        // Two clients, since a connection without TLS looks like one whose TLS was not verified.
        // They share no sessions.
        let mut config = config;
        config.config.resumption = Resumption::disabled();
        let plain = self
            .allows_http
            .then(|| self.inner_client(config, Unverified::Allow));
        Ok(NotingClient {
            client,
            plain: plain.transpose()?,
            layer: self.layer.layer(ReadyResponse),
            pinning: self.pinning,
            redirects: self.redirects,
        })
    }

    fn inner_client(
        &self,
        config: ObservedConfig,
        unverified: Unverified,
    ) -> Result<InnerClient, ClientBuildError> {
        let builder = Client::builder().redirect(redirect_policy(self.pinning.clone()));
        let changes = self.changes.iter();
        let builder = changes.fold(builder, |builder, change| change(builder));
        reject_unsupported(&builder, self.redirects)?;
        let https_only = unverified == Unverified::Refuse;
        let builder = builder.https_only(https_only);
        let (mut builder, connections) =
            ConnectionMap::install(self.pinning.clone(), unverified, config, builder);
        if let Redirects::Noted(_) = self.redirects {
            builder = builder.redirect(Policy::none());
        }
        Ok(InnerClient {
            reqwest: builder.build()?,
            connections,
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

/// Refuses settings that would leak credentials or have no effect. They are read from the `Debug`
/// output of reqwest's builder, the only place where it shows them.
fn reject_unsupported(
    builder: &ClientBuilder,
    redirects: Redirects,
) -> Result<(), ClientBuildError> {
    if !shows_settings(&canary()) {
        return Err(ClientBuildError::UncheckedSettings);
    }
    let settings = format!("{builder:?}");
    for name in CREDENTIALS {
        let is_default = settings.contains(&format!("\"{name}\": "));
        if is_default && matches!(redirects, Redirects::Noted(_)) {
            return Err(ClientBuildError::DefaultCredentials { name });
        }
    }
    for (debug_output, setting) in IGNORED {
        if settings.contains(debug_output) {
            return Err(ClientBuildError::IgnoredSetting { setting });
        }
    }
    Ok(())
}

/// Returns a builder with every setting that must be refused.
fn canary() -> ClientBuilder {
    let headers = CREDENTIALS.map(|name| (name, HeaderValue::from_static("canary")));
    Client::builder()
        .default_headers(headers.into_iter().collect())
        .http1_only()
        .tls_danger_accept_invalid_certs(true)
        .tls_danger_accept_invalid_hostnames(true)
        .tls_sni(false)
        .tls_version_max(Version::TLS_1_2)
        .tls_version_min(Version::TLS_1_2)
}

/// Returns whether the builder's `Debug` output shows every setting that must be refused. Another
/// version of reqwest may print it otherwise, and then nothing would be refused.
fn shows_settings(builder: &ClientBuilder) -> bool {
    let settings = format!("{builder:?}");
    let shows_header = |name| settings.contains(&format!("\"{name}\": "));
    let shows_setting = |(debug_output, _): (&str, _)| settings.contains(debug_output);
    CREDENTIALS.iter().all(shows_header) && IGNORED.into_iter().all(shows_setting)
}

/// The default policy for redirects that reqwest follows: refuses plain HTTP after HTTPS and to
/// known pinned hosts, and is reqwest's own otherwise.
fn redirect_policy(pinning: Pinning) -> Policy {
    Policy::custom(move |attempt| {
        let url = attempt.url().clone();
        let was_secure = attempt
            .previous()
            .last()
            .is_some_and(|from| from.scheme() == "https");
        if was_secure && url.scheme() == "http" {
            return attempt.error(RedirectError::Insecure { url });
        }
        match ensure_not_pinned(&pinning, &url) {
            Err(error) => attempt.error(error),
            Ok(()) => Policy::default().redirect(attempt),
        }
    })
}

/// Settings without effect: how reqwest's `Debug` output shows each, and its method.
const IGNORED: [(&str, &str); 6] = [
    ("http1_only: true", "http1_only"),
    (
        "tls_danger_accept_invalid_certs: true",
        "tls_danger_accept_invalid_certs",
    ),
    (
        "tls_danger_accept_invalid_hostnames: true",
        "tls_danger_accept_invalid_hostnames",
    ),
    ("tls_sni: false", "tls_sni"),
    ("tls_version_max: ", "tls_version_max"),
    ("tls_version_min: ", "tls_version_min"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_shows_each_setting_and_another_builder_does_not() {
        assert!(shows_settings(&canary()));
        assert!(!shows_settings(&canary().tls_sni(true)));
        assert!(!shows_settings(&Client::builder()));
    }
}
