//! The builder of [`HttpReporter`].

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::crypto::CryptoProvider;

use crate::http_reporter::queue::{Delivery, Queue};
use crate::http_reporter::reporter::HttpReporter;
use crate::http_reporter::rules::{EndpointRules, ReportUriPolicy};
use crate::http_reporter::transport::{Resolve, Transport};
use crate::pinning::{BuildError, Pinning};
use crate::policy::PlainHttp;
use crate::policy::{Host, ReportUri, ReportUriError};
use crate::roots::TrustAnchors;
use crate::tls::PinningVerifier;
use crate::violation::ReportForm;

/// Builds an [`HttpReporter`]. Errors of the other methods are returned by [`build`](Self::build).
///
/// ```
/// use std::time::Duration;
///
/// use pinhold::report::{HttpReporter, ReportDetail, ReportForm, ReportUriPolicy};
///
/// # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
/// let pinning = pinhold::Pinning::builder()
///     .reporter(|pinning| {
///         HttpReporter::builder(pinning)
///             .with_webpki_roots()
///             .report_uri_policy(ReportUriPolicy::Any)
///             .form(ReportForm::new().detail(ReportDetail::Fingerprints))
///             .timeout(Duration::from_secs(5))
///             .build()
///     })
///     .build()?;
/// # drop(pinning);
/// # }
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[must_use]
pub struct HttpReporterBuilder {
    pinning: Pinning,
    endpoints: Vec<ReportUri>,
    anchors: TrustAnchors,
    provider: Option<Arc<CryptoProvider>>,
    rules: EndpointRules,
    delivery: Delivery,
    resolve: Option<Resolve>,
    error: Option<BuildError>,
}

impl HttpReporter {
    /// Returns a builder without trust anchors and endpoints. `pinning` is the argument of the
    /// closure that [`PinningBuilder::reporter`](crate::PinningBuilder::reporter) calls.
    pub fn builder(pinning: Pinning) -> HttpReporterBuilder {
        HttpReporterBuilder {
            pinning,
            endpoints: Vec::new(),
            anchors: TrustAnchors::new(),
            provider: None,
            rules: EndpointRules::new(),
            delivery: Delivery {
                form: ReportForm::new(),
                media_type: HeaderValue::from_static("application/json; charset=utf-8"),
                timeout: Duration::from_secs(10),
                backoff: Duration::from_secs(1),
            },
            resolve: None,
            error: None,
        }
    }
}

impl HttpReporterBuilder {
    /// Validates the chains of endpoints with Mozilla's roots.
    #[cfg(feature = "webpki-roots")]
    pub fn with_webpki_roots(self) -> Self {
        self.with_anchors(TrustAnchors::webpki_roots())
    }

    /// Validates the chains of endpoints with these trust anchors.
    pub fn with_anchors(mut self, anchors: TrustAnchors) -> Self {
        self.anchors = anchors;
        self
    }

    /// Uses this crypto provider; see
    /// [`PinningVerifierBuilder::with_provider`](crate::tls::PinningVerifierBuilder::with_provider).
    pub fn with_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Adds an endpoint of the application. Every report is sent to it, and its addresses need not
    /// be public. It must be `https` unless [`plain_http`](Self::plain_http) allows `http`.
    pub fn endpoint<U>(mut self, uri: U) -> Self
    where
        U: TryInto<ReportUri, Error: Into<ReportUriError>>,
    {
        match uri.try_into() {
            Ok(uri) => self.endpoints.push(uri),
            Err(error) => {
                let error = BuildError::ReportUri(error.into());
                self.error.get_or_insert(error);
            }
        }
        self
    }

    /// Sets which `report-uri` of a server is used. The default is [`ReportUriPolicy::Ignore`]. A
    /// URI is never used if its host is an IP address or a name of a single label, or has an
    /// address that is not public.
    pub fn report_uri_policy(mut self, policy: ReportUriPolicy) -> Self {
        self.rules.report_uri_policy = policy;
        self
    }

    /// Sets whether reports may be sent over plain HTTP, where others on the network can read them.
    /// If so, a report may also be sent in plain text to the host that failed its pins, though that
    /// host is pinned. The default is [`PlainHttp::Refuse`].
    pub fn plain_http(mut self, plain_http: PlainHttp) -> Self {
        self.rules.plain_http = plain_http;
        self
    }

    /// Sets what reports contain. The default is all fields of RFC 7469 section 3.
    pub fn form(mut self, form: ReportForm) -> Self {
        self.delivery.form = form;
        self
    }

    /// Sets the `Content-Type`. RFC 7469 specifies none; the default is the one that Chrome sent,
    /// `application/json; charset=utf-8`.
    pub fn media_type(mut self, media_type: HeaderValue) -> Self {
        self.delivery.media_type = media_type;
        self
    }

    /// Sets the time limit of one attempt, including the connection. The default is 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.delivery.timeout = timeout;
        self
    }

    /// Sets the time between the first failed attempt and the next one; it doubles with each
    /// further attempt, up to an hour. The default is 1 second.
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.delivery.backoff = backoff;
        self
    }

    /// Sets a function that returns whether a host is a known HSTS host. An `http` URI of such a
    /// host is used as `https` (RFC 7469 section 2.1.4, RFC 6797 section 8.3).
    pub fn known_hsts_host(
        mut self,
        is_known: impl Fn(&Host) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.rules.is_known_hsts_host = Arc::new(is_known);
        self
    }

    /// Sets a function that resolves the host names of endpoints to addresses, in place of the
    /// system's resolver.
    pub fn resolve_with<F>(mut self, resolve: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        self.resolve = Some(Arc::new(move |name| Box::pin(resolve(name))));
        self
    }

    /// Returns the reporter.
    ///
    /// # Errors
    ///
    /// [`BuildError::ReportUri`] and [`BuildError::ReportEndpoint`] for an endpoint, and those of
    /// [`PinningVerifierBuilder::client_config`](crate::tls::PinningVerifierBuilder::client_config).
    pub fn build(mut self) -> Result<HttpReporter, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        for uri in self.endpoints {
            if let Err(reason) = self.rules.add(&uri) {
                return Err(BuildError::ReportEndpoint { uri, reason });
            }
        }
        let mut verifier =
            PinningVerifier::builder(self.pinning.clone()).with_anchors(self.anchors);
        if let Some(provider) = self.provider {
            verifier = verifier.with_provider(provider);
        }
        let transport = Transport::new(
            self.pinning.clone(),
            verifier.client_config()?,
            self.rules.plain_http,
            self.resolve,
        );
        Ok(HttpReporter {
            rules: self.rules,
            queue: Arc::new(Queue::new(self.pinning, self.delivery, transport)),
        })
    }
}

impl fmt::Debug for HttpReporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReporterBuilder")
            .field("endpoints", &self.endpoints)
            .field("report_uri_policy", &self.rules.report_uri_policy)
            .finish_non_exhaustive()
    }
}
