//! [`Bundles`], the pin bundles of a [`Pinning`](crate::Pinning), and what is needed to accept others.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
#[cfg(feature = "hyper")]
use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;

use crate::bundles::{InstallId, PinBundle, Verifier};
use crate::pinning::bundle_records::{self, BundleCounts, FetchState, Slot, floor_of};
use crate::pinning::observers::EventSink;
#[cfg(feature = "hyper")]
use crate::pinning::recovery::Recovery;
use crate::policy::{BundleVersion, StaticRules};
use crate::store::{BundleFloor, Records};

/// The bundles, and what is needed to accept others.
pub(crate) struct Bundles {
    pub(crate) verifier: Verifier,
    /// The bundle that the application contains.
    pub(crate) built_in: Arc<PinBundle>,
    pub(crate) provider: Arc<CryptoProvider>,
    /// Locked while a bundle is accepted, until it is durable.
    pub(crate) accepting: Mutex<()>,
    pub(crate) state: Mutex<State>,
    /// What fetches bundles because of violations.
    #[cfg(feature = "hyper")]
    pub(crate) recovery: RwLock<Option<Weak<dyn Recovery>>>,
    /// The observers. Weak, since they own the reporter, which owns a handle to the pins.
    pub(crate) events: OnceLock<Weak<dyn EventSink>>,
}

pub(crate) struct State {
    /// The rules of the application.
    pub(crate) base: StaticRules,
    pub(crate) full: Arc<PinBundle>,
    /// A staged bundle that is newer than `full`.
    pub(crate) staged: Option<Arc<PinBundle>>,
    /// Whether the staged bundle is in effect.
    pub(crate) is_included: bool,
    /// Whether the entries were made of these bundles and rules.
    pub(crate) is_applied: bool,
    /// The version whose records can't be used, as far as that was reported.
    pub(crate) damaged: Option<BundleVersion>,
    /// The version that was reported as stale.
    pub(crate) stale: Option<BundleVersion>,
    pub(crate) counts: BundleCounts,
    pub(crate) install: Option<InstallId>,
    pub(crate) fetch: FetchState,
}

impl State {
    pub(crate) fn in_effect(&self) -> &Arc<PinBundle> {
        match &self.staged {
            Some(staged) if self.is_included => staged,
            _ => &self.full,
        }
    }

    /// Returns the staged bundle if it is not in effect.
    pub(crate) fn candidate(&self) -> Option<&Arc<PinBundle>> {
        self.staged.as_ref().filter(|_| !self.is_included)
    }
}

impl Bundles {
    pub(crate) fn new(
        verifier: Verifier,
        built_in: PinBundle,
        base: StaticRules,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let built_in = Arc::new(built_in);
        Self {
            verifier,
            provider,
            accepting: Mutex::default(),
            state: Mutex::new(State {
                base,
                full: Arc::clone(&built_in),
                staged: None,
                is_included: false,
                is_applied: false,
                damaged: None,
                stale: None,
                counts: BundleCounts::default(),
                install: None,
                fetch: FetchState::default(),
            }),
            #[cfg(feature = "hyper")]
            recovery: RwLock::default(),
            built_in,
            events: OnceLock::new(),
        }
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// Returns the lowest version that is accepted.
    pub(crate) fn floor(&self, records: &Records) -> BundleFloor {
        let mut floor = floor_of(&self.built_in);
        for stored in [Slot::Full, Slot::Staged].map(|slot| slot.floor(records)) {
            floor = stored.filter(|it| it.is_above(&floor)).unwrap_or(floor);
        }
        floor
    }

    /// Returns the stored bundle of a slot if it is newer than `than`.
    pub(crate) fn stored(
        &self,
        slot: Slot,
        than: &PinBundle,
        known: Option<&Arc<PinBundle>>,
        records: &Records,
    ) -> Result<Option<Arc<PinBundle>>, BundleVersion> {
        let floor = slot.floor(records);
        let Some(floor) = floor.filter(|floor| floor.is_above(&floor_of(than))) else {
            return Ok(None);
        };
        if let Some(known) = known.filter(|known| floor_of(known) == floor) {
            return Ok(Some(Arc::clone(known)));
        }
        // Verified again, since a file may be damaged, or may be that of another application.
        let bytes = bundle_records::text(&floor, records);
        let verified = bytes.and_then(|bytes| self.verifier.verify(&bytes).ok());
        let bundle = verified.filter(|bundle| floor_of(bundle) == floor);
        bundle
            .map(|bundle| Some(Arc::new(bundle)))
            .ok_or(floor.version)
    }
}
