//! What is known of a request when its response arrives, and the processing of the pin fields of
//! the response.

use std::sync::Arc;

#[cfg(feature = "hsts")]
use http::header::STRICT_TRANSPORT_SECURITY;
use http::{Method, Request, Response};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};

#[cfg(feature = "hsts")]
use crate::hsts::{HstsIgnored, HstsNoted, StsHeader};
use crate::layer::cached_header::CachedHeader;
#[cfg(feature = "ct")]
use crate::layer::expect_ct;
use crate::layer::open_connections::OpenConnections;
use crate::layer::pin_fields::PinFields;
use crate::layer::target_connections::TargetConnections;
use crate::pinning::{Decision, IgnoreReason, Noted, Pinning};
use crate::policy::{Host, PinHeader};
use crate::store::DurableFuture;
use crate::tls::VerifiedConnection;

/// What is known of a request: the host to which the pin fields of its response apply, and the
/// connection.
#[derive(Debug)]
pub(crate) struct RequestContext {
    source: ResponseSource,
    captured: Option<CaptureConnection>,
    /// The connections to the target of the request.
    connections: Arc<TargetConnections>,
    /// Those of the client.
    open_connections: Arc<OpenConnections>,
}

/// Where the response to a request comes from.
#[derive(Clone, Copy, Debug)]
enum ResponseSource {
    /// The host of the URI, over TLS.
    Host,
    /// A proxy, in response to CONNECT.
    Proxy,
    /// Unknown, since the connection is not authenticated.
    Unauthenticated,
}

impl ResponseSource {
    fn of<A>(request: &Request<A>) -> Self {
        // D-14: the response to CONNECT is that of the proxy, not of the host.
        if request.method() == Method::CONNECT {
            return Self::Proxy;
        }
        // 7469-2.2.2-a
        if request.uri().scheme_str() == Some("https") {
            Self::Host
        } else {
            Self::Unauthenticated
        }
    }
}

impl RequestContext {
    /// Retires connections that fail current pins, and prepares a request for its connection to be
    /// retired later.
    pub(crate) fn new<A>(
        request: &mut Request<A>,
        open_connections: &Arc<OpenConnections>,
    ) -> Self {
        let connections = open_connections.retire_refused(request.uri().authority());
        Self {
            source: ResponseSource::of(request),
            captured: connections
                .should_capture()
                .then(|| capture_connection(request)),
            connections,
            open_connections: Arc::clone(open_connections),
        }
    }

    /// Lets the connection of the request be retired, once there is one.
    #[inline]
    pub(crate) fn capture(&mut self) {
        if self.captured.is_some() {
            self.capture_once();
        }
    }

    #[cold]
    fn capture_once(&mut self) {
        let pinning = self.open_connections.pinning();
        self.captured
            .take_if(|captured| VerifiedConnection::capture(captured, pinning));
    }

    pub(crate) fn pinning(&self) -> &Pinning {
        self.open_connections.pinning()
    }

    /// Processes the fields of a response, and returns what to wait for until the changes are durable.
    #[cfg(feature = "hsts")]
    pub(crate) fn process<B>(&mut self, response: &mut Response<B>) -> Option<DurableFuture> {
        let of_hsts = self.process_hsts(response);
        // The future of the pins covers the change that was made before.
        self.process_pins(response).or(of_hsts)
    }

    /// Notes the first `Strict-Transport-Security` field, and adds the outcome to the extensions.
    #[cfg(feature = "hsts")]
    fn process_hsts<B>(&self, response: &mut Response<B>) -> Option<DurableFuture> {
        let pinning = self.pinning();
        // 6797-8.1-b
        let value = response.headers().get(STRICT_TRANSPORT_SECURITY);
        let value =
            value.filter(|_| pinning.notes_hsts() && !response.status().is_informational())?;
        let connection = response.extensions().get::<VerifiedConnection>();
        let note = || {
            let host = match self.source {
                ResponseSource::Proxy => return Err(HstsIgnored::ConnectResponse),
                ResponseSource::Unauthenticated => return Err(HstsIgnored::InsecureTransport),
                ResponseSource::Host => self.connections.target().host(),
            };
            let host = host.ok_or(HstsIgnored::NoHost)?;
            let connection = connection.ok_or(HstsIgnored::NoConnectionData)?;
            let header = StsHeader::parse(value.as_bytes()).map_err(HstsIgnored::Header)?;
            let now = pinning.clock().current_time().ok_or(HstsIgnored::NoTime)?;
            Ok(pinning.note_hsts(&host, header, connection.chain(), now))
        };
        let noted = note().unwrap_or_else(HstsNoted::Ignored);
        response.extensions_mut().insert(noted);
        pinning.store().urgent()
    }

    #[cfg(not(feature = "hsts"))]
    #[inline]
    pub(crate) fn process<B>(&mut self, response: &mut Response<B>) -> Option<DurableFuture> {
        self.process_pins(response)
    }

    /// Processes the pin fields of a response. If it has a `Public-Key-Pins` field, adds the
    /// outcome to its extensions, and returns what to wait for until the change is durable.
    #[inline]
    fn process_pins<B>(&mut self, response: &mut Response<B>) -> Option<DurableFuture> {
        let connection = response.extensions().get::<VerifiedConnection>();
        if let Some(connection) = connection {
            self.record(connection);
        }
        #[cfg(feature = "ct")]
        if let Some(connection) = connection {
            let host = self.target_host().ok();
            expect_ct::observe(self.pinning(), host, response.headers(), connection);
        }
        let fields = PinFields::of(response.headers());
        // D-15: fields of 1xx responses are ignored, and one of these responses, 101, arrives here.
        if !fields.is_any() || response.status().is_informational() {
            return None;
        }
        let noted = fields.noted.map(|value| self.note(value, connection));
        if let Some(value) = fields.report_only {
            self.evaluate_report_only(value, connection);
        }
        let (noted, durable) = noted?;
        response.extensions_mut().insert(noted);
        durable
    }

    /// Records the connection of the response.
    #[inline]
    fn record(&mut self, connection: &VerifiedConnection) {
        if !self.connections.is_known(connection) {
            let known = self.open_connections.add(&self.connections, connection);
            self.connections = known.unwrap_or_else(|| Arc::clone(&self.connections));
        }
    }

    /// Notes a `Public-Key-Pins` field, and returns what to wait for until the change is durable.
    fn note(
        &self,
        value: &[u8],
        connection: Option<&VerifiedConnection>,
    ) -> (Noted, Option<DurableFuture>) {
        let noted = self.note_value(value, connection);
        noted.unwrap_or_else(|reason| {
            let noted = Noted::Ignored(reason);
            let host = self.target_host().ok();
            self.pinning().emit_noted(host.as_ref(), &noted);
            (noted, None)
        })
    }

    fn note_value(
        &self,
        value: &[u8],
        connection: Option<&VerifiedConnection>,
    ) -> Result<(Noted, Option<DurableFuture>), IgnoreReason> {
        let pinning = self.pinning();
        let cached = connection.and_then(|connection| self.connections.cached_header(connection));
        let is_repeated = |cached: &CachedHeader| {
            matches!(self.source, ResponseSource::Host) && cached.has_value(value)
        };
        let (mut header, connection) = match (cached.filter(is_repeated), connection) {
            (Some(cached), Some(connection)) => (cached, connection),
            _ => {
                let host = self.target_host()?;
                let connection = connection.ok_or(IgnoreReason::NoConnectionData)?;
                let header = CachedHeader::parse(value, host, pinning.header_syntax());
                (header.map_err(IgnoreReason::Header)?, connection)
            }
        };
        let now = pinning.clock().current_time().ok_or(IgnoreReason::NoTime)?;
        if header.is_up_to_date(pinning, now) {
            return Ok((Noted::Refreshed, pinning.store().urgent()));
        }
        let outcome = header.note(pinning, connection.chain(), now);
        self.connections.cache_header(connection, header);
        Ok(outcome)
    }

    /// Evaluates the connection by a `Public-Key-Pins-Report-Only` field, and emits the result. A
    /// field that repeats the last one of the connection is ignored: the chain does not change, and
    /// report-only pins are not kept.
    fn evaluate_report_only(&self, value: &[u8], connection: Option<&VerifiedConnection>) {
        let is_new = |connection| self.connections.is_new_report_only(connection, value);
        if !connection.is_none_or(is_new) {
            return;
        }
        match self.evaluate_value(value, connection) {
            Ok(Decision::ReportOnly(violation)) => {
                let port = self.connections.target().port();
                self.pinning().emit_would_be_violation(&violation, port);
            }
            Ok(_) => {}
            Err(reason) => {
                let host = self.target_host().ok();
                let noted = Noted::Ignored(reason);
                self.pinning().emit_noted(host.as_ref(), &noted);
            }
        }
    }

    fn evaluate_value(
        &self,
        value: &[u8],
        connection: Option<&VerifiedConnection>,
    ) -> Result<Decision, IgnoreReason> {
        let pinning = self.pinning();
        let host = self.target_host()?;
        let connection = connection.ok_or(IgnoreReason::NoConnectionData)?;
        let header = PinHeader::parse_report_only(value, pinning.header_syntax());
        let header = header.map_err(IgnoreReason::Header)?;
        let now = pinning.clock().current_time().ok_or(IgnoreReason::NoTime)?;
        pinning.evaluate(&host, &header, connection.chain(), now)
    }

    /// Returns the host to which the pin fields of the response apply.
    fn target_host(&self) -> Result<Host, IgnoreReason> {
        match self.source {
            ResponseSource::Proxy => Err(IgnoreReason::ConnectResponse),
            ResponseSource::Unauthenticated => Err(IgnoreReason::InsecureTransport),
            // 7469-2.3.3-d
            ResponseSource::Host => self.connections.target().host().ok_or(IgnoreReason::NoHost),
        }
    }
}
