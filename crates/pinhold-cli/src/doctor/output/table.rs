//! The report as text for a terminal, 80 columns wide.

use anstyle::Style;
use pinhold::policy::PinRole;
use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{Finding, HostForecast, PinForecast, Report, Severity};
use crate::doctor::output::summary::{
    Row, State, date, days_between, future, name, rows, scope_text, sentence, severity_word, when,
};
use crate::output::{counted, cut, printable, wrapped};
use crate::style::{BAD, GOOD, STRONG, paint};

/// Returns the table, the details of the hosts that do not hold, and the summary.
pub(super) fn report(report: &Report) -> String {
    let rows = rows(report);
    let mut blocks = Vec::new();
    if !rows.is_empty() {
        blocks.push(table(&rows, report));
    }
    let is_short = rows.len() <= MAX_DETAILED;
    let detailed = rows
        .iter()
        .filter(|row| is_short || row.state != State::Holds);
    blocks.extend(detailed.map(|row| details(row, report.at)));
    let general = report.general.iter();
    let general = general.filter(|it| it.id != PROGRAMME_DATE).map(finding);
    let general = general.collect::<Vec<_>>();
    if !general.is_empty() {
        let heading = paint(STRONG, "all hosts");
        blocks.push(format!("{heading}:\n{}", general.join("\n")));
    }
    blocks.push(conclusion(report));
    blocks.join("\n\n")
}

/// Returns one line for each host. Hosts that hold are counted if there are many.
fn table(rows: &[Row<'_>], report: &Report) -> String {
    let holding = rows.iter().filter(|row| row.state == State::Holds).count();
    let is_counted = holding > MAX_HOLDING;
    let shown = rows
        .iter()
        .filter(|row| !is_counted || row.state != State::Holds);
    let shown = shown.collect::<Vec<_>>();
    let lengths = shown.iter().map(|row| name(row.host).chars().count());
    let width = lengths.max().unwrap_or_default().clamp(4, MAX_NAME);
    let heading = format!("{:<10}  {:<width$}  {:>5}  WHY", "STATE", "HOST", "DAYS");
    let mut lines = vec![paint(STRONG, heading)];
    lines.extend(shown.into_iter().map(|row| {
        let state = paint(style(row.state), format!("{:<10}", row.state.word()));
        let host = fitted(&name(row.host), width);
        let days = row.days(report.at);
        let why = fitted(&row.why(), WIDTH - 10 - 2 - width - 2 - 5 - 2);
        let line = format!("{state}  {host:<width$}  {days:>5}  {why}");
        line.trim_end().to_owned()
    }));
    if is_counted {
        let state = paint(style(State::Holds), format!("{:<10}", "holds"));
        lines.push(format!("{state}  {}", counted(holding, "host", "hosts")));
    }
    lines.join("\n")
}

/// Returns the text, cut to this number of characters.
fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        text.to_owned()
    } else {
        cut(text, width.saturating_sub(3))
    }
}

fn style(state: State) -> Style {
    match state {
        State::LockedOut | State::Soon | State::Error => BAD,
        State::Holds => GOOD,
        State::Later | State::Warning | State::Unseen => STRONG,
    }
}

fn details(row: &Row<'_>, at: UnixTime) -> String {
    let host = row.host;
    let state = paint(style(row.state), state_text(row, at));
    let mut lines = vec![format!("{}: {state}", paint(STRONG, name(host)))];
    lines.push(wrapped(&origin(host)));
    if row.state == State::Unseen {
        lines.push(wrapped(&row.why()));
    }
    let lock_out = host.lock_out.as_ref();
    if let Some(lock_out) = lock_out.filter(|_| row.state <= State::Later) {
        lines.push(wrapped(&printable(&lock_out.reason)));
    }
    if !host.findings.is_empty() {
        lines.push(findings(&host.findings));
    }
    lines.extend(host.pins.iter().map(pin));
    lines.extend(paths(host));
    lines.join("\n")
}

/// Returns the state with its date.
fn state_text(row: &Row<'_>, at: UnixTime) -> String {
    let word = row.state.word();
    match (&row.host.lock_out, row.state) {
        (Some(lock_out), State::LockedOut) => format!("{word} since {}", date(lock_out.at)),
        (Some(lock_out), State::Warning | State::Unseen | State::Holds) => {
            format!("{word}, until {}", date(lock_out.at))
        }
        (Some(lock_out), _) => {
            let days = days_between(at, lock_out.at);
            let days = counted(usize::try_from(days).unwrap_or(0), "day", "days");
            format!("locked out from {}, in {days}", date(lock_out.at))
        }
        (None, _) => word.to_owned(),
    }
}

/// Returns where the pins come from, and what they cover.
fn origin(host: &HostForecast) -> String {
    let subject = &host.subject;
    let mut parts = vec![format!("pins of {}", printable(&subject.source))];
    parts.push(format!("for {}", scope_text(subject.scope)));
    if !subject.is_enforced {
        parts.push("report-only".to_owned());
    }
    if let Some(expiry) = subject.expiry {
        let then = if expiry.refuses {
            "then all connections are refused"
        } else {
            "then the host is not pinned"
        };
        parts.push(format!("until {}, {then}", date(expiry.at)));
    }
    parts.join(", ")
}

fn findings(findings: &[Finding]) -> String {
    let texts = findings.iter().map(finding);
    texts.collect::<Vec<_>>().join("\n")
}

fn finding(finding: &Finding) -> String {
    let severity = severity_word(finding.severity);
    let style = match finding.severity {
        Severity::LockedOut | Severity::Error => BAD,
        Severity::Warning => STRONG,
        Severity::Notice => Style::new(),
    };
    let (id, evidence) = (finding.id, printable(&finding.evidence));
    let text = wrapped(&format!(
        "{severity} ({}): {evidence} [{id}]",
        when(finding)
    ));
    // Colours are added later, since they have a length, too.
    let text = text.replacen(severity, &paint(style, severity), 1);
    let remedy = wrapped(&format!("what to do: {}", printable(finding.remedy)));
    format!("{text}\n{remedy}")
}

fn pin(pin: &PinForecast) -> String {
    let fingerprint = pin.pin.fingerprint;
    let role = match pin.pin.role {
        PinRole::Any => String::new(),
        role => format!(" ({role})"),
    };
    let future = format!("{}: {}", printable(&pin.name), future(pin));
    let mut text = format!("  pin {fingerprint}{role}\n{}", indented(&future));
    if let Some(remedy) = pin.remedy {
        text = format!("{text}\n{}", indented(&format!("what to do: {remedy}")));
    }
    text
}

fn indented(text: &str) -> String {
    wrapped(text).replacen("  ", "    ", 1)
}

/// Returns the number of valid paths, and what is wrong with the others.
fn paths(host: &HostForecast) -> Vec<String> {
    let paths = || host.chains.iter().flat_map(|chain| &chain.paths);
    let mut lines = Vec::new();
    if !host.chains.is_empty() {
        let pinned = paths().filter(|path| path.is_pinned).count();
        let count = counted(paths().count(), "valid path", "valid paths");
        lines.push(wrapped(&format!("{count}, the pins hold on {pinned}")));
    }
    let unpinned = paths().filter(|path| !path.is_pinned);
    lines.extend(unpinned.map(|path| {
        let names = printable(&path.names.join(", "));
        wrapped(&format!("not on: {names}"))
    }));
    let failed = host
        .chains
        .iter()
        .filter_map(|it| Some((&it.source, it.failure.as_ref()?)));
    lines.extend(failed.map(|(source, failure)| {
        let (source, failure) = (printable(source), printable(failure));
        wrapped(&format!("{source}: {failure}"))
    }));
    lines
}

fn conclusion(report: &Report) -> String {
    let data = &report.data;
    let source = printable(&data.source);
    let age = counted(usize::try_from(data.days).unwrap_or(0), "day", "days");
    let facts = format!(
        "facts about CAs of {}, {age} old ({source})",
        date(data.date)
    );
    let at = date(report.at);
    let [sentence, facts] = [sentence(report), format!("judged as of {at} by {facts}")]
        .map(|text| wrapped(&text).trim_start().to_owned());
    format!("{}\n{facts}", paint(STRONG, sentence))
}

/// The rule of dates that concern CAs and need nothing to be done. The other outputs have them.
const PROGRAMME_DATE: &str = "programme-date";
/// The usual width of a terminal.
const WIDTH: usize = 80;
/// The width of the column of names.
const MAX_NAME: usize = 32;
/// From this number of hosts on, those that hold have no details.
const MAX_DETAILED: usize = 5;
/// Above this number, hosts that hold have no lines of their own.
const MAX_HOLDING: usize = 40;
