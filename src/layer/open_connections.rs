//! The open connections of one client, with the last pin fields of each: [`OpenConnections`]
//! retires those that fail current pins.
//!
//! A pool does not know pins and uses a connection as long as it is open. hyper-util lets a
//! connection be poisoned, so that the pool does not use it again, but only through a request that
//! captured it. Capturing has a cost, so a request does it only if it may use a connection that is
//! not captured yet.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::uri::Authority;
use parking_lot::Mutex;
use rustls_pki_types::UnixTime;

use crate::layer::target::RequestTarget;
use crate::layer::target_connections::{TargetConnections, TrackedConnection, Verdict};
use crate::pinning::Pinning;
use crate::store::Validity;
use crate::tls::VerifiedConnection;

/// The open connections over which responses were received, and the pins that they must pass.
#[derive(Debug)]
pub(crate) struct OpenConnections {
    pinning: Pinning,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Targets to which connections are open.
    targets: HashMap<RequestTarget, Arc<TargetConnections>, RandomState>,
    /// One of them: that of the last request, since most requests are sent where the last one was.
    last: Option<Arc<TargetConnections>>,
    /// How long no captured connection needs to be evaluated again. `None` if there is none.
    validity: Option<Validity>,
}

impl OpenConnections {
    pub(crate) fn new(pinning: Pinning) -> Self {
        Self {
            pinning,
            table: Mutex::default(),
        }
    }

    pub(crate) fn pinning(&self) -> &Pinning {
        &self.pinning
    }

    /// Poisons the connections that fail current pins, so that the pool does not use them again,
    /// and returns the connections to the target of a URI with this authority. Call it before each
    /// request.
    pub(crate) fn retire_refused(&self, authority: Option<&Authority>) -> Arc<TargetConnections> {
        let generation = self.pinning.generation().number();
        let mut table = self.table.lock();
        if let Some(validity) = table.validity
            && !validity.holds_at_all_times(generation)
        {
            // The clock is the application's, so it is read without a lock.
            drop(table);
            if !validity.holds(generation, self.pinning.clock()) {
                self.poison_refused(generation);
            }
            table = self.table.lock();
        }
        match &table.last {
            Some(last) if last.target().is_spelled(authority) => Arc::clone(last),
            _ => table.find(authority),
        }
    }

    /// Poisons the connections that fail current pins without a lock, since that emits an event and
    /// a `tracing` subscriber may use this client.
    #[cold]
    fn poison_refused(&self, generation: u64) {
        let Some(now) = self.pinning.clock().current_time() else {
            return;
        };
        // The validity is renewed only when none is left, so that a request at the same time does
        // not get a connection that this call has not poisoned yet.
        loop {
            let refused = self.table.lock().refused(&self.pinning, generation, now);
            if refused.is_empty() {
                return;
            }
            refused.iter().for_each(TrackedConnection::poison);
        }
    }

    /// Adds a connection to a target, and returns all connections to it; `None` if the connection
    /// is closed, or if current pins refuse it.
    #[cold]
    pub(crate) fn add(
        &self,
        connections: &Arc<TargetConnections>,
        connection: &VerifiedConnection,
    ) -> Option<Arc<TargetConnections>> {
        let now = self.pinning.clock().current_time()?;
        let new = TrackedConnection::new(connection.clone());
        let added = self.table.lock().add(&self.pinning, connections, new, now);
        added.inspect_err(TrackedConnection::poison).ok().flatten()
    }
}

impl Table {
    /// Returns the connections to a target: if none is open, an empty list that is not in the
    /// table, which would otherwise grow with every name that a client requests.
    fn find(&mut self, authority: Option<&Authority>) -> Arc<TargetConnections> {
        let target = RequestTarget::new(authority);
        match self.targets.get(&target) {
            Some(known) => {
                self.last = Some(Arc::clone(known));
                Arc::clone(known)
            }
            None => Arc::new(TargetConnections::new(target)),
        }
    }

    /// Adds a connection, and returns all to its target; `None` if it is closed.
    ///
    /// # Errors
    ///
    /// The connection, to be poisoned, if it fails current pins.
    fn add(
        &mut self,
        pinning: &Pinning,
        connections: &Arc<TargetConnections>,
        new: TrackedConnection,
        now: UnixTime,
    ) -> Result<Option<Arc<TargetConnections>>, TrackedConnection> {
        let validity = match new.evaluate(pinning, now) {
            Verdict::Accepted(validity) => validity,
            Verdict::Closed => return Ok(None),
            Verdict::Refused => return Err(new),
        };
        self.retain(|known| !known.is_closed());
        self.validity = Some(self.validity.map_or(validity, |known| known.and(validity)));
        let target = connections.target().clone();
        let known = self.targets.entry(target);
        let known = known.or_insert_with(|| Arc::clone(connections));
        known.add(new);
        Ok(Some(Arc::clone(known)))
    }

    /// Returns the connections that fail current pins. If there is none, the rest stays valid until
    /// one may fail.
    fn refused(
        &mut self,
        pinning: &Pinning,
        generation: u64,
        now: UnixTime,
    ) -> Vec<TrackedConnection> {
        let mut refused = Vec::new();
        let mut all = Validity::new(generation, Vec::new(), now);
        self.retain(|known| match known.evaluate(pinning, now) {
            Verdict::Accepted(validity) => {
                all = all.and(validity);
                true
            }
            Verdict::Closed => false,
            Verdict::Refused => {
                refused.push(known.clone());
                true
            }
        });
        if refused.is_empty() {
            self.validity = Some(all);
        }
        refused
    }

    /// Keeps some of the connections, and the targets to which there are any.
    fn retain(&mut self, mut keep: impl FnMut(&TrackedConnection) -> bool) {
        self.targets
            .retain(|_, connections| connections.retain(&mut keep));
        self.last = None;
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the last target, which is one of the others.
        f.debug_struct("Table")
            .field("targets", &self.targets)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}
