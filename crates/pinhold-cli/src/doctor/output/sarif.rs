//! The findings in SARIF 2.1.0, for code scanning.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Map, Value, json};

use crate::doctor::forecast::{Finding, HostForecast, Report, Severity};
use crate::doctor::output::summary::{certainty_word, name, when};
use crate::doctor::rules::{RULES, Rule};
use crate::output::printable;
use crate::pins::check::source::{Place, Source};
use crate::pins::diff_output::uri;
use crate::{pin_file, rfc3339};

/// Returns a log with a result for each finding.
pub(super) fn log(report: &Report) -> String {
    let mut results = Results::default();
    for finding in &report.general {
        results.add(finding, None, report);
    }
    for host in &report.hosts {
        for finding in &host.findings {
            results.add(finding, Some(host), report);
        }
    }
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "pinhold",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://docs.rs/pinhold",
                "rules": rules(),
            }},
            "automationDetails": { "id": "pinhold-doctor/" },
            "columnKind": "utf16CodeUnits",
            "results": results.list,
        }],
    });
    format!("{log:#}\n")
}

/// Returns all rules, also those that found nothing.
fn rules() -> Value {
    let rule = |rule: &Rule| {
        json!({
            "id": rule.id,
            "shortDescription": { "text": rule.what },
            "help": { "text": format!("{} {HELP}", rule.what) },
            "helpUri": "https://docs.rs/pinhold/latest/pinhold/guide/doctor/",
            "defaultConfiguration": { "level": level(rule.severity) },
        })
    };
    RULES.iter().map(rule).collect()
}

#[derive(Default)]
struct Results<'r> {
    list: Vec<Value>,
    /// How often a rule has found something about a name.
    counts: BTreeMap<(String, &'static str), usize>,
    files: BTreeMap<&'r str, Option<Places>>,
}

impl<'r> Results<'r> {
    fn add(&mut self, finding: &'r Finding, host: Option<&'r HostForecast>, report: &Report) {
        let subject = host.map_or_else(String::new, |it| {
            let scope = pin_file::scope_word(it.subject.scope);
            format!("{scope} {}", it.subject.host)
        });
        let count = self.counts.entry((subject.clone(), finding.id));
        let count = count.and_modify(|count| *count += 1).or_insert(1);
        let fingerprint = format!("{} {count} {subject}", finding.id);
        let locations = host.and_then(|it| self.location(it));
        let properties = json!({
            "host": host.map(name),
            "date": finding.date.map(rfc3339::print),
            "certainty": certainty_word(finding.certainty),
            "lock_out": host.and_then(|it| it.lock_out.as_ref()).map(|it| rfc3339::print(it.at)),
            "judged_at": rfc3339::print(report.at),
        });
        self.list.push(json!({
            "ruleId": finding.id,
            "level": level(finding.severity),
            "message": { "text": message(finding, host) },
            "locations": locations.into_iter().collect::<Value>(),
            "partialFingerprints": { "ruleAndHost/v1": fingerprint.trim_end() },
            "properties": properties,
        }));
    }

    /// Returns the place of a host in its file. Pins of `--pin` have none.
    fn location(&mut self, host: &'r HostForecast) -> Option<Value> {
        let file = host.subject.source.as_str();
        let is_file = || file != OPTION && fs::metadata(file).is_ok_and(|it| it.is_file());
        let places = self.files.entry(file);
        let places = places.or_insert_with(|| is_file().then(|| Places::read(file)));
        let place = places.as_ref()?.0.get(host.subject.host.as_str());
        let mut physical = Map::new();
        physical.insert("artifactLocation".to_owned(), json!({ "uri": uri(file) }));
        if let Some(place) = place {
            physical.insert("region".to_owned(), json!({ "startLine": place.line }));
        }
        Some(json!({ "physicalLocation": physical }))
    }
}

/// The places of the hosts in a pin file; none for a bundle.
struct Places(BTreeMap<String, Place>);

impl Places {
    fn read(file: &str) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let source = Source::of(text);
        let places = source.iter().flat_map(|source| {
            let hosts = source.policies.iter().flat_map(|policy| &policy.hosts);
            hosts.filter_map(|(name, end)| {
                let host = pinhold::Host::parse(name).ok()?;
                Some((host.as_str().to_owned(), source.place(*end)))
            })
        });
        Self(places.collect())
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::LockedOut | Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Notice => "note",
    }
}

fn message(finding: &Finding, host: Option<&HostForecast>) -> String {
    let subject = host.map_or_else(String::new, |it| format!("{}: ", name(it)));
    let evidence = finding.evidence.trim_end_matches('.');
    let remedy = sentence(finding.remedy);
    let when = when(finding);
    let text = format!("{subject}{evidence} ({when}). What to do: {remedy}");
    // Brackets and braces have a meaning in messages (sections 3.11.5 and 3.11.6).
    let text = printable(&text);
    text.replace('[', "\\[")
        .replace(']', "\\]")
        .replace('{', "{{")
        .replace('}', "}}")
}

fn sentence(text: &str) -> String {
    format!("{}.", printable(text.trim_end_matches('.')))
}

/// The remedy differs by what was found, so the results have it.
const HELP: &str = "Each result states what was seen, when it takes effect, and what to do.";
/// The source of pins that are options.
const OPTION: &str = "--pin";
