//! The state of each name in one word, the reason of it, and the counts of states.

use std::cmp::Ordering;

use pinhold::policy::Scope;
use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{
    Certainty, Finding, HostForecast, PinForecast, Report, RootStore, Severity, SpanKind,
};
use crate::doctor::subject::Probe;
use crate::output::{counted, printable};
use crate::rfc3339;

/// What a reader has to know first about a name. The order is that of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    LockedOut,
    /// A lock-out before the time of `--fail-within`.
    Soon,
    /// An error without a date.
    Error,
    /// A lock-out after the time of `--fail-within`, within [`HORIZON_DAYS`] or with an error.
    Later,
    Warning,
    /// No chain was seen or given.
    Unseen,
    Holds,
}

impl State {
    pub(super) const ALL: [Self; 7] = [
        Self::LockedOut,
        Self::Soon,
        Self::Error,
        Self::Later,
        Self::Warning,
        Self::Unseen,
        Self::Holds,
    ];

    pub(super) fn of(host: &HostForecast, report: &Report) -> Self {
        let has = |severity| host.findings.iter().any(|it| it.severity == severity);
        let lock_out = host.lock_out.as_ref().map(|it| it.at);
        if has(Severity::LockedOut) || lock_out.is_some_and(|at| at <= report.at) {
            return Self::LockedOut;
        }
        match lock_out {
            Some(at) if at <= report.fail_before => return Self::Soon,
            _ if host.findings.iter().any(|it| is_due(it, report)) => return Self::Error,
            Some(at) if days_between(report.at, at) <= HORIZON_DAYS => return Self::Later,
            Some(_) if has(Severity::Error) => return Self::Later,
            _ => {}
        }
        let is_unseen = host.chains.iter().all(|chain| chain.failure.is_some());
        let mut findings = host.findings.iter();
        let is_warning = findings
            .any(|it| it.severity >= Severity::Warning && !(is_unseen && it.id == NOT_OBSERVED));
        match (is_warning, is_unseen) {
            (true, _) => Self::Warning,
            (false, true) => Self::Unseen,
            (false, false) => Self::Holds,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::LockedOut => "locked out",
            Self::Soon => "soon",
            Self::Error => "error",
            Self::Later => "later",
            Self::Warning => "warning",
            Self::Unseen => "not seen",
            Self::Holds => "holds",
        }
    }

    /// Returns the word of JSON members and of classes of the page.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::LockedOut => "locked_out",
            Self::Unseen => "not_seen",
            other => other.word(),
        }
    }

    /// Whether a check in CI fails.
    pub(super) fn is_failure(self) -> bool {
        self <= Self::Error
    }
}

/// Returns whether clients are locked out for this reason before the time of `--fail-within`, or at
/// an unknown time.
fn is_due(finding: &Finding, report: &Report) -> bool {
    finding.severity == Severity::Error && finding.date.is_none_or(|at| at <= report.fail_before)
}

/// A name with its state.
pub(super) struct Row<'r> {
    pub(super) host: &'r HostForecast,
    pub(super) state: State,
}

/// Returns all names, the worst first.
pub(super) fn rows(report: &Report) -> Vec<Row<'_>> {
    let rows = report.hosts.iter().map(|host| Row {
        host,
        state: State::of(host, report),
    });
    let mut rows = rows.collect::<Vec<_>>();
    rows.sort_by(Row::compare);
    rows
}

impl Row<'_> {
    fn compare(&self, other: &Self) -> Ordering {
        let date = |row: &Self| row.host.lock_out.as_ref().map(|it| it.at);
        let dates = || date(self).cmp(&date(other));
        self.state.cmp(&other.state).then_with(dates)
    }

    /// Returns the number of days to the lock-out: "now", a number, or "-".
    pub(super) fn days(&self, at: UnixTime) -> String {
        match (&self.host.lock_out, self.state) {
            (_, State::LockedOut) => "now".to_owned(),
            (Some(lock_out), _) => days_between(at, lock_out.at).to_string(),
            (None, _) => "-".to_owned(),
        }
    }

    /// Returns one sentence without its full stop, or nothing.
    pub(super) fn why(&self) -> String {
        let host = self.host;
        let worst = host.findings.iter().max_by_key(|it| it.severity);
        let reason = host.lock_out.as_ref().map(|it| it.reason.clone());
        let text = match self.state {
            State::Unseen => unseen(host),
            State::LockedOut | State::Soon | State::Later | State::Holds => reason
                .or_else(|| worst.map(|it| it.evidence.clone()))
                .unwrap_or_default(),
            State::Error | State::Warning => {
                worst.map_or_else(String::new, |it| it.evidence.clone())
            }
        };
        printable(&text)
    }
}

/// Returns why nothing was seen of a name.
fn unseen(host: &HostForecast) -> String {
    let failure = host.chains.iter().find_map(|chain| chain.failure.as_ref());
    match (failure, &host.subject.probe) {
        (Some(failure), _) => failure.clone(),
        (None, Probe::NotProbed) => "only names below it are pinned, and none is given".to_owned(),
        (None, Probe::Name(_)) => "no chain was requested or given".to_owned(),
    }
}

/// Returns "2 hosts: 1 locked out, 1 will be within 30 days, 5 warnings".
pub(super) fn sentence(report: &Report) -> String {
    let count = |state| {
        let hosts = report.hosts.iter();
        hosts.filter(|it| State::of(it, report) == state).count()
    };
    let within = days_between(report.at, report.fail_before);
    let will_be = format!("will be within {within} days");
    let mut parts = Vec::new();
    for (state, one, many) in [
        (State::LockedOut, "locked out", "locked out"),
        (State::Soon, &*will_be, &*will_be),
        (State::Error, "with an error", "with errors"),
        (State::Later, "will be later", "will be later"),
        (State::Unseen, "not seen", "not seen"),
    ] {
        let count = count(state);
        if count > 0 || state <= State::Soon {
            parts.push(counted(count, one, many));
        }
    }
    let findings = report.hosts.iter().flat_map(|host| &host.findings);
    let findings = findings.chain(&report.general);
    let warnings = findings.filter(|it| it.severity == Severity::Warning);
    parts.push(counted(warnings.count(), "warning", "warnings"));
    let hosts = counted(report.hosts.len(), "host", "hosts");
    format!("{hosts}: {}", parts.join(", "))
}

/// Returns the name as the outputs print it: `*.` stands for names below it alone.
pub(super) fn name(host: &HostForecast) -> String {
    let name = host.subject.host.as_str();
    match host.subject.scope {
        Scope::OneLabel | Scope::Subdomains => format!("*.{name}"),
        _ => name.to_owned(),
    }
}

/// Returns the names that the pins of a host cover, in words.
pub(super) fn scope_text(scope: Scope) -> &'static str {
    match scope {
        Scope::OneLabel => "names with one label more",
        Scope::Subdomains => "all subdomains, without the host itself",
        Scope::HostAndSubdomains => "the host and all subdomains",
        _ => "the host alone",
    }
}

/// Returns the number of whole days, negative for a time before `at`.
pub(super) fn days_between(at: UnixTime, then: UnixTime) -> i64 {
    let [at, then] = [at, then].map(|time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    then.saturating_sub(at).div_euclid(86_400)
}

/// Returns the date of a time, in UTC.
pub(super) fn date(time: UnixTime) -> String {
    let text = rfc3339::print(time);
    text.get(..10).unwrap_or_default().to_owned()
}

pub(super) fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::LockedOut => "locked out",
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Notice => "notice",
    }
}

pub(super) fn certainty_word(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Certain => "certain",
        Certainty::Announced => "announced",
        Certainty::Risk => "risk",
    }
}

/// Returns when a finding takes effect, and how sure that is.
pub(super) fn when(finding: &Finding) -> String {
    let certainty = certainty_word(finding.certainty);
    match (finding.date, finding.certainty) {
        (Some(at), _) => format!("{}, {certainty}", date(at)),
        (None, Certainty::Risk) => "risk without a date".to_owned(),
        (None, _) => "now".to_owned(),
    }
}

/// Returns what is foreseen of a pin, as a phrase.
pub(super) fn future(pin: &PinForecast) -> String {
    let now = match pin.holds {
        Some(true) => "holds",
        Some(false) => "not in a valid path",
        None => "not compared with a chain",
    };
    let Some(end) = &pin.end else {
        return now.to_owned();
    };
    let reason = printable(&end.reason);
    let certainty = certainty_word(end.certainty);
    format!("{now}, until {}, {certainty}: {reason}", date(end.at))
}

pub(super) fn roots_word(roots: RootStore) -> &'static str {
    match roots {
        RootStore::Mozilla => "mozilla",
        RootStore::Platform => "platform",
        RootStore::Files => "files",
    }
}

/// Returns the roots in words.
pub(super) fn roots_text(roots: RootStore) -> &'static str {
    match roots {
        RootStore::Mozilla => "Mozilla's roots",
        RootStore::Platform => "the roots of this system",
        RootStore::Files => "the roots of --ca",
    }
}

pub(super) fn kind_word(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Backup => "backup",
        SpanKind::Intermediate => "intermediate",
        SpanKind::Leaf => "leaf",
        SpanKind::Pin => "pin",
        SpanKind::Policy => "policy",
        SpanKind::Root => "root",
    }
}

/// Lock-outs that are farther away are no reason to act: each certificate is renewed before, and each
/// root ends some day.
const HORIZON_DAYS: i64 = 398;
/// The rule by which an unseen host is a finding. Its state says this already.
const NOT_OBSERVED: &str = "not-observed";
