//! The rules by which findings are made, one file for each kind of fact.

use std::cmp::Reverse;

use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{Certainty, DataAge, Finding, HostForecast, Severity};
use crate::doctor::judge::case::{Case, Setting};
use crate::doctor::judge::future::Future;
use crate::doctor::pki::Statement;
use crate::rfc3339;

mod backup;
mod caa;
mod chain;
mod cross_sign;
mod expiry;
mod fresh;
mod interception;
mod intermediate;
mod leaf;
mod lifetime;
mod lock_out;
mod observed;
mod operator;
mod public_suffix;
mod root_programme;
mod usage;
mod wrong_hash;

/// A rule, as documentation and SARIF list it.
pub(crate) struct Rule {
    /// What scripts match.
    pub(crate) id: &'static str,
    /// The severity unless other pins make it a notice.
    pub(crate) severity: Severity,
    /// What the rule finds, as one sentence.
    pub(crate) what: &'static str,
    find: fn(&Case<'_>) -> Vec<Finding>,
}

/// All rules, by their names.
pub(crate) const RULES: [Rule; 29] = [
    observed::ADDRESSES_DIFFER,
    backup::BACKUP_UNSEEN,
    fresh::BUNDLE_STALE,
    caa::FORBIDS_PINS,
    caa::PERMITS_OTHERS,
    caa::UNKNOWN,
    wrong_hash::CERTIFICATE_PIN,
    chain::CHAIN_INVALID,
    usage::CLIENT_AUTHENTICATION,
    cross_sign::CROSS_SIGN_ENDS,
    fresh::DATA_OLD,
    expiry::EXPIRED,
    expiry::EXPIRES_SOON,
    chain::INCOMPLETE_CHAIN,
    interception::INTERCEPTED,
    usage::KEY_USAGE,
    leaf::LEAF_EXPIRY,
    lifetime::LIFETIME,
    lock_out::LOCKED_OUT,
    backup::NO_BACKUP,
    observed::NOT_OBSERVED,
    operator::ONE_CA,
    fresh::PROGRAMME_DATE,
    public_suffix::PUBLIC_SUFFIX,
    root_programme::ROOT_LEAVES_CHROME,
    root_programme::ROOT_LEAVES_MOZILLA,
    intermediate::ROTATING_INTERMEDIATE,
    cross_sign::SHORTER_PATH,
    chain::UNUSED_CERTIFICATES,
];

impl Rule {
    /// Returns a finding of this rule about what holds now.
    fn finding(&self, evidence: String, remedy: &'static str) -> Finding {
        Finding {
            id: self.id,
            severity: self.severity,
            date: None,
            certainty: Certainty::Certain,
            evidence,
            remedy,
        }
    }

    /// As [`finding`](Self::finding), about what may happen at any time.
    fn risk(&self, evidence: String, remedy: &'static str) -> Finding {
        Finding {
            certainty: Certainty::Risk,
            ..self.finding(evidence, remedy)
        }
    }
}

/// Returns the findings of all rules about a name, the most severe first, then by date.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let findings = RULES.iter().flat_map(|rule| (rule.find)(case));
    let mut findings = findings.collect::<Vec<_>>();
    findings.sort_by_key(|finding| {
        let date = finding.date.map_or(u64::MAX, |date| date.as_secs());
        (Reverse(finding.severity), date, finding.id)
    });
    findings
}

/// Returns whether a host was connected to, and none of its servers sent a chain.
pub(super) fn is_unreached(host: &HostForecast) -> bool {
    let severity = observed::NOT_OBSERVED.severity;
    let mut findings = host.findings.iter();
    findings.any(|it| it.id == observed::NOT_OBSERVED.id && it.severity == severity)
}

/// Returns the findings that concern no single name.
pub(super) fn general(age: &DataAge, setting: &Setting<'_>) -> Vec<Finding> {
    let skipped = setting.roots.skipped.as_deref();
    let skipped = skipped.map(observed::without_platform_roots);
    let old = fresh::of_data(age).into_iter();
    let dates = fresh::dates(setting.facts, setting.at);
    old.chain(skipped).chain(dates).collect()
}

/// Returns how bad it is that a pin ends at a date. It is a notice if the date is far, or if other
/// pins of its group hold on the present chains afterwards.
fn urgency(pin: &Future<'_>, group: &[Future<'_>], date: UnixTime, now: UnixTime) -> Severity {
    let mut others = group.iter().filter(|other| other.pin != pin.pin);
    let is_far = date.as_secs().saturating_sub(now.as_secs()) > HORIZON;
    let outlives = |other: &Future<'_>| other.outlives(date);
    let holds_after = |other: &Future<'_>| other.holds != Some(false) && outlives(other);
    if is_far || pin.holds == Some(false) || others.clone().any(holds_after) {
        Severity::Notice
    } else if others.any(outlives) {
        Severity::Warning
    } else {
        Severity::Error
    }
}

/// Returns a statement with its source.
fn cited(statement: &Statement) -> String {
    format!("{} ({})", statement.text, statement.source)
}

/// Returns the date of a time.
fn day(time: UnixTime) -> String {
    let text = rfc3339::print(time);
    text.split('T').next().unwrap_or_default().to_owned()
}

/// How long before an event something has to be done, in seconds: 398 days, in which each
/// certificate was renewed.
const HORIZON: u64 = 398 * 86_400;
/// How long before an expiry it is a finding, in seconds.
const SOON: u64 = 30 * 86_400;
