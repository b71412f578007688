//! The section of one host: its timeline, findings, pins and paths.

use maud::{Markup, html};
use pinhold::policy::PinRole;

use crate::doctor::forecast::{
    ChainForecast, Finding, HostForecast, PinForecast, Report, Severity,
};
use crate::doctor::output::page::scale::Scale;
use crate::doctor::output::page::{badge, time, timeline};
use crate::doctor::output::summary::{
    Row, State, date, future, name, roots_text, scope_text, severity_word, when,
};
use crate::output::{counted, printable};

/// Returns the section. That of a host that holds is closed until a reader opens it.
pub(super) fn section(index: usize, row: &Row<'_>, report: &Report, scale: &Scale) -> Markup {
    let host = row.host;
    let id = format!("host-{index}");
    html! {
        section.host.(row.state.id()) id=(id) {
            details open[row.state != State::Holds || report.hosts.len() <= MAX_OPEN] {
                summary { h3 { bdi { (name(host)) } } " " (badge(row.state)) }
                // Else it is a finding, or nothing has to be done.
                @if host.lock_out.is_some() && row.state <= State::Later || row.state == State::Unseen {
                    p.why { bdi { (row.why()) } }
                }
                p.origin { (origin(host)) }
                @if !host.timeline.is_empty() { (timeline::table(host, scale)) }
                (all_findings(&host.findings))
                @if !host.pins.is_empty() { (pins(host)) }
                @if !host.chains.is_empty() { (chains(&host.chains)) }
            }
        }
    }
}

/// Returns where the pins come from, and what they cover.
fn origin(host: &HostForecast) -> Markup {
    let subject = &host.subject;
    html! {
        "Pins of " bdi { (printable(&subject.source)) } " for " (scope_text(subject.scope))
        ", port " (subject.port) ". "
        @if !subject.is_enforced { "Report-only: no connection is refused. " }
        @if let Some(expiry) = subject.expiry {
            "The policy expires on " (time(expiry.at))
            @if expiry.refuses { ", then all connections are refused." }
            @else { ", then the host is not pinned." }
        }
    }
}

/// Returns the findings of a host: those that need action, and the notices, which a reader opens.
fn all_findings(all: &[Finding]) -> Markup {
    let (notices, others) = all
        .iter()
        .partition::<Vec<_>, _>(|it| it.severity == Severity::Notice);
    html! {
        @if !others.is_empty() {
            h4 { "Findings" }
            (findings(others))
        }
        @if !notices.is_empty() {
            details.notices {
                summary { (counted(notices.len(), "notice", "notices")) }
                (findings(notices))
            }
        }
    }
}

/// Returns a list of findings.
pub(super) fn findings<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Markup {
    html! {
        ul.findings {
            @for finding in findings {
                @let severity = severity_word(finding.severity);
                li class={ "finding " (severity.replace(' ', "_")) } {
                    p.head {
                        span.severity { (severity) } " " code { (finding.id) } " "
                        span.when { (when(finding)) }
                    }
                    p { bdi { (printable(&finding.evidence)) } "." }
                    p.remedy { strong { "What to do: " } (finding.remedy) "." }
                }
            }
        }
    }
}

fn pins(host: &HostForecast) -> Markup {
    let groups = host.subject.groups.len();
    html! {
        h4 { "Pins" }
        @if groups > 1 { p { "A valid path has to contain a pin of each of " (groups) " groups." } }
        ul.pins { @for pin in &host.pins { li { (pin_item(pin)) } } }
    }
}

fn pin_item(pin: &PinForecast) -> Markup {
    html! {
        code.pin { (pin.pin.fingerprint) } " "
        @if pin.pin.role != PinRole::Any { "(" (pin.pin.role) ") " }
        span { bdi { (printable(&pin.name)) } ": " bdi { (future(pin)) } "." }
        @if let Some(remedy) = pin.remedy { span.remedy { " What to do: " (remedy) "." } }
    }
}

fn chains(chains: &[ChainForecast]) -> Markup {
    let paths = chains.iter().map(|chain| chain.paths.len()).sum();
    let failed = chains
        .iter()
        .filter(|chain| chain.failure.is_some())
        .count();
    html! {
        details.paths {
            summary {
                (counted(paths, "valid path", "valid paths"))
                @if failed > 0 { ", " (counted(failed, "failure", "failures")) }
            }
            ul {
                @for chain in chains {
                    li {
                        bdi { (printable(&chain.source)) }
                        @if let Some(failure) = &chain.failure { ": " bdi { (printable(failure)) } }
                        @if !chain.paths.is_empty() { (paths_list(chain)) }
                    }
                }
            }
        }
    }
}

fn paths_list(chain: &ChainForecast) -> Markup {
    html! {
        ul {
            @for path in &chain.paths {
                li {
                    @if path.is_pinned { strong { "pins hold: " } } @else { strong { "pins do not hold: " } }
                    @for (index, name) in path.names.iter().enumerate() {
                        @if index > 0 { ", " }
                        bdi { (printable(name)) }
                    }
                    "; valid with " (roots_text(path.roots))
                    @if let Some(until) = path.until { " until " (date(until)) }
                }
            }
        }
    }
}

/// From this number of hosts on, the sections of those that hold are closed.
const MAX_OPEN: usize = 8;
