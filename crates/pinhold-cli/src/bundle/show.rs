//! The command `pinhold bundle show`: everything that a bundle or a root states.

use clap::{Args, ValueHint};
use pinhold::bundle::{PinBundle, SignedNote};
use serde_json::{Value, json};

use crate::bundle::input::{Document, Kind, Root};
use crate::bundle::next_root::Next;
use crate::bundle::verify::{self, Verified};
use crate::bundle::{chain, facts, progress};
use crate::certificate::Facts;
use crate::failure::Failure;
use crate::output::{Output, counted, printable};
use crate::style::{BAD, GOOD, paint};
use crate::{clock, rfc3339};

#[derive(Args)]
pub(super) struct Arguments {
    /// Bundle or root, signed or not; `-` is standard input
    #[arg(value_name = "BUNDLE", value_hint = ValueHint::FilePath)]
    file: String,
    /// Root that clients contain: verifies the bundle, too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    root: Option<String>,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let document = Document::open(&arguments.file)?;
    let root = arguments.root.as_deref().map(Root::open).transpose()?;
    match document.kind {
        Kind::Bundle => show_bundle(&document, root, output),
        Kind::Root => show_root(document, root, output),
    }
}

/// The signatures of a document, as far as they were verified.
struct Signatures {
    /// The names of the keys with a valid signature; `None` without a root.
    verified: Option<Vec<String>>,
    /// The names in the signatures, which can be any.
    stated: Vec<String>,
}

impl Signatures {
    fn of(note: &SignedNote, verified: Option<Vec<String>>) -> Self {
        let stated = note.signatures().iter().map(|it| it.name().to_owned());
        Self {
            verified,
            stated: stated.collect(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "verified": self.verified.is_some(),
            "signers": self.verified,
            "stated_signers": self.stated,
        })
    }

    fn text(&self) -> String {
        match (&self.verified, self.stated.as_slice()) {
            (Some(signers), _) => {
                let verified = paint(GOOD, "verified");
                format!("{verified}, signed by {}", list(signers))
            }
            (None, []) => paint(BAD, "not signed"),
            (None, stated) => format!(
                "{}; they name {}",
                paint(BAD, "signatures are not verified (give --root)"),
                list(stated)
            ),
        }
    }
}

fn list(names: &[String]) -> String {
    let names = names.iter().map(|name| printable(name));
    names.collect::<Vec<_>>().join(", ")
}

fn show_bundle(document: &Document, root: Option<Root>, output: Output) -> Result<(), Failure> {
    let note = &document.note;
    let verified = root.map(|root| {
        let verified = Verified::new(&document.name, note.to_string().as_bytes(), root)?;
        Ok(verified.progress.signers)
    });
    let signatures = Signatures::of(note, verified.transpose()?);
    let bundle = document.bundle()?;
    let terms = terms(&bundle, note)?;
    let pins = bundle.pins().to_string();
    let members = terms
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    let json = facts::joined(facts::json(&bundle), Value::Object(members.collect()));
    let json = facts::joined(json, signatures.json());
    let parsed = serde_json::from_str::<Value>(&pins).unwrap_or_default();
    let json = facts::joined(json, json!({ "pins": parsed }));
    let hosts = counted(bundle.pins().policies().len(), "host", "hosts");
    let mut lines = vec![
        format!(
            "bundle {} with {hosts}: {}",
            bundle.version(),
            signatures.text()
        ),
        format!("  issued         {}", rfc3339::print(bundle.issued())),
        format!("  expires        {}", rfc3339::print(bundle.expires())),
    ];
    let stale = verify::staleness(&bundle, clock::now());
    lines.extend(stale.iter().map(verify::Staleness::text));
    for (name, value) in &terms {
        lines.extend(
            values(name, value)
                .iter()
                .map(|value| format!("  {name:<14} {value}")),
        );
    }
    lines.push(format!("  digest         {}", facts::hex(&bundle.digest())));
    lines.push("  pins:".to_owned());
    lines.extend(pins.lines().map(|line| format!("    {}", printable(line))));
    output.print(&json, &lines.join("\n"))
}

/// Returns the terms of a bundle, each with the name of its member.
pub(super) fn terms(
    bundle: &PinBundle,
    note: &SignedNote,
) -> Result<Vec<(&'static str, Value)>, Failure> {
    let roots = chain::successors(bundle)?;
    let roots = roots.iter().map(root_json).collect::<Value>();
    let refused = bundle.refused_keys().into_iter();
    let refused = refused
        .flat_map(pinhold::PinSet::iter)
        .map(ToString::to_string);
    let suspended = bundle.suspend_noted().iter().map(ToString::to_string);
    let intermediates = bundle.intermediates().iter().map(|der| {
        let subject = Facts::of(der).map(|facts| facts.subject);
        subject.unwrap_or_else(|| "a certificate that can't be read".to_owned())
    });
    // The library has checked that it knows them, and keeps no list.
    let text = serde_json::from_str::<Value>(note.text()).unwrap_or_default();
    Ok(vec![
        ("when_stale", json!(facts::when_stale(bundle.when_stale()))),
        (
            "kill_switch",
            json!(bundle.kill_switch().map(rfc3339::print)),
        ),
        (
            "staging",
            json!(bundle.staging().map(|staging| json!({
                "percent": staging.percent(), "salt": staging.salt(),
            }))),
        ),
        ("refused_keys", refused.collect()),
        ("suspend_noted", suspended.collect()),
        ("intermediates", intermediates.collect()),
        ("roots", roots),
        (
            "critical",
            text.get("critical").cloned().unwrap_or_else(|| json!([])),
        ),
    ])
}

/// Returns the lines of a term.
fn values(name: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(roots) if name == "roots" => roots.iter().map(root_text).collect(),
        Value::Array(values) => values.iter().map(value_text).collect(),
        value => vec![value_text(value)],
    }
}

fn root_text(root: &Value) -> String {
    let member = |name| root.get(name).map(value_text).unwrap_or_default();
    let (version, threshold, keys) = (member("version"), member("threshold"), member("keys"));
    format!("{version}: {threshold} must sign of {keys}")
}

/// Returns a value in one line that can't control the terminal.
pub(super) fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => printable(text),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => {
            let texts = values.iter().map(value_text);
            texts.collect::<Vec<_>>().join(" ")
        }
        Value::Object(members) => {
            let texts = members
                .iter()
                .map(|(name, it)| format!("{name}: {}", value_text(it)));
            texts.collect::<Vec<_>>().join(", ")
        }
        value => value.to_string(),
    }
}

fn root_json(root: &Root) -> Value {
    let keys = root.root.keys().iter().map(ToString::to_string);
    json!({
        "version": root.root.version(),
        "threshold": root.root.threshold(),
        "keys": keys.collect::<Value>(),
    })
}

fn show_root(document: Document, before: Option<Root>, output: Output) -> Result<(), Failure> {
    let stated = Signatures::of(&document.note, None);
    let root = document.root()?;
    let json = facts::joined(json!({ "kind": "root" }), root_json(&root));
    let version = root.root.version();
    let count = counted(root.root.keys().len(), "key", "keys");
    let threshold = root.root.threshold();
    let keys = root.root.keys().iter();
    let keys = keys.map(|key| format!("  key            {}", printable(&key.to_string())));
    let keys = keys.collect::<Vec<_>>().join("\n");
    let has_before = before.is_some();
    let next = Next::new(before, root)?;
    let (json, state) = if has_before {
        let progress = next.verified()?;
        let more = json!({
            "verified": true,
            "stated_signers": stated.stated,
            "signatures": progress::json(&progress),
        });
        let verified = paint(GOOD, "verified");
        let lines = format!("{verified}\n{}", progress::lines(&progress));
        (facts::joined(json, more), lines)
    } else {
        (facts::joined(json, stated.json()), stated.text())
    };
    let text =
        format!("root {version} with {count}, of which {threshold} must sign\n{keys}\n  {state}");
    output.print(&json, &text)
}
