//! [`Rollout`], counts of the connections that pins would have accepted or refused.

use parking_lot::Mutex;
use rustls_pki_types::UnixTime;

use crate::policy::{PinSet, SpkiFingerprint};

/// Counts of the connections in this process by a static policy's pins, as evidence of whether the
/// pins can be enforced. With `PinningBuilder::health` they include those of earlier processes, and a
/// pin that was last seen by an earlier one has the beginning of that day.
///
/// The pins are those of the [candidate](crate::PinPolicy::candidate) if there is one, else those
/// of the policy itself. Connections whose pins were skipped for a user-added root, and connections
/// that other pins refused, are not counted. Without [`PinningConnector`](crate::PinningConnector)
/// or reqwest 0.13, resumed sessions are not counted either, since rustls does not call the verifier
/// for them.
///
/// ```
/// use pinhold::{Host, PinPolicy, Pinning};
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?;
/// let pinning = Pinning::builder().static_pins("example.com", policy).build()?;
/// let rollout = pinning.rollout(&Host::parse("example.com")?).unwrap();
/// assert_eq!((rollout.connections, rollout.would_have_failed), (0, 0));
/// assert_eq!(rollout.never_seen().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rollout {
    /// The number of connections that were made and checked. Without
    /// [`PinningConnector`](crate::PinningConnector), it includes handshakes that a server without
    /// the leaf's private key could not complete.
    pub connections: u64,
    /// The time of the last such connection.
    pub last_connection: Option<UnixTime>,
    /// The number of these connections whose validated chain contained none of the pins.
    pub would_have_failed: u64,
    /// The time of the last connection without a pinned key.
    pub last_failure: Option<UnixTime>,
    /// Each pin, with the last time at which a validated chain contained its key.
    pub pins: Vec<(SpkiFingerprint, Option<UnixTime>)>,
}

impl Rollout {
    /// Returns the pins whose key no validated chain has contained: backup pins, or mistakes.
    pub fn never_seen(&self) -> impl Iterator<Item = &SpkiFingerprint> {
        let unseen = self.pins.iter().filter(|(_, seen)| seen.is_none());
        unseen.map(|(pin, _)| pin)
    }
}

/// The counts of one policy. The lock is held for a few comparisons.
pub(crate) struct Tally(Mutex<Rollout>);

impl Tally {
    pub(crate) fn new(pins: &PinSet) -> Self {
        Self(Mutex::new(Rollout {
            connections: 0,
            last_connection: None,
            would_have_failed: 0,
            last_failure: None,
            pins: pins.iter().map(|pin| (*pin, None)).collect(),
        }))
    }

    /// Counts a connection whose validated chain has these keys, and whether it passed the pins.
    pub(crate) fn count(&self, keys: &[SpkiFingerprint], passed: bool, now: UnixTime) {
        let mut counts = self.0.lock();
        counts.connections += 1;
        counts.last_connection = Some(now);
        for (pin, seen) in &mut counts.pins {
            if keys.contains(pin) {
                *seen = Some(now);
            }
        }
        if !passed {
            counts.would_have_failed += 1;
            counts.last_failure = Some(now);
        }
    }

    pub(crate) fn rollout(&self) -> Rollout {
        self.0.lock().clone()
    }
}
