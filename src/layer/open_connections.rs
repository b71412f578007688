//! The open connections of one client, with the last pin fields of each: [`OpenConnections`]
//! retires those that fail current pins.
//!
//! A pool does not know pins and uses a connection as long as it is open. hyper-util lets a
//! connection be poisoned, so that the pool does not use it again, but only through a request that
//! captured it. Capturing has a cost, so a request does it only if it may use a connection that is
//! not captured yet.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rustls_pki_types::UnixTime;

use crate::layer::cached_header::{CachedHeader, MAX_CACHED_HEADER};
use crate::layer::target::RequestTarget;
use crate::pinning::Pinning;
use crate::store::Validity;
use crate::tls::VerifiedConnection;

/// The open connections over which responses were received. Clones share one table.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenConnections(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    connections: HashMap<RequestTarget, Vec<TrackedConnection>, RandomState>,
    /// How long no captured connection needs to be evaluated again.
    validity: Option<Validity>,
}

/// A connection over which a response was received.
#[derive(Debug)]
struct TrackedConnection {
    connection: VerifiedConnection,
    /// The last `Public-Key-Pins` field.
    cached: Option<CachedHeader>,
    /// The last `Public-Key-Pins-Report-Only` field.
    report_only: Option<Box<[u8]>>,
}

impl OpenConnections {
    /// Poisons the connections that fail current pins, so that the pool does not use them again,
    /// and returns whether a request to `target` must capture its connection. Call it before each
    /// request.
    pub(crate) fn retire_refused(&self, pinning: &Pinning, target: &RequestTarget) -> bool {
        let refused = self.take_refused(pinning);
        let table = self.0.lock();
        let tracked = table.connections.get(target).map_or(&[][..], |known| known);
        // The pool may use a connection that is not captured yet, or, if none is open, a new one. If
        // all are busy it opens one that its second request captures.
        let is_open = |known: &&TrackedConnection| !known.connection.is_closed();
        let mut open = tracked.iter().filter(is_open).peekable();
        let should_capture =
            open.peek().is_none() || open.any(|known| !known.connection.is_captured());
        drop(table);
        refused.iter().for_each(TrackedConnection::poison);
        should_capture
    }

    /// Removes and returns the connections that fail current pins. The caller poisons them without
    /// a lock, since that emits an event and a `tracing` subscriber may use this client. For the same
    /// reason the clock, which is the application's, is read without one.
    fn take_refused(&self, pinning: &Pinning) -> Vec<TrackedConnection> {
        let (clock, generation) = (pinning.clock(), pinning.generation().number());
        let table = self.0.lock();
        let (is_empty, validity) = (table.connections.is_empty(), table.validity);
        drop(table);
        if is_empty || validity.is_some_and(|validity| validity.holds(generation, clock)) {
            return Vec::new();
        }
        let now = clock.current_time();
        let refused = now.map(|now| self.0.lock().remove_refused(pinning, generation, now));
        refused.unwrap_or_default()
    }

    /// Records the connection of a response, and returns the last field that was received over it.
    pub(crate) fn record(
        &self,
        pinning: &Pinning,
        target: &RequestTarget,
        connection: &VerifiedConnection,
    ) -> Option<CachedHeader> {
        if let Some(known) = self.0.lock().get_mut(target, connection) {
            return known.cached.clone();
        }
        let now = pinning.clock().current_time()?;
        let new = TrackedConnection {
            connection: connection.clone(),
            cached: None,
            report_only: None,
        };
        let refused = self.0.lock().add(pinning, target, new, now);
        refused.iter().for_each(TrackedConnection::poison);
        None
    }

    /// Keeps the field of a recorded connection for its next response.
    pub(crate) fn cache_header(
        &self,
        target: &RequestTarget,
        connection: &VerifiedConnection,
        header: CachedHeader,
    ) {
        if !header.is_small() {
            return;
        }
        if let Some(known) = self.0.lock().get_mut(target, connection) {
            known.cached = Some(header);
        }
    }

    /// Returns whether a report-only field differs from the last one of its connection, and keeps
    /// it for the next response.
    pub(crate) fn is_new_report_only(
        &self,
        target: &RequestTarget,
        connection: &VerifiedConnection,
        value: &[u8],
    ) -> bool {
        let mut table = self.0.lock();
        let Some(known) = table.get_mut(target, connection) else {
            return true;
        };
        if known.report_only.as_deref() == Some(value) {
            return false;
        }
        known.report_only = (value.len() <= MAX_CACHED_HEADER).then(|| value.into());
        true
    }
}

impl Table {
    fn get_mut(
        &mut self,
        target: &RequestTarget,
        connection: &VerifiedConnection,
    ) -> Option<&mut TrackedConnection> {
        let mut tracked = self.connections.get_mut(target)?.iter_mut();
        tracked.find(|known| known.connection.is_same(connection))
    }

    /// Adds a connection. Returns it, to be poisoned, if it fails current pins.
    #[cold]
    fn add(
        &mut self,
        pinning: &Pinning,
        target: &RequestTarget,
        new: TrackedConnection,
        now: UnixTime,
    ) -> Option<TrackedConnection> {
        if self.get_mut(target, &new.connection).is_some() {
            return None;
        }
        let validity = match new.evaluate(pinning, now) {
            Verdict::Accepted(validity) => validity,
            Verdict::Closed => return None,
            Verdict::Refused => return Some(new),
        };
        self.validity = Some(self.validity.map_or(validity, |known| known.and(validity)));
        self.connections.retain(|_, tracked| {
            tracked.retain(|known| !known.connection.is_closed());
            !tracked.is_empty()
        });
        self.connections
            .entry(target.clone())
            .or_default()
            .push(new);
        None
    }

    fn remove_refused(
        &mut self,
        pinning: &Pinning,
        generation: u64,
        now: UnixTime,
    ) -> Vec<TrackedConnection> {
        let mut refused = Vec::new();
        let mut all = Validity::new(generation, Vec::new(), now);
        self.connections.retain(|_, tracked| {
            for known in std::mem::take(tracked) {
                match known.evaluate(pinning, now) {
                    Verdict::Accepted(validity) => {
                        all = all.and(validity);
                        tracked.push(known);
                    }
                    Verdict::Closed => {}
                    Verdict::Refused => refused.push(known),
                }
            }
            !tracked.is_empty()
        });
        self.validity = Some(all);
        refused
    }
}

impl TrackedConnection {
    fn evaluate(&self, pinning: &Pinning, now: UnixTime) -> Verdict {
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

    fn poison(&self) {
        if self.connection.poison() {
            event!(
                DEBUG,
                host = ?self.connection.host(),
                "pooled connection retired: its chain fails the current pins"
            );
        }
    }
}

/// The result of evaluating an open connection by current pins.
enum Verdict {
    /// The connection may be used, and need not be evaluated again as long as this is valid.
    Accepted(Validity),
    Closed,
    Refused,
}
