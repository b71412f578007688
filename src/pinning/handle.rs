//! The engine: which policies apply to a host, what they say of a validated chain
//! ([`Pinning::check`]), and what a header changes ([`Pinning::note`]).
//!
//! Both verbs take the time as an argument and touch neither network nor disk.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{ServerName, UnixTime};

use crate::chain::ValidatedChain;
use crate::pinning::build_error::BuildError;
use crate::pinning::noting::{HeaderEffect, IgnoreReason, Noted, RemovalReason};
use crate::pinning::observers::{Event, Observers};
use crate::pinning::rollout::Rollout;
use crate::pinning::static_pins::{StaticEntries, StaticPins};
#[cfg(feature = "hyper")]
use crate::policy::ReportUri;
use crate::policy::{
    self, AnchorOrigin, AppliedPolicies, AppliedPolicy, HeaderSyntax, Host, HostError, HostMatch,
    Judgement, KnownPinnedHost, PinHeader, PinPolicy, PinSet, PinSource, PolicyState,
    UserAddedRoots,
};
#[cfg(pinhold_debug_overrides)]
use crate::roots::Overrides;
use crate::store::{DurableFuture, Generation, Inserted, PinStore, Validity};
#[cfg(feature = "hyper")]
use crate::violation::DropReason;
use crate::violation::{PinViolation, Report, UnverifiablePath};

/// All pins of an application, static and noted. A cheap handle: clones share everything.
///
/// ```
/// use pinhold::{Host, Pinning, PinPolicy};
/// use rustls::pki_types::UnixTime;
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?;
/// let pinning = Pinning::builder()
///     .static_pins("example.com", policy.include_subdomains())
///     .build()?;
/// let applied = pinning.query(&Host::parse("www.example.com")?, UnixTime::now());
/// assert_eq!(applied.static_policy.unwrap().noted_hostname.as_str(), "example.com");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pinning {
    shared: Arc<Shared>,
    observers: Observers,
}

/// What the clones of a [`Pinning`] have in common.
pub(crate) struct Shared {
    pub(crate) statics: RwLock<StaticPins>,
    pub(crate) store: PinStore,
    pub(crate) note_only: Option<HashSet<Host>>,
    pub(crate) syntax: HeaderSyntax,
    pub(crate) user_added_roots: UserAddedRoots,
    pub(crate) clock: Arc<dyn TimeProvider>,
    #[cfg(pinhold_debug_overrides)]
    pub(crate) overrides: Overrides,
}

impl Pinning {
    pub(crate) fn new(shared: Arc<Shared>, observers: Observers) -> Self {
        Self { shared, observers }
    }

    /// The policies that apply to `host` at `now`.
    #[must_use]
    pub fn query(&self, host: &Host, now: UnixTime) -> AppliedPolicies {
        let roots = self.shared.user_added_roots;
        let noted = self.shared.store.query(host, now);
        let mut policies = AppliedPolicies {
            noted: noted.map(|(matched, entry)| entry.apply(matched, roots)),
            ..AppliedPolicies::default()
        };
        if let Some(applied) = self.shared.statics.read().policy(host, roots, now) {
            policies.static_policy = Some(applied.policy);
            policies.candidate = applied.candidate;
        }
        policies
    }

    /// Judges a validated chain for a host. Changes nothing, tells nobody.
    ///
    /// Only pins are judged: whether the leaf is valid for `host` is known for
    /// [`ValidatedChain::server_name`] alone.
    #[must_use]
    pub fn check(&self, host: &Host, chain: &ValidatedChain, now: UnixTime) -> Decision {
        let policies = self.query(host, now);
        // Without pins nothing is hashed.
        if policies.is_empty() {
            return Decision::NotPinned;
        }
        let judgement = policies.judge(chain.fingerprints(), chain.anchor_origin());
        Decision::of(judgement, &policies, |policy| {
            PinViolation::new(host.clone(), policy, chain.clone(), now)
        })
    }

    /// Judges a validated chain by a `Public-Key-Pins-Report-Only` header that `host` sent over its
    /// connection (RFC 7469 section 2.3.2): [`Decision::Pass`], [`Decision::ReportOnly`], or
    /// [`Decision::Skipped`] for a user-added root. Changes nothing, tells nobody.
    ///
    /// The violation's expiry is `now`, as in Chrome, since such pins are never kept.
    ///
    /// # Errors
    ///
    /// Why the header says nothing about this connection.
    pub fn evaluate(
        &self,
        host: &Host,
        header: &PinHeader,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Result<Decision, IgnoreReason> {
        speaks_for(host, chain)?;
        let pins = match HeaderEffect::of(header, None) {
            HeaderEffect::Ignore(reason) => return Err(reason),
            _ => PinSet::new(header.pins().iter().copied()).map_err(|_| IgnoreReason::NoPins)?,
        };
        let policies = AppliedPolicies {
            noted: Some(AppliedPolicy {
                noted_hostname: host.clone(),
                source: PinSource::Noted,
                matched: HostMatch::Congruent,
                pins,
                includes_subdomains: header.includes_subdomains(),
                report_uri: header.report_uri().cloned(),
                expires_at: Some(now),
                state: PolicyState::ReportOnly,
                user_added_roots: self.shared.user_added_roots,
            }),
            ..AppliedPolicies::default()
        };
        let judgement = policies.judge(chain.fingerprints(), chain.anchor_origin());
        Ok(Decision::of(judgement, &policies, |policy| {
            PinViolation::new(host.clone(), policy, chain.clone(), now)
        }))
    }

    /// What was seen of the static policy that applies to `host`, in this process and since its
    /// pins were set; `None` without one.
    #[must_use]
    pub fn rollout(&self, host: &Host) -> Option<Rollout> {
        let now = self.shared.clock.current_time()?;
        let (roots, statics) = (self.shared.user_added_roots, self.shared.statics.read());
        Some(statics.policy(host, roots, now)?.tally.rollout())
    }

    /// Takes a connection with this chain into account: counts it if it goes on, and tells what
    /// is to be told.
    pub(crate) fn record_connection(
        &self,
        chain: &ValidatedChain,
        decision: &Decision,
        port: Option<u16>,
        now: UnixTime,
    ) {
        let Some(host) = chain.host() else {
            return;
        };
        match decision {
            Decision::NotPinned => return,
            Decision::Refuse(violation) => return self.emit_violation(violation, port),
            Decision::Pass => {}
            Decision::ReportOnly(_) => self.emit_would_be_violations(host, chain, port, now),
            Decision::Skipped => {
                self.emit(Event::Skipped { host: host.clone() });
                self.emit_would_be_violations(host, chain, port, now);
            }
        }
        let (roots, statics) = (self.shared.user_added_roots, self.shared.statics.read());
        let applied = statics.policy(host, roots, now).filter(|applied| {
            let candidate_or_pins = applied.candidate.as_ref().unwrap_or(&applied.policy);
            candidate_or_pins.pins.matches(chain.fingerprints())
                || !policy::skips(candidate_or_pins, chain.anchor_origin())
        });
        let tally = applied.map(|applied| Arc::clone(applied.tally));
        drop(statics);
        if let Some(tally) = tally {
            tally.count(chain.fingerprints(), now);
        }
    }

    /// Takes into account that a server has no path: pins on trial would have failed.
    pub(crate) fn record_unverifiable(&self, unverifiable: &UnverifiablePath, now: UnixTime) {
        let candidate_or_pins = |policy: &AppliedPolicy| policy.state == PolicyState::ReportOnly;
        if let ServerName::DnsName(name) = unverifiable.server_name()
            && unverifiable.policy().is_some_and(candidate_or_pins)
        {
            let (roots, statics) = (self.shared.user_added_roots, self.shared.statics.read());
            let applied = statics.policy(&Host::from(name), roots, now);
            let tally = applied.map(|applied| Arc::clone(applied.tally));
            drop(statics);
            if let Some(tally) = tally {
                tally.count(&[], now);
            }
        }
        self.emit(Event::Unverifiable(unverifiable.clone()));
    }

    /// Tells of each policy on trial that would have refused a connection that goes on.
    fn emit_would_be_violations(
        &self,
        host: &Host,
        chain: &ValidatedChain,
        port: Option<u16>,
        now: UnixTime,
    ) {
        for policy in self.query(host, now).iter() {
            let would_fail = policy.state == PolicyState::ReportOnly
                && !policy::skips(policy, chain.anchor_origin())
                && !policy.pins.matches(chain.fingerprints());
            if would_fail {
                let violation = PinViolation::new(host.clone(), policy, chain.clone(), now);
                self.emit(Event::WouldBeViolation(report(&violation, port)));
            }
        }
    }

    /// Tells that the pins refused or ended a connection: each policy that did, since each may name
    /// an endpoint of its own.
    pub(crate) fn emit_violation(&self, violation: &PinViolation, port: Option<u16>) {
        self.emit(Event::Violation(report(violation, port)));
        let (host, chain, now) = (violation.host(), violation.chain(), violation.at());
        for policy in self.query(host, now).iter() {
            let fails = policy.state == PolicyState::Enforced
                && policy.source != violation.policy().source
                && !policy::skips(policy, chain.anchor_origin())
                && !policy.pins.matches(chain.fingerprints());
            if fails {
                let violation = PinViolation::new(host.clone(), policy, chain.clone(), now);
                self.emit(Event::Violation(report(&violation, port)));
            }
        }
    }

    /// Tells that a header's pins would have refused a connection.
    #[cfg(feature = "hyper")]
    pub(crate) fn emit_would_be_violation(&self, violation: &PinViolation, port: u16) {
        self.emit(Event::WouldBeViolation(report(violation, Some(port))));
    }

    /// Tells that a violation is not reported.
    #[cfg(feature = "hyper")]
    pub(crate) fn emit_dropped(
        &self,
        report: Report,
        endpoint: Option<ReportUri>,
        reason: DropReason,
    ) {
        self.emit(Event::ReportDropped {
            report,
            endpoint,
            reason,
        });
    }

    /// Not while a lock is held: a `tracing` subscriber is foreign code.
    pub(crate) fn emit(&self, event: Event) {
        self.observers.emit(event);
    }

    /// Waits until observers have been told everything, and what they led to is reported, at most
    /// this long; says whether that is so. For a mobile application that goes to sleep.
    ///
    /// Blocks; within an observer it gives up at once.
    pub fn flush_reports(&self, within: Duration) -> bool {
        match &self.observers {
            Observers::All(observers) => observers.flush(within),
            Observers::None | Observers::ReportsOnly(_) => true,
        }
    }

    /// Notes what `host` asks for in a `Public-Key-Pins` header, received at `now` over a
    /// connection with this validated chain (RFC 7469 sections 2.3 and 2.5).
    ///
    /// The chain is judged anew, against the pins and the time of noting. A header that may not be
    /// noted is [`Noted::Ignored`] with a reason, and the store stays as it was.
    ///
    /// The change is in memory at once; [`PinStore::durable`] tells when a crash can't undo it.
    pub fn note(
        &self,
        host: &Host,
        header: &PinHeader,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Noted {
        self.note_durably(host, header, chain, now).0
    }

    /// As [`note`](Self::note), and what to wait for until the host's state is durable, whoever
    /// changed it; `None` where nothing is left to wait for.
    pub(crate) fn note_durably(
        &self,
        host: &Host,
        header: &PinHeader,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> (Noted, Option<DurableFuture>) {
        let (noted, is_refresh) = match self.try_note(host, header, chain, now) {
            Ok(Effect::Added) => (Noted::Added, false),
            Ok(Effect::Changed) => (Noted::Refreshed, false),
            Ok(Effect::Refreshed) => (Noted::Refreshed, true),
            Ok(Effect::Removed(reason)) => (Noted::Removed(reason), false),
            Err(reason) => (Noted::Ignored(reason), false),
        };
        // Of what is not known another response may have removed the entry just now.
        let may_have_changed = !matches!(&noted, Noted::Ignored(reason)
            if *reason != IgnoreReason::NotKnown);
        let durable = may_have_changed
            .then(|| self.shared.store.urgent())
            .flatten();
        if !is_refresh {
            self.emit_noted(Some(host), &noted);
        }
        (noted, durable)
    }

    /// Tells what became of a header.
    pub(crate) fn emit_noted(&self, host: Option<&Host>, noted: &Noted) {
        let event = match (noted, host.cloned()) {
            (Noted::Ignored(reason), host) => Event::HeaderIgnored {
                host,
                reason: reason.clone(),
            },
            (Noted::Removed(reason), Some(host)) => Event::Removed {
                host,
                reason: *reason,
            },
            (_, Some(host)) => Event::Noted { host },
            (_, None) => return,
        };
        self.emit(event);
    }

    fn try_note(
        &self,
        host: &Host,
        header: &PinHeader,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Result<Effect, IgnoreReason> {
        let _one_at_a_time = self.shared.store.noting();
        self.may_note(host, chain, now)?;
        match HeaderEffect::of(header, Some(chain.fingerprints())) {
            HeaderEffect::Add => self.add(host, header, now),
            HeaderEffect::Evaluate => Err(IgnoreReason::ReportOnly),
            HeaderEffect::Ignore(reason) => Err(reason),
            HeaderEffect::Remove(reason) => self.remove(host, reason, now),
        }
    }

    /// Whether a header over this chain may change anything, whatever it says.
    fn may_note(
        &self,
        host: &Host,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Result<(), IgnoreReason> {
        speaks_for(host, chain)?;
        // D-18
        if host.is_single_label() {
            return Err(IgnoreReason::SingleLabel);
        }
        if self
            .shared
            .note_only
            .as_ref()
            .is_some_and(|hosts| !hosts.contains(host))
        {
            return Err(IgnoreReason::NotAllowed);
        }
        // D-04: a local proxy must neither pin a host nor unpin it.
        if chain.anchor_origin() != AnchorOrigin::BuiltIn {
            return Err(IgnoreReason::AnchorNotBuiltIn(chain.anchor_origin()));
        }
        // 7469-2.5-b(1)
        match self.check(host, chain, now) {
            Decision::NotPinned | Decision::Pass | Decision::ReportOnly(_) => Ok(()),
            Decision::Refuse(_) | Decision::Skipped => Err(IgnoreReason::PinsFailed),
        }
    }

    fn add(&self, host: &Host, header: &PinHeader, now: UnixTime) -> Result<Effect, IgnoreReason> {
        let pins = PinSet::new(header.pins().iter().copied()).map_err(|_| IgnoreReason::NoPins)?;
        let max_age = self.shared.store.cap(header.max_age().unwrap_or_default());
        // 7469-2.3.3-h: as if the server had sent the cap.
        if max_age.as_secs() == 0 {
            return self.remove(host, RemovalReason::MaxAgeZero, now);
        }
        let expires_at = now.as_secs().saturating_add(max_age.as_secs());
        let entry = KnownPinnedHost {
            host: host.clone(),
            pins,
            includes_subdomains: header.includes_subdomains(),
            // D-09: where nobody can be told, the pins hold all the same.
            report_uri: header
                .report_uri()
                .filter(|uri| uri.as_str().len() <= MAX_REPORT_URI)
                .cloned(),
            noted_at: now,
            expires_at: UnixTime::since_unix_epoch(Duration::from_secs(expires_at)),
        };
        match self.shared.store.insert(entry) {
            Inserted::Added => Ok(Effect::Added),
            Inserted::Changed => Ok(Effect::Changed),
            Inserted::Refreshed => Ok(Effect::Refreshed),
            Inserted::DomainFull => Err(IgnoreReason::DomainFull),
            Inserted::StoreFull => Err(IgnoreReason::StoreFull),
        }
    }

    fn remove(
        &self,
        host: &Host,
        reason: RemovalReason,
        now: UnixTime,
    ) -> Result<Effect, IgnoreReason> {
        // An expired entry was not validated against, so nothing proved that the host may remove
        // it; it stays, inert (D-02, D-20). 7469-2.3.3-i: a superdomain's entry stays, too.
        match self.shared.store.query(host, now) {
            Some((HostMatch::Congruent, _)) => {
                self.shared.store.remove(host, now);
                Ok(Effect::Removed(reason))
            }
            _ => Err(IgnoreReason::NotKnown),
        }
    }

    /// The noted pins.
    #[must_use]
    pub fn store(&self) -> &PinStore {
        &self.shared.store
    }

    /// Removes what was noted for this very name.
    pub fn forget(&self, host: &Host) -> Option<Arc<KnownPinnedHost>> {
        self.shared.store.forget(host)
    }

    /// Stops applying static pins to `host` and to all names below it that have no static policy
    /// of their own (RFC 7469 section 2.7: users may override pins that came with the
    /// application). Takes effect at once.
    pub fn disable_static(&self, host: &Host) {
        self.change(|statics| {
            statics.disabled.insert(host.clone());
        });
    }

    /// Stops applying static pins altogether, until [`restore_static`](Self::restore_static).
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

    /// Sets these static pins in place of all others, for all clones, in one step: each judgement
    /// is by the old ones or by the new ones. What was disabled stays so.
    ///
    /// # Errors
    ///
    /// As [`PinningBuilder::build`](crate::PinningBuilder::build); the pins then stay as they were.
    ///
    /// ```
    /// use pinhold::{Pinning, PinPolicy};
    ///
    /// let pinning = Pinning::builder().build()?;
    /// let policy = PinPolicy::new([
    ///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
    ///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    /// ])?;
    /// pinning.replace_pins([("example.com", policy)])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace_pins<H>(
        &self,
        policies: impl IntoIterator<Item = (H, PinPolicy)>,
    ) -> Result<(), BuildError>
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        let mut parsed = Vec::new();
        for (host, policy) in policies {
            let host = host.try_into();
            let host = host.map_err(|error| BuildError::Host(error.into()))?;
            parsed.push((host, policy));
        }
        let mut entries = StaticEntries::new(parsed)?;
        // Whoever asks goes on until the new ones are ready, and before the old ones are dropped.
        let statics = self.shared.statics.upgradable_read();
        statics.carry_over(&mut entries);
        let mut statics = RwLockUpgradableReadGuard::upgrade(statics);
        let replaced = std::mem::replace(&mut statics.entries, entries);
        self.changed(statics);
        drop(replaced);
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut StaticPins)) {
        let mut statics = self.shared.statics.write();
        change(&mut statics);
        self.changed(statics);
    }

    /// Has connections judged anew, now that the static pins have changed.
    fn changed(&self, statics: RwLockWriteGuard<'_, StaticPins>) {
        self.generation().advance();
        drop(statics);
        self.generation().wake();
    }

    /// Counts the changes that may make a verdict another one.
    pub(crate) fn generation(&self) -> &Arc<Generation> {
        self.shared.store.generation()
    }

    /// What the pins say of a connection with this chain, and for how long.
    pub(crate) fn check_for(&self, chain: &ValidatedChain, now: UnixTime) -> (Decision, Validity) {
        // Before the pins are read: what changes meanwhile makes another generation.
        let generation = self.generation().number();
        let Some(host) = chain.host() else {
            return (
                Decision::NotPinned,
                Validity::new(generation, Vec::new(), now),
            );
        };
        let validity = Validity::new(generation, self.expiry_times(host, now), now);
        (self.check(host, chain, now), validity)
    }

    /// Whether pins of this host are enforced, and for how long that is so.
    #[cfg(feature = "hyper")]
    pub(crate) fn is_pinned(&self, host: &Host, now: UnixTime) -> (bool, Validity) {
        // As above.
        let generation = self.generation().number();
        let validity = Validity::new(generation, self.expiry_times(host, now), now);
        let policies = self.query(host, now);
        let mut state = policies.iter().map(|policy| policy.state);
        (
            state.any(|state| state != PolicyState::ReportOnly),
            validity,
        )
    }

    /// When the policies of the host and of its superdomains end, or ended.
    fn expiry_times(&self, host: &Host, now: UnixTime) -> Vec<UnixTime> {
        let mut expiry_times = self.shared.store.expiry_times(host, now);
        expiry_times.extend(self.shared.statics.read().expiry_times(host));
        expiry_times
    }

    /// How literally headers are read.
    #[must_use]
    pub fn header_syntax(&self) -> HeaderSyntax {
        self.shared.syntax
    }

    /// What an inspection build trusts besides.
    #[cfg(pinhold_debug_overrides)]
    pub(crate) fn overrides(&self) -> &Overrides {
        &self.shared.overrides
    }

    /// The clock of the edges: verifier, connector and layer.
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

/// What a header did.
enum Effect {
    Added,
    /// Another set of pins, or another directive.
    Changed,
    /// The same once more.
    Refreshed,
    Removed(RemovalReason),
}

/// Whether what came over a connection with this chain speaks for `host` at all.
fn speaks_for(host: &Host, chain: &ValidatedChain) -> Result<(), IgnoreReason> {
    // The chain of a refused handshake is valid, but perhaps its server has not the key.
    if !chain.handshake_verified() {
        return Err(IgnoreReason::HandshakeNotVerified);
    }
    // D-14: a header speaks for the name that was verified, and for no other.
    if chain.host() == Some(host) {
        Ok(())
    } else {
        Err(IgnoreReason::OtherHost)
    }
}

fn report(violation: &PinViolation, port: Option<u16>) -> Report {
    let report = Report::new(violation.clone());
    match port {
        Some(port) => report.with_port(port),
        None => report,
    }
}

/// What the pins say of a validated chain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Decision {
    /// No policy applies.
    NotPinned,
    /// Every enforced policy found its pin.
    Pass,
    /// An enforced policy found none: the connection must end.
    Refuse(PinViolation),
    /// Only a report-only policy found none: the connection goes on.
    ReportOnly(PinViolation),
    /// The chain ends in a user-added root, and the policy skips its pins there.
    Skipped,
}

impl Decision {
    /// What a judgement by these policies comes to.
    pub(crate) fn of(
        judgement: Judgement<'_>,
        policies: &AppliedPolicies,
        violation: impl Fn(&AppliedPolicy) -> PinViolation,
    ) -> Self {
        match judgement {
            Judgement {
                refused_by: Some(policy),
                ..
            } => Self::Refuse(violation(policy)),
            Judgement { skipped: true, .. } => Self::Skipped,
            Judgement {
                would_be_refused_by: Some(policy),
                ..
            } => Self::ReportOnly(violation(policy)),
            Judgement { passed: true, .. } => Self::Pass,
            // Only report-only policies, and a user-added root: they were not asked.
            _ if !policies.is_empty() => Self::Skipped,
            _ => Self::NotPinned,
        }
    }
}

/// Bytes of a noted `report-uri`: what common servers accept as a request line. Longer ones are
/// dropped, not the pins.
const MAX_REPORT_URI: usize = 2048;
