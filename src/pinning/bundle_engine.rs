//! The pin bundles of a [`Pinning`]: acceptance, storage, and the choice of the one in effect.
//!
//! A bundle takes effect by its records only, once they are durable: the writer thread notifies
//! [`Shared`], for what this process has stored and for what another one has.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, Weak};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::UnixTime;

use crate::bundles::{BundleError, InstallId, PinBundle, PinRoot, Verified, Verifier, WhenStale};
use crate::pinning::build_error::BuildError;
use crate::pinning::bundle_records::{self, BundleCounts, Slot, floor_of};
use crate::pinning::bundle_rules::{BundleRules, Terms};
use crate::pinning::event::Event;
use crate::pinning::handle::{Pinning, Shared};
use crate::pinning::observers::EventSink;
use crate::pinning::rare_rules::merge_settings;
use crate::pinning::static_pins::StaticEntries;
use crate::policy::timestamp::at;
use crate::policy::{BundleVersion, Host, PinPolicy, PinSet, Settings, StaticRules};
use crate::store::{BundleFloor, EARLIEST_TIME, RecordListener, Records};

/// What [`Pinning::apply_bundle`] did with a bundle.
///
/// ```
/// use pinhold::bundle::BundleOutcome;
///
/// fn is_new(outcome: &BundleOutcome) -> bool {
///     !matches!(outcome, BundleOutcome::Unchanged(_))
/// }
/// # let _ = is_new;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleOutcome {
    /// It is in effect.
    Applied(BundleVersion),
    /// It is stored, and staged for other installations: its policies are evaluated and counted
    /// here, but refuse nothing. Its refused keys are refused.
    Staged(BundleVersion),
    /// It is the newest one that is known already.
    Unchanged(BundleVersion),
}

/// The pin bundles of an application at one moment.
///
/// ```
/// use pinhold::Pinning;
///
/// let pinning = Pinning::builder().build()?;
/// assert!(pinning.bundle_status().is_none()); // no bundles were set up
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleStatus {
    /// The bundle in effect.
    pub in_effect: BundleVersion,
    /// The lowest version that is accepted. That of a staged bundle is higher than the one in
    /// effect.
    pub floor: BundleVersion,
    /// The last second at which the bundle in effect is not stale.
    pub expires: UnixTime,
    /// Whether the bundle in effect is stale.
    pub is_stale: bool,
    /// The last second of the kill switch, if it is on.
    pub killed_until: Option<UnixTime>,
    /// The counts.
    pub counts: BundleCounts,
}

/// The bundles, and what is needed to accept others.
pub(crate) struct Bundles {
    verifier: Verifier,
    /// The bundle that the application contains.
    built_in: Arc<PinBundle>,
    provider: Arc<CryptoProvider>,
    /// Locked while a bundle is accepted, until it is durable.
    accepting: Mutex<()>,
    /// The newest root of a bundle that is or was in use here, if it is a successor of that of the
    /// application: the keys before it count no more, even if they have signed another successor.
    newest_root: Mutex<Option<PinRoot>>,
    state: Mutex<State>,
    /// The observers. Weak, since they own the reporter, which owns a handle to the pins.
    events: OnceLock<Weak<dyn EventSink>>,
}

struct State {
    /// The rules of the application.
    base: StaticRules,
    chosen: Chosen,
    /// Whether the entries were made of these bundles and rules.
    is_applied: bool,
    /// The version whose records can't be used, as far as that was reported.
    damaged: Option<BundleVersion>,
    /// The version that was reported as stale.
    stale: Option<BundleVersion>,
    counts: BundleCounts,
    install: Option<InstallId>,
}

/// The bundles that are in use.
struct Chosen {
    full: Arc<PinBundle>,
    /// A staged bundle that is newer than `full`.
    staged: Option<Arc<PinBundle>>,
    /// Whether the staged bundle is in effect.
    is_included: bool,
}

impl Chosen {
    fn newest(&self) -> &Arc<PinBundle> {
        self.staged.as_ref().unwrap_or(&self.full)
    }
}

impl State {
    fn in_effect(&self) -> &Arc<PinBundle> {
        let chosen = &self.chosen;
        match &chosen.staged {
            Some(staged) if chosen.is_included => staged,
            _ => &chosen.full,
        }
    }

    /// Returns the staged bundle if it is not in effect.
    fn candidate(&self) -> Option<&Arc<PinBundle>> {
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
            }),
            built_in,
            events: OnceLock::new(),
        }
    }

    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// Replaces the rules of the application.
    pub(crate) fn replace_base(
        &self,
        shared: &Shared,
        rules: StaticRules,
    ) -> Result<(), BuildError> {
        let mut state = self.state.lock();
        let merged = merge_settings(&shared.settings, rules.settings.clone());
        StaticEntries::new(rules.policies.clone(), merged)?;
        let replaced = std::mem::replace(&mut state.base, rules);
        let applied = self.apply(shared, &mut state);
        if applied.is_err() {
            state.base = replaced;
        }
        applied
    }

    /// Returns the lowest version that is accepted.
    fn floor(&self, records: &Records) -> BundleFloor {
        let mut floor = floor_of(&self.built_in);
        for stored in [Slot::Full, Slot::Staged].map(|slot| slot.floor(records)) {
            floor = stored.filter(|it| it.is_above(&floor)).unwrap_or(floor);
        }
        floor
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

    /// Chooses the bundles by the stored records, and lets them take effect.
    fn reload(&self, shared: &Shared) -> Result<(), BuildError> {
        let mut events = Vec::new();
        let mut state = self.state.lock();
        let before = state.in_effect().version();
        let was_staged = state.candidate().map(|staged| staged.version());
        let others = shared.store.others();
        let (full, staged, damaged, is_recovered) = others.read(|records| {
            state.install = bundle_records::install(records).or(state.install);
            state.counts = state.counts.max(BundleCounts::of_stored(records));
            let full = self.stored(
                Slot::Full,
                &self.built_in,
                Some(&state.chosen.full),
                records,
            );
            let newest = full.as_ref().ok().cloned().flatten();
            let newest = newest.unwrap_or_else(|| Arc::clone(&self.built_in));
            let staged = self.stored(Slot::Staged, &newest, state.chosen.staged.as_ref(), records);
            let is_damaged = [Slot::Full, Slot::Staged].map(|slot| slot.is_damaged(records));
            let mut damaged = is_damaged.contains(&true).then_some(newest.version());
            let mut ok = |stored: Result<Option<_>, BundleVersion>| {
                stored.unwrap_or_else(|version| {
                    damaged = Some(version);
                    None
                })
            };
            ok(full);
            let staged = ok(staged);
            let recovered = Slot::Recovered.floor(records);
            let is_recovered =
                recovered.is_some() && staged.as_ref().map(|staged| floor_of(staged)) == recovered;
            (newest, staged, damaged, is_recovered)
        });
        let includes = |staged: &Arc<PinBundle>| {
            let install = state.install;
            let mut staging = staged.staging().into_iter();
            is_recovered || staging.all(|it| install.is_some_and(|id| it.includes(id)))
        };
        let is_included = staged.as_ref().is_some_and(includes);
        let is_same = Arc::ptr_eq(&full, &state.chosen.full)
            && staged.as_ref().map(Arc::as_ptr) == state.chosen.staged.as_ref().map(Arc::as_ptr)
            && is_included == state.chosen.is_included;
        let mut damaged = damaged;
        if !is_same || !state.is_applied {
            let chosen = Chosen {
                full,
                staged,
                is_included,
            };
            let replaced = std::mem::replace(&mut state.chosen, chosen);
            if self.apply(shared, &mut state).is_err() {
                // Another release of the application, with other policies, has accepted it.
                let unusable = std::mem::replace(&mut state.chosen, replaced);
                damaged = Some(unusable.newest().version());
                if !state.is_applied {
                    self.apply(shared, &mut state)?;
                }
            }
            let in_effect = Arc::clone(state.in_effect());
            if in_effect.version() > before {
                let version = in_effect.version();
                events.push(Event::BundleApplied { version });
                if let Some(until) = in_effect.kill_switch() {
                    events.push(Event::BundleKilled { version, until });
                }
            }
            if let Some(staged) = state.candidate()
                && was_staged != Some(staged.version())
            {
                let version = staged.version();
                let percent = staged.staging().map_or(100, |it| it.percent());
                events.push(Event::BundleStaged { version, percent });
            }
        }
        if let Some(version) = damaged.filter(|version| state.damaged != Some(*version)) {
            let in_effect = state.in_effect().version();
            events.insert(0, Event::BundleUnreadable { version, in_effect });
        }
        state.damaged = damaged;
        drop(state);
        self.emit_all(shared, events);
        Ok(())
    }

    /// Makes the entries of the rules of the application and of the bundles take effect.
    fn apply(&self, shared: &Shared, state: &mut State) -> Result<(), BuildError> {
        let candidate = state.candidate().map(|staged| &**staged);
        let (entries, rules) = self.entries(shared, &state.base, state.in_effect(), candidate)?;
        let mut replaced = None;
        shared.replace_entries(entries, |statics| {
            replaced = statics.bundled.replace(rules);
        });
        state.is_applied = true;
        Ok(())
    }

    /// Returns the entries of the rules of the application and of the bundles.
    fn entries(
        &self,
        shared: &Shared,
        base: &StaticRules,
        in_effect: &PinBundle,
        candidate: Option<&PinBundle>,
    ) -> Result<(StaticEntries, BundleRules), BuildError> {
        let of_bundle = policies_of(in_effect);
        let settings = || {
            let of_bundle = in_effect.pins().rules.settings.clone();
            let mut settings = base.settings.with(of_bundle);
            for bundle in candidate.into_iter().chain([in_effect]) {
                settings.refused_keys = join(settings.refused_keys.take(), refused_keys(bundle));
            }
            merge_settings(&shared.settings, settings)
        };
        let merged = overlay(&base.policies, &of_bundle);
        let entries = StaticEntries::merged(merged, settings())?;
        let fixed = base.policies.iter().filter(|(_, policy)| policy.is_fixed());
        let fixed = fixed.cloned().collect();
        let without = || merge_settings(&Settings::default(), Settings::default());
        let fallback = match in_effect.when_stale() {
            WhenStale::BuiltIn => {
                // Hosts that only the bundle names keep its pins: they are never off.
                let mut built_in = base.policies.clone();
                if in_effect.version() != self.built_in.version() {
                    built_in = overlay(&built_in, &policies_of(&self.built_in));
                }
                let policies = overlay(&of_bundle, &built_in);
                Some(StaticEntries::merged(policies, settings())?)
            }
            WhenStale::Enforce | WhenStale::ReportOnly => None,
        };
        let staged = candidate.map(policies_of);
        let staged = staged.map(|staged| StaticEntries::merged(staged, without()));
        let hosts = in_effect.suspend_noted().iter().cloned();
        let intermediates = in_effect.intermediates();
        let rules = BundleRules {
            terms: Terms::of(in_effect),
            fixed: StaticEntries::merged(fixed, without())?,
            fallback,
            staged: staged.transpose()?,
            suspend_noted: hosts.collect::<HashSet<Host, RandomState>>(),
            intermediates: (!intermediates.is_empty()).then(|| intermediates.into()),
        };
        Ok((entries, rules))
    }

    /// Returns an error for policies that no lookup could use, alone or beside those of the
    /// application.
    fn ensure_usable(&self, shared: &Shared, bundle: &PinBundle) -> Result<(), BundleError> {
        let rules = bundle.pins().rules.clone();
        let base = self.state.lock().base.clone();
        let settings = merge_settings(&shared.settings, base.settings.with(rules.settings));
        let alone = StaticEntries::new(rules.policies, settings).map(drop);
        let usable = alone.and_then(|()| self.entries(shared, &base, bundle, None).map(drop));
        match usable {
            Err(BuildError::Exemption { host, exempt }) => {
                Err(BundleError::Exemption { host, exempt })
            }
            Err(BuildError::UnionOfGroups { host }) => Err(BundleError::UnionOfGroups { host }),
            _ => Ok(()),
        }
    }

    /// Stores a bundle that is newer than all that are known.
    fn accept(&self, shared: &Shared, bytes: &[u8]) -> Result<BundleOutcome, BundleError> {
        let _one_at_a_time = self.accepting.lock();
        let root = self.newest_root.lock().clone();
        let bundle = self.verifier.verify(bytes, root.as_ref())?.bundle;
        self.ensure_usable(shared, &bundle)?;
        let (offered, version) = (floor_of(&bundle), bundle.version());
        let slot = match bundle.staging() {
            Some(staging) if staging.percent() < 100 => Slot::Staged,
            _ => Slot::Full,
        };
        let state = self.state.lock();
        let known = [Some(&state.chosen.full), state.chosen.staged.as_ref()];
        let is_known = known
            .into_iter()
            .flatten()
            .any(|it| floor_of(it) == offered);
        // Released before the records are locked: `reload` locks the two in the other order.
        drop(state);
        let others = shared.store.others();
        let changes = others.read(|records| {
            ensure_not_below(self.floor(records), offered)?;
            if is_known {
                return Ok(None);
            }
            let issued = bundle.issued();
            Ok(bundle_records::store(slot, offered, bytes, issued, records))
        })?;
        let Some(changes) = changes else {
            return Ok(BundleOutcome::Unchanged(version));
        };
        let stored = shared.store.store_others(changes);
        stored.wait().map_err(BundleError::Storage)?;
        // The writer thread has reloaded, unless what is stored was restored only.
        let _ = self.reload(shared);
        // What another process has stored meanwhile stays.
        ensure_not_below(others.read(|records| self.floor(records)), offered)?;
        let state = self.state.lock();
        Ok(match state.candidate() {
            Some(staged) if floor_of(staged) == offered => BundleOutcome::Staged(version),
            _ if floor_of(state.in_effect()) == offered => BundleOutcome::Applied(version),
            _ => BundleOutcome::Unchanged(version),
        })
    }

    fn status(&self, shared: &Shared, now: UnixTime) -> BundleStatus {
        let floor = shared.store.others().read(|records| self.floor(records));
        let state = self.state.lock();
        let in_effect = state.in_effect();
        let terms = Terms::of(in_effect);
        BundleStatus {
            in_effect: in_effect.version(),
            floor: floor.version,
            expires: in_effect.expires(),
            is_stale: terms.is_stale(now),
            killed_until: terms.kill_switch.filter(|_| terms.is_killed(now)),
            counts: state.counts,
        }
    }

    /// Counts an outcome. Only the process that was given the bundle does.
    fn count(&self, shared: &Shared, outcome: &Result<BundleOutcome, BundleError>) {
        let mut state = self.state.lock();
        let kills = state.in_effect().kill_switch().is_some();
        let counts = &mut state.counts;
        match outcome {
            Ok(BundleOutcome::Applied(_)) => {
                counts.applied += 1;
                counts.killed += u64::from(kills);
            }
            Ok(BundleOutcome::Staged(_)) => counts.staged += 1,
            Ok(BundleOutcome::Unchanged(_)) => return,
            Err(_) => counts.refused += 1,
        }
        drop(state);
        self.store_counts(shared);
    }

    /// Stores the counts, without waiting.
    fn store_counts(&self, shared: &Shared) {
        let counts = self.state.lock().counts;
        let change = counts.to_change(at(EARLIEST_TIME));
        drop(shared.store.store_others(change.into_iter().collect()));
    }

    /// Emits events and stores the counts, without waiting.
    fn emit_all(&self, shared: &Shared, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        self.store_counts(shared);
        let sink = self.events.get().and_then(Weak::upgrade);
        for event in events {
            event.trace();
            if let Some(sink) = &sink {
                sink.emit(event);
            }
        }
    }
}

impl RecordListener for Shared {
    fn on_records_changed(&self) {
        if let Some(bundles) = &self.bundles {
            // Only rules that another release of the application accepts can fail here. Those in
            // effect then stay.
            let _ = bundles.reload(self);
        }
    }
}

impl Pinning {
    /// Applies a pin bundle: the bytes that `pinhold bundle sign` makes, from any source. Uses no
    /// network. Blocks until the bundle and its version are durable in the
    /// [`store`](crate::PinningBuilder::store), and only then lets it take effect, for every clone
    /// and every open connection. In asynchronous code call it on a thread for blocking work.
    ///
    /// # Errors
    ///
    /// A [`BundleError`]. The last good bundle then stays in effect, and
    /// [`Event::BundleRefused`](crate::Event::BundleRefused) is emitted.
    ///
    /// ```no_run
    /// # fn received() -> Vec<u8> { Vec::new() }
    /// use pinhold::Pinning;
    ///
    /// # let pinning = Pinning::builder().build()?;
    /// match pinning.apply_bundle(&received()) {
    ///     Ok(outcome) => println!("{outcome:?}"),
    ///     Err(error) => eprintln!("{error}"),
    /// }
    /// # Ok::<(), pinhold::BuildError>(())
    /// ```
    pub fn apply_bundle(&self, bundle: &[u8]) -> Result<BundleOutcome, BundleError> {
        let Some(bundles) = &self.shared.bundles else {
            return Err(BundleError::NotSetUp);
        };
        let outcome = bundles.accept(&self.shared, bundle);
        bundles.count(&self.shared, &outcome);
        if let Err(error) = &outcome {
            let event = Event::BundleRefused(error.clone());
            bundles.emit_all(&self.shared, vec![event]);
        }
        self.report_stale_bundle();
        outcome
    }

    /// Returns which bundle is in effect; `None` if the application has set up none, or the clock
    /// can't be read.
    #[must_use]
    pub fn bundle_status(&self) -> Option<BundleStatus> {
        let now = self.clock().current_time()?;
        Some(self.shared.bundles.as_ref()?.status(&self.shared, now))
    }

    /// Loads the stored bundles, and follows those that other processes store.
    pub(crate) fn begin_bundles(&self) -> Result<(), BuildError> {
        let Some(bundles) = &self.shared.bundles else {
            return Ok(());
        };
        if let Some(sink) = self.observers.sink() {
            bundles.events.get_or_init(|| sink);
        }
        let listener: Weak<Shared> = Arc::downgrade(&self.shared);
        let others = self.shared.store.others();
        others.watch(listener);
        let (install, counts) = others.read(|records| {
            let counts = BundleCounts::of_stored(records);
            (bundle_records::install(records), counts)
        });
        let install = match install {
            Some(install) => install,
            None => bundles.new_install(&self.shared)?,
        };
        let mut state = bundles.state.lock();
        (state.counts, state.install) = (counts, Some(install));
        drop(state);
        bundles.reload(&self.shared)?;
        self.report_stale_bundle();
        Ok(())
    }

    /// Emits that the bundle in effect is stale, once for each version.
    pub(crate) fn report_stale_bundle(&self) {
        let Some(bundles) = &self.shared.bundles else {
            return;
        };
        let Some(now) = self.clock().current_time() else {
            return;
        };
        let mut state = bundles.state.lock();
        let terms = Terms::of(state.in_effect());
        if !terms.is_stale(now) || state.stale == Some(terms.version) {
            return;
        }
        state.stale = Some(terms.version);
        state.counts.stale += 1;
        drop(state);
        let event = Event::BundleStale {
            version: terms.version,
            expired: terms.expires,
        };
        bundles.emit_all(&self.shared, vec![event]);
    }
}

impl Bundles {
    /// Chooses the number of this installation.
    fn new_install(&self, shared: &Shared) -> Result<InstallId, BuildError> {
        let mut bytes = [0; 16];
        let filled = self.provider.secure_random.fill(&mut bytes);
        filled.map_err(|_| BuildError::Tls(rustls::Error::FailedToGetRandomBytes))?;
        let install = InstallId::from_bytes(bytes);
        let change = bundle_records::put_install(install, at(EARLIEST_TIME));
        drop(shared.store.store_others(change.into_iter().collect()));
        Ok(install)
    }
}

/// Fails if a bundle is older than the newest one that was accepted, or another one with its version.
fn ensure_not_below(floor: BundleFloor, offered: BundleFloor) -> Result<(), BundleError> {
    if offered.version < floor.version {
        return Err(BundleError::Rollback {
            offered: offered.version,
            floor: floor.version,
        });
    }
    if offered.version == floor.version && offered.digest != floor.digest {
        return Err(BundleError::Equivocation {
            version: offered.version,
            known: floor.digest,
            refused: offered.digest,
        });
    }
    Ok(())
}

/// Returns the policies of a bundle.
fn policies_of(bundle: &PinBundle) -> Vec<(Host, PinPolicy)> {
    let policies = bundle.pins().policies().iter();
    let of_bundle = policies.map(|(host, policy)| {
        let policy = policy.clone().of_bundle(bundle.version());
        (host.clone(), policy)
    });
    of_bundle.collect()
}

/// Returns the policies `over`, and those `below` of all hosts that `over` does not name.
fn overlay(below: &[(Host, PinPolicy)], over: &[(Host, PinPolicy)]) -> Vec<(Host, PinPolicy)> {
    let named = over.iter().map(|(host, _)| host);
    let named = named.collect::<HashSet<_, RandomState>>();
    let kept = below.iter().filter(|(host, _)| !named.contains(host));
    kept.chain(over).cloned().collect()
}

/// Returns all keys that a bundle refuses.
fn refused_keys(bundle: &PinBundle) -> Option<PinSet> {
    let of_pins = bundle.pins().refused_keys().cloned();
    join(of_pins, bundle.refused_keys().cloned())
}

fn join(one: Option<PinSet>, other: Option<PinSet>) -> Option<PinSet> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.join(&other)),
        (one, other) => one.or(other),
    }
}
