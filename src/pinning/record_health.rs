//! Recording of what connections show about pins, and the events of it.
//!
//! Recorded are connections whose handshake has proved that the server has the leaf's key. Refusals are
//! only counted, since an attacker on the network can cause them: they lead to no event, and change
//! nothing that was seen.

use rustls_pki_types::UnixTime;

use crate::pinning::evaluation::{Evaluation, Policies};
use crate::pinning::event::Event;
use crate::pinning::handle::Pinning;
use crate::pinning::health::HealthOptions;
use crate::pinning::health_rules;
use crate::policy::{AppliedPolicy, PinSource, PolicyState, Verdict};
use crate::store::{DAY, HealthWarning, History, Observation, Outcome};
use crate::violation::PinViolation;

impl Pinning {
    /// Records a connection that is not refused.
    pub(crate) fn record_health(&self, evaluation: &Evaluation) {
        if let Some(options) = self.health_options()
            && evaluation.chain().handshake_verified()
            && !evaluation.is_refused()
        {
            self.record_connection_health(options, evaluation);
        }
    }

    /// Returns the options, if health is kept. What a reporter's own connections show is not: their
    /// events are not emitted either.
    fn health_options(&self) -> Option<&HealthOptions> {
        let options = self.shared.health.as_ref()?;
        (!self.observers.are_of_reporter()).then_some(options)
    }

    fn record_connection_health(&self, options: &HealthOptions, evaluation: &Evaluation) {
        let now = evaluation.at();
        let mut counted = None;
        for (policy, verdict) in evaluation.own_policies() {
            let is_counted = is_counted(counted.replace(policy), policy);
            let outcome = match verdict {
                Verdict::Pass => Outcome::Passed,
                Verdict::WouldRefuse => Outcome::WouldBeRefused,
                Verdict::Skip | Verdict::SkipReportOnly => Outcome::Skipped,
                Verdict::Refuse => continue,
            };
            let mut warnings = self.expiry_warnings(policy, now);
            if outcome == Outcome::Skipped {
                warnings.push(HealthWarning::BypassActive);
            }
            let keys = evaluation.chain().fingerprints();
            let observation = Observation {
                app_version: &options.app_version,
                outcome: (!is_counted).then_some(outcome),
                keys: (outcome != Outcome::Skipped).then_some(keys),
                warnings: &warnings,
                generation: self.generation().number(),
                now,
            };
            let store = &self.shared.store;
            let recorded = store.record_health(policy, observation, health_rules::of_history);
            self.emit_health(policy, recorded, now);
        }
        if counted.is_none() {
            self.record_unpinned_by_expiry(options, evaluation);
        }
        if let Some((policy, verdict)) = evaluation.candidate() {
            let outcome = match verdict {
                Verdict::Pass => Outcome::CandidatePassed,
                Verdict::WouldRefuse => Outcome::CandidateWouldBeRefused,
                Verdict::Skip | Verdict::SkipReportOnly | Verdict::Refuse => return,
            };
            let observation = Observation {
                app_version: &options.app_version,
                outcome: Some(outcome),
                keys: Some(evaluation.chain().fingerprints()),
                warnings: &[],
                generation: self.generation().number(),
                now,
            };
            let store = &self.shared.store;
            drop(store.record_health(policy, observation, health_rules::none));
        }
    }

    /// Returns the warnings that depend on dates alone.
    fn expiry_warnings(&self, policy: &AppliedPolicy, now: UnixTime) -> Vec<HealthWarning> {
        let mut warnings = Vec::new();
        if policy.state != PolicyState::Expired && health_rules::expires_soon(policy, now) {
            warnings.push(HealthWarning::ExpiresSoon);
        }
        if health_rules::has_ended(policy, now) || self.stale_since(policy, now).is_some() {
            warnings.push(HealthWarning::Stale);
        }
        warnings
    }

    /// Returns when the bundle became stale that the policy is from, or that would replace it.
    #[cfg(feature = "bundles")]
    fn stale_since(&self, policy: &AppliedPolicy, now: UnixTime) -> Option<UnixTime> {
        let statics = self.shared.statics.read();
        let bundled = statics.bundled.as_ref()?;
        let is_affected = policy.source != PinSource::Static || bundled.fallback_at(now).is_some();
        let expired = bundled.terms.is_stale(now).then_some(bundled.terms.expires);
        expired.filter(|_| is_affected)
    }

    #[cfg(not(feature = "bundles"))]
    fn stale_since(&self, _: &AppliedPolicy, _: UnixTime) -> Option<UnixTime> {
        None
    }

    /// Records that the policy of a host has expired and no longer applies.
    fn record_unpinned_by_expiry(&self, options: &HealthOptions, evaluation: &Evaluation) {
        let (Some(host), now) = (evaluation.host(), evaluation.at()) else {
            return;
        };
        let roots = self.shared.user_added_roots;
        let statics = self.shared.statics.read();
        let policy = statics.unpinned_by_expiry(host, roots, now);
        drop(statics);
        let Some(policy) = policy else {
            return;
        };
        let observation = Observation {
            app_version: &options.app_version,
            outcome: None,
            keys: None,
            warnings: &[HealthWarning::Stale],
            generation: self.generation().number(),
            now,
        };
        let store = &self.shared.store;
        let recorded = store.record_health(&policy, observation, health_rules::none);
        self.emit_health(&policy, recorded, now);
    }

    /// Counts the refusal of a connection by policies of the application.
    pub(crate) fn count_refused(&self, violation: &PinViolation) {
        if self.health_options().is_none() {
            return;
        }
        let now = violation.at();
        let violations = violation.each().collect::<Vec<_>>();
        let mut counted = None;
        for policy in violations.iter().map(PinViolation::policy) {
            if is_own(policy) && !is_counted(counted.replace(policy), policy) {
                self.count_health(policy, Outcome::Refused, now);
            }
        }
    }

    /// Counts a server for which no path could be validated.
    pub(crate) fn count_unverifiable(&self, policies: &Policies, now: UnixTime) {
        let applied = &policies.applied;
        let mut counted = None;
        for policy in applied.static_policy.iter().chain(applied_fixed(policies)) {
            let outcome = match policy.state {
                PolicyState::ReportOnly => Outcome::WouldBeRefused,
                PolicyState::Enforced | PolicyState::Expired => Outcome::Refused,
            };
            if !is_counted(counted.replace(policy), policy) {
                self.count_health(policy, outcome, now);
            }
        }
        if let Some(candidate) = &applied.candidate {
            self.count_health(candidate, Outcome::CandidateWouldBeRefused, now);
        }
    }

    fn count_health(&self, policy: &AppliedPolicy, outcome: Outcome, now: UnixTime) {
        let Some(options) = self.health_options() else {
            return;
        };
        let observation = Observation {
            app_version: &options.app_version,
            outcome: Some(outcome),
            keys: None,
            warnings: &[],
            generation: self.generation().number(),
            now,
        };
        let store = &self.shared.store;
        drop(store.record_health(policy, observation, health_rules::none));
    }

    /// Emits the warnings. Called without a lock.
    fn emit_health(
        &self,
        policy: &AppliedPolicy,
        recorded: Option<(Vec<HealthWarning>, History)>,
        now: UnixTime,
    ) {
        let Some((warnings, history)) = recorded else {
            return;
        };
        for warning in warnings {
            if let Some(event) = self.health_event(warning, policy, &history, now) {
                self.emit(event);
            }
        }
    }

    fn health_event(
        &self,
        warning: HealthWarning,
        policy: &AppliedPolicy,
        history: &History,
        now: UnixTime,
    ) -> Option<Event> {
        let day = now.as_secs() / DAY;
        let host = policy.noted_hostname.clone();
        Some(match warning {
            HealthWarning::BackupNeverSeen => Event::BackupNeverSeen { host },
            HealthWarning::BypassActive => Event::BypassActive { host },
            HealthWarning::ExpiresSoon => Event::ExpiresSoon {
                host,
                expires: policy.expires_at?,
            },
            HealthWarning::LastPin => Event::LastPin {
                host,
                pin: health_rules::last_pin(policy, history, day)?,
            },
            HealthWarning::OnlyBackupMatches => Event::OnlyBackupMatches {
                host,
                pin: health_rules::only_backup(policy, history)?,
            },
            HealthWarning::Stale => Event::Stale {
                host,
                expired: policy
                    .expires_at
                    .filter(|expires| now > *expires)
                    .or_else(|| self.stale_since(policy, now))?,
            },
        })
    }
}

/// Returns whether a connection is counted already, for the policy before this one: a bundle may have
/// the pins of the fixed policy beside it.
fn is_counted(before: Option<&AppliedPolicy>, policy: &AppliedPolicy) -> bool {
    before.is_some_and(|before| before.has_same_pins(policy))
}

/// Returns whether the application has set a policy, itself or by a pin bundle.
fn is_own(policy: &AppliedPolicy) -> bool {
    !matches!(policy.source, PinSource::Noted | PinSource::RefusedKeys)
}

#[cfg(feature = "bundles")]
fn applied_fixed(policies: &Policies) -> Option<&AppliedPolicy> {
    policies.applied.fixed.as_ref()
}

#[cfg(not(feature = "bundles"))]
fn applied_fixed(_: &Policies) -> Option<&AppliedPolicy> {
    None
}
