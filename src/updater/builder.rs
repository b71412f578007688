//! [`PinUpdaterBuilder`], the settings of an updater.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tower_service::Service;

use crate::connector::{PinningConnector, tcp};
use crate::pinning::{BuildError, Pinning};
use crate::roots::TrustAnchors;
use crate::updater::fetch::{Fetch, HttpFetch};
use crate::updater::pin_updater::{Flight, Inner, PinUpdater, Source};

impl PinUpdater {
    /// Returns a builder without URLs.
    pub fn builder(pinning: &Pinning) -> PinUpdaterBuilder {
        PinUpdaterBuilder {
            pinning: pinning.clone(),
            urls: Vec::new(),
            anchors: None,
            timeout: TIMEOUT,
            interval: INTERVAL,
            error: None,
        }
    }
}

/// Builds a [`PinUpdater`]. Errors of the other methods are returned by [`build`](Self::build).
///
/// ```no_run
/// use std::time::Duration;
///
/// use pinhold::bundle::PinUpdater;
/// use pinhold::{Pinning, TrustAnchors};
///
/// # let pinning = Pinning::builder().build()?;
/// # let anchors = TrustAnchors::new();
/// let updater = PinUpdater::builder(&pinning)
///     .url("https://pins.example.com/pins.bundle")
///     .with_anchors(anchors)
///     .interval(Duration::from_secs(6 * 60 * 60))
///     .build()?;
/// # drop(updater);
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[must_use]
pub struct PinUpdaterBuilder {
    pinning: Pinning,
    urls: Vec<Uri>,
    anchors: Option<TrustAnchors>,
    timeout: Duration,
    interval: Duration,
    error: Option<BuildError>,
}

impl PinUpdaterBuilder {
    /// Adds a URL with `https`. Bundles are fetched from all URLs in their order, until one is new:
    /// so a server that withholds new bundles does not keep those of the next one away.
    pub fn url(mut self, url: &str) -> Self {
        match url.parse::<Uri>() {
            Ok(uri) if uri.scheme_str() == Some("https") => self.urls.push(uri),
            _ => {
                let url = url.to_owned();
                self.error.get_or_insert(BuildError::UpdateUrl { url });
            }
        }
        self
    }

    /// Validates the connection by these anchors. Default: Mozilla's roots, if the feature
    /// `webpki-roots` is enabled.
    pub fn with_anchors(mut self, anchors: TrustAnchors) -> Self {
        self.anchors = Some(anchors);
        self
    }

    /// Sets the time limit of one URL, including the connection. The default is 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the time between two fetches of [`PinUpdater::run`]; each one is longer or shorter by up to
    /// a tenth. The default is 12 hours. After a failure the next fetch begins after a minute, which
    /// doubles up to the interval.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Builds an updater over TCP.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoBundles`], [`BuildError::UpdateUrl`], [`BuildError::NoUpdateUrl`], and those of
    /// [`PinningVerifierBuilder::client_config`](crate::tls::PinningVerifierBuilder::client_config).
    pub fn build(self) -> Result<PinUpdater, BuildError> {
        self.wrap_connector(tcp(HttpConnector::new()))
    }

    /// Builds an updater over another connector, which must accept `https://` URIs: through a proxy,
    /// for example.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn wrap_connector<H>(self, inner: H) -> Result<PinUpdater, BuildError>
    where
        H: Service<Uri, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        H: Clone + Send + Sync + 'static,
        H::Future: Send + 'static,
        H::Response: Read + Write + Connection + Unpin + Send + 'static,
    {
        if let Some(error) = self.error {
            return Err(error);
        }
        let provider = self
            .pinning
            .bundle_provider()
            .ok_or(BuildError::NoBundles)?;
        if self.urls.is_empty() {
            return Err(BuildError::NoUpdateUrl);
        }
        // A handle without pins: those of a wrong bundle must not keep the next one away.
        let without_pins = Pinning::builder().time_provider(Arc::clone(self.pinning.clock()));
        let connector = PinningConnector::builder(without_pins.build()?).with_provider(provider);
        let connector = connector.https_only().http1_only();
        let connector = connector.with_anchors(self.anchors.unwrap_or_else(default_anchors));
        let fetch: Box<dyn Fetch> = Box::new(HttpFetch::new(connector.wrap_connector(inner)?));
        let inner = Arc::new_cyclic(|this| Inner {
            this: this.clone(),
            pinning: self.pinning,
            sources: self.urls.into_iter().map(Source::new).collect(),
            fetch,
            timeout: self.timeout,
            interval: self.interval,
            flight: Mutex::new(Flight::default()),
            ended: watch::Sender::new(0),
            wanted: Notify::new(),
        });
        Ok(PinUpdater::new(inner))
    }
}

#[cfg(feature = "webpki-roots")]
fn default_anchors() -> TrustAnchors {
    TrustAnchors::webpki_roots()
}

#[cfg(not(feature = "webpki-roots"))]
fn default_anchors() -> TrustAnchors {
    TrustAnchors::new()
}

impl fmt::Debug for PinUpdaterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinUpdaterBuilder")
            .field("urls", &self.urls)
            .field("timeout", &self.timeout)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// A bundle of 1 MiB takes 20 seconds at 400 kbit/s.
const TIMEOUT: Duration = Duration::from_secs(30);
/// An announced rotation is published days before, and recovery does not wait for the interval.
const INTERVAL: Duration = Duration::from_secs(12 * 60 * 60);
