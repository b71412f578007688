//! The report as one JSON object.

use pinhold::Host;
use rustls::pki_types::UnixTime;
use serde_json::{Map, Value, json};

use crate::doctor::forecast::{
    ChainForecast, Finding, HostForecast, LockOut, PathForecast, PinForecast, Report, Severity,
    Span,
};
use crate::doctor::output::summary::{
    State, certainty_word, days_between, kind_word, roots_word, severity_word,
};
use crate::doctor::subject::{Pin, Probe};
use crate::output::printable;
use crate::{pin_file, rfc3339};

/// Returns the whole report. Its hosts are in the order of the pin file.
pub(super) fn report(report: &Report) -> Value {
    json!({
        "at": rfc3339::print(report.at),
        "fail_before": rfc3339::print(report.fail_before),
        "data": {
            "date": rfc3339::print(report.data.date),
            "source": printable(&report.data.source),
            "days": report.data.days,
        },
        "summary": summary(report),
        "findings": report.general.iter().map(finding).collect::<Value>(),
        "hosts": report.hosts.iter().map(|it| host(it, report)).collect::<Value>(),
    })
}

/// Returns the number of hosts of each state.
fn summary(report: &Report) -> Value {
    let states = report.hosts.iter().map(|host| State::of(host, report));
    let states = states.collect::<Vec<_>>();
    let count = |state| states.iter().filter(|it| **it == state).count();
    let counts = State::ALL.map(|state| (state.id().to_owned(), json!(count(state))));
    let mut members = counts.into_iter().collect::<Map<_, _>>();
    members.insert("hosts".to_owned(), json!(states.len()));
    Value::Object(members)
}

fn host(host: &HostForecast, report: &Report) -> Value {
    let subject = &host.subject;
    let probe = match &subject.probe {
        Probe::Name(name) => Some(Host::as_str(name)),
        Probe::NotProbed => None,
    };
    let group = |group: &Vec<Pin>| group.iter().map(pin).collect::<Value>();
    json!({
        "host": subject.host.as_str(),
        "scope": pin_file::scope_word(subject.scope),
        "source": printable(&subject.source),
        "probe": probe,
        "port": subject.port,
        "enforced": subject.is_enforced,
        "expires": subject.expiry.map(|expiry| rfc3339::print(expiry.at)),
        "refuses_after_expiry": subject.expiry.map(|expiry| expiry.refuses),
        "stale_from": subject.staleness.as_ref().map(|it| rfc3339::print(it.at)),
        "when_stale": subject.staleness.as_ref().map(|it| it.then),
        "groups": subject.groups.iter().map(group).collect::<Value>(),
        "state": State::of(host, report).id(),
        "lock_out": host.lock_out.as_ref().map(|it| lock_out(it, report.at)),
        "chains": host.chains.iter().map(chain).collect::<Value>(),
        "pins": host.pins.iter().map(|it| pin_forecast(it, report.at)).collect::<Value>(),
        "findings": host.findings.iter().map(finding).collect::<Value>(),
        "timeline": host.timeline.iter().map(span).collect::<Value>(),
    })
}

fn pin(pin: &Pin) -> Value {
    json!({ "role": pin.role.to_string(), "pin": pin.fingerprint.to_string() })
}

fn lock_out(lock_out: &LockOut, at: UnixTime) -> Value {
    json!({
        "date": rfc3339::print(lock_out.at),
        "days": days_between(at, lock_out.at),
        "certainty": certainty_word(lock_out.certainty),
        "reason": printable(&lock_out.reason),
    })
}

fn chain(chain: &ChainForecast) -> Value {
    let path = |path: &PathForecast| {
        json!({
            "names": path.names.iter().map(|name| printable(name)).collect::<Vec<_>>(),
            "roots": roots_word(path.roots),
            "until": path.until.map(rfc3339::print),
            "pinned": path.is_pinned,
        })
    };
    json!({
        "source": printable(&chain.source),
        "failure": chain.failure.as_deref().map(printable),
        "paths": chain.paths.iter().map(path).collect::<Value>(),
    })
}

fn pin_forecast(forecast: &PinForecast, at: UnixTime) -> Value {
    json!({
        "role": forecast.pin.role.to_string(),
        "pin": forecast.pin.fingerprint.to_string(),
        "name": printable(&forecast.name),
        "holds": forecast.holds,
        "end": forecast.end.as_ref().map(|end| lock_out(end, at)),
        "remedy": forecast.remedy,
    })
}

pub(super) fn finding(finding: &Finding) -> Value {
    json!({
        "id": finding.id,
        "severity": severity_id(finding.severity),
        "date": finding.date.map(rfc3339::print),
        "certainty": certainty_word(finding.certainty),
        "evidence": printable(&finding.evidence),
        "remedy": finding.remedy,
    })
}

fn severity_id(severity: Severity) -> &'static str {
    match severity {
        Severity::LockedOut => "locked_out",
        other => severity_word(other),
    }
}

fn span(span: &Span) -> Value {
    json!({
        "kind": kind_word(span.kind),
        "label": printable(&span.label),
        "from": span.from.map(rfc3339::print),
        "until": span.until.map(rfc3339::print),
        "certainty": certainty_word(span.certainty),
        "pinned": span.is_pinned,
    })
}
