//! The chains that the connections of a client of reqwest were made with: [`KnownChains`]. A
//! connection can't be taken out of reqwest's pool, but the whole client can be replaced once one of
//! its chains is refused.

use parking_lot::RwLock;
use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::pinning::Pinning;
use crate::store::Validity;

/// The distinct chains of all connections that were made, at most [`MAX_CHAINS`].
///
/// The end of a connection can't be observed, so that chains are not removed.
#[derive(Default)]
pub(crate) struct KnownChains(RwLock<Chains>);

#[derive(Default)]
struct Chains {
    each: Vec<ValidatedChain>,
    /// How long the chains pass for which there was no room; `None` if there are none.
    unlisted: Option<Validity>,
    /// How long all of them pass; `None` until they are evaluated, and after a new chain.
    all_pass: Option<Validity>,
}

impl KnownChains {
    /// Records the chain of a new connection.
    ///
    /// Call it before the pins are checked at the end of the handshake. If they change before this
    /// check, the check refuses the chain; if they change later, [`all_pass`](Self::all_pass) finds
    /// it here.
    pub(crate) fn record(&self, pinning: &Pinning, chain: &ValidatedChain) {
        if self.0.read().contains(chain) {
            return;
        }
        // The clock is the application's, so it is read without a lock.
        let now = pinning.clock().current_time();
        let mut chains = self.0.write();
        if chains.contains(chain) {
            return;
        }
        chains.all_pass = None;
        if chains.each.len() < MAX_CHAINS {
            chains.each.push(chain.clone());
            return;
        }
        let evaluated = now.map(|now| {
            let (evaluation, validity) = pinning.evaluate_connection(chain, now);
            (evaluation.is_refused(), validity)
        });
        let validity = match evaluated {
            Some((false, validity)) => validity,
            Some((true, _)) | None => Validity::NEVER,
        };
        chains.unlisted = Some(
            chains
                .unlisted
                .map_or(validity, |known| known.and(validity)),
        );
    }

    /// Returns whether current pins accept all chains. Call it before each request.
    pub(crate) fn all_pass(&self, pinning: &Pinning) -> bool {
        let (clock, generation) = (pinning.clock(), pinning.generation().number());
        let known = self.0.read().all_pass;
        if known.is_some_and(|validity| validity.holds(generation, clock)) {
            return true;
        }
        let Some(now) = clock.current_time() else {
            return false;
        };
        // Handshakes that end in the meantime wait, so that none is recorded and missed.
        let mut chains = self.0.write();
        chains.all_pass = chains.evaluate(pinning, now);
        chains.all_pass.is_some()
    }
}

impl Chains {
    fn contains(&self, chain: &ValidatedChain) -> bool {
        self.each.iter().any(|known| known.is_same(chain))
    }

    /// Returns how long all chains pass; `None` if current pins refuse one.
    fn evaluate(&self, pinning: &Pinning, now: UnixTime) -> Option<Validity> {
        let generation = pinning.generation().number();
        let mut all = Validity::new(generation, Vec::new(), now);
        if let Some(unlisted) = self.unlisted {
            // What is not listed can't be evaluated again, and counts as refused.
            all = unlisted
                .holds_at(generation, now)
                .then(|| all.and(unlisted))?;
        }
        for chain in &self.each {
            let (evaluation, validity) = pinning.evaluate_connection(chain, now);
            all = (!evaluation.is_refused()).then(|| all.and(validity))?;
        }
        Some(all)
    }
}

/// As many as there are connections whose chains are kept, about 5 KB each, or 64 KB from a hostile
/// server. Few clients have more.
const MAX_CHAINS: usize = 256;
