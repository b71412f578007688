//! [`Pinning::health`], the snapshot of what is kept, and the roll-out counts of earlier processes.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::pinning::covering::Covering;
use crate::pinning::handle::{FlushAtClose, Pinning};
use crate::pinning::health::{Health, HostNames, PinHealth, PolicyHealth, VersionCounts};
use crate::pinning::health_rules;
use crate::pinning::rollout::Rollout;
use crate::policy::timestamp::at;
use crate::policy::{AppliedPolicy, Host, PolicyState, SpkiFingerprint};
use crate::store::{DAY, Entry, HealthWarning, History, OfVersion};

impl Pinning {
    /// Returns what the connections of the application have shown about its pins, in this process and
    /// in earlier ones with the same storage. It has no policies unless
    /// [`PinningBuilder::health`](crate::PinningBuilder::health) was set.
    ///
    /// The warnings are those of the time that the clock shows.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut health = Health {
            app_version: String::new(),
            policies: Vec::new(),
            host_names: HostNames::default(),
            salt: [0; 16],
        };
        let Some(options) = &self.shared.health else {
            return health;
        };
        health.app_version.clone_from(&options.app_version);
        health.host_names = options.host_names;
        health.salt = self.shared.store.health().salt();
        let now = self.clock().current_time();
        let book = self.shared.store.health();
        book.visit(|host, entry, is_current| {
            let policy = entry.policy.as_ref().filter(|_| is_current);
            health
                .policies
                .push(policy_health(host, entry, policy, now));
        });
        health.policies.sort_by(|one, other| {
            let order = |it: &PolicyHealth| (!it.is_current, it.is_candidate, it.scope);
            let since = other.since.cmp(&one.since);
            one.host
                .as_str()
                .cmp(other.host.as_str())
                .then(order(one).cmp(&order(other)))
                .then(since)
        });
        health
    }

    /// Lets the last handle of the application wait until everything is stored.
    pub(crate) fn begin_health(mut self) -> Self {
        if self.shared.health.is_some() {
            // Chosen now, so that the first commit stores it.
            self.shared.store.health().salt();
            let store = self.shared.store.clone();
            self.flush_at_close = Some(Arc::new(FlushAtClose(store)));
        }
        self
    }

    /// Returns roll-out counts with those of earlier processes.
    pub(crate) fn with_stored(
        &self,
        mut rollout: Rollout,
        policy: &Covering<'_>,
        is_staged: bool,
    ) -> Rollout {
        if self.shared.health.is_none() {
            return rollout;
        }
        let mut applied = policy.apply(self.shared.user_added_roots);
        if let Some(candidate) = policy.policy().apply_candidate(&applied) {
            applied = candidate;
        }
        if is_staged {
            applied.state = PolicyState::ReportOnly;
        }
        let Some(history) = self.shared.store.health().history(&applied) else {
            return rollout;
        };
        let [mut connections, mut failures] = [0_u64; 2];
        for of in &history.versions {
            let [passed, _, would_be, _, candidate_passed, candidate_would_be] = of.counts;
            let failed = would_be.saturating_add(candidate_would_be);
            failures = failures.saturating_add(failed);
            let passed = passed.saturating_add(candidate_passed);
            connections = connections.saturating_add(passed).saturating_add(failed);
        }
        // Connections whose server has not proved its key are counted in this process only.
        rollout.connections = rollout.connections.max(connections);
        rollout.would_have_failed = rollout.would_have_failed.max(failures);
        let time = |seconds: u64| (seconds > 0).then(|| at(seconds));
        rollout.last_failure = rollout.last_failure.max(time(history.last_failure));
        if connections > 0 {
            rollout.last_connection = rollout.last_connection.max(time(history.last));
        }
        for (pin, seen) in &mut rollout.pins {
            let day = history.seen(pin).map(|seen| day_of(seen.last.day));
            *seen = (*seen).max(day);
        }
        rollout
    }
}

/// Returns what is kept of a set of pins. `policy` has them if they are in effect.
fn policy_health(
    host: &Host,
    entry: &Entry,
    policy: Option<&AppliedPolicy>,
    now: Option<UnixTime>,
) -> PolicyHealth {
    let history = &entry.history;
    let pins = match policy {
        Some(policy) => policy
            .pins
            .iter()
            .map(|pin| pin_health(pin, history))
            .collect(),
        None => {
            let pins = history.pins.iter();
            pins.map(|seen| pin_health(&seen.pin, history)).collect()
        }
    };
    let warnings = match (policy, now) {
        (Some(policy), Some(now)) if !entry.is_candidate => warnings(policy, history, now),
        _ => Vec::new(),
    };
    PolicyHealth {
        host: host.clone(),
        scope: entry.scope,
        is_current: policy.is_some(),
        is_candidate: entry.is_candidate,
        expires: policy.and_then(|policy| policy.expires_at),
        since: (history.since.ordinal > 0).then(|| day_of(history.since.day)),
        days: history.days,
        last_connection: (history.last > 0).then(|| at(history.last)),
        pins,
        versions: history.versions.iter().map(version_counts).collect(),
        warnings,
    }
}

fn warnings(policy: &AppliedPolicy, history: &History, now: UnixTime) -> Vec<HealthWarning> {
    let day = now.as_secs() / DAY;
    let mut warnings = Vec::new();
    health_rules::of_history(policy, history, day, &mut warnings);
    if policy.state != PolicyState::Expired && health_rules::expires_soon(policy, now) {
        warnings.push(HealthWarning::ExpiresSoon);
    }
    // Each connection under such a condition emits the warning, once a day.
    let [_, bypass, _, _, _, stale] = &history.emitted;
    if bypass.contains(&day) {
        warnings.push(HealthWarning::BypassActive);
    }
    if stale.contains(&day) || health_rules::has_ended(policy, now) {
        warnings.push(HealthWarning::Stale);
    }
    warnings.sort_unstable();
    warnings
}

fn pin_health(pin: &SpkiFingerprint, history: &History) -> PinHealth {
    let seen = history.seen(pin);
    PinHealth {
        pin: *pin,
        first_seen: seen.map(|seen| day_of(seen.first.day)),
        last_seen: seen.map(|seen| day_of(seen.last.day)),
    }
}

fn version_counts(of: &OfVersion) -> VersionCounts {
    let [
        passed,
        refused,
        would_be_refused,
        skipped,
        candidate_passed,
        candidate_would_be_refused,
    ] = of.counts;
    VersionCounts {
        app_version: (*of.app_version).to_owned(),
        passed,
        refused,
        would_be_refused,
        skipped,
        candidate_passed,
        candidate_would_be_refused,
    }
}

/// Returns the beginning of a day.
fn day_of(day: u64) -> UnixTime {
    at(day.saturating_mul(DAY))
}
