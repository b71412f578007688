//! The command `pinhold bundle diff`: which hosts, pins and terms a new bundle changes.

use clap::{Args, ValueHint};
use pinhold::Host;
use pinhold::bundle::PinBundle;
use serde_json::{Value, json};

use crate::bundle::input::Document;
use crate::bundle::show::{self, value_text};
use crate::bundle::{FINDING, facts};
use crate::failure::Failure;
use crate::output::Output;
use crate::pins::diff::{Difference, differences};
use crate::pins::rules::Rules;
use crate::rfc3339;

#[derive(Args)]
pub(super) struct Arguments {
    /// Bundle, signed or not; `-` is standard input
    #[arg(value_hint = ValueHint::FilePath)]
    old: String,
    /// Bundle to compare with it
    #[arg(value_hint = ValueHint::FilePath)]
    new: String,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let (old_document, old) = Document::open_bundle(&arguments.old)?;
    let (new_document, new) = Document::open_bundle(&arguments.new)?;
    let (hosts, mut pins) = differences(&Rules::from(old.pins()), &Rules::from(new.pins()));
    pins.sort_by(|one, other| one.host.cmp(&other.host));
    let terms = changed_terms(terms(&old, &old_document)?, terms(&new, &new_document)?);
    let is_equal = pins.is_empty() && terms.is_empty();
    let pins_json = pins.iter().map(|it| {
        json!({
            "host": it.host.as_ref().map(Host::as_str),
            "field": it.field,
            "old": it.first,
            "new": it.second,
        })
    });
    let terms_json = terms
        .iter()
        .map(|(name, old, new)| json!({ "field": name, "old": old, "new": new }));
    let json = json!({
        "equal": is_equal,
        "old": side(&arguments.old, &old),
        "new": side(&arguments.new, &new),
        "hosts": hosts.iter().map(Host::as_str).collect::<Value>(),
        "pins": pins_json.collect::<Value>(),
        "terms": terms_json.collect::<Value>(),
        "verified": false,
    });
    let state = if is_equal { "equal to" } else { "differs from" };
    let mut lines = vec![format!(
        "{} {state} {}; signatures are not verified",
        facts::summary(&new),
        facts::summary(&old)
    )];
    lines.extend(pins.iter().map(pin_line));
    lines.extend(
        terms.iter().map(|(name, old, new)| {
            format!("  {name}: {} -> {}", value_text(old), value_text(new))
        }),
    );
    output.print(&json, &lines.join("\n"))?;
    if is_equal {
        Ok(())
    } else {
        Err(Failure::AlreadyPrinted { code: FINDING })
    }
}

fn side(name: &str, bundle: &PinBundle) -> Value {
    facts::joined(facts::json(bundle), json!({ "file": name }))
}

type Term = (&'static str, Value);

fn terms(bundle: &PinBundle, document: &Document) -> Result<Vec<Term>, Failure> {
    let mut terms = vec![
        ("version", json!(bundle.version().to_string())),
        ("issued", json!(rfc3339::print(bundle.issued()))),
        ("expires", json!(rfc3339::print(bundle.expires()))),
    ];
    terms.extend(show::terms(bundle, &document.note)?);
    Ok(terms)
}

/// Returns the terms that differ, with both values. Both lists have the same names.
fn changed_terms(old: Vec<Term>, new: Vec<Term>) -> Vec<(&'static str, Value, Value)> {
    let both = old.into_iter().zip(new);
    let changed = both.filter(|((_, old), (_, new))| old != new);
    let changed = changed.map(|((name, old), (_, new))| (name, old, new));
    changed.collect()
}

fn pin_line(it: &Difference) -> String {
    let host = it.host.as_ref().map_or("all hosts", Host::as_str);
    let (old, new) = (value_text(&it.first), value_text(&it.second));
    format!("  {host}: {}: {old} -> {new}", it.field)
}
