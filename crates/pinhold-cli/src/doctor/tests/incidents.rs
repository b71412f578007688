//! Recorded incidents, judged at least 30 days before and on the day, by what was published then.
//! What clients with health events would have seen, and how they recover, is in the fixtures.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::doctor::forecast::{Certainty, Finding, HostForecast, Severity};
use crate::doctor::tests::world::{World, text};
use crate::rfc3339;

struct Incident {
    name: String,
    fixture: Value,
}

impl Incident {
    fn open(folder: &Path) -> Self {
        let json = fs::read_to_string(folder.join("incident.json")).unwrap();
        Self {
            name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
            fixture: serde_json::from_str(&json).unwrap(),
        }
    }

    /// Returns the forecast before the incident.
    fn before(&self) -> HostForecast {
        World::new(self.fixture["world"].clone()).forecast()
    }

    /// Returns what is judged on the day.
    fn after(&self) -> HostForecast {
        let mut world = self.fixture["world"].clone();
        for (member, value) in self.fixture["later"].as_object().unwrap() {
            world[member] = value.clone();
        }
        World::new(world).forecast()
    }

    fn is_foretold(&self) -> bool {
        self.fixture["doctor"].is_null()
    }
}

fn all() -> Vec<Incident> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/incidents");
    let folders = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut all = folders
        .map(|folder| Incident::open(&folder))
        .collect::<Vec<_>>();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn seconds(value: &Value) -> u64 {
    rfc3339::parse_date(&text(value)).unwrap().as_secs()
}

fn find<'f>(forecast: &'f HostForecast, id: &str) -> Option<&'f Finding> {
    forecast.findings.iter().find(|finding| finding.id == id)
}

#[test]
fn nine_incidents_are_recorded_with_what_clients_see_and_how_they_recover() {
    let all = all();
    let names = all
        .iter()
        .map(|it| it.name.as_str())
        .collect::<BTreeSet<_>>();
    let expected = [
        "amazon-intermediates",
        "badssl-rotation",
        "clock-in-2040",
        "cloudflare-ca-switch",
        "corporate-proxy",
        "gen-y-cross-sign",
        "gts-root-r2",
        "intermediates-as-anchors",
        "mis-issuance",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    for Incident { name, fixture } in &all {
        for member in ["client", "incident", "recovery", "source", "what"] {
            assert!(!text(&fixture[member]).is_empty(), "{name}: {member}");
        }
        let days = (seconds(&fixture["incident"]) - seconds(&fixture["world"]["at"])) / 86_400;
        assert!(days >= 30, "{name}: judged {days} days before");
    }
}

#[test]
fn each_incident_is_foretold_by_its_rule_or_stated_as_a_risk() {
    for incident in all().iter().filter(|it| it.is_foretold()) {
        let (name, forecast) = (&incident.name, incident.before());
        let expected = incident.fixture["expect"].as_array().unwrap();
        assert!(!expected.is_empty(), "{name}");
        for expected in expected {
            let rule = text(&expected["rule"]);
            let found = find(&forecast, &rule).unwrap_or_else(|| panic!("{name}: {rule}"));
            let severity = format!("{:?}", found.severity).to_lowercase();
            assert_eq!(
                severity,
                text(&expected["severity"]),
                "{name}: {}",
                found.evidence
            );
            let date = found.date.map(|date| date.as_secs());
            let expected_date = (!expected["date"].is_null()).then(|| seconds(&expected["date"]));
            assert_eq!(date, expected_date, "{name}: {}", found.evidence);
        }
        let lock_out = forecast.lock_out.unwrap();
        let expected = &incident.fixture["lock_out"];
        assert_eq!(lock_out.at.as_secs(), seconds(&expected["date"]), "{name}");
        let certainty = format!("{:?}", lock_out.certainty).to_lowercase();
        assert_eq!(
            certainty,
            text(&expected["certainty"]),
            "{name}: {}",
            lock_out.reason
        );
    }
}

/// A proxy, a clock and an attack are not foretold, and cause no false alarm either.
#[test]
fn no_lock_out_is_foretold_where_nothing_foretells_it() {
    let others = all().into_iter().filter(|it| !it.is_foretold());
    let others = others.collect::<Vec<_>>();
    assert_eq!(others.len(), 3);
    for incident in others {
        let (name, forecast) = (&incident.name, incident.before());
        for finding in &forecast.findings {
            assert_eq!(
                finding.severity,
                Severity::Notice,
                "{name}: {}",
                finding.evidence
            );
        }
        let year = seconds(&incident.fixture["world"]["at"]) + 365 * 86_400;
        let lock_out = forecast.lock_out.filter(|it| it.at.as_secs() < year);
        assert!(lock_out.is_none(), "{name}");
    }
}

#[test]
fn on_the_day_the_facts_are_those_of_the_incident() {
    for incident in all() {
        let (name, forecast) = (&incident.name, incident.after());
        let is_locked_out = find(&forecast, "locked-out").is_some();
        let chain = forecast.chains.first().unwrap();
        let pinned = chain.paths.iter().any(|path| path.is_pinned);
        let is_now = forecast
            .lock_out
            .as_ref()
            .is_some_and(|it| it.certainty == Certainty::Certain);
        match text(&incident.fixture["later_expect"]).as_str() {
            "holds" => assert!(pinned && !is_locked_out, "{name}"),
            "intercepted" => {
                assert!(
                    find(&forecast, "intercepted").is_some() && !is_locked_out,
                    "{name}"
                );
            }
            "invalid" => {
                assert!(find(&forecast, "chain-invalid").is_some(), "{name}");
                assert!(!is_locked_out || name == "gts-root-r2", "{name}");
            }
            "refused" => assert!(is_locked_out && is_now && !pinned, "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
}
