//! The report as one HTML page, without scripts and without anything from elsewhere.
//!
//! Every text is escaped by `maud`, and no text is part of a style or of an address.

mod host;
mod scale;
mod timeline;

use maud::{DOCTYPE, Markup, html};
use rustls::crypto::hash::HashAlgorithm;

use crate::doctor::forecast::Report;
use crate::doctor::output::page::scale::Scale;
use crate::doctor::output::summary::{Row, State, date, name, rows, sentence};
use crate::network;
use crate::output::{counted, cut, printable};

/// Returns the page.
pub(super) fn html(report: &Report) -> String {
    let rows = rows(report);
    let scale = Scale::of(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "Pin forecast of " (date(report.at)) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                (timeline::patterns())
                (header(report, &rows))
                main {
                    (overview(report, &rows, &scale))
                    @if !report.general.is_empty() {
                        section aria-labelledby="general" {
                            h2 id="general" { "All hosts" }
                            (host::findings(&report.general))
                        }
                    }
                    section aria-labelledby="hosts" {
                        h2 id="hosts" { "Timelines" }
                        (legend())
                        @for (index, row) in rows.iter().enumerate() {
                            (host::section(index, row, report, &scale))
                        }
                    }
                }
                (footer(report))
            }
        }
    };
    page.into_string()
}

/// Returns a policy that allows this style sheet and nothing else: a text that is markup after all
/// can't load, run or send anything.
fn policy() -> String {
    let suites = network::provider().cipher_suites.clone().into_iter();
    let mut hashes = suites.filter_map(|suite| Some(suite.tls13()?.common.hash_provider));
    let hash = hashes.find(|hash| hash.algorithm() == HashAlgorithm::SHA256);
    let digest = hash.map(|hash| hash.hash(STYLE.as_bytes()));
    let digest = digest.and_then(|digest| <[u8; 32]>::try_from(digest.as_ref()).ok());
    // The text of a pin is the Base64 that a policy has, after another separator.
    let digest = digest.map(|it| pinhold::SpkiFingerprint::from_digest(it).to_string());
    let style = digest.map_or_else(
        || "'none'".to_owned(),
        |text| format!("'{}'", text.replacen('/', "-", 1)),
    );
    format!("default-src 'none'; style-src {style}; base-uri 'none'; form-action 'none'")
}

fn header(report: &Report, rows: &[Row<'_>]) -> Markup {
    let data = &report.data;
    let age = counted(usize::try_from(data.days).unwrap_or(0), "day", "days");
    html! {
        header {
            h1 { "Pin forecast" }
            p.lead { (sentence(report)) }
            ul.states aria-label="Hosts by state" {
                @for state in State::ALL {
                    @let count = rows.iter().filter(|row| row.state == state).count();
                    @if count > 0 {
                        li class=(state.id()) {
                            a href={ "#first-" (state.id()) } { strong { (count) } " " (state.word()) }
                        }
                    }
                }
            }
            dl.facts {
                dt { "Judged as of" } dd { (time(report.at)) }
                dt { "Fails before" } dd { (time(report.fail_before)) }
                dt { "Facts about CAs" }
                dd { (time(data.date)) ", " (age) " old, " bdi { (printable(&data.source)) } }
            }
        }
    }
}

fn time(at: rustls::pki_types::UnixTime) -> Markup {
    html! { time datetime=(crate::rfc3339::print(at)) { (date(at)) } }
}

fn overview(report: &Report, rows: &[Row<'_>], scale: &Scale) -> Markup {
    html! {
        section aria-labelledby="overview" {
            h2 id="overview" { "Overview" }
            table.overview {
                thead {
                    tr {
                        th scope="col" { "State" }
                        th scope="col" { "Host" }
                        th scope="col" { "Days" }
                        th.strip scope="col" { (timeline::axis(scale)) }
                        th scope="col" { "Why" }
                    }
                }
                tbody {
                    @for (index, row) in rows.iter().enumerate() {
                        @let previous = index.checked_sub(1).and_then(|index| rows.get(index));
                        @let is_first = previous.is_none_or(|it| it.state != row.state);
                        @let first = is_first.then(|| format!("first-{}", row.state.id()));
                        tr class=(row.state.id()) id=[first] {
                            td.state { (badge(row.state)) }
                            th.name scope="row" {
                                a href={ "#host-" (index) } { bdi { (name(row.host)) } }
                            }
                            td.days { (days(row, report)) }
                            td.strip { (timeline::strip(row.host, scale)) }
                            td.why { bdi { (cut(&row.why(), 110)) } }
                        }
                    }
                }
            }
        }
    }
}

fn days(row: &Row<'_>, report: &Report) -> Markup {
    let days = row.days(report.at);
    let unit = match &*days {
        "now" | "-" => "",
        "1" => " day",
        _ => " days",
    };
    html! { (days) span.unit { (unit) } }
}

fn badge(state: State) -> Markup {
    html! { span.badge.(state.id()) { (state.word()) } }
}

fn legend() -> Markup {
    html! {
        ul.legend aria-label="Legend" {
            @for (class, text) in [
                ("pinned", "pinned certificate or pin"),
                ("plain", "other certificate"),
                ("backup", "backup pin"),
                ("policy", "policy"),
                ("risk", "may end at any time"),
                ("refused", "connections are refused"),
            ] {
                li { (timeline::sample(class)) " " (text) }
            }
            li { (timeline::line_sample("today")) " judged day" }
            li { (timeline::line_sample("fail")) " fails before" }
        }
    }
}

fn footer(report: &Report) -> Markup {
    html! {
        footer {
            p {
                "Made by pinhold " (env!("CARGO_PKG_VERSION")) " doctor. All dates are in UTC. "
                "A CA that changes its keys without an announcement has no date on this page. "
                "The facts about CAs are of " (date(report.data.date)) "."
            }
        }
    }
}

const STYLE: &str = include_str!("style.css");
