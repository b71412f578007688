//! The engine: which policies apply to a host, what they say of a validated chain
//! ([`Pinning::check`]), and what a header changes ([`Pinning::note`]).
//!
//! Both verbs take the time as an argument and touch neither network nor disk.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use rustls::client::VerifierBuilderError;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::UnixTime;

use crate::anchors::AnchorOrigin;
use crate::chain::{AppliedPolicies, Judgement, ValidatedChain};
use crate::generation::{Generation, Validity};
use crate::header::{HeaderSyntax, PinHeader};
use crate::host::{Host, HostError};
use crate::noting::{HeaderEffect, IgnoreReason, Noted, RemovalReason};
use crate::observers::{Audience, Callback, Event, Observers};
use crate::policy::{
    AppliedPolicy, HostMatch, KnownPinnedHost, PinPolicy, PinSet, PinSource, Standing,
    UserAddedRoots,
};
use crate::report::{Report, Reporter};
use crate::rollout::Rollout;
use crate::static_pins::{Conflict, StaticEntries, StaticPins};
use crate::store::{Inserted, PinStore};
use crate::violation::PinViolation;
use crate::writer::Durable;

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
/// assert_eq!(applied.of_application.unwrap().noted_hostname.as_str(), "example.com");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pinning {
    shared: Arc<Shared>,
    audience: Audience,
}

struct Shared {
    statics: RwLock<StaticPins>,
    store: PinStore,
    note_only: Option<HashSet<Host>>,
    syntax: HeaderSyntax,
    user_added_roots: UserAddedRoots,
    clock: Arc<dyn TimeProvider>,
}

impl Pinning {
    /// Starts without pins, with a store in memory.
    pub fn builder() -> PinningBuilder {
        PinningBuilder {
            statics: Vec::new(),
            store: PinStore::in_memory(),
            note_only: None,
            syntax: HeaderSyntax::default(),
            user_added_roots: UserAddedRoots::default(),
            clock: Arc::new(DefaultTimeProvider),
            callbacks: Vec::new(),
            reporter: None,
            error: None,
        }
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
            policies.of_application = Some(applied.policy);
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
                standing: Standing::ReportOnly,
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
    pub(crate) fn witness(
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
            Decision::Refuse(violation) => return self.tell_violation(violation, port),
            Decision::Pass => {}
            Decision::ReportOnly(violation) => {
                let report = report(violation, port);
                self.tell(Event::WouldBeViolation(report));
            }
            Decision::Skipped => return self.tell(Event::Skipped { host: host.clone() }),
        }
        let (roots, statics) = (self.shared.user_added_roots, self.shared.statics.read());
        let tally = statics
            .policy(host, roots, now)
            .map(|applied| Arc::clone(applied.tally));
        drop(statics);
        if let Some(tally) = tally {
            tally.count(chain.fingerprints(), now);
        }
    }

    /// Tells that the pins refused or ended a connection.
    pub(crate) fn tell_violation(&self, violation: &PinViolation, port: Option<u16>) {
        self.tell(Event::Violation(report(violation, port)));
    }

    /// Tells that a header's pins would have refused a connection.
    #[cfg(feature = "hyper")]
    pub(crate) fn tell_would_be(&self, violation: &PinViolation, port: u16) {
        self.tell(Event::WouldBeViolation(report(violation, Some(port))));
    }

    /// Not while a lock is held: a `tracing` subscriber is foreign code.
    pub(crate) fn tell(&self, event: Event) {
        self.audience.tell(event);
    }

    /// Waits until observers have been told everything, and what they led to is reported, at most
    /// this long; says whether that is so. For a mobile application that goes to sleep.
    ///
    /// Blocks; within an observer it gives up at once.
    pub fn flush_reports(&self, within: Duration) -> bool {
        match &self.audience {
            Audience::All(observers) => observers.flush(within),
            Audience::Nobody | Audience::OfReports(_) => true,
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
    ) -> (Noted, Option<Durable>) {
        let (noted, is_mere_refresh) = match self.try_note(host, header, chain, now) {
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
        if !is_mere_refresh {
            self.tell_noted(Some(host), &noted);
        }
        (noted, durable)
    }

    /// Tells what became of a header.
    pub(crate) fn tell_noted(&self, host: Option<&Host>, noted: &Noted) {
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
        self.tell(event);
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
    /// As [`PinningBuilder::build`]; the pins then stay as they were.
    ///
    /// ```
    /// use pinhold::{Pinning, PinPolicy};
    ///
    /// let pinning = Pinning::builder().build()?;
    /// let policy = PinPolicy::new([
    ///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
    ///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    /// ])?;
    /// pinning.replace_static([("example.com", policy)])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace_static<H>(
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
        let entries = StaticEntries::new(parsed)?;
        self.change(|statics| statics.replace(entries));
        Ok(())
    }

    /// Changes the static pins, and has connections judged anew.
    fn change(&self, change: impl FnOnce(&mut StaticPins)) {
        let mut statics = self.shared.statics.write();
        change(&mut statics);
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
        let mut ends = self.shared.store.ends(host);
        ends.extend(self.shared.statics.read().ends(host));
        let validity = Validity::new(generation, ends, now);
        (self.check(host, chain, now), validity)
    }

    /// How literally headers are read.
    #[must_use]
    pub fn header_syntax(&self) -> HeaderSyntax {
        self.shared.syntax
    }

    /// The clock of the edges: verifier, connector and layer.
    pub(crate) fn clock(&self) -> &Arc<dyn TimeProvider> {
        &self.shared.clock
    }
}

impl fmt::Debug for Pinning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinning")
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
    if !chain.is_proved() {
        return Err(IgnoreReason::KeyNotProved);
    }
    // D-14: a header speaks for the name that was verified, and for no other.
    match chain.host() == Some(host) {
        true => Ok(()),
        false => Err(IgnoreReason::OtherHost),
    }
}

fn report(violation: &PinViolation, port: Option<u16>) -> Report {
    let report = Report::new(violation.clone());
    match port {
        Some(port) => report.with_port(port),
        None => report,
    }
}

/// Collects what makes a [`Pinning`]. What is wrong is said by [`build`](Self::build).
#[must_use]
pub struct PinningBuilder {
    statics: Vec<(Host, PinPolicy)>,
    store: PinStore,
    note_only: Option<HashSet<Host>>,
    syntax: HeaderSyntax,
    user_added_roots: UserAddedRoots,
    clock: Arc<dyn TimeProvider>,
    callbacks: Vec<Callback>,
    reporter: Option<MakeReporter>,
    error: Option<BuildError>,
}

type MakeReporter = Box<dyn FnOnce(Pinning) -> Result<Arc<dyn Reporter>, BuildError> + Send>;

impl PinningBuilder {
    /// Pins `host` by the application's word. Each host has one policy.
    pub fn static_pins<H>(mut self, host: H, policy: PinPolicy) -> Self
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        match host.try_into() {
            Ok(host) => self.statics.push((host, policy)),
            Err(error) => self.fail(BuildError::Host(error.into())),
        }
        self
    }

    /// Where noted pins are kept. Unless said, a new store in memory.
    pub fn store(mut self, store: PinStore) -> Self {
        self.store = store;
        self
    }

    /// Lets only these very hosts pin by header (one with a single label never can). Recommended
    /// where the hosts are known: then no other server can make this application refuse connections
    /// or remember a visit.
    pub fn note_only<H>(mut self, hosts: impl IntoIterator<Item = H>) -> Self
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        let mut allowed = self.note_only.take().unwrap_or_default();
        for host in hosts {
            match host.try_into() {
                Ok(host) => drop(allowed.insert(host)),
                Err(error) => self.fail(BuildError::Host(error.into())),
            }
        }
        self.note_only = Some(allowed);
        self
    }

    /// How literally headers are read. Unless said, as RFC 7469 has it.
    pub fn header_syntax(mut self, syntax: HeaderSyntax) -> Self {
        self.syntax = syntax;
        self
    }

    /// What chains to user-added roots mean for noted pins, and for static ones whose policy does
    /// not say. Unless said, pins are skipped.
    pub fn user_added_roots(mut self, choice: UserAddedRoots) -> Self {
        self.user_added_roots = choice;
        self
    }

    /// The clock of verifier, connector and layer. Unless said, the system's.
    pub fn time_provider(mut self, clock: Arc<dyn TimeProvider>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `observer` what happens, from a thread of its own: no handshake waits for it. What
    /// comes too fast for it is lost, and it is told how much ([`Event::Lost`]). More calls add
    /// more observers. A panic in one is contained.
    ///
    /// An observer that keeps a [`Pinning`] of these pins keeps them for ever.
    ///
    /// ```
    /// use pinhold::{Event, Pinning};
    ///
    /// let pinning = Pinning::builder()
    ///     .observer(|event| match event {
    ///         Event::Violation(report) => eprintln!("refused: {}", report.violation()),
    ///         Event::WouldBeViolation(report) => {
    ///             eprintln!("not refused yet: {}", report.violation())
    ///         }
    ///         _ => {}
    ///     })
    ///     .build()?;
    /// # Ok::<(), pinhold::BuildError>(())
    /// ```
    pub fn observer(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.callbacks.push(Box::new(observer));
        self
    }

    /// Reports violations: `make` is given a handle on the same pins, of whose own connections
    /// nobody is told, and makes the reporter. In place of an earlier one.
    ///
    /// Nothing is reported of connections whose pins were skipped, nor where the validated chain
    /// ends in a root that is not built in (RFC 7469 section 2.6).
    pub fn reporter<R: Reporter>(
        mut self,
        make: impl FnOnce(Pinning) -> Result<R, BuildError> + Send + 'static,
    ) -> Self {
        self.reporter = Some(Box::new(|pinning| Ok(Arc::new(make(pinning)?))));
        self
    }

    /// Puts it all together.
    ///
    /// # Errors
    ///
    /// [`BuildError::Host`], [`BuildError::DuplicateHost`] and [`BuildError::Exemption`]: the
    /// first thing that was wrong. And what the reporter could not be made for.
    pub fn build(self) -> Result<Pinning, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let entries = StaticEntries::new(self.statics)?;
        if let Some(now) = self.clock.current_time() {
            self.store.mend_times(now);
        }
        let shared = Arc::new(Shared {
            statics: RwLock::new(StaticPins {
                entries,
                ..StaticPins::default()
            }),
            store: self.store,
            note_only: self.note_only,
            syntax: self.syntax,
            user_added_roots: self.user_added_roots,
            clock: self.clock,
        });
        if self.callbacks.is_empty() && self.reporter.is_none() {
            let audience = Audience::Nobody;
            return Ok(Pinning { shared, audience });
        }
        let observers = Arc::new(Observers::new(self.callbacks));
        let of_reports = Arc::downgrade(&observers);
        if let Some(make) = self.reporter {
            let quiet = Pinning {
                shared: Arc::clone(&shared),
                audience: Audience::OfReports(Weak::clone(&of_reports)),
            };
            observers.set_reporter(make(quiet)?);
        }
        shared.store.watch(Arc::new(move |error| {
            if let Some(observers) = of_reports.upgrade() {
                observers.tell(Event::StorageTrouble(error.clone()));
            }
        }));
        let audience = Audience::All(observers);
        Ok(Pinning { shared, audience })
    }

    /// The first error is the one that is told.
    fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }
}

impl fmt::Debug for PinningBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinningBuilder")
            .field("statics", &self.statics)
            .field("store", &self.store)
            .field("observers", &self.callbacks.len())
            .field("reports", &self.reporter.is_some())
            .finish_non_exhaustive()
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

/// Why a [`Pinning`], or what is built from it, can't be built.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// Two static policies for one host.
    DuplicateHost {
        /// The host.
        host: Host,
    },
    /// The TLS configuration asks for early data, which would leave before any pin is checked.
    EarlyData,
    /// An exemption from a policy that does not cover the name, or of a name that is itself pinned.
    Exemption {
        /// The host of the policy.
        host: Host,
        /// The name that was to be exempt.
        exempt: Host,
    },
    /// A name that is no host.
    Host(HostError),
    /// No crypto provider: none handed in, none installed, none enabled by a feature.
    NoCryptoProvider,
    /// No trust anchor: every chain would be refused.
    NoTrustAnchors,
    /// A certificate revocation list that can't be read.
    RevocationList(VerifierBuilderError),
    /// rustls refused the configuration.
    Tls(rustls::Error),
    /// The features `aws-lc-rs` and `ring` are both enabled, and nobody chose.
    UndecidedCryptoProvider,
}

impl From<Conflict> for BuildError {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::DuplicateHost { host } => Self::DuplicateHost { host },
            Conflict::Exemption { host, exempt } => Self::Exemption { host, exempt },
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateHost { host } => {
                write!(
                    f,
                    "{host} has two static policies, expected one with all its pins"
                )
            }
            Self::EarlyData => f.write_str(
                "the TLS configuration enables early data, which is sent before pins are checked",
            ),
            Self::Exemption { host, exempt } => write!(
                f,
                "{exempt} can't be exempt from the policy of {host}, expected a subdomain that it \
                 covers and that has no policy of its own"
            ),
            Self::Host(error) => error.fmt(f),
            Self::NoCryptoProvider => f.write_str(
                "no crypto provider, expected one handed in (`with_provider`), installed as the \
                 process default, or enabled by the feature `aws-lc-rs` or `ring`",
            ),
            Self::NoTrustAnchors => f.write_str("no trust anchor, expected at least one"),
            Self::RevocationList(error) => write!(f, "revocation list: {error}"),
            Self::Tls(error) => write!(f, "TLS configuration: {error}"),
            Self::UndecidedCryptoProvider => f.write_str(
                "two crypto providers are enabled, expected one handed in (`with_provider`) or \
                 installed as the process default",
            ),
        }
    }
}

impl Error for BuildError {}

/// Bytes of a noted `report-uri`: what common servers accept as a request line. Longer ones are
/// dropped, not the pins.
const MAX_REPORT_URI: usize = 2048;
