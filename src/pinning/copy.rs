//! Copies of a [`Pinning`], on which the self-test makes its connections.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::pinning::build_error::BuildError;
use crate::pinning::handle::{Pinning, Shared};
use crate::pinning::observers::Observers;
use crate::pinning::static_pins::{StaticEntries, StaticPins};
use crate::policy::{Host, PinPolicy, Settings};
#[cfg(pinhold_debug_overrides)]
use crate::roots::Overrides;
use crate::store::PinStore;

impl Pinning {
    /// Returns a handle to a copy of the pins in force, with the noted pins that apply to `host`. It
    /// shares nothing with this one that a connection changes: no counts, observers, storage or
    /// bundles, and a generation of its own. No static pins are disabled in it.
    pub(crate) fn copy(&self, host: &Host) -> Self {
        let Shared { clock, store, .. } = &*self.shared;
        let now = clock.current_time();
        let noted = now.and_then(|now| store.query(host, now));
        let noted = noted.map(|(_, entry)| (*entry).clone());
        let statics = StaticPins {
            all_disabled: false,
            disabled: Default::default(),
            ..self.shared.statics.read().clone()
        };
        let shared = Shared {
            statics: RwLock::new(statics),
            settings: Settings::default(),
            merge_settings: None,
            beside_pin_file: Vec::new(),
            store: PinStore::with_entries(noted.into_iter().collect(), store.limits.clone()),
            note_only: None,
            syntax: self.shared.syntax,
            user_added_roots: self.shared.user_added_roots,
            clock: Arc::clone(clock),
            #[cfg(feature = "hsts")]
            hsts: self.shared.hsts.clone(),
            #[cfg(feature = "bundles")]
            bundles: None,
            #[cfg(feature = "first-use")]
            first_use: None,
            #[cfg(feature = "ct")]
            ct: None,
            #[cfg(feature = "health")]
            health: None,
            #[cfg(pinhold_debug_overrides)]
            overrides: Overrides::default(),
        };
        Self::new(Arc::new(shared), Observers::Silent)
    }

    /// Makes this policy that of the host, whatever a bundle says.
    pub(crate) fn set_policy(&self, host: &Host, policy: &PinPolicy) -> Result<(), BuildError> {
        #[cfg(feature = "bundles")]
        let policy = &policy.clone().fixed();
        let set = |entries: &mut StaticEntries| entries.set(host.clone(), policy.clone());
        let mut statics = self.shared.statics.write();
        set(&mut statics.entries)?;
        #[cfg(feature = "bundles")]
        if let Some(fallback) = statics.bundled.as_mut().and_then(|it| it.fallback.as_mut()) {
            set(fallback)?;
        }
        self.generation().advance();
        Ok(())
    }
}
