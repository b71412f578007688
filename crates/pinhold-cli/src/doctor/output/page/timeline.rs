//! Timelines: a table with a bar of each certificate, pin and policy.

use maud::{Markup, html};

use crate::doctor::forecast::{Certainty, HostForecast, Span, SpanKind};
use crate::doctor::output::page::scale::Scale;
use crate::doctor::output::summary::{certainty_word, date, kind_word};
use crate::output::printable;

/// Patterns that the bars of all timelines use: colours alone do not distinguish them.
pub(super) fn patterns() -> Markup {
    html! {
        svg.patterns width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse"
                    patternTransform="rotate(45)" { rect.stripe width="2" height="6" {} }
                pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse" {
                    circle.dot cx="3" cy="3" r="1.2" {}
                }
            }
        }
    }
}

/// Returns the time axis.
pub(super) fn axis(scale: &Scale) -> Markup {
    html! {
        svg.axis width="100%" height="18" aria-hidden="true" focusable="false" {
            @for tick in scale.ticks() {
                line.tick.year[tick.is_year] x1={ (tick.place) "%" } x2={ (tick.place) "%" }
                    y1="0" y2="18" {}
                text.label.minor[!tick.is_year] x={ (tick.place) "%" } dx="4" y="13" { (tick.text) }
            }
        }
    }
}

/// Returns the future of a host in one bar: until when connections are accepted.
pub(super) fn strip(host: &HostForecast, scale: &Scale) -> Markup {
    html! {
        svg width="100%" height="20" role="img" aria-label=(strip_label(host)) {
            (grid(scale, 20))
            @if let Some(lock_out) = &host.lock_out {
                (bar("accepted", 0.0, scale.place(lock_out.at)))
                (bar("refused", scale.place(lock_out.at), 100.0))
                (bar("refused-hatch", scale.place(lock_out.at), 100.0))
            } @else if host.chains.iter().any(|chain| chain.failure.is_none()) {
                (bar("accepted", 0.0, 100.0))
            } @else {
                (bar("unknown", 0.0, 100.0))
            }
            (marks(scale, 20))
        }
    }
}

fn strip_label(host: &HostForecast) -> String {
    match &host.lock_out {
        Some(lock_out) => format!("connections are refused from {}", date(lock_out.at)),
        None => "no lock-out is foreseen".to_owned(),
    }
}

/// Returns the timeline of a host.
pub(super) fn table(host: &HostForecast, scale: &Scale) -> Markup {
    html! {
        table.timeline {
            caption.hidden { "Timeline" }
            thead {
                tr {
                    th scope="col" { span.hidden { "What" } }
                    th scope="col" { span.hidden { "From" } (axis(scale)) }
                    th scope="col" { span.hidden { "Until" } }
                }
            }
            tbody {
                @for span in &host.timeline { (row(span, host, scale)) }
                @if let Some(lock_out) = host.lock_out.as_ref().filter(|it| !scale.is_after(it.at)) {
                    tr.lock-out {
                        th scope="row" { "locked out" }
                        td.track { (lock_out_track(host, scale)) }
                        td.until { (date(lock_out.at)) span.note { (certainty_word(lock_out.certainty)) } }
                    }
                }
            }
        }
    }
}

fn row(span: &Span, host: &HostForecast, scale: &Scale) -> Markup {
    let label = printable(&span.label);
    let kind = kind_word(span.kind);
    // Its label is such as "policy of example.com".
    let is_named = span.kind == SpanKind::Policy && label.starts_with(kind);
    let kind = if is_named { "" } else { kind };
    let from = span.from.map_or_else(|| "open".to_owned(), date);
    let until = span.until.map_or_else(|| "no end".to_owned(), date);
    let dates = format!("from {from}, until {until}");
    html! {
        tr {
            th scope="row" {
                span.kind { (kind) @if span.is_pinned && !is_pin(span.kind) { ", pinned" } }
                " " bdi { (label) }
            }
            td.track {
                svg width="100%" height=(HEIGHT) role="img" aria-label=(dates) {
                    (refused(host, scale))
                    (grid(scale, HEIGHT))
                    (span_bar(span, scale))
                    (marks(scale, HEIGHT))
                }
            }
            td.until {
                (until)
                @if span.certainty != Certainty::Certain {
                    span.note { (certainty_word(span.certainty)) }
                }
            }
        }
    }
}

fn is_pin(kind: SpanKind) -> bool {
    matches!(kind, SpanKind::Pin | SpanKind::Backup)
}

fn span_bar(span: &Span, scale: &Scale) -> Markup {
    let begin = span.from.map_or(0.0, |from| scale.place(from));
    let end = span.until.map_or(100.0, |until| scale.place(until));
    let class = match (span.kind, span.is_pinned) {
        (SpanKind::Policy, _) => "policy",
        (SpanKind::Backup, _) => "backup",
        (SpanKind::Pin, _) | (_, true) => "pinned",
        (_, false) => "plain",
    };
    // A validity period that has ended before the axis begins would leave a bar of no width.
    let is_shown = span.until.is_none_or(|until| scale.shows(until)) || end > 0.0;
    html! {
        @if is_shown {
            (bar(class, begin, end))
            @if span.certainty == Certainty::Risk { (bar("risk", begin.max(scale.place(scale.at)), end)) }
            @if span.until.is_some_and(|until| scale.shows(until)) {
                line.end.announced[span.certainty == Certainty::Announced]
                    x1={ (end) "%" } x2={ (end) "%" } y1="2" y2=(HEIGHT - 2) {}
            } @else {
                svg x="100%" width="6" height=(HEIGHT) {
                    path.arrow.(class) d="M1 4 L6 10 L1 16 Z" {}
                }
            }
        }
    }
}

fn lock_out_track(host: &HostForecast, scale: &Scale) -> Markup {
    let place = host
        .lock_out
        .as_ref()
        .map_or(100.0, |it| scale.place(it.at));
    html! {
        svg width="100%" height=(HEIGHT) role="img" aria-label=(strip_label(host)) {
            (grid(scale, HEIGHT))
            (bar("refused", place, 100.0))
            (bar("refused-hatch", place, 100.0))
            circle.mark cx={ (place) "%" } cy=(HEIGHT / 2) r="5" {}
            (marks(scale, HEIGHT))
        }
    }
}

/// Returns a shade of the time in which connections are refused.
fn refused(host: &HostForecast, scale: &Scale) -> Markup {
    html! {
        @if let Some(lock_out) = &host.lock_out {
            @let place = scale.place(lock_out.at);
            rect.after x={ (place) "%" } width={ (width(place, 100.0)) "%" } y="0" height=(HEIGHT) {}
        }
    }
}

fn bar(class: &str, begin: f64, end: f64) -> Markup {
    html! {
        rect.bar.(class) x={ (begin) "%" } width={ (width(begin, end)) "%" } y="4" height="12" rx="2" {}
    }
}

/// Returns the distance of two places, without the digits that rounding adds.
fn width(begin: f64, end: f64) -> f64 {
    ((end - begin).max(0.0) * 1000.0).round() / 1000.0
}

fn grid(scale: &Scale, height: u32) -> Markup {
    html! {
        @for tick in scale.ticks() {
            line.tick.year[tick.is_year] x1={ (tick.place) "%" } x2={ (tick.place) "%" }
                y1="-4" y2=(height + 4) {}
        }
    }
}

/// Returns the lines of the judged day and of `--fail-within`.
fn marks(scale: &Scale, height: u32) -> Markup {
    html! {
        @for (class, time) in [("today", scale.at), ("fail", scale.fail_before)] {
            line class=(class) x1={ (scale.place(time)) "%" } x2={ (scale.place(time)) "%" }
                y1="-4" y2=(height + 4) {}
        }
    }
}

/// Returns a bar for the legend.
pub(super) fn sample(class: &str) -> Markup {
    html! {
        svg width="28" height="20" aria-hidden="true" focusable="false" {
            @if class == "risk" { rect.bar.plain x="1" width="26" y="4" height="12" rx="2" {} }
            rect.bar.(class) x="1" width="26" y="4" height="12" rx="2" {}
            @if class == "refused" {
                rect.bar.refused-hatch x="1" width="26" y="4" height="12" rx="2" {}
            }
        }
    }
}

/// Returns a line for the legend.
pub(super) fn line_sample(class: &str) -> Markup {
    html! {
        svg width="12" height="20" aria-hidden="true" focusable="false" {
            line class=(class) x1="6" x2="6" y1="0" y2="20" {}
        }
    }
}

const HEIGHT: u32 = 20;
