//! OkHttp's `CertificatePinner.Builder` in Kotlin or Java source.
//!
//! `*.example.com` covers names with one label more, `**.example.com` the host and all below it, and
//! the pins of all patterns that match are united (`CertificatePinner.Pin.matchesHostname` and
//! `findMatchingPins` of OkHttp 4 and 5).

mod calls;
mod tokens;

use std::collections::HashMap;

use pinhold::policy::{Overlap, PinRole, Scope};
use pinhold::{Host, SpkiFingerprint};

use self::calls::source;
use crate::pins::abilities::{Abilities, Exempt, Expiry, Names, Overlaps, Roles};
use crate::pins::loss::{LossKind, Losses};
use crate::pins::rules::{Rule, Rules, group_of};
use crate::pins::source::{InputError, Place};

pub(super) fn abilities() -> Abilities {
    Abilities {
        names: vec![
            Names::HostAndOneLabel,
            Names::HostAndSubdomains,
            Names::OneLabel,
        ],
        roles: Roles::Any,
        exempt: Exempt::Never,
        expiry: Expiry::Never,
        overlap: Overlaps::Union,
        report_uris: 0,
        one_entry: false,
        says: vec![LossKind::Backup, LossKind::Port],
    }
}

pub(super) fn read(text: &str, losses: &mut Losses) -> Result<Rules, InputError> {
    let source = source(text);
    let source = source
        .map_err(|offset| Place::Offset(offset).error("nested too deep, expected 1000 at most"))?;
    let ends = text.match_indices('\n').map(|(end, _)| end);
    let ends = ends.collect::<Vec<_>>();
    let line = |offset: usize| ends.partition_point(|end| *end < offset) + 1;
    if source.builders > 1 {
        let detail = format!(
            "{} builders: the source applies the pins of each on their own, the target those of all",
            source.builders
        );
        losses.of_file(LossKind::Overlap, detail);
    }
    let mut patterns = Patterns::default();
    for call in source.calls {
        match call.arguments.as_deref().and_then(<[_]>::split_first) {
            Some((pattern, pins)) => {
                patterns.add(Place::Offset(call.offset), pattern, pins, losses)?;
            }
            None => {
                let detail = format!(
                    "line {}: an argument of add() is not a string literal: the call is not taken \
                     over",
                    line(call.offset)
                );
                losses.of_file(LossKind::Ignored, detail);
            }
        }
    }
    for offset in source.other_pins {
        let detail = format!("line {}: a pin is not taken over", line(offset));
        losses.of_file(LossKind::Ignored, detail);
    }
    let mut rules = Rules {
        rules: patterns.rules(losses),
        ..Rules::default()
    };
    if rules.has_overlap() {
        rules.overlap = Some(Overlap::Union);
    }
    Ok(rules)
}

/// The pins of each pattern, in the order of their first calls.
#[derive(Default)]
struct Patterns {
    all: Vec<(Host, Scope, Vec<SpkiFingerprint>)>,
    known: HashMap<(Host, Scope), usize>,
}

impl Patterns {
    fn add(
        &mut self,
        place: Place,
        pattern: &str,
        pins: &[String],
        losses: &mut Losses,
    ) -> Result<(), InputError> {
        let (scope, name) = if let Some(name) = pattern.strip_prefix("**.") {
            (Scope::HostAndSubdomains, name)
        } else if let Some(name) = pattern.strip_prefix("*.") {
            (Scope::OneLabel, name)
        } else {
            (Scope::Host, pattern)
        };
        let host = place.host(name)?;
        let mut parsed = Vec::new();
        for pin in pins {
            if pin.starts_with("sha1/") {
                let detail = format!("{pin} is accepted by the source and not by the target");
                losses.of(&host, LossKind::Algorithm, detail);
            } else if pin.starts_with("sha256/") {
                parsed.push(place.pin(pin)?);
            } else {
                return Err(place.error(format!("the pin {pin:?}, expected sha256/BASE64")));
            }
        }
        let next = self.all.len();
        let index = *self.known.entry((host.clone(), scope)).or_insert(next);
        match self.all.get_mut(index) {
            Some((.., known)) => known.append(&mut parsed),
            None => self.all.push((host, scope, parsed)),
        }
        Ok(())
    }

    fn rules(self, losses: &mut Losses) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (host, scope, pins) in self.all {
            match group_of(PinRole::Any, pins) {
                Some(group) => rules.push(Rule::new(host, scope, vec![group])),
                None => {
                    let prefix = prefix(scope);
                    let detail = format!("{prefix}{host}: no pin is left: it is not pinned");
                    losses.of(&host, LossKind::Algorithm, detail);
                }
            }
        }
        rules
    }
}

/// Returns what a pattern has before the host.
fn prefix(scope: Scope) -> &'static str {
    match scope {
        Scope::Host => "",
        Scope::OneLabel => "*.",
        _ => "**.",
    }
}

pub(super) fn write(rules: &Rules) -> String {
    let mut text = "import okhttp3.CertificatePinner\n\nval certificatePinner = \
                    CertificatePinner.Builder()\n"
        .to_owned();
    for rule in &rules.rules {
        let prefix = prefix(rule.scope);
        let pins = rule.pins();
        let pins = pins.iter().map(|pin| format!("        \"{pin}\""));
        let pins = pins.collect::<Vec<_>>().join(",\n");
        text += &format!(
            "    .add(\n        \"{prefix}{}\",\n{pins}\n    )\n",
            rule.host
        );
    }
    text + "    .build()\n"
}
