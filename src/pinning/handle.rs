//! [`Pinning`], the handle to all pins of an application, and their evaluation on a chain.
//!
//! `check`, `evaluate` and `note` take the time as an argument and use neither network nor disk.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::{RwLock, RwLockUpgradableReadGuard};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{ServerName, UnixTime};

use crate::chain::ValidatedChain;
#[cfg(feature = "hsts")]
use crate::hsts::HstsOptions;
#[cfg(feature = "bundles")]
use crate::pinning::bundle_state::Bundles;
use crate::pinning::covering::Covering;
use crate::pinning::evaluation::{Decision, Evaluation, Policies};
#[cfg(feature = "hyper")]
use crate::pinning::event::Event;
#[cfg(feature = "first-use")]
use crate::pinning::first_use_rules::FirstUseRules;
#[cfg(feature = "health")]
use crate::pinning::health::HealthOptions;
use crate::pinning::noting::{HeaderEffect, IgnoreReason};
use crate::pinning::observers::Observers;
use crate::pinning::rollout::Rollout;
use crate::pinning::static_pins::{MergeSettings, RareRules, StaticEntries, StaticPins};
#[cfg(feature = "ct")]
use crate::pinning::transparency::Transparency;
#[cfg(any(feature = "reqwest", all(feature = "hyper", feature = "reports")))]
use crate::policy::PlainHttp;
use crate::policy::{
    AppliedPolicies, AppliedPolicy, HeaderSyntax, Host, HostMatch, PinHeader, PinPolicy, PinSet,
    PinSource, PolicyState, Scope, Settings, UserAddedRoots,
};
#[cfg(pinhold_debug_overrides)]
use crate::roots::Overrides;
use crate::store::{Generation, PinStore, Validity};
#[cfg(feature = "hyper")]
use crate::violation::UnpinnedHost;

/// The handle to all pins of an application, static and noted. Cheap to clone; clones share all
/// pins and settings.
///
/// ```
/// use pinhold::{Host, PinPolicy, Pinning};
/// use rustls::pki_types::UnixTime;
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?;
/// let pinning = Pinning::builder()
///     .static_pins("example.com", policy.include_subdomains())
///     .build()?;
/// let policies = pinning.policies(&Host::parse("www.example.com")?, UnixTime::now());
/// assert_eq!(policies.static_policy.unwrap().noted_hostname.as_str(), "example.com");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pinning {
    /// See [`FlushAtClose`]; only those of an application with bundles or health have one. Dropped first, so
    /// that observers receive the errors of the last commit.
    #[cfg(any(feature = "bundles", feature = "health"))]
    pub(crate) flush_at_close: Option<Arc<FlushAtClose>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) observers: Observers,
}

/// Waits until everything is stored when the last handle of the application is dropped. The writer
/// thread may own the pins at that moment, while it takes over a stored bundle: the store would then
/// be closed by that thread, and the application would not wait for it.
#[cfg(any(feature = "bundles", feature = "health"))]
pub(crate) struct FlushAtClose(pub(crate) PinStore);

#[cfg(any(feature = "bundles", feature = "health"))]
impl Drop for FlushAtClose {
    fn drop(&mut self) {
        self.0.flush_at_close();
    }
}

/// The state that the clones of a [`Pinning`] share.
pub(crate) struct Shared {
    pub(crate) statics: RwLock<StaticPins>,
    /// The settings of the builder, which `replace_pins` does not replace.
    pub(crate) settings: Settings,
    pub(crate) merge_settings: Option<MergeSettings>,
    /// The policies of `static_pins`, if the builder had a pin file, too.
    pub(crate) beside_pin_file: Vec<(Host, PinPolicy)>,
    pub(crate) store: PinStore,
    pub(crate) note_only: Option<HashSet<Host, RandomState>>,
    pub(crate) syntax: HeaderSyntax,
    pub(crate) user_added_roots: UserAddedRoots,
    pub(crate) clock: Arc<dyn TimeProvider>,
    #[cfg(feature = "first-use")]
    pub(crate) first_use: Option<FirstUseRules>,
    #[cfg(feature = "ct")]
    pub(crate) ct: Option<Transparency>,
    #[cfg(feature = "health")]
    pub(crate) health: Option<HealthOptions>,
    #[cfg(feature = "hsts")]
    pub(crate) hsts: Option<HstsOptions>,
    #[cfg(feature = "bundles")]
    pub(crate) bundles: Option<Bundles>,
    #[cfg(pinhold_debug_overrides)]
    pub(crate) overrides: Overrides,
}

impl Shared {
    /// Replaces the entries, and whatever `change` changes, in one step. Afterwards, without a lock, the
    /// caller wakes the connections, so that they are evaluated again.
    pub(crate) fn replace_entries(
        &self,
        mut entries: StaticEntries,
        change: impl FnOnce(&mut StaticPins),
    ) {
        // Lookups continue while the new entries are prepared and while the old ones are dropped.
        let statics = self.statics.upgradable_read();
        statics.carry_over(&mut entries);
        let mut statics = RwLockUpgradableReadGuard::upgrade(statics);
        let replaced = std::mem::replace(&mut statics.entries, entries);
        change(&mut statics);
        self.store.generation().advance();
        drop(statics);
        drop(replaced);
    }

    /// Wakes open connections after a change.
    pub(crate) fn wake_connections(&self) {
        self.store.generation().wake();
    }
}

impl Pinning {
    pub(crate) fn new(shared: Arc<Shared>, observers: Observers) -> Self {
        Self {
            shared,
            observers,
            #[cfg(any(feature = "bundles", feature = "health"))]
            flush_at_close: None,
        }
    }

    /// Returns the policies that apply to `host` at `now`.
    #[must_use]
    pub fn policies(&self, host: &Host, now: UnixTime) -> AppliedPolicies {
        self.lookup(Some(host), now).applied
    }

    /// Looks up the policies of a host, once for each evaluation. To an IP address (`None`) only the
    /// refused keys apply.
    pub(crate) fn lookup(&self, host: Option<&Host>, now: UnixTime) -> Policies {
        let mut policies = Policies::default();
        self.fill_in(host, None, now, &mut policies);
        policies
    }

    /// As [`lookup`](Self::lookup), for a connection to this name, which may have to be pinned.
    pub(crate) fn lookup_name(
        &self,
        name: &ServerName<'_>,
        host: Option<&Host>,
        now: UnixTime,
    ) -> Policies {
        let mut policies = Policies::default();
        self.fill_in(host, Some(name), now, &mut policies);
        policies
    }

    /// Fills in the policies, which are empty before. They are large, and moved nowhere.
    fn fill_in(
        &self,
        host: Option<&Host>,
        name: Option<&ServerName<'_>>,
        now: UnixTime,
        policies: &mut Policies,
    ) {
        let roots = self.shared.user_added_roots;
        let applied = &mut policies.applied;
        if let Some(host) = host
            && let Some((matched, entry)) = self.shared.store.query(host, now)
        {
            applied.noted = Some(entry.apply(matched, roots));
        }
        let statics = self.shared.statics.read();
        let nearest = host.and_then(|host| statics.nearest(host, now));
        if let Some(nearest) = &nearest {
            let policy = applied.static_policy.insert(nearest.apply(roots));
            if let Some(candidate) = nearest.policy().apply_candidate(policy) {
                applied.candidate = Some(candidate);
            }
            policies.tally = Some(Arc::clone(nearest.tally()));
        }
        if let Some(keys) = &statics.entries.refused_keys {
            applied.refused_keys = Some(keys.clone());
        }
        #[cfg(feature = "bundles")]
        if let Some(host) = host
            && let Some(bundled) = &statics.bundled
        {
            bundled.apply(&statics, host, nearest.as_ref(), roots, policies, now);
        }
        if let Some(rules) = &statics.entries.rare_rules {
            let nearest = host.zip(nearest.as_ref());
            self.apply_rare_rules(&**rules, &statics, nearest, name, policies, now);
        }
    }

    #[cold]
    fn apply_rare_rules(
        &self,
        rules: &dyn RareRules,
        statics: &StaticPins,
        nearest: Option<(&Host, &Covering<'_>)>,
        name: Option<&ServerName<'_>>,
        policies: &mut Policies,
        now: UnixTime,
    ) {
        let applied = &mut policies.applied;
        if let Some((host, nearest)) = nearest
            && rules.unites()
        {
            let both = [&mut applied.static_policy, &mut applied.candidate];
            rules.unite(statics, host, nearest, both, now);
        }
        // A reporter makes its own connections, to endpoints that need no pins.
        if let Some(name) = name
            && !self.observers.are_of_reporter()
        {
            let policy = applied.static_policy.as_ref();
            #[cfg(feature = "bundles")]
            let policy = policy.or(applied.fixed.as_ref());
            policies.unpinned = rules.unpinned(statics, name, policy, now);
        }
    }

    /// Returns whether connections to unpinned hosts are refused.
    #[cfg(feature = "hyper")]
    pub(crate) fn refuses_unpinned_hosts(&self) -> bool {
        let statics = self.shared.statics.read();
        let rules = statics.entries.rare_rules.as_ref();
        rules.is_some_and(|rules| rules.refuses_unpinned())
    }

    /// Returns the host if it is refused because it is unpinned, before a connection is made, and
    /// emits the event.
    #[cfg(feature = "hyper")]
    pub(crate) fn refused_as_unpinned(
        &self,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Option<UnpinnedHost> {
        let unpinned = self.unpinned(name, now)?;
        let refused = unpinned.is_refused().then_some(unpinned)?;
        self.emit(Event::Unpinned(refused.clone()));
        Some(refused)
    }

    /// Emits the event of an unpinned host to which connections are made.
    #[cfg(feature = "reqwest")]
    pub(crate) fn report_unpinned(&self, name: &ServerName<'_>, now: UnixTime) {
        if let Some(unpinned) = self.unpinned(name, now) {
            self.emit(Event::Unpinned(unpinned));
        }
    }

    #[cfg(feature = "hyper")]
    fn unpinned(&self, name: &ServerName<'_>, now: UnixTime) -> Option<UnpinnedHost> {
        let host = match name {
            ServerName::DnsName(name) => Some(Host::from(name)),
            _ => None,
        };
        self.lookup_name(name, host.as_ref(), now).unpinned
    }

    /// Evaluates the pins of `host` on a validated chain. Changes nothing and emits no event.
    ///
    /// Checks the pins and the refused keys only. The leaf was validated for
    /// [`ValidatedChain::server_name`], which may be another name than `host`. Whether an
    /// [unpinned host](crate::PinningBuilder::unpinned_hosts) may be connected to is decided before
    /// there is a chain, by connector and verifier.
    #[must_use]
    pub fn check(&self, host: &Host, chain: &ValidatedChain, now: UnixTime) -> Decision {
        self.lookup(Some(host), now).decide(host, chain, now)
    }

    /// Evaluates the pins of a `Public-Key-Pins-Report-Only` header on the validated chain of the
    /// connection over which `host` sent it (RFC 7469 section 2.3.2): [`Decision::Pass`],
    /// [`Decision::ReportOnly`], or [`Decision::Skipped`] for a user-added root. Changes nothing
    /// and emits no event.
    ///
    /// The expiry of the violation's policy is `now`, as in Chrome, since such pins are never
    /// noted.
    ///
    /// # Errors
    ///
    /// The [`IgnoreReason`] if the header does not apply to this connection, has no pins, or has
    /// too many.
    pub fn evaluate(
        &self,
        host: &Host,
        header: &PinHeader,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Result<Decision, IgnoreReason> {
        ensure_applies_to(host, chain)?;
        let pins = match HeaderEffect::of(header, None) {
            HeaderEffect::Ignore(reason) => return Err(reason),
            _ => PinSet::new(header.pins().iter().copied()).map_err(|_| IgnoreReason::NoPins)?,
        };
        let mut policies = Policies::default();
        policies.applied.noted = Some(AppliedPolicy {
            noted_hostname: host.clone(),
            source: PinSource::Noted,
            matched: HostMatch::Congruent,
            pins,
            groups: None,
            scope: if header.includes_subdomains() {
                Scope::HostAndSubdomains
            } else {
                Scope::Host
            },
            report_uris: header.report_uri().cloned().into(),
            expires_at: Some(now),
            state: PolicyState::ReportOnly,
            user_added_roots: self.shared.user_added_roots,
            plain_http: None,
        });
        Ok(policies.decide(host, chain, now))
    }

    /// Returns the roll-out counts of the static policy that applies to `host`, in this process and
    /// since its pins were set; with `PinningBuilder::health` also those of earlier processes. Returns `None` if there is no such policy, or the clock can't be
    /// read.
    #[must_use]
    pub fn rollout(&self, host: &Host) -> Option<Rollout> {
        let now = self.shared.clock.current_time()?;
        let statics = self.shared.statics.read();
        #[cfg(feature = "bundles")]
        if let Some(staged) = statics.staged(host, now) {
            let rollout = staged.tally().rollout();
            #[cfg(feature = "health")]
            let rollout = self.with_stored(rollout, &staged, true);
            return Some(rollout);
        }
        let nearest = statics.nearest(host, now)?;
        let rollout = nearest.tally().rollout();
        #[cfg(feature = "health")]
        let rollout = self.with_stored(rollout, &nearest, false);
        Some(rollout)
    }

    /// Returns the store of noted pins.
    #[must_use]
    pub fn store(&self) -> &PinStore {
        &self.shared.store
    }

    /// Stops applying static pins to `host` and to all names below it that have no static policy
    /// of their own (RFC 7469 section 2.7: users may override pins that came with the
    /// application). Takes effect at once.
    pub fn disable_static(&self, host: &Host) {
        self.change(|statics| {
            statics.disabled.insert(host.clone());
        });
    }

    /// Stops applying all static pins, until [`restore_static`](Self::restore_static).
    pub fn disable_all_static(&self) {
        self.change(|statics| statics.all_disabled = true);
    }

    /// Applies all static pins again.
    pub fn restore_static(&self) {
        self.change(|statics| {
            statics.all_disabled = false;
            statics.disabled.clear();
        });
    }

    fn change(&self, change: impl FnOnce(&mut StaticPins)) {
        let mut statics = self.shared.statics.write();
        change(&mut statics);
        self.generation().advance();
        drop(statics);
        self.shared.wake_connections();
    }

    /// Returns the counter of changes that may affect a decision.
    pub(crate) fn generation(&self) -> &Arc<Generation> {
        self.shared.store.generation()
    }

    /// Returns whether both are handles to the same pins.
    #[cfg(any(feature = "hyper", feature = "self-test"))]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Evaluates the pins on the chain of a connection, and returns for how long the evaluation is
    /// valid.
    pub(crate) fn evaluate_connection(
        &self,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> (Evaluation, Validity) {
        let validity = self.validity(chain.host(), now);
        let host = chain.host();
        let policies = self.lookup_name(chain.server_name(), host, now);
        let evaluation = policies.evaluate(host.cloned(), chain.clone(), now);
        (evaluation, validity)
    }

    /// Returns for how long an evaluation at `now` is valid. Call it before the policies are looked
    /// up, so that a change in between ends the validity.
    pub(crate) fn validity(&self, host: Option<&Host>, now: UnixTime) -> Validity {
        let generation = self.generation().number();
        let expiry_times = host.map(|host| {
            let mut times = self.shared.store.expiry_times(host, now);
            times.extend(self.shared.statics.read().expiry_times(host));
            times
        });
        Validity::new(generation, expiry_times.unwrap_or_default(), now)
    }

    /// Returns whether `http://` to this host is refused, and for how long that is valid. `default`
    /// is for policies without a setting of their own.
    #[cfg(any(feature = "reqwest", all(feature = "hyper", feature = "reports")))]
    pub(crate) fn refuses_plain_http(
        &self,
        host: &Host,
        default: PlainHttp,
        now: UnixTime,
    ) -> (bool, Validity) {
        let validity = self.validity(Some(host), now);
        let policies = self.lookup(Some(host), now);
        (policies.refuses_plain_http(default), validity)
    }

    /// Returns how strictly header fields are parsed.
    #[must_use]
    pub fn header_syntax(&self) -> HeaderSyntax {
        self.shared.syntax
    }

    /// Returns the additional roots of an inspection build.
    #[cfg(pinhold_debug_overrides)]
    pub(crate) fn overrides(&self) -> &Overrides {
        &self.shared.overrides
    }

    /// Returns the clock of verifier, connector and layer.
    pub(crate) fn clock(&self) -> &Arc<dyn TimeProvider> {
        &self.shared.clock
    }
}

impl fmt::Debug for Pinning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Pinning");
        #[cfg(pinhold_debug_overrides)]
        debug.field("debug_overrides", &self.shared.overrides.len());
        debug
            .field("static_hosts", &self.shared.statics.read().entries.len())
            .field("store", &self.shared.store)
            .finish_non_exhaustive()
    }
}

/// Returns an error unless a response over a connection with this chain can be one of `host`.
pub(crate) fn ensure_applies_to(host: &Host, chain: &ValidatedChain) -> Result<(), IgnoreReason> {
    // In a refused handshake the chain is valid, but the server may lack the leaf's key.
    if !chain.handshake_verified() {
        return Err(IgnoreReason::HandshakeNotVerified);
    }
    // D-14: a header applies to the name that was verified, and to no other.
    if chain.host() == Some(host) {
        Ok(())
    } else {
        Err(IgnoreReason::OtherHost)
    }
}
