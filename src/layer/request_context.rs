//! What is known of a request when its response arrives, and the processing of the pin fields of
//! the response.

use http::header::{PUBLIC_KEY_PINS, PUBLIC_KEY_PINS_REPORT_ONLY};
use http::uri::Scheme;
use http::{Method, Request, Response};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};

use crate::layer::cached_header::CachedHeader;
use crate::layer::open_connections::OpenConnections;
use crate::layer::target::RequestTarget;
use crate::pinning::{Decision, IgnoreReason, Noted, Pinning};
use crate::policy::{Host, PinHeader};
use crate::store::DurableFuture;
use crate::tls::VerifiedConnection;

/// What is known of a request: the host to which the pin fields of its response apply, and the
/// connection.
#[derive(Debug)]
pub(crate) struct RequestContext {
    target: RequestTarget,
    source: ResponseSource,
    captured: Option<CaptureConnection>,
    pinning: Pinning,
    open_connections: OpenConnections,
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
        if request.uri().scheme() == Some(&Scheme::HTTPS) {
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
        pinning: Pinning,
        open_connections: &OpenConnections,
    ) -> Self {
        let target = RequestTarget::of(request);
        let source = ResponseSource::of(request);
        let should_capture = open_connections.retire_refused(&pinning, &target);
        Self {
            target,
            source,
            captured: should_capture.then(|| capture_connection(request)),
            pinning,
            open_connections: open_connections.clone(),
        }
    }

    /// Lets the connection of the request be retired, once there is one.
    pub(crate) fn capture(&mut self) {
        let pinning = &self.pinning;
        self.captured
            .take_if(|captured| VerifiedConnection::capture(captured, pinning));
    }

    pub(crate) fn pinning(&self) -> &Pinning {
        &self.pinning
    }

    /// Notes the response's `Public-Key-Pins` field, and returns what to wait for until the change
    /// is durable; `None` if the response has no such field.
    pub(crate) fn note<B>(&self, response: &Response<B>) -> Option<(Noted, Option<DurableFuture>)> {
        let connection = response.extensions().get::<VerifiedConnection>();
        let cached = connection.and_then(|connection| {
            self.open_connections
                .record(&self.pinning, &self.target, connection)
        });
        // D-15: fields of 1xx responses are ignored, and one of these responses, 101, arrives here.
        if response.status().is_informational() {
            return None;
        }
        // 7469-2.3.1-e: only the first field is used, even if it is malformed.
        let value = response.headers().get(PUBLIC_KEY_PINS)?.as_bytes();
        let noted = self.note_value(value, connection, cached);
        Some(noted.unwrap_or_else(|reason| {
            let noted = Noted::Ignored(reason);
            let host = self.target_host().ok();
            self.pinning.emit_noted(host.as_ref(), &noted);
            (noted, None)
        }))
    }

    fn note_value(
        &self,
        value: &[u8],
        connection: Option<&VerifiedConnection>,
        cached: Option<CachedHeader>,
    ) -> Result<(Noted, Option<DurableFuture>), IgnoreReason> {
        let pinning = &self.pinning;
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
        self.open_connections
            .cache_header(&self.target, connection, header);
        Ok(outcome)
    }

    /// Evaluates the connection by the response's `Public-Key-Pins-Report-Only` field, and emits
    /// the result. A field that repeats the last one of the connection is ignored: the chain does
    /// not change, and report-only pins are not kept.
    pub(crate) fn evaluate_report_only<B>(&self, response: &Response<B>) {
        let Some(value) = response.headers().get(PUBLIC_KEY_PINS_REPORT_ONLY) else {
            return;
        };
        let value = value.as_bytes();
        let connection = response.extensions().get::<VerifiedConnection>();
        let is_new = |connection| {
            self.open_connections
                .is_new_report_only(&self.target, connection, value)
        };
        if response.status().is_informational() || !connection.is_none_or(is_new) {
            return;
        }
        match self.evaluate_value(value, connection) {
            Ok(Decision::ReportOnly(violation)) => {
                let port = self.target.port();
                self.pinning.emit_would_be_violation(&violation, port);
            }
            Ok(_) => {}
            Err(reason) => {
                let host = self.target_host().ok();
                let noted = Noted::Ignored(reason);
                self.pinning.emit_noted(host.as_ref(), &noted);
            }
        }
    }

    fn evaluate_value(
        &self,
        value: &[u8],
        connection: Option<&VerifiedConnection>,
    ) -> Result<Decision, IgnoreReason> {
        let pinning = &self.pinning;
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
            ResponseSource::Host => self.target.host().ok_or(IgnoreReason::NoHost),
        }
    }
}
