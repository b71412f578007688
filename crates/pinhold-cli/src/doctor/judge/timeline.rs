//! The bars of the timeline of a name.

use std::collections::HashSet;

use crate::doctor::forecast::{Certainty, Span, SpanKind};
use crate::doctor::judge::case::Case;
use crate::doctor::judge::future::{Future, Kind};

/// Returns a bar for each certificate, root, pin, and for the policy.
pub(super) fn spans(case: &Case<'_>) -> Vec<Span> {
    let mut spans = certificates(case);
    spans.extend(roots(case));
    spans.extend(case.pins().map(pin));
    if let Some(expiry) = case.subject.expiry {
        spans.push(Span {
            kind: SpanKind::Policy,
            label: format!("policy of {}", case.subject.host),
            from: None,
            until: Some(expiry.at),
            certainty: Certainty::Certain,
            is_pinned: false,
        });
    }
    spans
}

fn certificates(case: &Case<'_>) -> Vec<Span> {
    let mut seen = HashSet::new();
    let mut spans = Vec::new();
    for chain in &case.chains {
        for (place, certificate) in chain.certificates().iter().enumerate() {
            let facts = &certificate.facts;
            if !seen.insert((certificate.key, facts.not_after.as_secs())) {
                continue;
            }
            let kind = match place {
                0 => SpanKind::Leaf,
                _ if facts.is_self_issued() => SpanKind::Root,
                _ => SpanKind::Intermediate,
            };
            spans.push(Span {
                kind,
                label: certificate.name().to_owned(),
                from: Some(facts.not_before),
                until: Some(facts.not_after),
                certainty: Certainty::Certain,
                is_pinned: case.pins().any(|it| it.pin.fingerprint == certificate.key),
            });
        }
    }
    spans
}

/// Returns the anchors of all valid paths, with the dates at which their lists drop them.
fn roots(case: &Case<'_>) -> Vec<Span> {
    let mut seen = HashSet::new();
    let mut spans = Vec::new();
    for path in case.paths() {
        let (Some(key), Some(name)) = (path.keys.last(), path.names().last()) else {
            continue;
        };
        if !seen.insert(*key) {
            continue;
        }
        let end = case.setting.facts.anchor_end(key, path.store);
        spans.push(Span {
            kind: SpanKind::Root,
            label: name.clone(),
            from: None,
            until: end.as_ref().map(|end| end.at),
            certainty: end.map_or(Certainty::Certain, |end| end.certainty),
            is_pinned: case.pins().any(|it| it.pin.fingerprint == *key),
        });
    }
    spans
}

fn pin(future: &Future<'_>) -> Span {
    let is_backup = future.holds == Some(false) || future.kind == Kind::Unknown;
    Span {
        kind: if is_backup {
            SpanKind::Backup
        } else {
            SpanKind::Pin
        },
        label: future.name.clone(),
        from: None,
        until: future.end.as_ref().map(|end| end.at),
        certainty: future
            .end
            .as_ref()
            .map_or(Certainty::Certain, |end| end.certainty),
        is_pinned: true,
    }
}
