//! Recovery from a refusal by a pin bundle: what the updater needs of the engine.

use std::sync::{Arc, Weak};

use rustls::crypto::CryptoProvider;
use rustls_pki_types::UnixTime;

use crate::pinning::bundle_records::{FetchState, STORAGE_TIMEOUT, Slot, floor_of};
use crate::pinning::bundle_state::Bundles;
use crate::pinning::evaluation::Decision;
use crate::pinning::event::Event;
use crate::pinning::handle::{Pinning, Shared};
use crate::pinning::recovery::Recovery;
use crate::policy::{BundleVersion, Host};
use crate::violation::PinViolation;

impl Pinning {
    /// Sets what fetches bundles because of violations, in place of an earlier one for as long as it
    /// exists.
    pub(crate) fn set_recovery(&self, recovery: Weak<dyn Recovery>) {
        if let Some(bundles) = &self.shared.bundles {
            let mut known = bundles.recovery.write();
            known.retain(|known| known.strong_count() > 0);
            known.push(recovery);
        }
    }

    /// Returns the crypto provider of the bundles; `None` if the application has set up none.
    pub(crate) fn bundle_provider(&self) -> Option<Arc<CryptoProvider>> {
        let bundles = self.shared.bundles.as_ref()?;
        Some(Arc::clone(bundles.provider()))
    }

    pub(crate) fn recovery(&self) -> Option<Arc<dyn Recovery>> {
        let bundles = self.shared.bundles.as_ref()?;
        let recovery = bundles.recovery.read();
        recovery.iter().rev().find_map(Weak::upgrade)
    }

    /// Starts to fetch a bundle because of a violation, if there is an updater.
    pub(crate) fn start_recovery(&self, violation: &PinViolation) {
        if let Some(recovery) = self.recovery() {
            recovery.on_violation(violation);
        }
    }

    /// Returns whether the pins accept the chain that they refused.
    pub(crate) fn accepts(&self, violation: &PinViolation) -> bool {
        let Some(now) = self.clock().current_time() else {
            return false;
        };
        let decision = self.check(violation.host(), violation.chain(), now);
        !matches!(decision, Decision::Refuse(_))
    }

    /// Returns whether the pins would accept the chain with a staged bundle that is not in effect here.
    pub(crate) fn is_accepted_by_staged(&self, violation: &PinViolation) -> bool {
        let Some(now) = self.clock().current_time() else {
            return false;
        };
        let host = violation.host();
        let statics = self.shared.statics.read();
        let staged = statics.staged(host, now);
        let staged = staged.map(|staged| staged.apply(self.shared.user_added_roots));
        drop(statics);
        if staged.is_none() {
            return false;
        }
        // Fixed and noted policies, and refused keys, stay.
        let mut policies = self.lookup(Some(host), now);
        policies.applied.static_policy = staged;
        policies.applied.candidate = None;
        let decision = policies.decide(host, violation.chain(), now);
        !matches!(decision, Decision::Refuse(_))
    }

    /// Lets the staged bundle take effect, whatever its percentage. Blocks until that is durable.
    pub(crate) fn adopt_staged(&self) {
        if let Some(bundles) = &self.shared.bundles {
            bundles.adopt_staged(&self.shared);
        }
    }

    /// Returns whether a fetch because of a violation may begin now.
    pub(crate) fn is_fetch_due(&self) -> bool {
        let bundles = self.shared.bundles.as_ref();
        let now = self.clock().current_time();
        bundles
            .zip(now)
            .is_some_and(|(bundles, now)| bundles.fetch().is_due(now))
    }

    /// Records that a fetch because of a violation begins, also for later runs of the application.
    pub(crate) fn begin_fetch(&self) {
        self.change_fetch(|bundles, now| bundles.fetch().begun(now));
    }

    /// Records that it brought a new bundle: the next violation may cause another one at once.
    pub(crate) fn end_backoff(&self) {
        self.change_fetch(|bundles, _| bundles.fetch().succeeded());
    }

    fn change_fetch(&self, change: impl FnOnce(&Bundles, UnixTime) -> FetchState) {
        if let Some(bundles) = &self.shared.bundles
            && let Some(now) = self.clock().current_time()
        {
            let state = change(bundles, now);
            bundles.set_fetch(&self.shared, state, now);
        }
    }

    /// Emits that the pins of a host accept a chain that they refused.
    pub(crate) fn record_recovery(&self, host: &Host) {
        if let Some(bundles) = &self.shared.bundles {
            bundles.record_recovery(&self.shared, |version| Event::BundleRecovered {
                host: host.clone(),
                version,
            });
        }
    }
}

impl Bundles {
    /// Stores that the staged bundle is in effect, whatever its percentage.
    pub(crate) fn adopt_staged(&self, shared: &Shared) {
        let candidate = self.state.lock().candidate().cloned();
        let Some(staged) = candidate else {
            return;
        };
        let change = Slot::Recovered.put(floor_of(&staged), staged.issued());
        let stored = shared.store.store_others(change.into_iter().collect());
        // If that fails, the staged bundle stays without effect, and its host refused.
        if stored.wait_at_most(STORAGE_TIMEOUT).is_ok() {
            let _ = self.reload(shared);
        }
    }

    /// Stores the state of fetches, without waiting.
    pub(crate) fn set_fetch(&self, shared: &Shared, fetch: FetchState, now: UnixTime) {
        self.state.lock().fetch = fetch;
        let change = fetch.to_change(now);
        drop(shared.store.store_others(change.into_iter().collect()));
    }

    pub(crate) fn record_recovery(
        &self,
        shared: &Shared,
        event: impl FnOnce(BundleVersion) -> Event,
    ) {
        let mut state = self.state.lock();
        state.counts.recovered += 1;
        let event = event(state.in_effect().version());
        drop(state);
        self.emit_all(shared, vec![event]);
    }

    pub(crate) fn fetch(&self) -> FetchState {
        self.state.lock().fetch
    }
}
