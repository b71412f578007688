//! Rules for endpoints: which ones a report is sent to, and under which conditions.

use std::sync::Arc;

use crate::http_reporter::endpoint::{Endpoint, NamedBy};
use crate::pinning::Pinning;
use crate::policy::PlainHttp;
use crate::policy::{Host, PinSource, PolicyState, ReportUri};
use crate::violation::{EndpointError, Report};

/// Which `report-uri` of a server is used. A server can name any URI, so none is used by default.
///
/// ```
/// use pinhold::report::ReportUriPolicy;
///
/// assert_eq!(ReportUriPolicy::default(), ReportUriPolicy::Ignore);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportUriPolicy {
    /// Any whose host has public addresses only.
    Any,
    /// None.
    #[default]
    Ignore,
    /// One that names the host on which the violation was seen (RFC 7469 section 5). Over TLS the
    /// connection would fail by the same pins, so reports are sent only over plain HTTP, if
    /// [allowed](crate::report::HttpReporterBuilder::plain_http).
    SameHost,
}

/// The endpoints of the application, and which others it allows.
pub(crate) struct EndpointRules {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) report_uri_policy: ReportUriPolicy,
    pub(crate) plain_http: PlainHttp,
    pub(crate) is_known_hsts_host: Arc<dyn Fn(&Host) -> bool + Send + Sync>,
}

impl EndpointRules {
    pub(crate) fn new() -> Self {
        Self {
            endpoints: Vec::new(),
            report_uri_policy: ReportUriPolicy::default(),
            plain_http: PlainHttp::default(),
            is_known_hsts_host: Arc::new(|_| false),
        }
    }

    /// Adds an endpoint of the application, unless no report could ever be sent to it.
    pub(crate) fn add(&mut self, uri: &ReportUri) -> Result<(), EndpointError> {
        let endpoint = Endpoint::parse(uri, NamedBy::Application)?;
        let upgraded = endpoint.clone().upgraded(&*self.is_known_hsts_host);
        self.check_plain_http(&upgraded)?;
        if !self.has(&endpoint) {
            self.endpoints.push(endpoint);
        }
        Ok(())
    }

    /// Returns the endpoints of a report, each once however it is spelled.
    pub(crate) fn endpoints_of(
        &self,
        report: &Report,
    ) -> Vec<Result<Endpoint, (Option<ReportUri>, EndpointError)>> {
        let endpoints = self.endpoints.iter().cloned().map(Ok);
        let mut endpoints = endpoints.collect::<Vec<_>>();
        for uri in report.violation().policy().report_uris() {
            let Some(named) = self.endpoint_of_policy(uri, report) else {
                continue;
            };
            let mut known = endpoints.iter().flatten();
            let is_known = named
                .as_ref()
                .is_ok_and(|named| known.any(|known| known.is_same(named)));
            if !is_known {
                endpoints.push(named.map_err(|error| (Some(uri.clone()), error)));
            }
        }
        endpoints
    }

    /// Returns the endpoint that the failed policy names; `None` if such endpoints are not used.
    fn endpoint_of_policy(
        &self,
        uri: &ReportUri,
        report: &Report,
    ) -> Option<Result<Endpoint, EndpointError>> {
        let violation = report.violation();
        let named_by = match violation.policy().source {
            PinSource::Noted => NamedBy::Server,
            // The application, or its operator by a bundle.
            _ => return Some(Endpoint::parse(uri, NamedBy::Application)),
        };
        match self.report_uri_policy {
            ReportUriPolicy::Any => Some(Endpoint::parse(uri, named_by)),
            ReportUriPolicy::Ignore => None,
            ReportUriPolicy::SameHost => Some(match Endpoint::parse(uri, named_by) {
                Ok(endpoint) if !endpoint.is_at(violation.host()) => Err(EndpointError::OtherHost),
                parsed => parsed,
            }),
        }
    }

    fn has(&self, endpoint: &Endpoint) -> bool {
        let mut known = self.endpoints.iter();
        known.any(|known| known.is_same(endpoint))
    }

    /// Returns the endpoint as this report is sent to it, with `http` upgraded for known HSTS
    /// hosts.
    pub(crate) fn admit(
        &self,
        report: &Report,
        endpoint: Endpoint,
        pinning: &Pinning,
    ) -> Result<Endpoint, EndpointError> {
        let endpoint = endpoint.upgraded(&*self.is_known_hsts_host);
        #[cfg(feature = "hsts")]
        let endpoint = endpoint.upgraded(|host| pinning.is_hsts_now(host));
        let violation = report.violation();
        let is_same_host = endpoint.is_at(violation.host());
        // 7469-2.1.4-g: the connection would fail by the same pins, unless they are report-only.
        let would_fail = violation.policy().state != PolicyState::ReportOnly;
        if endpoint.is_tls() && is_same_host && would_fail {
            return Err(EndpointError::SameHost);
        }
        self.check_plain_http(&endpoint)?;
        // The host that failed its pins is the only pinned host to which plain HTTP is allowed.
        let at = violation.at();
        // A policy that refuses plain HTTP itself allows it there neither.
        let default = if is_same_host {
            PlainHttp::Allow
        } else {
            PlainHttp::Refuse
        };
        let is_refused = |host| pinning.refuses_plain_http(host, default, at).0;
        if !endpoint.is_tls() && endpoint.host().is_some_and(is_refused) {
            return Err(EndpointError::PlainHttp);
        }
        Ok(endpoint)
    }

    fn check_plain_http(&self, endpoint: &Endpoint) -> Result<(), EndpointError> {
        if !endpoint.is_tls() && self.plain_http == PlainHttp::Refuse {
            return Err(EndpointError::PlainHttp);
        }
        Ok(())
    }
}
