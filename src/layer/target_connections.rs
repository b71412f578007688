//! The open connections to one target, with the last pin fields of each: [`TargetConnections`].

use parking_lot::Mutex;
use rustls_pki_types::UnixTime;

use crate::layer::cached_header::{CachedHeader, MAX_CACHED_HEADER};
use crate::layer::target::RequestTarget;
use crate::pinning::Pinning;
use crate::store::Validity;
use crate::tls::VerifiedConnection;

/// The open connections to one target over which responses were received.
#[derive(Debug)]
pub(crate) struct TargetConnections {
    target: RequestTarget,
    tracked: Mutex<Vec<TrackedConnection>>,
}

/// A connection over which a response was received.
#[derive(Clone, Debug)]
pub(crate) struct TrackedConnection {
    connection: VerifiedConnection,
    /// The last `Public-Key-Pins` field.
    cached: Option<CachedHeader>,
    /// The last `Public-Key-Pins-Report-Only` field.
    report_only: Option<Box<[u8]>>,
}

impl TargetConnections {
    pub(crate) fn new(target: RequestTarget) -> Self {
        Self {
            target,
            tracked: Mutex::default(),
        }
    }

    pub(crate) fn target(&self) -> &RequestTarget {
        &self.target
    }

    /// Returns whether the next request must capture its connection. The pool may use a connection
    /// that is not captured yet, or, if none is open, a new one. If all are busy it opens one that
    /// its second request captures.
    #[inline]
    pub(crate) fn should_capture(&self) -> bool {
        let tracked = self.tracked.lock();
        let mut all_closed = true;
        for known in tracked.iter() {
            if known.connection.is_captured() {
                all_closed = false;
            } else if !known.connection.is_closed() {
                return true;
            }
        }
        all_closed
    }

    /// Returns the last `Public-Key-Pins` field of a connection.
    pub(crate) fn cached_header(&self, connection: &VerifiedConnection) -> Option<CachedHeader> {
        let mut tracked = self.tracked.lock();
        find(&mut tracked, connection)?.cached.clone()
    }

    pub(crate) fn is_known(&self, connection: &VerifiedConnection) -> bool {
        find(&mut self.tracked.lock(), connection).is_some()
    }

    /// Keeps the field of a known connection for its next response.
    pub(crate) fn cache_header(&self, connection: &VerifiedConnection, header: CachedHeader) {
        if !header.is_small() {
            return;
        }
        if let Some(known) = find(&mut self.tracked.lock(), connection) {
            known.cached = Some(header);
        }
    }

    /// Returns whether a report-only field differs from the last one of its connection, and keeps
    /// it for the next response.
    pub(crate) fn is_new_report_only(&self, connection: &VerifiedConnection, value: &[u8]) -> bool {
        let mut tracked = self.tracked.lock();
        let Some(known) = find(&mut tracked, connection) else {
            return true;
        };
        if known.report_only.as_deref() == Some(value) {
            return false;
        }
        known.report_only = (value.len() <= MAX_CACHED_HEADER).then(|| value.into());
        true
    }

    /// Adds a connection, unless it is known.
    pub(crate) fn add(&self, new: TrackedConnection) {
        let mut tracked = self.tracked.lock();
        if find(&mut tracked, &new.connection).is_none() {
            tracked.push(new);
        }
    }

    /// Keeps some of the connections, and returns whether there are any.
    pub(crate) fn retain(&self, keep: impl FnMut(&TrackedConnection) -> bool) -> bool {
        let mut tracked = self.tracked.lock();
        tracked.retain(keep);
        !tracked.is_empty()
    }
}

fn find<'t>(
    tracked: &'t mut [TrackedConnection],
    connection: &VerifiedConnection,
) -> Option<&'t mut TrackedConnection> {
    let mut tracked = tracked.iter_mut();
    tracked.find(|known| known.connection.is_same(connection))
}

impl TrackedConnection {
    pub(crate) fn new(connection: VerifiedConnection) -> Self {
        Self {
            connection,
            cached: None,
            report_only: None,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    pub(crate) fn evaluate(&self, pinning: &Pinning, now: UnixTime) -> Verdict {
        if self.connection.is_closed() {
            return Verdict::Closed;
        }
        let (evaluation, validity) = pinning.evaluate_connection(self.connection.chain(), now);
        // A refused connection that is not captured is closed by its own stream.
        if evaluation.is_refused() && self.connection.is_captured() {
            Verdict::Refused
        } else {
            Verdict::Accepted(validity)
        }
    }

    pub(crate) fn poison(&self) {
        if !self.connection.is_closed() && self.connection.poison() {
            event!(
                DEBUG,
                host = ?self.connection.host(),
                "pooled connection retired: its chain fails the current pins"
            );
        }
    }
}

/// The result of evaluating an open connection by current pins.
pub(crate) enum Verdict {
    /// The connection may be used, and need not be evaluated again as long as this is valid.
    Accepted(Validity),
    Closed,
    Refused,
}
