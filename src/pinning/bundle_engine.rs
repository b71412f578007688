//! The pin bundles of a [`Pinning`](crate::Pinning): acceptance, storage, and the choice of the one in effect.
//!
//! A bundle takes effect by its records only, once they are durable: the writer thread notifies
//! [`Shared`], for what this process has stored and for what another one has.

use std::collections::HashSet;
use std::sync::Weak;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use crate::bundles::{BundleError, PinBundle, Staging, WhenStale};
use crate::pinning::build_error::BuildError;
use crate::pinning::bundle_records::{self, STORAGE_TIMEOUT, Slot, floor_of};
use crate::pinning::bundle_state::{Bundles, Chosen, State};
use crate::pinning::bundle_status::{BundleOutcome, BundleStatus};
use crate::pinning::bundle_terms::Terms;
use crate::pinning::event::Event;
use crate::pinning::handle::Shared;
use crate::pinning::rare_rules::merge_settings;
use crate::pinning::static_pins::{BundleRules, StaticEntries, StaticPins};
use crate::policy::timestamp::at;
use crate::policy::{BundleVersion, Host, PinPolicy, PinSet, Settings, StaticRules};
use crate::store::{BundleFloor, EARLIEST_TIME};

/// What a reload has changed, to be emitted without a lock.
#[derive(Default)]
struct Reloaded {
    is_changed: bool,
    events: Vec<Event>,
}

impl Bundles {
    /// Replaces the rules of the application.
    pub(crate) fn replace_base(
        &self,
        shared: &Shared,
        rules: StaticRules,
        set_origin: fn(&mut StaticPins),
    ) -> Result<(), BuildError> {
        let mut state = self.state.lock();
        let merged = merge_settings(&shared.settings, rules.settings.clone());
        StaticEntries::new(rules.policies.clone(), merged)?;
        let replaced = std::mem::replace(&mut state.base, rules);
        let applied = self.apply(shared, &mut state);
        if applied.is_err() {
            state.base = replaced;
        } else {
            set_origin(&mut shared.statics.write());
        }
        drop(state);
        shared.wake_connections();
        applied
    }

    /// Chooses the bundles by the stored records, lets them take effect, and emits that.
    pub(crate) fn reload(&self, shared: &Shared) -> Result<(), BuildError> {
        let reloaded = self.reload_silently(shared)?;
        self.conclude(shared, reloaded);
        Ok(())
    }

    /// Wakes connections and emits events. Call it without a lock: wakers and `tracing` subscribers
    /// are code of the application, which may use the pins or apply a bundle.
    fn conclude(&self, shared: &Shared, reloaded: Reloaded) {
        if reloaded.is_changed {
            shared.wake_connections();
        }
        self.emit_all(shared, reloaded.events);
    }

    fn reload_silently(&self, shared: &Shared) -> Result<Reloaded, BuildError> {
        let mut state = self.state.lock();
        let before = state.in_effect().version();
        let was_staged = state.candidate().map(|staged| staged.version());
        let others = shared.store.others();
        let (chosen, mut damaged) = others.read(|records| self.choose(&mut state, records));
        let is_changed = !chosen.is_same(&state.chosen) || !state.is_applied;
        if is_changed {
            let unusable = self.switch(shared, &mut state, chosen)?;
            damaged = unusable.or(damaged);
        }
        let in_effect = state.in_effect();
        let version = in_effect.version();
        let mut events = Vec::new();
        if let Some(version) = damaged.filter(|damaged| state.damaged != Some(*damaged)) {
            let in_effect = in_effect.version();
            events.push(Event::BundleUnreadable { version, in_effect });
        }
        if version > before {
            events.push(Event::BundleApplied { version });
            let (now, terms) = (shared.clock.current_time(), state.terms());
            let is_killed = |_: &UnixTime| now.is_none_or(|now| terms.is_killed(now));
            let until = terms.kill_switch.filter(is_killed);
            events.extend(until.map(|until| Event::BundleKilled { version, until }));
        }
        if let Some(staged) = state.candidate()
            && was_staged != Some(staged.version())
        {
            let version = staged.version();
            let percent = staged.staging().map_or(100, Staging::percent);
            events.push(Event::BundleStaged { version, percent });
        }
        state.damaged = damaged;
        Ok(Reloaded { is_changed, events })
    }

    /// Lets other bundles take effect. Returns the version of one that can't be used beside the
    /// policies of this release of the application: another one has accepted it.
    fn switch(
        &self,
        shared: &Shared,
        state: &mut State,
        chosen: Chosen,
    ) -> Result<Option<BundleVersion>, BuildError> {
        let replaced = std::mem::replace(&mut state.chosen, chosen);
        if self.apply(shared, state).is_ok() {
            return Ok(None);
        }
        let unusable = std::mem::replace(&mut state.chosen, replaced);
        if !state.is_applied {
            self.apply(shared, state)?;
        }
        Ok(Some(unusable.newest().version()))
    }

    /// Makes the entries of the rules of the application and of the bundles take effect.
    fn apply(&self, shared: &Shared, state: &mut State) -> Result<(), BuildError> {
        let candidate = state.candidate().map(|staged| &**staged);
        let (entries, rules) = self.entries(shared, &state.base, state.in_effect(), candidate)?;
        shared.replace_entries(entries, |statics| statics.replace_bundled(rules));
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
            // A bundle brings pins and refused keys. What holds for all hosts is the application's.
            let mut settings = base.settings.clone();
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
            terms: Terms::of(in_effect, candidate),
            fixed: StaticEntries::merged(fixed, without())?,
            fallback,
            staged: staged.transpose()?,
            suspend_noted: hosts.collect::<HashSet<Host, RandomState>>(),
            #[cfg(feature = "ct")]
            log_list: in_effect.log_list().and_then(|list| list.clone().ok()),
            intermediates: (!intermediates.is_empty()).then(|| intermediates.into()),
        };
        Ok((entries, rules))
    }

    /// Returns an error for policies that no lookup could use, alone or beside those of the
    /// application.
    fn ensure_usable(&self, shared: &Shared, bundle: &PinBundle) -> Result<(), BundleError> {
        let rules = bundle.pins().rules.clone();
        let base = self.state.lock().base.clone();
        let settings = merge_settings(&shared.settings, base.settings.clone());
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
    pub(crate) fn accept(
        &self,
        shared: &Shared,
        bytes: &[u8],
    ) -> Result<BundleOutcome, BundleError> {
        let mut reloaded = Reloaded::default();
        let accepted = self.accept_one(shared, bytes, &mut reloaded);
        self.conclude(shared, reloaded);
        accepted
    }

    fn accept_one(
        &self,
        shared: &Shared,
        bytes: &[u8],
        reloaded: &mut Reloaded,
    ) -> Result<BundleOutcome, BundleError> {
        let _one_at_a_time = self.accepting.lock();
        let root = self.newest_root.lock().clone();
        let bundle = self.verifier.verify(bytes, root.as_ref())?.bundle;
        self.ensure_usable(shared, &bundle)?;
        let (offered, version) = (floor_of(&bundle), bundle.version());
        let slot = Slot::of(&bundle);
        let state = self.state.lock();
        let known = [Some(&state.chosen.full), state.chosen.staged.as_ref()];
        let is_known = known
            .into_iter()
            .flatten()
            .any(|it| floor_of(it) == offered);
        let salt = |bundle: &PinBundle| bundle.staging().map(|it| it.salt().to_owned());
        let same_rollout = state.chosen.staged.as_ref();
        let same_rollout = same_rollout.filter(|it| salt(it) == salt(&bundle));
        let same_rollout = same_rollout.map(|it| floor_of(it));
        // Released before the records are locked: `reload` locks the two in the other order.
        drop(state);
        let others = shared.store.others();
        let changes = others.read(|records| {
            ensure_not_below(self.floor(records), offered)?;
            if is_known {
                return Ok(None);
            }
            let issued = bundle.issued();
            let mut changes = bundle_records::store(slot, offered, bytes, issued, records);
            // An installation that needs the roll-out does not leave it.
            if same_rollout.is_some() && same_rollout == Slot::Recovered.floor(records) {
                let recovered = Slot::Recovered.put(offered, issued);
                changes
                    .iter_mut()
                    .for_each(|it| it.extend(recovered.clone()));
            }
            Ok(changes)
        })?;
        let Some(changes) = changes else {
            return Ok(BundleOutcome::Unchanged(version));
        };
        let stored = shared.store.store_others(changes);
        stored
            .wait_at_most(STORAGE_TIMEOUT)
            .map_err(BundleError::Storage)?;
        // The writer thread has reloaded, unless what is stored was restored only.
        *reloaded = self.reload_silently(shared).unwrap_or_default();
        // What another process has stored meanwhile stays.
        ensure_not_below(others.read(|records| self.floor(records)), offered)?;
        let state = self.state.lock();
        Ok(match state.candidate() {
            Some(staged) if floor_of(staged) == offered => BundleOutcome::Staged(version),
            _ if floor_of(state.in_effect()) == offered => BundleOutcome::Applied(version),
            _ => BundleOutcome::Unchanged(version),
        })
    }

    pub(crate) fn status(&self, shared: &Shared, now: UnixTime) -> BundleStatus {
        let floor = shared.store.others().read(|records| self.floor(records));
        let state = self.state.lock();
        let in_effect = state.in_effect();
        let terms = state.terms();
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
    pub(crate) fn count(&self, shared: &Shared, outcome: &Result<BundleOutcome, BundleError>) {
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
    pub(crate) fn emit_all(&self, shared: &Shared, events: Vec<Event>) {
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

/// Returns the policies `over`, and of those `below` the ones that cover a name which those of their
/// host in `over` do not.
fn overlay(below: &[(Host, PinPolicy)], over: &[(Host, PinPolicy)]) -> Vec<(Host, PinPolicy)> {
    let named = over.iter().map(|(host, _)| host.clone());
    let named = named.collect::<HashSet<_, RandomState>>();
    let is_replaced = |host: &Host, policy: &PinPolicy| {
        let mut of_host = over.iter().filter(|(known, _)| known == host);
        of_host.any(|(_, new)| new.scope_setting().contains(policy.scope_setting()))
    };
    let kept = below
        .iter()
        .filter(|(host, policy)| !named.contains(host) || !is_replaced(host, policy));
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
