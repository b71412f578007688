//! Connections of a pool in, those retired that the pins of the moment refuse: [`Retiring`].
//!
//! A pool knows nothing of pins, and hands out a connection for as long as it is open. Each one is
//! captured with its first response, and poisoned before the next request is handed to the pool.

use std::sync::Arc;

use hyper_util::client::legacy::connect::CaptureConnection;
use parking_lot::Mutex;

use crate::connection::VerifiedConnection;
use crate::generation::Validity;
use crate::pinning::{Decision, Pinning};

/// The open connections of one client, as far as its responses told of them. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retiring(Arc<Mutex<Captured>>);

#[derive(Debug, Default)]
struct Captured {
    connections: Vec<(CaptureConnection, VerifiedConnection)>,
    /// For how long all of them need not be judged again.
    validity: Option<Validity>,
}

impl Retiring {
    /// Takes in the connection of a response, once.
    pub(crate) fn capture(
        &self,
        pinning: &Pinning,
        captured: &CaptureConnection,
        connection: &VerifiedConnection,
    ) {
        let mut open = self.0.lock();
        let is_known = |(_, known): &(_, VerifiedConnection)| known.is_same(connection);
        if !open.connections.iter().any(is_known) {
            open.connections.retain(|(_, known)| !known.is_closed());
            open.connections
                .push((captured.clone(), connection.clone()));
            open.validity = None;
        }
        drop(open);
        self.retire(pinning);
    }

    /// Poisons those that the pins refuse: the pool hands them out no more.
    pub(crate) fn retire(&self, pinning: &Pinning) {
        let mut open = self.0.lock();
        let (clock, generation) = (pinning.clock(), pinning.generation().number());
        let stands = |validity: &Validity| validity.holds(generation, &**clock);
        if open.connections.is_empty() || open.validity.as_ref().is_some_and(stands) {
            return;
        }
        let Some(now) = clock.current_time() else {
            return;
        };
        let mut all = None;
        open.connections.retain(|(captured, connection)| {
            let (decision, validity) = pinning.check_for(connection.chain(), now);
            let refused = matches!(decision, Decision::Refuse(_));
            if refused && let Some(connected) = captured.connection_metadata().as_ref() {
                event!(DEBUG, host = ?connection.host(), "pins retire a pooled connection");
                connected.poison();
            }
            all = Some(all.map_or(validity, |known: Validity| known.and(validity)));
            !refused && !connection.is_closed()
        });
        open.validity = all;
    }
}
