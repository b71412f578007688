//! [`Bundles`], the pin bundles of a [`Pinning`](crate::Pinning), and what is needed to accept others.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
#[cfg(feature = "hyper")]
use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;

use crate::bundles::{InstallId, PinBundle, PinRoot, Verified, Verifier};
use crate::pinning::bundle_records::{self, BundleCounts, FetchState, Slot, floor_of};
use crate::pinning::bundle_terms::Terms;
use crate::pinning::observers::EventSink;
#[cfg(feature = "hyper")]
use crate::pinning::recovery::Recovery;
use crate::policy::{BundleVersion, Host, StaticRules};
use crate::store::{BundleFloor, Records};

/// The bundles, and what is needed to accept others.
pub(crate) struct Bundles {
    pub(crate) verifier: Verifier,
    /// The bundle that the application contains.
    pub(crate) built_in: Arc<PinBundle>,
    pub(crate) provider: Arc<CryptoProvider>,
    /// Locked while a bundle is accepted, until it is durable.
    pub(crate) accepting: Mutex<()>,
    /// The newest root of a bundle that is or was in use here, if it is a successor of that of the
    /// application: the keys before it count no more, even if they have signed another successor.
    pub(crate) newest_root: Mutex<Option<PinRoot>>,
    pub(crate) state: Mutex<State>,
    /// What fetches bundles because of violations: the last one that exists.
    #[cfg(feature = "hyper")]
    pub(crate) recovery: RwLock<Vec<Weak<dyn Recovery>>>,
    /// The observers. Weak, since they own the reporter, which owns a handle to the pins.
    pub(crate) events: OnceLock<Weak<dyn EventSink>>,
}

pub(crate) struct State {
    /// The rules of the application.
    pub(crate) base: StaticRules,
    pub(crate) chosen: Chosen,
    /// Whether the entries were made of these bundles and rules.
    pub(crate) is_applied: bool,
    /// The version whose records can't be used, as far as that was reported.
    pub(crate) damaged: Option<BundleVersion>,
    /// The version that was reported as stale.
    pub(crate) stale: Option<BundleVersion>,
    pub(crate) counts: BundleCounts,
    pub(crate) install: Option<InstallId>,
    /// The hosts whose fixed policies were reported as being without a backup.
    pub(crate) without_backup: Vec<Host>,
    pub(crate) fetch: FetchState,
}

/// The bundles that are in use.
pub(crate) struct Chosen {
    pub(crate) full: Arc<PinBundle>,
    /// A staged bundle that is newer than `full`.
    pub(crate) staged: Option<Arc<PinBundle>>,
    /// Whether the staged bundle is in effect.
    pub(crate) is_included: bool,
}

impl Chosen {
    pub(crate) fn newest(&self) -> &Arc<PinBundle> {
        self.staged.as_ref().unwrap_or(&self.full)
    }

    /// Returns whether the same bundles are in use, by their versions and digests.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let staged = |it: &Self| it.staged.as_ref().map(|staged| floor_of(staged));
        floor_of(&self.full) == floor_of(&other.full)
            && staged(self) == staged(other)
            && self.is_included == other.is_included
    }
}

impl State {
    pub(crate) fn in_effect(&self) -> &Arc<PinBundle> {
        let chosen = &self.chosen;
        match &chosen.staged {
            Some(staged) if chosen.is_included => staged,
            _ => &chosen.full,
        }
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms::of(self.in_effect(), self.candidate().map(|staged| &**staged))
    }

    /// Returns the staged bundle if it is not in effect.
    pub(crate) fn candidate(&self) -> Option<&Arc<PinBundle>> {
        let staged = self.chosen.staged.as_ref();
        staged.filter(|_| !self.chosen.is_included)
    }
}

impl Bundles {
    pub(crate) fn new(
        verifier: Verifier,
        built_in: Verified,
        base: StaticRules,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let newest_root = Mutex::new(built_in.successor);
        let built_in = Arc::new(built_in.bundle);
        Self {
            verifier,
            provider,
            accepting: Mutex::default(),
            newest_root,
            state: Mutex::new(State {
                base,
                chosen: Chosen {
                    full: Arc::clone(&built_in),
                    staged: None,
                    is_included: false,
                },
                is_applied: false,
                damaged: None,
                stale: None,
                counts: BundleCounts::default(),
                install: None,
                without_backup: Vec::new(),
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

    /// Returns the bundles that the stored records choose, and the version of one that is missing or
    /// can't be read.
    pub(crate) fn choose(
        &self,
        state: &mut State,
        records: &Records,
    ) -> (Chosen, Option<BundleVersion>) {
        state.install = bundle_records::install(records).or(state.install);
        let fetch = FetchState::of_stored(records);
        if fetch.last > state.fetch.last {
            state.fetch = fetch;
        }
        state.counts = state.counts.max(BundleCounts::of_stored(records));
        let known = &state.chosen;
        let is_damaged = [Slot::Full, Slot::Staged].map(|slot| slot.is_damaged(records));
        let in_effect = state.in_effect().version();
        let mut damaged = is_damaged.contains(&true).then_some(in_effect);
        let mut readable = |stored: Result<Option<_>, BundleVersion>| {
            stored.unwrap_or_else(|version| {
                damaged = Some(version);
                None
            })
        };
        let full = self.stored(Slot::Full, &self.built_in, Some(&known.full), records);
        let full = readable(full).unwrap_or_else(|| Arc::clone(&self.built_in));
        let staged = self.stored(Slot::Staged, &full, known.staged.as_ref(), records);
        let staged = readable(staged);
        let recovered = Slot::Recovered.floor(records);
        let includes = |staged: &Arc<PinBundle>| {
            let install = state.install;
            let mut staging = staged.staging().into_iter();
            recovered == Some(floor_of(staged))
                || staging.all(|it| install.is_some_and(|id| it.includes(id)))
        };
        let is_included = staged.as_ref().is_some_and(includes);
        let chosen = Chosen {
            full,
            staged,
            is_included,
        };
        (chosen, damaged)
    }

    /// Returns the stored bundle of a slot if it is newer than `than`.
    fn stored(
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
        let verified = bytes.and_then(|bytes| self.verifier.verify(&bytes, None).ok());
        let verified = verified.filter(|verified| floor_of(&verified.bundle) == floor);
        let Verified { bundle, successor } = verified.ok_or(floor.version)?;
        self.learn(successor);
        Ok(Some(Arc::new(bundle)))
    }

    /// Keeps the newest root.
    fn learn(&self, successor: Option<PinRoot>) {
        let version = |root: &Option<PinRoot>| root.as_ref().map(PinRoot::version);
        let mut newest = self.newest_root.lock();
        if version(&successor) > version(&newest) {
            *newest = successor;
        }
    }
}
