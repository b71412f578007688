//! Connections in, what pins on trial would have done to them out: [`Rollout`].

use parking_lot::Mutex;
use rustls_pki_types::UnixTime;

use crate::policy::{PinSet, SpkiFingerprint};

/// What was seen of a static policy's pins in this process, before anybody relies on them.
///
/// The pins are those on trial: of the [candidate](crate::PinPolicy::candidate) if there is one,
/// else of the policy itself. Connections whose pins were skipped, for a user-added root, are not
/// counted, nor are those that other pins refused, nor, without a connector of ours, resumed ones:
/// rustls asks no verifier about them.
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
    /// Connections that were made and judged. Where a configuration is used without our connector,
    /// also those that a server without the key could not complete.
    pub connections: u64,
    /// When the last of them was made.
    pub last_connection: Option<UnixTime>,
    /// Those of them whose validated chain held none of the pins.
    pub would_have_failed: u64,
    /// When the last of these was made.
    pub last_failure: Option<UnixTime>,
    /// Each pin, and when a validated chain last held it.
    pub pins: Vec<(SpkiFingerprint, Option<UnixTime>)>,
}

impl Rollout {
    /// The pins that no validated chain has held: a backup, or a mistake.
    pub fn never_seen(&self) -> impl Iterator<Item = &SpkiFingerprint> {
        let unseen = self.pins.iter().filter(|(_, seen)| seen.is_none());
        unseen.map(|(pin, _)| pin)
    }
}

/// The counts of one policy. Locked for a few comparisons.
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

    /// Counts a connection whose validated chain has these keys.
    pub(crate) fn count(&self, keys: &[SpkiFingerprint], now: UnixTime) {
        let mut counts = self.0.lock();
        counts.connections += 1;
        counts.last_connection = Some(now);
        let mut passes = false;
        for (pin, seen) in &mut counts.pins {
            if keys.contains(pin) {
                *seen = Some(now);
                passes = true;
            }
        }
        if !passes {
            counts.would_have_failed += 1;
            counts.last_failure = Some(now);
        }
    }

    pub(crate) fn rollout(&self) -> Rollout {
        self.0.lock().clone()
    }
}
