//! Connections of a pool in, those retired that the pins of the moment refuse: [`OpenConnections`]. It also
//! keeps the last header of each connection, so that one that has not changed is parsed once.
//!
//! A pool knows nothing of pins, and hands out a connection for as long as it is open. The pill that
//! poisons one is reachable only through a request that captured it, which costs, so a request does
//! that only where a connection is not captured yet, or a new one may be made.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::Extensions;
use http::uri::Authority;
use hyper_util::client::legacy::connect::CaptureConnection;
use parking_lot::Mutex;
use rustls_pki_types::UnixTime;

use crate::layer::cached_header::{CachedHeader, MAX_CACHED_HEADER};
use crate::pinning::Pinning;
use crate::store::Validity;
use crate::tls::VerifiedConnection;

/// The open connections of one client, as far as its responses told of them. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenConnections(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    /// By the authority of the requests, whose equality is that of the pool: it ignores case, or a
    /// server could fill the table by redirects to ever other spellings of its name.
    connections: HashMap<Option<Authority>, Vec<TrackedConnection>, RandomState>,
    /// For how long all captured ones need not be judged again.
    validity: Option<Validity>,
}

/// A connection that a response came over.
#[derive(Debug)]
struct TrackedConnection {
    connection: VerifiedConnection,
    /// `None` while no request has captured it: then it can't be poisoned.
    captured: Option<CaptureConnection>,
    /// The last header that came over it.
    cached: Option<CachedHeader>,
    /// The last report-only field that it was judged by.
    report_only: Option<Box<[u8]>>,
}

impl OpenConnections {
    /// Poisons those that the pins refuse, so that the pool hands them out no more; call it before
    /// each request. Whether the request is to capture its connection.
    pub(crate) fn should_capture(&self, pinning: &Pinning, authority: &Option<Authority>) -> bool {
        let mut open = self.0.lock();
        let refused = open.retire(pinning);
        let seen = open.connections.get(authority).map_or(&[][..], |seen| seen);
        let is_open = |seen: &TrackedConnection| !seen.connection.is_closed();
        // One that can't be poisoned yet may be handed out, or a new one, if none is known.
        let should_capture = seen
            .iter()
            .any(|seen| seen.captured.is_none() && is_open(seen))
            || !seen.iter().any(is_open);
        drop(open);
        refused.iter().for_each(TrackedConnection::poison);
        should_capture
    }

    /// Takes in the connection of a response; the last header that came over it.
    pub(crate) fn answered(
        &self,
        pinning: &Pinning,
        authority: &Option<Authority>,
        captured: Option<&CaptureConnection>,
        connection: &VerifiedConnection,
    ) -> Option<CachedHeader> {
        let captured = captured.filter(|captured| is_of(captured, connection));
        let mut open = self.0.lock();
        match open.seen(authority, connection) {
            Some(seen) if seen.captured.is_some() || captured.is_none() => seen.cached.clone(),
            _ => {
                let refused = open.take_in(pinning, authority, captured, connection);
                drop(open);
                refused.iter().for_each(TrackedConnection::poison);
                None
            }
        }
    }

    /// Keeps what came over a connection that was taken in, for the next response.
    pub(crate) fn remember(
        &self,
        authority: &Option<Authority>,
        connection: &VerifiedConnection,
        cached: CachedHeader,
    ) {
        if !cached.is_small() {
            return;
        }
        if let Some(seen) = self.0.lock().seen(authority, connection) {
            seen.cached = Some(cached);
        }
    }

    /// Whether a report-only field is another one than the last that came over this connection;
    /// keeps it for the next response.
    pub(crate) fn is_news(
        &self,
        authority: &Option<Authority>,
        connection: &VerifiedConnection,
        value: &[u8],
    ) -> bool {
        let mut open = self.0.lock();
        let Some(seen) = open.seen(authority, connection) else {
            return true;
        };
        if seen.report_only.as_deref() == Some(value) {
            return false;
        }
        seen.report_only = (value.len() <= MAX_CACHED_HEADER).then(|| value.into());
        true
    }
}

impl Open {
    fn seen(
        &mut self,
        authority: &Option<Authority>,
        connection: &VerifiedConnection,
    ) -> Option<&mut TrackedConnection> {
        let mut seen = self.connections.get_mut(authority)?.iter_mut();
        seen.find(|seen| seen.connection.is_same(connection))
    }

    /// Takes in a connection, or completes what is known of one; or returns it, to be poisoned.
    #[cold]
    fn take_in(
        &mut self,
        pinning: &Pinning,
        authority: &Option<Authority>,
        captured: Option<&CaptureConnection>,
        connection: &VerifiedConnection,
    ) -> Option<TrackedConnection> {
        let now = pinning.clock().current_time()?;
        let mut new = TrackedConnection {
            connection: connection.clone(),
            captured: captured.cloned(),
            cached: None,
            report_only: None,
        };
        let validity = match new.judge(pinning, now) {
            Verdict::Stands(validity) => validity,
            Verdict::Gone => return None,
            Verdict::Refused => return Some(new),
        };
        self.validity = Some(self.validity.map_or(validity, |known| known.and(validity)));
        if let Some(known) = self.seen(authority, connection) {
            new.cached = known.cached.take();
            new.report_only = known.report_only.take();
            *known = new;
            return None;
        }
        self.connections.retain(|_, seen| {
            seen.retain(|seen| !seen.connection.is_closed());
            !seen.is_empty()
        });
        let seen = self.connections.entry(authority.clone()).or_default();
        seen.push(new);
        None
    }

    /// Those that the pins refuse, to be poisoned without the lock: that tells `tracing`, which is
    /// foreign code, and may use the same client.
    fn retire(&mut self, pinning: &Pinning) -> Vec<TrackedConnection> {
        let (clock, generation) = (pinning.clock(), pinning.generation().number());
        let stands = |validity: &Validity| validity.holds(generation, clock);
        let mut refused = Vec::new();
        if self.connections.is_empty() || self.validity.as_ref().is_some_and(stands) {
            return refused;
        }
        let Some(now) = clock.current_time() else {
            return refused;
        };
        let mut all = Validity::new(generation, Vec::new(), now);
        self.connections.retain(|_, seen| {
            for known in std::mem::take(seen) {
                match known.judge(pinning, now) {
                    Verdict::Stands(validity) => {
                        all = all.and(validity);
                        seen.push(known);
                    }
                    Verdict::Gone => {}
                    Verdict::Refused => refused.push(known),
                }
            }
            !seen.is_empty()
        });
        self.validity = Some(all);
        refused
    }
}

impl TrackedConnection {
    fn judge(&self, pinning: &Pinning, now: UnixTime) -> Verdict {
        if self.connection.is_closed() {
            return Verdict::Gone;
        }
        let (evaluation, validity) = pinning.evaluate_connection(self.connection.chain(), now);
        match &self.captured {
            Some(_) if evaluation.is_refused() => Verdict::Refused,
            // Not captured yet: the stream itself ends it.
            _ => Verdict::Stands(validity),
        }
    }

    fn poison(&self) {
        if let Some(captured) = &self.captured {
            let connected = captured.connection_metadata();
            connected.as_ref().inspect(|connected| connected.poison());
            event!(DEBUG, host = ?self.connection.host(), "pins retire a pooled connection");
        }
    }
}

/// What becomes of an open connection.
enum Verdict {
    Gone,
    Refused,
    /// For so long it need not be judged again.
    Stands(Validity),
}

/// Whether it captured this connection: a layer below may have sent the request more than once.
fn is_of(captured: &CaptureConnection, connection: &VerifiedConnection) -> bool {
    let mut extras = Extensions::new();
    if let Some(connected) = &*captured.connection_metadata() {
        connected.get_extras(&mut extras);
    }
    let known = extras.get::<VerifiedConnection>();
    known.is_some_and(|known| known.is_same(connection))
}
